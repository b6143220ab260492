"""Each check passes on parts that tell the truth, and fails on the part that lies; no other fails with it."""

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
from tests.fakes.selftest import QueueingLoad, Servers, TickingClock, true_parts


def test_what_is_expected_is_what_a_queue_gives_played_request_by_request(tmp_path: Path) -> None:
    parts = true_parts(tmp_path)
    with parts.open_store() as store:  # type: ignore[attr-defined]
        bench = SelfTestBench(parts, parts.start_load_generator(), store, LimitMonitor(LimitSpec(), 0), Interruption())
        p95, p99, from_send = check_stall(bench)
    assert p95.observed == pytest.approx(1e3 * compute_expected_latency_s(0.95), rel=0.005)
    assert p99.observed == pytest.approx(1e3 * compute_expected_latency_s(0.99), rel=0.005)
    assert from_send.observed == 50.0


CHECKS = ["percentiles", "generator capacity", "stall", "injection", "store", "clock"]


def proved(folder: Path, **changed: Any) -> SelfTest:
    found = run_selftest(true_parts(folder, **changed), Interruption(), lambda _: None)
    assert found is not None
    return found


def test_an_instrument_that_reports_the_truth_passes(tmp_path: Path) -> None:
    found = proved(tmp_path)
    assert [one.what for one in found.findings if not one.passed] == []
    assert found.passed
    assert [*dict.fromkeys(one.check for one in found.findings)] == CHECKS
    assert all(one.attempts == 1 for one in found.findings)


def rounded(values: npt.NDArray[np.float64]) -> dict[str, Estimate]:
    """As Locust keeps times: two digits of them."""
    return compute_distribution(np.array([float(f"{value:.2g}") for value in values]))


def interpolated(values: npt.NDArray[np.float64]) -> dict[str, Estimate]:
    """Between two points of a distribution that has nothing between them."""
    return {name: replace(one, value=(one.value or 0) * 1.002) for name, one in compute_distribution(values).items()}


def too_sure(values: npt.NDArray[np.float64]) -> dict[str, Estimate]:
    def narrowed(one: Estimate) -> Estimate:
        if one.value is None or one.ci95 is None:
            return one
        low, high = one.ci95
        return replace(one, ci95=(one.value - (one.value - low) / 2, one.value + (high - one.value) / 2))

    return {name: narrowed(one) for name, one in compute_distribution(values).items()}


class LosesRows(StoredRun):
    """The last one, of a run that was cut."""

    def requests(
        self,
        excluded_columns: Collection[str] = (),
        damage: list[DamagedFileError] | None = None,
        intact_bytes: int | None = None,
    ) -> pa.Table:
        table = super().requests(excluded_columns, damage, intact_bytes)
        return table.slice(0, table.num_rows - 1) if self.directory.name.startswith("cut") else table


class CannotReadWhatWasCut(StoredRun):
    def events(self, intact_bytes: int | None = None) -> list[Event]:
        lines = (self.directory / "events.jsonl").read_bytes()
        if lines and not lines.endswith(b"\n"):
            raise OSError("interrupted")
        return super().events(intact_bytes)


def clock_set_back() -> Any:
    """By a second, at the 5,000th reading of the check: it has no end before."""
    clock = TickingClock()
    read = 0

    def now_ns() -> int:
        nonlocal read
        read += 1
        return clock() - (10**9 if read > 5_000 else 0)

    return now_ns


def wall_clock_set() -> Any:
    """By a minute, between the two readings."""
    readings = iter([ClockReading(0, 10**18, 0), ClockReading(10**12, 10**18 + 10**12 + 60 * 10**9, 10**12)])
    return lambda: next(readings)


def suspended() -> Any:
    readings = iter([ClockReading(0, 10**18, 0), ClockReading(10**12, 10**18 + 10**12, 10**12 + 3 * 10**9)])
    return lambda: next(readings)


def of_another_base() -> Any:
    """As if the workers read another clock than we do."""
    readings = iter([ClockReading(0, 10**18, 0), ClockReading(10**8, 10**18 + 10**8, 10**8)])
    return lambda: next(readings)


@pytest.mark.parametrize(
    ("changed", "check", "what"),
    [
        pytest.param({"estimate_percentiles": rounded}, "percentiles", "largest error", marks=pytest.mark.soak),
        ({"estimate_percentiles": interpolated}, "percentiles", "largest error"),
        ({"estimate_percentiles": too_sure}, "percentiles", "coverage of the 95 % CI"),
        ({"per_s": 700.0}, "generator capacity", "max rate to a no-op server"),
        pytest.param({"omits": True}, "stall", "p95 latency", marks=pytest.mark.soak),
        ({"servers": Servers(lambda script: replace(script, freeze_s=0.0))}, "stall", "p99 latency"),
        ({"open_run": LosesRows}, "store", "read errors"),
        pytest.param({"open_run": CannotReadWhatWasCut}, "store", "read errors", marks=pytest.mark.soak),
        ({"now_ns": clock_set_back()}, "clock", "backward steps"),
        pytest.param({"now_ns": lambda: 7}, "clock", "resolution", marks=pytest.mark.soak),
        ({"read_clock": wall_clock_set()}, "clock", "drift from the wall clock"),
        pytest.param({"read_clock": suspended()}, "clock", "suspended", marks=pytest.mark.soak),
        pytest.param({"read_clock": of_another_base()}, "clock", "outside the test", marks=pytest.mark.soak),
    ],
)
def test_what_lies_is_found_out_and_nothing_else_with_it(
    tmp_path: Path, changed: dict[str, Any], check: str, what: str
) -> None:
    found = proved(tmp_path, **changed)
    failed = [one for one in found.findings if not one.passed]
    assert {one.check for one in failed} == {check}
    assert any(what in one.what for one in failed)
    assert not found.passed
    assert found.summarize().failed == (check,)


def test_lies_of_several_parts_are_each_found_out(tmp_path: Path) -> None:
    """Those that the soak tier tells one by one."""
    readings = iter([ClockReading(0, 10**18, 0), ClockReading(10**8, 10**18 + 10**8, 10**8 + 3 * 10**9)])
    found = proved(
        tmp_path, omits=True, open_run=CannotReadWhatWasCut, now_ns=lambda: 7, read_clock=lambda: next(readings)
    )
    failed = {(one.check, one.what.partition(" in ")[0]) for one in found.findings if not one.passed}
    assert failed >= {
        ("stall", "p95 latency of a server frozen for 1 s"),
        ("store", "read errors"),
        ("clock", "resolution"),
        ("clock", "time suspended"),
        ("clock", "timestamps outside the test"),
    }


@pytest.mark.parametrize(
    ("lie", "what"),
    [
        (lambda script: replace(script, delay_s=min(script.delay_s, 0.05)), "added by an injected delay"),
        (lambda script: replace(script, delay_s=script.delay_s + 0.006), "overhead above the server's"),
        (lambda script: replace(script, delay_s=script.delay_s - 0.001), "overhead above the server's"),
    ],
    ids=["capped", "slower", "faster than it can be"],
)
def test_a_server_that_lies_about_its_delay_is_found_out(tmp_path: Path, lie: Any, what: str) -> None:
    failed = [one for one in proved(tmp_path, servers=Servers(lie)).findings if not one.passed]
    assert any(one.check == "injection" and what in one.what for one in failed)


def test_answers_that_nobody_reports_of_are_missed(tmp_path: Path) -> None:
    failed = [one for one in proved(tmp_path, loses=1).findings if not one.passed]
    assert "responses received" in {one.what for one in failed if one.check == "injection"}


def test_a_busy_moment_is_forgiven_once(tmp_path: Path) -> None:
    moments = iter([0.3])

    def busy_once(script: Script) -> Script:
        return replace(script, delay_s=script.delay_s + next(moments, 0.0))

    found = proved(tmp_path, servers=Servers(busy_once))
    assert found.passed
    assert {one.check for one in found.findings if one.attempts == 2} == {"stall"}


def test_everything_started_is_closed_when_the_workers_are_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers = Servers()
    parts = true_parts(tmp_path, servers=servers)
    load = parts.start_load_generator()
    assert isinstance(load, QueueingLoad)

    def lost(*_: object) -> Any:
        raise LoadError("the worker was lost", hint="look")

    monkeypatch.setattr(load, "run_stage", lost)
    with pytest.raises(MeasurementError, match="was lost"):
        run_selftest(replace(parts, start_load_generator=lambda: load), Interruption(), lambda _: None)
    assert load.is_closed
    assert all(server.is_closed for server in servers.started)


def test_one_that_was_interrupted_proves_nothing(tmp_path: Path) -> None:
    interruption = Interruption()
    looked_at: list[str] = []

    def on_check(name: str) -> None:
        looked_at.append(name)
        if name == "generator capacity":
            interruption.code = ExitCode.INTERRUPTED

    assert run_selftest(true_parts(tmp_path), interruption, on_check) is None
    assert looked_at == CHECKS[:2]
