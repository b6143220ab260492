"""Read the catalog of gpuhunt: a zip archive with one CSV file for each provider, or one of these
files."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import PurePosixPath

from app.profiles.pricing.published.csv_table import CsvTable
from app.profiles.pricing.published.listed import (
    KnownInstances,
    ListedPrice,
    PublishedPrices,
    UnusedRows,
    build_published_prices,
    parse_amount,
    parse_count,
)

REQUIRED_COLUMNS = ("instance_name", "location", "price", "spot")
_OPTIONAL_COLUMNS = ("gpu_count", "gpu_name", "flags", "provider_data")
_PROVIDERS = {"lambdalabs": "lambda", "vastai": "vast", "datacrunch": "verda", "oci": "oracle"}
"""Providers whose name in gpuhunt differs from the name in Sizewise."""


def find_provider(file_name: str) -> str:
    """Return the provider of a file of the catalog, which is its name without the suffix."""
    name = PurePosixPath(file_name).stem
    return _PROVIDERS.get(name, name)


def read_gpuhunt(
    tables: Iterator[tuple[str, CsvTable]], instances: KnownInstances, as_of: datetime.date | None
) -> PublishedPrices:
    """Read the files of a catalog, each with the name of its provider. A file is read before the
    next one is requested."""
    unused_rows = UnusedRows()
    prices = (price for provider, table in tables for price in _iter_prices(provider, table, instances, unused_rows))
    return build_published_prices("gpuhunt", prices, unused_rows, as_of)


def _iter_prices(
    provider: str, table: CsvTable, instances: KnownInstances, unused_rows: UnusedRows
) -> Iterator[ListedPrice]:
    for row in table.iter_rows(REQUIRED_COLUMNS, _OPTIONAL_COLUMNS):
        instance_type = _find_instance_type(provider, row)
        if _is_reserved_in_advance(row) or instances.find(provider, instance_type) is None:
            unused_rows.other_count += 1
            continue
        if row["spot"].casefold() not in ("true", "false"):
            unused_rows.add_unreadable(table.location, f"spot must be True or False, not {row['spot']!r}")
            continue
        # GCP is listed by zone, such as us-central1-a.
        region = row["location"].rpartition("-")[0] if provider == "gcp" else row["location"]
        yield ListedPrice(
            provider=provider,
            instance_type=instance_type,
            region=region,
            zone=row["location"] if provider == "gcp" else "",
            kind="spot" if row["spot"].casefold() == "true" else "on-demand",
            amount=parse_amount(row["price"]),
            accelerator_count=parse_count(row["gpu_count"]),
        )


def _is_reserved_in_advance(row: dict[str, str]) -> bool:
    """Return whether a price is that of GCP's calendar mode, whose capacity is not available on
    demand."""
    return "dws-calendar-mode" in row["flags"] or '"is_dws_calendar_mode": true' in row["provider_data"]


def _find_instance_type(provider: str, row: dict[str, str]) -> str:
    """Return the name of the instance type in Sizewise. GCP's N1 machines have the number and the
    model of their GPUs in the name."""
    name = row["instance_name"].replace(" ", "_")
    count = parse_count(row["gpu_count"])
    if provider == "gcp" and name.startswith("n1-") and count is not None:
        return f"{name}+{count:g}x{row['gpu_name'].casefold()}"
    return name
