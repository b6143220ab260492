"""Record classes that repeat each other, and class names with two meanings.

`python -m tests.checks.definitions [ROOT]` prints both lists and their lengths. At commit 7040b55 there were 70 pairs
and 81 names.

A record class is a dataclass, a named tuple, a msgspec Struct, a pydantic model or a subclass of one. Two of them are a
pair if each declares at least 4 fields in its own body and they share at least 60 % of the field names of the larger
one. Inherited fields do not count: inheritance is one way of having one definition.
"""

from __future__ import annotations

import argparse
import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

PACKAGES = ("app", "loadgen", "reports")
RECORD_BASES = frozenset({"Struct", "BaseModel", "NamedTuple", "TypedDict"})
MIN_FIELDS = 4
MIN_SHARE = 0.6
_CLASS = re.compile(r"^(?:@.*\n(?:[ \t)].*\n)*)*class .*\n(?:(?:[ \t)].*)?\n)*", re.MULTILINE)
"""A class of the top level, to the last line that is empty, indented or closes its list of bases."""


class Definition(NamedTuple):
    """A top-level class of the source."""

    name: str
    path: str
    bases: tuple[str, ...]
    is_dataclass: bool
    fields: frozenset[str]


class Pair(NamedTuple):
    """Two records that share `shared` of the `of` fields that the larger one has."""

    shared: int
    of: int
    one: Definition
    other: Definition


def definitions(root: Path) -> list[Definition]:
    """Every top-level class of the packages under `root`."""
    files = sorted(file for package in PACKAGES for file in (root / package).rglob("*.py"))
    return [_definition(node, file.relative_to(root).as_posix()) for file in files for node in _classes(file)]


def mirror_pairs(classes: Iterable[Definition]) -> list[Pair]:
    """Pairs of record classes with mostly the same fields, largest first."""
    every = list(classes)
    by_name = _by_name(every)
    records = [one for one in every if len(one.fields) >= MIN_FIELDS and _is_record(one, by_name, frozenset())]
    pairs = [
        Pair(len(one.fields & other.fields), max(len(one.fields), len(other.fields)), one, other)
        for one, other in combinations(records, 2)
    ]
    return sorted((pair for pair in pairs if pair.shared >= MIN_SHARE * pair.of), key=lambda pair: -pair.shared)


def repeated_names(classes: Iterable[Definition]) -> dict[str, list[str]]:
    """Public class names that are defined more than once, with the files."""
    return {
        name: [one.path for one in definitions_by_name]
        for name, definitions_by_name in sorted(_by_name(classes).items())
        if len(definitions_by_name) > 1 and not name.startswith("_")
    }


def _classes(file: Path) -> list[ast.ClassDef]:
    """Every top-level class of a file. The rest is not parsed: parsing is what takes time here."""
    parsed = ast.parse("\n".join(_CLASS.findall(file.read_text())))
    return [node for node in parsed.body if isinstance(node, ast.ClassDef)]


def _definition(node: ast.ClassDef, path: str) -> Definition:
    bases = tuple(ast.unparse(base).partition("[")[0].rpartition(".")[2] for base in node.bases)
    is_dataclass = any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)
    fields = frozenset(
        statement.target.id
        for statement in node.body
        if isinstance(statement, ast.AnnAssign)
        and isinstance(statement.target, ast.Name)
        and "ClassVar" not in ast.unparse(statement.annotation)
    )
    return Definition(node.name, path, bases, is_dataclass, fields)


def _by_name(classes: Iterable[Definition]) -> dict[str, list[Definition]]:
    definitions_by_name: dict[str, list[Definition]] = defaultdict(list)
    for one in classes:
        definitions_by_name[one.name].append(one)
    return definitions_by_name


def _is_record(one: Definition, by_name: Mapping[str, list[Definition]], visited: frozenset[str]) -> bool:
    return one.is_dataclass or any(
        base in RECORD_BASES
        or (
            base not in visited
            and any(_is_record(parent, by_name, visited | {base}) for parent in by_name.get(base, ()))
        )
        for base in one.bases
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="List record classes and class names that are defined twice.")
    parser.add_argument("root", nargs="?", type=Path, default=Path(__file__).parents[2])
    classes = definitions(parser.parse_args().root)
    pairs, names = mirror_pairs(classes), repeated_names(classes)
    for pair in pairs:
        print(f"{pair.shared} of {pair.of}: {pair.one.name} ({pair.one.path}), {pair.other.name} ({pair.other.path})")
    print(f"{len(pairs)} pairs of record classes share at least {MIN_SHARE:.0%} of their fields\n")
    for name, paths in names.items():
        print(f"{name}: {', '.join(paths)}")
    print(f"{len(names)} public class names are defined more than once")


if __name__ == "__main__":
    main()
