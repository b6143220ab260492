"""Read a response of the Azure Retail Prices API."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from app.profiles.pricing.published.files import CatalogFile, read_json
from app.profiles.pricing.published.listed import (
    KnownInstances,
    ListedPrice,
    PublishedPrices,
    UnusedRows,
    build_published_prices,
    parse_date,
)
from app.records.offers import RequestedPrice
from loadgen.decoding import decode_json, json_decoder

_HOURS_PER_YEAR = 8760
_EXCLUDED_PRODUCT = re.compile(r"\bWin(?:dows)?\b|Cloud ?Services|Dedicated")
_LOW_PRIORITY = "Low Priority"
_SPOT = "Spot"


class _Item(msgspec.Struct, frozen=True, rename="camel"):
    """One price. `retail_price` is that of the whole term for a reservation."""

    retail_price: float
    product_name: str
    sku_name: str
    meter_name: str
    unit_of_measure: str
    currency_code: str
    type: str
    arm_region_name: str | None = None
    arm_sku_name: str | None = None
    reservation_term: str | None = None
    effective_start_date: str | None = None
    tier_minimum_units: float = 0.0


class _Response(msgspec.Struct, frozen=True, rename="pascal"):
    items: list[msgspec.Raw]
    billing_currency: str | None = None


def read(files: Sequence[CatalogFile], instances: KnownInstances, _provider: str | None) -> list[PublishedPrices]:
    """Read responses, each as one catalog. Raises msgspec.DecodeError if one is not of this API."""
    return [_read_response(read_json(file), instances) for file in files]


def _read_response(content: bytes, instances: KnownInstances) -> PublishedPrices:
    """Read a response. Raises msgspec.DecodeError if it is not one of this API."""
    response, unused_rows = decode_json(content, _Response), UnusedRows()
    decode, prices = json_decoder(_Item), []
    for index, raw_item in enumerate(response.items):
        try:
            item = decode(raw_item)
        except msgspec.DecodeError as error:
            unused_rows.add_unreadable(f"Items[{index}]", str(error))
            continue
        kind = _find_kind(item)
        if kind is None or instances.find("azure", item.arm_sku_name or "") is None:
            unused_rows.other_count += 1
            continue
        labels = (response.billing_currency or item.currency_code, item.currency_code)
        prices.append(
            ListedPrice(
                provider="azure",
                instance_type=item.arm_sku_name or "",
                region=item.arm_region_name or "",
                kind=kind,
                amount=item.retail_price / _HOURS_PER_YEAR if kind == "reserved-1y" else item.retail_price,
                currencies=tuple(sorted(set(labels))),
                is_hourly=item.unit_of_measure == "1 Hour",
                effective_on=parse_date(item.effective_start_date or ""),
            )
        )
    return build_published_prices("azure", prices, unused_rows)


def _find_kind(item: _Item) -> RequestedPrice | None:
    """Return the kind of a price; `None` for Windows, other services and terms that Sizewise does
    not plan with."""
    names = f"{item.sku_name} {item.meter_name}"
    if _EXCLUDED_PRODUCT.search(item.product_name) or _LOW_PRIORITY in names or item.tier_minimum_units:
        return None
    if item.type == "Reservation":
        return "reserved-1y" if item.reservation_term == "1 Year" else None
    if item.type != "Consumption":
        return None
    return "spot" if _SPOT in names.split() else "on-demand"
