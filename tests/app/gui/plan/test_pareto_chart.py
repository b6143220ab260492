from __future__ import annotations

from msgspec.structs import replace
from pytestqt.qtbot import QtBot

from app.gui.charts.pens import Category
from app.gui.plan.pareto_chart import ParetoChart, assign_styles, build_legend_entries
from app.gui.plan.state import PlanState
from app.gui.theme import ThemeController
from app.records.estimate import Estimate
from tests.fakes.whole_plan import whole_plan


def test_pareto_front_connects_only_simulated_offers_if_there_are_any(qtbot: QtBot, theme: ThemeController) -> None:
    chart, plan = ParetoChart(theme), whole_plan()
    qtbot.addWidget(chart)
    assert plan.recommendation is not None
    fleets = tuple(
        replace(
            plan.recommendation.fleet, offer=f"acme/{method}-{cost}", sizing_method=method, basis="measured",
            usd_per_month=Estimate(float(cost)), latency_at_peak=Estimate(10_000.0 / cost),
        )
        for method, cost in (("simulated", 100), ("formula", 200), ("simulated", 400))
    )  # fmt: skip
    mixed = replace(plan, offers=fleets, pareto=fleets)
    chart.show_state(PlanState(phase="simulated", plan=mixed, is_current=True))
    (front,) = [series for series in chart.chart.series() if series.key == "front"]
    assert front.x.tolist() == [100.0, 400.0]
    (points,) = [series for series in chart.chart.series() if series.key != "front"]
    assert points.hollow_flags is not None
    assert points.hollow_flags.tolist() == [False, True, False]
    assert "(1 estimated, with hollow markers)" in chart._summary_label.text()
    assert "It leaves out offers that were not simulated." in chart._summary_label.text()
    chart.show_pins(("acme/formula-200",))
    labels = {label.text for label in chart.chart.labels.labels}
    assert labels == {
        f"5 × {plan.recommendation.fleet.instance_type}",
        f"A: 5 × {plan.recommendation.fleet.instance_type}",
    }
    estimates = tuple(replace(fleet, sizing_method="formula") for fleet in fleets)
    preview = replace(plan, offers=estimates, pareto=estimates)
    chart.show_state(PlanState(phase="preview", plan=preview, is_current=True))
    (front,) = [series for series in chart.chart.series() if series.key == "front"]
    assert front.x.tolist() == [100.0, 200.0, 400.0]


def test_accelerator_has_the_same_color_when_offers_change() -> None:
    plan = whole_plan()
    fleets = [
        replace(plan.offers[0], offer=f"{provider}/{key}-{index}", provider=provider, accelerator=key)
        for index, (provider, key) in enumerate(
            (("aws", "h100"), ("gcp", "l4"), ("aws", "l4"), ("gcp", "a100"), ("lambda", "a100"), ("aws", None))
        )
    ]
    styles = assign_styles(fleets, ("h100",), (3, 2))
    assert styles.color_indices == {"a100": 0, "h100": 1, "l4": 2}
    assert styles.marker_indices == {"aws": 0, "gcp": 1}
    assert styles.find_category(fleets[5]) == Category(None, 0)
    assert assign_styles(fleets[::-1], ("h100",), (3, 2)) == styles
    entries = build_legend_entries(fleets[1:3], styles, {})
    assert [(entry.label, entry.category) for entry in entries] == [
        ("l4", Category(2, 0)), ("aws", Category(None, 0)), ("gcp", Category(None, 1)),
    ]  # fmt: skip
    names = [entry.label for entry in build_legend_entries(fleets, styles, {})]
    assert names == ["a100", "h100", "l4", "other accelerators", "aws", "gcp", "other providers"]
