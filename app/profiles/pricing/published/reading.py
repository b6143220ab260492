"""Detect the layout of a published catalog, and read it."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from types import ModuleType

import msgspec

from app.errors import UsageError
from app.profiles.pricing.published.csv_table import CsvTable
from app.profiles.pricing.published.files import FORMAT_HINT, CatalogFile, is_archive, is_json, read_head, read_json
from app.profiles.pricing.published.listed import KnownInstances, PublishedPrices
from app.records.price_layouts import LAYOUTS
from loadgen.decoding import decode_json
from loadgen.regular_files import open_regular


def detect_format(file: CatalogFile) -> str:
    """Detect the layout of a file by its content, and return the layout's ID. Raises UsageError if it
    has none of the known layouts."""
    if is_archive(file):
        detected_ids = [layout.id for layout in LAYOUTS if hasattr(_import_reader(layout.id), "read_archive")]
    elif is_json(file):
        keys = _decode_top(file)
        detected_ids = [layout.id for layout in LAYOUTS if layout.json_key in keys]
    else:
        with open_regular(file.path) as stream:
            header = CsvTable(stream, file.location).header
        detected_ids = [layout.id for layout in LAYOUTS if _has_columns(_import_reader(layout.id), header)]
    if not detected_ids:
        raise UsageError(f"{file.location}: the layout is not known", hint=FORMAT_HINT)
    return detected_ids[0]


def find_next_page(file: CatalogFile) -> tuple[str | None, str | None]:
    """Return the link and the token of the next page of a response; `None` for a file without
    them."""
    if not is_json(file):
        return None, None
    top = _decode_top(file)
    link = _find_text(top, [layout.next_link_key for layout in LAYOUTS if layout.next_link_key])
    return link, _find_text(top, [layout.next_token_key for layout in LAYOUTS if layout.next_token_key])


def read_catalog(
    files: Sequence[CatalogFile], layout_id: str, instances: KnownInstances, provider: str | None
) -> list[PublishedPrices]:
    """Read the files of one layout, each as one catalog, or the pages of one catalog together.

    `provider` is the provider of a file that does not name it. Raises UsageError for a file that
    cannot be read.
    """
    for file in files:
        read_head(file)
    try:
        catalogs: list[PublishedPrices] = _import_reader(layout_id).read(files, instances, provider)
    except msgspec.DecodeError as error:
        raise _build_json_error(files[0], error) from error
    return catalogs


def _import_reader(layout_id: str) -> ModuleType:
    return importlib.import_module(f"{__package__}.{layout_id}")


def _has_columns(reader: ModuleType, header: Sequence[str]) -> bool:
    return hasattr(reader, "has_columns") and bool(reader.has_columns(header))


def _decode_top(file: CatalogFile) -> dict[str, msgspec.Raw]:
    try:
        return decode_json(read_json(file), dict[str, msgspec.Raw])
    except msgspec.DecodeError as error:
        raise _build_json_error(file, error) from error


def _find_text(top: dict[str, msgspec.Raw], keys: Sequence[str]) -> str | None:
    """Return the first text that is not empty among the values of `keys`."""
    for key in keys:
        try:
            text = decode_json(bytes(top.get(key, b"null")), str | None)
        except msgspec.DecodeError:
            continue
        if text:
            return text
    return None


def _build_json_error(file: CatalogFile, error: msgspec.DecodeError) -> UsageError:
    hint = "Download it again: it may be truncated. Name the layout with --format, if it is another one."
    return UsageError(f"{file.location} does not have the expected JSON: {error}", hint=hint)
