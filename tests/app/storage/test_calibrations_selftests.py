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


def build_result(observed: float) -> SelfTest:
    findings = (build_finding("clock", "backward steps", observed, high=0.0, unit=None),)
    return build_selftest(findings, at="2026-01-02T12:00:00+00:00", tool=__version__, fingerprint="f", duration_s=1.0)


def test_latest_selftest_is_loaded_even_if_a_check_failed() -> None:
    assert load_selftest("f") is None
    store_selftest(build_result(0.0))
    store_selftest(build_result(3.0))
    loaded = load_selftest("f")
    assert loaded == build_result(3.0)
    assert loaded is not None
    assert not loaded.passed


def test_selftest_of_another_machine_or_version_is_ignored() -> None:
    store_selftest(build_result(0.0))
    assert load_selftest("g") is None
    store_selftest(replace(build_result(0.0), tool="0.0.1"))
    assert load_selftest("f") is None


@pytest.mark.parametrize("content", ["", "{}", "[" * 100_000, '{"id": 3}'])
def test_unreadable_selftest_is_ignored(home: Path, content: str) -> None:
    home.mkdir()
    get_selftest_path().write_text(content)
    assert load_selftest("f") is None


def test_unwritable_home_is_reported_when_a_selftest_is_stored(home: Path) -> None:
    home.write_text("a file")
    with pytest.raises(UsageError, match="cannot be written"):
        store_selftest(build_result(0.0))
