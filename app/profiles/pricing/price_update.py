"""Compare the prices of published catalogs with the current prices, and refuse outliers.

A price is refused if it is not a plausible number of USD per hour, if the catalog contradicts
itself, or if its change looks like an error: a factor that prices do not change by, an exchange
rate, or the price of one accelerator in place of that of the instance.
"""

from __future__ import annotations

import datetime
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any

import msgspec

from app.analysis.accelerator_names import NO_ACCELERATOR
from app.profiles.pricing.currencies import USD, load_bundled_exchange_rates
from app.profiles.pricing.price_cells import MAX_VALUE, MIN_PRICE_USD
from app.profiles.pricing.published.listed import KnownInstances, ListedPrice, PublishedPrices, index_instances
from app.records.offers import PRICE_FIELDS, Catalog, Offer, PriceList, PriceRow, RequestedPrice

MAX_REFUSED_SHARE = 0.2
"""Share of refused prices above which nothing of a catalog is taken."""
_UNCHANGED_TOLERANCE = 1e-4
_RATE_TOLERANCE = 0.005
_COUNT_TOLERANCE, _OTHER_REGION_TOLERANCE = 0.05, 0.3
"""Tolerances within which a ratio of prices equals a number of accelerators: in the same region,
and in another one, whose price level differs."""
_MAX_DISCOUNT = 10.0
"""Factor between an on-demand price and a spot or reserved price without a current one, from which
the latter is refused."""


class RefusalReason(StrEnum):
    NOT_A_NUMBER = "not-a-number"
    NOT_POSITIVE = "not-positive"
    OUT_OF_RANGE = "out-of-range"
    NOT_HOURLY = "not-hourly"
    CURRENCY = "currency"
    CONTRADICTION = "contradiction"
    NOT_YET_VALID = "not-yet-valid"
    ACCELERATOR_COUNT = "accelerator-count"
    PER_ACCELERATOR = "per-accelerator"
    EXCHANGE_RATE = "exchange-rate"
    CHANGE = "change"
    ABOVE_ON_DEMAND = "above-on-demand"
    FAR_BELOW_ON_DEMAND = "far-below-on-demand"
    NO_ON_DEMAND = "no-on-demand"


class DatedCatalog(msgspec.Struct, frozen=True):
    """Prices of a published catalog with their source, without secrets, and their date."""

    prices: PublishedPrices
    source: str
    as_of: datetime.date


class UpdateRules(msgspec.Struct, frozen=True, kw_only=True):
    """Rules for taking prices. `max_change` is the factor between the current price and a new one
    from which the new one is refused; `accepted` has keys of offers whose outliers are taken;
    `regions` are the only regions to take, or empty for those in which the catalog has offers of
    the provider."""

    max_change: float
    accepted: frozenset[str] = frozenset()
    regions: frozenset[str] = frozenset()


class PriceChange(msgspec.Struct, frozen=True):
    """Price that is taken. `old_usd` is None if there was no price."""

    key: str
    kind: RequestedPrice
    old_usd: float | None
    new_usd: float


class RefusedPrice(msgspec.Struct, frozen=True):
    """Price that is not taken. `listed` is None if it is not a number."""

    key: str
    kind: RequestedPrice
    old_usd: float | None
    listed: float | None
    reason: RefusalReason
    text: str


class PriceUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """Difference between published catalogs and the current prices. `rows` are the rows to store.

    `confirmed` counts prices that are the same as the current ones and get the new date. Prices of
    the user, and prices newer than the catalog, are kept.
    """

    rows: tuple[PriceRow, ...]
    changes: tuple[PriceChange, ...]
    refused: tuple[RefusedPrice, ...]
    not_found: tuple[Offer, ...]
    """Offers in a region that the catalog lists, but without a price in the catalog."""
    confirmed: int
    unchanged_own: int
    unchanged_newer: int
    other_regions: int
    unreadable_rows: int
    other_rows: int

    @property
    def refused_share(self) -> float:
        """Share of the prices that are refused, with the rows that cannot be read."""
        refused_count = len(self.refused) + self.unreadable_rows
        count = refused_count + len(self.changes) + self.confirmed
        return refused_count / count if count else 0.0


class _Refusal(msgspec.Struct, frozen=True):
    reason: RefusalReason
    text: str


class _ListedOffer(msgspec.Struct, frozen=True):
    """Prices of one instance type in one region, and the catalog that lists them."""

    provider: str
    instance_type: str
    region: str
    catalog: DatedCatalog
    prices: dict[RequestedPrice, list[ListedPrice]]

    @property
    def key(self) -> str:
        return f"{self.provider}/{self.instance_type}@{self.region}"


class _TakenPrices(msgspec.Struct, frozen=True):
    changes: list[PriceChange]
    refused: list[RefusedPrice]
    amounts: dict[RequestedPrice, float]


def compare_prices(
    catalogs: Sequence[DatedCatalog], current: Catalog, rules: UpdateRules, today: datetime.date
) -> PriceUpdate:
    """Compare the prices of published catalogs with the current catalog, which includes the stored
    price list."""
    offers = {offer.key: offer for offer in current.offers}
    instances = index_instances(current)
    rows, changes, refused = [], [], []
    confirmed = unchanged_own = unchanged_newer = other_regions = 0
    listed_offers = _group_prices(catalogs)
    known_regions = {(offer.provider, offer.region) for offer in current.offers}
    for key in sorted(listed_offers):
        listed, offer = listed_offers[key], offers.get(key)
        is_known_region = (listed.provider, listed.region) in known_regions
        if not (listed.region in rules.regions if rules.regions else is_known_region):
            other_regions += len(listed.prices)
        elif offer is not None and offer.is_customized:
            unchanged_own += len(listed.prices)
        elif offer is not None and offer.as_of > listed.catalog.as_of:
            unchanged_newer += len(listed.prices)
        else:
            taken = _take_prices(listed, offer, current, rules, today)
            changes += taken.changes
            refused += taken.refused
            confirmed += len(taken.amounts) - len(taken.changes)
            if taken.amounts:
                rows.append(_build_row(listed, offer, instances, taken.amounts))
    return PriceUpdate(
        rows=tuple(rows),
        changes=tuple(changes),
        refused=tuple(refused),
        not_found=tuple(_find_missing_offers(listed_offers, current, rules)),
        confirmed=confirmed,
        unchanged_own=unchanged_own,
        unchanged_newer=unchanged_newer,
        other_regions=other_regions,
        unreadable_rows=sum(catalog.prices.unreadable_rows for catalog in catalogs),
        other_rows=sum(catalog.prices.other_rows for catalog in catalogs),
    )


def merge_into_list(previous: PriceList | None, update: PriceUpdate, source: str, today: datetime.date) -> PriceList:
    """Return the stored price list with the taken prices. Rows of the user stay as they are."""
    rows = {} if previous is None else {row.key: row for row in previous.rows}
    for row in update.rows:
        rows[row.key] = _merge_row(rows[row.key], row) if row.key in rows else row
    return PriceList(tuple(rows.values()), source, today)


def _merge_row(previous: PriceRow, row: PriceRow) -> PriceRow:
    prices = {field: getattr(row, field) for field in PRICE_FIELDS.values() if getattr(row, field) is not None}
    if row.on_demand_usd_per_hour is None and previous.on_demand_usd_per_hour is not None:
        return msgspec.structs.replace(previous, **prices)  # the date and the source are those of the on-demand price
    return msgspec.structs.replace(previous, as_of=row.as_of, source=row.source, **prices)


def _group_prices(catalogs: Iterable[DatedCatalog]) -> dict[str, _ListedOffer]:
    listed_offers: dict[str, _ListedOffer] = {}
    for catalog in catalogs:
        for price in catalog.prices.prices:
            listed = _ListedOffer(price.provider, price.instance_type, price.region, catalog, defaultdict(list))
            listed_offers.setdefault(listed.key, listed).prices[price.kind].append(price)
    return listed_offers


def _find_missing_offers(
    listed_offers: Mapping[str, _ListedOffer], current: Catalog, rules: UpdateRules
) -> Iterator[Offer]:
    listed_regions = {(listed.provider, listed.region) for listed in listed_offers.values()}
    for offer in current.offers:
        is_listed_region = (offer.provider, offer.region) in listed_regions
        is_requested = not rules.regions or offer.region in rules.regions
        if is_listed_region and is_requested and not offer.is_customized and offer.key not in listed_offers:
            yield offer


def _take_prices(
    listed: _ListedOffer, offer: Offer | None, current: Catalog, rules: UpdateRules, today: datetime.date
) -> _TakenPrices:
    siblings = [
        other
        for other in current.offers
        if (other.provider, other.instance_type) == (listed.provider, listed.instance_type) and other.owned is None
    ]
    taken = _TakenPrices([], [], {})
    for kind, field in PRICE_FIELDS.items():
        if kind not in listed.prices:
            continue
        old_usd = None if offer is None else getattr(offer, field)
        amount = _resolve_amount(kind, listed.prices[kind], siblings[0], today)
        if isinstance(amount, _Refusal):
            refusal: _Refusal | None = amount
            listed_amount = listed.prices[kind][0].amount
        else:
            listed_amount = amount
            on_demand_usd = taken.amounts.get("on-demand", None if offer is None else offer.on_demand_usd_per_hour)
            if kind == "on-demand":
                refusal = _check_on_demand(amount, old_usd, siblings, rules)
            else:
                refusal = _check_discounted(kind, amount, old_usd, on_demand_usd, siblings[0], rules)
            if (
                refusal is not None
                and refusal.reason is not RefusalReason.NO_ON_DEMAND
                and listed.key in rules.accepted
            ):
                refusal = None
        if refusal is not None:
            taken.refused.append(RefusedPrice(listed.key, kind, old_usd, listed_amount, refusal.reason, refusal.text))
        elif listed_amount is not None:
            taken.amounts[kind] = listed_amount
            if old_usd is None or not math.isclose(listed_amount, old_usd, rel_tol=_UNCHANGED_TOLERANCE):
                taken.changes.append(PriceChange(listed.key, kind, old_usd, listed_amount))
    return taken


def _resolve_amount(
    kind: RequestedPrice, prices: Sequence[ListedPrice], instance: Offer, today: datetime.date
) -> float | _Refusal:
    """Return the price in USD per hour that the rows of a catalog agree on, which is the median of
    the zones for spot prices."""
    amounts_by_zone: dict[str, set[float]] = defaultdict(set)
    effective_prices = _select_effective(prices, today)
    if not effective_prices:
        return _Refusal(RefusalReason.NOT_YET_VALID, f"the price applies from {prices[0].effective_on}")
    for price in effective_prices:
        refusal = _check_row(price, instance)
        if refusal is not None or price.amount is None:
            return refusal or _Refusal(RefusalReason.NOT_A_NUMBER, "the price is not a number")
        amounts_by_zone[price.zone].add(price.amount)
    zones = amounts_by_zone.values()
    all_amounts = set().union(*zones)
    groups = zones if kind == "spot" else [all_amounts]
    if any(not math.isclose(min(group), max(group), rel_tol=_UNCHANGED_TOLERANCE) for group in groups):
        low, high = min(all_amounts), max(all_amounts)
        return _Refusal(RefusalReason.CONTRADICTION, f"the catalog has contradictory prices: {low:.5g} and {high:.5g}")
    return statistics.median(max(group) for group in zones)


def _select_effective(prices: Sequence[ListedPrice], today: datetime.date) -> Sequence[ListedPrice]:
    """Return the prices that apply today, of a catalog that may also list earlier and later ones;
    none if all of them apply later."""
    started = [price for price in prices if price.effective_on is None or price.effective_on <= today]
    latest = max((price.effective_on for price in started if price.effective_on is not None), default=None)
    return [price for price in started if price.effective_on in (None, latest)]


def _check_row(price: ListedPrice, instance: Offer) -> _Refusal | None:
    """Check a row on its own. `instance` is an offer of its instance type."""
    if price.amount is None:
        return _Refusal(RefusalReason.NOT_A_NUMBER, "the price is not a number")
    if price.amount <= 0:
        return _Refusal(RefusalReason.NOT_POSITIVE, "the price is not above 0")
    if not MIN_PRICE_USD <= price.amount <= MAX_VALUE:
        text = f"the price is not from {MIN_PRICE_USD:.6f} to {MAX_VALUE:,.0f}"
        return _Refusal(RefusalReason.OUT_OF_RANGE, text)
    if not price.is_hourly:
        return _Refusal(RefusalReason.NOT_HOURLY, "the price is not per hour")
    if price.currencies != (USD,):
        known_codes = [code for code in price.currencies if code in load_bundled_exchange_rates() or code == USD]
        codes_text = " and ".join(known_codes) if len(known_codes) == len(price.currencies) else "not USD"
        return _Refusal(RefusalReason.CURRENCY, f"the stated currency is {codes_text or 'missing'}")
    count = price.accelerator_count
    if count is not None and instance.accelerator_count >= 1 and count != instance.accelerator_count:
        text = f"the catalog has {count:g} accelerators, but the instance has {instance.accelerator_count:g}"
        return _Refusal(RefusalReason.ACCELERATOR_COUNT, text)
    return None


def _check_on_demand(
    amount: float, old_usd: float | None, siblings: Sequence[Offer], rules: UpdateRules
) -> _Refusal | None:
    """Check an on-demand price against the current price or, for a new offer, against the closest
    price of the same instance type in other regions."""
    count = siblings[0].accelerator_count
    if old_usd is not None:
        return _check_change(amount, old_usd, count, rules.max_change)
    known_usd = [offer.on_demand_usd_per_hour for offer in siblings if offer.on_demand_usd_per_hour is not None]
    if not known_usd:
        return None
    reference_usd = min(known_usd, key=lambda usd: abs(math.log(amount / usd)))
    ratio = amount / reference_usd
    if 1 / rules.max_change < ratio < rules.max_change:
        return None
    return _check_accelerator_ratio(ratio, count, _OTHER_REGION_TOLERANCE) or _Refusal(
        RefusalReason.CHANGE, f"the price is {ratio:.3g} times that of the same instance in another region"
    )


def _check_discounted(
    kind: RequestedPrice,
    amount: float,
    old_usd: float | None,
    on_demand_usd: float | None,
    instance: Offer,
    rules: UpdateRules,
) -> _Refusal | None:
    """Check a spot or reserved price. Spot prices may change by the square of the factor."""
    if on_demand_usd is None:
        return _Refusal(RefusalReason.NO_ON_DEMAND, "there is no on-demand price to compare it with")
    if amount > on_demand_usd * (1 + _RATE_TOLERANCE):
        return _Refusal(RefusalReason.ABOVE_ON_DEMAND, f"the price is above the on-demand price ({on_demand_usd:.5g})")
    if old_usd is not None:
        is_plausible_spot = kind == "spot" and 1 / rules.max_change**2 < amount / old_usd < rules.max_change**2
        return (
            None if is_plausible_spot else _check_change(amount, old_usd, instance.accelerator_count, rules.max_change)
        )
    if amount * _MAX_DISCOUNT <= on_demand_usd:
        text = f"the price is {on_demand_usd / amount:.3g} times below the on-demand price ({on_demand_usd:.5g})"
        return _Refusal(RefusalReason.FAR_BELOW_ON_DEMAND, text)
    return None


def _check_change(amount: float, old_usd: float, count: float, max_change: float) -> _Refusal | None:
    ratio = amount / old_usd
    refusal = _check_accelerator_ratio(ratio, count, _COUNT_TOLERANCE) or _check_exchange_rate(ratio)
    if refusal is not None or 1 / max_change < ratio < max_change:
        return refusal
    return _Refusal(RefusalReason.CHANGE, f"the price is {ratio:.3g} times the current one")


def _check_accelerator_ratio(ratio: float, count: float, tolerance: float) -> _Refusal | None:
    """Refuse a ratio that equals the number of accelerators: one price is per accelerator, and the
    other one is per instance."""
    for value, text in (
        (1 / ratio, f"the price is 1/{count:g} of the current one: it may be per accelerator"),
        (ratio, f"the price is {count:g} times the current one: the current one may be per accelerator"),
    ):
        if count > 1 and math.isclose(value, count, rel_tol=tolerance):
            return _Refusal(RefusalReason.PER_ACCELERATOR, text)
    return None


def _check_exchange_rate(ratio: float) -> _Refusal | None:
    for code, rate in load_bundled_exchange_rates().items():
        if any(math.isclose(value, rate.usd, rel_tol=_RATE_TOLERANCE) for value in (ratio, 1 / ratio)):
            text = f"the change equals the exchange rate of {code}: the price may be in {code}"
            return _Refusal(RefusalReason.EXCHANGE_RATE, text)
    return None


def _build_row(
    listed: _ListedOffer, offer: Offer | None, instances: KnownInstances, amounts: Mapping[RequestedPrice, float]
) -> PriceRow:
    """Build the row to store. The row of a new offer has the hardware of its instance type."""
    prices: dict[str, Any] = {PRICE_FIELDS[kind]: amount for kind, amount in amounts.items()}
    row = PriceRow(
        provider=listed.provider,
        instance_type=listed.instance_type,
        region=listed.region,
        as_of=listed.catalog.as_of,
        source=listed.catalog.source,
        **prices,
    )
    instance = instances.find(listed.provider, listed.instance_type)
    if offer is not None or instance is None:
        return row
    return msgspec.structs.replace(
        row,
        accelerator=instance.accelerator or NO_ACCELERATOR,
        accelerator_count=instance.accelerator_count,
        vcpus=instance.vcpus,
        memory_gib=instance.memory_gib,
        cpu_architecture=instance.cpu_architecture,
    )
