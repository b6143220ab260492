"""Read CSV files of Triton's perf_analyzer (option `-f`): load points with latencies in integer
microseconds."""

from __future__ import annotations

import re

from app.records.planning_inputs import ImportedCurve, MeasuredLoadPoint
from app.storage.foreign.aggregates import FROM_SEND_NOTE, convert_to_seconds, drop_empty, format_percentile_name
from app.storage.foreign.documents import ForeignDocument, build_file_error
from app.storage.foreign.node import parse_cell_number

TOOL = "perf_analyzer"
_PERCENTILE = re.compile(r"p(\d{1,3}) latency")
_LOAD_COLUMNS = ("Concurrency", "Request Rate")
_BATCH_NOTE = "throughput counts inferences, which are several per request with -b above 1"
_EVEN_NOTE = "requests at a rate are assumed to be evenly spaced, which is the tool's default"
_NO_COUNTS_NOTE = "the file has no request counts, so the accuracy of its percentiles is unknown"


def recognizes(document: ForeignDocument) -> bool:
    return "Inferences/Second" in document.header and any(column in document.header for column in _LOAD_COLUMNS)


def read(documents: tuple[ForeignDocument, ...]) -> ImportedCurve:
    load_points = tuple(load_point for document in documents for load_point in _build_load_points(document))
    even_notes = [_EVEN_NOTE] * any(load_point.offered_per_s is not None for load_point in load_points)
    return ImportedCurve(
        tool=TOOL,
        precision="aggregates",
        load_points=load_points,
        notes=(FROM_SEND_NOTE, _BATCH_NOTE, *even_notes, _NO_COUNTS_NOTE),
    )


def _build_load_points(document: ForeignDocument) -> list[MeasuredLoadPoint]:
    percentiles = {column: match for column in document.header if (match := _PERCENTILE.fullmatch(column))}
    if not percentiles:
        hint = "The CSV of a composing model has no percentiles. Use the CSV of the top-level model."
        raise build_file_error(document.name, "it has no latency percentile columns", hint)
    return [_build_load_point(document, row, percentiles) for row in document.rows()]


def _build_load_point(
    document: ForeignDocument, row: dict[str, str], percentiles: dict[str, re.Match[str]]
) -> MeasuredLoadPoint:
    def parse_cell(column: str) -> float:
        return parse_cell_number(row, column, document.name)

    latencies_us = {
        format_percentile_name(float(match[1])): parse_cell(column) for column, match in percentiles.items()
    }
    if "Avg latency" in row:
        latencies_us["mean"] = parse_cell("Avg latency")
    is_closed_loop = "Concurrency" in row
    return MeasuredLoadPoint(
        offered_per_s=None if is_closed_loop else parse_cell("Request Rate"),
        clients=parse_cell("Concurrency") if is_closed_loop else None,
        achieved_per_s=parse_cell("Inferences/Second"),
        duration_s=None,
        completed=None,
        failed=None,
        latencies_s=drop_empty({"latency": convert_to_seconds(latencies_us, 1e-6)}),
        gaps="even",
    )
