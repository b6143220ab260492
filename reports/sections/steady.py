"""Section of the steady state of stages, beside the whole stage."""

from __future__ import annotations

import msgspec

from reports.formatting import format_duration
from reports.quantity import Quantity
from reports.sections.section import Column, Section, describe_rows, format_dimmed


class SteadyRow(msgspec.Struct, frozen=True, kw_only=True):
    """Throughput and latency of a stage as a whole, and of its steady state, which lasted from
    `start_s` to `end_s` since the start of the stage."""

    stage: str
    start_s: float
    end_s: float
    throughput: Quantity
    steady_throughput: Quantity
    p50: Quantity
    steady_p50: Quantity
    p95: Quantity
    steady_p95: Quantity
    window_s: tuple[float, float] | None = None
    """Start and end of the steady state, in seconds since the start of the run; `None` in reports of
    older versions."""


def _format_range(row: SteadyRow) -> str:
    return f"{format_duration(row.start_s)} to {format_duration(row.end_s)}"


def _describe(row: SteadyRow) -> str:
    return (
        f"{row.stage}: from {_format_range(row)}, {format_dimmed(row.steady_throughput)} (whole stage "
        f"{format_dimmed(row.throughput)}), p50 {format_dimmed(row.steady_p50)} ({format_dimmed(row.p50)}), "
        f"p95 {format_dimmed(row.steady_p95)} ({format_dimmed(row.p95)})"
    )


STEADY = Section(
    name="steady",
    title="Steady",
    caption="Steady state: without the ramp-up and the end of a stage, where fewer requests were in flight",
    list_tables=describe_rows(_describe),
    omits_empty=frozenset(("text", "window")),
    tab="breakdown",
    columns=(
        Column("stage", "stage"),
        Column("range", "steady state", read=_format_range),
        Column("throughput", "throughput"),
        Column("steady_throughput", "of it steady"),
        Column("p50", "p50"),
        Column("steady_p50", "of it steady"),
        Column("p95", "p95"),
        Column("steady_p95", "of it steady"),
    ),
    layouts={
        "text": "",
        "markdown": "",
        "all": "stage | range | throughput | steady_throughput | p50 | steady_p50 | p95 | steady_p95",
    },
)
