"""Files that a profile, a model or an import names are read through one function, which refuses devices and pipes."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = (
    "app/inference",
    "app/profiles",
    "app/storage/foreign",
    "loadgen/payloads",
    "loadgen/protocols",
    "loadgen/transport",
)
OTHER_READS = {
    "app/inference/generation/gguf_conversion.py": "its own cache",
    "app/inference/inspection/limits.py": "/proc of this process",
    "app/inference/memory.py": "/proc of this process",
    "app/inference/precision/conversion.py": "its own cache",
    "app/inference/precision/conversion_records.py": "/proc of this process",
    "app/inference/precision/recipe.py": "/proc of this machine",
    "app/profiles/ci_job.py": "the file that the command would write",
    "app/profiles/document.py": "a file that the user names, at most 1 MiB; a pipe is useful there",
    "app/profiles/pricing/catalog.py": "the stored price list",
    "app/profiles/pricing/csv_rows.py": "bundled tables",
    "app/profiles/pricing/currencies.py": "bundled exchange rates",
    "app/profiles/trace_spans.py": "a file that the user names, at most 1 GiB; a pipe is useful there",
    "app/profiles/url_profile.py": "a file that the user names, at most 1 MiB; a pipe is useful there",
}
"""Files that read other files in their own way, and what those are."""


def _find_reads(source: str) -> Iterator[str]:
    """Yield each call that opens a file by its path for reading."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        modes = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
        is_read = all(isinstance(mode, str) and mode[:1] == "r" and "+" not in mode for mode in modes[-1:])
        match node.func:
            case ast.Name(id="open") if is_read:
                yield ast.unparse(node)
            case ast.Attribute(attr="open", value=value) if is_read and not _is_no_path(value, node):
                yield ast.unparse(node)
            case ast.Attribute(attr="read_bytes" | "read_text"):
                yield ast.unparse(node)


def _is_no_path(value: ast.expr, call: ast.Call) -> bool:
    """Return whether `open` is a method of something other than a path: a zip file, a URL opener, a dialog."""
    takes_path = bool(call.args) and not isinstance(call.args[0], ast.Constant)
    return takes_path or ast.unparse(value).endswith(("_dialog", "opener"))


def test_every_call_that_opens_file_is_detected() -> None:
    reading_calls = [
        "open('a', 'rb')",
        "path.open('rb')",
        "path.open(encoding='utf-8')",
        "Path(a).read_text()",
        "p.read_bytes()",
    ]
    for call in reading_calls:
        assert list(_find_reads(call)) == [call]
    for call in ("path.open('wb')", "path.open('r+b')", "archive.open(member)", "open_regular(path)"):
        assert list(_find_reads(call)) == []


def test_user_files_are_read_through_one_function() -> None:
    reading_files = {
        str(path.relative_to(ROOT))
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*.py")
        if any(_find_reads(path.read_text(encoding="utf-8")))
    }
    assert reading_files == set(OTHER_READS)
