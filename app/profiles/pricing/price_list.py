"""Read a user's price list: CSV with the columns of the catalog, or YAML.

A YAML price list is a list of rows, a single row, or a mapping. The mapping has a key
`provider/instance@region` for each offer; its value contains the cells set by the user.
"""

from __future__ import annotations

import csv
import datetime
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from app.errors import ProfileError
from app.profiles.document import MAX_BYTES, KeyPath, read_document
from app.profiles.pricing.catalog import load_catalog, merge_offer, merge_offers
from app.profiles.pricing.price_cells import (
    KEY_COLUMNS,
    MONTHS_PER_YEAR,
    OWNED_COLUMNS,
    PARSERS,
    PLAIN_COLUMNS,
    CellError,
    CostShare,
    parse_cell,
)
from app.profiles.problems import BadValueError, UnknownKeyError
from app.records.offers import Catalog, OwnedHardware, PriceRow
from loadgen.regular_files import open_regular
from reports.shortening import shorten


def parse_price_row(cells: Mapping[str, object], today: datetime.date) -> PriceRow:
    """Build a price row from its cells. Blank cells are ignored. The date of a row without a date
    is `today`.

    Raises CellError for an invalid cell, UnknownKeyError for an unknown column, and BadValueError
    for contradictory cells.
    """
    for column in cells:
        if column not in PARSERS:
            raise UnknownKeyError(column, PARSERS, _find_currency_hint(column))
    filled_cells = {column: value for column, value in cells.items() if value is not None and value != ""}
    for column in KEY_COLUMNS:
        if column not in filled_cells:
            raise BadValueError(f"{column} is missing", hint="A row needs provider, instance_type and region.")
    values = {column: parse_cell(column, value) for column, value in filled_cells.items()}
    as_of = values.get("as_of_date", today)
    if as_of > today:
        raise CellError("as_of_date", f"{as_of} is in the future (today is {today})")
    owned = _build_owned_hardware(values)
    if owned is not None and "on_demand_usd_per_hour" in values:
        raise CellError("on_demand_usd_per_hour", "an owned instance has no price: its cost is calculated")
    provider, instance_type, region = (values[column] for column in KEY_COLUMNS)
    return PriceRow(
        provider=provider,
        instance_type=instance_type,
        region=region,
        as_of=as_of,
        accelerator=values.get("accelerator_key"),
        owned=owned,
        **{column: values.get(column) for column in PLAIN_COLUMNS},
    )


def _find_currency_hint(column: str) -> str | None:
    """Return where a price list has the currency, for an unknown column that contains one, such as
    `currency` or `on_demand_eur_per_hour`; None for any other column."""
    if column == "currency":
        return "Write each price with its currency instead, such as 0.75 EUR/h in the column on_demand_usd_per_hour."
    is_per_hour = column.endswith("_per_hour")
    known_column = re.sub(r"_[a-z]{3}(?=_|$)", "_usd" if is_per_hour else "", column, count=1)
    if known_column == column or known_column not in PARSERS:
        return None
    example = "0.75 EUR/h" if is_per_hour else "40000 EUR"
    return f"Name the column {known_column}, and write its cells with their currency, such as {example}."


def _build_owned_hardware(values: Mapping[str, Any]) -> OwnedHardware | None:
    owned_column = next((column for column in OWNED_COLUMNS if column in values), None)
    if "capex_usd" in values and "capex" in values:
        raise CellError("capex", "this column cannot be combined with capex_usd")
    capex_usd = values.get("capex_usd", values.get("capex"))
    if capex_usd is None:
        if owned_column is not None:
            raise CellError(owned_column, "this column is for owned hardware and requires capex_usd")
        return None
    if "life" not in values:
        raise BadValueError("owned hardware needs a lifetime", hint="Add one, such as life: 4y.")
    if ("power_w" in values) != ("tariff" in values):
        column = "power_w" if "power_w" in values else "tariff"
        raise CellError(column, "power_w and tariff must be used together")
    residual_usd = _resolve_share(values.get("residual", 0.0), capex_usd)
    if residual_usd > capex_usd:
        raise CellError("residual", "the residual value is higher than the purchase price")
    return OwnedHardware(
        capex_usd=capex_usd,
        life_years=values["life"],
        interest_per_year=values.get("interest", 0.0),
        residual_usd=residual_usd,
        power_w=values.get("power_w", 0.0),
        pue=values.get("pue", 1.0),
        tariff_usd_per_kwh=values.get("tariff", 0.0),
        colo_usd_per_month=values.get("colo", 0.0),
        support_usd_per_month=_resolve_share(values.get("support", 0.0), capex_usd / MONTHS_PER_YEAR),
        staff_usd_per_month=values.get("staff", 0.0),
        network_usd=_resolve_share(values.get("network", 0.0), capex_usd),
        availability=values.get("availability", 1.0),
        units=values.get("units"),
    )


def _resolve_share(value: float, base_usd: float) -> float:
    return value * base_usd if isinstance(value, CostShare) else value


_TEMPLATE_CELLS = {
    "provider": "onprem",
    "instance_type": "l4-node",
    "region": "rack-1",
    "accelerator_key": "l4",
    "accelerator_count": "1",
    "vcpus": "16",
    "memory_gib": "64",
    "on_demand_usd_per_hour": "0.42",
    "spot_usd_per_hour": "",
    "reserved_1y_usd_per_hour": "",
    "cpu_architecture": "x86_64",
    "country": "DE",
}
"""Cells of the example row of a price list; its date is added."""


def format_template(today: datetime.date) -> str:
    """Return a price list in CSV with the columns of rented offers and one example row."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_TEMPLATE_CELLS, "as_of_date"])
    writer.writerow([*_TEMPLATE_CELLS.values(), today])
    return text.getvalue()


MAX_PROBLEMS = 100
_KEY_FORMAT = "provider/instance@region"


class PriceEntry(msgspec.Struct, frozen=True):
    """Cells of one row as written in the file. `lines` maps each cell to its line number."""

    cells: dict[str, object]
    line: int | None
    lines: dict[str, int]


class ParsedPriceList(msgspec.Struct, frozen=True):
    """Valid rows of a price list, and the errors of invalid rows, both in the order of the file.
    There are at most MAX_PROBLEMS errors.

    `values` contains the cells of all rows as written in the file, to find currencies with outdated
    exchange rates.
    """

    rows: tuple[PriceRow, ...]
    problems: tuple[ProfileError, ...]
    values: tuple[object, ...] = ()


def load_offers(paths: Sequence[Path], today: datetime.date, catalog: Catalog | None = None) -> Catalog:
    """Load the catalog with the price lists applied in order. Raises ProfileError for the first
    invalid cell."""
    catalog = catalog or load_catalog()
    for path in paths:
        price_list = read_price_list(path, catalog, today)
        if price_list.problems:
            raise price_list.problems[0]
        catalog = merge_offers(catalog, price_list.rows)
    return catalog


def read_price_list(path: Path, catalog: Catalog, today: datetime.date) -> ParsedPriceList:
    """Read a price list, and check its rows against `catalog`.

    No error is raised. If the file cannot be read, the returned price list has a single problem.
    """
    offers = {offer.key: offer for offer in catalog.offers}
    rows: dict[str, PriceRow] = {}
    problems: list[ProfileError] = []
    values: list[object] = []
    try:
        for entry in _iter_entries(path):
            values.append(entry.cells)
            try:
                row = parse_price_row(entry.cells, today)
                merge_offer(offers.get(row.key), row, catalog)
                if row.key in rows:
                    raise BadValueError(f"the row {row.key} is duplicated")
            except BadValueError as error:
                problems.append(_build_error(path, entry, error))
                if len(problems) == MAX_PROBLEMS:
                    break
            else:
                rows[row.key] = row
    except ProfileError as error:
        problems.append(error)
    return ParsedPriceList(tuple(rows.values()), tuple(problems), tuple(values))


def _build_error(path: Path, entry: PriceEntry, error: BadValueError) -> ProfileError:
    column = error.column if isinstance(error, CellError) else error.key if isinstance(error, UnknownKeyError) else None
    line = entry.line if column is None else entry.lines.get(column, entry.line)
    return ProfileError(str(error), path=str(path), line=line, hint=error.hint)


def _iter_entries(path: Path) -> Iterator[PriceEntry]:
    """Return an iterator over the rows of a price list.

    Raises ProfileError if the file or the structure of a row is invalid.
    """
    content = _read_content(path)
    if path.suffix.lower() == ".csv":
        return _iter_csv_entries(path, content)
    if path.suffix.lower() in (".yaml", ".yml", ".json"):
        return _iter_yaml_entries(path, content)
    raise ProfileError("a price list must be a .csv or .yaml file", path=str(path))


def _read_content(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():
            raise ProfileError("the path is not a file", path=str(path))
        with open_regular(path) as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise ProfileError(reason or "the file cannot be read", path=str(path)) from error
    if len(content) > MAX_BYTES:
        raise ProfileError("the file is larger than 1 MiB", path=str(path))
    return content


def _iter_csv_entries(path: Path, content: bytes) -> Iterator[PriceEntry]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ProfileError(
            "the file is not UTF-8 text", path=str(path), line=content.count(b"\n", 0, error.start) + 1
        ) from error
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        _check_header(path, reader.fieldnames)
        for cells in reader:
            if None in cells or None in cells.values():
                raise ProfileError(
                    "the number of cells does not match the number of columns", path=str(path), line=reader.line_num
                )
            trimmed_cells: dict[str, object] = {column.strip(): cell.strip() for column, cell in cells.items()}
            yield PriceEntry(trimmed_cells, reader.line_num, {})
    except csv.Error as error:
        raise ProfileError(f"the file is not valid CSV: {error}", path=str(path), line=reader.line_num) from error


def _check_header(path: Path, header: Sequence[str] | None) -> None:
    columns = [column.strip() for column in header or ()]
    missing_columns = [column for column in KEY_COLUMNS if column not in columns]
    if missing_columns:
        header_text = shorten(", ".join(columns))
        hint = f"The first line must name the columns, separated by commas; it is {header_text!r}."
        raise ProfileError(f"the column {missing_columns[0]} is missing", path=str(path), line=1, hint=hint)
    duplicate = next((column for column in columns if columns.count(column) > 1), None)
    if duplicate is not None:
        raise ProfileError(f"the column {duplicate!r} is duplicated", path=str(path), line=1)


def _iter_yaml_entries(path: Path, content: bytes) -> Iterator[PriceEntry]:
    document = read_document(content, str(path))
    value = document.value
    if value is None:
        return
    keyed_rows: list[tuple[KeyPath, object]]
    if isinstance(value, list):
        keyed_rows = [((index,), row) for index, row in enumerate(value)]
    elif isinstance(value, dict) and set(KEY_COLUMNS) & value.keys():
        keyed_rows = [((), value)]
    elif isinstance(value, dict):
        keyed_rows = [
            ((key,), _add_key_cells(path, document.lines.get((key,)), key, row)) for key, row in value.items()
        ]
    else:
        raise ProfileError(
            "a price list must be a list of rows, or a mapping of offers to columns",
            hint="Use an entry such as aws/g6.2xlarge@us-east-1: {on_demand_usd_per_hour: 0.98}.",
            path=str(path),
        )
    for key_path, row in keyed_rows:
        line = document.lines.get(key_path, 1)
        if not isinstance(row, dict):
            raise ProfileError("a row must be a mapping of columns to values", path=str(path), line=line)
        lines = {column: document.lines[(*key_path, column)] for column in row if (*key_path, column) in document.lines}
        yield PriceEntry(row, line, lines)


def _add_key_cells(path: Path, line: int | None, key: str, row: object) -> object:
    """Add the provider, the instance type and the region in `key` to the cells of the row."""
    provider, slash, instance_text = key.partition("/")
    instance_type, at_sign, region = instance_text.rpartition("@")
    if not (provider and slash and instance_type and at_sign and region):
        hint = "Use a value such as aws/g6.2xlarge@us-east-1."
        raise ProfileError(f"{key!r:.80} does not have the form {_KEY_FORMAT}", path=str(path), line=line, hint=hint)
    if not isinstance(row, dict):
        return row
    duplicate_column = next((column for column in KEY_COLUMNS if column in row), None)
    if duplicate_column is not None:
        raise ProfileError(f"{duplicate_column} is already in the key", path=str(path), line=line)
    return dict(zip(KEY_COLUMNS, (provider, instance_type, region), strict=True)) | row
