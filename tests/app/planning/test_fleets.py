from __future__ import annotations

import datetime
import itertools
import random

import msgspec
import pytest

from app.planning.fleets import plan_fleets, simulate_offer
from app.planning.sizing.slo_objectives import CancelledError
from app.profiles.pricing.catalog import load_catalog
from app.records.offers import CapacityCurve, Catalog, PlanLimits, RequestedPrice
from app.records.result import Fleet, Hardware, Plan
from app.records.service import RequestService
from tests.fakes.offers import TODAY, catalog_of, curve, gpu_offer, offer, planning_inputs, target
from tests.fakes.services import fit_of, fitted_service
from tests.tiers import first_in_unit_tier

pytestmark = pytest.mark.usefixtures("short_simulations")

HERE = Hardware("this machine (2 vCPUs)", vcpus=2, architecture="x86_64", is_this_machine=True)
BUNDLED = load_catalog()


def make_plan(
    peak_per_s: float = 2000.0, *, catalog: Catalog = BUNDLED, capacity_curve: CapacityCurve | None = None,
    limits: PlanLimits | None = None, measured_on: Hardware = HERE, growth: float = 0.0, today: datetime.date = TODAY,
) -> Plan:  # fmt: skip
    """Plan from the max rate, without a service model."""
    inputs = planning_inputs(
        target(capacity_curve or curve(250.0), measured_on), peak_per_s=peak_per_s, catalog=catalog, limits=limits,
        today=today, hourly_share=(0.5,) * 24, growth_per_year=growth,
    )  # fmt: skip
    return plan_fleets(inputs)


def get_cheapest_usd(plan: Plan) -> float:
    assert plan.recommendation is not None
    cost = plan.recommendation.fleet.usd_per_month.value
    assert cost is not None
    return cost


def test_plan_lists_each_offer_once_with_feasible_offers_first_by_cost() -> None:
    plan = make_plan()
    assert sorted(fleet.offer for fleet in plan.offers) == sorted(catalog_offer.key for catalog_offer in BUNDLED.offers)
    feasible = [fleet for fleet in plan.offers if fleet.rejected is None]
    assert list(plan.offers[: len(feasible)]) == feasible
    costs = [fleet.usd_per_month.value or 0 for fleet in feasible]
    assert costs == sorted(costs)
    assert plan.recommendation is not None
    assert plan.recommendation.fleet == feasible[0]


def test_cpu_measurement_is_extrapolated_to_cpu_offers_only() -> None:
    for fleet in make_plan().offers:
        if fleet.rejected_by == "price trust":
            continue
        if fleet.accelerator is None:
            assert fleet.basis == "extrapolated"
            assert fleet.capacity_per_instance_per_s.ci95 is not None
        else:
            assert fleet.rejected is not None
            assert fleet.rejected.startswith("the target was measured on a CPU; to size ")
            assert fleet.instances is None


def test_only_the_offer_of_the_measurement_has_basis_measured() -> None:
    measured_on = Hardware("g6", offer="aws/g6.2xlarge@us-east-1", accelerator="l4", accelerator_count=1, vcpus=8)
    by_offer = {fleet.offer: fleet for fleet in make_plan(measured_on=measured_on).offers}
    assert by_offer["aws/g6.2xlarge@us-east-1"].basis == "measured"
    assert by_offer["aws/g6.12xlarge@us-east-1"].replicas_per_instance == 4
    assert by_offer["aws/g6f.2xlarge@us-east-1"].rejected is not None
    assert by_offer["ovhcloud/per-gpu-list:l4@any"].rejected_by == "price trust"
    assert "run this profile against the model on a CPU" in (by_offer["aws/c7g.4xlarge@us-east-1"].rejected or "")


@pytest.mark.parametrize(("days", "is_old"), [(90, False), (91, True), (141, True), (3660, True)])
def test_price_over_90_days_old_adds_a_warning_and_widens_the_cost_interval(days: int, is_old: bool) -> None:
    fresh = plan_fleets(planning_inputs())
    plan = plan_fleets(planning_inputs(today=TODAY + datetime.timedelta(days)))
    assert fresh.recommendation is not None
    assert plan.recommendation is not None  # old prices do not prevent a recommendation
    assert plan.recommendation.fleet.instances == fresh.recommendation.fleet.instances
    assert plan.recommendation.sentence.endswith(f". WARN: the price is {days} days old") == is_old
    assert [(check.id, check.value, check.limit, check.verdict) for check in plan.checks] == (
        [("price_age", days, 90, "WARN")] if is_old else []
    )
    assert all("sizewise offers import" in (check.hint or "") for check in plan.checks)
    assert not any("price age" in note for note in plan.notes), "the check states the price age"
    (low, high), (narrow_low, narrow_high) = (
        dated_plan.recommendation.fleet.usd_per_month.ci95 or (0.0, 0.0)
        for dated_plan in (plan, fresh)
        if dated_plan.recommendation
    )
    assert low < narrow_low
    assert high > narrow_high
    strict = plan_fleets(
        planning_inputs(today=TODAY + datetime.timedelta(days), limits=PlanLimits(max_price_age_days=90))
    )
    assert (strict.recommendation is None) == is_old


def test_bundled_catalog_gives_a_recommendation_with_a_warning_in_10_years() -> None:
    plan = make_plan(today=datetime.date(2036, 11, 28))
    assert plan.recommendation is not None
    assert "WARN: the price is" in plan.recommendation.sentence
    assert [check.id for check in plan.checks] == ["price_age"]


def test_offer_with_an_old_price_wins_only_if_cheaper_by_more_than_its_uncertainty() -> None:
    old = offer("old", on_demand_usd_per_hour=0.95, as_of=TODAY - datetime.timedelta(425))
    plan = plan_fleets(planning_inputs(catalog=catalog_of(offer("new"), old)))
    assert plan.recommendation is not None
    assert plan.recommendation.fleet.offer == "acme/new@here"
    assert any("/month less (5 %), at a less certain price from" in why for why in plan.recommendation.why)
    assert not any("becomes cheaper below" in change for change in plan.recommendation.would_change_it)
    cheaper = msgspec.structs.replace(old, on_demand_usd_per_hour=0.5)
    plan = plan_fleets(planning_inputs(catalog=catalog_of(offer("new"), cheaper)))
    assert plan.recommendation is not None
    assert plan.recommendation.fleet.offer == "acme/old@here"


def test_low_trust_prices_are_recommended_only_if_allowed() -> None:
    low_trust_catalog = catalog_of(offer(source="sky-v9-copy"))
    refused = plan_fleets(planning_inputs(catalog=low_trust_catalog))
    assert refused.recommendation is None
    assert refused.offers[0].rejected_by == "price trust"
    assert (
        plan_fleets(planning_inputs(catalog=low_trust_catalog, limits=PlanLimits(low_trust_prices=True))).recommendation
        is not None
    )


def test_price_of_0_is_a_missing_price() -> None:
    plan = plan_fleets(planning_inputs(catalog=catalog_of(offer(on_demand_usd_per_hour=0.0))))
    assert plan.recommendation is None
    assert plan.offers[0].rejected_by == "price"


@pytest.mark.parametrize(("redundancy", "confidence"), [(0, 0.9), (1, 0.9), (2, 0.9), (0, 0.99), (1, 0.999)])
def test_spot_fleet_has_enough_spares_for_the_requested_confidence(redundancy: int, confidence: float) -> None:
    """Spot instances may be preempted: without another instance, the SLO would be met with a probability of 79 %."""

    def recommend_fleet(price: RequestedPrice) -> Fleet:
        limits = PlanLimits(redundancy=redundancy, confidence=confidence, price=price)
        plan = plan_fleets(planning_inputs(catalog=catalog_of(offer(spot_usd_per_hour=0.3)), limits=limits))
        assert plan.recommendation is not None
        return plan.recommendation.fleet

    on_demand, spot = recommend_fleet("on-demand"), recommend_fleet("spot")
    assert spot.slo_probabilities is not None
    assert spot.slo_probabilities.planned >= confidence
    assert spot.slo_probabilities.one_fewer < confidence
    assert spot.instances is not None
    assert on_demand.instances is not None
    extra_instances = spot.instances - on_demand.instances
    assert (0 if redundancy else 1) <= extra_instances <= 4
    assert spot.usd_per_month.value == pytest.approx(730 * 0.3 * spot.instances)
    (risk,) = [reason for reason in spot.risk_reasons if reason.startswith("spot price")]
    assert (f"{extra_instances} of the spares {'covers' if extra_instances == 1 else 'cover'} this" in risk) == (
        extra_instances > 0
    )
    assert "below the requested confidence" not in risk


@pytest.mark.parametrize("plans", first_in_unit_tier([8, 41]))
def test_more_traffic_never_costs_less(plans: int) -> None:
    dice = random.Random(1)
    for lower, higher in itertools.pairwise(map(make_plan, sorted(dice.uniform(1, 20_000) for _ in range(plans)))):
        needed = {fleet.offer: fleet.instances for fleet in lower.offers}
        assert all((needed[fleet.offer] or 0) <= (fleet.instances or 0) for fleet in higher.offers)
        assert get_cheapest_usd(lower) <= get_cheapest_usd(higher)


@pytest.mark.parametrize("plans", first_in_unit_tier([8, 41]))
def test_lower_max_rate_never_costs_less(plans: int) -> None:
    dice = random.Random(2)
    costs = [
        get_cheapest_usd(make_plan(capacity_curve=curve(rate)))
        for rate in sorted(dice.uniform(5, 500) for _ in range(plans))
    ]
    assert costs == sorted(costs, reverse=True)


@pytest.mark.parametrize("rounds", first_in_unit_tier([12, 60]))
def test_price_increase_never_makes_an_offer_win(rounds: int) -> None:
    dice = random.Random(3)
    for round_number in range(rounds):
        if round_number % 3 == 0:
            offers = [offer(f"c{n}", vcpus=dice.choice((4.0, 16.0, 64.0)), on_demand_usd_per_hour=dice.uniform(0.1, 5))
                      for n in range(5)]  # fmt: skip
            after = make_plan(catalog=catalog_of(*offers)).recommendation
        before, index = after, dice.randrange(5)
        price = (offers[index].on_demand_usd_per_hour or 0) * dice.uniform(1.01, 3)
        offers[index] = msgspec.structs.replace(offers[index], on_demand_usd_per_hour=price)
        after = make_plan(catalog=catalog_of(*offers)).recommendation
        assert before is not None
        assert after is not None
        assert after.fleet.offer == before.fleet.offer or after.fleet.offer != offers[index].key


def test_pareto_front_is_not_dominated_and_starts_with_the_cheapest_fleet() -> None:
    plan = make_plan()
    points = [(fleet.usd_per_month.value or 0, fleet.latency_at_peak.value or 0) for fleet in plan.pareto]
    assert points == sorted(points)
    latencies = [latency_ms for _, latency_ms in points]
    assert latencies == sorted(set(latencies), reverse=True)
    assert points[0][0] == get_cheapest_usd(plan)
    feasible = [(f.usd_per_month.value or 0, f.latency_at_peak.value or 0) for f in plan.offers if f.rejected is None]
    assert not any(cost < c and latency_ms < m for cost, latency_ms in feasible for c, m in points)


def test_utilization_and_latency_at_peak_stay_within_the_measured_range() -> None:
    for fleet in make_plan().offers:
        assert fleet.rejected or (fleet.utilization_at_peak.value or 9) <= 1.0
        assert fleet.rejected or (fleet.latency_at_peak.value or 99) <= 47.0


def test_recommendation_among_equal_costs_has_the_lowest_risk() -> None:
    plan = make_plan(catalog=catalog_of(offer("a", cpu_architecture="arm64", vcpus=64.0), offer("b", vcpus=64.0)))
    assert plan.recommendation is not None
    assert plan.recommendation.fleet.instance_type == "b"


def test_plan_sizes_for_the_peak_after_growth() -> None:
    grown = make_plan(1000.0, growth=0.5)
    assert get_cheapest_usd(grown) == get_cheapest_usd(make_plan(1500.0))
    assert any("1,500 req/s" in note for note in grown.notes)


def test_runner_up_is_another_instance_type() -> None:
    plan = make_plan(catalog=catalog_of(offer("a"), offer("a", region="there"), offer("b", on_demand_usd_per_hour=9.0)))
    assert plan.runner_up is not None
    assert plan.runner_up.instance_type == "b"


def test_price_age_is_relative_to_the_plan_date() -> None:
    limits = PlanLimits(max_price_age_days=60)
    soon, later = (make_plan(limits=limits, today=day) for day in (TODAY, TODAY + datetime.timedelta(days=365)))
    assert soon.recommendation is not None
    assert later.recommendation is None
    assert later.planned_on == "2027-08-01"
    assert any(note.startswith("No instance type qualifies: ") for note in later.notes)


@pytest.mark.parametrize(
    "limits",
    [PlanLimits(providers=("aws",)), PlanLimits(regions=("us-east-1",)), PlanLimits(budget_usd_per_month=1500.0)],
)
def test_feasible_offers_are_within_the_plan_limits(limits: PlanLimits) -> None:
    plan = make_plan(limits=limits)
    feasible = [fleet for fleet in (*plan.offers, *plan.pareto) if fleet.rejected is None]
    assert feasible
    for fleet in feasible:
        assert not limits.providers or fleet.provider in limits.providers
        assert not limits.regions or fleet.region in limits.regions
        assert limits.budget_usd_per_month is None or (fleet.usd_per_month.value or 0) <= limits.budget_usd_per_month


def test_cheapest_rejected_offer_has_a_known_cost() -> None:
    offers = catalog_of(offer("a", provider="other"), offer("b"), gpu_offer("g", "l4", on_demand_usd_per_hour=0.01))
    plan = make_plan(catalog=offers, limits=PlanLimits(providers=("acme",)))
    assert plan.cheapest_rejected is not None
    assert plan.cheapest_rejected.offer == "other/a@here"


def test_cheapest_rejected_offer_is_not_a_filtered_one_if_others_have_a_cost() -> None:
    offers = catalog_of(offer("a", provider="other"), offer("b"), offer("c", on_demand_usd_per_hour=9.0))
    plan = make_plan(catalog=offers, limits=PlanLimits(providers=("acme",), budget_usd_per_month=10_000.0))
    assert plan.cheapest_rejected is not None
    assert plan.cheapest_rejected.offer == "acme/c@here"


def test_each_requested_accelerator_has_a_fleet_or_a_rejected_offer() -> None:
    offers = catalog_of(
        gpu_offer("g1", "l4"), gpu_offer("g2", "l4", on_demand_usd_per_hour=2.0), gpu_offer("g3", "l40s"), offer("c"),
    )  # fmt: skip
    on_l4 = Hardware("acme/g1", offer="acme/g1", accelerator="l4", accelerator_count=1.0)
    plan = make_plan(catalog=offers, measured_on=on_l4, limits=PlanLimits(accelerators=("l4", "l40s", "none", "h100")))
    assert [(listed.accelerator, listed.offer) for listed in plan.accelerators] == [
        ("l4", "acme/g1@here"), ("l40s", "acme/g3@here"), ("none", "acme/c@here"), ("h100", None),
    ]  # fmt: skip
    excluded = {fleet.offer: fleet.rejection for fleet in plan.offers if fleet.rejected is not None}
    assert excluded == {"acme/g3@here": "not_measured", "acme/c@here": "not_measured"}
    assert make_plan(catalog=offers, measured_on=on_l4).accelerators == ()


def test_plan_round_trips_through_json() -> None:
    plan = make_plan()
    assert msgspec.json.decode(msgspec.json.encode(plan), type=Plan) == plan


def test_plan_of_an_empty_catalog_is_empty() -> None:
    plan = make_plan(catalog=catalog_of())
    assert (plan.offers, plan.pareto, plan.recommendation, plan.runner_up) == ((), (), None, None)


def test_note_reports_a_planned_rate_capped_at_the_highest_measured_rate() -> None:
    service = RequestService(1, 0.01, 0.5)
    capped = target(fit=fit_of(fitted_service(service), highest_per_s=20.0))
    (note,) = [
        plan_note
        for plan_note in plan_fleets(planning_inputs(capped)).notes
        if "the highest rate measured" in plan_note
    ]
    assert note.startswith("A replica is planned at 20 req/s, the highest rate measured on run-1. Its service ")
    uncapped = target(fit=fit_of(fitted_service(service), highest_per_s=100.0))
    assert not [
        plan_note
        for plan_note in plan_fleets(planning_inputs(uncapped)).notes
        if "the highest rate measured" in plan_note
    ]


def test_simulating_a_single_offer_equals_its_fleet_in_the_plan() -> None:
    from tests.fakes import small_plan as fake_plans

    inputs = fake_plans.planning_inputs()
    plan = fake_plans.cached_plan(inputs)
    simulated = [fleet for fleet in plan.offers if fleet.sizing_method == "simulated"]
    assert len(simulated) == 2  # the second has the spread of the first
    assert [simulate_offer(inputs, fleet.offer) for fleet in simulated] == simulated
    assert simulate_offer(inputs, "acme/none@here") is None
    with pytest.raises(CancelledError):
        simulate_offer(inputs, plan.offers[0].offer, lambda: False)
