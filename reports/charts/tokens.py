"""Charts of a language model: TTFT and TPOT by load, and tokens per second per user vs. tokens per
second per GPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from reports import formatting
from reports.charts.picture import Chart
from reports.charts.style import ACCENT, INK, build_spec, fit_scale, limit_line, new_chart, point_scales
from reports.model import Quantity, Report, StageRow, TokenRow

_MS_PER_S = 1000.0
_RATE_KINDS = ("step", "steady", "probe")

_Loaded = tuple[float, StageRow, TokenRow]
"""Load (concurrency or req/s), the stage with this load, and the token metrics of the stage."""


def token_charts(report: Report) -> tuple[Chart, ...]:
    """Build the charts of token metrics; empty unless responses have tokens at two or more
    different loads."""
    for is_closed in (True, False):
        loaded = _loaded_stages(report, is_closed=is_closed)
        if len({load for load, _, _ in loaded}) > 1:
            charts = (_times(report, loaded, is_closed=is_closed), _frontier(report, loaded, is_closed=is_closed))
            return tuple(chart for chart in charts if chart is not None)
    return ()


def _loaded_stages(report: Report, *, is_closed: bool) -> list[_Loaded]:
    """Return the stages ordered by load: closed-loop stages by concurrency if `is_closed` is true,
    otherwise constant-rate stages by rate."""
    tokens = {row.stage: row for row in report.tokens}
    stages = [
        (_load(row, is_closed=is_closed), row, tokens[_name(row)])
        for row in report.stages
        if _name(row) in tokens and row.validity != "INVALID" and not row.pooled
    ]
    return sorted(((load, row, token) for load, row, token in stages if load is not None), key=lambda loaded: loaded[0])


def _name(row: StageRow) -> str:
    return f"{row.name} #{row.repeat}" if row.repeat > 1 else row.name


def _load(row: StageRow, *, is_closed: bool) -> float | None:
    if is_closed:
        return row.clients if row.kind == "closed" else None
    return row.scheduled_per_s if row.kind in _RATE_KINDS else None


def _load_text(load: float, *, is_closed: bool) -> str:
    number = formatting.format_plain(load) if is_closed else formatting.format_number(load)
    return f"concurrency {number}" if is_closed else formatting.with_unit(number, "req/s")


def _times(report: Report, loaded: Sequence[_Loaded], *, is_closed: bool) -> Chart | None:
    points: list[dict[str, Any]] = [
        {"load": load, "series": name, "value": quantity.value, "shown": formatting.format_quantity(quantity)}
        for load, _, row in loaded
        for name, quantity in _token_times(row).items()
        if quantity.value is not None and quantity.value > 0
    ]
    names = [name for name in _token_times(loaded[0][2]) if any(point["series"] == name for point in points)]
    if not points:
        return None
    limit = report.curve.limit if report.curve.metric in ("ttft_ms", "tpot_ms") else None
    heights = [*(point["value"] for point in points), *([limit.value] if limit else [])]
    x = alt.X(
        "load:Q",
        title="concurrency" if is_closed else "offered rate, req/s",
        **fit_scale([load for load, _, _ in loaded], 4, from_zero=False),
    )
    y = alt.Y("value:Q", title="ms", **fit_scale(heights, 20))
    tooltip = [alt.Tooltip("series:N"), alt.Tooltip("load:Q"), alt.Tooltip("shown:N", title="value")]
    lines = (
        new_chart(points)
        .mark_line(point=alt.OverlayMarkDef(size=50, filled=True))
        .encode(x=x, y=y, tooltip=tooltip, **point_scales(names))
    )
    name = formatting.metric_name(report.curve.metric, report.curve.percentile)
    line = limit_line(limit.value, f"SLO {name} {formatting.format_limit(limit)}") if limit else []
    return Chart(
        key="token-times",
        title=f"TTFT and TPOT by {'concurrency' if is_closed else 'offered rate'}",
        alternative=_times_text(loaded, is_closed=is_closed),
        spec=build_spec([lines, *line], "token_times"),
        columns=("load", *_token_times(loaded[0][2])),
        rows=tuple(
            (_load_text(load, is_closed=is_closed), *map(formatting.format_quantity, _token_times(row).values()))
            for load, _, row in loaded
        ),
    )


def _token_times(row: TokenRow) -> dict[str, Quantity]:
    return {"TTFT p50": row.ttft_p50, "TTFT p95": row.ttft_p95, "TPOT p50": row.tpot_p50, "TPOT p95": row.tpot_p95}


def _times_text(loaded: Sequence[_Loaded], *, is_closed: bool) -> str:
    ends = (loaded[0], loaded[-1])
    return (
        "; ".join(
            f"at {_load_text(load, is_closed=is_closed)}: "
            + ", ".join(
                f"{name} {formatting.format_value_unit(quantity)}" for name, quantity in _token_times(row).items()
            )
            for load, _, row in ends
        )
        + "."
    )


def _frontier(report: Report, loaded: Sequence[_Loaded], *, is_closed: bool) -> Chart | None:
    """Draw the tokens per second of a user vs. the tokens per second per GPU, or of the whole
    target if the number of GPUs is unknown."""
    cards = report.header.accelerator_count
    points: list[dict[str, Any]] = [
        {
            "user": _MS_PER_S / row.tpot_p50.value,
            "total": row.tokens_per_s.value / (cards or 1),
            "load": _load_text(load, is_closed=is_closed),
        }
        for load, _, row in loaded
        if row.tpot_p50.value and row.tokens_per_s.value is not None
    ]
    if len(points) < 2:
        return None
    total = "tok/s/GPU" if cards else "tok/s"
    x = alt.X("user:Q", title="tok/s/user (1 / TPOT p50)", **fit_scale([point["user"] for point in points], 12))
    y = alt.Y("total:Q", title=f"output {total}", **fit_scale([point["total"] for point in points], 20))
    tooltip = [
        alt.Tooltip("load:N"),
        alt.Tooltip("user:Q", title="tok/s/user", format=",.3~r"),
        alt.Tooltip("total:Q", title=total, format=",.3~r"),
    ]
    data = new_chart(points)
    line = data.mark_line(color=ACCENT).encode(x=x, y=y, order=alt.Order("total:Q"))
    marks = data.mark_point(size=50, filled=True, color=ACCENT, opacity=1).encode(x=x, y=y, tooltip=tooltip)
    labels = data.mark_text(align="right", baseline="bottom", dx=-6, dy=-3, color=INK).encode(
        x=x, y=y, text=alt.Text("load:N")
    )
    numbers = [
        (point["load"], formatting.format_number(point["user"]), formatting.format_number(point["total"]))
        for point in points
    ]
    return Chart(
        key="token-frontier",
        title=f"Speed per user vs. output {total}",
        alternative="; ".join(f"{load}: {user} tok/s/user, {output} {total}" for load, user, output in numbers) + ".",
        spec=build_spec([line, marks, labels], "token_frontier"),
        columns=("load", "tok/s/user", total),
        rows=tuple(numbers),
        note="Upper right is better." + ("" if cards else " The number of GPUs is unknown, so the total is shown."),
    )
