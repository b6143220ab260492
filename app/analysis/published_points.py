"""Bundled table of published measurements of language models. Its sources and licences are in the NOTICE beside it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from pathlib import Path

import msgspec

from app.records.evidence import PublishedPoint, PublishedServer

TABLE = Path(str(files("profiles"))) / "evidence" / "published_points.csv"
_SERVED_FIELDS = PublishedServer.__struct_fields__
_POINT_FIELDS = tuple(field for field in PublishedPoint.__struct_fields__ if field != "served")


@cache
def load_published_points() -> tuple[PublishedPoint, ...]:
    """Return all points of the bundled table, in its order."""
    with TABLE.open(newline="", encoding="utf-8") as file:
        return tuple(_read_point(row) for row in csv.DictReader(file))


@cache
def load_recipe_flags() -> dict[str, dict[str, str]]:
    """Return the flags that recipes of InferenceX set, with their values, by the name of the recipe. "clients" stands
    for the number of clients, and values of several loads are joined by "or"."""
    flags: dict[str, dict[str, str]] = {}
    with (TABLE.parent / "recipe_flags.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            flags.setdefault(row["recipe"], {})[row["flag"]] = row["value"]
    return flags


def _read_point(row: dict[str, str]) -> PublishedPoint:
    served = msgspec.convert({field: row[field] for field in _SERVED_FIELDS}, PublishedServer, strict=False)
    cells = {field: row[field] for field in _POINT_FIELDS if row[field]}
    return msgspec.convert({**cells, "served": served}, PublishedPoint, strict=False)


def format_points(points: Iterable[PublishedPoint]) -> str:
    """Return the text of a table of points, which `load_published_points` reads."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*_SERVED_FIELDS, *_POINT_FIELDS))
    for point in points:
        writer.writerow(
            (
                *(getattr(point.served, field) for field in _SERVED_FIELDS),
                *(_format_cell(getattr(point, field)) for field in _POINT_FIELDS),
            )
        )
    return text.getvalue()


def _format_cell(value: object) -> object:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else value
