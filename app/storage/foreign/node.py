"""Values out of a foreign file, each of its kind or refused."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from app.errors import UsageError
from app.storage.foreign.documents import printable, refused

_LARGEST = 1e19  # nanoseconds since 1970 are below


class Node:
    """One value of a file and the way to it, so that what is wrong can be named. An absent key is a node of None."""

    __slots__ = ("_file", "_way", "value")

    def __init__(self, value: object, file: str, way: str = "") -> None:
        self.value = value
        self._file = file
        self._way = way

    def at(self, *keys: str) -> Node:
        """The node under these keys, one in the other; a node of None where one is missing or is no object."""
        value, way = self.value, self._way
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
            way = f"{way}.{key}" if way else key
        return Node(value, self._file, way)

    def items(self) -> Iterator[Node]:
        """The values of a list; none of what is absent."""
        if self.value is None:
            return
        if not isinstance(self.value, list):
            raise self.wrong("a list")
        for index, value in enumerate(self.value):
            yield Node(value, self._file, f"{self._way}[{index}]")

    def table(self) -> dict[str, object]:
        if not isinstance(self.value, dict):
            raise self.wrong("an object")
        return self.value

    def number(self) -> float:
        """A finite number from 0."""
        value = self.value
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong("a number")
        if not 0 <= value <= _LARGEST:  # false of NaN too
            raise self.wrong("a finite number from 0")
        return float(value)

    def number_or_none(self) -> float | None:
        return None if self.value is None else self.number()

    def count(self) -> int:
        number = self.number()
        if number != math.floor(number):
            raise self.wrong("a whole number")
        return int(number)

    def count_or_none(self) -> int | None:
        return None if self.value is None else self.count()

    def text(self) -> str | None:
        """Printable text; None where there is none."""
        if self.value is None:
            return None
        if not isinstance(self.value, str):
            raise self.wrong("text")
        return printable(self.value, 200) or None

    def numbers(self) -> list[float]:
        return [item.number() for item in self.items()]

    def wrong(self, expected: str) -> UsageError:
        there = "nothing" if self.value is None else printable(_shown(self.value), 40)
        where = printable(self._way, 120) or "its top"
        return refused(self._file, f"at {where} it has {there} where {expected} was expected")


def cell_number(row: dict[str, str], column: str, file: str) -> float:
    """A finite number from 0 in a CSV cell."""
    text = row.get(column, "")
    try:
        value = float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        value = math.nan
    if not 0 <= value <= _LARGEST:
        shown = printable(repr(text), 40)
        raise refused(file, f'the column "{printable(column)}" has {shown} where a number from 0 was expected')
    return value


def same_length(file: str, lists: Mapping[str, Sequence[object]]) -> None:
    """Raises UsageError where lists that go side by side do not."""
    lengths = {name: len(values) for name, values in lists.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise refused(file, f"its lists of requests are not equally long ({told})")


def _shown(value: object) -> str:
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 128:
        return "a huge number"  # the text of it is what Python refuses to make
    return repr(value)
