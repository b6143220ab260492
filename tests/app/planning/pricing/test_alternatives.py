from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from app.planning.offers.options import get_candidate
from app.planning.pricing.alternatives import HourlyPrices, SpotTerms, plan_commitment, plan_mix, split_commitments
from app.planning.pricing.costs import compute_effective_spot_usd_per_hour
from app.planning.sizing.instances import HOURS_PER_MONTH
from app.records.offers import Offer, OwnedHardware, PlanLimits
from app.records.plan import Commitment, Mix
from tests.fakes.offers import catalog_of, curve, offer, planning_inputs, target
from tests.fakes.small_plan import sized_by_formula


def compute_cost_usd(
    demand: list[int], reserved: int, prices: HourlyPrices, spot: SpotTerms | None, share: float
) -> float:
    """Return the cost in USD, hour by hour, with `share` of the replicas of each hour on spot."""
    total = 0.0
    for demanded in demand:
        unreserved = max(0, demanded - reserved)
        on_spot = min(unreserved, math.floor(demanded * share + 1e-9)) if spot and prices.spot is not None else 0
        total += reserved * (prices.reserved_1y or 0.0)
        if on_spot and spot:
            spot_usd_per_hour = compute_effective_spot_usd_per_hour(
                prices.spot or 0.0, spot.interruptions_per_hour, spot.cold_start_s
            )
            total += on_spot * spot_usd_per_hour * (1 + spot.buffer)
        if unreserved > on_spot:
            total += math.inf if prices.on_demand is None else (unreserved - on_spot) * prices.on_demand
    return total


def enumerate_cheapest_usd(demand: list[int], prices: HourlyPrices, min_reserved: int, spot: SpotTerms | None) -> float:
    max_reserved = 0 if prices.reserved_1y is None else max(*demand, min_reserved)
    reserved_counts = [n for n in range(max_reserved + 1) if n == 0 or n >= min_reserved]
    shares = {0.0, spot.max_share if spot else 0.0}
    return min(compute_cost_usd(demand, n, prices, spot, share) for n in reserved_counts for share in shares)


def test_commitment_split_has_the_lowest_cost_of_all_splits() -> None:
    dice = np.random.default_rng(1)
    split_count = 0
    for _ in range(400):
        demand = [int(n) for n in dice.integers(0, 9, size=dice.integers(1, 30))]
        prices = HourlyPrices(
            None if dice.random() < 0.2 else float(dice.uniform(1, 2)),
            None if dice.random() < 0.2 else float(dice.uniform(0.3, 2)),
            None if dice.random() < 0.3 else float(dice.uniform(0.2, 2)),
        )
        spot = (
            None if dice.random() < 0.3 else SpotTerms(float(dice.uniform(0, 1)), 0.1, 600, float(dice.uniform(0, 1)))
        )
        min_count = int(dice.integers(0, 6))
        expected = enumerate_cheapest_usd(demand, prices, min_count, spot)
        split = split_commitments(demand, prices, min_reserved=min_count, spot=spot)
        assert (split is None) == math.isinf(expected)
        if split is not None:
            split_count += 1
            assert split.usd_per_year == pytest.approx(expected * 8760 / len(demand))
            assert split.reserved == 0 or split.reserved >= min_count
    assert split_count > 200


def test_reserved_count_is_the_newsvendor_quantile() -> None:
    demand = np.random.default_rng(2).poisson(20, 8760)
    split = split_commitments(demand, HourlyPrices(1.0, 0.6))
    assert split is not None
    assert split.reserved == np.quantile(demand, 1 - 0.6, method="inverted_cdf")


def test_commitment_split_never_costs_more_than_on_demand() -> None:
    dice = np.random.default_rng(3)
    for _ in range(200):
        demand = dice.integers(0, 50, size=200)
        prices = HourlyPrices(1.0, float(dice.uniform(0.1, 2)), float(dice.uniform(0.1, 2)))
        spot = SpotTerms(0.5, float(dice.uniform(0, 5)), 600, 0.2)
        split = split_commitments(demand, prices, min_reserved=int(dice.integers(0, 60)), spot=spot)
        assert split is not None
        assert split.usd_per_year <= demand.sum() * 8760 / 200 + 1e-6


def test_higher_reserved_price_never_reserves_more() -> None:
    demand = np.random.default_rng(4).poisson(8, 8760)
    reserved = [split.reserved for price in np.linspace(0.2, 1.1, 10)
                if (split := split_commitments(demand, HourlyPrices(1.0, float(price)))) is not None]  # fmt: skip
    assert reserved == sorted(reserved, reverse=True)
    assert reserved[0] > 0
    assert reserved[-1] == 0


def test_constant_demand_is_fully_reserved() -> None:
    split = split_commitments([4] * 8760, HourlyPrices(1.0, 0.6))
    assert split is not None
    assert split.reserved == 4
    assert split.usd_per_year == pytest.approx(0.6 * 4 * 8760)


def test_minimum_reservation_is_used_fully_or_not_at_all() -> None:
    demand = [3] * 8760
    at_minimum = split_commitments(demand, HourlyPrices(1.0, 0.6), min_reserved=4)
    assert at_minimum is not None
    assert at_minimum.reserved == 4
    too_many = split_commitments(demand, HourlyPrices(1.0, 0.6), min_reserved=6)
    assert too_many is not None
    assert too_many.reserved == 0


def test_peak_is_reserved_without_an_on_demand_price() -> None:
    split = split_commitments([1, 1, 7], HourlyPrices(None, 0.6))
    assert split is not None
    assert split.reserved == 7
    assert split_commitments([1], HourlyPrices(None, None, 0.1), spot=SpotTerms(0.5)) is None
    assert split_commitments([1], HourlyPrices(None)) is None


def test_fractional_demand_is_rounded_up() -> None:
    split = split_commitments([1.2] * 10, HourlyPrices(1.0))
    assert split is not None
    assert split.usd_per_year == 2 * 8760


@pytest.mark.parametrize("demand", [[], [-1], [float("nan")], [float("inf")], [1e12]])
def test_invalid_hourly_demand_is_refused(demand: list[float]) -> None:
    with pytest.raises(ValueError, match="hourly demand"):
        split_commitments(demand, HourlyPrices(1.0))


DAY_AND_NIGHT = (0.25,) * 12 + (1.0,) * 12
CERTAIN = PlanLimits(confidence=0.5, redundancy=0)


def compute_commitment(
    an_offer: Offer, peak_per_s: float = 395.0, limits: PlanLimits = CERTAIN, **traffic: Any
) -> Commitment | None:
    inputs = planning_inputs(
        target(curve(100.0)), peak_per_s=peak_per_s, catalog=catalog_of(an_offer), limits=limits, **traffic
    )
    (option,), demand = sized_by_formula(inputs)
    return plan_commitment(get_candidate(option), demand, inputs)


def test_flat_traffic_is_fully_reserved() -> None:
    planned = compute_commitment(offer(reserved_1y_usd_per_hour=0.6))
    assert planned is not None
    assert planned.reserved == 4
    assert planned.usd_per_month == pytest.approx(0.6 * planned.usd_per_month_on_demand)
    assert planned.usd_per_month_on_demand == 4 * HOURS_PER_MONTH
    assert "4 reserved for a year, the rest on-demand" in planned.sentence


def test_commitment_reserves_the_night_minimum_and_the_spares() -> None:
    planned = compute_commitment(offer(reserved_1y_usd_per_hour=0.6), hourly_share=DAY_AND_NIGHT)
    assert planned is not None
    assert planned.reserved == 1
    assert planned.usd_per_month < 0.75 * planned.usd_per_month_on_demand
    with_spares = compute_commitment(
        offer(reserved_1y_usd_per_hour=0.6), limits=PlanLimits(confidence=0.5, redundancy=2), hourly_share=DAY_AND_NIGHT
    )
    assert with_spares is not None
    assert with_spares.reserved == 3


def test_commitment_without_reserved_price_is_on_demand_and_owned_offers_have_none() -> None:
    planned = compute_commitment(offer(), hourly_share=DAY_AND_NIGHT)
    assert planned is not None
    assert planned.reserved == 0
    assert "all on-demand; no reserved price is known" in planned.sentence
    assert compute_commitment(offer(owned=OwnedHardware(capex_usd=1e4, life_years=3.0))) is None


SMALL = offer("small", vcpus=1.0, on_demand_usd_per_hour=1.0)
LARGE = offer("large", vcpus=10.0, on_demand_usd_per_hour=8.0)


def compute_mix(*offers: Offer, limits: PlanLimits = CERTAIN, peak_per_s: float = 1180.0) -> Mix | None:
    """Return the mix for a capacity of 100 req/s per vCPU."""
    inputs = planning_inputs(target(curve(100.0)), peak_per_s=peak_per_s, catalog=catalog_of(*offers), limits=limits)
    options, demand = sized_by_formula(inputs)
    return plan_mix(options, demand, inputs)


def test_mix_of_two_types_is_planned_if_cheaper_than_one_type() -> None:
    mix = compute_mix(SMALL, LARGE, peak_per_s=1600.0)  # 16 small cost $16/h, as do two large
    assert mix is not None
    assert {part.offer: part.instances for part in mix.parts} == {"acme/large@here": 1, "acme/small@here": 6}
    assert mix.usd_per_month == pytest.approx(14 * HOURS_PER_MONTH)
    assert "together cost $1,460/month less (12.5 %)" in mix.sentence


def test_mix_with_a_spare_per_type_is_planned_if_cheaper() -> None:
    small = offer("small", vcpus=1.0, on_demand_usd_per_hour=1.1)
    mix = compute_mix(small, LARGE, limits=PlanLimits(confidence=0.5, redundancy=1), peak_per_s=5200.0)
    assert mix is not None  # six large and a spare cost $56/h, and 52 small and a spare $58/h
    assert {part.offer: part.instances for part in mix.parts} == {"acme/large@here": 6, "acme/small@here": 5}
    assert mix.usd_per_month == pytest.approx(53.5 * HOURS_PER_MONTH)


@pytest.mark.parametrize(
    ("offers", "limits", "peak_per_s"),
    [
        ((SMALL,), CERTAIN, 1180.0),
        ((SMALL, LARGE), PlanLimits(confidence=0.5, redundancy=0, zones=2), 1180.0),
        ((SMALL, LARGE), CERTAIN, 990.0),  # one large is cheapest
    ],
)
def test_no_mix_for_one_offer_several_zones_or_a_cheaper_single_type(
    offers: tuple[Offer, ...], limits: PlanLimits, peak_per_s: float
) -> None:
    assert compute_mix(*offers, limits=limits, peak_per_s=peak_per_s) is None


def test_no_commitment_without_savings() -> None:
    """Flat traffic without a reserved price costs the same with and without autoscaling."""
    assert compute_commitment(offer()) is None
