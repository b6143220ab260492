"""The catalogue of accelerators and offers: dated facts in two CSV files, whose conventions their README tells."""

from __future__ import annotations

import csv
import datetime
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from app.errors import UsageError
from app.profiles.architecture import cpu_architecture
from app.profiles.bundled import DIRECTORY
from app.profiles.problems import did_you_mean
from app.records.offers import Accelerator, Catalogue, Offer

_NO_ACCELERATOR = "none"


class _Keyed(Protocol):
    @property
    def key(self) -> str: ...


K = TypeVar("K", bound=_Keyed)


def load_catalogue(directory: Path | None = None) -> Catalogue:
    """The bundled catalogue, or another folder's. Raises UsageError naming the file and the line of a bad cell."""
    directory = directory or DIRECTORY / "hardware"
    accelerators = {part.key: part for part in _read_unique(directory / "accelerators.csv", _accelerator)}
    offers = tuple(_read_unique(directory / "offers.csv", lambda row: _offer(row, accelerators)))
    return Catalogue(accelerators, offers)


def find_offer(catalogue: Catalogue, name: str, region: str | None = None) -> Offer:
    """The first offer named `provider/instance`, or `provider/instance@region`. Raises UsageError with the nearest."""
    wanted, _, at = name.partition("@")
    region = region or at or None
    named = [offer for offer in catalogue.offers if f"{offer.provider}/{offer.instance_type}" == wanted]
    if not named:
        names = {f"{offer.provider}/{offer.instance_type}" for offer in catalogue.offers}
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


class _Row(msgspec.Struct, frozen=True):
    """One line's cells; each reader raises ValueError naming the column."""

    cells: dict[str, str | None]

    def text(self, column: str) -> str:
        cell = self.cells.get(column)
        if not cell:
            raise ValueError(f"{column} is empty")
        return cell

    def text_or_none(self, column: str) -> str | None:
        return self.cells.get(column) or None

    def number(self, column: str) -> float | None:
        cell = self.cells.get(column)
        if not cell:
            return None
        try:
            number = float(cell)
        except ValueError:
            number = math.nan
        if not (math.isfinite(number) and number >= 0):
            raise ValueError(f"{column} is not a number of at least 0: {cell!r}")
        return number

    def date(self, column: str) -> datetime.date:
        try:
            return datetime.date.fromisoformat(self.text(column))
        except ValueError as error:
            raise ValueError(f"{column} is not a date like 2026-07-20") from error


def _read_unique(path: Path, read: Callable[[_Row], K]) -> Iterator[K]:
    """What `read` makes of each row; no two may have the same `key`."""
    keys: set[str] = set()
    for line, row in _rows(path):
        try:
            item = read(row)
            if item.key in keys:
                raise ValueError(f"{item.key} stands here a second time")
        except ValueError as error:
            raise UsageError(f"{path}:{line}: {error}") from error
        keys.add(item.key)
        yield item


def _rows(path: Path) -> Iterator[tuple[int, _Row]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            for cells in reader:
                if None in cells or None in cells.values():
                    raise UsageError(f"{path}:{reader.line_num}: not as many cells as columns")
                yield reader.line_num, _Row(cells)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error


def _accelerator(row: _Row) -> Accelerator:
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


def _offer(row: _Row, accelerators: dict[str, Accelerator]) -> Offer:
    provider, instance_type = row.text("provider"), row.text("instance_type")
    key = row.text("accelerator_key")
    if key != _NO_ACCELERATOR and key not in accelerators:
        raise ValueError(f"accelerator_key {key!r} is not in accelerators.csv")
    accelerator = None if key == _NO_ACCELERATOR else key
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
