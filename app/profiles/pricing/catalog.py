"""Catalog of accelerators and offers, and the user's price list applied to the catalog.

The catalog is stored as dated entries in CSV files, whose conventions are described in the README
next to the files. This module also derives CPU architectures from instance type names if the
provider's naming scheme allows this, and reads the mean carbon intensity of each country's grid. It
merges a user's price list into the catalog cell by cell. The imported price list is stored next to
the runs and applies to every plan.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Literal

import msgspec

from app.analysis.accelerator_names import NO_ACCELERATOR, list_short_names, matches_accelerator
from app.errors import UsageError
from app.profiles.bundled import DATA_DIRECTORY
from app.profiles.pricing.csv_rows import CsvRow, read_unique_items
from app.profiles.pricing.price_cells import CellError
from app.profiles.problems import BadValueError, did_you_mean
from app.records.offers import (
    Accelerator,
    Catalog,
    GridCarbonIntensity,
    Offer,
    Override,
    PriceList,
    PriceRow,
    split_key,
)
from loadgen.decoding import decode_json

Architecture = Literal["x86_64", "arm64"]
# Superchips, which combine an accelerator with an Arm CPU
_ARM_SUPERCHIPS = ("gh200", "gb200", "gb300", "gb10")
# A g after the generation number means Graviton, as in c7g, m8g, g5g and x2gd; a1 is the first
# Graviton family.
_AWS_ARM = re.compile(r"a1\.|[a-z]+\d+[a-z]*g[a-z]*\.")
_GCP_ARM = re.compile(r"(?:c4a|n4a|t2a|a4x)-")
# A p among the letters after the size means Arm, as in Standard_D16ps_v5.
_AZURE_ARM = re.compile(r"Standard_[A-Z]+\d+(?:-\d+)?[a-z]*p[a-z]*(?:_|$)")
_ARM_PATTERNS = {"aws": _AWS_ARM, "gcp": _GCP_ARM, "azure": _AZURE_ARM}
_NEBIUS_X86 = re.compile(r"cpu-[de]\d")


def derive_cpu_architecture(provider: str, instance_type: str, accelerator: str | None) -> Architecture | None:
    """Derive the CPU architecture from the name of an instance type.

    Return `None` if the name does not determine the architecture, as on marketplaces.
    """
    if accelerator is not None and accelerator.startswith(_ARM_SUPERCHIPS):
        return "arm64"
    if provider in _ARM_PATTERNS:
        return "arm64" if _ARM_PATTERNS[provider].match(instance_type) else "x86_64"
    return "x86_64" if provider == "nebius" and _NEBIUS_X86.match(instance_type) else None


class _Place(msgspec.Struct, frozen=True):
    """A country with the carbon intensity of its grid, or a region of a provider with the country
    of the region."""

    key: str
    country: str
    intensity: GridCarbonIntensity | None


def load_grid(path: Path) -> dict[str, GridCarbonIntensity]:
    """Load the carbon intensity of the grid of each country and of each provider region. The key is
    a country or `provider/region`.

    Raises UsageError with the file and the line of an invalid cell.
    """
    places = list(read_unique_items(path, _read_place))
    countries = {place.key: place.intensity for place in places if place.intensity is not None}
    unknown_place = next((place for place in places if place.country not in countries), None)
    if unknown_place is not None:
        raise UsageError(f"{path}: {unknown_place.key} is in {unknown_place.country!r}, which has no row of its own")
    return {place.key: countries[place.country] for place in places}


def _read_place(row: CsvRow) -> _Place:
    place, country = row.get_text("place"), row.get_text("country")
    g_co2e_per_kwh = row.get_number("g_co2e_per_kwh")
    if (place == country) != (g_co2e_per_kwh is not None):
        raise ValueError("g_co2e_per_kwh is required for countries, and only for countries")
    if g_co2e_per_kwh is None:
        return _Place(place, country, None)
    return _Place(
        place, country, GridCarbonIntensity(country, g_co2e_per_kwh, row.get_date("as_of_date"), row.get_text("source"))
    )


USER_SOURCE = "yours"
"""Name of the source of values that the user has set."""
_PRICE_FIELDS = ("on_demand_usd_per_hour", "spot_usd_per_hour", "reserved_1y_usd_per_hour")
_OVERRIDABLE_FIELDS = ("accelerator", "accelerator_count", "vcpus", "memory_gib", *_PRICE_FIELDS, "cpu_architecture")


def merge_offers(catalog: Catalog, rows: Iterable[PriceRow]) -> Catalog:
    """Apply a user's rows to the catalog. A row with the key of an existing offer changes the
    values of that offer; every other row becomes a new offer.

    Raises UsageError with the key of a row that does not form a valid offer.
    """
    offers = {offer.key: offer for offer in catalog.offers}
    grid = dict(catalog.grid)
    for row in rows:
        try:
            offers[row.key] = merge_offer(offers.get(row.key), row, catalog)
        except BadValueError as error:
            raise UsageError(f"your price of {row.key}: {error}", hint=error.hint) from error
        if row.country is not None:
            grid[f"{row.provider}/{row.region}"] = catalog.grid[row.country]
    return msgspec.structs.replace(catalog, offers=tuple(offers.values()), grid=grid)


def merge_offer(offer: Offer | None, row: PriceRow, catalog: Catalog) -> Offer:
    """Apply a user's row to an offer. Raises BadValueError if the result is not a valid offer."""
    _check_names(row, catalog)
    merged_offer = _create_offer(row) if offer is None else _change_offer(offer, row)
    if (merged_offer.accelerator_count > 0) != (merged_offer.accelerator is not None):
        accelerator_key = merged_offer.accelerator or NO_ACCELERATOR
        raise CellError(
            "accelerator_count",
            f"{merged_offer.accelerator_count:g} does not match accelerator_key {accelerator_key!r}",
        )
    return merged_offer


def _check_names(row: PriceRow, catalog: Catalog) -> None:
    if row.accelerator not in (None, NO_ACCELERATOR, *catalog.accelerators):
        hint = did_you_mean(str(row.accelerator), (NO_ACCELERATOR, *catalog.accelerators))
        raise CellError("accelerator_key", f"{row.accelerator!r} is not in the catalog", hint)
    if row.country is not None and (row.country not in catalog.grid or "/" in row.country):
        raise CellError(
            "country", f"{row.country!r} has no grid carbon intensity in the catalog", "Use a country code such as DE."
        )


def _create_offer(row: PriceRow) -> Offer:
    if row.accelerator is None:
        hint = "Write an accelerator_key, or none for a CPU. To change an existing offer, write its key unchanged."
        raise BadValueError(f"{row.key} is not in the catalog, so it needs accelerator_key", hint=hint)
    if row.owned is None and all(getattr(row, field) is None for field in _PRICE_FIELDS):
        raise BadValueError(f"{row.key} is not in the catalog and has no price")
    accelerator = None if row.accelerator == NO_ACCELERATOR else row.accelerator
    default_count = 1.0 if accelerator is not None else 0.0
    return Offer(
        provider=row.provider,
        instance_type=row.instance_type,
        region=row.region,
        accelerator=accelerator,
        accelerator_count=default_count if row.accelerator_count is None else row.accelerator_count,
        vcpus=row.vcpus,
        memory_gib=row.memory_gib,
        on_demand_usd_per_hour=row.on_demand_usd_per_hour,
        spot_usd_per_hour=row.spot_usd_per_hour,
        reserved_1y_usd_per_hour=row.reserved_1y_usd_per_hour,
        as_of=row.as_of,
        source=row.source or USER_SOURCE,
        cpu_architecture=row.cpu_architecture or derive_cpu_architecture(row.provider, row.instance_type, accelerator),
        overrides=()
        if row.source is not None
        else tuple(Override(field, None, row.as_of) for field in _list_set_fields(row)),
        owned=row.owned,
    )


def _change_offer(offer: Offer, row: PriceRow) -> Offer:
    set_fields = _list_set_fields(row)
    changes = {field: getattr(row, field) for field in set_fields}
    if changes.get("accelerator") == NO_ACCELERATOR:
        changes["accelerator"] = None
    if row.owned is not None:
        changes |= {"owned": row.owned, "on_demand_usd_per_hour": None}
    is_new_price = row.on_demand_usd_per_hour is not None or row.owned is not None
    if row.on_demand_usd_per_hour is not None:
        changes["owned"] = None
    previous_overrides = {override.column: override for override in offer.overrides}
    overrides = previous_overrides | {
        field: Override(
            field,
            previous_overrides[field].original_value if field in previous_overrides else getattr(offer, field),
            row.as_of,
        )
        for field in (set_fields if row.source is None else ())
    }
    return msgspec.structs.replace(
        offer,
        **changes,
        as_of=row.as_of if is_new_price else offer.as_of,
        source=_combine_sources(offer.source, row.source or USER_SOURCE, is_new_price)
        if set_fields or row.owned is not None
        else offer.source,
        overrides=tuple(overrides.values()),
    )


def _list_set_fields(row: PriceRow) -> tuple[str, ...]:
    return tuple(field for field in _OVERRIDABLE_FIELDS if getattr(row, field) is not None)


def _combine_sources(source: str, added_source: str, is_new_price: bool) -> str:
    """Return the sources of an offer, joined by `+`, after values of `added_source` were set. The
    first source is the source of the on-demand price.

    A published catalog replaces the source of the previous on-demand price; a price of the user is
    an override, whose original source remains.
    """
    sources = source.split("+")
    is_replaced = is_new_price and added_source != USER_SOURCE
    other_sources = [name for name in (sources[1:] if is_replaced else sources) if name != added_source]
    is_added_first = is_new_price or sources[0] == added_source
    return "+".join([added_source, *other_sources] if is_added_first else [*other_sources, added_source])


PRICE_LIST_VERSION = 1
_REIMPORT_HINT = "Import the price list again with `sizewise offers import`, or remove this file."


def get_price_list_path() -> Path:
    """Return the path of the imported price list, which is in SIZEWISE_HOME or, if that is not set,
    in the user's data folder."""
    home = os.environ.get("SIZEWISE_HOME")
    if home:
        return Path(home) / "offers.json"
    import platformdirs

    return Path(platformdirs.user_data_dir("sizewise", appauthor=False)) / "offers.json"


def load_imported_price_list() -> PriceList | None:
    """Load the imported price list; `None` if there is none. Raises UsageError if the file cannot
    be read."""
    path = get_price_list_path()
    try:
        price_list = decode_json(path.read_bytes(), PriceList)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}", hint=_REIMPORT_HINT) from error
    if price_list.version != PRICE_LIST_VERSION:
        raise UsageError(
            f"{path} has version {price_list.version}, but this version of Sizewise reads version {PRICE_LIST_VERSION}",
            hint=_REIMPORT_HINT,
        )
    return price_list


def load_imported_rows() -> tuple[PriceRow, ...]:
    price_list = load_imported_price_list()
    return () if price_list is None else price_list.rows


def encode_price_list(price_list: PriceList) -> bytes:
    return msgspec.json.format(msgspec.json.encode(price_list), indent=2) + b"\n"


def load_catalog(directory: Path | None = None) -> Catalog:
    """Load the bundled catalog and apply the user's imported price list. If `directory` is set,
    load the catalog in that folder without a price list.

    Raises UsageError with the file and the line of an invalid cell.
    """
    if directory is None:
        return merge_offers(load_bundled_catalog(), load_imported_rows())
    accelerators = {
        accelerator.key: accelerator
        for accelerator in read_unique_items(directory / "accelerators.csv", _read_accelerator)
    }
    offers = tuple(read_unique_items(directory / "offers.csv", lambda row: _read_offer(row, accelerators)))
    return Catalog(accelerators, offers, load_grid(directory / "grid.csv"))


@cache
def load_bundled_catalog() -> Catalog:
    """Load the bundled catalog without the user's price list. Its files never change, so they are
    read once per process."""
    return load_catalog(DATA_DIRECTORY / "hardware")


def find_offer(catalog: Catalog, name: str, region: str | None = None) -> Offer:
    """Return the first offer with the name `provider/instance` or `provider/instance@region`.

    Raises UsageError if there is no such offer. The hint suggests the most similar name or the
    available regions.
    """
    instance, own_region = split_key(name)
    region = region or own_region
    matching_offers = [offer for offer in catalog.offers if offer.instance == instance]
    if not matching_offers:
        names = {offer.instance for offer in catalog.offers}
        raise UsageError(f"the offer {instance!r} is unknown", hint=did_you_mean(instance, sorted(names)))
    regions = [offer.region for offer in matching_offers]
    if region is not None and region not in regions:
        raise UsageError(f"{instance} is not available in {region!r}", hint=f"It is available in {', '.join(regions)}.")
    return matching_offers[0 if region is None else regions.index(region)]


def find_accelerator(catalog: Catalog, key: str) -> Accelerator:
    """Return the accelerator with this key. Otherwise, raise UsageError with its variants or the most
    similar key as hint."""
    variants = [variant for variant in catalog.accelerators if matches_accelerator(variant, key)]
    if variants and key not in variants:
        raise UsageError(f"the accelerator {key!r} is not a single one", hint=f"Use {' or '.join(variants)}.")
    _check_known_name("accelerator", key, catalog.accelerators)
    return catalog.accelerators[key]


def check_accelerator(catalog: Catalog, name: str) -> None:
    """Check that a name such as `h100` denotes an accelerator of the catalog, or that it is "none".
    Otherwise, raise UsageError with the most similar name as hint."""
    if name != NO_ACCELERATOR and not any(matches_accelerator(key, name) for key in catalog.accelerators):
        _check_known_name("accelerator", name, list_short_names(catalog.accelerators))


def check_source(catalog: Catalog, name: str) -> None:
    """Check that the catalog has prices from the source, or that it stands for the user's own prices.
    Otherwise, raise UsageError with the most similar name or all names as hint."""
    names = sorted({source for offer in catalog.offers for source in offer.sources} | {USER_SOURCE})
    if name not in names:
        hint = did_you_mean(name, names) or f"Use one of {', '.join(names)}."
        raise UsageError(f"the price source {name!r} is unknown", hint=hint)


_MAX_NAMED_REGIONS = 12


def check_region(catalog: Catalog, name: str) -> None:
    """Check that the catalog has an offer in the region. Otherwise, raise UsageError with the regions
    that begin with this name or are in the country with this code, or with the most similar name, as
    hint."""
    providers_by_region = {offer.region: offer.provider for offer in catalog.offers}
    if name not in providers_by_region:
        meant = sorted(
            region
            for region, provider in providers_by_region.items()
            if region.casefold().startswith(name.casefold()) or _find_country(catalog, provider, region) == name.upper()
        )
        if name and len(meant) > 1:
            more_text = ", …" if len(meant) > _MAX_NAMED_REGIONS else ""
            hint = f"Write the ones that you mean of {', '.join(meant[:_MAX_NAMED_REGIONS])}{more_text}"
            raise UsageError(f"{name!r} is not a region, but stands for {len(meant)} regions", hint=hint)
    _check_known_name("region", name, providers_by_region)


def _find_country(catalog: Catalog, provider: str, region: str) -> str | None:
    grid = catalog.grid.get(f"{provider}/{region}")
    return None if grid is None else grid.country


def check_provider(catalog: Catalog, name: str) -> None:
    """Check that the catalog has an offer of the provider. Otherwise, raise UsageError with the
    most similar name as hint."""
    _check_known_name("provider", name, (offer.provider for offer in catalog.offers))


def _check_known_name(kind: str, name: str, valid_names: Iterable[str]) -> None:
    names = sorted(set(valid_names))
    if name not in names:
        raise UsageError(f"the {kind} {name!r} is unknown", hint=did_you_mean(name, names))


def _read_accelerator(row: CsvRow) -> Accelerator:
    year = row.get_number("launch_year")
    return Accelerator(
        key=row.get_text("key"),
        vendor=row.get_text("vendor"),
        name=row.get_text("name"),
        nvml_name_pattern=row.get_optional_text("nvml_name_patterns"),
        architecture=row.get_text("architecture"),
        memory_gib=row.get_number("memory_gib"),
        memory_bandwidth_gb_s=row.get_number("memory_bandwidth_gb_s"),
        fp32_tflops=row.get_number("fp32_tflops"),
        fp16_tflops=row.get_number("fp16_tflops_dense"),
        int8_tops=row.get_number("int8_tops_dense"),
        tdp_w=row.get_number("tdp_w"),
        launch_year=None if year is None else int(year),
        source=row.get_text("source"),
        tf32_tflops=row.get_number("tf32_tflops_dense"),
        bf16_tflops=row.get_number("bf16_tflops_dense"),
        fp8_tflops=row.get_number("fp8_tflops_dense"),
        fp4_tflops=row.get_number("fp4_tflops_dense"),
        interconnect=row.get_optional_text("interconnect"),
        interconnect_gb_s=row.get_number("interconnect_gb_s"),
    )


def _read_offer(row: CsvRow, accelerators: dict[str, Accelerator]) -> Offer:
    provider, instance_type = row.get_text("provider"), row.get_text("instance_type")
    key = row.get_text("accelerator_key")
    if key != NO_ACCELERATOR and key not in accelerators:
        raise ValueError(f"accelerator_key {key!r} is not in accelerators.csv")
    accelerator = None if key == NO_ACCELERATOR else key
    count = row.get_number("accelerator_count")
    if count is None or (count > 0) != (accelerator is not None):
        raise ValueError(f"accelerator_count {count} does not match accelerator_key {key!r}")
    return Offer(
        provider=provider,
        instance_type=instance_type,
        region=row.get_text("region"),
        accelerator=accelerator,
        accelerator_count=count,
        vcpus=row.get_number("vcpus"),
        memory_gib=row.get_number("memory_gib"),
        on_demand_usd_per_hour=row.get_number("on_demand_usd_per_hour"),
        spot_usd_per_hour=row.get_number("spot_usd_per_hour"),
        reserved_1y_usd_per_hour=row.get_number("reserved_1y_usd_per_hour"),
        as_of=row.get_date("as_of_date"),
        source=row.get_text("source"),
        cpu_architecture=derive_cpu_architecture(provider, instance_type, accelerator),
    )
