from __future__ import annotations

import datetime
import math
import random
from statistics import NormalDist
from typing import Any

import pytest

from app.planning.hardware.capacity import Capacity
from app.planning.sizing.instances import (
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
from app.planning.sizing.model_error import compute_quantile
from app.records.offers import PlanLimits
from app.records.plan import SloProbabilities, Spread
from app.records.traffic import Campaign, Traffic

Z90 = NormalDist().inv_cdf(0.9)


def build_demand_at(per_s: float, z: float = Z90, **changes: Any) -> Demand:
    fields: dict[str, Any] = {"peak_per_s": per_s, "mean_per_s": per_s, "z": z, "spares": 0}
    return Demand(**(fields | changes))


def test_instances_for_a_certain_capacity_are_peak_over_capacity() -> None:
    certain = Capacity(100.0, 0.0, 1, "measured")
    assert [count_instances(build_demand_at(per_s), certain, Z90) for per_s in (1, 100, 100.1, 900)] == [1, 1, 2, 9]
    assert compute_probabilities(9, certain, build_demand_at(900.0)) == SloProbabilities(0.0, 1.0, 1.0)
    assert compute_confidence(0, certain, build_demand_at(1e-9)) == 0.0


@pytest.mark.parametrize(("needed", "spares"), [(1, 0), (9, 0), (21, 0), (21, 2), (300, 1)])
def test_spot_probability_assumes_independent_interruptions(needed: int, spares: int) -> None:
    """The probability is enumerated; with a certain capacity, all needed instances must be present."""
    certain = Capacity(100.0, 0.0, 1, "measured")
    demand = build_demand_at(100.0 * needed, spares=spares)
    spot_spares = count_spot_spares(needed, spares, certain, demand)
    for extra in range(spot_spares + 2):
        instances = needed + spares + extra
        missing = range(spares + extra + 1)
        present = sum(
            math.comb(instances, missing_count) * 0.01**missing_count * 0.99 ** (instances - missing_count)
            for missing_count in missing
        )
        assert compute_spot_probabilities(instances, spares, certain, demand).planned == pytest.approx(
            present, rel=1e-9
        )
        assert (present >= 0.9) == (extra >= spot_spares)


def test_spot_spares_are_at_most_the_needed_instances() -> None:
    uncertain = Capacity(100.0, 2.0, 1, "extrapolated")
    demand = build_demand_at(1000.0, NormalDist().inv_cdf(0.999999))
    needed = count_instances(demand, uncertain, 0.0)
    assert count_spot_spares(needed, 0, uncertain, demand) == needed


def test_instance_count_is_the_smallest_that_reaches_the_confidence() -> None:
    dice = random.Random(3)
    for _ in range(500):
        capacity = Capacity(dice.uniform(1, 1000), dice.uniform(0.01, 0.5), 1, "extrapolated")
        confidence = dice.uniform(0.5, 0.999)
        demand = build_demand_at(dice.uniform(1, 50_000), compute_quantile(confidence), peak_sigma=dice.uniform(0, 0.3))
        needed = count_instances(demand, capacity, demand.z)
        assert compute_confidence(needed, capacity, demand) >= confidence - 1e-9
        assert needed == 1 or compute_confidence(needed - 1, capacity, demand) < confidence + 1e-9


def test_higher_peak_or_confidence_never_needs_fewer_instances() -> None:
    dice = random.Random(4)
    for _ in range(300):
        capacity = Capacity(dice.uniform(1, 1000), dice.uniform(0, 0.5), 1, "extrapolated")
        low, high = (build_demand_at(per_s) for per_s in sorted(dice.uniform(1, 9000) for _ in range(2)))
        zs = sorted(dice.uniform(0, 3) for _ in range(2))
        assert count_instances(low, capacity, 1.0) <= count_instances(high, capacity, 1.0)
        assert count_instances(low, capacity, zs[0]) <= count_instances(low, capacity, zs[1])


def test_sustained_peak_needs_exactly_the_requested_instances() -> None:
    capacity = Capacity(70.0, 0.2, 1, "extrapolated")
    full = compute_sustained_peak_per_s(5, capacity, build_demand_at(1.0, peak_sigma=0.1))
    assert count_instances(build_demand_at(full, peak_sigma=0.1), capacity, Z90) == 5
    assert count_instances(build_demand_at(full * 1.001, peak_sigma=0.1), capacity, Z90) == 6


def test_demand_includes_one_year_of_growth_but_no_decline() -> None:
    traffic = Traffic(900.0, "workday", (0.5,) * 12 + (1.0,) * 12, growth_per_year=0.2)
    demand = build_demand(traffic, PlanLimits(confidence=0.9, redundancy=2))
    assert demand.peak_per_s == pytest.approx(1080.0)
    assert demand.mean_per_s == pytest.approx(675.0)
    assert demand.z == pytest.approx(1.2816, abs=1e-4)
    assert demand.spares == 2
    falling = build_demand(Traffic(900.0, "flat", (1.0,) * 24, growth_per_year=-0.5), PlanLimits())
    assert falling.peak_per_s == 900.0


def test_demand_excludes_cached_requests_and_has_peak_uncertainty() -> None:
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


def test_cost_interval_covers_the_resized_fleet() -> None:
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


def test_instance_range_has_percentiles_of_capacity_and_peak() -> None:
    capacity = Capacity(100.0, 0.3, 1, "extrapolated")
    demand = build_demand_at(10_000.0, peak_sigma=0.4)
    needed = estimate_instance_range(capacity, demand)
    # P10 and P90 of 100 × exp(0.5 z)
    assert needed == Spread(53, 100, 190)
    assert compute_confidence(190, capacity, demand) == pytest.approx(0.9, abs=0.005)


@pytest.mark.parametrize(
    ("zones", "needed", "spares"), [(1, 7, 2), (2, 7, 7), (3, 7, 5), (3, 6, 3), (3, 1, 2), (9, 4, 5)]
)
def test_spares_cover_the_loss_of_any_zone(zones: int, needed: int, spares: int) -> None:
    demand = build_demand_at(1.0, spares=2, zones=zones)
    assert demand.count_spares(needed) == spares
    largest_zone = -(-(needed + spares) // zones)
    assert zones == 1 or needed + spares - largest_zone >= needed


def test_rollout_instances_are_added_to_the_spares() -> None:
    demand = build_demand(Traffic(900.0, "flat", (1.0,) * 24), PlanLimits(redundancy=1, max_unavailable=2))
    assert demand.spares == 3


def test_cost_range_includes_uncertainty_of_instances_and_price() -> None:
    demand = build_demand_at(1.0, spares=1)
    certain_price, uncertain_price = (estimate_cost_range(Spread(8, 9, 11), 2.0, sigma, demand) for sigma in (0.0, 0.2))
    assert (certain_price.p10, certain_price.p50, certain_price.p90) == pytest.approx(
        (730 * 9 * 2.0, 730 * 10 * 2.0, 730 * 12 * 2.0)
    )
    assert uncertain_price.p50 == certain_price.p50
    certain_need = estimate_cost_range(Spread(9, 9, 9), 2.0, 0.2, demand)
    assert certain_need.p90 / certain_need.p50 == pytest.approx(math.exp(1.281552 * 0.2))
    assert certain_need.p50 / certain_need.p10 == pytest.approx(math.exp(1.281552 * 0.2))
    assert uncertain_price.p10 < min(certain_price.p10, certain_need.p10)
    assert uncertain_price.p90 > max(certain_price.p90, certain_need.p90)


def test_lowest_instance_count_uses_the_extrapolated_rate() -> None:
    demand, measured = build_demand_at(1000.0), Capacity(10.0, 0.05, 1, "measured")
    extrapolated = Capacity(10.0, 0.05, 1, "measured", extrapolated_per_s=20.0)
    assert (
        estimate_instance_range(extrapolated, demand).p10
        == estimate_instance_range(Capacity(20.0, 0.05, 1, "measured"), demand).p10
    )
    assert estimate_instance_range(extrapolated, demand).p10 < estimate_instance_range(measured, demand).p10
    assert (estimate_instance_range(extrapolated, demand).p50, estimate_instance_range(extrapolated, demand).p90) == (
        estimate_instance_range(measured, demand).p50, estimate_instance_range(measured, demand).p90,
    )  # fmt: skip
    extrapolated_usd, measured_usd = (
        estimate_monthly_cost(110, 1.0, capacity, demand) for capacity in (extrapolated, measured)
    )
    assert extrapolated_usd.ci95 is not None
    assert measured_usd.ci95 is not None
    assert extrapolated_usd.ci95[0] < measured_usd.ci95[0]


def test_capacity_interval_is_capped_at_the_max_throughput() -> None:
    uncertain = Capacity(10.0, 1.5, 1, "measured", max_throughput_per_s=20.0)
    demand = Demand(100.0, 50.0, z=1.2816, spares=0)
    assert uncertain.compute_upper_quantile_per_s(1.2816) == 20.0
    assert estimate_instance_range(uncertain, demand).p10 == 5
    assert uncertain.estimate.ci95 is not None
    assert uncertain.estimate.ci95[1] == 20.0
    measured = Capacity(30.0, 0.1, 1, "measured", max_throughput_per_s=20.0)
    # a measured rate is possible, whatever the model predicts
    assert measured.compute_upper_quantile_per_s(1.0) == 30.0
