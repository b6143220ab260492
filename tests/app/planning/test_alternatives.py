from __future__ import annotations

from typing import Any

import pytest

from app.planning.alternatives import commitment_of, mix_of
from app.planning.options import candidate_of
from app.planning.sizing import HOURS_A_MONTH
from app.records.offers import Offer, PlanLimits
from app.records.plan import Commitment, Mix
from app.records.prices import OwnedHardware
from tests.fakes.offers import catalogue, curve, offer, question, target
from tests.fakes.planned import sized

DAY_AND_NIGHT = (0.25,) * 12 + (1.0,) * 12
SURE = PlanLimits(assurance=0.5, redundancy=0)


def commitment(one: Offer, peak_per_s: float = 395.0, limits: PlanLimits = SURE, **traffic: Any) -> Commitment | None:
    asked = question(target(curve(100.0)), peak_per_s=peak_per_s, of=catalogue(one), limits=limits, **traffic)
    (best,), demand = sized(asked)
    return commitment_of(candidate_of(best), demand, asked)


def test_a_steady_need_is_reserved_whole() -> None:
    found = commitment(offer(reserved_1y_usd_per_hour=0.6))
    assert found is not None
    assert found.reserved == 4
    assert found.usd_per_month == pytest.approx(0.6 * found.usd_per_month_on_demand)
    assert found.usd_per_month_on_demand == 4 * HOURS_A_MONTH
    assert "4 reserved for a year, the rest on demand" in found.sentence


def test_of_a_need_that_falls_at_night_what_is_always_needed_is_reserved_and_spares_are_always_there() -> None:
    found = commitment(offer(reserved_1y_usd_per_hour=0.6), hourly_share=DAY_AND_NIGHT)
    assert found is not None
    assert found.reserved == 1
    assert found.usd_per_month < 0.75 * found.usd_per_month_on_demand
    spare = commitment(
        offer(reserved_1y_usd_per_hour=0.6), limits=PlanLimits(assurance=0.5, redundancy=2), hourly_share=DAY_AND_NIGHT
    )
    assert spare is not None
    assert spare.reserved == 3


def test_without_a_price_of_reservation_all_is_on_demand_and_owned_hardware_is_not_told() -> None:
    found = commitment(offer(), hourly_share=DAY_AND_NIGHT)
    assert found is not None
    assert found.reserved == 0
    assert "all on demand; no price of a reservation is known" in found.sentence
    assert commitment(offer(owned=OwnedHardware(capex_usd=1e4, life_years=3.0))) is None


SMALL = offer("small", vcpus=1.0, on_demand_usd_per_hour=1.0)
LARGE = offer("large", vcpus=10.0, on_demand_usd_per_hour=8.0)


def mixed(*offers: Offer, limits: PlanLimits = SURE, peak_per_s: float = 1180.0) -> Mix | None:
    """Of 100/s a vCPU."""
    asked = question(target(curve(100.0)), peak_per_s=peak_per_s, of=catalogue(*offers), limits=limits)
    options, demand = sized(asked)
    return mix_of(options, demand, asked)


def test_two_types_together_are_told_where_they_cost_less_than_one() -> None:
    found = mixed(SMALL, LARGE, peak_per_s=1600.0)  # 16 small cost 16 USD an hour, and so do two large
    assert found is not None
    assert {part.offer: part.instances for part in found.parts} == {"acme/large@here": 1, "acme/small@here": 6}
    assert found.usd_per_month == pytest.approx(14 * HOURS_A_MONTH)
    assert "together cost 1,460 USD a month less (12.5 %)" in found.sentence


@pytest.mark.parametrize(
    ("offers", "limits", "peak_per_s"),
    [
        ((SMALL,), SURE, 1180.0),
        ((SMALL, LARGE), PlanLimits(assurance=0.5, redundancy=0, zones=2), 1180.0),
        ((SMALL, LARGE), SURE, 990.0),  # one large is cheapest
    ],
)
def test_no_mix_is_told_of_one_offer_over_zones_or_where_one_alone_is_cheapest(
    offers: tuple[Offer, ...], limits: PlanLimits, peak_per_s: float
) -> None:
    assert mixed(*offers, limits=limits, peak_per_s=peak_per_s) is None


def test_following_each_hour_is_not_offered_where_it_saves_nothing() -> None:
    """A flat need without a price of a reservation costs the same either way."""
    assert commitment(offer()) is None
