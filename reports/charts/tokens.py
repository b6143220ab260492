"""Chart of a language model: tokens per second per user vs. tokens per second per GPU."""

from __future__ import annotations

from typing import Any

import altair as alt

from reports import formatting
from reports.charts.picture import Chart
from reports.charts.style import ACCENT, INK, build_layer, build_spec, fit_scale
from reports.model import Report
from reports.sections.tokens import format_load, select_load_points

_MS_PER_S = 1000.0


def build_token_frontier_chart(report: Report) -> Chart | None:
    """Draw tokens per second per user vs. tokens per second per GPU. If the number of GPUs is
    unknown, the tokens per second of the whole target are used. The result is `None` unless token
    metrics exist at two or more distinct loads."""
    load_points, is_closed_loop = select_load_points(report)
    gpu_count = report.header.accelerator_count
    points: list[dict[str, Any]] = [
        {
            "user": _MS_PER_S / row.tpot_p50.value,
            "total": row.tokens_per_s.value / (gpu_count or 1),
            "load": format_load(load, is_closed_loop=is_closed_loop),
        }
        for load, row in load_points
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
