"""Section of the stages of an endpoint under load."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from reports import formatting
from reports.marks import mark_status
from reports.quantity import NOT_STORED, Quantity, Validity
from reports.sections.section import LATENCY, Column, Noted, Output, Section, State, Table

StageKind = Literal["warmup", "probe", "step", "steady", "closed", "varying", "spike", "batch"]
CONFIGURED_KINDS: tuple[StageKind, ...] = ("steady", "closed", "varying", "spike", "batch")
"""Kinds of stages that the profile defines. The others are warm-ups and stages of a search."""
FIXED_RATE_KINDS: tuple[StageKind, ...] = ("probe", "step", "steady")
"""Kinds of stages that have one rate, so that they are points of a curve over the rate."""
StageState = Literal["passed", "not evaluated", "failed", "INVALID"]


class StageRow(msgspec.Struct, frozen=True, kw_only=True):
    """Results of one stage. Probes that missed the SLO have rows too.

    `scheduled_per_s` is the rate from which the arrivals were drawn, and `offered` the rate that
    resulted. In a closed loop, `scheduled_per_s` is `None`, and `clients` is set instead. The
    percentiles are those of the metric `Report.times`; `evaluated` is the latency metric of the SLO
    (see `Report.curve`).
    """

    name: str
    kind: StageKind
    repeat: int
    start_s: float
    end_s: float
    scheduled_per_s: float | None
    offered: Quantity
    achieved: Quantity
    good: Quantity
    completed: int
    failed: int
    p50: Quantity
    p95: Quantity
    p99: Quantity
    evaluated: Quantity
    validity: Validity
    meets_slo: bool | None
    pooled: bool = False
    """True if the row combines several stages, which also have rows of their own."""
    reasons: tuple[str, ...] = ()
    arrivals: str | None = None
    """Description of the arrivals, such as the rate and the distribution."""
    clients: int | None = None
    throughput: Quantity | None = None
    """Successful responses per second."""

    @property
    def stage(self) -> str:
        """Display name of the stage, with its number among the repeats."""
        return formatting.format_stage_name(self.name, self.repeat)

    @property
    def state(self) -> StageState:
        if self.validity == "INVALID":
            return "INVALID"
        return "not evaluated" if self.meets_slo is None else "passed" if self.meets_slo else "failed"

    @property
    def labels(self) -> dict[str, str]:
        """Labels of the stage in OpenMetrics."""
        return {"stage": self.name, "kind": self.kind, "repeat": str(self.repeat)}


_MAX_NOTES = 8


def _list_tables(rows: Sequence[StageRow], output: Output) -> list[Table[StageRow]]:
    """Return the table of all stages. Text lists only those that the profile defines, because it
    already shows the result of a search, with the first reason of each INVALID stage."""
    if output == "text":
        rows = [row for row in rows if row.kind in CONFIGURED_KINDS]
    notes = [
        f"{mark_status(row.validity)} {row.name}: {row.reasons[0]}"
        for row in rows
        if row.validity == "INVALID" and row.reasons
    ]
    count_text = formatting.format_count(len(rows))
    summary = "Stage" if len(rows) == 1 else f"All {count_text} stages, including those that missed the SLO"
    is_open = not any(row.kind == "probe" for row in rows)
    return [Table(rows=rows, lines=notes[:_MAX_NOTES], summary=summary, is_open=is_open)] if rows else []


def _name_with_kind(row: StageRow) -> Noted:
    return Noted(row.stage, tag="" if row.kind in (row.name, _format_load(row)) else row.kind)


def _format_load(row: StageRow) -> str:
    if row.kind == "closed" and row.clients is not None:
        return f"concurrency {formatting.format_count(row.clients)}"
    return row.arrivals or row.kind


def _format_rate(row: StageRow) -> str:
    if row.scheduled_per_s is None:
        return _format_load(row)
    return formatting.with_unit(formatting.format_number(row.scheduled_per_s), "req/s")


_SHORT_STATES: dict[StageState, str] = {"failed": "missed", "not evaluated": "", "passed": "met"}


def _format_short_state(row: StageRow) -> str:
    return _SHORT_STATES.get(row.state) or (mark_status(row.state) if row.state == "INVALID" else "")


def _list_latency_columns() -> list[Column[StageRow]]:
    return [
        Column(
            percentile,
            f"{percentile} {LATENCY}",
            metric=f"{LATENCY}.{percentile}",
            csv=f"{percentile}_ms",
            gauge=("latency_milliseconds", "Latency by percentile"),
            percentile=percentile,
        )
        for percentile in ("p50", "p95", "p99")
    ]


STAGES = Section(
    name="stages",
    title="Stages",
    caption=f"Stages in order, with 95 % CIs; percentiles of {LATENCY}",
    list_tables=_list_tables,
    list_warnings=lambda row: () if row.kind == "warmup" else row.reasons,
    note="Requests belong to the stage in which they were scheduled. A response after the end of the stage counts as "
    "completed and as goodput, but not as throughput.",
    intervals={"html": "stacked", "window": "inline"},
    style="stages",
    build_gauge_labels=lambda row, _: row.labels,
    part="details",
    columns=(
        Column("stage", "stage", read=_name_with_kind),
        Column("load", "load", read=_format_load, is_prose=True),
        Column("rate", "load", read=_format_rate),
        Column("offered", "offered", csv="offered_per_s", gauge=("offered_per_second", "Rate of offered requests")),
        Column("achieved", "sent", csv="achieved_per_s", gauge=("achieved_per_second", "Rate of sent requests")),
        Column("good", "goodput", csv="good_per_s", gauge=("good_per_second", "Rate of requests within the SLO")),
        Column(
            "throughput",
            "throughput",
            metric="completed_per_s",
            csv="throughput_per_s",
            read=lambda row: NOT_STORED if row.throughput is None else row.throughput,
        ),
        Column("completed", "completed", gauge=("completed", "Successful requests")),
        Column("failed", "failed", gauge=("failed", "Failed requests")),
        *_list_latency_columns(),
        Column("slo", "SLO", read=_format_short_state),
        Column("result", "result", read=lambda row: State(row.state), is_prose=True),
        Column("start", "start", read=lambda row: formatting.format_duration(max(0.0, row.start_s))),
        Column("validity", "validity"),
        Column("name", csv="stage"),
        *(Column(key) for key in ("kind", "repeat", "start_s", "end_s", "arrivals", "clients", "scheduled_per_s")),
        Column("meets_slo"),
        Column("pooled"),
    ),
    layouts={
        "text": "stage | load | throughput | p50 p95 | failed | slo",
        "markdown": "stage | load | offered | throughput | p50 p95 p99 | failed | result",
        "html": "stage | load | offered | achieved | good | throughput | completed | failed | p50 p95 p99 | result",
        "window": "stage | result rate good p50 p95 p99 completed | failed offered achieved throughput start validity",
        "csv": "name | kind repeat start_s end_s arrivals clients scheduled_per_s offered achieved good throughput "
        "completed failed p50 p95 p99 validity meets_slo pooled",
        "openmetrics": "name | offered achieved good completed failed p50 p95 p99",
    },
)
