"""Section of the load workers of a run with several."""

from __future__ import annotations

import msgspec

from reports.formatting import format_count, format_duration
from reports.quantity import Quantity
from reports.sections.section import MAX_TEXT_ROWS, Column, Section, describe_rows, format_dimmed


class WorkerRow(msgspec.Struct, frozen=True, kw_only=True):
    """Statistics of one load worker over all stages except warm-ups. `clock` is the maximum clock
    error of the worker."""

    worker: int
    host: str
    sent: int
    cpu: Quantity
    max_lag: Quantity
    clock: Quantity
    lost_s: float | None


def _describe(row: WorkerRow) -> str:
    return (
        f"worker {row.worker} on {row.host}: sent {format_count(row.sent)}"
        + ("" if row.cpu.value is None else f", CPU time {format_dimmed(row.cpu)}")
        + f", max send lag {format_dimmed(row.max_lag)}"
        + ("" if row.clock.value is None else f", max clock error {format_dimmed(row.clock)}")
        + ("" if row.lost_s is None else f"; disconnected at {format_duration(row.lost_s)}")
    )


def _format_loss(row: WorkerRow) -> str:
    return "no" if row.lost_s is None else f"at {format_duration(row.lost_s)}"


WORKERS = Section(
    name="workers",
    record=WorkerRow,
    rows_name="workers",
    title="Workers",
    caption="Load workers, all stages except warm-ups",
    list_tables=describe_rows(_describe, MAX_TEXT_ROWS),
    intervals={"html": "inline", "window": "inline"},
    part="machine",
    columns=(
        Column("worker", "worker", read=lambda row: f"{row.worker}"),
        Column("host", "host", is_prose=True),
        Column("sent", "requests sent"),
        Column("cpu", "CPU time"),
        Column("max_lag", "max send lag"),
        Column("clock", "max clock error"),
        Column("lost", "disconnected", read=_format_loss),
    ),
    layouts={"text": "", "markdown": "", "all": "worker | host sent cpu max_lag clock lost"},
)
