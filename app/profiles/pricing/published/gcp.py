"""Read a list of SKUs of the Google Cloud Billing Catalog API for Compute Engine.

The list has prices of cores, memory, GPUs and local SSDs, from which the price of a machine is
computed.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import msgspec

from app.profiles.pricing.currencies import USD
from app.profiles.pricing.published.files import CatalogFile, read_json
from app.profiles.pricing.published.listed import (
    KnownInstances,
    ListedPrice,
    PublishedPrices,
    UnusedRows,
    build_published_prices,
    sum_parts,
)
from app.records.offers import Offer, RequestedPrice
from loadgen.decoding import decode_json, json_decoder

_Resource = Literal["core", "ram", "gpu", "ssd"]
_UNITS: dict[_Resource, str] = {"core": "h", "ram": "GiBy.h", "gpu": "h", "ssd": "GiBy.mo"}
_HOURS_PER_MONTH = 730
_KINDS: dict[str, RequestedPrice] = {"OnDemand": "on-demand", "Preemptible": "spot"}
_EXCLUDED_WORDS = ("Custom", "Sole Tenancy", "Reserved", "Premium", "DWS", "Calendar Mode", "Commitment")
_MACHINE_PART = re.compile(
    r"(?:Spot Preemptible )?([A-Z]\w+)(?: Predefined| AMD| Arm)? Instance (Core|Ram) running in .+"
)
_GPU = re.compile(
    r"(?:Spot Preemptible )?(?:Nvidia )?(.+?)(?: GPU)? (?:attached to Spot Preemptible VMs )?running in .+"
)
_SSD = re.compile(r"SSD backed Local Storage(?: attached to Spot Preemptible VMs)?(?: in .+)?")
_GPU_NAMES = {
    "t4": "Tesla T4",
    "p4": "Tesla P4",
    "p100-pcie-16gb": "Tesla P100",
    "v100-sxm2-16gb": "Tesla V100",
    "a100-sxm4-40gb": "Tesla A100",
    "a100-sxm4-80gb": "Tesla A100 80GB",
    "l4": "L4",
    "h100-sxm5-80gb": "H100 80GB",
    "rtx-pro-6000-server": "RTX 6000 96GB",
}
_MEGA_GPU_NAME = "H100 80GB Mega"
_OTHER_MEGA_GPU_NAMES = ("H100 80GB Plus", "H100 Mega 80GB")
"""Names of the same GPU in some regions."""
_KNOWN_GPU_NAMES = {_MEGA_GPU_NAME, *_GPU_NAMES.values()}
_MEGA_MACHINE, _MEGA_FAMILY = "a3-megagpu", "A3PLUS"
_SSD_GIB_PER_GPU = {"a2-ultragpu": 375, "a3-highgpu": 750, _MEGA_MACHINE: 750}
"""Capacity of the local SSDs that a machine always has."""


class _Money(msgspec.Struct, frozen=True, rename="camel"):
    currency_code: str
    units: str = "0"
    nanos: int = 0


class _Rate(msgspec.Struct, frozen=True, rename="camel"):
    unit_price: _Money
    start_usage_amount: float = 0.0


class _Expression(msgspec.Struct, frozen=True, rename="camel"):
    usage_unit: str
    tiered_rates: list[_Rate]


class _Pricing(msgspec.Struct, frozen=True, rename="camel"):
    pricing_expression: _Expression
    currency_conversion_rate: float = 1.0


class _Category(msgspec.Struct, frozen=True, rename="camel"):
    resource_family: str
    usage_type: str


class _Sku(msgspec.Struct, frozen=True, rename="camel"):
    description: str
    category: _Category
    service_regions: list[str]
    pricing_info: list[_Pricing]


class _SkuList(msgspec.Struct, frozen=True):
    skus: list[msgspec.Raw]


class _Part(NamedTuple):
    """Priced part of a machine. `name` is the machine family or the GPU; empty for SSDs."""

    resource: _Resource
    name: str


class _UnitPrice(NamedTuple):
    """Price of one core, GiB or GPU for one hour; None if the list has something else than a number
    of that unit."""

    amount: float | None
    currencies: tuple[str, ...]


_Place = tuple[str, RequestedPrice]
_UnitPrices = dict[_Part, dict[_Place, set[_UnitPrice]]]


def read(files: Sequence[CatalogFile], instances: KnownInstances, _provider: str | None) -> list[PublishedPrices]:
    """Read the pages of a list of SKUs as one catalog, because the parts of a machine can be on
    different pages. Raises msgspec.DecodeError for a page that is not one of this API."""
    unused_rows, decode = UnusedRows(), json_decoder(_Sku)
    unit_prices: _UnitPrices = defaultdict(lambda: defaultdict(set))
    for file in files:
        for index, raw_sku in enumerate(decode_json(read_json(file), _SkuList).skus):
            try:
                sku = decode(raw_sku)
            except msgspec.DecodeError as error:
                unused_rows.add_unreadable(f"skus[{index}]", str(error))
                continue
            part = _find_part(sku)
            if part is None or not sku.pricing_info:
                unused_rows.other_count += 1
                continue
            unit_price = _read_unit_price(sku.pricing_info[-1], part.resource)
            for region in sku.service_regions:
                unit_prices[part][region, _KINDS[sku.category.usage_type]].add(unit_price)
    prices = (price for offer in instances.offers.get("gcp", {}).values() for price in _iter_prices(offer, unit_prices))
    return [build_published_prices("gcp", prices, unused_rows)]


def _find_part(sku: _Sku) -> _Part | None:
    """Return the part that a SKU is the price of; `None` for other products, and for terms that
    Sizewise does not plan with."""
    if sku.category.usage_type not in _KINDS or any(word in sku.description for word in _EXCLUDED_WORDS):
        return None
    if sku.category.resource_family == "Storage":
        return _Part("ssd", "") if _SSD.fullmatch(sku.description) else None
    if sku.category.resource_family != "Compute":
        return None
    machine_part = _MACHINE_PART.fullmatch(sku.description)
    if machine_part is not None:
        return _Part("core" if machine_part[2] == "Core" else "ram", machine_part[1].upper())
    gpu = _GPU.fullmatch(sku.description)
    gpu_name = "" if gpu is None else _MEGA_GPU_NAME if gpu[1] in _OTHER_MEGA_GPU_NAMES else gpu[1]
    return _Part("gpu", gpu_name) if gpu_name in _KNOWN_GPU_NAMES else None


def _read_unit_price(pricing: _Pricing, resource: _Resource) -> _UnitPrice:
    expression = pricing.pricing_expression
    rates = [rate.unit_price for rate in expression.tiered_rates if rate.start_usage_amount == 0]
    currencies = tuple(sorted({money.currency_code for money in rates}))
    if currencies == (USD,) and pricing.currency_conversion_rate not in (0.0, 1.0):
        currencies = (USD, "a converted currency")
    try:
        amounts = {int(money.units) + money.nanos / 1e9 for money in rates}
    except (ValueError, OverflowError):
        amounts = set()
    if len(amounts) != 1 or expression.usage_unit != _UNITS[resource]:
        return _UnitPrice(None, currencies)
    amount = amounts.pop()
    return _UnitPrice(amount / _HOURS_PER_MONTH if resource == "ssd" else amount, currencies)


def _iter_prices(offer: Offer, unit_prices: _UnitPrices) -> Iterator[ListedPrice]:
    """Yield the prices of a machine in the regions that list all of its parts."""
    quantities = _list_quantities(offer)
    if not quantities or any(part not in unit_prices for part in quantities):
        return
    places = set.intersection(*(set(unit_prices[part]) for part in quantities))
    for region, kind in sorted(places):
        listed_parts = [
            (quantity, sorted(unit_prices[part][region, kind], key=str)) for part, quantity in quantities.items()
        ]
        currencies = {currency for _, units in listed_parts for unit in units for currency in unit.currencies}
        # Two different sums, if a part has contradictory prices.
        for amount in {
            sum_parts([_multiply(units[index].amount, quantity) for quantity, units in listed_parts])
            for index in (0, -1)
        }:
            yield ListedPrice(
                provider="gcp",
                instance_type=offer.instance_type,
                region=region,
                kind=kind,
                amount=amount,
                currencies=tuple(sorted(currencies)),
            )


def _multiply(amount: float | None, quantity: float) -> float | None:
    return None if amount is None else amount * quantity


def _list_quantities(offer: Offer) -> dict[_Part, float]:
    """Return the parts of a machine with their quantities; none if one of them is not known."""
    host, _, _ = offer.instance_type.partition("+")
    machine = "-".join(host.split("-")[:2])
    if offer.vcpus is None or offer.memory_gib is None or host.startswith("ct"):
        return {}
    family = _MEGA_FAMILY if machine == _MEGA_MACHINE else host.partition("-")[0].upper()
    quantities = {_Part("core", family): offer.vcpus, _Part("ram", family): offer.memory_gib}
    if offer.accelerator is None:
        return quantities
    gpu_name = _MEGA_GPU_NAME if machine == _MEGA_MACHINE else _GPU_NAMES.get(offer.accelerator)
    if gpu_name is None:
        return {}
    quantities[_Part("gpu", gpu_name)] = offer.accelerator_count
    if machine in _SSD_GIB_PER_GPU:
        quantities[_Part("ssd", "")] = _SSD_GIB_PER_GPU[machine] * offer.accelerator_count
    return quantities
