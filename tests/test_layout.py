"""The tests mirror the source: a test file stands where the module it tests stands."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]
MIRRORED = ("app", "loadgen", "reports", "profiles")


def test_every_test_file_names_a_module_or_package_of_ours() -> None:
    astray = []
    for package in MIRRORED:
        for test in (ROOT / "tests" / package).rglob("test_*.py"):
            place = ROOT / test.parent.relative_to(ROOT / "tests")
            name = test.stem.removeprefix("test_").partition("_in_")[0]  # test_html_in_a_browser is of html
            modules = (place / f"{name}.py", place / f"__{name}__.py", place / name)
            if not any(module.exists() for module in modules):
                astray.append(str(test.relative_to(ROOT)))
    assert not astray
