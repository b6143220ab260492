"""Records and class names that are defined twice are found, and their number does not grow."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.checks.definitions import Definition, definitions, mirror_pairs, repeated_names

ROOT = Path(__file__).parents[2]
MAX_NAMES = 11
"""The current numbers of the source. Lower both when you remove some."""

RECORDS = """
import msgspec
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

class Point(msgspec.Struct, frozen=True):
    x: int
    y: int
    z: int
    t: int
    kind: ClassVar[str] = "point"

class Widget:
    x: int
    y: int
    z: int
    t: int

class Small(NamedTuple):
    x: int
    y: int
    z: int

class Base(NamedTuple):
    a: int
"""
VIEWS = """
from dataclasses import dataclass
from app.records import Point

@dataclass(
    frozen=True,
)
class PointRow:
    x: int
    y: int
    z: int
    label: str
    color: str

class Detailed(
    Point,
):
    label: str

class _Hidden: ...
class Small: ...
"""
LEAF = """
class Wide(Base):
    x: int
    y: int
    z: int
    label: str
    color: str
    weight: int
    width: int

class _Hidden: ...
"""


@pytest.fixture
def classes(tmp_path: Path) -> list[Definition]:
    for name, text in (("app/records.py", RECORDS), ("app/gui/views.py", VIEWS), ("reports/leaf.py", LEAF)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return definitions(tmp_path)


def test_records_with_mostly_equal_fields_are_reported_as_pair(classes: list[Definition]) -> None:
    pairs = [(pair.one.name, pair.other.name, pair.shared, pair.of) for pair in mirror_pairs(classes)]
    assert pairs == [("PointRow", "Wide", 5, 7), ("PointRow", "Point", 3, 5)]


def test_repeated_public_class_name_is_listed_with_its_files(classes: list[Definition]) -> None:
    assert repeated_names(classes) == {"Small": ["app/gui/views.py", "app/records.py"]}


def test_number_of_repeated_names_does_not_grow() -> None:
    assert len(repeated_names(definitions(ROOT))) <= MAX_NAMES
