"""Invariants of plans for random inputs: by formula for many inputs, by simulation for a few."""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Iterator

import msgspec
import pytest
from msgspec.structs import replace

from app.analysis.objectives import parse_objective
from app.planning.fleets import plan_fleets
from app.records.offers import PlanLimits, Router
from app.records.plan import Plan
from app.records.planning_inputs import MeasuredTarget, PlanningInputs
from app.records.result import Hardware
from app.records.service import BatchService, RequestService
from app.records.traffic import Traffic
from tests.fakes.offers import TODAY, catalog_of, curve, offer
from tests.fakes.services import fit_of, fitted_service
from tests.tiers import first_in_unit_tier

pytestmark = pytest.mark.usefixtures("short_simulations")

ROUTERS: tuple[Router, ...] = ("random", "round-robin", "power-of-two", "least-outstanding", "least-work")
ESTIMATES, SIMULATIONS = 40, 2
CASES = [(True, range(8)), (False, range(1, SIMULATIONS)), (True, range(8, ESTIMATES)), (False, range(1))]
"""Whether the plan is only estimated by formula, and the seeds of the inputs."""
Case = tuple[bool, range]
for_random_inputs = pytest.mark.parametrize("case", first_in_unit_tier(CASES, 2), ids=str)


def draw_service(dice: random.Random) -> RequestService | BatchService:
    if dice.random() < 0.5:
        return RequestService(dice.choice((1, 2, 4)), dice.uniform(0.02, 0.5), dice.uniform(0.1, 1.5))
    return BatchService(dice.uniform(0.01, 0.2), dice.uniform(0.001, 0.02), dice.choice((4, 8, 32)), cv=0.1)


def question(dice: random.Random) -> PlanningInputs:
    """Draw inputs that need one to dozens of replicas, each on one vCPU, with an SLO that some of them miss."""
    service, cv = draw_service(dice), dice.choice((0.01, 0.1))
    service_s = (
        service.mean_s if isinstance(service, RequestService) else service.max_batch / service.max_throughput_per_s
    )
    uncertain_parameter = "mean_s" if isinstance(service, RequestService) else "fixed_s"
    fit = fit_of(
        fitted_service(service, **{uncertain_parameter: cv}),
        highest_per_s=service.max_throughput_per_s * dice.choice((0.9, math.inf)),
    )
    hardware = Hardware("one", vcpus=1, architecture=dice.choice(("x86_64", "arm64")))
    offers = [
        offer(f"c{index}", vcpus=dice.choice((1.0, 2.0, 3.0, 8.0)), on_demand_usd_per_hour=dice.uniform(0.1, 5))
        for index in range(dice.choice((1, 2, 4)))
    ]
    limits = PlanLimits(
        router=dice.choice(ROUTERS),
        confidence=dice.choice((0.5, 0.8, 0.95)),
        redundancy=dice.choice((0, 1)),
        zones=dice.choice((1, 1, 3)),
    )
    peak_per_s = service.max_throughput_per_s * math.exp(dice.uniform(math.log(0.3), math.log(50)))
    return PlanningInputs(
        (MeasuredTarget("one", hardware, curve(service.max_throughput_per_s * 0.7), fit),),
        Traffic(peak_per_s, "flat", (1.0,) * 24, uncertainty=dice.choice((0.0, 0.2))),
        (parse_objective(f"latency_ms.p{dice.choice((50, 95, 99))} < {1000 * service_s * dice.uniform(2, 8):.3f}"),),
        limits,
        catalog_of(*offers),
        TODAY,
    )


@functools.cache
def plan_seed(seed: int, is_preview: bool) -> Plan:
    return plan_fleets(question(random.Random(seed)), estimate_only=is_preview)


def iterate_cases(case: Case) -> Iterator[tuple[random.Random, PlanningInputs, bool, Plan]]:
    """Yield the generator after it drew the inputs, the inputs, whether the plan is an estimate, and the plan."""
    is_preview, seeds = case
    for seed in seeds:
        dice = random.Random(seed)
        yield dice, question(dice), is_preview, plan_seed(seed, is_preview)


def get_sizes(plan: Plan) -> dict[str, float]:
    """Return the instances of each offer; infinity for rejected offers."""
    return {fleet.offer: math.inf if fleet.instances is None else fleet.instances for fleet in plan.offers}


def get_cost(plan: Plan) -> float:
    return (plan.recommendation and plan.recommendation.fleet.usd_per_month.value) or math.inf


def get_winner(plan: Plan) -> str | None:
    return None if plan.recommendation is None else plan.recommendation.fleet.offer


def has_no_smaller_fleet(plan: Plan, other_plan: Plan) -> bool:
    other_sizes = get_sizes(other_plan)
    return all(count >= other_sizes[key] for key, count in get_sizes(plan).items())


def test_over_70_percent_of_random_inputs_have_a_recommendation() -> None:
    plans = [plan_seed(seed, is_preview=True) for seed in range(ESTIMATES)]
    assert sum(plan.recommendation is not None for plan in plans) > 0.7 * len(plans)
    assert any(get_cost(plan) == math.inf for plan in plans)
    assert {fleet.instances for plan in plans for fleet in plan.offers} > {1, 2, 3, 5, None}


@for_random_inputs
def test_more_traffic_never_needs_fewer_instances_of_any_offer(case: Case) -> None:
    for dice, inputs, is_preview, plan in iterate_cases(case):
        busier = replace(inputs.traffic, peak_per_s=inputs.traffic.peak_per_s * dice.choice((1.01, 1.1, 1.5, 4.0)))
        assert has_no_smaller_fleet(plan_fleets(replace(inputs, traffic=busier), estimate_only=is_preview), plan)


@for_random_inputs
def test_tighter_slo_never_costs_less(case: Case) -> None:
    for dice, inputs, is_preview, plan in iterate_cases(case):
        objective = inputs.slo[0]
        tighter = parse_objective(
            f"{objective.metric}.{objective.aggregate} < {objective.limit * dice.choice((0.5, 0.9, 0.99)):.3f}"
        )
        assert get_cost(plan_fleets(replace(inputs, slo=(tighter,)), estimate_only=is_preview)) >= get_cost(plan)


@for_random_inputs
def test_price_increase_never_makes_an_offer_win_and_changes_no_fleet_size(case: Case) -> None:
    for dice, inputs, is_preview, plan in iterate_cases(case):
        offers = list(inputs.catalog.offers)
        index = dice.randrange(len(offers))
        usd = (offers[index].on_demand_usd_per_hour or 0.0) * dice.choice((1.01, 1.3, 3.0))
        offers[index] = replace(offers[index], on_demand_usd_per_hour=usd)
        repriced_plan = plan_fleets(replace(inputs, catalog=catalog_of(*offers)), estimate_only=is_preview)
        assert get_sizes(repriced_plan) == get_sizes(plan)
        assert get_winner(repriced_plan) == get_winner(plan) or get_winner(repriced_plan) != offers[index].key


@for_random_inputs
def test_higher_confidence_or_redundancy_never_needs_fewer_instances(case: Case) -> None:
    stricter_limits: list[dict[str, float]] = [
        {"confidence": 0.99},
        {"redundancy": 3},
        {"max_unavailable": 2},
        {"zones": 4},
    ]
    for dice, inputs, is_preview, plan in iterate_cases(case):
        # losing one of four zones needs fewer instances than losing one of three
        limit = dice.choice(stricter_limits if inputs.limits.zones == 1 else stricter_limits[:3])
        stricter_plan = plan_fleets(replace(inputs, limits=replace(inputs.limits, **limit)), estimate_only=is_preview)
        assert has_no_smaller_fleet(stricter_plan, plan)


@for_random_inputs
def test_pareto_front_of_random_inputs_is_not_dominated(case: Case) -> None:
    for _, _, _, plan in iterate_cases(case):
        front = [(fleet.usd_per_month.value or 0.0, fleet.latency_at_peak.value or 0.0) for fleet in plan.pareto]
        feasible = [
            (fleet.usd_per_month.value, fleet.latency_at_peak.value) for fleet in plan.offers if not fleet.rejected
        ]
        known_points = [(usd, ms) for usd, ms in (*front, *feasible) if usd is not None and ms is not None]
        for usd, ms in front:
            assert not any(usd_other <= usd and ms_other < ms for usd_other, ms_other in known_points)
            assert not any(usd_other < usd and ms_other <= ms for usd_other, ms_other in known_points)
        assert not known_points or front


@for_random_inputs
def test_plan_is_reproducible_to_the_byte_and_round_trips_through_json(case: Case) -> None:
    for _, inputs, is_preview, plan in iterate_cases(case):
        plan_json = msgspec.json.encode(plan)
        assert msgspec.json.encode(plan_fleets(inputs, estimate_only=is_preview)) == plan_json
        assert msgspec.json.decode(plan_json, type=Plan) == plan
