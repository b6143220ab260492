from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from app.planning.options import get_candidate
from app.planning.pricing.alternatives import HourlyPrices, SpotTerms, plan_commitment, plan_mix, split_commitments
from app.planning.pricing.costs import compute_effective_spot_usd_per_hour
from app.planning.sizing import HOURS_PER_MONTH
from app.records.offers import Offer, OwnedHardware, PlanLimits
from app.records.plan import Commitment, Mix
from tests.fakes.offers import catalogue, curve, offer, question, target
from tests.fakes.planned import sized


def cost_by_hand(demand: list[int], reserved: int, prices: HourlyPrices, spot: SpotTerms | None, share: float) -> float:
    """Hour by hour, with `share` of each hour's replicas on spot."""
    total = 0.0
    for needed in demand:
        rest = max(0, needed - reserved)
        on_spot = min(rest, math.floor(needed * share + 1e-9)) if spot and prices.spot is not None else 0
        total += reserved * (prices.reserved_1y or 0.0)
        if on_spot and spot:
            each = compute_effective_spot_usd_per_hour(
                prices.spot or 0.0, spot.interruptions_per_hour, spot.cold_start_s
            )
            total += on_spot * each * (1 + spot.buffer)
        if rest > on_spot:
            total += math.inf if prices.on_demand is None else (rest - on_spot) * prices.on_demand
    return total


def cheapest_by_hand(demand: list[int], prices: HourlyPrices, least: int, spot: SpotTerms | None) -> float:
    most = 0 if prices.reserved_1y is None else max(*demand, least)
    numbers = [n for n in range(most + 1) if n == 0 or n >= least]
    shares = {0.0, spot.max_share if spot else 0.0}
    return min(cost_by_hand(demand, n, prices, spot, share) for n in numbers for share in shares)


def test_it_is_the_cheapest_of_all_splits() -> None:
    dice = np.random.default_rng(1)
    tried = 0
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
        least = int(dice.integers(0, 6))
        expected = cheapest_by_hand(demand, prices, least, spot)
        found = split_commitments(demand, prices, min_reserved=least, spot=spot)
        assert (found is None) == math.isinf(expected)
        if found is not None:
            tried += 1
            assert found.usd_per_year == pytest.approx(expected * 8760 / len(demand))
            assert found.reserved == 0 or found.reserved >= least
    assert tried > 200


def test_it_is_the_newsvendors_quantile() -> None:
    demand = np.random.default_rng(2).poisson(20, 8760)
    found = split_commitments(demand, HourlyPrices(1.0, 0.6))
    assert found is not None
    assert found.reserved == np.quantile(demand, 1 - 0.6, method="inverted_cdf")


def test_it_never_costs_more_than_all_on_demand() -> None:
    dice = np.random.default_rng(3)
    for _ in range(200):
        demand = dice.integers(0, 50, size=200)
        prices = HourlyPrices(1.0, float(dice.uniform(0.1, 2)), float(dice.uniform(0.1, 2)))
        spot = SpotTerms(0.5, float(dice.uniform(0, 5)), 600, 0.2)
        found = split_commitments(demand, prices, min_reserved=int(dice.integers(0, 60)), spot=spot)
        assert found is not None
        assert found.saving_usd_per_year is not None
        assert found.saving_usd_per_year >= -1e-6
        assert found.all_on_demand_usd_per_year == pytest.approx(demand.sum() * 8760 / 200)


def test_a_dearer_commitment_never_reserves_more() -> None:
    demand = np.random.default_rng(4).poisson(8, 8760)
    reserved = [split.reserved for price in np.linspace(0.2, 1.1, 10)
                if (split := split_commitments(demand, HourlyPrices(1.0, float(price)))) is not None]  # fmt: skip
    assert reserved == sorted(reserved, reverse=True)
    assert reserved[0] > 0
    assert reserved[-1] == 0


def test_a_steady_load_is_reserved_whole_and_the_hours_add_up() -> None:
    found = split_commitments([4] * 8760, HourlyPrices(1.0, 0.6))
    assert found is not None
    assert (found.reserved, found.on_demand_hours, found.reserved_utilization_share) == (4, 0, 1.0)
    assert (found.saving_usd_per_year, found.all_on_demand_usd_per_year) == pytest.approx((0.4 * 4 * 8760, 4.0 * 8760))
    daily = split_commitments([2] * 12 + [6] * 12, HourlyPrices(1.0, 0.6, 0.3), spot=SpotTerms(0.5))
    assert daily is not None
    assert daily.on_demand_hours + daily.spot_hours == (6 - daily.reserved) * 4380 + max(0, 2 - daily.reserved) * 4380


def test_the_least_that_can_be_reserved_is_all_or_nothing() -> None:
    demand = [3] * 8760
    forced = split_commitments(demand, HourlyPrices(1.0, 0.6), min_reserved=4)
    assert forced is not None
    assert forced.reserved == 4
    too_many = split_commitments(demand, HourlyPrices(1.0, 0.6), min_reserved=6)
    assert too_many is not None
    assert too_many.reserved == 0


def test_without_on_demand_the_peak_is_reserved() -> None:
    found = split_commitments([1, 1, 7], HourlyPrices(None, 0.6))
    assert found is not None
    assert (found.reserved, found.saving_usd_per_year) == (7, None)
    assert split_commitments([1], HourlyPrices(None, None, 0.1), spot=SpotTerms(0.5)) is None
    assert split_commitments([1], HourlyPrices(None)) is None


def test_a_part_of_a_replica_is_a_whole_one() -> None:
    found = split_commitments([1.2] * 10, HourlyPrices(1.0))
    assert found is not None
    assert found.usd_per_year == 2 * 8760


@pytest.mark.parametrize("demand", [[], [-1], [float("nan")], [float("inf")], [1e12]])
def test_what_is_no_demand_is_refused(demand: list[float]) -> None:
    with pytest.raises(ValueError, match="hourly demand"):
        split_commitments(demand, HourlyPrices(1.0))


DAY_AND_NIGHT = (0.25,) * 12 + (1.0,) * 12
SURE = PlanLimits(confidence=0.5, redundancy=0)


def commitment(one: Offer, peak_per_s: float = 395.0, limits: PlanLimits = SURE, **traffic: Any) -> Commitment | None:
    asked = question(target(curve(100.0)), peak_per_s=peak_per_s, of=catalogue(one), limits=limits, **traffic)
    (best,), demand = sized(asked)
    return plan_commitment(get_candidate(best), demand, asked)


def test_a_steady_need_is_reserved_whole() -> None:
    found = commitment(offer(reserved_1y_usd_per_hour=0.6))
    assert found is not None
    assert found.reserved == 4
    assert found.usd_per_month == pytest.approx(0.6 * found.usd_per_month_on_demand)
    assert found.usd_per_month_on_demand == 4 * HOURS_PER_MONTH
    assert "4 reserved for a year, the rest on-demand" in found.sentence


def test_of_a_need_that_falls_at_night_what_is_always_needed_is_reserved_and_spares_are_always_there() -> None:
    found = commitment(offer(reserved_1y_usd_per_hour=0.6), hourly_share=DAY_AND_NIGHT)
    assert found is not None
    assert found.reserved == 1
    assert found.usd_per_month < 0.75 * found.usd_per_month_on_demand
    spare = commitment(
        offer(reserved_1y_usd_per_hour=0.6), limits=PlanLimits(confidence=0.5, redundancy=2), hourly_share=DAY_AND_NIGHT
    )
    assert spare is not None
    assert spare.reserved == 3


def test_without_a_price_of_reservation_all_is_on_demand_and_owned_hardware_is_not_reported() -> None:
    found = commitment(offer(), hourly_share=DAY_AND_NIGHT)
    assert found is not None
    assert found.reserved == 0
    assert "all on-demand; no reserved price is known" in found.sentence
    assert commitment(offer(owned=OwnedHardware(capex_usd=1e4, life_years=3.0))) is None


SMALL = offer("small", vcpus=1.0, on_demand_usd_per_hour=1.0)
LARGE = offer("large", vcpus=10.0, on_demand_usd_per_hour=8.0)


def mixed(*offers: Offer, limits: PlanLimits = SURE, peak_per_s: float = 1180.0) -> Mix | None:
    """Of 100/s a vCPU."""
    asked = question(target(curve(100.0)), peak_per_s=peak_per_s, of=catalogue(*offers), limits=limits)
    options, demand = sized(asked)
    return plan_mix(options, demand, asked)


def test_two_types_together_are_reported_where_they_cost_less_than_one() -> None:
    found = mixed(SMALL, LARGE, peak_per_s=1600.0)  # 16 small cost 16 USD an hour, and so do two large
    assert found is not None
    assert {part.offer: part.instances for part in found.parts} == {"acme/large@here": 1, "acme/small@here": 6}
    assert found.usd_per_month == pytest.approx(14 * HOURS_PER_MONTH)
    assert "together cost $1,460/month less (12.5 %)" in found.sentence


def test_a_mix_is_reported_though_each_type_has_its_spare() -> None:
    small = offer("small", vcpus=1.0, on_demand_usd_per_hour=1.1)
    found = mixed(small, LARGE, limits=PlanLimits(confidence=0.5, redundancy=1), peak_per_s=5200.0)
    assert found is not None  # six large and a spare cost 56 USD an hour, and 52 small and a spare 58 USD
    assert {part.offer: part.instances for part in found.parts} == {"acme/large@here": 6, "acme/small@here": 5}
    assert found.usd_per_month == pytest.approx(53.5 * HOURS_PER_MONTH)


@pytest.mark.parametrize(
    ("offers", "limits", "peak_per_s"),
    [
        ((SMALL,), SURE, 1180.0),
        ((SMALL, LARGE), PlanLimits(confidence=0.5, redundancy=0, zones=2), 1180.0),
        ((SMALL, LARGE), SURE, 990.0),  # one large is cheapest
    ],
)
def test_no_mix_is_reported_of_one_offer_over_zones_or_where_one_alone_is_cheapest(
    offers: tuple[Offer, ...], limits: PlanLimits, peak_per_s: float
) -> None:
    assert mixed(*offers, limits=limits, peak_per_s=peak_per_s) is None


def test_following_each_hour_is_not_offered_where_it_saves_nothing() -> None:
    """A flat need without a price of a reservation costs the same either way."""
    assert commitment(offer()) is None
