"""The self-test checks the load generator with its real parts, and later runs and reports refer to it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from app import __version__
from app.records.selftest import build_finding, build_selftest
from app.session.interruption import Interruption
from app.session.limits import LimitMonitor
from app.session.selftest.bench import SelfTestBench
from app.session.selftest.checks import check_injection
from app.session.spec import LimitSpec
from app.storage.calibrations import store_selftest
from app.wiring.machine import read_machine_info
from app.wiring.selftest import build_selftest_dependencies, start_script
from loadgen.reference.script import Script
from loadgen.reference.scripted import ScriptedServer
from tests.fakes.program import Sizewise, SizewiseInProcess

pytestmark = pytest.mark.process

TIMED = {"stall", "injection", "generator capacity"}
"""Checks that fail on a busy machine."""


@pytest.fixture
def own_home(calibrated_home: Path, tmp_path: Path) -> Sizewise:
    """A home whose self-test does not affect the runs of other tests."""
    shutil.copy(calibrated_home / "calibration.json", tmp_path)
    return Sizewise(tmp_path, tmp_path, draws=False)


def test_stored_self_test_is_in_results_and_reports(
    own_home: Sizewise, profile: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(own_home.home))
    fingerprint = read_machine_info().environment.fingerprint
    findings = (build_finding("clock", "backward steps", 0.0, high=0.0, unit=None),)
    at = "2026-10-28T12:00:00+00:00"
    stored = build_selftest(findings, at=at, tool=__version__, fingerprint=fingerprint, duration_s=50.0)
    store_selftest(stored)
    with ScriptedServer(Script(delay_s=0.005)) as server:
        completed = SizewiseInProcess(own_home.home, tmp_path, draws=False)(
            "run", profile(server.url, duration="0.3s"), "--out", str(tmp_path / "run")
        )
    selftest = own_home.result(tmp_path / "run")["selftest"]
    assert (selftest["id"], selftest["passed"], selftest["failed"]) == (stored.id, True, []), completed.stderr
    assert f"self-test {stored.id}" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.soak
def test_last_self_test_is_in_results_and_reports(
    own_home: Sizewise, profile: Callable[..., str], tmp_path: Path
) -> None:
    done = own_home("selftest", "--json")
    assert done.stdout, done.stderr
    proof = json.loads(done.stdout)
    failed = {finding["check"] for finding in proof["findings"] if not finding["passed"]}
    assert failed <= TIMED, done.stdout
    assert done.returncode == (4 if failed else 0)
    assert {finding["check"] for finding in proof["findings"]} == {"percentiles", "store", "clock", *TIMED}
    with ScriptedServer(Script(delay_s=0.005)) as server:
        completed = SizewiseInProcess(own_home.home, tmp_path, draws=False)(
            "run", profile(server.url, duration="1s"), "--out", str(tmp_path / "run")
        )
    selftest = own_home.result(tmp_path / "run")["selftest"]
    assert (selftest["id"], selftest["passed"], set(selftest["failed"])) == (proof["id"], not failed, failed), (
        completed.stderr
    )
    assert f"self-test {proof['id']}" in (tmp_path / "run" / "report.html").read_text()


def test_self_test_detects_wrong_server_delay(tmp_path: Path) -> None:
    """The server responds at once, whatever its configured delay, on a busy machine, too."""
    parts = replace(build_selftest_dependencies("f", tmp_path), start_scripted=lambda _: start_script(Script()))
    load, store = parts.start_load_generator(), parts.open_store()
    try:
        limits = LimitMonitor(LimitSpec(duration_s=30.0), parts.now_ns())
        findings = [*check_injection(SelfTestBench(parts, load, store, limits, Interruption()))]
    finally:
        load.close()
        store.close()
    added, beyond, answers = findings
    assert not added.passed
    assert not beyond.passed
    assert answers.passed
