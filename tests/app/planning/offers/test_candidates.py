from __future__ import annotations

import datetime

import pytest

from app.planning.hardware.capacity import Capacity
from app.planning.hardware.rates import Unavailable
from app.planning.offers.candidates import Candidate, RejectedOffer, build_fleet, evaluate_offer, iterate_fleets
from app.planning.sizing.instances import Demand
from app.planning.sizing.latency_curve import build_latency_curve
from app.records.offers import Offer, PlanLimits
from tests.fakes.offers import TODAY, curve, offer

CAPACITY = Capacity(100.0, 0.0, 1, "measured")
DEMAND = Demand(peak_per_s=750.0, mean_per_s=400.0, z=1.28, spares=1)


def build_candidate(an_offer: Offer, limits: PlanLimits | None = None, demand: Demand = DEMAND) -> Candidate:
    evaluated = evaluate_offer(an_offer, CAPACITY, demand, limits or PlanLimits(), TODAY)
    assert isinstance(evaluated, Candidate)
    return evaluated


def test_candidate_has_needed_and_spare_instances() -> None:
    evaluated = build_candidate(offer())
    assert (evaluated.needed_instances, evaluated.spares, evaluated.instances, evaluated.rejected) == (8, 1, 9, None)
    assert evaluated.usd_per_month == 730 * 9


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (PlanLimits(providers=("other",)), "provider acme is excluded by plan.providers"),
        (PlanLimits(regions=("there",)), "region here is excluded by plan.regions"),
        (PlanLimits(accelerators=("h100", "l4")), "an instance without accelerator is excluded by plan.accelerators"),
        (PlanLimits(sources=("sky-v9", "yours")), "price source karp-aws is excluded by plan.sources"),
        (PlanLimits(budget_usd_per_month=6000.0), "a fleet of 9 costs $6,570/month, above plan.budget of $6,000/month"),
        (PlanLimits(max_price_age_days=20), "is 25 days old, above plan.max_price_age of 20d"),
    ],
)
def test_offer_outside_the_plan_limits_is_rejected_with_its_reason(limits: PlanLimits, reason: str) -> None:
    evaluated = build_candidate(offer(as_of=TODAY - datetime.timedelta(days=25)), limits)
    assert evaluated.rejected is not None
    assert reason in evaluated.rejected


def test_accelerator_limit_by_short_name_includes_all_variants() -> None:
    limits = PlanLimits(accelerators=("h100", "none"))
    for key in ("h100-pcie-80gb", "h100-sxm5-80gb", None):
        assert (
            build_candidate(offer(accelerator=key, accelerator_count=float(key is not None)), limits).rejected is None
        )
    assert (
        build_candidate(offer(accelerator="h200-nvl-141gb", accelerator_count=1.0), limits).rejected_by
        == "accelerator type"
    )


def test_source_limit_applies_to_the_source_of_the_requested_price() -> None:
    priced = offer(source="yours+karp-aws", spot_usd_per_hour=0.3)
    assert build_candidate(priced, PlanLimits(sources=("yours",))).rejected is None
    assert build_candidate(priced, PlanLimits(sources=("karp-aws",))).rejected_by == "source"
    assert build_candidate(priced, PlanLimits(sources=("karp-aws",), price="spot")).rejected is None


def test_offer_without_price_or_capacity_is_rejected() -> None:
    unpriced = evaluate_offer(offer(on_demand_usd_per_hour=None), CAPACITY, DEMAND, PlanLimits(), TODAY)
    unmeasured = evaluate_offer(offer(), Unavailable("not_measured", "measure it"), DEMAND, PlanLimits(), TODAY)
    assert isinstance(unpriced, RejectedOffer)
    assert isinstance(unmeasured, RejectedOffer)
    assert unpriced.rejected_by == "price"
    assert (unmeasured.reason_id, unmeasured.reason) == ("not_measured", "measure it")


def test_utilization_and_latency_at_peak_include_spare_instances() -> None:
    fleet = build_fleet(build_candidate(offer()), 10, DEMAND, build_latency_curve(curve(100.0)), TODAY)
    assert fleet.utilization_at_peak.value == pytest.approx(0.75)
    assert fleet.spare_instances == 2
    assert 10.0 < (fleet.latency_at_peak.value or 0) < 24.0
    assert fleet.usd_per_month.value == 7300.0
    assert fleet.usd_per_1k_inferences.value == pytest.approx(7300 / (400 * 3.6 * 730))
    assert (fleet.risk, fleet.risk_reasons) == (0, ())


def test_fleet_without_spare_has_a_risk() -> None:
    without_spare = build_candidate(offer(), demand=Demand(peak_per_s=750.0, mean_per_s=400.0, z=1.28, spares=0))
    fleet = build_fleet(without_spare, without_spare.instances, DEMAND, build_latency_curve(curve(100.0)), TODAY)
    assert fleet.risk == 1
    assert "no spare" in fleet.risk_reasons[0]


def test_larger_fleets_go_up_to_1_5_times_the_size_within_the_budget() -> None:
    line = build_latency_curve(curve(100.0))
    all_fleets = list(iterate_fleets(build_candidate(offer()), DEMAND, line, None, TODAY))
    assert [fleet.instances for fleet in all_fleets] == [9, 10, 11, 12, 13]
    within_budget = list(iterate_fleets(build_candidate(offer()), DEMAND, line, 730 * 10.5, TODAY))
    assert [fleet.instances for fleet in within_budget] == [9, 10]
