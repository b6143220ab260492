"""Prices of published catalogs: records that all layouts are converted to, and the instance types
that Sizewise knows."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from app.errors import UsageError
from app.profiles.pricing.currencies import USD
from app.records.offers import Catalog, Offer, RequestedPrice
from reports.shortening import shorten

_MAX_PRICES = 1_000_000
_MAX_PROBLEMS = 100
_DATE = re.compile(r"(\d{4}-\d{2}-\d{2})(?:[T ].*)?", re.ASCII)


class ListedPrice(msgspec.Struct, frozen=True, kw_only=True):
    """Price of one instance type as listed in a published catalog."""

    provider: str
    instance_type: str
    region: str
    kind: RequestedPrice
    amount: float | None
    """Price of one instance for one hour; None if the catalog has something else than a number."""
    zone: str = ""
    """Zone of the region that the price applies to; empty if it applies to the whole region."""
    currencies: tuple[str, ...] = (USD,)
    """All currencies that the row and the file state for the price; more than one is a
    contradiction."""
    is_hourly: bool = True
    accelerator_count: float | None = None
    """Number of accelerators of the instance according to the catalog; None if not stated."""
    effective_on: datetime.date | None = None
    """Date from which the price applies; None if not stated."""


class PublishedPrices(msgspec.Struct, frozen=True, kw_only=True):
    """Prices of known instance types in a published catalog.

    `other_rows` counts the rows of other products, terms and instance types, which are not used.
    `problems` describes the first of the `unreadable_rows`.
    """

    format: str
    """ID of the layout."""
    prices: tuple[ListedPrice, ...]
    as_of: datetime.date | None = None
    """Date of the prices as stated by the catalog; None if it states none."""
    other_rows: int = 0
    unreadable_rows: int = 0
    problems: tuple[str, ...] = ()


class KnownInstances(msgspec.Struct, frozen=True):
    """Instance types of the catalog of Sizewise by provider and name, each with one of its
    offers."""

    offers: Mapping[str, Mapping[str, Offer]]

    def find(self, provider: str, instance_type: str) -> Offer | None:
        return self.offers.get(provider, {}).get(instance_type)


def index_instances(catalog: Catalog) -> KnownInstances:
    offers: dict[str, dict[str, Offer]] = {}
    for offer in catalog.offers:
        if offer.owned is None:
            offers.setdefault(offer.provider, {}).setdefault(offer.instance_type, offer)
    return KnownInstances(offers)


class UnusedRows:
    """Rows of a catalog that are not used: their numbers, and the reasons why the first of them
    cannot be read."""

    def __init__(self) -> None:
        self.other_count = 0
        self.unreadable_count = 0
        self.problems: list[str] = []

    def add_unreadable(self, location: str, reason: str) -> None:
        self.unreadable_count += 1
        if len(self.problems) < _MAX_PROBLEMS:
            self.problems.append(shorten(f"{location}: {reason}"))


def build_published_prices(
    layout_id: str,
    prices: Iterable[ListedPrice],
    unused_rows: UnusedRows,
    as_of: datetime.date | None = None,
) -> PublishedPrices:
    """Collect the prices of a catalog. Raises UsageError for too many prices."""
    listed_prices = []
    for price in prices:
        listed_prices.append(price)
        if len(listed_prices) > _MAX_PRICES:
            raise UsageError(f"the catalog has more than {_MAX_PRICES:,} prices of known instance types")
    return PublishedPrices(
        format=layout_id,
        prices=tuple(listed_prices),
        as_of=as_of,
        other_rows=unused_rows.other_count,
        unreadable_rows=unused_rows.unreadable_count,
        problems=tuple(unused_rows.problems),
    )


def sum_parts(amounts: Sequence[float | None]) -> float | None:
    """Return the price of a machine whose parts are listed apart.

    The sum is None if a part has no number, and the amount of the cheapest part if that is 0 or
    less, so that a part without a price is never missing from an accepted sum.
    """
    numbers = [amount for amount in amounts if amount is not None]
    if len(numbers) < len(amounts):
        return None
    return min(numbers) if min(numbers) <= 0 else round(sum(numbers), 6)


def parse_amount(text: str) -> float | None:
    """Parse a price; return `None` if the text is not a finite decimal number."""
    try:
        amount = float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        return None
    return amount if math.isfinite(amount) else None


def parse_count(text: str) -> float | None:
    """Parse a number of accelerators; return `None` for a blank cell, 0 or another text."""
    return parse_amount(text) or None


def parse_date(text: str) -> datetime.date | None:
    """Parse a date, or the date of a time such as 2026-07-20T10:00:00Z; return `None` for any other
    text."""
    match = _DATE.fullmatch(text)
    try:
        return None if match is None else datetime.date.fromisoformat(match[1])
    except ValueError:
        return None
