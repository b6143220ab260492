"""The knees of a sweep as marks on a chart over its loads."""

from __future__ import annotations

import altair as alt

from reports.charts.style import MUTED, chart_of
from reports.model import Report


def knee_rules(report: Report, unit: str, x: alt.X) -> list[alt.Chart]:
    """A vertical line for each method that found a knee in this unit, with its name; `x` shows the same loads."""
    rows = report.knees.rows if report.knees is not None else ()
    found = [row for row in rows if row.at.value is not None and row.at.unit == unit]
    layers: list[alt.Chart] = []
    for place, row in enumerate(found):
        data = chart_of([{x.shorthand.partition(":")[0]: row.at.value, "text": f"knee: {row.name}"}])
        layers.append(data.mark_rule(color=MUTED, strokeDash=[2, 3]).encode(x=x))
        label = data.mark_text(align="left", baseline="top", dx=4, color=MUTED)
        layers.append(label.encode(x=x, y=alt.value(16 + 13 * place), text="text:N"))
    return layers
