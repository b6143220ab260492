from __future__ import annotations

import pytest

from app.records.calibration import CalibrationStep, LoadKind
from app.session.rungs import TRIALS, try_rate
from app.telemetry.core_use import CoreUse
from loadgen.records import Endpoint, LoadWorker
from tests.fakes.generator import FakeMachine, FakeNullServer, LimitedLoad, nobody_knows


def tried(kind: LoadKind, load: LimitedLoad, rate_per_s: float, cores: float | None = 0.3) -> CalibrationStep:
    load.configure(Endpoint(("http://127.0.0.1:9/",)), TRIALS[kind].workload)
    return try_rate(TRIALS[kind], load, [FakeNullServer(cores), FakeNullServer(None)], nobody_knows, rate_per_s)


def test_a_rung_that_is_sent_in_time_holds() -> None:
    rung = tried("plain", LimitedLoad(50_000.0), 8_000.0)
    assert rung.held
    assert rung.achieved_per_s == pytest.approx(8_000, rel=0.05)
    assert rung.late_share == 0
    assert not rung.is_against_generator


def test_one_that_is_sent_late_does_not() -> None:
    rung = tried("plain", LimitedLoad(7_000.0), 8_000.0)
    assert not rung.held
    assert rung.late_share > 0.5
    assert rung.lag_p99_ms > 50


@pytest.mark.parametrize(("cores", "is_against"), [(0.3, True), (None, True), (2.0, False)])
def test_a_server_that_was_at_its_limit_is_an_excuse(cores: float | None, is_against: bool) -> None:
    rung = tried("plain", LimitedLoad(7_000.0), 8_000.0, cores)
    assert rung.is_against_generator is is_against
    assert (rung.server_cpu_cores is None) == (cores is None)


def test_chunks_count_by_themselves_however_punctual_the_requests_are() -> None:
    held = tried("streaming", LimitedLoad(1e6, 50_000.0), 32_000.0)
    assert held.held
    assert held.achieved_per_s == pytest.approx(32_000, rel=0.1)
    late = tried("streaming", LimitedLoad(1e6, 30_000.0), 32_000.0)
    assert late.lag_p99_ms == 0
    assert late.late_share > 0.3
    assert not late.held


@pytest.mark.parametrize(("cut_off", "held"), [(0, True), (1_000, True), (50, False), (1, False)])
def test_an_answer_without_its_end_is_late_as_a_whole(cut_off: int, held: bool) -> None:
    rung = tried("streaming", LimitedLoad(1e6, 1e9, cut_off=cut_off), 32_000.0)
    assert rung.held is held
    assert rung.late_share == pytest.approx(1 / cut_off if cut_off else 0.0, abs=0.001)


def beside(machine: FakeMachine, load: LimitedLoad) -> CalibrationStep:
    load.configure(Endpoint(("http://127.0.0.1:9/",)), TRIALS["plain"].workload)
    return try_rate(TRIALS["plain"], load, [FakeNullServer(0.3)], machine, 8_000.0)


def test_what_all_others_use_is_told_without_what_is_ours() -> None:
    machine = FakeMachine(1.25, idle=0.2)
    workers = tuple(LoadWorker(index, "here", 100 + index, is_local=True) for index in range(2))
    rung = beside(machine, LimitedLoad(7_000.0, workers=workers))
    assert rung.other_cores == pytest.approx(1.25)
    assert rung.idle_cores == pytest.approx(0.2)
    assert set(machine.pids) == {LimitedLoad.pid, 100, 101}


@pytest.mark.parametrize(
    ("others", "idle", "is_against"), [(0.25, 0.0, True), (0.35, 0.0, False), (0.35, 0.9, False), (2.0, 1.1, True)]
)
def test_others_are_an_excuse_where_they_left_no_core(others: float, idle: float, is_against: bool) -> None:
    rung = beside(FakeMachine(others, idle=idle), LimitedLoad(7_000.0))
    assert rung.is_against_generator is is_against
    assert rung.is_disturbed is not is_against


def test_what_cannot_be_read_is_no_excuse() -> None:
    for machine in (nobody_knows, lambda _: CoreUse(1, 0.0, 0.0, None)):
        load = LimitedLoad(7_000.0)
        load.configure(Endpoint(("http://127.0.0.1:9/",)), TRIALS["plain"].workload)
        rung = try_rate(TRIALS["plain"], load, [FakeNullServer(0.3)], machine, 8_000.0)
        assert (rung.other_cores, rung.is_against_generator) == (None, True)
    load.configure(Endpoint(("http://127.0.0.1:9/",)), TRIALS["plain"].workload)
    rung = try_rate(TRIALS["plain"], load, [FakeNullServer(None)], FakeMachine(2.0), 8_000.0)
    assert (rung.other_cores, rung.is_against_generator) == (None, True), "nor where a server's share is not known"
