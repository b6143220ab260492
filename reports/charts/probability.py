"""Chart of the probability that the SLO is met at the peak, by number of instances."""

from __future__ import annotations

import altair as alt

from reports import formatting, plan_sentences
from reports.charts.picture import Chart
from reports.charts.style import ACCENT, INK, LIMIT, MUTED, build_halo_texts, build_layer, build_spec
from reports.plan_section import PlanSection


def build_probability_chart(plan: PlanSection | None) -> Chart | None:
    """Build the chart of the probability that the SLO is met; `None` if the plan recommends no
    fleet, or if the probabilities of that fleet are unknown."""
    row = plan.recommended_row if plan else None
    if plan is None or row is None or row.slo_probabilities is None:
        return None
    probability_cells = plan_sentences.build_slo_probability_cells(row)
    if not probability_cells:
        return None
    probabilities = (row.slo_probabilities.one_fewer, row.slo_probabilities.planned, row.slo_probabilities.one_more)[
        -len(probability_cells) :
    ]
    colors = (MUTED, ACCENT, MUTED)[-len(probability_cells) :]
    records = [
        {"instances": name, "percent": 100 * probability, "text": probability_text, "color": color}
        for (name, probability_text), probability, color in zip(probability_cells, probabilities, colors, strict=True)
    ]
    target_text = formatting.format_probability(plan.confidence)
    x = alt.X("instances:N", title="Instances for the load, without spares", sort=None, axis=alt.Axis(labelAngle=0))
    y = alt.Y("percent:Q", title="P(SLO met) (%)", scale=alt.Scale(domain=[0, 112], nice=False),
              axis=alt.Axis(values=[0, 20, 40, 60, 80, 100]))  # fmt: skip
    tooltip = [alt.Tooltip("instances:N"), alt.Tooltip("text:N", title="P(SLO met)")]
    data = build_layer(records)
    bar_layer = data.mark_bar(size=64).encode(x=x, y=y, color=alt.Color("color:N", scale=None), tooltip=tooltip)
    labels = build_halo_texts(data, INK, {"baseline": "bottom", "dy": -4, "fontWeight": 600, "fontSize": 13}, x=x, y=y)
    # A label at the line would cover the value of a bar that nearly meets the target.
    target_legend = alt.Legend(title=None, symbolType="stroke", symbolSize=320, symbolDash=[6, 4])
    target_line = (
        build_layer([{"target": 100 * plan.confidence, "text": f"target {target_text}"}])
        .mark_rule(strokeDash=[6, 4], strokeWidth=1.5)
        .encode(y=alt.Y("target:Q"), stroke=alt.Stroke("text:N", legend=target_legend, scale=alt.Scale(range=[LIMIT])))
    )
    return Chart(
        key="probability",
        title="P(SLO met) at peak by number of instances",
        alternative=f"P(SLO met) is {'; '.join(f'{text} with {name}' for name, text in probability_cells)} instances. "
        f"The target is {target_text}.",
        spec=build_spec([bar_layer, target_line, *labels], "probability"),
        columns=("instances, without spares", "P(SLO met)"),
        rows=tuple(probability_cells),
    )
