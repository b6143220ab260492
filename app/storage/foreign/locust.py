"""Read Locust's `--csv` files: one `_stats.csv` per run, whose aggregated row is one load point.
Latencies are in ms.

`_stats_history.csv` contains the number of users. Locust rounds response times to two significant
digits before computing percentiles, and includes the response times of failed requests.
"""

from __future__ import annotations

import re
from pathlib import Path

from app.records.planning_inputs import ImportedCurve, MeasuredLoadPoint
from app.storage.foreign.aggregates import FROM_SEND_NOTE, convert_to_seconds, drop_empty, format_percentile_name
from app.storage.foreign.documents import ForeignDocument, build_file_error
from app.storage.foreign.node import parse_cell_number

TOOL = "Locust"
_PERCENTILE = re.compile(r"(\d{1,2}(?:\.\d{1,6})?)%")
_MILLISECOND_S = 1e-3
_ROUNDED_NOTE = "Locust rounds percentiles to two significant digits"
_FAILURES_NOTE = "latencies include failed requests"
_NO_USERS_NOTE = "a _stats.csv does not include the number of users; also use its _stats_history.csv"
_VARYING_USERS_NOTE = (
    "the number of users varied during a run, so its load point mixes several loads and has the maximum number of users"
)


def recognizes(document: ForeignDocument) -> bool:
    return _is_stats(document) or _is_history(document)


def read(documents: tuple[ForeignDocument, ...]) -> ImportedCurve:
    histories = {_get_run_key(document): document for document in documents if _is_history(document)}
    stats = {_get_run_key(document): document for document in documents if _is_stats(document)}
    for run_key, document in histories.items():
        if run_key not in stats:
            raise build_file_error(document.name, "it is a history file without its _stats.csv")
    notes, load_points = [FROM_SEND_NOTE, _ROUNDED_NOTE], []
    for run_key, document in stats.items():
        user_counts = _read_user_counts(histories[run_key]) if run_key in histories else []
        load_points.append(_build_load_point(document, max(user_counts, default=None)))
        notes += [_VARYING_USERS_NOTE] if len(set(user_counts)) > 1 else [] if user_counts else [_NO_USERS_NOTE]
    notes += [_FAILURES_NOTE] * any(load_point.failed for load_point in load_points)
    return ImportedCurve(tool=TOOL, precision="rounded", load_points=tuple(load_points), notes=tuple(notes))


def _is_stats(document: ForeignDocument) -> bool:
    return {"Type", "Name", "Request Count", "Failure Count", "Requests/s", "Failures/s"} <= set(document.header)


def _is_history(document: ForeignDocument) -> bool:
    return {"Timestamp", "User Count", "Requests/s", "Total Request Count"} <= set(document.header)


def _get_run_key(document: ForeignDocument) -> tuple[Path, str]:
    return document.folder, re.sub(r"_stats(_history)?\.csv$", "", document.name)


def _read_user_counts(history: ForeignDocument) -> list[float]:
    """Return the numbers of users in the rows of the history, without zeros."""
    counts = [parse_cell_number(row, "User Count", history.name) for row in history.rows()]
    return [count for count in counts if count]


def _build_load_point(document: ForeignDocument, user_count: float | None) -> MeasuredLoadPoint:
    rows = [row for row in document.rows() if row["Name"] == "Aggregated"]
    if len(rows) != 1:
        raise build_file_error(document.name, f"it has {len(rows)} rows named Aggregated instead of one")
    row = rows[0]

    def parse_cell(column: str) -> float:
        return parse_cell_number(row, column, document.name)

    request_count, failed_count = int(parse_cell("Request Count")), int(parse_cell("Failure Count"))
    if failed_count > request_count:
        raise build_file_error(document.name, f"it has {failed_count} failures but only {request_count} requests")
    rate_per_s = parse_cell("Requests/s")
    latencies_ms: dict[str, float] = {}
    if request_count:
        percentiles = {column: match for column in document.header if (match := _PERCENTILE.fullmatch(column))}
        latencies_ms = {
            format_percentile_name(float(match[1])): parse_cell(column) for column, match in percentiles.items()
        }
        latencies_ms |= {"mean": parse_cell("Average Response Time"), "max": parse_cell("Max Response Time")}
    return MeasuredLoadPoint(
        offered_per_s=None,
        clients=user_count,
        achieved_per_s=max(0.0, rate_per_s - parse_cell("Failures/s")),
        duration_s=request_count / rate_per_s if rate_per_s else None,
        completed=request_count - failed_count,
        failed=failed_count,
        latencies_s=drop_empty({"latency": convert_to_seconds(latencies_ms, _MILLISECOND_S)}),
    )
