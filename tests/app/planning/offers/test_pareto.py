from __future__ import annotations

import datetime
import math
import random

import msgspec
import pytest

from app.planning.hardware.capacity import Capacity
from app.planning.offers.candidates import Candidate, build_fleet, build_rejected_fleet
from app.planning.offers.options import Option
from app.planning.offers.pareto import add_front_probabilities, find_pareto_front
from app.planning.sizing.instances import Demand
from app.planning.sizing.latency_curve import LatencyCurve
from app.records.result import Estimate, Fleet
from tests.fakes.offers import TODAY, offer, target


def build_fleet_at(cost: float | None, latency_ms: float | None) -> Fleet:
    return msgspec.structs.replace(
        build_rejected_fleet(offer(), "", TODAY), usd_per_month=Estimate(cost), latency_at_peak=Estimate(latency_ms)
    )


def dominates(first: Fleet, second: Fleet) -> bool:
    pairs = [
        (first.usd_per_month.value, second.usd_per_month.value),
        (first.latency_at_peak.value, second.latency_at_peak.value),
    ]
    return all(a <= b for a, b in pairs if a and b) and any(a < b for a, b in pairs if a and b)


def test_pareto_front_has_all_fleets_that_are_not_dominated() -> None:
    dice = random.Random(6)
    for _ in range(100):
        fleets = [build_fleet_at(dice.randint(1, 9), dice.randint(1, 9)) for _ in range(dice.randrange(12))]
        front = find_pareto_front(fleets)
        assert not any(dominates(candidate, rival) for candidate in fleets for rival in front)
        assert all(
            candidate in front or any(dominates(rival, candidate) or rival == candidate for rival in front)
            for candidate in fleets
        )
        assert [candidate.usd_per_month.value for candidate in front] == sorted(
            candidate.usd_per_month.value or 0 for candidate in front
        )


def test_fleets_without_cost_or_latency_are_not_on_the_pareto_front() -> None:
    assert find_pareto_front([build_fleet_at(1, None), build_fleet_at(None, 1)]) == ()


DEMAND = Demand(100.0, 100.0, z=0.0, spares=0)
LATER = TODAY + datetime.timedelta(days=2 * 365)
Sized = tuple[Option, Fleet]


def size_fleet(name: str, usd: float, per_s: float, sigma: float = 0.0, slowness: float = 1.0) -> Sized:
    """Return two instances at `usd` per hour and `per_s` req/s each; latency grows tenfold from idle to full load."""
    capacity = Capacity(per_s, sigma, 1, "measured")
    latencies = LatencyCurve((0.0, per_s), (math.log(slowness), math.log(10 * slowness)), per_s)
    candidate = Candidate(offer(name, on_demand_usd_per_hour=usd), usd, "on-demand", capacity, 2, 0, None)
    return Option(candidate, target(), latencies, capacity), build_fleet(candidate, 2, DEMAND, latencies, TODAY)


def compute_probabilities(front: list[Sized], *rivals: Sized, today: datetime.date = TODAY) -> list[float]:
    front_fleets = add_front_probabilities(tuple(fleet for _, fleet in front), [*front, *rivals], DEMAND, today)
    assert [fleet.offer for fleet in front_fleets] == [fleet.offer for _, fleet in front]
    return [fleet.frontier_probability or 0.0 for fleet in front_fleets]


def test_frontier_probability_without_uncertainty_is_0_or_1() -> None:
    cheapest, fast = size_fleet("cheap", 1.0, 80.0), size_fleet("fast", 2.0, 200.0)
    assert compute_probabilities([cheapest, fast]) == [1.0, 1.0]
    assert compute_probabilities([cheapest, fast], size_fleet("dear and slow", 3.0, 60.0)) == [1.0, 1.0]
    assert compute_probabilities([cheapest, fast], size_fleet("better", 0.9, 90.0)) == [0.0, 1.0]
    assert compute_probabilities([]) == []


def test_frontier_probability_is_the_probability_that_the_fleet_is_large_enough() -> None:
    (half,) = compute_probabilities([size_fleet("full", 1.0, 50.0, sigma=0.1)])
    assert half == pytest.approx(0.5, abs=0.1)
    # one sigma of slack: 84 %
    (likely,) = compute_probabilities([size_fleet("ample", 1.0, 50.0 * math.exp(0.1), sigma=0.1)])
    assert likely == pytest.approx(0.84, abs=0.07)


def test_frontier_probabilities_of_two_equal_fleets_with_uncertain_prices_sum_to_1() -> None:
    first, second = compute_probabilities(
        [size_fleet("a", 1.0, 80.0, 0.05), size_fleet("b", 1.0, 80.0, 0.05)], today=LATER
    )
    assert first + second == pytest.approx(1.0)
    assert first == pytest.approx(0.5, abs=0.12)


def test_fleets_sized_by_one_measurement_have_correlated_speeds() -> None:
    # the second is 4 % slower, both speeds have a sigma of 20 %, and both cost the same
    pair = [size_fleet("a", 1.0, 400.0, 0.2, slowness=1.0), size_fleet("b", 1.0, 400.0, 0.2, slowness=1.04)]
    assert compute_probabilities(pair) == [1.0, 0.0]


def test_frontier_probability_includes_peak_uncertainty() -> None:
    sized_fleet = size_fleet("full", 1.0, 60.0)
    # the fleet is at full load when the peak is one sigma higher
    uncertain_demand = Demand(100.0, 100.0, z=0.0, spares=0, peak_sigma=0.18232)
    (front_fleet,) = add_front_probabilities((sized_fleet[1],), [sized_fleet], uncertain_demand, TODAY)
    assert front_fleet.frontier_probability == pytest.approx(0.84, abs=0.07)
