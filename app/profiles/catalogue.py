"""The catalogue of accelerators and offers: dated facts in two CSV files, whose conventions their README tells."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from app.errors import UsageError
from app.profiles.architecture import cpu_architecture
from app.profiles.bundled import DIRECTORY
from app.profiles.csv_rows import CsvRow, read_unique
from app.profiles.grid import load_grid
from app.profiles.imported import imported_rows
from app.profiles.merging import NO_ACCELERATOR, merge_offers
from app.profiles.problems import did_you_mean
from app.records.offers import Accelerator, Catalogue, Offer, split_key


def load_catalogue(directory: Path | None = None) -> Catalogue:
    """The bundled catalogue with the user's imported price list over it; or another folder's as it is.

    Raises UsageError naming the file and the line of a bad cell.
    """
    if directory is None:
        return merge_offers(bundled_catalogue(), imported_rows())
    accelerators = {part.key: part for part in read_unique(directory / "accelerators.csv", _accelerator)}
    offers = tuple(read_unique(directory / "offers.csv", lambda row: _offer(row, accelerators)))
    return Catalogue(accelerators, offers, load_grid(directory / "grid.csv"))


def bundled_catalogue() -> Catalogue:
    """Without anything of the user's."""
    return load_catalogue(DIRECTORY / "hardware")


def find_offer(catalogue: Catalogue, name: str, region: str | None = None) -> Offer:
    """The first offer named `provider/instance`, or `provider/instance@region`. Raises UsageError with the nearest."""
    wanted, own_region = split_key(name)
    region = region or own_region
    named = [offer for offer in catalogue.offers if offer.instance == wanted]
    if not named:
        names = {offer.instance for offer in catalogue.offers}
        raise UsageError(f"the catalogue has no offer {wanted!r}", hint=did_you_mean(wanted, sorted(names)))
    regions = [offer.region for offer in named]
    if region is not None and region not in regions:
        raise UsageError(f"{wanted} is not known in {region!r}", hint=f"Known in {', '.join(regions)}.")
    return named[0 if region is None else regions.index(region)]


def find_accelerator(catalogue: Catalogue, key: str) -> Accelerator:
    _check("accelerator", key, catalogue.accelerators)
    return catalogue.accelerators[key]


def check_region(catalogue: Catalogue, name: str) -> None:
    """Raises UsageError, with the nearest, where no offer is in such a region."""
    _check("region", name, (offer.region for offer in catalogue.offers))


def check_provider(catalogue: Catalogue, name: str) -> None:
    """Raises UsageError, with the nearest, where no offer is by such a provider."""
    _check("provider", name, (offer.provider for offer in catalogue.offers))


def _check(what: str, name: str, known: Iterable[str]) -> None:
    names = sorted(set(known))
    if name not in names:
        raise UsageError(f"the catalogue has no {what} {name!r}", hint=did_you_mean(name, names))


def _accelerator(row: CsvRow) -> Accelerator:
    year = row.number("launch_year")
    return Accelerator(
        key=row.text("key"),
        vendor=row.text("vendor"),
        name=row.text("name"),
        nvml_name_pattern=row.text_or_none("nvml_name_patterns"),
        architecture=row.text("architecture"),
        memory_gib=row.number("memory_gib"),
        memory_bandwidth_gb_s=row.number("memory_bandwidth_gb_s"),
        fp32_tflops=row.number("fp32_tflops"),
        fp16_tflops=row.number("fp16_tflops_dense"),
        int8_tops=row.number("int8_tops_dense"),
        tdp_w=row.number("tdp_w"),
        launch_year=None if year is None else int(year),
        source=row.text("source"),
        tf32_tflops=row.number("tf32_tflops_dense"),
        bf16_tflops=row.number("bf16_tflops_dense"),
        fp8_tflops=row.number("fp8_tflops_dense"),
        fp4_tflops=row.number("fp4_tflops_dense"),
        interconnect=row.text_or_none("interconnect"),
        interconnect_gb_s=row.number("interconnect_gb_s"),
    )


def _offer(row: CsvRow, accelerators: dict[str, Accelerator]) -> Offer:
    provider, instance_type = row.text("provider"), row.text("instance_type")
    key = row.text("accelerator_key")
    if key != NO_ACCELERATOR and key not in accelerators:
        raise ValueError(f"accelerator_key {key!r} is not in accelerators.csv")
    accelerator = None if key == NO_ACCELERATOR else key
    count = row.number("accelerator_count")
    if count is None or (count > 0) != (accelerator is not None):
        raise ValueError(f"accelerator_count {count} does not go with accelerator_key {key!r}")
    return Offer(
        provider=provider,
        instance_type=instance_type,
        region=row.text("region"),
        accelerator=accelerator,
        accelerator_count=count,
        vcpus=row.number("vcpus"),
        memory_gib=row.number("memory_gib"),
        on_demand_usd_per_hour=row.number("on_demand_usd_per_hour"),
        spot_usd_per_hour=row.number("spot_usd_per_hour"),
        reserved_1y_usd_per_hour=row.number("reserved_1y_usd_per_hour"),
        as_of=row.date("as_of_date"),
        source=row.text("source"),
        cpu_architecture=cpu_architecture(provider, instance_type, accelerator),
    )
