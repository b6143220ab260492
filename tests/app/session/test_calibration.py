from __future__ import annotations

import pytest

from app.errors import ExitCode
from app.records.calibration import CalibrationStep, LoadKind
from app.session.calibration import (
    CALIBRATION_LOADS,
    REQUEST_RATE_RANGE,
    find_disturbing_cores,
    find_max_achieved_rate,
    has_passed,
    is_lower_bound,
    measure_capacity,
    run_step,
    search_rates,
)
from app.session.interruption import Interruption
from app.telemetry.processes import CoreUsage
from loadgen.records import Endpoint, LoadWorker
from tests.fakes.generator import FakeMachine, FakeNullServer, LimitedLoad, nobody_knows, null_servers


def load_point(rate: float, held: bool) -> CalibrationStep:
    return CalibrationStep(rate, rate, 0.05, 1.0, 0.0, 0.5, held)


def test_the_ceiling_is_the_highest_rate_that_held() -> None:
    load_points = search_rates(lambda rate: load_point(rate, rate <= 45_500))
    assert [one.offered_per_s for one in load_points][:5] == [8_000, 16_000, 32_000, 64_000, 64_000]
    assert find_max_achieved_rate(load_points) == pytest.approx(64_000 / 2**0.5)


def test_a_slow_machine_is_found_from_above() -> None:
    load_points = search_rates(lambda rate: load_point(rate, rate <= 1_500))
    assert find_max_achieved_rate(load_points) == pytest.approx(1_000 * 2**0.5)


def test_one_disturbed_moment_does_not_lower_the_ceiling() -> None:
    tries: list[float] = []

    def try_rate(rate: float) -> CalibrationStep:
        tries.append(rate)
        return load_point(rate, rate < 40_000 and (rate != 16_000 or tries.count(rate) > 1))

    assert find_max_achieved_rate(search_rates(try_rate)) == 32_000


def test_there_is_no_ceiling_when_the_lowest_rate_does_not_hold() -> None:
    load_points = search_rates(lambda rate: load_point(rate, False))
    assert find_max_achieved_rate(load_points) is None
    assert load_points[-1].offered_per_s == 250
    assert [one.offered_per_s for one in load_points].count(250) == 1, "a machine so busy is not asked twice for ever"
    assert len(load_points) == 6 + 3


def test_climbing_ends_when_it_is_stopped() -> None:
    assert search_rates(lambda rate: None if rate > 20_000 else load_point(rate, True))[-1].offered_per_s == 16_000
    assert search_rates(lambda _: None) == ()


def test_a_load_point_holds_by_what_was_sent_and_how_late() -> None:
    assert has_passed(0.995, 0.005)
    assert not has_passed(0.98, 0.0)
    assert not has_passed(1.0, 0.02)


def test_so_many_workers_begin_and_end_so_much_higher() -> None:
    load_points = search_rates(lambda rate: load_point(rate, True), REQUEST_RATE_RANGE.scale_to(4))
    assert [one.offered_per_s for one in load_points] == [32_000, 64_000, 128_000, 256_000]
    assert search_rates(lambda rate: load_point(rate, False), REQUEST_RATE_RANGE.scale_to(4))[-1].offered_per_s == 250


def test_a_ceiling_may_be_higher_where_nothing_failed_by_the_generator() -> None:
    def tried(rate: float, server: float | None) -> CalibrationStep:
        return CalibrationStep(rate, rate, 0.05, 1.0, 0.0, 0.5, rate <= 20_000, server)

    assert is_lower_bound(search_rates(lambda rate: tried(rate, 0.96)))
    assert not is_lower_bound(search_rates(lambda rate: tried(rate, 0.9)))
    assert not is_lower_bound(search_rates(lambda rate: tried(rate, None)))
    assert is_lower_bound(search_rates(lambda rate: load_point(rate, True)))
    assert not is_lower_bound(search_rates(lambda rate: load_point(rate, False)))


def beside(rate: float, others: float, limit: float) -> CalibrationStep:
    return CalibrationStep(rate, rate, 0.05, 1.0, 0.0, 0.5, rate <= limit, 0.5, others, 0.0)


def test_a_rate_that_failed_beside_others_says_only_that_the_ceiling_is_no_lower() -> None:
    load_points = search_rates(lambda rate: beside(rate, 1.5, 12_000))
    assert find_max_achieved_rate(load_points) == pytest.approx(8_000 * 2**0.5)
    assert (is_lower_bound(load_points), find_disturbing_cores(load_points)) == (True, 1.5)
    load_points = search_rates(lambda rate: beside(rate, 0.2, 12_000))
    assert (is_lower_bound(load_points), find_disturbing_cores(load_points)) == (False, None)


def test_the_next_higher_rate_decides_and_not_those_beyond_it() -> None:
    beyond = search_rates(lambda rate: beside(rate, 1.5 if rate > 15_000 else 0.2, 10_000))
    assert (find_max_achieved_rate(beyond), is_lower_bound(beyond), find_disturbing_cores(beyond)) == (
        8_000,
        False,
        None,
    )
    next_to_it = search_rates(lambda rate: beside(rate, 1.5 if rate < 15_000 else 0.2, 10_000))
    assert (find_max_achieved_rate(next_to_it), is_lower_bound(next_to_it), find_disturbing_cores(next_to_it)) == (
        8_000,
        True,
        1.5,
    )


def test_one_undisturbed_failure_of_a_rate_is_enough() -> None:
    others = iter([0.0, 1.5, 0.1, 1.5, 0.1])
    load_points = search_rates(lambda rate: beside(rate, next(others), 10_000))
    assert (len(load_points), is_lower_bound(load_points), find_disturbing_cores(load_points)) == (5, False, None)


def test_a_machine_too_busy_is_why_there_is_no_ceiling() -> None:
    load_points = search_rates(lambda rate: beside(rate, 2.0, 0))
    assert (find_max_achieved_rate(load_points), is_lower_bound(load_points), find_disturbing_cores(load_points)) == (
        None,
        False,
        2.0,
    )
    assert len(load_points) == 6 + 3, "it takes no longer for that"
    assert find_disturbing_cores(search_rates(lambda rate: beside(rate, 0.1, 0))) is None


def tried(kind: LoadKind, load: LimitedLoad, rate_per_s: float, cores: float | None = 0.3) -> CalibrationStep:
    load.configure(Endpoint(("http://127.0.0.1:9/",)), CALIBRATION_LOADS[kind].workload)
    return run_step(
        CALIBRATION_LOADS[kind], load, [FakeNullServer(cores), FakeNullServer(None)], nobody_knows, rate_per_s
    )


def test_a_load_point_that_is_sent_in_time_holds() -> None:
    load_point = tried("plain", LimitedLoad(50_000.0), 8_000.0)
    assert load_point.passed
    assert load_point.achieved_per_s == pytest.approx(8_000, rel=0.05)
    assert load_point.late_share == 0
    assert not load_point.is_generator_limit


def test_one_that_is_sent_late_does_not() -> None:
    load_point = tried("plain", LimitedLoad(7_000.0), 8_000.0)
    assert not load_point.passed
    assert load_point.late_share > 0.5
    assert load_point.lag_p99_ms > 50


@pytest.mark.parametrize(("cores", "is_against"), [(0.3, True), (None, True), (2.0, False)])
def test_a_server_that_was_at_its_limit_is_an_excuse(cores: float | None, is_against: bool) -> None:
    load_point = tried("plain", LimitedLoad(7_000.0), 8_000.0, cores)
    assert load_point.is_generator_limit is is_against
    assert (load_point.server_cpu_cores is None) == (cores is None)


def test_chunks_count_by_themselves_however_punctual_the_requests_are() -> None:
    held = tried("streaming", LimitedLoad(1e6, 50_000.0), 32_000.0)
    assert held.passed
    assert held.achieved_per_s == pytest.approx(32_000, rel=0.1)
    late = tried("streaming", LimitedLoad(1e6, 30_000.0), 32_000.0)
    assert late.lag_p99_ms == 0
    assert late.late_share > 0.3
    assert not late.passed


@pytest.mark.parametrize(("cut_off", "held"), [(0, True), (1_000, True), (50, False), (1, False)])
def test_an_answer_without_its_end_is_late_as_a_whole(cut_off: int, held: bool) -> None:
    load_point = tried("streaming", LimitedLoad(1e6, 1e9, cut_off=cut_off), 32_000.0)
    assert load_point.passed is held
    assert load_point.late_share == pytest.approx(1 / cut_off if cut_off else 0.0, abs=0.001)


def rungs_beside(machine: FakeMachine, load: LimitedLoad) -> CalibrationStep:
    load.configure(Endpoint(("http://127.0.0.1:9/",)), CALIBRATION_LOADS["plain"].workload)
    return run_step(CALIBRATION_LOADS["plain"], load, [FakeNullServer(0.3)], machine, 8_000.0)


def test_what_all_others_use_is_reported_without_what_is_ours() -> None:
    machine = FakeMachine(1.25, idle=0.2)
    workers = tuple(LoadWorker(index, "here", 100 + index, is_local=True) for index in range(2))
    load_point = rungs_beside(machine, LimitedLoad(7_000.0, workers=workers))
    assert load_point.other_cores == pytest.approx(1.25)
    assert load_point.idle_cores == pytest.approx(0.2)
    assert set(machine.pids) == {LimitedLoad.pid, 100, 101}


@pytest.mark.parametrize(
    ("others", "idle", "is_against"), [(0.25, 0.0, True), (0.35, 0.0, False), (0.35, 0.9, False), (2.0, 1.1, True)]
)
def test_others_are_an_excuse_where_they_left_no_core(others: float, idle: float, is_against: bool) -> None:
    load_point = rungs_beside(FakeMachine(others, idle=idle), LimitedLoad(7_000.0))
    assert load_point.is_generator_limit is is_against
    assert load_point.is_disturbed is not is_against


def test_what_cannot_be_read_is_no_excuse() -> None:
    for machine in (nobody_knows, lambda _: CoreUsage(1, 0.0, 0.0, None)):
        load = LimitedLoad(7_000.0)
        load.configure(Endpoint(("http://127.0.0.1:9/",)), CALIBRATION_LOADS["plain"].workload)
        load_point = run_step(CALIBRATION_LOADS["plain"], load, [FakeNullServer(0.3)], machine, 8_000.0)
        assert (load_point.other_cores, load_point.is_generator_limit) == (None, True)
    load.configure(Endpoint(("http://127.0.0.1:9/",)), CALIBRATION_LOADS["plain"].workload)
    load_point = run_step(CALIBRATION_LOADS["plain"], load, [FakeNullServer(None)], FakeMachine(2.0), 8_000.0)
    assert (load_point.other_cores, load_point.is_generator_limit) == (None, True), (
        "nor where a server's share is not known"
    )


TWO = tuple(LoadWorker(index, "here", index, is_local=True) for index in range(2))


def test_the_ceiling_is_what_the_generator_kept_up_with() -> None:
    servers, start = null_servers()
    reported: list[CalibrationStep] = []
    load = LimitedLoad(25_000.0)
    found = measure_capacity("plain", load, start, Interruption(), nobody_knows, reported.append)
    assert (found.kind, found.workers, found.is_lower_bound) == ("plain", 1, False)
    assert found.per_s == pytest.approx(22_627, rel=0.02)
    assert list(found.steps) == reported
    assert [server.is_closed for server in servers] == [True]


def test_of_streams_it_is_in_chunks() -> None:
    _, start = null_servers()
    found = measure_capacity("streaming", LimitedLoad(1e6, 50_000.0), start, Interruption(), nobody_knows)
    assert found.per_s == pytest.approx(45_255, rel=0.1)  # of 1,000 streams, by chance some more or less
    assert any(load_point.late_share > 0.01 for load_point in found.steps)


def test_several_workers_are_calibrated_together_each_two_on_a_server_of_their_own() -> None:
    for count, expected in ((1, 1), (2, 1), (3, 2), (8, 4)):
        servers, start = null_servers()
        workers = tuple(LoadWorker(index, "here", index, is_local=True) for index in range(count))
        load = LimitedLoad(8_000.0 * count, workers=workers if count > 1 else ())
        found = measure_capacity("plain", load, start, Interruption(), nobody_knows)
        assert (found.workers, len(servers), len(load.endpoints[-1].urls)) == (count, expected, expected)
        assert all(server.is_closed for server in servers)


def test_a_null_server_at_its_own_limit_says_nothing_against_the_generator() -> None:
    _, start = null_servers(cores=2.0)
    assert measure_capacity("plain", LimitedLoad(25_000.0), start, Interruption(), nobody_knows).is_lower_bound
    _, start = null_servers(cores=None)
    assert not measure_capacity("plain", LimitedLoad(25_000.0), start, Interruption(), nobody_knows).is_lower_bound


def test_a_generator_that_keeps_up_with_everything_has_no_known_end() -> None:
    _, start = null_servers()
    found = measure_capacity("plain", LimitedLoad(1e6), start, Interruption(), nobody_knows)
    assert found.is_lower_bound
    assert found.per_s == pytest.approx(64_000, rel=0.02)


def test_the_first_stage_does_not_count_and_a_disturbed_one_is_tried_again() -> None:
    _, start = null_servers()
    found = measure_capacity("plain", LimitedLoad(25_000.0, disturbed=(0, 1, 3)), start, Interruption(), nobody_knows)
    assert found.per_s == pytest.approx(22_627, rel=0.02)


def test_it_ends_when_the_run_is_stopped() -> None:
    servers, start = null_servers()
    interruption = Interruption()
    load = LimitedLoad(25_000.0, on_stage=lambda: interruption.request_stop(ExitCode.INTERRUPTED))
    assert measure_capacity("plain", load, start, interruption, nobody_knows).per_s is None
    assert len(load.plans) == 1
    assert servers[0].is_closed


def test_a_busy_machine_gives_a_lower_bound_and_says_by_what() -> None:
    _, start = null_servers()
    found = measure_capacity("plain", LimitedLoad(25_000.0), start, Interruption(), FakeMachine(1.5))
    assert found.per_s == pytest.approx(22_627, rel=0.02)
    assert found.is_lower_bound is True
    assert found.disturbed_by_cores == pytest.approx(1.5)


def test_other_work_before_and_between_does_not_matter() -> None:
    _, start = null_servers()
    machine = FakeMachine(1.5, stages=(0, 1, 2))
    found = measure_capacity("plain", LimitedLoad(25_000.0), start, Interruption(), machine)
    assert (found.is_lower_bound, found.disturbed_by_cores) == (False, None)
