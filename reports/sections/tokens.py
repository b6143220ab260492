"""Section of the token metrics of each stage whose responses have tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from reports import formatting
from reports.quantity import NOT_STORED, Quantity
from reports.sections.figure import FigureAxis, LineFigure, build_line
from reports.sections.section import LATENCY, Column, Output, Section, Table, list_aggregates
from reports.sections.stages import FIXED_RATE_KINDS, StageRow

if TYPE_CHECKING:
    from reports.model import Report


class TokenRow(msgspec.Struct, frozen=True, kw_only=True):
    """Token metrics of the responses of one stage: time to first token (`ttft_…`), time per output
    token (`tpot_…`), inter-token latency (`itl_…`) and inter-chunk latency (`icl_…`).

    `latency_…` are aggregates of the metric `Report.times`: the time of the whole response.
    """

    stage: str
    ttft_p50: Quantity
    ttft_p95: Quantity
    ttft_p99: Quantity
    tpot_p50: Quantity
    tpot_p95: Quantity
    itl_p50: Quantity
    itl_p99: Quantity
    icl_p99: Quantity
    coalesced: Quantity
    output_tokens: Quantity
    tokens_per_s: Quantity
    ttft_mean: Quantity = NOT_STORED
    tpot_mean: Quantity = NOT_STORED
    tpot_p99: Quantity = NOT_STORED
    itl_mean: Quantity = NOT_STORED
    itl_p95: Quantity = NOT_STORED
    latency_mean: Quantity = NOT_STORED
    latency_p50: Quantity = NOT_STORED
    latency_p95: Quantity = NOT_STORED
    latency_p99: Quantity = NOT_STORED
    throughput: Quantity = NOT_STORED
    """Successful responses per second."""
    good_tokens_per_s: Quantity = NOT_STORED
    user_tokens_p50: Quantity = NOT_STORED
    """Output throughput per user: 1 / TPOT."""
    cached: Quantity = NOT_STORED
    """Share of the input tokens that the server's prefix cache served."""
    reasoning_tokens: Quantity = NOT_STORED


_AGGREGATES = ("mean", "p50", "p95", "p99")


def _list_tables(rows: Sequence[TokenRow], _: Output) -> list[Table[TokenRow]]:
    """Return the table with the distinct reasons for missing values."""
    reasons = {
        f"{name} n/a: {quantity.reason}": None
        for row in rows
        for name, quantity in (
            ("ITL", row.itl_p50),
            ("TPOT", row.tpot_p50),
            ("ICL", row.icl_p99),
            ("TTFT", row.ttft_p50),
        )
        if quantity.value is None and not quantity.is_undersampled and quantity.reason
    }
    return [Table(rows=rows, lines=[*reasons])]


LoadPoint = tuple[float, TokenRow]
"""Load of a stage (concurrency or req/s), and its token metrics."""


def select_load_points(report: Report) -> tuple[list[LoadPoint], bool]:
    """Return the stages with token metrics in order of load, and whether they are closed-loop stages by
    concurrency, not constant-rate stages by rate; empty with fewer than two distinct loads."""
    for is_closed_loop in (True, False):
        points = _list_load_points(report, is_closed_loop=is_closed_loop)
        if len({load for load, _ in points}) > 1:
            return points, is_closed_loop
    return [], False


def _list_load_points(report: Report, *, is_closed_loop: bool) -> list[LoadPoint]:
    token_rows = {row.stage: row for row in report.tokens}
    stages = [
        (_get_load(row, is_closed_loop=is_closed_loop), token_rows[row.stage])
        for row in report.stages
        if row.stage in token_rows and row.validity != "INVALID" and not row.pooled
    ]
    return sorted(
        ((load, token_row) for load, token_row in stages if load is not None),
        key=lambda load_point: load_point[0],
    )


def _get_load(row: StageRow, *, is_closed_loop: bool) -> float | None:
    if is_closed_loop:
        return row.clients if row.kind == "closed" else None
    return row.scheduled_per_s if row.kind in FIXED_RATE_KINDS else None


def format_load(load: float, *, is_closed_loop: bool) -> str:
    number_text = formatting.format_plain(load) if is_closed_loop else formatting.format_number(load)
    return f"concurrency {number_text}" if is_closed_loop else formatting.with_unit(number_text, "req/s")


def build_token_times_figure(report: Report) -> LineFigure | None:
    """Build the lines of TTFT and TPOT by load; `None` unless token metrics exist at two or more
    distinct loads."""
    load_points, is_closed_loop = select_load_points(report)
    times = [(load, _get_token_times(row)) for load, row in load_points]
    names = tuple(times[0][1]) if times else ()
    all_lines = (
        build_line(name, [(load, quantities[name]) for load, quantities in times if quantities[name].value])
        for name in names
    )
    lines = tuple(line for line in all_lines if line.x)
    if not lines:
        return None
    limit = report.curve.limit if report.curve.metric in ("ttft_ms", "tpot_ms") else None
    metric_text = formatting.format_metric_label(report.curve.metric, report.curve.percentile)
    x_label, x_unit = ("Concurrency", "") if is_closed_loop else ("Offered rate", "req/s")
    return LineFigure(
        title=f"TTFT and TPOT by {x_label.lower()}",
        x=FigureAxis(x_label, x_unit, max_linear_ratio=4, is_from_zero=False),
        y=FigureAxis("TTFT and TPOT", "ms"),
        lines=lines,
        has_points=True,
        limit=None if limit is None else limit.value,
        limit_label="" if limit is None else f"SLO {metric_text} {formatting.format_limit(limit)}",
        alternative=_describe_times(load_points, is_closed_loop=is_closed_loop),
        columns=("load", *names),
        rows=tuple(
            (
                format_load(load, is_closed_loop=is_closed_loop),
                *map(formatting.format_quantity, quantities.values()),
            )
            for load, quantities in times
        ),
    )


def _get_token_times(row: TokenRow) -> dict[str, Quantity]:
    return {"p50 TTFT": row.ttft_p50, "p95 TTFT": row.ttft_p95, "p50 TPOT": row.tpot_p50, "p95 TPOT": row.tpot_p95}


def _describe_times(load_points: Sequence[LoadPoint], *, is_closed_loop: bool) -> str:
    end_points = (load_points[0], load_points[-1])
    return " ".join(
        f"At {format_load(load, is_closed_loop=is_closed_loop)}, the latencies were: "
        + ", ".join(
            f"{name} {formatting.format_value_unit(quantity)}" for name, quantity in _get_token_times(row).items()
        )
        + "."
        for load, row in end_points
    )


TOKENS = Section(
    name="tokens",
    record=TokenRow,
    rows_name="stages with tokens",
    needs_metrics=frozenset(("ttft_ms", "output_tokens")),
    title="Tokens",
    caption="Token metrics: time to first token (TTFT), time per output token (TPOT), inter-token latency (ITL), "
    "inter-chunk latency (ICL)",
    list_tables=_list_tables,
    legend="times in ms; coalesced: chunks read together (no ITL gap)",
    has_units=False,
    intervals={"window": "inline"},
    tab=None,
    figure_key="token-times",
    build_figure=build_token_times_figure,
    figure_part="charts",
    columns=(
        Column("stage", "stage"),
        Column("n", "n", read=lambda row: row.latency_p50.n),
        Column("throughput", "throughput", unit_label="req/s", metric="completed_per_s"),
        Column(
            "tokens_per_s",
            "output throughput",
            unit_label="tok/s",
            metric="output_tokens_per_s",
            gauge=("output_tokens_per_second", "Rate of output tokens"),
        ),
        *list_aggregates("ttft", "TTFT", "ttft_ms", _AGGREGATES, help_text="Time to first token"),
        *list_aggregates("tpot", "TPOT", "tpot_ms", _AGGREGATES, help_text="Time per output token"),
        *list_aggregates("itl", "ITL", "itl_ms", _AGGREGATES, help_text="Inter-token latency"),
        *list_aggregates("latency", LATENCY, LATENCY, _AGGREGATES),
        *list_aggregates("icl", "ICL", "icl_ms", ("p99",)),
        Column("coalesced", "coalesced chunks", unit_label="coalesced", metric="coalesced_share"),
        Column("output_tokens", "tokens per response", metric="output_tokens.mean"),
        Column("good_tokens_per_s", "token goodput", metric="good_tokens_per_s"),
        Column("user_tokens_p50", "p50 output throughput per user", metric="user_tokens_per_s.p50"),
        Column("cached", "cached input", metric="cached_input_share"),
        Column("reasoning_tokens", "reasoning tokens", metric="reasoning_tokens.mean"),
    ),
    layouts={
        "text": "stage | n | throughput tokens_per_s | ttft_mean ttft_p50 ttft_p95 ttft_p99 | tpot_mean tpot_p50 "
        "tpot_p95 tpot_p99 | itl_mean itl_p50 itl_p95 itl_p99 | latency_mean latency_p50 latency_p95 latency_p99 | "
        "icl_p99 coalesced | cached | reasoning_tokens",
        "markdown": "stage | ttft_p50 | ttft_p95 | ttft_p99 | tpot_p50 | tpot_p95 | itl_p50 | itl_p99 | tokens_per_s",
        "html": "stage | ttft_p50 | ttft_p95 | ttft_p99 | tpot_p50 | tpot_p95 | itl_p50 | itl_p99 | icl_p99 | "
        "coalesced | output_tokens | tokens_per_s | good_tokens_per_s | user_tokens_p50 | cached",
        "window": "stage | ttft_p50 | ttft_p95 | ttft_p99 | tpot_p50 | tpot_p95 | itl_p50 | itl_p99 | icl_p99 | "
        "coalesced | output_tokens | tokens_per_s",
        "openmetrics": "stage | ttft_p50 ttft_p95 ttft_p99 | tpot_p50 tpot_p95 | itl_p50 itl_p99 | tokens_per_s",
    },
)
