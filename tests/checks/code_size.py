"""Counts the files and the lines of code of the product: `python -m tests.checks.code_size`.

A line of code holds some token that is not a comment, and is not part of a docstring. Code that a tool generated
(`*_pb2.py`) does not count.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PRODUCT = ("app", "loadgen", "reports", "profiles", "sizewise.py")
LONG_LINE = 100
_NO_CODE = frozenset(
    {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
)


class CodeSize(NamedTuple):
    files: int
    lines: int
    """Of the files as they are."""
    long_lines: int
    """Lines of over 100 characters."""
    sources: list[str]

    def count_code_lines(self) -> int:
        """Count lines of code: this parses all files, which takes seconds."""
        return sum(len(_code_lines(source)) for source in self.sources)

    def __str__(self) -> str:
        long_share = self.long_lines / max(self.lines, 1)
        long_lines = f"{long_share:.1%} over {LONG_LINE} characters"
        return f"{self.files} files, {self.lines} lines, {self.count_code_lines()} of code, {long_lines}"


def code_size(root: Path) -> CodeSize:
    """Of the product in that working copy."""
    sources = [path.read_text("utf-8") for path in _product_files(root)]
    lines = [line for source in sources for line in source.splitlines()]
    return CodeSize(len(sources), len(lines), sum(len(line) > LONG_LINE for line in lines), sources)


def _product_files(root: Path) -> Iterator[Path]:
    for name in PRODUCT:
        paths = [root / name] if name.endswith(".py") else sorted((root / name).rglob("*.py"))
        yield from (path for path in paths if not path.name.endswith("_pb2.py"))


def _code_lines(source: str) -> set[int]:
    documented: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            documented.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _NO_CODE:
            code.update(range(token.start[0], token.end[0] + 1))
    return code - documented


if __name__ == "__main__":
    print(code_size(Path(sys.argv[1]) if len(sys.argv) > 1 else Path.cwd()))
