from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from app.planning.break_even import break_even_of
from app.planning.sizing import HOURS_A_MONTH
from app.records.offers import ApiPrice, Offer, PlanLimits
from app.records.prices import OwnedHardware
from app.records.traffic import TokenLengths
from tests.fakes.offers import catalogue, offer, question, target
from tests.fakes.planned import sized

MONTH_S = HOURS_A_MONTH * 3600


def sentences(*offers: Offer, api: ApiPrice | None = None, peak_per_s: float = 50.0, **traffic: Any) -> list[str]:
    """By the measured max rate of 100/s, on instances of which one is enough."""
    limits = PlanLimits(redundancy=0, api=api)
    asked = question(target(), of=catalogue(*offers), limits=limits, peak_per_s=peak_per_s, **traffic)
    options, demand = sized(asked)
    return list(break_even_of(options, demand, asked))


def owned(**changes: Any) -> Offer:
    hardware = replace(OwnedHardware(capex_usd=7300.0, life_years=3.0), **changes)
    return offer("c16", provider="yours", on_demand_usd_per_hour=None, owned=hardware)


def test_nothing_is_said_where_there_is_nothing_to_compare() -> None:
    assert sentences(offer()) == []
    assert sentences(owned()) == []


def test_what_is_bought_is_paid_for_when_rent_has_cost_as_much() -> None:
    (plain,) = sentences(offer(), owned())  # 730 USD a month
    assert plain.startswith("1 × yours/c16@here, bought, have paid for themselves against 1 × acme/c16@here at 730 USD")
    assert "after 10 months" in plain
    (running,) = sentences(offer(), owned(colo_usd_per_month=365.0))
    assert "after 20 months" in running
    (never,) = sentences(offer(), owned(colo_usd_per_month=600.0))
    assert "never cost less than 1 × acme/c16@here at 730 USD a month within their life" in never


@pytest.mark.parametrize("share", [0.25, 1.0, 2.0])
def test_an_api_is_even_where_it_costs_what_the_fleet_does(share: float) -> None:
    # at `share` of 50/s its calls cost the 730 USD of the one instance
    price = ApiPrice(730.0 / (share * 50 * MONTH_S / 1000), "1k requests")
    (told,) = sentences(offer(), api=price)
    assert f"they are even at {share:g} of the traffic" in told
    assert ("which is less" in told) == (share < 1)


def test_an_api_by_tokens_takes_the_mean_request() -> None:
    price = ApiPrice(730.0 / (50 * MONTH_S * 1000 / 1e6), "1M tokens")
    tokens = (TokenLengths(3.0, 800.0, 100.0), TokenLengths(1.0, 1000.0, 300.0))
    (told,) = sentences(offer(), api=price, tokens=tokens)
    assert "even at 1 of the traffic" in told
    (silent,) = sentences(offer(), api=price)
    assert silent.endswith("is compared where traffic.tokens says how many a request has.")
