from __future__ import annotations

from msgspec.structs import replace
from pytestqt.qtbot import QtBot

from app.gui.plan.pareto_chart import ParetoChart
from app.gui.plan.state import PlanState
from app.gui.theme import ThemeController
from app.records.estimate import Estimate
from tests.fakes.whole_plan import whole_plan


def test_the_front_joins_no_estimate_to_what_was_simulated(qtbot: QtBot, look: ThemeController) -> None:
    chart, plan = ParetoChart(look), whole_plan()
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
    estimates = tuple(replace(fleet, sizing_method="formula") for fleet in fleets)
    preview = replace(plan, offers=estimates, pareto=estimates)
    chart.show_state(PlanState(phase="preview", plan=preview, is_current=True))
    (front,) = [series for series in chart.chart.series() if series.key == "front"]
    assert front.x.tolist() == [100.0, 200.0, 400.0]
