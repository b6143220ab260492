"""Section of the classes of requests: one stage as an overview, then each class in all stages."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from reports.formatting import format_percent
from reports.quantity import Quantity
from reports.sections.section import LATENCY, Column, Noted, Output, Section, Table, list_aggregates


class ClassRow(msgspec.Struct, frozen=True, kw_only=True):
    """Requests of one class in one stage.

    `weight_share` is the share of the arrivals that the profile gives to the class, and `share` its
    share of the requests in the stage; they differ by chance, and by the length of sessions.
    `meets_slo` is `None` without objectives of the class, or if too few responses decide.
    """

    name: str
    stage: str
    stage_number: int
    """Position of the stage among those with classes, from 0; stages may have the same name."""
    weight_share: float
    share: Quantity
    requests: int
    failed: int
    error_rate: Quantity
    throughput: Quantity
    goodput: Quantity
    ttft_p50: Quantity
    ttft_p95: Quantity
    ttft_p99: Quantity
    tpot_p50: Quantity
    tpot_p95: Quantity
    itl_p50: Quantity
    itl_p99: Quantity
    latency_p50: Quantity
    latency_p95: Quantity
    latency_p99: Quantity
    output_tokens_per_s: Quantity
    cached: Quantity
    has_slo: bool
    meets_slo: bool | None


class ClassSection(msgspec.Struct, frozen=True, kw_only=True):
    """Results by class of requests. `rows` are sorted by class, in the order of the profile.

    `stage` is the stage in which an overview compares the classes. `has_tokens` is true if the
    responses have tokens.
    """

    stage: str
    stage_number: int
    has_tokens: bool
    rows: tuple[ClassRow, ...]

    @property
    def overview(self) -> tuple[ClassRow, ...]:
        """Row of each class in the stage of the overview."""
        return tuple(row for row in self.rows if row.stage_number == self.stage_number)

    @property
    def rows_by_class(self) -> dict[str, tuple[ClassRow, ...]]:
        """Rows of each class, by name; empty if the overview already shows all rows."""
        if len(self.overview) == len(self.rows):
            return {}
        return {name: tuple(row for row in self.rows if row.name == name) for name in self.names}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the profile."""
        return tuple(dict.fromkeys(row.name for row in self.rows))


_MAX_OPEN_ROWS = 20


def _list_tables(section: ClassSection, output: Output) -> list[Table[ClassRow]]:
    """Return the table that compares the classes in one stage and, where there is room, a table of
    all stages per class if there are several stages."""
    if output in ("csv", "openmetrics"):
        return [Table(rows=section.rows)]
    overview = Table(
        rows=section.overview,
        title=f"In {section.stage}:",
        caption=f"{CLASSES.caption} in {section.stage}",
        legend=f"in {section.stage}; times in ms",
    )
    if output == "text":
        return [overview]
    return [
        overview,
        *(
            Table(
                rows=rows,
                first="stage",
                title=name,
                caption=f"Class {name}",
                summary="Each class in all stages",
                is_open=len(section.rows) <= _MAX_OPEN_ROWS,
            )
            for name, rows in section.rows_by_class.items()
        ),
    ]


def _format_state(row: ClassRow) -> str:
    """Format whether a class of requests met its objectives; a dash without objectives."""
    if not row.has_slo:
        return "–"
    return "not evaluated" if row.meets_slo is None else "met" if row.meets_slo else "missed"


def _build_gauge_labels(row: ClassRow, stage_labels: Mapping[str, dict[str, str]]) -> dict[str, str]:
    """Classes have gauges of their own, so that a sum over a gauge of stages counts no request
    twice."""
    return {**stage_labels.get(row.stage, {"stage": row.stage}), "class": row.name}


_PERCENTILES = ("p50", "p95", "p99")
CLASSES = Section(
    name="classes",
    title="Classes",
    markdown_title="Classes of requests",
    caption="Classes of requests",
    list_tables=_list_tables,
    has_units=False,
    max_text_rows=16,
    omits_empty=frozenset(("text", "markdown", "html", "window")),
    gauge_prefix="class",
    build_gauge_labels=_build_gauge_labels,
    tab=None,
    columns=(
        Column("name", "class", csv="class"),
        Column("stage", "stage"),
        Column("slo", "SLO", read=_format_state, is_prose=True),
        Column("share", "share"),
        Column("weight", "weight", read=lambda row: format_percent(row.weight_share)),
        Column(
            "weighted_share",
            "share (weight)",
            read=lambda row: Noted(row.share, suffix=f"({format_percent(row.weight_share)})"),
        ),
        Column("requests", "requests", unit_label="n", gauge=("requests", "Scheduled requests of a class")),
        Column("failed", "failed", gauge=("failed", "Failed requests of a class")),
        Column("error_rate", "error rate", unit_label="failed", metric="error_rate"),
        Column(
            "throughput",
            "throughput",
            unit_label="req/s",
            metric="completed_per_s",
            csv="throughput_per_s",
            gauge=("completed_per_second", "Rate of successful requests of a class"),
        ),
        Column(
            "goodput",
            "goodput",
            metric="goodput_share",
            csv="goodput_share",
            gauge=("goodput_share", "Share of the requests of a class within their SLO"),
        ),
        *list_aggregates("ttft", "TTFT", "ttft_ms", _PERCENTILES, help_text="Time to first token"),
        *list_aggregates("tpot", "TPOT", "tpot_ms", ("p50", "p95"), help_text="Time per output token"),
        *list_aggregates("itl", "ITL", "itl_ms", ("p50", "p99"), help_text="Inter-token latency"),
        *list_aggregates("latency", LATENCY, LATENCY, _PERCENTILES, help_text="Latency"),
        Column(
            "output_tokens_per_s",
            "output throughput",
            unit_label="tok/s",
            metric="output_tokens_per_s",
            gauge=("output_tokens_per_second", "Rate of output tokens"),
        ),
        Column("cached", "cached input", unit_label="cached", metric="cached_input_share", csv="cached_input_share"),
        Column("weight_share"),
        Column("share_value", csv="share", read=lambda row: row.share.value),
        Column("meets_slo"),
    ),
    layouts={
        "text": "name | slo share weight | requests throughput | error_rate goodput | ttft_p50 ttft_p95 | tpot_p50 "
        "tpot_p95 | itl_p99 | latency_p50 latency_p95 | output_tokens_per_s cached",
        "markdown": "name | weighted_share requests failed | ttft_p50 | ttft_p95 | ttft_p99 | tpot_p50 | tpot_p95 | "
        "itl_p99 | latency_p50 latency_p95 latency_p99 | throughput output_tokens_per_s goodput slo",
        "html": "name | slo goodput weighted_share requests error_rate | ttft_p50 | ttft_p95 | ttft_p99 | tpot_p95 | "
        "itl_p99 | latency_p50 latency_p95 latency_p99 | throughput output_tokens_per_s cached",
        "window": "name | slo share weight requests failed error_rate goodput ttft_p50 ttft_p95 ttft_p99 tpot_p50 "
        "tpot_p95 itl_p50 itl_p99 latency_p50 latency_p95 latency_p99 throughput output_tokens_per_s cached",
        "csv": "name | stage weight_share share_value requests failed meets_slo error_rate throughput goodput ttft_p50 "
        "ttft_p95 ttft_p99 tpot_p50 tpot_p95 itl_p50 itl_p99 latency_p50 latency_p95 latency_p99 output_tokens_per_s "
        "cached",
        "openmetrics": "name | requests failed throughput goodput latency_p50 latency_p95 latency_p99 ttft_p50 "
        "ttft_p95 ttft_p99 tpot_p50 tpot_p95 itl_p50 itl_p99 output_tokens_per_s",
    },
)
