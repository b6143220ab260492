from __future__ import annotations

import random

import msgspec

from app.planning.candidates import refused_fleet
from app.planning.pareto import pareto_front
from app.records.result import Estimate, Fleet
from tests.fakes.offers import TODAY, offer


def fleet(cost: float | None, latency_ms: float | None) -> Fleet:
    return msgspec.structs.replace(
        refused_fleet(offer(), "", TODAY), usd_per_month=Estimate(cost), latency_at_peak=Estimate(latency_ms)
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
        front = pareto_front(fleets)
        assert not any(dominates(one, other) for one in fleets for other in front)
        assert all(one in front or any(dominates(other, one) or other == one for other in front) for one in fleets)
        assert [one.usd_per_month.value for one in front] == sorted(one.usd_per_month.value or 0 for one in front)


def test_fleets_without_a_latency_take_no_part() -> None:
    assert pareto_front([fleet(1, None), fleet(None, 1)]) == ()
