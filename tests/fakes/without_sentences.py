"""The product with a placeholder for each English sentence in its engine, as a program.

Its arguments are those of `sizewise`, or `session DIRECTORY` for a search in virtual time. Names of stages are not
sentences: they have at most three spaces, except for the name of pooled steps."""

from __future__ import annotations

import ast
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType

PLACEHOLDER = "¤"
_ROOMS = ("app/analysis/", "app/session/", "app/planning/")
_FEWEST_SPACES = 3
_POOLED_NAME = [" steps at ", " req/s"]


class _Sentences(ast.NodeTransformer):
    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        return node if isinstance(node.value, ast.Constant) else self.generic_visit(node)  # a docstring stays

    def visit_Call(self, node: ast.Call) -> ast.AST:
        is_pattern = isinstance(node.func, ast.Attribute) and node.func.attr == "compile"
        return node if is_pattern else self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        is_sentence = isinstance(node.value, str) and node.value.count(" ") >= _FEWEST_SPACES
        return ast.copy_location(ast.Constant(PLACEHOLDER), node) if is_sentence else node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        parts = [part.value for part in node.values if isinstance(part, ast.Constant)]
        is_sentence = parts != _POOLED_NAME and sum(str(part).count(" ") for part in parts) > _FEWEST_SPACES
        return ast.copy_location(ast.Constant(PLACEHOLDER), node) if is_sentence else node


_cached_code = SourceFileLoader.get_code


def _get_code(self: SourceFileLoader, fullname: str) -> CodeType | None:
    """Compile the engine's modules from source, without reading or writing a bytecode cache."""
    path = self.get_filename(fullname)
    if not any(room in Path(path).as_posix() for room in _ROOMS):
        return _cached_code(self, fullname)
    tree = ast.fix_missing_locations(_Sentences().visit(ast.parse(self.get_data(path), path)))
    return compile(tree, path, "exec", dont_inherit=True)


def main() -> int:
    SourceFileLoader.get_code = _get_code  # type: ignore[method-assign, assignment]
    if sys.argv[1] == "session":
        from tests.fakes.stored_runs import SEARCHED, stored_run

        stored_run(Path(sys.argv[2]), SEARCHED)
        return 0
    from app.__main__ import main as sizewise

    return sizewise()


if __name__ == "__main__":
    sys.exit(main())
