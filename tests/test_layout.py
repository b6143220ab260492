"""The tests mirror the source: a test file has the path of the module that it tests."""

from __future__ import annotations

import re
from graphlib import TopologicalSorter
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[1]
MIRRORED = ("app", "loadgen", "reports", "profiles")


def test_every_test_file_matches_module_or_package() -> None:
    misplaced = []
    for package in MIRRORED:
        for test in (ROOT / "tests" / package).rglob("test_*.py"):
            place = ROOT / test.parent.relative_to(ROOT / "tests")
            words = test.stem.removeprefix("test_").split("_")
            names = ["_".join(words[:count]) for count in range(1, len(words) + 1)]  # test_html_browser is of html
            modules = [place / path for name in names for path in (f"{name}.py", f"__{name}__.py", name)]
            if not any(module.exists() for module in modules):
                misplaced.append(str(test.relative_to(ROOT)))
    assert not misplaced


JSON_IS_DECODED_IN = {"loadgen/decoding.py", "reports/model.py", "app/planning/step_times/bundled.py"}
"""msgspec raises UnicodeDecodeError and RecursionError beside its own DecodeError: the first two of these handle
them, and the third reads a bundled file alone."""


def test_json_is_decoded_only_by_decoding_functions() -> None:
    violations = []
    for package in ("app", "loadgen", "reports"):
        for source in (ROOT / package).rglob("*.py"):
            name = str(source.relative_to(ROOT))
            if name not in JSON_IS_DECODED_IN and re.search(
                r"msgspec\.json\.(decode|Decoder)\b", source.read_text("utf-8")
            ):
                violations.append(name)
    assert not violations, "use loadgen.decoding.decode_json or json_decoder"


def test_modules_have_no_import_cycle() -> None:
    """Imports in functions count; those for type checkers do not."""
    graph = grimp.build_graph("app", "loadgen", "reports", exclude_type_checking_imports=True, cache_dir=None)
    TopologicalSorter({name: graph.find_modules_directly_imported_by(name) for name in graph.modules}).prepare()


def test_locks_are_installed_without_a_resolver() -> None:
    """A resolver of an old pip looks at versions outside the lock, and fails on the day that one is published."""
    sources = ("Makefile", ".github/workflows/ci.yml", "tests/servers/conftest.py")
    lines = [line for name in sources for line in (ROOT / name).read_text("utf-8").splitlines()]
    installs = [line for line in lines if "install" in line and "--require-hashes" in line]
    assert len(installs) >= 4
    assert [line for line in installs if "--no-deps" not in line] == []
