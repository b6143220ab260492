"""The prose of the project: names, docstrings, comments and texts, each with its place."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

PRODUCT = ("app", "loadgen", "reports", "sizewise.py")
PAGES = ("README.md", "docs/*.md", "reports/templates/*.html", "reports/templates/*.css", "profiles/**/*.yaml")
"""Files that people read as they are."""
_NOT_PROSE = re.compile(r"^[a-z_]+$|^\W*$|^[\w./:%{}\[\]-]+$")
"""Identifiers, paths, punctuation: string literals without a space between words."""
_GENERATED = "_pb2.py"


class Kind(StrEnum):
    NAME = "name"
    DOCSTRING = "docstring"
    COMMENT = "comment"
    TEXT = "text"
    PAGE = "page"


class Passage(NamedTuple):
    """A name or a piece of text. For a docstring, `name` is what it describes; else it is empty."""

    kind: Kind
    path: str
    line: int
    text: str
    name: str = ""

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}"
        return f"{place} {self.name}: {self.text}" if self.name else f"{place}: {self.text}"


def passages(root: Path, packages: tuple[str, ...] = PRODUCT) -> Iterator[Passage]:
    """Yield every passage of the Python files of `packages`, in the order of their paths and lines."""
    for package in packages:
        files = [root / package] if package.endswith(".py") else sorted((root / package).rglob("*.py"))
        for file in files:
            if not file.name.endswith(_GENERATED):
                source = file.read_text("utf-8")
                yield from _python(source, file.relative_to(root).as_posix())


def page_lines(root: Path) -> Iterator[Passage]:
    """Yield the lines of documentation, report templates and bundled profiles that hold words."""
    for pattern in PAGES:
        for file in sorted(root.glob(pattern)):
            for number, line in enumerate(file.read_text("utf-8").splitlines(), 1):
                if line.strip():
                    yield Passage(Kind.PAGE, file.relative_to(root).as_posix(), number, line.strip())


def _python(source: str, path: str) -> Iterator[Passage]:
    tree = ast.parse(source)
    documented = dict(_docstrings(tree))
    found = [
        Passage(Kind.DOCSTRING, path, node.lineno, _one_line(node.value), name) for node, name in documented.items()
    ]
    found += [Passage(Kind.NAME, path, line, name) for line, name in _names(tree)]
    found += [Passage(Kind.TEXT, path, line, text) for line, text in _texts(tree, set(documented))]
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        comment = token.string.lstrip("#! ")
        if token.type == tokenize.COMMENT and not comment.startswith(("type:", "noqa", "pragma:")):
            found.append(Passage(Kind.COMMENT, path, token.start[0], comment))
    yield from sorted(found, key=lambda passage: (passage.line, passage.kind))


def _docstrings(tree: ast.Module) -> Iterator[tuple[ast.Constant, str]]:
    """Yield the docstrings of modules, classes and functions, and those that follow an attribute."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if not isinstance(body, list):
            continue
        for place, statement in enumerate(body):
            if not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):
                continue
            constant = statement.value
            if not isinstance(constant.value, str):
                continue
            before = body[place - 1] if place else None
            if before is None:
                yield constant, getattr(node, "name", "(module)")
            elif isinstance(before, ast.Assign | ast.AnnAssign):
                target = before.targets[0] if isinstance(before, ast.Assign) else before.target
                yield constant, ast.unparse(target)


def _names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield each name where it is defined: classes, functions, parameters, variables and fields."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg) and node.arg not in ("self", "cls"):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id != "_":
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.end_lineno or node.lineno, node.attr


def _texts(tree: ast.Module, docstrings: set[ast.Constant]) -> Iterator[tuple[int, str]]:
    """Yield string literals that hold more than one word, with `{…}` for what an f-string fills in."""
    parts = {part for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            text = "".join(
                str(part.value) if isinstance(part, ast.Constant) else "{" + ast.unparse(part.value)[:40] + "}"
                for part in node.values
                if isinstance(part, ast.Constant | ast.FormattedValue)
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docstrings | parts:
            text = node.value
        else:
            continue
        text = _one_line(text)
        if not _NOT_PROSE.match(text):
            yield node.lineno, text


def _one_line(text: object) -> str:
    return " ".join(str(text).split())
