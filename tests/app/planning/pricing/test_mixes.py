from __future__ import annotations

import itertools
import math
import random

import pytest

from app.planning.pricing.mixes import ROUTER_NOTE, MixedFleet, MixLimits, MixOffer, solve_mix

DEMAND = {"short": 100.0, "long": 10.0}
SMALL = MixOffer("small", 1.0, {"short": 50.0, "long": 0.5})
LARGE = MixOffer("large", 4.0, {"short": 100.0, "long": 10.0})


def enumerate_cheapest_usd_per_hour(
    demand: dict[str, float], offers: list[MixOffer], limits: MixLimits
) -> float | None:
    """Return the cheapest cost of all assignments of slices to offers, in $/h."""
    slice_counts = range(limits.slices + 1)
    assignments = [
        assignment
        for assignment in itertools.product(slice_counts, repeat=len(offers))
        if sum(assignment) == limits.slices
    ]
    costs = []
    for bucket_assignments in itertools.product(assignments, repeat=len(demand)):
        cost = compute_usd_per_hour(bucket_assignments, demand, offers, limits)
        if cost is not None:
            costs.append(cost)
    return min(costs, default=None)


def compute_usd_per_hour(
    bucket_assignments: tuple[tuple[int, ...], ...], demand: dict[str, float], offers: list[MixOffer], limits: MixLimits
) -> float | None:
    usd_per_hour, type_count = 0.0, 0
    for index, offer in enumerate(offers):
        load = 0.0
        for assignment, (bucket, per_s) in zip(bucket_assignments, demand.items(), strict=True):
            if assignment[index] and not offer.rate_per_s_by_bucket.get(bucket):
                return None
            load += (
                assignment[index] / limits.slices * per_s / offer.rate_per_s_by_bucket[bucket]
                if assignment[index]
                else 0
            )
        if load > 0:
            count = math.ceil(load / limits.max_load - 1e-9) + limits.spares
            if offer.max_instances is not None and count > offer.max_instances:
                return None
            usd_per_hour, type_count = usd_per_hour + count * offer.usd_per_hour, type_count + 1
    budget = limits.budget_usd_per_month
    over = budget is not None and usd_per_hour * 730 > budget * (1 + 1e-9)
    return None if type_count > limits.max_types or over else usd_per_hour


def solve(demand: dict[str, float], offers: list[MixOffer], limits: MixLimits | None = None) -> MixedFleet:
    mix = solve_mix(demand, offers, limits)
    assert mix is not None
    return mix


def test_mix_assigns_each_bucket_to_its_cheapest_type() -> None:
    mix = solve(DEMAND, [SMALL, LARGE])
    assert mix.count_by_offer == {"small": 2, "large": 1}  # with one type: 22 small, or 2 large
    assert mix.shares == {"short": {"small": 1.0}, "long": {"large": 1.0}}
    assert (mix.usd_per_hour, mix.usd_per_month) == (6.0, 6.0 * 730)
    assert mix.note == ROUTER_NOTE


def test_mix_of_one_type_has_no_router_note() -> None:
    mix = solve(DEMAND, [SMALL, LARGE], MixLimits(max_types=1))
    assert (mix.count_by_offer, mix.note) == ({"large": 2}, None)
    assert mix.shares == {"short": {"large": 1.0}, "long": {"large": 1.0}}


def test_mix_has_the_lowest_cost_of_all_assignments() -> None:
    dice = random.Random(1)
    infeasible = mixed_count = 0
    for _ in range(40):
        offers = [
            MixOffer(
                f"o{n}", dice.uniform(0.5, 4),
                {b: dice.uniform(5, 60) for b in ("a", "b") if dice.random() < 0.85},
                dice.choice((None, None, 2, 4)),
            )
            for n in range(3)
        ]  # fmt: skip
        demand = {"a": dice.uniform(1, 150), "b": dice.uniform(1, 150)}
        limits = MixLimits(
            max_types=dice.choice((1, 2, 3)), spares=dice.choice((0, 1)), slices=4, max_load=dice.choice((1.0, 0.8)),
            budget_usd_per_month=dice.choice((None, 8000.0)),
        )  # fmt: skip
        if limits.max_types == 1:  # one type serves all of it
            limits = MixLimits(1, limits.spares, limits.budget_usd_per_month, 1, limits.max_load)
        expected, mix = enumerate_cheapest_usd_per_hour(demand, offers, limits), solve_mix(demand, offers, limits)
        assert (mix is None) == (expected is None)
        if mix is not None:
            assert mix.usd_per_hour == pytest.approx(expected)
            mixed_count += len(mix.count_by_offer) > 1
        else:
            infeasible += 1
    assert infeasible > 2
    assert mixed_count > 5


def test_mix_never_costs_more_than_the_best_single_type() -> None:
    dice = random.Random(2)
    for _ in range(30):
        offers = [MixOffer(f"o{n}", dice.uniform(0.5, 9), {b: dice.uniform(1, 90) for b in "abc"}) for n in range(6)]
        demand = {b: dice.uniform(0, 300) for b in "abc"}
        limits = MixLimits(spares=1)
        single = solve(demand, offers, MixLimits(max_types=1, spares=1))
        assert solve(demand, offers, limits).usd_per_hour <= single.usd_per_hour + 1e-9


def test_price_increase_never_lowers_the_mix_cost_or_adds_the_offer() -> None:
    dice = random.Random(3)
    for _ in range(15):
        offers = [MixOffer(f"o{n}", dice.uniform(0.5, 9), {b: dice.uniform(1, 90) for b in "ab"}) for n in range(4)]
        before = solve({"a": 99.0, "b": 50.0}, offers)
        index = dice.randrange(4)
        repriced = MixOffer(offers[index].key, offers[index].usd_per_hour * 1.5, offers[index].rate_per_s_by_bucket)
        after = solve({"a": 99.0, "b": 50.0}, [*offers[:index], repriced, *offers[index + 1 :]])
        assert after.usd_per_hour >= before.usd_per_hour - 1e-9
        assert (
            after.count_by_offer.get(repriced.key, 0) <= before.count_by_offer.get(repriced.key, 0)
            or repriced.key in before.count_by_offer
        )


THREE_BUCKETS = {"a": 10.0, "b": 10.0, "c": 10.0}
SINGLE_BUCKET_OFFERS = [MixOffer(bucket, 1.0, {bucket: 10.0}) for bucket in THREE_BUCKETS]
TWO_BUCKET_OFFER = MixOffer("b or c", 1.0, {"b": 6.0, "c": 6.0})


def test_mix_has_at_most_max_types() -> None:
    assert solve(THREE_BUCKETS, [*SINGLE_BUCKET_OFFERS, TWO_BUCKET_OFFER], MixLimits(max_types=3)).count_by_offer == {
        "a": 1,
        "b": 1,
        "c": 1,
    }
    assert solve(THREE_BUCKETS, [*SINGLE_BUCKET_OFFERS, TWO_BUCKET_OFFER], MixLimits(max_types=2)).count_by_offer == {
        "a": 1,
        "b or c": 4,
    }


def test_spares_per_type_favor_fewer_types() -> None:
    mix = solve(THREE_BUCKETS, [*SINGLE_BUCKET_OFFERS, TWO_BUCKET_OFFER], MixLimits(max_types=3, spares=3))
    assert mix.count_by_offer == {"a": 4, "b or c": 7}  # $11/h; one type per bucket costs $12/h
    assert mix.spares == {"a": 3, "b or c": 3}


def test_instances_of_a_mix_sustain_their_assigned_load() -> None:
    dice = random.Random(4)
    for _ in range(20):
        offers = [MixOffer(f"o{n}", dice.uniform(0.5, 9), {b: dice.uniform(1, 90) for b in "abc"}) for n in range(5)]
        demand = {b: dice.uniform(1, 300) for b in "abc"}
        mix = solve(demand, offers, MixLimits(spares=1, max_load=0.9))
        for offer in offers:
            load = sum(mix.shares[b].get(offer.key, 0) * demand[b] / offer.rate_per_s_by_bucket[b] for b in demand)
            assert load <= 0.9 * (mix.count_by_offer.get(offer.key, 1) - 1) + 1e-6
        assert all(sum(shares.values()) == pytest.approx(1) for shares in mix.shares.values())


def test_infeasible_mix_is_none() -> None:
    assert solve_mix(DEMAND, [MixOffer("cpu", 1.0, {"short": 5.0})]) is None
    assert solve_mix(DEMAND, []) is None
    assert solve_mix(DEMAND, [SMALL, LARGE], MixLimits(budget_usd_per_month=6 * 730 - 1)) is None
    assert solve_mix(DEMAND, [SMALL, LARGE], MixLimits(budget_usd_per_month=6 * 730)) is not None
    assert solve_mix(DEMAND, [MixOffer("few", 1.0, {"short": 50.0, "long": 5.0}, max_instances=3)]) is None


def test_mix_for_no_traffic_is_empty() -> None:
    assert solve({"short": 0.0}, [SMALL]).count_by_offer == {}


def test_mix_of_120_offers_is_no_worse_than_a_single_type_in_1_s() -> None:
    dice = random.Random(5)
    offers = [MixOffer(f"o{n}", (price := dice.uniform(0.3, 40)), {b: price * dice.uniform(5, 20) for b in "abcd"})
              for n in range(120)]  # fmt: skip
    demand = {b: dice.uniform(50, 400) for b in "abcd"}
    single = solve(demand, offers, MixLimits(max_types=1))
    assert solve(demand, offers, MixLimits(time_limit_s=1.0)).usd_per_hour <= single.usd_per_hour
