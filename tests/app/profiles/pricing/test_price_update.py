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
"""In the catalogue at 0.8 and, with four accelerators, at 4.6 USD/h."""
RATES = load_bundled_exchange_rates()


def listed(amount: float | None = 0.79, **fields: Any) -> ListedPrice:
    usual = {"provider": "aws", "instance_type": "g6.xlarge", "region": "us-east-1", "kind": "on-demand"}
    return ListedPrice(amount=amount, **(usual | fields))


def x4(amount: float, **fields: Any) -> ListedPrice:
    return listed(amount, instance_type="g6.12xlarge", **fields)


def compare(*prices: ListedPrice, changed: tuple[Offer, ...] = (), unreadable: int = 0, **rules: Any) -> PriceUpdate:
    published = PublishedPrices(format="aws", prices=prices, other_rows=3, unreadable_rows=unreadable)
    dated = DatedCatalog(published, "aws:https://host/index.csv", AS_OF)
    return compare_prices([dated], catalog(*changed), UpdateRules(**({"max_change": 2.0} | rules)), TODAY)


def reasons(update: PriceUpdate) -> list[RefusalReason]:
    return [refused.reason for refused in update.refused]


def changed(update: PriceUpdate) -> list[tuple[str, str, float | None, float]]:
    return [(change.key, change.kind, change.old_usd, change.new_usd) for change in update.changes]


def test_a_change_is_taken_with_its_date_and_source() -> None:
    update = compare(listed(0.79))
    assert changed(update) == [(L4, "on-demand", 0.8, 0.79)]
    assert update.rows == (
        PriceRow(
            provider="aws", instance_type="g6.xlarge", region="us-east-1", as_of=AS_OF,
            source="aws:https://host/index.csv", on_demand_usd_per_hour=0.79,
        ),
    )  # fmt: skip
    assert (update.refused, update.confirmed, update.other_rows) == ((), 0, 3)


@pytest.mark.parametrize("amount", [5e-324, 0.9e-6, 1.1e9, 1e308, math.inf])
def test_an_amount_that_is_no_price_is_refused_and_never_accepted(amount: float) -> None:
    """An amount near 0 could not be divided by, and no price list has one above the maximum."""
    elsewhere = x4(amount, region="eu-west-1")
    assert reasons(compare(x4(amount))) == [RefusalReason.OUT_OF_RANGE]
    assert reasons(compare(elsewhere, regions={"eu-west-1"})) == [RefusalReason.OUT_OF_RANGE]
    assert reasons(compare(x4(amount), accepted={L4X4})) == [RefusalReason.OUT_OF_RANGE]
    spot = compare(x4(4.6), x4(amount, kind="spot"))
    assert reasons(spot) == [RefusalReason.OUT_OF_RANGE]
    assert spot.refused[0].text == "the price is not from 0.000001 to 1,000,000,000"


@pytest.mark.parametrize("amount", [1e-6, 1e9])
def test_the_smallest_and_the_largest_price_can_be_accepted(amount: float) -> None:
    assert reasons(compare(x4(amount), accepted={L4X4})) == []


def test_the_same_price_is_confirmed_and_gets_the_date() -> None:
    update = compare(listed(0.8000001))
    assert (changed(update), update.confirmed) == ([], 1)
    assert [row.as_of for row in update.rows] == [AS_OF]


def test_the_stored_row_replaces_the_price_without_being_an_override() -> None:
    update = compare(listed(0.79))
    merged = {found.key: found for found in merge_offers(catalog(), update.rows).offers}[L4]
    assert (merged.on_demand_usd_per_hour, merged.as_of) == (0.79, AS_OF)
    assert merged.source == "aws:https://host/index.csv"
    assert (merged.overrides, merged.is_customized) == ((), False)


def test_all_kinds_of_prices_are_taken_and_spot_is_the_median_of_the_zones() -> None:
    update = compare(
        listed(0.79, zone="a"),
        listed(0.79, zone="b"),
        listed(0.5, kind="reserved-1y"),
        *(listed(usd, kind="spot", zone=zone) for zone, usd in (("a", 0.3), ("b", 0.2), ("c", 0.4))),
    )
    assert changed(update) == [
        (L4, "on-demand", 0.8, 0.79),
        (L4, "reserved-1y", None, 0.5),
        (L4, "spot", None, 0.3),
    ]


def test_an_offer_that_the_catalogue_lists_no_more_is_reported_and_kept() -> None:
    update = compare(listed(0.79))
    assert [found.key for found in update.not_found] == [
        L4X4, "aws/g6f.2xlarge@us-east-1", "aws/c7i.4xlarge@us-east-1",
    ]  # fmt: skip
    assert [row.key for row in update.rows] == [L4]


def test_a_known_instance_in_another_known_region_is_a_new_offer_with_its_hardware() -> None:
    update = compare(x4(5.0, region="eu-west-1"), listed(0.9, region="ap-south-1"))
    assert changed(update) == [("aws/g6.12xlarge@eu-west-1", "on-demand", None, 5.0)]
    (row,) = update.rows
    assert (row.accelerator, row.accelerator_count, row.vcpus, row.memory_gib) == ("l4", 4, 48, 192)
    assert update.other_regions == 1
    merged = merge_offers(catalog(offer("x", accelerator=None)), ())
    assert len(merged.offers) == len(catalog().offers) + 1


def test_a_new_offer_without_accelerators_says_so() -> None:
    (row,) = compare(listed(0.8, instance_type="c7i.4xlarge", region="us-west-2"), regions={"us-west-2"}).rows
    assert (row.accelerator, row.accelerator_count) == ("none", 0)


def test_only_the_named_regions_are_taken() -> None:
    update = compare(listed(0.79), listed(0.9, region="ap-south-1"), regions=frozenset(["ap-south-1"]))
    assert changed(update) == [("aws/g6.xlarge@ap-south-1", "on-demand", None, 0.9)]
    assert (update.other_regions, update.not_found) == (1, ())


def test_prices_of_the_user_and_newer_prices_are_kept() -> None:
    own = catalog().offers[0]
    mine = offer(
        "g6.xlarge", provider="aws", region="us-east-1", overrides=(Override("spot_usd_per_hour", None, OFFER_DATE),)
    )
    assert own.key == mine.key == L4
    update = compare(listed(0.79), changed=(mine,))
    assert (update.rows, update.kept_own) == ((), 1)
    newer = offer("g6.xlarge", provider="aws", region="us-east-1", as_of=TODAY)
    update = compare(listed(0.79), changed=(newer,))
    assert (update.rows, update.kept_newer, update.refused) == ((), 1, ())


@pytest.mark.parametrize(
    ("price", "reason", "says"),
    [
        (listed(0.0), RefusalReason.NOT_POSITIVE, "not above 0"),
        (listed(-1.0), RefusalReason.NOT_POSITIVE, "not above 0"),
        (listed(None), RefusalReason.NOT_A_NUMBER, "not a number"),
        (listed(0.79, is_hourly=False), RefusalReason.NOT_HOURLY, "not per hour"),
        (listed(0.79, currencies=("EUR",)), RefusalReason.CURRENCY, "currency is EUR"),
        (listed(0.79, currencies=("EUR", "USD")), RefusalReason.CURRENCY, "currency is EUR and USD"),
        (listed(0.79, currencies=("",)), RefusalReason.CURRENCY, "currency is not USD"),
        (listed(0.79, currencies=("\x1b[31m",)), RefusalReason.CURRENCY, "currency is not USD"),
        (listed(1.6), RefusalReason.CHANGE, "2 times the current one"),
        (listed(0.4), RefusalReason.CHANGE, "0.5 times the current one"),
        (listed(80.0), RefusalReason.CHANGE, "100 times the current one"),
        (listed(0.8 / RATES["EUR"].usd), RefusalReason.EXCHANGE_RATE, "rate of EUR"),
        (listed(0.8 * RATES["GBP"].usd), RefusalReason.EXCHANGE_RATE, "rate of GBP"),
        (listed(0.8 / RATES["JPY"].usd), RefusalReason.EXCHANGE_RATE, "rate of JPY"),
        (x4(4.6 / 4), RefusalReason.PER_ACCELERATOR, "1/4 of the current one"),
        (x4(4.6 * 4), RefusalReason.PER_ACCELERATOR, "4 times the current one"),
        (x4(4.6, accelerator_count=1), RefusalReason.ACCELERATOR_COUNT, "1 accelerators, but the instance has 4"),
        (x4(4.6, region="eu-west-1", accelerator_count=8), RefusalReason.ACCELERATOR_COUNT, "8 accelerators"),
        (x4(1.0, region="eu-west-1"), RefusalReason.PER_ACCELERATOR, "per accelerator"),
        (x4(9.5, region="eu-west-1"), RefusalReason.CHANGE, "in another region"),
        (listed(0.9, kind="spot"), RefusalReason.ABOVE_ON_DEMAND, "above the on-demand price (0.8)"),
        (listed(4380.0, kind="reserved-1y"), RefusalReason.ABOVE_ON_DEMAND, "above the on-demand price"),
        (listed(0.05, kind="spot"), RefusalReason.FAR_BELOW_ON_DEMAND, "16 times below"),
        (listed(0.3, kind="spot", region="eu-west-1"), RefusalReason.NO_ON_DEMAND, "no on-demand price"),
        (
            listed(0.79, effective_on=datetime.date(2026, 12, 1)),
            RefusalReason.NOT_YET_VALID,
            "applies from 2026-12-01",
        ),
    ],
)  # fmt: skip
def test_outliers_are_refused_with_the_reason(price: ListedPrice, reason: RefusalReason, says: str) -> None:
    update = compare(price)
    assert reasons(update) == [reason]
    assert says in update.refused[0].text
    assert update.refused[0].listed == price.amount
    assert update.rows == ()
    assert update.refused_share == 1


@pytest.mark.parametrize("amount", [0.41, 0.72, 0.9, 1.59])
def test_changes_below_the_factor_are_taken(amount: float) -> None:
    assert [change.new_usd for change in compare(listed(amount)).changes] == [amount]


def test_a_part_of_an_accelerator_is_not_compared_with_a_count() -> None:
    assert reasons(compare(listed(0.48, instance_type="g6f.2xlarge", accelerator_count=1))) == []


def test_contradictory_rows_are_refused_and_equal_ones_are_one() -> None:
    update = compare(listed(0.79), listed(0.78))
    assert reasons(update) == [RefusalReason.CONTRADICTION]
    assert update.refused[0].text == "the catalog has contradictory prices: 0.78 and 0.79"
    assert changed(compare(listed(0.79), listed(0.79))) == [(L4, "on-demand", 0.8, 0.79)]
    in_one_zone = [listed(usd, kind="spot", zone="a") for usd in (0.3, 0.4)]
    assert reasons(compare(*in_one_zone)) == [RefusalReason.CONTRADICTION]
    assert reasons(compare(listed(0.79, zone="a"), listed(0.7, zone="b"))) == [RefusalReason.CONTRADICTION]
    assert reasons(compare(listed(0.79), listed(0.0))) == [RefusalReason.NOT_POSITIVE]


def test_the_latest_price_that_applies_already_is_taken() -> None:
    dates = [datetime.date(2026, month, 1) for month in (6, 9, 12)]
    update = compare(*(listed(0.7 + day.month / 100, effective_on=day) for day in dates))
    assert [change.new_usd for change in update.changes] == [pytest.approx(0.79)]


def test_spot_prices_may_change_more_than_others() -> None:
    base = offer("g6.xlarge", provider="aws", region="us-east-1", on_demand_usd_per_hour=0.8, spot_usd_per_hour=0.1)
    rate = RATES["EUR"].usd
    assert reasons(compare(listed(0.39, kind="spot"), changed=(base,))) == []
    assert reasons(compare(listed(0.1 * rate, kind="spot"), changed=(base,))) == []
    assert reasons(compare(listed(0.41, kind="spot"), changed=(base,))) == [RefusalReason.CHANGE]
    reserved = msgspec.structs.replace(base, spot_usd_per_hour=None, reserved_1y_usd_per_hour=0.1)
    assert reasons(compare(listed(0.39, kind="reserved-1y"), changed=(reserved,))) == [RefusalReason.CHANGE]


def test_spot_is_compared_with_the_new_on_demand_price() -> None:
    assert reasons(compare(listed(0.7), listed(0.75, kind="spot"))) == [RefusalReason.ABOVE_ON_DEMAND]


def test_the_factor_and_single_offers_can_be_set() -> None:
    assert reasons(compare(listed(1.8), max_change=3)) == []
    assert reasons(compare(listed(0.7), max_change=1.1)) == [RefusalReason.CHANGE]
    assert reasons(compare(listed(9.0), accepted=frozenset([L4]))) == []
    assert reasons(compare(x4(4.6 / 4), accepted=frozenset([L4X4]))) == []
    assert reasons(compare(listed(9.0), accepted=frozenset([L4X4]))) == [RefusalReason.CHANGE]


@pytest.mark.parametrize("price", [listed(0.0), listed(None), listed(0.79, currencies=("EUR",))])
def test_what_cannot_be_right_cannot_be_accepted(price: ListedPrice) -> None:
    assert len(compare(price, accepted=frozenset([L4])).refused) == 1
    elsewhere = "aws/g6.xlarge@eu-west-1"
    update = compare(listed(0.3, kind="spot", region="eu-west-1"), accepted=frozenset([elsewhere]))
    assert reasons(update) == [RefusalReason.NO_ON_DEMAND]


def test_the_refused_share_counts_rows_that_cannot_be_read() -> None:
    assert compare().refused_share == 0
    assert compare(listed(0.79), x4(4.6), x4(0.0, region="eu-west-1"), unreadable=1).refused_share == 0.5


def test_the_stored_list_keeps_the_rows_of_the_user_and_earlier_updates() -> None:
    own = PriceRow(provider="own", instance_type="rack", region="home", as_of=OFFER_DATE, on_demand_usd_per_hour=1.0)
    first = merge_into_list(PriceList((own,), "/p.csv", OFFER_DATE), compare(listed(0.79), x4(4.5)), "a", TODAY)
    assert [row.key for row in first.rows] == ["own/rack@home", L4X4, L4]
    assert (first.imported_from, first.imported_on) == ("a", TODAY)
    second = merge_into_list(first, compare(listed(0.78), listed(0.4, kind="spot")), "b", TODAY)
    assert [(row.on_demand_usd_per_hour, row.spot_usd_per_hour) for row in second.rows] == [
        (1.0, None), (4.5, None), (0.78, 0.4),
    ]  # fmt: skip
    assert merge_into_list(None, compare(listed(0.79)), "a", TODAY).rows == compare(listed(0.79)).rows


def test_a_spot_price_does_not_change_the_date_of_the_on_demand_price() -> None:
    before = PriceRow(
        provider="aws", instance_type="g6.xlarge", region="us-east-1", as_of=OFFER_DATE, source="gpuhunt:x",
        on_demand_usd_per_hour=0.79,
    )  # fmt: skip
    update = compare(listed(0.3, kind="spot"))
    (row,) = merge_into_list(PriceList((before,), "x", OFFER_DATE), update, "a", TODAY).rows
    assert (row.spot_usd_per_hour, row.as_of, row.source) == (0.3, OFFER_DATE, "gpuhunt:x")


def test_several_catalogues_are_compared_together() -> None:
    dated = [
        DatedCatalog(PublishedPrices(format="aws", prices=(price,)), source, AS_OF)
        for source, price in (("aws:1", listed(0.79)), ("aws:2", x4(4.5)), ("aws:3", listed(0.7)))
    ]
    update = compare_prices(dated, catalog(), UpdateRules(max_change=2.0), TODAY)
    assert [(row.key, row.source) for row in update.rows] == [(L4X4, "aws:2")]
    assert reasons(update) == [RefusalReason.CONTRADICTION]
