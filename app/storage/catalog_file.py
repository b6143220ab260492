"""Catalog files: the whole catalog of a plan as CSV, beside the plan file and named by its digest.

Each row is an offer, an accelerator or the grid of a place, as stated in the first column. All plan
files in a folder that are based on the same catalog share one file. A catalog file may come from an
untrusted source, so it is read within limits, and only if its content has the digest in the plan
file.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from app.analysis.spreadsheets import escape_formula
from app.errors import UsageError
from app.records.offers import Accelerator, Catalog, GridCarbonIntensity, Offer
from app.storage.plan_file import list_fields
from loadgen.decoding import decode_json
from reports.shortening import shorten

MAX_BYTES = 8 << 20
"""Maximum size of a catalog file. The bundled catalog has 60 KiB."""
_DIGEST_LENGTH = 12
_TABLE, _PLACE = "table", "place"
_RecordClass = type[Offer] | type[Accelerator] | type[GridCarbonIntensity]
_RECORD_CLASSES: dict[str, _RecordClass] = {
    "offer": Offer,
    "accelerator": Accelerator,
    "grid": GridCarbonIntensity,
}
_JSON_COLUMNS = ("owned", "overrides")
_REPLAN_HINT = "Create the plan again from the runs with `sizewise plan RUN --out plan.yaml`."


class CatalogReference(msgspec.Struct, frozen=True):
    """Reference of a plan file to its catalog file, which is in the same folder."""

    file: str
    sha256: str


def format_catalog(catalog: Catalog) -> bytes:
    """Return a catalog as CSV. The same catalog always results in the same bytes, even after it was
    read again."""
    # The conversion turns integers in float fields into floats: 8.0, not 8.
    catalog = msgspec.convert(msgspec.to_builtins(catalog), Catalog)
    columns = _list_columns()
    rows = [{column: column for column in columns}, *_iter_rows(catalog)]
    lines = (",".join(_quote(row.get(column, "")) for column in columns) for row in rows)
    return "".join(f"{line}\n" for line in lines).encode()


def build_catalog_reference(content: bytes) -> CatalogReference:
    digest = hashlib.sha256(content).hexdigest()
    return CatalogReference(_build_name(digest), digest)


def read_catalog(plan_path: Path, reference: CatalogReference) -> Catalog:
    """Read the catalog file of a plan file. Raises UsageError if it is missing, too large, or not
    the one that the plan file refers to."""
    if reference.file != _build_name(reference.sha256):
        raise UsageError(f"{plan_path} does not name its catalog file by the digest", hint=_REPLAN_HINT)
    path = plan_path.parent / reference.file
    content = _read_content(plan_path, path)
    if hashlib.sha256(content).hexdigest() != reference.sha256:
        raise UsageError(
            f"{path} is not the catalog of {plan_path.name}: its digest differs",
            hint="Restore the file from where the plan file came from. To plan with other prices, use --offers FILE.",
        )
    try:
        return _parse_catalog(content)
    except (ValueError, csv.Error, msgspec.DecodeError) as error:
        reason = shorten(str(error))
        raise UsageError(f"{path} is not a valid catalog file: {reason}", hint=_REPLAN_HINT) from error


def _build_name(digest: str) -> str:
    return f"catalogue-{digest[:_DIGEST_LENGTH]}.csv"


def _list_columns() -> list[str]:
    fields = (field for record_class in _RECORD_CLASSES.values() for field in record_class.__struct_fields__)
    return list(dict.fromkeys((_TABLE, _PLACE, *fields)))


def _iter_rows(catalog: Catalog) -> Iterator[dict[str, str]]:
    for offer in catalog.offers:
        yield {_TABLE: "offer"} | _format_cells(offer)
    for accelerator in catalog.accelerators.values():
        yield {_TABLE: "accelerator"} | _format_cells(accelerator)
    for place, intensity in catalog.grid.items():
        yield {_TABLE: "grid", _PLACE: _escape(place)} | _format_cells(intensity)


def _format_cells(record: Offer | Accelerator | GridCarbonIntensity) -> dict[str, str]:
    values: dict[str, Any] = msgspec.to_builtins(record)
    return {
        column: msgspec.json.encode(value).decode() if column in _JSON_COLUMNS else _escape(str(value))
        for column, value in values.items()
        if value is not None and value != ()
    }


def _escape(text: str) -> str:
    """Return text that no spreadsheet executes as a formula. A leading apostrophe is doubled, so
    that reading removes only the added one."""
    return f"'{text}" if text.startswith("'") else escape_formula(text)


def _quote(cell: str) -> str:
    """Quote a cell if necessary. The csv module does not quote a lone carriage return."""
    quoted_cell = cell.replace('"', '""')
    return f'"{quoted_cell}"' if any(character in cell for character in '",\r\n') else cell


def _read_content(plan_path: Path, path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():
            raise UsageError(f"{path} is not a file", hint=_REPLAN_HINT)
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        hint = f"Copy {path.name} from where the plan file came from, or create the plan again from the runs."
        raise UsageError(f"{plan_path} needs {path.name}, which is not in the same folder", hint=hint) from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > MAX_BYTES:
        raise UsageError(f"{path} is too large for a catalog file (maximum {MAX_BYTES >> 20} MiB)", hint=_REPLAN_HINT)
    return content


def _parse_catalog(content: bytes) -> Catalog:
    accelerators: dict[str, Accelerator] = {}
    offers: dict[str, Offer] = {}
    grid: dict[str, GridCarbonIntensity] = {}
    for row in csv.DictReader(io.StringIO(content.decode(), newline=""), strict=True):
        if None in row or None in row.values():
            raise ValueError("the number of cells does not match the number of columns")
        table = row.get(_TABLE) or ""
        if table not in _RECORD_CLASSES:
            raise ValueError(f"{table!r:.40} is not a table of a catalog")
        record = _parse_record(row, _RECORD_CLASSES[table])
        match record:
            case Offer():
                _add_unique(offers, record.key, record)
            case Accelerator():
                _add_unique(accelerators, record.key, record)
            case GridCarbonIntensity():
                _add_unique(grid, (row.get(_PLACE) or "").removeprefix("'"), record)
    return Catalog(accelerators, tuple(offers.values()), grid)


def _parse_record(row: dict[str, str], record_class: _RecordClass) -> Offer | Accelerator | GridCarbonIntensity:
    values: dict[str, Any] = {}
    for field in list_fields(record_class):
        cell = row.get(field.name)
        if cell:
            values[field.name] = decode_json(cell) if field.name in _JSON_COLUMNS else cell.removeprefix("'")
        elif field.required:
            values[field.name] = None
    return msgspec.convert(values, record_class, strict=False)


def _add_unique(records: dict[str, Any], key: str, record: object) -> None:
    if key in records:
        raise ValueError(f"the row {key!r:.100} is duplicated")
    records[key] = record
