"""Detect the layout of a published catalog, and read it.

The files are untrusted: their sizes, the sizes of archive members and the number of prices are
limited.
"""

from __future__ import annotations

import datetime
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from app.errors import UsageError
from app.profiles.pricing.published.aws import METADATA_CELL, read_aws_csv, read_aws_json
from app.profiles.pricing.published.azure import read_azure
from app.profiles.pricing.published.csv_table import MAX_BYTES, CsvTable
from app.profiles.pricing.published.gcp import read_gcp
from app.profiles.pricing.published.gpuhunt import REQUIRED_COLUMNS as GPUHUNT_COLUMNS
from app.profiles.pricing.published.gpuhunt import find_provider, read_gpuhunt
from app.profiles.pricing.published.listed import FORMATS, CatalogFormat, KnownInstances, PublishedPrices
from app.profiles.pricing.published.skypilot import REQUIRED_COLUMNS as SKYPILOT_COLUMNS
from app.profiles.pricing.published.skypilot import read_skypilot
from loadgen.decoding import decode_json
from loadgen.regular_files import open_regular

_MAX_JSON_BYTES = 2**29
_MAX_SKYPILOT_BYTES = 2**26
_MAX_MEMBERS = 100
_HEAD_BYTES = 2**16
_ZIP_MAGIC = b"PK\x03\x04"
_BLANKS = b"\xef\xbb\xbf \t\r\n"
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
_FORMAT_HINT = f"Name the layout with --format: {', '.join(FORMATS)}."


class CatalogFile(msgspec.Struct, frozen=True):
    """File of a published catalog. `location` is the path or the URL that it comes from, without
    secrets; `name` is its original file name."""

    path: Path
    location: str
    name: str


_ABSENT = msgspec.Raw(b"")


class _Probe(msgspec.Struct, frozen=True):
    """Keys that only one of the JSON layouts has, and the link to the next page of a response."""

    products: msgspec.Raw = _ABSENT
    items: msgspec.Raw = msgspec.field(default=_ABSENT, name="Items")
    skus: msgspec.Raw = _ABSENT
    next_page_link: str | None = msgspec.field(default=None, name="NextPageLink")
    next_page_token: str | None = msgspec.field(default=None, name="nextPageToken")


def detect_format(file: CatalogFile) -> CatalogFormat:
    """Detect the layout of a file by its content. Raises UsageError if it has none of the known
    layouts."""
    head = _read_head(file)
    if head.startswith(_ZIP_MAGIC):
        return "gpuhunt"
    if _is_json(head):
        probe = _decode(file, _Probe)
        layouts: dict[CatalogFormat, msgspec.Raw] = {"aws": probe.products, "azure": probe.items, "gcp": probe.skus}
        detected_format = next((layout for layout, value in layouts.items() if value is not _ABSENT), None)
    else:
        with open_regular(file.path) as stream:
            detected_format = _detect_csv_format(CsvTable(stream, file.location).header)
    if detected_format is None:
        raise UsageError(f"{file.location}: the layout is not known", hint=_FORMAT_HINT)
    return detected_format


def _detect_csv_format(header: Sequence[str]) -> CatalogFormat | None:
    columns = set(header)
    if header and header[0] == METADATA_CELL:
        return "aws"
    if columns.issuperset(GPUHUNT_COLUMNS):
        return "gpuhunt"
    return "skypilot" if columns.issuperset(SKYPILOT_COLUMNS) else None


def find_next_page(file: CatalogFile) -> tuple[str | None, str | None]:
    """Return the link and the token of the next page of a response; `None` for a file without
    them."""
    if not _is_json(_read_head(file)):
        return None, None
    probe = _decode(file, _Probe)
    return probe.next_page_link or None, probe.next_page_token or None


def read_catalog(
    files: Sequence[CatalogFile], catalog_format: CatalogFormat, instances: KnownInstances, provider: str | None
) -> list[PublishedPrices]:
    """Read the files of one layout, each as one catalog. The pages of a list of GCP's SKUs are one
    catalog, because the parts of a machine can be on different pages.

    `provider` is the provider of a file that does not name it. Raises UsageError for a file that
    cannot be read.
    """
    for file in files:
        _read_head(file)
    file = files[0]
    try:
        if catalog_format == "gcp":
            return [read_gcp(map(_read_json, files), instances)]
        catalogs = []
        for file in files:
            catalogs.append(_read_file(file, catalog_format, instances, provider))
    except msgspec.DecodeError as error:
        raise _build_json_error(file, error) from error
    return catalogs


def _read_file(
    file: CatalogFile, catalog_format: CatalogFormat, instances: KnownInstances, provider: str | None
) -> PublishedPrices:
    head = _read_head(file)
    if catalog_format == "azure":
        return read_azure(_read_json(file), instances)
    if catalog_format == "aws" and _is_json(head):
        return read_aws_json(_read_json(file), instances)
    if catalog_format == "gpuhunt" and head.startswith(_ZIP_MAGIC):
        return _read_gpuhunt_archive(file, instances)
    with open_regular(file.path) as stream:
        if catalog_format == "aws":
            return read_aws_csv(CsvTable(stream, file.location), instances)
        if catalog_format == "gpuhunt":
            tables = iter([(provider or find_provider(file.name), CsvTable(stream, file.location))])
            return read_gpuhunt(tables, instances, None)
        return read_skypilot(CsvTable(stream, file.location, _MAX_SKYPILOT_BYTES), instances, provider)


def _read_gpuhunt_archive(file: CatalogFile, instances: KnownInstances) -> PublishedPrices:
    try:
        with zipfile.ZipFile(file.path) as archive:
            members = [member for member in archive.infolist() if member.filename.endswith(".csv")]
            if not members or len(members) > _MAX_MEMBERS:
                raise UsageError(f"{file.location}: the archive has {len(members)} CSV files", hint=_FORMAT_HINT)
            if sum(member.file_size for member in members) > MAX_BYTES:
                raise UsageError(f"{file.location}: the files of the archive are larger than {MAX_BYTES // 2**20} MiB")
            if any(member.compress_type not in _COMPRESSION_METHODS for member in members):
                raise UsageError(f"{file.location}: the compression method of the archive is not supported")
            as_of = max(datetime.date(*member.date_time[:3]) for member in members)
            return read_gpuhunt(_iter_tables(file, archive, members), instances, as_of)
    except _ARCHIVE_ERRORS as error:
        raise UsageError(
            f"{file.location}: the archive cannot be read: {error}", hint="Download it again: it may be truncated."
        ) from error


def _iter_tables(
    file: CatalogFile, archive: zipfile.ZipFile, members: Sequence[zipfile.ZipInfo]
) -> Iterator[tuple[str, CsvTable]]:
    for member in members:
        with archive.open(member) as stream:
            yield find_provider(member.filename), CsvTable(stream, f"{file.location}/{find_provider(member.filename)}")


def _read_head(file: CatalogFile) -> bytes:
    """Read the beginning of a file. Raises UsageError if the file is empty, a web page or cannot be
    read."""
    try:
        with open_regular(file.path) as stream:
            head = stream.read(_HEAD_BYTES)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise UsageError(f"{file.location} cannot be read: {reason or 'invalid path'}") from error
    if not head.strip(_BLANKS):
        raise UsageError(f"{file.location} is empty")
    if head.lstrip(_BLANKS).startswith(b"<"):
        raise UsageError(
            f"{file.location} is a web page or XML, not a catalog",
            hint="Check the address: servers also send web pages for errors and logins.",
        )
    return head


def _is_json(head: bytes) -> bool:
    return head.lstrip(_BLANKS)[:1] in (b"{", b"[")


def _read_json(file: CatalogFile) -> bytes:
    with open_regular(file.path) as stream:
        content = stream.read(_MAX_JSON_BYTES + 1)
    if len(content) > _MAX_JSON_BYTES:
        raise UsageError(
            f"{file.location} is larger than {_MAX_JSON_BYTES // 2**20} MiB",
            hint="Use the CSV file of the same list, or the file of one region.",
        )
    return content.removeprefix(_BLANKS[:3])


def _decode(file: CatalogFile, value_type: type[_Probe]) -> _Probe:
    try:
        return decode_json(_read_json(file), value_type)
    except msgspec.DecodeError as error:
        raise _build_json_error(file, error) from error


def _build_json_error(file: CatalogFile, error: msgspec.DecodeError) -> UsageError:
    hint = "Download it again: it may be truncated. Name the layout with --format, if it is another one."
    return UsageError(f"{file.location} does not have the expected JSON: {error}", hint=hint)
