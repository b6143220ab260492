"""Read the catalog of gpuhunt: a zip archive with one CSV file for each provider, or one of these
files."""

from __future__ import annotations

import datetime
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from app.errors import UsageError
from app.profiles.pricing.published.csv_table import MAX_BYTES, CsvTable
from app.profiles.pricing.published.files import FORMAT_HINT, CatalogFile, is_archive
from app.profiles.pricing.published.listed import (
    KnownInstances,
    ListedPrice,
    PublishedPrices,
    UnusedRows,
    build_published_prices,
    parse_amount,
    parse_count,
)
from loadgen.regular_files import open_regular

_REQUIRED_COLUMNS = ("instance_name", "location", "price", "spot")
_OPTIONAL_COLUMNS = ("gpu_count", "gpu_name", "flags", "provider_data")
_PROVIDERS = {"lambdalabs": "lambda", "vastai": "vast", "datacrunch": "verda", "oci": "oracle"}
"""Providers whose name in gpuhunt differs from the name in Sizewise."""
_MAX_MEMBERS = 100
_ARCHIVE_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
)
"""Errors of zipfile for damaged and encrypted archives. NotImplementedError, for other compression methods,
is a RuntimeError."""
_COMPRESSION_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def has_columns(header: Sequence[str]) -> bool:
    """Return whether a CSV file with this first row is one of this catalog."""
    return set(header).issuperset(_REQUIRED_COLUMNS)


def read(files: Sequence[CatalogFile], instances: KnownInstances, provider: str | None) -> list[PublishedPrices]:
    """Read archives or files, each as one catalog."""
    return [
        read_archive(file, instances) if is_archive(file) else _read_file(file, instances, provider) for file in files
    ]


def read_archive(file: CatalogFile, instances: KnownInstances) -> PublishedPrices:
    """Read a zip archive. Raises UsageError if it is too large or cannot be read."""
    try:
        with zipfile.ZipFile(file.path) as archive:
            members = [member for member in archive.infolist() if member.filename.endswith(".csv")]
            if not members or len(members) > _MAX_MEMBERS:
                raise UsageError(f"{file.location}: the archive has {len(members)} CSV files", hint=FORMAT_HINT)
            if sum(member.file_size for member in members) > MAX_BYTES:
                raise UsageError(f"{file.location}: the files of the archive are larger than {MAX_BYTES // 2**20} MiB")
            if any(member.compress_type not in _COMPRESSION_METHODS for member in members):
                raise UsageError(f"{file.location}: the compression method of the archive is not supported")
            as_of = max(datetime.date(*member.date_time[:3]) for member in members)
            return _read_tables(_iter_tables(file, archive, members), instances, as_of)
    except _ARCHIVE_ERRORS as error:
        raise UsageError(
            f"{file.location}: the archive cannot be read: {error}", hint="Download it again: it may be truncated."
        ) from error


def _read_file(file: CatalogFile, instances: KnownInstances, provider: str | None) -> PublishedPrices:
    with open_regular(file.path) as stream:
        tables = iter([(provider or _find_provider(file.name), CsvTable(stream, file.location))])
        return _read_tables(tables, instances, None)


def _iter_tables(
    file: CatalogFile, archive: zipfile.ZipFile, members: Sequence[zipfile.ZipInfo]
) -> Iterator[tuple[str, CsvTable]]:
    for member in members:
        provider = _find_provider(member.filename)
        with archive.open(member) as stream:
            yield provider, CsvTable(stream, f"{file.location}/{provider}")


def _find_provider(file_name: str) -> str:
    """Return the provider of a file of the catalog, which is its name without the suffix."""
    name = PurePosixPath(file_name).stem
    return _PROVIDERS.get(name, name)


def _read_tables(
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
    for row in table.iter_rows(_REQUIRED_COLUMNS, _OPTIONAL_COLUMNS):
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
