from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from app import __version__
from app.errors import UsageError
from app.records.selftest import SelfTest, build_finding, build_selftest
from app.storage.calibrations import get_selftest_path, load_selftest, store_selftest


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def of(seen: float) -> SelfTest:
    findings = (build_finding("clock", "backward steps", seen, high=0.0, unit=None),)
    return build_selftest(findings, at="2026-01-02T12:00:00+00:00", tool=__version__, fingerprint="f", duration_s=1.0)


def test_the_last_one_stands_whether_it_passed_or_not() -> None:
    assert load_selftest("f") is None
    store_selftest(of(0.0))
    store_selftest(of(3.0))
    found = load_selftest("f")
    assert found == of(3.0)
    assert found is not None
    assert not found.passed


def test_one_of_another_machine_or_version_proves_nothing_here() -> None:
    store_selftest(of(0.0))
    assert load_selftest("g") is None
    store_selftest(replace(of(0.0), tool="0.0.1"))
    assert load_selftest("f") is None


@pytest.mark.parametrize("content", ["", "{}", "[" * 100_000, '{"id": 3}'])
def test_what_cannot_be_read_counts_as_none(home: Path, content: str) -> None:
    home.mkdir()
    get_selftest_path().write_text(content)
    assert load_selftest("f") is None


def test_a_home_that_cannot_be_written_is_reported(home: Path) -> None:
    home.write_text("a file")
    with pytest.raises(UsageError, match="cannot be written"):
        store_selftest(of(0.0))
