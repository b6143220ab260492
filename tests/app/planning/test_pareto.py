from __future__ import annotations

import datetime
import math
import random

import msgspec
import pytest

from app.planning.candidates import Candidate, build_fleet, build_rejected_fleet
from app.planning.capacity import Capacity
from app.planning.latency_curve import LatencyCurve
from app.planning.options import Option
from app.planning.pareto import add_front_probabilities, find_pareto_front
from app.planning.sizing import Demand
from app.records.result import Estimate, Fleet
from tests.fakes.offers import TODAY, offer, target


def fleet(cost: float | None, latency_ms: float | None) -> Fleet:
    return msgspec.structs.replace(
        build_rejected_fleet(offer(), "", TODAY), usd_per_month=Estimate(cost), latency_at_peak=Estimate(latency_ms)
    )


def dominates(one: Fleet, other: Fleet) -> bool:
    pairs = [
        (one.usd_per_month.value, other.usd_per_month.value),
        (one.latency_at_peak.value, other.latency_at_peak.value),
    ]
    return all(a <= b for a, b in pairs if a and b) and any(a < b for a, b in pairs if a and b)


def test_the_front_has_no_dominated_fleet_and_leaves_none_out() -> None:
    dice = random.Random(6)
    for _ in range(100):
        fleets = [fleet(dice.randint(1, 9), dice.randint(1, 9)) for _ in range(dice.randrange(12))]
        front = find_pareto_front(fleets)
        assert not any(dominates(one, other) for one in fleets for other in front)
        assert all(one in front or any(dominates(other, one) or other == one for other in front) for one in fleets)
        assert [one.usd_per_month.value for one in front] == sorted(one.usd_per_month.value or 0 for one in front)


def test_fleets_without_a_latency_take_no_part() -> None:
    assert find_pareto_front([fleet(1, None), fleet(None, 1)]) == ()


DEMAND = Demand(100.0, 100.0, z=0.0, spares=0)
LATER = TODAY + datetime.timedelta(days=2 * 365)
Sized = tuple[Option, Fleet]


def sized(name: str, usd: float, per_s: float, sigma: float = 0.0, slowness: float = 1.0) -> Sized:
    """Two instances of so much each; latency grows tenfold from an idle one to a full one."""
    capacity = Capacity(per_s, sigma, 1, "measured")
    latencies = LatencyCurve((0.0, per_s), (math.log(slowness), math.log(10 * slowness)), per_s)
    candidate = Candidate(offer(name, on_demand_usd_per_hour=usd), usd, "on-demand", capacity, 2, 0, None)
    return Option(candidate, target(), latencies, capacity), build_fleet(candidate, 2, DEMAND, latencies, TODAY)


def chances(front: list[Sized], *rivals: Sized, today: datetime.date = TODAY) -> list[float]:
    found = add_front_probabilities(tuple(fleet for _, fleet in front), [*front, *rivals], DEMAND, today)
    assert [fleet.offer for fleet in found] == [fleet.offer for _, fleet in front]
    return [fleet.frontier_probability or 0.0 for fleet in found]


def test_what_is_certain_has_a_chance_of_one_or_none() -> None:
    cheap, fast = sized("cheap", 1.0, 80.0), sized("fast", 2.0, 200.0)
    assert chances([cheap, fast]) == [1.0, 1.0]
    assert chances([cheap, fast], sized("dear and slow", 3.0, 60.0)) == [1.0, 1.0]
    assert chances([cheap, fast], sized("better", 0.9, 90.0)) == [0.0, 1.0]
    assert chances([]) == []


def test_a_fleet_that_may_be_too_small_is_on_the_front_as_often_as_it_is_not() -> None:
    (even,) = chances([sized("full", 1.0, 50.0, sigma=0.1)])
    assert even == pytest.approx(0.5, abs=0.1)
    # one sigma of slack: five times in six
    (likely,) = chances([sized("ample", 1.0, 50.0 * math.exp(0.1), sigma=0.1)])
    assert likely == pytest.approx(0.84, abs=0.07)


def test_of_two_alike_at_prices_of_which_nobody_is_sure_one_is_on_the_front() -> None:
    first, second = chances([sized("a", 1.0, 80.0, 0.05), sized("b", 1.0, 80.0, 0.05)], today=LATER)
    assert first + second == pytest.approx(1.0)
    assert first == pytest.approx(0.5, abs=0.12)


def test_speeds_that_rest_on_one_measurement_move_together() -> None:
    # the slower is 4 % slower, and neither speed is known to 20 %; both cost the same
    pair = [sized("a", 1.0, 400.0, 0.2, slowness=1.0), sized("b", 1.0, 400.0, 0.2, slowness=1.04)]
    assert chances(pair) == [1.0, 0.0]


def test_a_peak_that_is_not_sure_is_a_chance_too() -> None:
    one = sized("full", 1.0, 60.0)
    unsure = Demand(100.0, 100.0, z=0.0, spares=0, peak_sigma=0.18232)  # by a sigma up, it is just full
    (found,) = add_front_probabilities((one[1],), [one], unsure, TODAY)
    assert found.frontier_probability == pytest.approx(0.84, abs=0.07)
