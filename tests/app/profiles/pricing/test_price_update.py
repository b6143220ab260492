from __future__ import annotations

import datetime
import math
from typing import Any

import msgspec
import pytest

from app.profiles.pricing.catalog import merge_offers
from app.profiles.pricing.currencies import load_bundled_exchange_rates
from app.profiles.pricing.price_update import (
    DatedCatalog,
    PriceUpdate,
    RefusalReason,
    UpdateRules,
    compare_prices,
    merge_into_list,
)
from app.profiles.pricing.published.listed import ListedPrice, PublishedPrices
from app.records.offers import Offer, Override, PriceList, PriceRow
from tests.fakes.offers import TODAY as OFFER_DATE
from tests.fakes.offers import offer
from tests.fakes.price_catalogs import catalog

TODAY = datetime.date(2026, 11, 29)
AS_OF = datetime.date(2026, 11, 20)
L4, L4X4 = "aws/g6.xlarge@us-east-1", "aws/g6.12xlarge@us-east-1"
"""Offers of the catalog at 0.8 USD/h and, with four accelerators, at 4.6 USD/h."""
RATES = load_bundled_exchange_rates()


def list_price(amount: float | None = 0.79, **fields: Any) -> ListedPrice:
    usual = {"provider": "aws", "instance_type": "g6.xlarge", "region": "us-east-1", "kind": "on-demand"}
    return ListedPrice(amount=amount, **(usual | fields))


def list_x4(amount: float, **fields: Any) -> ListedPrice:
    return list_price(amount, instance_type="g6.12xlarge", **fields)


def compare(*prices: ListedPrice, changed: tuple[Offer, ...] = (), unreadable: int = 0, **rules: Any) -> PriceUpdate:
    published = PublishedPrices(format="aws", prices=prices, other_rows=3, unreadable_rows=unreadable)
    dated = DatedCatalog(published, "aws:https://host/index.csv", AS_OF)
    return compare_prices([dated], catalog(*changed), UpdateRules(**({"max_change": 2.0} | rules)), TODAY)


def list_reasons(update: PriceUpdate) -> list[RefusalReason]:
    return [refused.reason for refused in update.refused]


def list_changes(update: PriceUpdate) -> list[tuple[str, str, float | None, float]]:
    return [(change.key, change.kind, change.old_usd, change.new_usd) for change in update.changes]


def test_price_change_is_applied_with_its_date_and_source() -> None:
    update = compare(list_price(0.79))
    assert list_changes(update) == [(L4, "on-demand", 0.8, 0.79)]
    assert update.rows == (
        PriceRow(
            provider="aws", instance_type="g6.xlarge", region="us-east-1", as_of=AS_OF,
            source="aws:https://host/index.csv", on_demand_usd_per_hour=0.79,
        ),
    )  # fmt: skip
    assert (update.refused, update.confirmed, update.other_rows) == ((), 0, 3)


@pytest.mark.parametrize("amount", [5e-324, 0.9e-6, 1.1e9, 1e308, math.inf])
def test_out_of_range_amount_is_rejected_even_if_accepted(amount: float) -> None:
    """An amount near 0 would make ratios overflow, and no price list has one above the maximum."""
    elsewhere = list_x4(amount, region="eu-west-1")
    assert list_reasons(compare(list_x4(amount))) == [RefusalReason.OUT_OF_RANGE]
    assert list_reasons(compare(elsewhere, regions={"eu-west-1"})) == [RefusalReason.OUT_OF_RANGE]
    assert list_reasons(compare(list_x4(amount), accepted={L4X4})) == [RefusalReason.OUT_OF_RANGE]
    spot = compare(list_x4(4.6), list_x4(amount, kind="spot"))
    assert list_reasons(spot) == [RefusalReason.OUT_OF_RANGE]
    assert spot.refused[0].text == "the price is not from 0.000001 to 1,000,000,000"


@pytest.mark.parametrize("amount", [1e-6, 1e9])
def test_smallest_and_largest_valid_price_can_be_accepted(amount: float) -> None:
    assert list_reasons(compare(list_x4(amount), accepted={L4X4})) == []


def test_unchanged_price_is_confirmed_and_gets_the_new_date() -> None:
    update = compare(list_price(0.8000001))
    assert (list_changes(update), update.confirmed) == ([], 1)
    assert [row.as_of for row in update.rows] == [AS_OF]


def test_stored_price_row_replaces_the_price_without_an_override() -> None:
    update = compare(list_price(0.79))
    merged_offer = {candidate.key: candidate for candidate in merge_offers(catalog(), update.rows).offers}[L4]
    assert (merged_offer.on_demand_usd_per_hour, merged_offer.as_of) == (0.79, AS_OF)
    assert merged_offer.source == "aws:https://host/index.csv"
    assert (merged_offer.overrides, merged_offer.is_customized) == ((), False)


def test_all_price_kinds_are_updated_and_spot_is_the_median_of_the_zones() -> None:
    update = compare(
        list_price(0.79, zone="a"),
        list_price(0.79, zone="b"),
        list_price(0.5, kind="reserved-1y"),
        *(list_price(usd, kind="spot", zone=zone) for zone, usd in (("a", 0.3), ("b", 0.2), ("c", 0.4))),
    )
    assert list_changes(update) == [
        (L4, "on-demand", 0.8, 0.79),
        (L4, "reserved-1y", None, 0.5),
        (L4, "spot", None, 0.3),
    ]


def test_offer_missing_from_the_published_catalog_is_reported_and_not_changed() -> None:
    update = compare(list_price(0.79))
    assert [missing_offer.key for missing_offer in update.not_found] == [
        L4X4, "aws/g6f.2xlarge@us-east-1", "aws/c7i.4xlarge@us-east-1",
    ]  # fmt: skip
    assert [row.key for row in update.rows] == [L4]


def test_known_instance_type_in_another_known_region_is_a_new_offer() -> None:
    update = compare(list_x4(5.0, region="eu-west-1"), list_price(0.9, region="ap-south-1"))
    assert list_changes(update) == [("aws/g6.12xlarge@eu-west-1", "on-demand", None, 5.0)]
    (row,) = update.rows
    assert (row.accelerator, row.accelerator_count, row.vcpus, row.memory_gib) == ("l4", 4, 48, 192)
    assert update.other_regions == 1
    merged = merge_offers(catalog(offer("x", accelerator=None)), ())
    assert len(merged.offers) == len(catalog().offers) + 1


def test_new_offer_without_accelerators_is_stored_with_accelerator_none() -> None:
    (row,) = compare(list_price(0.8, instance_type="c7i.4xlarge", region="us-west-2"), regions={"us-west-2"}).rows
    assert (row.accelerator, row.accelerator_count) == ("none", 0)


def test_price_update_is_limited_to_the_requested_regions() -> None:
    update = compare(list_price(0.79), list_price(0.9, region="ap-south-1"), regions=frozenset(["ap-south-1"]))
    assert list_changes(update) == [("aws/g6.xlarge@ap-south-1", "on-demand", None, 0.9)]
    assert (update.other_regions, update.not_found) == (1, ())


def test_user_prices_and_newer_prices_are_not_replaced() -> None:
    own = catalog().offers[0]
    customized = offer(
        "g6.xlarge", provider="aws", region="us-east-1", overrides=(Override("spot_usd_per_hour", None, OFFER_DATE),)
    )
    assert own.key == customized.key == L4
    update = compare(list_price(0.79), changed=(customized,))
    assert (update.rows, update.unchanged_own) == ((), 1)
    newer = offer("g6.xlarge", provider="aws", region="us-east-1", as_of=TODAY)
    update = compare(list_price(0.79), changed=(newer,))
    assert (update.rows, update.unchanged_newer, update.refused) == ((), 1, ())


@pytest.mark.parametrize(
    ("price", "reason", "message"),
    [
        (list_price(0.0), RefusalReason.NOT_POSITIVE, "not above 0"),
        (list_price(-1.0), RefusalReason.NOT_POSITIVE, "not above 0"),
        (list_price(None), RefusalReason.NOT_A_NUMBER, "not a number"),
        (list_price(0.79, is_hourly=False), RefusalReason.NOT_HOURLY, "not per hour"),
        (list_price(0.79, currencies=("EUR",)), RefusalReason.CURRENCY, "currency is EUR"),
        (list_price(0.79, currencies=("EUR", "USD")), RefusalReason.CURRENCY, "currency is EUR and USD"),
        (list_price(0.79, currencies=("",)), RefusalReason.CURRENCY, "currency is not USD"),
        (list_price(0.79, currencies=("\x1b[31m",)), RefusalReason.CURRENCY, "currency is not USD"),
        (list_price(1.6), RefusalReason.CHANGE, "2 times the current one"),
        (list_price(0.4), RefusalReason.CHANGE, "0.5 times the current one"),
        (list_price(80.0), RefusalReason.CHANGE, "100 times the current one"),
        (list_price(0.8 / RATES["EUR"].usd), RefusalReason.EXCHANGE_RATE, "rate of EUR"),
        (list_price(0.8 * RATES["GBP"].usd), RefusalReason.EXCHANGE_RATE, "rate of GBP"),
        (list_price(0.8 / RATES["JPY"].usd), RefusalReason.EXCHANGE_RATE, "rate of JPY"),
        (list_x4(4.6 / 4), RefusalReason.PER_ACCELERATOR, "1/4 of the current one"),
        (list_x4(4.6 * 4), RefusalReason.PER_ACCELERATOR, "4 times the current one"),
        (list_x4(4.6, accelerator_count=1), RefusalReason.ACCELERATOR_COUNT, "1 accelerators, but the instance has 4"),
        (list_x4(4.6, region="eu-west-1", accelerator_count=8), RefusalReason.ACCELERATOR_COUNT, "8 accelerators"),
        (list_x4(1.0, region="eu-west-1"), RefusalReason.PER_ACCELERATOR, "per accelerator"),
        (list_x4(9.5, region="eu-west-1"), RefusalReason.CHANGE, "in another region"),
        (list_price(0.9, kind="spot"), RefusalReason.ABOVE_ON_DEMAND, "above the on-demand price (0.8)"),
        (list_price(4380.0, kind="reserved-1y"), RefusalReason.ABOVE_ON_DEMAND, "above the on-demand price"),
        (list_price(0.05, kind="spot"), RefusalReason.FAR_BELOW_ON_DEMAND, "16 times below"),
        (list_price(0.3, kind="spot", region="eu-west-1"), RefusalReason.NO_ON_DEMAND, "no on-demand price"),
        (
            list_price(0.79, effective_on=datetime.date(2026, 12, 1)),
            RefusalReason.NOT_YET_VALID,
            "applies from 2026-12-01",
        ),
    ],
)  # fmt: skip
def test_outlier_prices_are_rejected_with_the_reason(price: ListedPrice, reason: RefusalReason, message: str) -> None:
    update = compare(price)
    assert list_reasons(update) == [reason]
    assert message in update.refused[0].text
    assert update.refused[0].listed == price.amount
    assert update.rows == ()
    assert update.refused_share == 1


@pytest.mark.parametrize("amount", [0.41, 0.72, 0.9, 1.59])
def test_price_changes_below_the_maximum_factor_are_applied(amount: float) -> None:
    assert [change.new_usd for change in compare(list_price(amount)).changes] == [amount]


def test_fractional_accelerator_is_not_compared_with_the_published_count() -> None:
    assert list_reasons(compare(list_price(0.48, instance_type="g6f.2xlarge", accelerator_count=1))) == []


def test_contradictory_prices_are_rejected_and_equal_prices_are_merged() -> None:
    update = compare(list_price(0.79), list_price(0.78))
    assert list_reasons(update) == [RefusalReason.CONTRADICTION]
    assert update.refused[0].text == "the catalog has contradictory prices: 0.78 and 0.79"
    assert list_changes(compare(list_price(0.79), list_price(0.79))) == [(L4, "on-demand", 0.8, 0.79)]
    in_one_zone = [list_price(usd, kind="spot", zone="a") for usd in (0.3, 0.4)]
    assert list_reasons(compare(*in_one_zone)) == [RefusalReason.CONTRADICTION]
    assert list_reasons(compare(list_price(0.79, zone="a"), list_price(0.7, zone="b"))) == [RefusalReason.CONTRADICTION]
    assert list_reasons(compare(list_price(0.79), list_price(0.0))) == [RefusalReason.NOT_POSITIVE]


def test_latest_effective_price_is_applied() -> None:
    dates = [datetime.date(2026, month, 1) for month in (6, 9, 12)]
    update = compare(*(list_price(0.7 + day.month / 100, effective_on=day) for day in dates))
    assert [change.new_usd for change in update.changes] == [pytest.approx(0.79)]


def test_spot_prices_may_change_by_a_larger_factor() -> None:
    base = offer("g6.xlarge", provider="aws", region="us-east-1", on_demand_usd_per_hour=0.8, spot_usd_per_hour=0.1)
    rate = RATES["EUR"].usd
    assert list_reasons(compare(list_price(0.39, kind="spot"), changed=(base,))) == []
    assert list_reasons(compare(list_price(0.1 * rate, kind="spot"), changed=(base,))) == []
    assert list_reasons(compare(list_price(0.41, kind="spot"), changed=(base,))) == [RefusalReason.CHANGE]
    reserved = msgspec.structs.replace(base, spot_usd_per_hour=None, reserved_1y_usd_per_hour=0.1)
    assert list_reasons(compare(list_price(0.39, kind="reserved-1y"), changed=(reserved,))) == [RefusalReason.CHANGE]


def test_spot_price_is_compared_with_the_new_on_demand_price() -> None:
    assert list_reasons(compare(list_price(0.7), list_price(0.75, kind="spot"))) == [RefusalReason.ABOVE_ON_DEMAND]


def test_maximum_factor_and_accepted_offers_can_be_set() -> None:
    assert list_reasons(compare(list_price(1.8), max_change=3)) == []
    assert list_reasons(compare(list_price(0.7), max_change=1.1)) == [RefusalReason.CHANGE]
    assert list_reasons(compare(list_price(9.0), accepted=frozenset([L4]))) == []
    assert list_reasons(compare(list_x4(4.6 / 4), accepted=frozenset([L4X4]))) == []
    assert list_reasons(compare(list_price(9.0), accepted=frozenset([L4X4]))) == [RefusalReason.CHANGE]


@pytest.mark.parametrize("price", [list_price(0.0), list_price(None), list_price(0.79, currencies=("EUR",))])
def test_invalid_prices_are_rejected_even_if_accepted(price: ListedPrice) -> None:
    assert len(compare(price, accepted=frozenset([L4])).refused) == 1
    elsewhere = "aws/g6.xlarge@eu-west-1"
    update = compare(list_price(0.3, kind="spot", region="eu-west-1"), accepted=frozenset([elsewhere]))
    assert list_reasons(update) == [RefusalReason.NO_ON_DEMAND]


def test_refused_share_of_a_price_update_includes_unreadable_rows() -> None:
    assert compare().refused_share == 0
    assert compare(list_price(0.79), list_x4(4.6), list_x4(0.0, region="eu-west-1"), unreadable=1).refused_share == 0.5


def test_stored_price_list_retains_rows_of_the_user_and_of_earlier_updates() -> None:
    own = PriceRow(provider="own", instance_type="rack", region="home", as_of=OFFER_DATE, on_demand_usd_per_hour=1.0)
    first = merge_into_list(
        PriceList((own,), "/p.csv", OFFER_DATE), compare(list_price(0.79), list_x4(4.5)), "a", TODAY
    )
    assert [row.key for row in first.rows] == ["own/rack@home", L4X4, L4]
    assert (first.imported_from, first.imported_on) == ("a", TODAY)
    second = merge_into_list(first, compare(list_price(0.78), list_price(0.4, kind="spot")), "b", TODAY)
    assert [(row.on_demand_usd_per_hour, row.spot_usd_per_hour) for row in second.rows] == [
        (1.0, None), (4.5, None), (0.78, 0.4),
    ]  # fmt: skip
    assert merge_into_list(None, compare(list_price(0.79)), "a", TODAY).rows == compare(list_price(0.79)).rows


def test_spot_price_does_not_change_the_date_of_the_on_demand_price() -> None:
    before = PriceRow(
        provider="aws", instance_type="g6.xlarge", region="us-east-1", as_of=OFFER_DATE, source="gpuhunt:x",
        on_demand_usd_per_hour=0.79,
    )  # fmt: skip
    update = compare(list_price(0.3, kind="spot"))
    (row,) = merge_into_list(PriceList((before,), "x", OFFER_DATE), update, "a", TODAY).rows
    assert (row.spot_usd_per_hour, row.as_of, row.source) == (0.3, OFFER_DATE, "gpuhunt:x")


def test_several_published_catalogs_are_compared_together() -> None:
    dated = [
        DatedCatalog(PublishedPrices(format="aws", prices=(price,)), source, AS_OF)
        for source, price in (("aws:1", list_price(0.79)), ("aws:2", list_x4(4.5)), ("aws:3", list_price(0.7)))
    ]
    update = compare_prices(dated, catalog(), UpdateRules(max_change=2.0), TODAY)
    assert [(row.key, row.source) for row in update.rows] == [(L4X4, "aws:2")]
    assert list_reasons(update) == [RefusalReason.CONTRADICTION]
