from __future__ import annotations

import pytest
from msgspec.structs import replace

from app.analysis.gates import judge_gate
from app.analysis.objectives import parse_gate
from app.analysis.run_metrics import run_metrics
from app.records.metrics import RUN_METRICS
from app.records.plan import TokenUnitCosts, UnitCosts
from app.records.result import Estimate, Judgement, MaxRate
from tests.fakes.whole_plan import nothing_fits, whole_plan

FOUND = MaxRate(Estimate(205.0, (190.0, 220.0)), ("latency_ms.p95 < 50",), "the CPUs")


def test_every_metric_of_a_run_is_told_or_says_why_not() -> None:
    for of_run in (run_metrics(FOUND, whole_plan()), run_metrics(None, None), run_metrics(FOUND, nothing_fits())):
        assert of_run.keys() == RUN_METRICS.keys()
        assert all((one.value is None) is (one.reason is not None) for one in of_run.values())


def test_costs_are_those_of_the_recommended_fleet() -> None:
    plan = whole_plan()
    assert plan.recommendation is not None
    fleet = plan.recommendation.fleet
    of_run = run_metrics(FOUND, plan)
    assert of_run["usd_per_month"] == fleet.usd_per_month
    assert of_run["usd_per_1k_inferences"] == fleet.usd_per_1k_inferences
    assert of_run["max_rate_within_slo"] == FOUND.per_s


def test_the_cost_of_tokens_has_the_months_interval() -> None:
    plan = whole_plan()
    assert plan.recommendation is not None
    tokens = TokenUnitCosts(None, None, UnitCosts(None, None, 0.5))
    fleet = replace(plan.recommendation.fleet, usd_per_month=Estimate(100.0, (80.0, 140.0)), per_1m_tokens=tokens)
    of_run = run_metrics(None, replace(plan, recommendation=replace(plan.recommendation, fleet=fleet)))
    per_1m = of_run["usd_per_1m_tokens"]
    assert per_1m == Estimate(0.5, per_1m.ci95)
    assert per_1m.ci95 == pytest.approx((0.4, 0.7))


@pytest.mark.parametrize(("share", "judgement"), [(1.5, "PASS"), (0.5, "FAIL"), (1.0, "INCONCLUSIVE")])
def test_a_cost_gate_can_pass_and_fail(share: float, judgement: Judgement) -> None:
    plan = whole_plan()
    assert plan.recommendation is not None
    cost = Estimate(0.2, (0.18, 0.22))
    fleet = replace(plan.recommendation.fleet, usd_per_1k_inferences=cost)
    of_run = run_metrics(FOUND, replace(plan, recommendation=replace(plan.recommendation, fleet=fleet)))
    gate = parse_gate(f"usd_per_1k_inferences <= {0.2 * share}")
    assert judge_gate(gate, (), (), of_run).judgement == judgement


def test_a_cost_gate_without_a_fleet_is_inconclusive() -> None:
    judged = judge_gate(parse_gate("usd_per_month < 60"), (), (), run_metrics(FOUND, nothing_fits()))
    assert (judged.judgement, judged.observed.reason) == ("INCONCLUSIVE", "the plan recommends no fleet")
