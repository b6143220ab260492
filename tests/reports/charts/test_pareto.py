from __future__ import annotations

from typing import Any

import msgspec

from reports.charts.pareto import build_cost_pareto_chart
from reports.charts.picture import Chart
from reports.model import PlanSection, Report
from tests.fakes.whole_plan import A10G, L4


def _points(drawing: Chart | None) -> list[dict[str, Any]]:
    assert drawing is not None
    return max(drawing.spec["datasets"].values(), key=len)


def _plan(report: Report) -> PlanSection:
    assert report.plan is not None
    return report.plan


def test_the_recommended_offer_is_marked_and_carried_over_ones_are_hollow(full_report: Report) -> None:
    drawing = build_cost_pareto_chart(full_report.plan)
    roles = {value["fleet"].partition(" × ")[2]: (value["role"], value["fill"]) for value in _points(drawing)}
    assert roles["aws/c7i.large@us-east-1"] == ("recommended", "var(--paper)")
    assert roles["aws/c7i.xlarge@us-east-1"][0] == "runner-up"
    assert drawing is not None
    assert len(roles) == len(drawing.rows) == 6


def test_without_a_recommendation_the_offers_are_still_drawn(full_report: Report) -> None:
    drawing = build_cost_pareto_chart(msgspec.structs.replace(_plan(full_report), recommendation=None, runner_up=None))
    assert drawing is not None
    assert all(drawing.spec["datasets"].values())


def test_no_plan_or_no_feasible_offer_is_no_chart(full_report: Report) -> None:
    assert build_cost_pareto_chart(msgspec.structs.replace(_plan(full_report), offers=(), frontier=())) is None
    assert build_cost_pareto_chart(None) is None


def test_a_fleet_of_the_front_that_is_likely_not_on_it_is_faint_and_says_so(plan: PlanSection) -> None:
    points = {one["fleet"]: one for one in _points(build_cost_pareto_chart(plan))}
    assert (points[f"5 × {L4}"]["opacity"], points[f"5 × {L4}"]["probability"]) == (1.0, "62\u202f%")
    assert (points[f"5 × {A10G}"]["opacity"], points[f"5 × {A10G}"]["probability"]) == (0.5, "41\u202f%")


def test_a_larger_fleet_of_the_front_stands_beside_its_offers_row(plan: PlanSection) -> None:
    points = {one["fleet"]: one for one in _points(build_cost_pareto_chart(plan))}
    assert points[f"7 × {A10G}"]["role"] == "Pareto-optimal"
    assert points[f"7 × {A10G}"]["latency"] == 240.0
    assert len(points) == len(plan.offers) + 1


def test_the_slo_is_drawn_where_it_limits_the_latency_shown(plan: PlanSection) -> None:
    limits = [one for rows in _datasets(plan) for one in rows if "limit" in one]
    assert {one["limit"] for one in limits} == {500.0}
    assert not [
        one for rows in _datasets(msgspec.structs.replace(plan, latency_limit=None)) for one in rows if "limit" in one
    ]


def test_percentages_that_would_overlap_are_left_to_the_table(plan: PlanSection) -> None:
    drawing = build_cost_pareto_chart(plan)
    shown = [one["label"] for rows in _datasets(plan) for one in rows if one.get("label", "").endswith("%")]
    assert shown == ["62\u202f%", "41\u202f%", "74\u202f%"]
    near = tuple(
        msgspec.structs.replace(one, usd_per_month=msgspec.structs.replace(one.usd_per_month, value=2577.0 + place))
        for place, one in enumerate(plan.frontier)
    )
    crowded = msgspec.structs.replace(plan, frontier=near)
    labels = [one["label"] for rows in _datasets(crowded) for one in rows if one.get("label", "").endswith("%")]
    assert labels == ["62\u202f%", "41\u202f%"]
    assert drawing is not None
    assert {row[-1] for row in drawing.rows} == {"62\u202f%", "41\u202f%", "74\u202f%", "–"}


def _datasets(plan: PlanSection) -> list[list[dict[str, Any]]]:
    drawing = build_cost_pareto_chart(plan)
    assert drawing is not None
    return list(drawing.spec["datasets"].values())
