"""What holds of a plan whatever is asked: by formula for many questions, by simulation for a few."""

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
from tests.fakes.offers import TODAY, catalogue, curve, offer
from tests.fakes.services import fit_of, fitted
from tests.tiers import first_in_unit_tier

pytestmark = pytest.mark.usefixtures("short_simulations")

ROUTERS: tuple[Router, ...] = ("random", "round-robin", "power-of-two", "least-outstanding", "least-work")
FORMULAE, SIMULATIONS = 40, 2
CASES = [(True, range(8)), (False, range(1, SIMULATIONS)), (True, range(8, FORMULAE)), (False, range(1))]
"""Whether the plan is estimated by formula, and the seeds of the questions."""
Cases = tuple[bool, range]
in_any_question = pytest.mark.parametrize("which", first_in_unit_tier(CASES, 2), ids=str)


def law(dice: random.Random) -> RequestService | BatchService:
    if dice.random() < 0.5:
        return RequestService(dice.choice((1, 2, 4)), dice.uniform(0.02, 0.5), dice.uniform(0.1, 1.5))
    return BatchService(dice.uniform(0.01, 0.2), dice.uniform(0.001, 0.02), dice.choice((4, 8, 32)), cv=0.1)


def question(dice: random.Random) -> PlanningInputs:
    """Of one to dozens of replicas, each on a vCPU, behind an SLO that some of them miss."""
    service, cv = law(dice), dice.choice((0.01, 0.1))
    alone_s = (
        service.mean_s if isinstance(service, RequestService) else service.max_batch / service.max_throughput_per_s
    )
    doubted = "mean_s" if isinstance(service, RequestService) else "fixed_s"
    fit = fit_of(
        fitted(service, **{doubted: cv}), highest_per_s=service.max_throughput_per_s * dice.choice((0.9, math.inf))
    )
    hardware = Hardware("one", vcpus=1, architecture=dice.choice(("x86_64", "arm64")))
    offers = [
        offer(f"c{place}", vcpus=dice.choice((1.0, 2.0, 3.0, 8.0)), on_demand_usd_per_hour=dice.uniform(0.1, 5))
        for place in range(dice.choice((1, 2, 4)))
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
        (parse_objective(f"latency_ms.p{dice.choice((50, 95, 99))} < {1000 * alone_s * dice.uniform(2, 8):.3f}"),),
        limits,
        catalogue(*offers),
        TODAY,
    )


@functools.cache
def planned(seed: int, is_preview: bool) -> Plan:
    return plan_fleets(question(random.Random(seed)), estimate_only=is_preview)


def cases(which: Cases) -> Iterator[tuple[random.Random, PlanningInputs, bool, Plan]]:
    """The dice are left where the question was drawn."""
    is_preview, seeds = which
    for seed in seeds:
        dice = random.Random(seed)
        yield dice, question(dice), is_preview, planned(seed, is_preview)


def sizes(plan: Plan) -> dict[str, float]:
    """Endless where the offer is refused."""
    return {fleet.offer: math.inf if fleet.instances is None else fleet.instances for fleet in plan.offers}


def cost(plan: Plan) -> float:
    return (plan.recommendation and plan.recommendation.fleet.usd_per_month.value) or math.inf


def winner(plan: Plan) -> str | None:
    return None if plan.recommendation is None else plan.recommendation.fleet.offer


def never_smaller(plan: Plan, beside: Plan) -> bool:
    there = sizes(beside)
    return all(count >= there[key] for key, count in sizes(plan).items())


def test_there_is_something_to_say_of_most_questions() -> None:
    plans = [planned(seed, is_preview=True) for seed in range(FORMULAE)]
    assert sum(plan.recommendation is not None for plan in plans) > 0.7 * len(plans)
    assert any(cost(plan) == math.inf for plan in plans)
    assert {fleet.instances for plan in plans for fleet in plan.offers} > {1, 2, 3, 5, None}


@in_any_question
def test_more_traffic_never_needs_fewer_of_any_offer(which: Cases) -> None:
    for dice, asked, is_preview, plan in cases(which):
        busier = replace(asked.traffic, peak_per_s=asked.traffic.peak_per_s * dice.choice((1.01, 1.1, 1.5, 4.0)))
        assert never_smaller(plan_fleets(replace(asked, traffic=busier), estimate_only=is_preview), plan)


@in_any_question
def test_a_tighter_slo_never_costs_less(which: Cases) -> None:
    for dice, asked, is_preview, plan in cases(which):
        one = asked.slo[0]
        tighter = parse_objective(f"{one.metric}.{one.aggregate} < {one.limit * dice.choice((0.5, 0.9, 0.99)):.3f}")
        assert cost(plan_fleets(replace(asked, slo=(tighter,)), estimate_only=is_preview)) >= cost(plan)


@in_any_question
def test_a_dearer_offer_never_wins_by_its_price_and_leaves_all_sizes(which: Cases) -> None:
    for dice, asked, is_preview, plan in cases(which):
        offers = list(asked.catalog.offers)
        place = dice.randrange(len(offers))
        usd = (offers[place].on_demand_usd_per_hour or 0.0) * dice.choice((1.01, 1.3, 3.0))
        offers[place] = replace(offers[place], on_demand_usd_per_hour=usd)
        dearer = plan_fleets(replace(asked, catalog=catalogue(*offers)), estimate_only=is_preview)
        assert sizes(dearer) == sizes(plan)
        assert winner(dearer) == winner(plan) or winner(dearer) != offers[place].key


@in_any_question
def test_asking_to_be_surer_never_needs_fewer(which: Cases) -> None:
    commands: list[dict[str, float]] = [{"confidence": 0.99}, {"redundancy": 3}, {"max_unavailable": 2}, {"zones": 4}]
    for dice, asked, is_preview, plan in cases(which):
        # losing one of four zones takes fewer than losing one of three
        more = dice.choice(commands if asked.limits.zones == 1 else commands[:3])
        surer = plan_fleets(replace(asked, limits=replace(asked.limits, **more)), estimate_only=is_preview)
        assert never_smaller(surer, plan)


@in_any_question
def test_no_fleet_is_as_cheap_and_as_fast_as_one_on_the_front(which: Cases) -> None:
    for _, _, _, plan in cases(which):
        front = [(fleet.usd_per_month.value or 0.0, fleet.latency_at_peak.value or 0.0) for fleet in plan.pareto]
        others = [
            (fleet.usd_per_month.value, fleet.latency_at_peak.value) for fleet in plan.offers if not fleet.rejected
        ]
        known = [(usd, ms) for usd, ms in (*front, *others) if usd is not None and ms is not None]
        for usd, ms in front:
            assert not any(usd_other <= usd and ms_other < ms for usd_other, ms_other in known)
            assert not any(usd_other < usd and ms_other <= ms for usd_other, ms_other in known)
        assert not known or front


@in_any_question
def test_the_same_question_has_the_same_plan_to_the_byte_and_survives_json(which: Cases) -> None:
    for _, asked, is_preview, plan in cases(which):
        reported = msgspec.json.encode(plan)
        assert msgspec.json.encode(plan_fleets(asked, estimate_only=is_preview)) == reported
        assert msgspec.json.decode(reported, type=Plan) == plan
