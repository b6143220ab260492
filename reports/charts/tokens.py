"""Charts of a language model: TTFT and TPOT by load, and tokens per second per user vs. tokens per
second per GPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from reports import formatting
from reports.charts.picture import Chart
from reports.charts.style import ACCENT, INK, build_layer, build_limit_line, build_point_scales, build_spec, fit_scale
from reports.model import FIXED_RATE_KINDS, Quantity, Report, StageRow, TokenRow

_MS_PER_S = 1000.0

_LoadPoint = tuple[float, StageRow, TokenRow]
"""Load (concurrency or req/s), the stage at this load, and the token metrics of the stage."""


def build_token_charts(report: Report) -> tuple[Chart, ...]:
    """Build the charts of token metrics; empty unless token metrics exist at two or more distinct
    loads."""
    for is_closed_loop in (True, False):
        load_points = _select_load_points(report, is_closed_loop=is_closed_loop)
        if len({load for load, _, _ in load_points}) > 1:
            charts = (
                _build_times_chart(report, load_points, is_closed_loop=is_closed_loop),
                _build_frontier_chart(report, load_points, is_closed_loop=is_closed_loop),
            )
            return tuple(chart for chart in charts if chart is not None)
    return ()


def _select_load_points(report: Report, *, is_closed_loop: bool) -> list[_LoadPoint]:
    """Return the stages in order of load: closed-loop stages by concurrency if `is_closed_loop` is
    true, otherwise constant-rate stages by rate."""
    token_rows = {row.stage: row for row in report.tokens}
    stages = [
        (
            _get_load(row, is_closed_loop=is_closed_loop),
            row,
            token_rows[formatting.format_stage_name(row.name, row.repeat)],
        )
        for row in report.stages
        if formatting.format_stage_name(row.name, row.repeat) in token_rows
        and row.validity != "INVALID"
        and not row.pooled
    ]
    return sorted(
        ((load, row, token_row) for load, row, token_row in stages if load is not None),
        key=lambda load_point: load_point[0],
    )


def _get_load(row: StageRow, *, is_closed_loop: bool) -> float | None:
    if is_closed_loop:
        return row.clients if row.kind == "closed" else None
    return row.scheduled_per_s if row.kind in FIXED_RATE_KINDS else None


def _format_load(load: float, *, is_closed_loop: bool) -> str:
    number_text = formatting.format_plain(load) if is_closed_loop else formatting.format_number(load)
    return f"concurrency {number_text}" if is_closed_loop else formatting.with_unit(number_text, "req/s")


def _build_times_chart(report: Report, load_points: Sequence[_LoadPoint], *, is_closed_loop: bool) -> Chart | None:
    points: list[dict[str, Any]] = [
        {"load": load, "series": metric_text, "value": quantity.value, "shown": formatting.format_quantity(quantity)}
        for load, _, row in load_points
        for metric_text, quantity in _get_token_times(row).items()
        if quantity.value is not None and quantity.value > 0
    ]
    series_names = [
        metric_text
        for metric_text in _get_token_times(load_points[0][2])
        if any(point["series"] == metric_text for point in points)
    ]
    if not points:
        return None
    limit = report.curve.limit if report.curve.metric in ("ttft_ms", "tpot_ms") else None
    values_ms = [*(point["value"] for point in points), *([limit.value] if limit else [])]
    x = alt.X(
        "load:Q",
        title="Concurrency" if is_closed_loop else "Offered rate (req/s)",
        **fit_scale([load for load, _, _ in load_points], 4, from_zero=False),
    )
    y = alt.Y("value:Q", title="TTFT and TPOT (ms)", **fit_scale(values_ms, 20))
    tooltip = [alt.Tooltip("series:N"), alt.Tooltip("load:Q"), alt.Tooltip("shown:N", title="Time")]
    lines = (
        build_layer(points)
        .mark_line(point=alt.OverlayMarkDef(size=50, filled=True))
        .encode(x=x, y=y, tooltip=tooltip, **build_point_scales(series_names))
    )
    metric_text = formatting.format_metric_label(report.curve.metric, report.curve.percentile)
    limit_lines = build_limit_line(limit.value, f"SLO {metric_text} {formatting.format_limit(limit)}") if limit else []
    return Chart(
        key="token-times",
        title=f"TTFT and TPOT by {'concurrency' if is_closed_loop else 'offered rate'}",
        alternative=_describe_times(load_points, is_closed_loop=is_closed_loop),
        spec=build_spec([lines, *limit_lines], "token_times"),
        columns=("load", *_get_token_times(load_points[0][2])),
        rows=tuple(
            (
                _format_load(load, is_closed_loop=is_closed_loop),
                *map(formatting.format_quantity, _get_token_times(row).values()),
            )
            for load, _, row in load_points
        ),
    )


def _get_token_times(row: TokenRow) -> dict[str, Quantity]:
    return {"p50 TTFT": row.ttft_p50, "p95 TTFT": row.ttft_p95, "p50 TPOT": row.tpot_p50, "p95 TPOT": row.tpot_p95}


def _describe_times(load_points: Sequence[_LoadPoint], *, is_closed_loop: bool) -> str:
    end_points = (load_points[0], load_points[-1])
    return " ".join(
        f"At {_format_load(load, is_closed_loop=is_closed_loop)}, the latencies were: "
        + ", ".join(
            f"{name} {formatting.format_value_unit(quantity)}" for name, quantity in _get_token_times(row).items()
        )
        + "."
        for load, _, row in end_points
    )


def _build_frontier_chart(report: Report, load_points: Sequence[_LoadPoint], *, is_closed_loop: bool) -> Chart | None:
    """Draw tokens per second per user vs. tokens per second per GPU. If the number of GPUs is
    unknown, the tokens per second of the whole target are used."""
    gpu_count = report.header.accelerator_count
    points: list[dict[str, Any]] = [
        {
            "user": _MS_PER_S / row.tpot_p50.value,
            "total": row.tokens_per_s.value / (gpu_count or 1),
            "load": _format_load(load, is_closed_loop=is_closed_loop),
        }
        for load, _, row in load_points
        if row.tpot_p50.value and row.tokens_per_s.value is not None
    ]
    if len(points) < 2:
        return None
    throughput_unit = "tok/s/GPU" if gpu_count else "tok/s"
    x = alt.X(
        "user:Q",
        title="Output throughput per user (tok/s, 1 / p50 TPOT)",
        **fit_scale([point["user"] for point in points], 12),
    )
    y = alt.Y(
        "total:Q", title=f"Output throughput ({throughput_unit})", **fit_scale([point["total"] for point in points], 20)
    )
    tooltip = [
        alt.Tooltip("load:N"),
        alt.Tooltip("user:Q", title="tok/s/user", format=",.3~r"),
        alt.Tooltip("total:Q", title=throughput_unit, format=",.3~r"),
    ]
    data = build_layer(points)
    frontier_line = data.mark_line(color=ACCENT).encode(x=x, y=y, order=alt.Order("total:Q"))
    marks = data.mark_point(size=50, filled=True, color=ACCENT, opacity=1).encode(x=x, y=y, tooltip=tooltip)
    labels = data.mark_text(align="right", baseline="bottom", dx=-6, dy=-3, color=INK).encode(
        x=x, y=y, text=alt.Text("load:N")
    )
    rows = [
        (point["load"], formatting.format_number(point["user"]), formatting.format_number(point["total"]))
        for point in points
    ]
    return Chart(
        key="token-frontier",
        title=f"Output throughput per user vs. in total ({throughput_unit})",
        alternative=" ".join(
            f"At {load}, the output throughput was {per_user_text} tok/s/user and {total_text} {throughput_unit}."
            for load, per_user_text, total_text in rows
        ),
        spec=build_spec([frontier_line, marks, labels], "token_frontier"),
        columns=("load", "tok/s/user", throughput_unit),
        rows=tuple(rows),
        note="Upper right is better." + ("" if gpu_count else " The number of GPUs is unknown, so the total is shown."),
    )
