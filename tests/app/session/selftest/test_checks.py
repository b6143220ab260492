"""Each check passes on correct components and fails on its faulty component; no other check fails with it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from msgspec.structs import replace

from app.analysis.estimates import compute_distribution
from app.errors import DamagedFileError, ExitCode, MeasurementError
from app.records.events import Event
from app.records.result import Estimate
from app.records.selftest import SelfTest
from app.session.interruption import Interruption
from app.session.limits import LimitMonitor
from app.session.selftest.bench import SelfTestBench
from app.session.selftest.checks import check_stall, compute_expected_latency_s, run_selftest
from app.session.spec import LimitSpec
from app.storage.run_directory import StoredRun
from app.telemetry.clock import ClockReading
from loadgen.process import LoadError
from loadgen.reference.script import Script
from tests.fakes.selftest import QueueingLoad, Servers, TickingClock, selftest_dependencies


def test_expected_stall_percentiles_match_a_simulated_queue(tmp_path: Path) -> None:
    dependencies = selftest_dependencies(tmp_path)
    with dependencies.open_store() as store:  # type: ignore[attr-defined]
        bench = SelfTestBench(
            dependencies, dependencies.start_load_generator(), store, LimitMonitor(LimitSpec(), 0), Interruption()
        )
        p95, p99, from_send = check_stall(bench)
    assert p95.observed == pytest.approx(1e3 * compute_expected_latency_s(0.95), rel=0.005)
    assert p99.observed == pytest.approx(1e3 * compute_expected_latency_s(0.99), rel=0.005)
    assert from_send.observed == 50.0


CHECKS = ["percentiles", "generator capacity", "stall", "injection", "store", "clock"]


def run_checks(folder: Path, **changed: Any) -> SelfTest:
    selftest = run_selftest(selftest_dependencies(folder, **changed), Interruption(), lambda _: None)
    assert selftest is not None
    return selftest


def test_selftest_of_correct_components_passes(tmp_path: Path) -> None:
    selftest = run_checks(tmp_path)
    assert [finding.what for finding in selftest.findings if not finding.passed] == []
    assert selftest.passed
    assert [*dict.fromkeys(finding.check for finding in selftest.findings)] == CHECKS
    assert all(finding.attempts == 1 for finding in selftest.findings)


def estimate_rounded(values: npt.NDArray[np.float64]) -> dict[str, Estimate]:
    """Return percentiles of values that are rounded to two digits, as Locust stores times."""
    return compute_distribution(np.array([float(f"{value:.2g}") for value in values]))


def estimate_interpolated(values: npt.NDArray[np.float64]) -> dict[str, Estimate]:
    """Return percentiles that lie between two points of a distribution without values between them."""
    return {
        name: replace(estimate, value=(estimate.value or 0) * 1.002)
        for name, estimate in compute_distribution(values).items()
    }


def estimate_narrowed(values: npt.NDArray[np.float64]) -> dict[str, Estimate]:
    def narrowed(estimate: Estimate) -> Estimate:
        if estimate.value is None or estimate.ci95 is None:
            return estimate
        low, high = estimate.ci95
        return replace(
            estimate, ci95=(estimate.value - (estimate.value - low) / 2, estimate.value + (high - estimate.value) / 2)
        )

    return {name: narrowed(percentile) for name, percentile in compute_distribution(values).items()}


class LosesRows(StoredRun):
    """Loses the last row of a run that was cut off."""

    def requests(
        self,
        excluded_columns: Collection[str] = (),
        damage: list[DamagedFileError] | None = None,
        intact_bytes: int | None = None,
    ) -> pa.Table:
        table = super().requests(excluded_columns, damage, intact_bytes)
        return table.slice(0, table.num_rows - 1) if self.directory.name.startswith("cut") else table


class FailsToReadCutEvents(StoredRun):
    def events(self, intact_bytes: int | None = None) -> list[Event]:
        lines = (self.directory / "events.jsonl").read_bytes()
        if lines and not lines.endswith(b"\n"):
            raise OSError("interrupted")
        return super().events(intact_bytes)


def clock_set_back() -> Any:
    """Return a clock that is set back by 1 s at the 5,000th reading, which is within the check."""
    clock = TickingClock()
    read = 0

    def now_ns() -> int:
        nonlocal read
        read += 1
        return clock() - (10**9 if read > 5_000 else 0)

    return now_ns


def wall_clock_set() -> Any:
    """Return clocks whose wall clock is set by a minute between the two readings."""
    readings = iter([ClockReading(0, 10**18, 0), ClockReading(10**12, 10**18 + 10**12 + 60 * 10**9, 10**12)])
    return lambda: next(readings)


def suspended() -> Any:
    readings = iter([ClockReading(0, 10**18, 0), ClockReading(10**12, 10**18 + 10**12, 10**12 + 3 * 10**9)])
    return lambda: next(readings)


def clock_with_another_base() -> Any:
    """Return a clock that differs from the clock of the workers."""
    readings = iter([ClockReading(0, 10**18, 0), ClockReading(10**8, 10**18 + 10**8, 10**8)])
    return lambda: next(readings)


@pytest.mark.parametrize(
    ("changed", "check", "what"),
    [
        pytest.param(
            {"estimate_percentiles": estimate_rounded}, "percentiles", "largest error", marks=pytest.mark.soak
        ),
        ({"estimate_percentiles": estimate_interpolated}, "percentiles", "largest error"),
        ({"estimate_percentiles": estimate_narrowed}, "percentiles", "coverage of the 95 % CI"),
        ({"per_s": 700.0}, "generator capacity", "max rate to a no-op server"),
        pytest.param({"omits": True}, "stall", "p95 latency", marks=pytest.mark.soak),
        ({"servers": Servers(lambda script: replace(script, freeze_s=0.0))}, "stall", "p99 latency"),
        ({"open_run": LosesRows}, "store", "read errors"),
        pytest.param({"open_run": FailsToReadCutEvents}, "store", "read errors", marks=pytest.mark.soak),
        ({"now_ns": clock_set_back()}, "clock", "backward steps"),
        pytest.param({"now_ns": lambda: 7}, "clock", "resolution", marks=pytest.mark.soak),
        ({"read_clock": wall_clock_set()}, "clock", "drift from the wall clock"),
        pytest.param({"read_clock": suspended()}, "clock", "suspended", marks=pytest.mark.soak),
        pytest.param({"read_clock": clock_with_another_base()}, "clock", "outside the test", marks=pytest.mark.soak),
    ],
)
def test_faulty_component_fails_only_its_own_selftest_check(
    tmp_path: Path, changed: dict[str, Any], check: str, what: str
) -> None:
    selftest = run_checks(tmp_path, **changed)
    failed = [finding for finding in selftest.findings if not finding.passed]
    assert {finding.check for finding in failed} == {check}
    assert any(what in finding.what for finding in failed)
    assert not selftest.passed
    assert selftest.summarize().failed == (check,)


def test_selftest_detects_faults_of_several_components(tmp_path: Path) -> None:
    """The faults that the soak tier injects one at a time."""
    readings = iter([ClockReading(0, 10**18, 0), ClockReading(10**8, 10**18 + 10**8, 10**8 + 3 * 10**9)])
    selftest = run_checks(
        tmp_path, omits=True, open_run=FailsToReadCutEvents, now_ns=lambda: 7, read_clock=lambda: next(readings)
    )
    failed = {(finding.check, finding.what.partition(" in ")[0]) for finding in selftest.findings if not finding.passed}
    assert failed >= {
        ("stall", "p95 latency of a server frozen for 1 s"),
        ("store", "read errors"),
        ("clock", "resolution"),
        ("clock", "time suspended"),
        ("clock", "timestamps outside the test"),
    }


@pytest.mark.parametrize(
    ("change_script", "what"),
    [
        (lambda script: replace(script, delay_s=min(script.delay_s, 0.05)), "added by an injected delay"),
        (lambda script: replace(script, delay_s=script.delay_s + 0.006), "overhead above the server's"),
        (lambda script: replace(script, delay_s=script.delay_s - 0.001), "overhead above the server's"),
    ],
    ids=["capped", "slower", "faster than it can be"],
)
def test_selftest_detects_a_server_with_a_wrong_injected_delay(tmp_path: Path, change_script: Any, what: str) -> None:
    failed = [
        finding for finding in run_checks(tmp_path, servers=Servers(change_script)).findings if not finding.passed
    ]
    assert any(finding.check == "injection" and what in finding.what for finding in failed)


def test_selftest_detects_unreported_responses(tmp_path: Path) -> None:
    failed = [finding for finding in run_checks(tmp_path, loses=1).findings if not finding.passed]
    assert "responses received" in {finding.what for finding in failed if finding.check == "injection"}


def test_selftest_check_disturbed_once_is_repeated_and_passes(tmp_path: Path) -> None:
    moments = iter([0.3])

    def busy_once(script: Script) -> Script:
        return replace(script, delay_s=script.delay_s + next(moments, 0.0))

    selftest = run_checks(tmp_path, servers=Servers(busy_once))
    assert selftest.passed
    assert {finding.check for finding in selftest.findings if finding.attempts == 2} == {"stall"}


def test_selftest_closes_load_generator_and_servers_after_a_lost_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers = Servers()
    dependencies = selftest_dependencies(tmp_path, servers=servers)
    load = dependencies.start_load_generator()
    assert isinstance(load, QueueingLoad)

    def lost(*_: object) -> Any:
        raise LoadError("the worker was lost", hint="look")

    monkeypatch.setattr(load, "run_stage", lost)
    with pytest.raises(MeasurementError, match="was lost"):
        run_selftest(replace(dependencies, start_load_generator=lambda: load), Interruption(), lambda _: None)
    assert load.is_closed
    assert all(server.is_closed for server in servers.started)


def test_interrupted_selftest_has_no_result(tmp_path: Path) -> None:
    interruption = Interruption()
    started_checks: list[str] = []

    def on_check(name: str) -> None:
        started_checks.append(name)
        if name == "generator capacity":
            interruption.code = ExitCode.INTERRUPTED

    assert run_selftest(selftest_dependencies(tmp_path), interruption, on_check) is None
    assert started_checks == CHECKS[:2]
