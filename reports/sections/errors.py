"""Section of the errors of the whole run, by error class."""

from __future__ import annotations

import msgspec

from reports.formatting import NOT_AVAILABLE, format_count, format_duration
from reports.quantity import Quantity
from reports.sections.section import MAX_TEXT_ROWS, Column, Section, describe_rows, format_dimmed


class ErrorSummary(msgspec.Struct, frozen=True, kw_only=True):
    """Errors of one class. `error` is the error class, as in the request rows."""

    error: str
    count: int
    first_s: float | None
    sample: str | None = None
    """Description of the first error of the class; `None` if the error has no description."""


class ErrorRow(ErrorSummary, frozen=True, kw_only=True):
    share: Quantity
    last_s: float | None


def _describe(row: ErrorRow) -> str:
    example = "" if row.sample is None else f"; first example: {row.sample}"
    return f"{row.error}: {format_count(row.count)}, {format_dimmed(row.share)} of all requests{example}"


def _format_time(time_s: float | None) -> str:
    return NOT_AVAILABLE if time_s is None else f"at {format_duration(max(0.0, time_s))}"


ERRORS = Section(
    name="errors",
    record=ErrorRow,
    rows_name="error classes",
    title="Errors",
    caption="Failed requests of all stages; percentiles cover successful requests only",
    list_tables=describe_rows(_describe, MAX_TEXT_ROWS),
    intervals={"html": "inline", "window": "inline"},
    part="errors",
    tab=None,
    columns=(
        Column("error", "error"),
        Column("count", "count"),
        Column("share", "share of requests"),
        Column("first", "first error", read=lambda row: _format_time(row.first_s)),
        Column("last", "last error", read=lambda row: _format_time(row.last_s)),
        Column("sample", "first example", is_prose=True),
    ),
    layouts={
        "text": "",
        "markdown": "error | count share sample",
        "all": "error | count share | first | last | sample",
    },
)
