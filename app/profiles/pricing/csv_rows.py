"""Read CSV tables row by row, and report errors with file, line and column."""

from __future__ import annotations

import csv
import datetime
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from app.errors import UsageError


class Keyed(Protocol):
    @property
    def key(self) -> str: ...


KeyedItem = TypeVar("KeyedItem", bound=Keyed)


class CsvRow(msgspec.Struct, frozen=True):
    """Cells of one row of a CSV table. Each accessor raises ValueError, with the name of the
    column, for an invalid cell."""

    cells: dict[str, str | None]

    def get_text(self, column: str) -> str:
        cell = self.cells.get(column)
        if not cell:
            raise ValueError(f"{column} is empty")
        return cell

    def get_optional_text(self, column: str) -> str | None:
        return self.cells.get(column) or None

    def get_number(self, column: str) -> float | None:
        cell = self.cells.get(column)
        if not cell:
            return None
        try:
            number = float(cell)
        except ValueError:
            number = math.nan
        if not (math.isfinite(number) and number >= 0):
            raise ValueError(f"{column} must be a number of at least 0, not {cell!r}")
        return number

    def get_date(self, column: str) -> datetime.date:
        try:
            return datetime.date.fromisoformat(self.get_text(column))
        except ValueError as error:
            raise ValueError(f"{column} must be a date such as 2026-07-20") from error


def read_unique_items(path: Path, build_item: Callable[[CsvRow], KeyedItem]) -> Iterator[KeyedItem]:
    """Build an item from each row with `build_item`, and yield the items. Raises UsageError for an
    invalid row, or if two items have the same `key`."""
    keys: set[str] = set()
    for line, row in _iter_rows(path):
        try:
            item = build_item(row)
            if item.key in keys:
                raise ValueError(f"the row {item.key} is duplicated")
        except ValueError as error:
            raise UsageError(f"{path}:{line}: {error}") from error
        keys.add(item.key)
        yield item


def _iter_rows(path: Path) -> Iterator[tuple[int, CsvRow]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            for cells in reader:
                if None in cells or None in cells.values():
                    raise UsageError(
                        f"{path}:{reader.line_num}: the number of cells does not match the number of columns"
                    )
                yield reader.line_num, CsvRow(cells)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
