"""Read values from the result files of other tools. Values of an unexpected type are rejected."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from app.errors import UsageError
from app.storage.foreign.documents import build_file_error, printable

_MAX_NUMBER = 1e19  # above any timestamp in ns since 1970


class Node:
    """A value in a result file, with its path of keys for error messages. A missing key is a node
    with the value `None`."""

    __slots__ = ("_file", "_path", "value")

    def __init__(self, value: object, file: str, path: str = "") -> None:
        self.value = value
        self._file = file
        self._path = path

    def at(self, *keys: str) -> Node:
        """Return the node at a path of keys. The value of the node is `None` if a key is missing or
        its parent is not an object."""
        value, path = self.value, self._path
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
            path = f"{path}.{key}" if path else key
        return Node(value, self._file, path)

    def items(self) -> Iterator[Node]:
        """Yield the items of a list; nothing if the value is missing. Raises UsageError if the
        value is not a list."""
        if self.value is None:
            return
        if not isinstance(self.value, list):
            raise self.type_error("a list")
        for index, value in enumerate(self.value):
            yield Node(value, self._file, f"{self._path}[{index}]")

    def table(self) -> dict[str, object]:
        if not isinstance(self.value, dict):
            raise self.type_error("an object")
        return self.value

    def number(self) -> float:
        """Return the value as a finite, non-negative number. Raises UsageError for any other
        value."""
        value = self.value
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.type_error("a number")
        if not 0 <= value <= _MAX_NUMBER:  # the comparison is also false for NaN
            raise self.type_error("a finite number of at least 0")
        return float(value)

    def number_or_none(self) -> float | None:
        return None if self.value is None else self.number()

    def count(self) -> int:
        number = self.number()
        if number != math.floor(number):
            raise self.type_error("a whole number")
        return int(number)

    def count_or_none(self) -> int | None:
        return None if self.value is None else self.count()

    def text(self) -> str | None:
        """Return the value as a printable string; `None` if there is no value."""
        if self.value is None:
            return None
        if not isinstance(self.value, str):
            raise self.type_error("text")
        return printable(self.value, 200) or None

    def numbers(self) -> list[float]:
        return [node.number() for node in self.items()]

    def type_error(self, expected: str) -> UsageError:
        actual_text = "nothing" if self.value is None else printable(_describe_value(self.value), 40)
        location = printable(self._path, 120) or "the top level"
        return build_file_error(self._file, f"{location} must be {expected} (got {actual_text})")


def parse_cell_number(row: dict[str, str], column: str, file: str) -> float:
    """Return the value of a CSV cell as a finite, non-negative number. Raises UsageError for any
    other value."""
    text = row.get(column, "")
    try:
        value = float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        value = math.nan
    if not 0 <= value <= _MAX_NUMBER:
        cell_text = printable(repr(text), 40)
        raise build_file_error(
            file, f'the column "{printable(column)}" has {cell_text} instead of a number of at least 0'
        )
    return value


def check_same_length(file: str, lists: Mapping[str, Sequence[object]]) -> None:
    """Raise UsageError if parallel lists have different lengths."""
    lengths = {name: len(values) for name, values in lists.items()}
    if len(set(lengths.values())) > 1:
        lengths_text = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise build_file_error(file, f"its lists of requests have different lengths ({lengths_text})")


def _describe_value(value: object) -> str:
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 128:
        return "an integer of more than 128 bits"  # Python raises an error when it formats a huge integer
    return repr(value)
