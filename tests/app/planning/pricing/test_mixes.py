from __future__ import annotations

import itertools
import math
import random

import pytest

from app.planning.pricing.mixes import ROUTER_NOTE, MixedFleet, MixLimits, MixOffer, solve_mix

DEMAND = {"short": 100.0, "long": 10.0}
SMALL = MixOffer("small", 1.0, {"short": 50.0, "long": 0.5})
LARGE = MixOffer("large", 4.0, {"short": 100.0, "long": 10.0})


def cheapest_by_hand(demand: dict[str, float], offers: list[MixOffer], limits: MixLimits) -> float | None:
    """Every dealing of the slices over every offer."""
    parts = range(limits.slices + 1)
    dealings = [deal for deal in itertools.product(parts, repeat=len(offers)) if sum(deal) == limits.slices]
    costs = []
    for deals in itertools.product(dealings, repeat=len(demand)):
        cost = cost_by_hand(deals, demand, offers, limits)
        if cost is not None:
            costs.append(cost)
    return min(costs, default=None)


def cost_by_hand(
    deals: tuple[tuple[int, ...], ...], demand: dict[str, float], offers: list[MixOffer], limits: MixLimits
) -> float | None:
    hour, types = 0.0, 0
    for at, offer in enumerate(offers):
        load = 0.0
        for deal, (bucket, per_s) in zip(deals, demand.items(), strict=True):
            if deal[at] and not offer.rate_per_s_by_bucket.get(bucket):
                return None
            load += deal[at] / limits.slices * per_s / offer.rate_per_s_by_bucket[bucket] if deal[at] else 0
        if load > 0:
            count = math.ceil(load / limits.max_load - 1e-9) + limits.spares
            if offer.max_instances is not None and count > offer.max_instances:
                return None
            hour, types = hour + count * offer.usd_per_hour, types + 1
    budget = limits.budget_usd_per_month
    over = budget is not None and hour * 730 > budget * (1 + 1e-9)
    return None if types > limits.max_types or over else hour


def found(demand: dict[str, float], offers: list[MixOffer], limits: MixLimits | None = None) -> MixedFleet:
    one = solve_mix(demand, offers, limits)
    assert one is not None
    return one


def test_each_type_gets_what_it_is_best_at() -> None:
    best = found(DEMAND, [SMALL, LARGE])
    assert best.count_by_offer == {"small": 2, "large": 1}  # alone: 22 small, or 2 large
    assert best.shares == {"short": {"small": 1.0}, "long": {"large": 1.0}}
    assert (best.usd_per_hour, best.usd_per_month, best.is_optimal) == (6.0, 6.0 * 730, True)
    assert best.note == ROUTER_NOTE


def test_one_type_needs_no_clever_router() -> None:
    best = found(DEMAND, [SMALL, LARGE], MixLimits(max_types=1))
    assert (best.count_by_offer, best.note) == ({"large": 2}, None)
    assert best.shares == {"short": {"large": 1.0}, "long": {"large": 1.0}}


def test_it_is_the_cheapest_of_all_mixes() -> None:
    dice = random.Random(1)
    none = mixed = 0
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
        if limits.max_types == 1:  # one type carries all of it
            limits = MixLimits(1, limits.spares, limits.budget_usd_per_month, 1, limits.max_load)
        expected, best = cheapest_by_hand(demand, offers, limits), solve_mix(demand, offers, limits)
        assert (best is None) == (expected is None)
        if best is not None:
            assert best.usd_per_hour == pytest.approx(expected)
            mixed += len(best.count_by_offer) > 1
        else:
            none += 1
    assert none > 2
    assert mixed > 5


def test_it_is_never_worse_than_the_best_single_type() -> None:
    dice = random.Random(2)
    for _ in range(30):
        offers = [MixOffer(f"o{n}", dice.uniform(0.5, 9), {b: dice.uniform(1, 90) for b in "abc"}) for n in range(6)]
        demand = {b: dice.uniform(0, 300) for b in "abc"}
        limits = MixLimits(spares=1)
        single = found(demand, offers, MixLimits(max_types=1, spares=1))
        assert found(demand, offers, limits).usd_per_hour <= single.usd_per_hour + 1e-9


def test_a_dearer_offer_never_wins_by_its_price() -> None:
    dice = random.Random(3)
    for _ in range(15):
        offers = [MixOffer(f"o{n}", dice.uniform(0.5, 9), {b: dice.uniform(1, 90) for b in "ab"}) for n in range(4)]
        before = found({"a": 99.0, "b": 50.0}, offers)
        at = dice.randrange(4)
        dearer = MixOffer(offers[at].key, offers[at].usd_per_hour * 1.5, offers[at].rate_per_s_by_bucket)
        after = found({"a": 99.0, "b": 50.0}, [*offers[:at], dearer, *offers[at + 1 :]])
        assert after.usd_per_hour >= before.usd_per_hour - 1e-9
        assert (
            after.count_by_offer.get(dearer.key, 0) <= before.count_by_offer.get(dearer.key, 0)
            or dearer.key in before.count_by_offer
        )


THREE = {"a": 10.0, "b": 10.0, "c": 10.0}
OF_ONE_EACH = [MixOffer(bucket, 1.0, {bucket: 10.0}) for bucket in THREE]
OF_TWO = MixOffer("b or c", 1.0, {"b": 6.0, "c": 6.0})


def test_no_more_types_than_are_wanted() -> None:
    assert found(THREE, [*OF_ONE_EACH, OF_TWO], MixLimits(max_types=3)).count_by_offer == {"a": 1, "b": 1, "c": 1}
    assert found(THREE, [*OF_ONE_EACH, OF_TWO], MixLimits(max_types=2)).count_by_offer == {"a": 1, "b or c": 4}


def test_spares_of_every_type_make_few_types_cheaper() -> None:
    best = found(THREE, [*OF_ONE_EACH, OF_TWO], MixLimits(max_types=3, spares=3))
    assert best.count_by_offer == {"a": 4, "b or c": 7}  # 11 USD an hour; a type for each bucket is 12
    assert best.spares == {"a": 3, "b or c": 3}


def test_the_instances_carry_what_they_are_dealt() -> None:
    dice = random.Random(4)
    for _ in range(20):
        offers = [MixOffer(f"o{n}", dice.uniform(0.5, 9), {b: dice.uniform(1, 90) for b in "abc"}) for n in range(5)]
        demand = {b: dice.uniform(1, 300) for b in "abc"}
        best = found(demand, offers, MixLimits(spares=1, max_load=0.9))
        for offer in offers:
            load = sum(best.shares[b].get(offer.key, 0) * demand[b] / offer.rate_per_s_by_bucket[b] for b in demand)
            assert load <= 0.9 * (best.count_by_offer.get(offer.key, 1) - 1) + 1e-6
        assert all(sum(shares.values()) == pytest.approx(1) for shares in best.shares.values())


def test_what_cannot_be_carried_or_paid_is_none() -> None:
    assert solve_mix(DEMAND, [MixOffer("cpu", 1.0, {"short": 5.0})]) is None
    assert solve_mix(DEMAND, []) is None
    assert solve_mix(DEMAND, [SMALL, LARGE], MixLimits(budget_usd_per_month=6 * 730 - 1)) is None
    assert solve_mix(DEMAND, [SMALL, LARGE], MixLimits(budget_usd_per_month=6 * 730)) is not None
    assert solve_mix(DEMAND, [MixOffer("few", 1.0, {"short": 50.0, "long": 5.0}, max_instances=3)]) is None


def test_no_traffic_needs_nothing() -> None:
    assert found({"short": 0.0}, [SMALL]).count_by_offer == {}


def test_the_whole_catalogue_at_once() -> None:
    dice = random.Random(5)
    offers = [MixOffer(f"o{n}", (price := dice.uniform(0.3, 40)), {b: price * dice.uniform(5, 20) for b in "abcd"})
              for n in range(120)]  # fmt: skip
    demand = {b: dice.uniform(50, 400) for b in "abcd"}
    single = found(demand, offers, MixLimits(max_types=1))
    assert found(demand, offers, MixLimits(time_limit_s=1.0)).usd_per_hour <= single.usd_per_hour
