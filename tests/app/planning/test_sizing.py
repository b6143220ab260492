from __future__ import annotations

import datetime
import random
from statistics import NormalDist

import pytest

from app.planning.capacity import Capacity
from app.planning.sizing import (
    assurance_reached,
    demand_of,
    instances_needed,
    monthly_estimate,
    peak_carried_per_s,
    per_1k_estimate,
)
from app.records.offers import PlanLimits
from app.records.traffic import Campaign, Traffic

Z90 = NormalDist().inv_cdf(0.9)


def test_a_certain_capacity_is_divided() -> None:
    sure = Capacity(100.0, 0.0, 1, "measured")
    assert [instances_needed(peak, sure, Z90) for peak in (1, 100, 100.1, 900)] == [1, 1, 2, 9]
    assert assurance_reached(9, sure, 900.0) == 1.0
    assert assurance_reached(8, sure, 900.0) == 0.0


def test_the_smallest_fleet_that_reaches_the_assurance() -> None:
    dice = random.Random(3)
    for _ in range(500):
        capacity = Capacity(dice.uniform(1, 1000), dice.uniform(0.01, 0.5), 1, "extrapolated")
        peak, assurance = dice.uniform(1, 50_000), dice.uniform(0.5, 0.999)
        needed = instances_needed(peak, capacity, NormalDist().inv_cdf(assurance))
        assert assurance_reached(needed, capacity, peak) >= assurance - 1e-9
        assert needed == 1 or assurance_reached(needed - 1, capacity, peak) < assurance + 1e-9


def test_more_traffic_never_needs_fewer_instances_and_more_assurance_neither() -> None:
    dice = random.Random(4)
    for _ in range(300):
        capacity = Capacity(dice.uniform(1, 1000), dice.uniform(0, 0.5), 1, "extrapolated")
        peaks = sorted(dice.uniform(1, 9000) for _ in range(2))
        zs = sorted(dice.uniform(0, 3) for _ in range(2))
        assert instances_needed(peaks[0], capacity, 1.0) <= instances_needed(peaks[1], capacity, 1.0)
        assert instances_needed(peaks[0], capacity, zs[0]) <= instances_needed(peaks[0], capacity, zs[1])


def test_the_peak_a_fleet_carries_is_the_one_that_fills_it() -> None:
    capacity = Capacity(70.0, 0.2, 1, "extrapolated")
    full = peak_carried_per_s(5, capacity, Z90)
    assert instances_needed(full, capacity, Z90) == 5
    assert instances_needed(full * 1.001, capacity, Z90) == 6


def test_demand_grows_for_a_year_and_never_shrinks() -> None:
    traffic = Traffic(900.0, "workday", (0.5,) * 12 + (1.0,) * 12, growth_per_year=0.2)
    demand = demand_of(traffic, PlanLimits(assurance=0.9, redundancy=2))
    assert demand.peak_per_s == pytest.approx(1080.0)
    assert demand.mean_per_s == pytest.approx(675.0)
    assert demand.z == pytest.approx(1.2816, abs=1e-4)
    assert demand.spares == 2
    falling = demand_of(Traffic(900.0, "flat", (1.0,) * 24, growth_per_year=-0.5), PlanLimits())
    assert falling.peak_per_s == 900.0


def test_demand_is_of_what_reaches_replicas_and_says_how_sure_its_peak_is() -> None:
    today = datetime.date(2026, 6, 1)
    traffic = Traffic(
        900.0, "flat", (1.0,) * 24, weekly_share=(1.0,) * 5 + (0.5,) * 2, cache_share=0.5, uncertainty=0.1,
        campaigns=(Campaign(today, today, 3.0),),
    )  # fmt: skip
    demand = demand_of(traffic, PlanLimits())
    assert demand.peak_per_s == 450.0
    assert demand.mean_per_s == pytest.approx(450.0 * 6 / 7)
    assert demand.peak_sigma == pytest.approx(0.1, rel=0.01)
    assert demand_of(traffic, PlanLimits(), today).peak_per_s == pytest.approx(1350.0)


def test_cost_has_the_interval_of_the_fleet_resized() -> None:
    demand = demand_of(Traffic(1000.0, "flat", (1.0,) * 24), PlanLimits(redundancy=1))
    capacity = Capacity(100.0, 0.2, 1, "extrapolated")
    needed = instances_needed(1000.0, capacity, demand.z)
    monthly = monthly_estimate(needed + 1, 2.0, capacity, demand)
    assert needed == 13
    assert monthly.value == 730 * 14 * 2.0
    assert monthly.ci95 == (730 * (7 + 1) * 2.0, 730 * (15 + 1) * 2.0)
    per_1k = per_1k_estimate(monthly, demand)
    assert per_1k.value == pytest.approx(730 * 14 * 2.0 / (1000 * 3600 * 730 / 1000))
    assert per_1k.ci95 == pytest.approx((per_1k.value * 8 / 14, per_1k.value * 16 / 14))
