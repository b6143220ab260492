"""Rows of the list of offers: the offers of cloud providers and owned hardware."""

from __future__ import annotations

import datetime
import math

import msgspec

from app.analysis.accelerator_names import matches_accelerator
from app.planning.hardware.risk import compute_price_age_days
from app.planning.pricing.ownership import price_catalog
from app.profiles.pricing.catalog import (
    check_accelerator,
    check_provider,
    check_region,
    load_catalog,
)
from app.records.offers import Catalog, Offer

_PRICE_NAMES = {
    "on_demand_usd_per_hour": "on-demand",
    "spot_usd_per_hour": "spot",
    "reserved_1y_usd_per_hour": "reserved",
}


class PriceListRow(msgspec.Struct, frozen=True):
    """An offer with its prices in USD per hour; an unknown price is `None`. `overrides` lists the
    cells that the user has overridden."""

    offer: str
    accelerator: str
    vcpus: float | None
    memory_gib: float | None
    usd_per_hour: float | None
    spot_usd_per_hour: float | None
    reserved_1y_usd_per_hour: float | None
    as_of: datetime.date
    age_days: int
    source: str
    overrides: str


def load_offers() -> Catalog:
    """Load the bundled catalog with the user's imported price list applied, and with the computed
    prices of owned hardware."""
    return price_catalog(load_catalog())


def find_offers(
    catalog: Catalog, *, accelerator: str | None = None, region: str | None = None, provider: str | None = None
) -> list[Offer]:
    """Return the offers that match all given filters, ordered by accelerator and price. An
    accelerator such as `h100` stands for all of its variants, and "none" for CPU-only instances.

    Raises UsageError for an unknown accelerator, region or provider, with the most similar name as
    hint.
    """
    if accelerator is not None:
        check_accelerator(catalog, accelerator)
    if region is not None:
        check_region(catalog, region)
    if provider is not None:
        check_provider(catalog, provider)
    matches = [
        offer
        for offer in catalog.offers
        if (accelerator is None or matches_accelerator(offer.accelerator, accelerator))
        and region in (None, offer.region)
        and provider in (None, offer.provider)
    ]
    return sorted(matches, key=_get_sort_key)


def build_offer_row(offer: Offer, today: datetime.date) -> PriceListRow:
    return PriceListRow(
        offer=offer.key,
        accelerator="none" if offer.accelerator is None else f"{offer.accelerator_count:g} × {offer.accelerator}",
        vcpus=offer.vcpus,
        memory_gib=offer.memory_gib,
        usd_per_hour=offer.on_demand_usd_per_hour,
        spot_usd_per_hour=offer.spot_usd_per_hour,
        reserved_1y_usd_per_hour=offer.reserved_1y_usd_per_hour,
        as_of=offer.as_of,
        age_days=compute_price_age_days(offer, today),
        source=offer.source,
        overrides=_format_overrides(offer),
    )


def _get_sort_key(offer: Offer) -> tuple[str, float, str]:
    usd_per_hour = offer.on_demand_usd_per_hour
    return offer.accelerator or "", math.inf if usd_per_hour is None else usd_per_hour, offer.key


def _format_overrides(offer: Offer) -> str:
    if offer.owned is not None:
        return "owned"
    if offer.source == "yours":
        return "all"
    return ", ".join(_PRICE_NAMES.get(override.column, override.column) for override in offer.overrides)
