"""Read Locust's `--csv` files: one `_stats.csv` per run, whose aggregated row is one load point.
Latencies are in ms.

`_stats_history.csv` contains the number of users. Locust rounds response times to two significant
digits before computing percentiles, and includes the response times of failed requests.
"""

from __future__ import annotations

import re
from pathlib import Path

from app.records.planning_inputs import ImportedCurve, MeasuredLoadPoint
from app.storage.foreign.aggregates import FROM_SEND_NOTE, convert_to_seconds, drop_empty, percentile_name
from app.storage.foreign.documents import ForeignDocument, file_error
from app.storage.foreign.node import cell_number

TOOL = "Locust"
_PERCENTILE = re.compile(r"(\d{1,2}(?:\.\d{1,6})?)%")
_MILLISECONDS = 1e-3
_ROUNDED = "Locust rounds percentiles to two digits"
_FAILURES = "latencies include failed requests"
_NO_USERS = "a _stats.csv does not include the number of users; also use its _stats_history.csv"
_VARIED = "the number of users varied during a run, so its load point is a mixture, labeled with the maximum"


def recognizes(document: ForeignDocument) -> bool:
    return _is_stats(document) or _is_history(document)


def read(documents: tuple[ForeignDocument, ...]) -> ImportedCurve:
    histories = {_run(document): document for document in documents if _is_history(document)}
    stats = {_run(document): document for document in documents if _is_stats(document)}
    for run, document in histories.items():
        if run not in stats:
            raise file_error(document.name, "it is a history file without its _stats.csv")
    notes, load_points = [FROM_SEND_NOTE, _ROUNDED], []
    for run, document in stats.items():
        users = _users(histories[run]) if run in histories else []
        load_points.append(_load_point(document, max(users, default=None)))
        notes += [_VARIED] if len(set(users)) > 1 else [] if users else [_NO_USERS]
    notes += [_FAILURES] * any(load_point.failed for load_point in load_points)
    return ImportedCurve(tool=TOOL, precision="rounded", load_points=tuple(load_points), notes=tuple(notes))


def _is_stats(document: ForeignDocument) -> bool:
    return {"Type", "Name", "Request Count", "Failure Count", "Requests/s", "Failures/s"} <= set(document.header)


def _is_history(document: ForeignDocument) -> bool:
    return {"Timestamp", "User Count", "Requests/s", "Total Request Count"} <= set(document.header)


def _run(document: ForeignDocument) -> tuple[Path, str]:
    return document.folder, re.sub(r"_stats(_history)?\.csv$", "", document.name)


def _users(history: ForeignDocument) -> list[float]:
    """Return the number of users in each row of the history in which it is not 0."""
    counts = [cell_number(row, "User Count", history.name) for row in history.rows()]
    return [count for count in counts if count]


def _load_point(document: ForeignDocument, users: float | None) -> MeasuredLoadPoint:
    rows = [row for row in document.rows() if row["Name"] == "Aggregated"]
    if len(rows) != 1:
        raise file_error(document.name, f"it has {len(rows)} rows named Aggregated instead of one")
    row = rows[0]

    def cell(column: str) -> float:
        return cell_number(row, column, document.name)

    tried, failed = int(cell("Request Count")), int(cell("Failure Count"))
    if failed > tried:
        raise file_error(document.name, f"it has {failed} failures but only {tried} requests")
    per_s = cell("Requests/s")
    latency_ms: dict[str, float] = {}
    if tried:
        percentiles = {column: match for column in document.header if (match := _PERCENTILE.fullmatch(column))}
        latency_ms = {percentile_name(float(match[1])): cell(column) for column, match in percentiles.items()}
        latency_ms |= {"mean": cell("Average Response Time"), "max": cell("Max Response Time")}
    return MeasuredLoadPoint(
        offered_per_s=None,
        clients=users,
        achieved_per_s=max(0.0, per_s - cell("Failures/s")),
        duration_s=tried / per_s if per_s else None,
        completed=tried - failed,
        failed=failed,
        latencies_s=drop_empty({"latency": convert_to_seconds(latency_ms, _MILLISECONDS)}),
    )
