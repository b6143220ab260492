from __future__ import annotations

import datetime
import math
import random
from statistics import NormalDist
from typing import Any

import pytest

from app.planning.capacity import Capacity
from app.planning.sizing import (
    Demand,
    build_demand,
    compute_confidence,
    compute_probabilities,
    compute_spot_probabilities,
    compute_sustained_peak_per_s,
    count_instances,
    count_spot_spares,
    estimate_cost_per_1k,
    estimate_cost_range,
    estimate_instance_range,
    estimate_monthly_cost,
)
from app.records.offers import PlanLimits
from app.records.plan import SloProbabilities, Spread
from app.records.traffic import Campaign, Traffic

Z90 = NormalDist().inv_cdf(0.9)


def peak(per_s: float, z: float = Z90, **changes: Any) -> Demand:
    fields: dict[str, Any] = {"peak_per_s": per_s, "mean_per_s": per_s, "z": z, "spares": 0}
    return Demand(**(fields | changes))


def test_a_certain_capacity_is_divided() -> None:
    sure = Capacity(100.0, 0.0, 1, "measured")
    assert [count_instances(peak(per_s), sure, Z90) for per_s in (1, 100, 100.1, 900)] == [1, 1, 2, 9]
    assert compute_probabilities(9, sure, peak(900.0)) == SloProbabilities(0.0, 1.0, 1.0)
    assert compute_confidence(0, sure, peak(1e-9)) == 0.0


@pytest.mark.parametrize(("needed", "spares"), [(1, 0), (9, 0), (21, 0), (21, 2), (300, 1)])
def test_spot_instances_are_as_sure_as_independent_interruptions_make_them(needed: int, spares: int) -> None:
    """By whole enumeration; with a certain capacity each instance that is needed has to be there."""
    sure = Capacity(100.0, 0.0, 1, "measured")
    asked = peak(100.0 * needed, spares=spares)
    more = count_spot_spares(needed, spares, sure, asked)
    for extra in range(more + 2):
        instances = needed + spares + extra
        missing = range(spares + extra + 1)
        present = sum(math.comb(instances, gone) * 0.01**gone * 0.99 ** (instances - gone) for gone in missing)
        assert compute_spot_probabilities(instances, spares, sure, asked).planned == pytest.approx(present, rel=1e-9)
        assert (present >= 0.9) == (extra >= more)


def test_spares_for_spot_are_bounded() -> None:
    doubtful = Capacity(100.0, 2.0, 1, "extrapolated")
    asked = peak(1000.0, NormalDist().inv_cdf(0.999999))
    needed = count_instances(asked, doubtful, 0.0)
    assert count_spot_spares(needed, 0, doubtful, asked) == needed


def test_the_smallest_fleet_that_reaches_the_assurance() -> None:
    dice = random.Random(3)
    for _ in range(500):
        capacity = Capacity(dice.uniform(1, 1000), dice.uniform(0.01, 0.5), 1, "extrapolated")
        assurance = dice.uniform(0.5, 0.999)
        asked = peak(dice.uniform(1, 50_000), NormalDist().inv_cdf(assurance), peak_sigma=dice.uniform(0, 0.3))
        needed = count_instances(asked, capacity, asked.z)
        assert compute_confidence(needed, capacity, asked) >= assurance - 1e-9
        assert needed == 1 or compute_confidence(needed - 1, capacity, asked) < assurance + 1e-9


def test_more_traffic_never_needs_fewer_instances_and_more_assurance_neither() -> None:
    dice = random.Random(4)
    for _ in range(300):
        capacity = Capacity(dice.uniform(1, 1000), dice.uniform(0, 0.5), 1, "extrapolated")
        low, high = (peak(per_s) for per_s in sorted(dice.uniform(1, 9000) for _ in range(2)))
        zs = sorted(dice.uniform(0, 3) for _ in range(2))
        assert count_instances(low, capacity, 1.0) <= count_instances(high, capacity, 1.0)
        assert count_instances(low, capacity, zs[0]) <= count_instances(low, capacity, zs[1])


def test_the_peak_a_fleet_carries_is_the_one_that_fills_it() -> None:
    capacity = Capacity(70.0, 0.2, 1, "extrapolated")
    full = compute_sustained_peak_per_s(5, capacity, peak(1.0, peak_sigma=0.1))
    assert count_instances(peak(full, peak_sigma=0.1), capacity, Z90) == 5
    assert count_instances(peak(full * 1.001, peak_sigma=0.1), capacity, Z90) == 6


def test_demand_grows_for_a_year_and_never_shrinks() -> None:
    traffic = Traffic(900.0, "workday", (0.5,) * 12 + (1.0,) * 12, growth_per_year=0.2)
    demand = build_demand(traffic, PlanLimits(confidence=0.9, redundancy=2))
    assert demand.peak_per_s == pytest.approx(1080.0)
    assert demand.mean_per_s == pytest.approx(675.0)
    assert demand.z == pytest.approx(1.2816, abs=1e-4)
    assert demand.spares == 2
    falling = build_demand(Traffic(900.0, "flat", (1.0,) * 24, growth_per_year=-0.5), PlanLimits())
    assert falling.peak_per_s == 900.0


def test_demand_is_of_what_reaches_replicas_and_says_how_sure_its_peak_is() -> None:
    today = datetime.date(2026, 6, 1)
    traffic = Traffic(
        900.0, "flat", (1.0,) * 24, weekly_share=(1.0,) * 5 + (0.5,) * 2, cache_share=0.5, uncertainty=0.1,
        campaigns=(Campaign(today, today, 3.0),),
    )  # fmt: skip
    demand = build_demand(traffic, PlanLimits())
    assert demand.peak_per_s == 450.0
    assert demand.mean_per_s == pytest.approx(450.0 * 6 / 7)
    assert demand.peak_sigma == pytest.approx(0.1, rel=0.01)
    assert build_demand(traffic, PlanLimits(), today).peak_per_s == pytest.approx(1350.0)


def test_cost_has_the_interval_of_the_fleet_resized() -> None:
    demand = build_demand(Traffic(1000.0, "flat", (1.0,) * 24), PlanLimits(redundancy=1))
    capacity = Capacity(100.0, 0.2, 1, "extrapolated")
    needed = count_instances(demand, capacity, demand.z)
    monthly = estimate_monthly_cost(needed + 1, 2.0, capacity, demand)
    assert needed == 13
    assert monthly.value == 730 * 14 * 2.0
    assert monthly.ci95 == (730 * (7 + 1) * 2.0, 730 * (15 + 1) * 2.0)
    per_1k = estimate_cost_per_1k(monthly, demand)
    assert per_1k.value is not None
    assert per_1k.value == pytest.approx(730 * 14 * 2.0 / (1000 * 3600 * 730 / 1000))
    assert per_1k.ci95 == pytest.approx((per_1k.value * 8 / 14, per_1k.value * 16 / 14))


def test_what_is_needed_is_reported_by_percentiles_of_the_capacity_and_the_peak() -> None:
    capacity = Capacity(100.0, 0.3, 1, "extrapolated")
    unsure = peak(10_000.0, peak_sigma=0.4)
    needed = estimate_instance_range(capacity, unsure)
    # the tenth and ninetieth percentile of 100 × exp(0.5 z)
    assert needed == Spread(53, 100, 190)
    assert compute_confidence(190, capacity, unsure) == pytest.approx(0.9, abs=0.005)


@pytest.mark.parametrize(
    ("zones", "needed", "spares"), [(1, 7, 2), (2, 7, 7), (3, 7, 5), (3, 6, 3), (3, 1, 2), (9, 4, 5)]
)
def test_losing_any_zone_leaves_enough(zones: int, needed: int, spares: int) -> None:
    demand = peak(1.0, spares=2, zones=zones)
    assert demand.count_spares(needed) == spares
    largest_zone = -(-(needed + spares) // zones)
    assert zones == 1 or needed + spares - largest_zone >= needed


def test_a_roll_out_takes_instances_beside_the_spares() -> None:
    demand = build_demand(Traffic(900.0, "flat", (1.0,) * 24), PlanLimits(redundancy=1, max_unavailable=2))
    assert demand.spares == 3


def test_cost_spreads_with_the_need_and_the_price() -> None:
    demand = peak(1.0, spares=1)
    sure, unsure = (estimate_cost_range(Spread(8, 9, 11), 2.0, sigma, demand) for sigma in (0.0, 0.2))
    assert (sure.p10, sure.p50, sure.p90) == pytest.approx((730 * 9 * 2.0, 730 * 10 * 2.0, 730 * 12 * 2.0))
    assert unsure.p50 == sure.p50
    alone = estimate_cost_range(Spread(9, 9, 9), 2.0, 0.2, demand)
    assert alone.p90 / alone.p50 == pytest.approx(math.exp(1.281552 * 0.2))
    assert alone.p50 / alone.p10 == pytest.approx(math.exp(1.281552 * 0.2))
    assert unsure.p10 < min(sure.p10, alone.p10)
    assert unsure.p90 > max(sure.p90, alone.p90)


def test_the_fewest_that_may_be_needed_are_those_of_a_model_that_holds_beyond_what_was_seen() -> None:
    asked, seen = peak(1000.0), Capacity(10.0, 0.05, 1, "measured")
    beyond = Capacity(10.0, 0.05, 1, "measured", extrapolated_per_s=20.0)
    assert (
        estimate_instance_range(beyond, asked).p10
        == estimate_instance_range(Capacity(20.0, 0.05, 1, "measured"), asked).p10
    )
    assert estimate_instance_range(beyond, asked).p10 < estimate_instance_range(seen, asked).p10
    assert (estimate_instance_range(beyond, asked).p50, estimate_instance_range(beyond, asked).p90) == (
        estimate_instance_range(seen, asked).p50, estimate_instance_range(seen, asked).p90,
    )  # fmt: skip
    assert estimate_monthly_cost(110, 1.0, beyond, asked).ci95[0] < estimate_monthly_cost(110, 1.0, seen, asked).ci95[0]  # type: ignore[index]


def test_no_interval_goes_beyond_what_an_instance_can_do_at_all() -> None:
    unsure = Capacity(10.0, 1.5, 1, "measured", max_throughput_per_s=20.0)
    demand = Demand(100.0, 50.0, z=1.2816, spares=0)
    assert unsure.compute_upper_quantile_per_s(1.2816) == 20.0
    assert estimate_instance_range(unsure, demand).p10 == 5
    assert unsure.estimate.ci95 is not None
    assert unsure.estimate.ci95[1] == 20.0
    seen = Capacity(30.0, 0.1, 1, "measured", max_throughput_per_s=20.0)
    assert seen.compute_upper_quantile_per_s(1.0) == 30.0  # what was seen can be done, whatever the model says
