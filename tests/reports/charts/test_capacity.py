from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from reports.charts.capacity import build_demand_chart
from reports.charts.picture import Chart
from reports.model import PlanReport, PlanSection


def _chart(plan: PlanSection) -> Chart:
    drawing = build_demand_chart(plan)
    assert drawing is not None
    return drawing


def _levels(plan: PlanSection) -> list[dict[str, Any]]:
    return [row for rows in _chart(plan).spec["datasets"].values() for row in rows if "per_s" in row]


def _with_row(plan: PlanSection, **changes: Any) -> PlanSection:
    assert plan.recommended_row is not None
    row = replace(plan.recommended_row, **changes)
    return replace(plan, offers=tuple(row if other.offer == row.offer else other for other in plan.offers))


def test_demand_chart_has_lines_for_planned_one_fewer_and_one_more_instance(plan: PlanSection) -> None:
    levels = {level["count"]: (level["per_s"], level["planned"]) for level in _levels(plan)}
    assert levels == {4: (96.0, False), 5: (120.0, True), 6: (144.0, False)}
    assert _chart(plan).rows[12] == ("12:00", "90.0", "96.0", "120", "144")


def test_demand_chart_uses_planned_rate_of_offer(plan: PlanSection) -> None:
    sized = _with_row(plan, planned_rate_per_s=20.0)
    assert [level["per_s"] for level in _levels(sized)] == [80.0, 100.0, 120.0]
    assert "95\u202f% probability" in (_chart(sized).note or "")
    assert "median" in (_chart(plan).note or "")


def test_demand_chart_has_no_line_for_zero_instances(plan: PlanSection) -> None:
    assert [level["count"] for level in _levels(_with_row(plan, instances=1, spare=0))] == [1, 2]


def test_demand_without_simulated_day_follows_hourly_shares_of_peak(plan: PlanSection) -> None:
    drawing = _chart(replace(plan, day=None))
    assert [row[1] for row in (drawing.rows[0], drawing.rows[12])] == ["18.0", "90.0"]


def test_plan_without_fleet_has_no_demand_chart(no_offer_plan_report: PlanReport) -> None:
    assert build_demand_chart(no_offer_plan_report.plan) is None
    assert build_demand_chart(None) is None
