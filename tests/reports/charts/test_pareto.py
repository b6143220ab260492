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


def test_recommended_offer_is_marked_and_extrapolated_offers_are_hollow(full_report: Report) -> None:
    drawing = build_cost_pareto_chart(full_report.plan)
    roles = {value["fleet"].partition(" × ")[2]: (value["role"], value["fill"]) for value in _points(drawing)}
    assert roles["aws/c7i.large@us-east-1"] == ("recommended", "var(--paper)")
    assert roles["aws/c7i.xlarge@us-east-1"][0] == "runner-up"
    assert drawing is not None
    assert len(roles) == len(drawing.rows) == 6


def test_pareto_chart_without_recommendation_shows_offers(full_report: Report) -> None:
    drawing = build_cost_pareto_chart(msgspec.structs.replace(_plan(full_report), recommendation=None, runner_up=None))
    assert drawing is not None
    assert all(drawing.spec["datasets"].values())


def test_plan_without_feasible_offer_has_no_pareto_chart(full_report: Report) -> None:
    assert build_cost_pareto_chart(msgspec.structs.replace(_plan(full_report), offers=(), frontier=())) is None
    assert build_cost_pareto_chart(None) is None


def test_fleet_unlikely_on_pareto_front_is_faint_with_probability(plan: PlanSection) -> None:
    points = {point["fleet"]: point for point in _points(build_cost_pareto_chart(plan))}
    assert (points[f"5 × {L4}"]["opacity"], points[f"5 × {L4}"]["probability"]) == (1.0, "62\u202f%")
    assert (points[f"5 × {A10G}"]["opacity"], points[f"5 × {A10G}"]["probability"]) == (0.5, "41\u202f%")


def test_larger_pareto_fleet_is_point_beside_its_offer(plan: PlanSection) -> None:
    points = {point["fleet"]: point for point in _points(build_cost_pareto_chart(plan))}
    assert points[f"7 × {A10G}"]["role"] == "Pareto-optimal"
    assert points[f"7 × {A10G}"]["latency"] == 240.0
    assert len(points) == len(plan.offers) + 1


def test_pareto_chart_shows_slo_only_if_plan_has_latency_limit(plan: PlanSection) -> None:
    limits = [row for rows in _datasets(plan) for row in rows if "limit" in row]
    assert {row["limit"] for row in limits} == {500.0}
    assert not [
        row for rows in _datasets(msgspec.structs.replace(plan, latency_limit=None)) for row in rows if "limit" in row
    ]


def test_overlapping_percentages_are_only_in_pareto_table(plan: PlanSection) -> None:
    drawing = build_cost_pareto_chart(plan)
    shown = [datum["label"] for rows in _datasets(plan) for datum in rows if datum.get("label", "").endswith("%")]
    assert shown == ["62\u202f%", "41\u202f%", "74\u202f%"]
    near = tuple(
        msgspec.structs.replace(datum, usd_per_month=msgspec.structs.replace(datum.usd_per_month, value=2577.0 + index))
        for index, datum in enumerate(plan.frontier)
    )
    crowded = msgspec.structs.replace(plan, frontier=near)
    labels = [datum["label"] for rows in _datasets(crowded) for datum in rows if datum.get("label", "").endswith("%")]
    assert labels == ["62\u202f%", "41\u202f%"]
    assert drawing is not None
    assert {cells[-1] for cells in drawing.rows} == {"62\u202f%", "41\u202f%", "74\u202f%", "–"}


def _datasets(plan: PlanSection) -> list[list[dict[str, Any]]]:
    drawing = build_cost_pareto_chart(plan)
    assert drawing is not None
    return list(drawing.spec["datasets"].values())
