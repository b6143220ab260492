"""Colors, font sizes and spaces in the window's source that are written out instead of named in `app/gui/theme.py`
or `app/gui/charts/pens.py`.

`python -m tests.checks.window_style [ROOT]` prints them with their places.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

WINDOW = Path("app/gui")
STYLE_MODULES = (WINDOW / "theme.py", WINDOW / "charts" / "pens.py")
"""The theme, and the colors and patterns of what charts show."""
_COLOR = re.compile(r"#(?:[0-9a-f]{3}|[0-9a-f]{6}|[0-9a-f]{8})\b|\brgba?\(", re.IGNORECASE)
_FONT_SIZE = re.compile(r"\bfont(?:-size)?\s*:")
_COLOR_CALLS = frozenset({"QColor", "fromRgb", "mkColor"})
_FONT_CALLS = frozenset({"setPointSize", "setPointSizeF", "setPixelSize"})
_SPACE_CALLS = frozenset(
    {"setContentsMargins", "setSpacing", "setHorizontalSpacing", "setVerticalSpacing", "FlowLayout", "set_flow_layout"}
)
_SPACE_KEYWORDS = frozenset({"spacing", "margins", "gap", "line_gap"})


def literal_styles(root: Path) -> list[str]:
    """Places of colors and font sizes: an `#rrggbb`, a style sheet's font size, or a call that sets either."""
    return [place for path in _sources(root) for place in _places(path, root)[0]]


def literal_spaces(root: Path) -> list[str]:
    """Places of margins and spaces that are numbers. 0 needs no name."""
    return [place for path in _sources(root) for place in _places(path, root)[1]]


def _sources(root: Path) -> Iterator[Path]:
    yield from (path for path in sorted((root / WINDOW).rglob("*.py")) if path.relative_to(root) not in STYLE_MODULES)


@cache
def _places(path: Path, root: Path) -> tuple[list[str], list[str]]:
    """Places of styles, and of spaces. Parsing is what takes time here."""
    nodes = _expressions(path)
    return _list_places(path, root, filter(_is_style, nodes)), _list_places(path, root, filter(_is_space, nodes))


def _list_places(path: Path, root: Path, nodes: Iterable[ast.expr]) -> list[str]:
    return [f"{path.relative_to(root).as_posix()}:{line}" for line in sorted({node.lineno for node in nodes})]


def _expressions(path: Path) -> list[ast.expr]:
    """All calls and constants of a file but its docstrings."""
    nodes = list(ast.walk(ast.parse(path.read_text("utf-8"))))
    documented = {id(node.value) for node in nodes if isinstance(node, ast.Expr) and _is_text_or_number(node.value)}
    return [node for node in nodes if isinstance(node, ast.Call | ast.Constant) and id(node) not in documented]


def _is_style(node: ast.expr) -> bool:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return bool(_COLOR.search(node.value) or _FONT_SIZE.search(node.value))
    if not isinstance(node, ast.Call):
        return False
    name = _name(node.func)
    is_color = name in _COLOR_CALLS and any(map(_is_text_or_number, node.args))
    return is_color or name in _FONT_CALLS


def _is_space(node: ast.expr) -> bool:
    if not isinstance(node, ast.Call):
        return False
    named = [keyword.value for keyword in node.keywords if keyword.arg in _SPACE_KEYWORDS]
    values = [*named, *(node.args if _name(node.func) in _SPACE_CALLS else [])]
    return any(_has_number(value) for value in values)


def _has_number(value: ast.expr) -> bool:
    parts = value.elts if isinstance(value, ast.Tuple) else [value]
    return any(isinstance(part, ast.Constant) and type(part.value) is int and part.value != 0 for part in parts)


def _is_text_or_number(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and isinstance(value.value, (str, int))


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


if __name__ == "__main__":
    place = Path(sys.argv[1]) if len(sys.argv) > 1 else Path.cwd()
    print("\n".join([*literal_styles(place), *literal_spaces(place)]))
