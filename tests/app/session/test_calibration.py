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
from tests.fakes.generator import FakeMachine, FakeNullServer, LimitedLoad, null_servers, unknown_core_use


def load_point(rate: float, passed: bool) -> CalibrationStep:
    return CalibrationStep(rate, rate, 0.05, 1.0, 0.0, 0.5, passed)


def test_generator_capacity_is_the_highest_rate_that_passed() -> None:
    load_points = search_rates(lambda rate: load_point(rate, rate <= 45_500))
    assert [step.offered_per_s for step in load_points][:5] == [8_000, 16_000, 32_000, 64_000, 64_000]
    assert find_max_achieved_rate(load_points) == pytest.approx(64_000 / 2**0.5)


def test_capacity_search_descends_on_a_slow_machine() -> None:
    load_points = search_rates(lambda rate: load_point(rate, rate <= 1_500))
    assert find_max_achieved_rate(load_points) == pytest.approx(1_000 * 2**0.5)


def test_single_disturbed_step_does_not_lower_the_capacity() -> None:
    tried_rates: list[float] = []

    def try_rate(rate: float) -> CalibrationStep:
        tried_rates.append(rate)
        return load_point(rate, rate < 40_000 and (rate != 16_000 or tried_rates.count(rate) > 1))

    assert find_max_achieved_rate(search_rates(try_rate)) == 32_000


def test_generator_capacity_is_none_if_the_lowest_rate_fails() -> None:
    load_points = search_rates(lambda rate: load_point(rate, False))
    assert find_max_achieved_rate(load_points) is None
    assert load_points[-1].offered_per_s == 250
    assert [step.offered_per_s for step in load_points].count(250) == 1, "the lowest rate is not repeated"
    assert len(load_points) == 6 + 3


def test_capacity_search_ends_when_it_is_stopped() -> None:
    assert search_rates(lambda rate: None if rate > 20_000 else load_point(rate, True))[-1].offered_per_s == 16_000
    assert search_rates(lambda _: None) == ()


def test_calibration_step_passes_by_send_rate_and_send_lag() -> None:
    assert has_passed(0.995, 0.005)
    assert not has_passed(0.98, 0.0)
    assert not has_passed(1.0, 0.02)


def test_search_range_scales_with_the_number_of_workers() -> None:
    load_points = search_rates(lambda rate: load_point(rate, True), REQUEST_RATE_RANGE.scale_to(4))
    assert [step.offered_per_s for step in load_points] == [32_000, 64_000, 128_000, 256_000]
    assert search_rates(lambda rate: load_point(rate, False), REQUEST_RATE_RANGE.scale_to(4))[-1].offered_per_s == 250


def test_capacity_is_a_lower_bound_without_a_failure_of_the_generator() -> None:
    def build_step(rate: float, server: float | None) -> CalibrationStep:
        return CalibrationStep(rate, rate, 0.05, 1.0, 0.0, 0.5, rate <= 20_000, server)

    assert is_lower_bound(search_rates(lambda rate: build_step(rate, 0.96)))
    assert not is_lower_bound(search_rates(lambda rate: build_step(rate, 0.9)))
    assert not is_lower_bound(search_rates(lambda rate: build_step(rate, None)))
    assert is_lower_bound(search_rates(lambda rate: load_point(rate, True)))
    assert not is_lower_bound(search_rates(lambda rate: load_point(rate, False)))


def build_disturbed_step(rate: float, others: float, limit: float) -> CalibrationStep:
    return CalibrationStep(rate, rate, 0.05, 1.0, 0.0, 0.5, rate <= limit, 0.5, others, 0.0)


def test_disturbed_failure_makes_the_capacity_a_lower_bound() -> None:
    load_points = search_rates(lambda rate: build_disturbed_step(rate, 1.5, 12_000))
    assert find_max_achieved_rate(load_points) == pytest.approx(8_000 * 2**0.5)
    assert (is_lower_bound(load_points), find_disturbing_cores(load_points)) == (True, 1.5)
    load_points = search_rates(lambda rate: build_disturbed_step(rate, 0.2, 12_000))
    assert (is_lower_bound(load_points), find_disturbing_cores(load_points)) == (False, None)


def test_only_the_next_higher_rate_decides_about_a_lower_bound() -> None:
    further_up = search_rates(lambda rate: build_disturbed_step(rate, 1.5 if rate > 15_000 else 0.2, 10_000))
    assert (find_max_achieved_rate(further_up), is_lower_bound(further_up), find_disturbing_cores(further_up)) == (
        8_000,
        False,
        None,
    )
    next_higher = search_rates(lambda rate: build_disturbed_step(rate, 1.5 if rate < 15_000 else 0.2, 10_000))
    assert (find_max_achieved_rate(next_higher), is_lower_bound(next_higher), find_disturbing_cores(next_higher)) == (
        8_000,
        True,
        1.5,
    )


def test_single_undisturbed_failure_of_a_calibration_rate_is_conclusive() -> None:
    others = iter([0.0, 1.5, 0.1, 1.5, 0.1])
    load_points = search_rates(lambda rate: build_disturbed_step(rate, next(others), 10_000))
    assert (len(load_points), is_lower_bound(load_points), find_disturbing_cores(load_points)) == (5, False, None)


def test_disturbance_is_reported_without_a_generator_capacity() -> None:
    load_points = search_rates(lambda rate: build_disturbed_step(rate, 2.0, 0))
    assert (find_max_achieved_rate(load_points), is_lower_bound(load_points), find_disturbing_cores(load_points)) == (
        None,
        False,
        2.0,
    )
    assert len(load_points) == 6 + 3, "no additional steps are needed"
    assert find_disturbing_cores(search_rates(lambda rate: build_disturbed_step(rate, 0.1, 0))) is None


def measure_step(kind: LoadKind, load: LimitedLoad, rate_per_s: float, cores: float | None = 0.3) -> CalibrationStep:
    load.configure(Endpoint(("http://127.0.0.1:9/",)), CALIBRATION_LOADS[kind].workload)
    return run_step(
        CALIBRATION_LOADS[kind], load, [FakeNullServer(cores), FakeNullServer(None)], unknown_core_use, rate_per_s
    )


def test_calibration_step_sent_in_time_passes() -> None:
    load_point = measure_step("plain", LimitedLoad(50_000.0), 8_000.0)
    assert load_point.passed
    assert load_point.achieved_per_s == pytest.approx(8_000, rel=0.05)
    assert load_point.late_share == 0
    assert not load_point.is_generator_limit


def test_calibration_step_sent_late_fails() -> None:
    load_point = measure_step("plain", LimitedLoad(7_000.0), 8_000.0)
    assert not load_point.passed
    assert load_point.late_share > 0.5
    assert load_point.lag_p99_ms > 50


@pytest.mark.parametrize(("cores", "is_generator_limit"), [(0.3, True), (None, True), (2.0, False)])
def test_failure_with_a_null_server_at_its_cpu_limit_is_not_a_generator_limit(
    cores: float | None, is_generator_limit: bool
) -> None:
    load_point = measure_step("plain", LimitedLoad(7_000.0), 8_000.0, cores)
    assert load_point.is_generator_limit is is_generator_limit
    assert (load_point.server_cpu_cores is None) == (cores is None)


def test_late_chunks_fail_a_calibration_step_with_punctual_requests() -> None:
    punctual = measure_step("streaming", LimitedLoad(1e6, 50_000.0), 32_000.0)
    assert punctual.passed
    assert punctual.achieved_per_s == pytest.approx(32_000, rel=0.1)
    late = measure_step("streaming", LimitedLoad(1e6, 30_000.0), 32_000.0)
    assert late.lag_p99_ms == 0
    assert late.late_share > 0.3
    assert not late.passed


@pytest.mark.parametrize(("cut_off", "passes"), [(0, True), (1_000, True), (50, False), (1, False)])
def test_truncated_response_is_counted_as_entirely_late(cut_off: int, passes: bool) -> None:
    load_point = measure_step("streaming", LimitedLoad(1e6, 1e9, cut_off=cut_off), 32_000.0)
    assert load_point.passed is passes
    assert load_point.late_share == pytest.approx(1 / cut_off if cut_off else 0.0, abs=0.001)


def measure_disturbed_step(machine: FakeMachine, load: LimitedLoad) -> CalibrationStep:
    load.configure(Endpoint(("http://127.0.0.1:9/",)), CALIBRATION_LOADS["plain"].workload)
    return run_step(CALIBRATION_LOADS["plain"], load, [FakeNullServer(0.3)], machine, 8_000.0)


def test_cpu_use_of_other_processes_excludes_load_workers_and_null_servers() -> None:
    machine = FakeMachine(1.25, idle=0.2)
    workers = tuple(LoadWorker(index, "here", 100 + index, is_local=True) for index in range(2))
    load_point = measure_disturbed_step(machine, LimitedLoad(7_000.0, workers=workers))
    assert load_point.other_cores == pytest.approx(1.25)
    assert load_point.idle_cores == pytest.approx(0.2)
    assert set(machine.pids) == {LimitedLoad.pid, 100, 101}


@pytest.mark.parametrize(
    ("others", "idle", "is_generator_limit"),
    [(0.25, 0.0, True), (0.35, 0.0, False), (0.35, 0.9, False), (2.0, 1.1, True)],
)
def test_failure_beside_other_processes_is_a_generator_limit_if_a_core_was_idle(
    others: float, idle: float, is_generator_limit: bool
) -> None:
    load_point = measure_disturbed_step(FakeMachine(others, idle=idle), LimitedLoad(7_000.0))
    assert load_point.is_generator_limit is is_generator_limit
    assert load_point.is_disturbed is not is_generator_limit


def test_failure_with_unknown_cpu_use_is_a_generator_limit() -> None:
    for machine in (unknown_core_use, lambda _: CoreUsage(1, 0.0, 0.0, None)):
        load = LimitedLoad(7_000.0)
        load.configure(Endpoint(("http://127.0.0.1:9/",)), CALIBRATION_LOADS["plain"].workload)
        load_point = run_step(CALIBRATION_LOADS["plain"], load, [FakeNullServer(0.3)], machine, 8_000.0)
        assert (load_point.other_cores, load_point.is_generator_limit) == (None, True)
    load.configure(Endpoint(("http://127.0.0.1:9/",)), CALIBRATION_LOADS["plain"].workload)
    load_point = run_step(CALIBRATION_LOADS["plain"], load, [FakeNullServer(None)], FakeMachine(2.0), 8_000.0)
    assert (load_point.other_cores, load_point.is_generator_limit) == (None, True), (
        "nor without the CPU use of the null server"
    )


TWO = tuple(LoadWorker(index, "here", index, is_local=True) for index in range(2))


def test_measured_capacity_is_the_rate_that_the_generator_achieved() -> None:
    servers, start = null_servers()
    reported_steps: list[CalibrationStep] = []
    load = LimitedLoad(25_000.0)
    capacity = measure_capacity("plain", load, start, Interruption(), unknown_core_use, reported_steps.append)
    assert (capacity.kind, capacity.workers, capacity.is_lower_bound) == ("plain", 1, False)
    assert capacity.per_s == pytest.approx(22_627, rel=0.02)
    assert list(capacity.steps) == reported_steps
    assert [server.is_closed for server in servers] == [True]


def test_streaming_capacity_is_measured_in_chunks() -> None:
    _, start = null_servers()
    capacity = measure_capacity("streaming", LimitedLoad(1e6, 50_000.0), start, Interruption(), unknown_core_use)
    assert capacity.per_s == pytest.approx(45_255, rel=0.1)  # with random variation over 1,000 streams
    assert any(load_point.late_share > 0.01 for load_point in capacity.steps)


def test_several_workers_are_calibrated_together_with_a_null_server_for_each_two() -> None:
    for count, expected in ((1, 1), (2, 1), (3, 2), (8, 4)):
        servers, start = null_servers()
        workers = tuple(LoadWorker(index, "here", index, is_local=True) for index in range(count))
        load = LimitedLoad(8_000.0 * count, workers=workers if count > 1 else ())
        capacity = measure_capacity("plain", load, start, Interruption(), unknown_core_use)
        assert (capacity.workers, len(servers), len(load.endpoints[-1].urls)) == (count, expected, expected)
        assert all(server.is_closed for server in servers)


def test_capacity_limited_by_the_null_server_is_a_lower_bound() -> None:
    _, start = null_servers(cores=2.0)
    assert measure_capacity("plain", LimitedLoad(25_000.0), start, Interruption(), unknown_core_use).is_lower_bound
    _, start = null_servers(cores=None)
    assert not measure_capacity("plain", LimitedLoad(25_000.0), start, Interruption(), unknown_core_use).is_lower_bound


def test_capacity_at_the_end_of_the_search_range_is_a_lower_bound() -> None:
    _, start = null_servers()
    capacity = measure_capacity("plain", LimitedLoad(1e6), start, Interruption(), unknown_core_use)
    assert capacity.is_lower_bound
    assert capacity.per_s == pytest.approx(64_000, rel=0.02)


def test_first_calibration_stage_is_ignored_and_disturbed_stages_are_repeated() -> None:
    _, start = null_servers()
    capacity = measure_capacity(
        "plain", LimitedLoad(25_000.0, disturbed=(0, 1, 3)), start, Interruption(), unknown_core_use
    )
    assert capacity.per_s == pytest.approx(22_627, rel=0.02)


def test_calibration_ends_when_the_run_is_stopped() -> None:
    servers, start = null_servers()
    interruption = Interruption()
    load = LimitedLoad(25_000.0, on_stage=lambda: interruption.request_stop(ExitCode.INTERRUPTED))
    assert measure_capacity("plain", load, start, interruption, unknown_core_use).per_s is None
    assert len(load.plans) == 1
    assert servers[0].is_closed


def test_capacity_of_a_busy_machine_is_a_lower_bound_with_the_disturbing_cores() -> None:
    _, start = null_servers()
    capacity = measure_capacity("plain", LimitedLoad(25_000.0), start, Interruption(), FakeMachine(1.5))
    assert capacity.per_s == pytest.approx(22_627, rel=0.02)
    assert capacity.is_lower_bound is True
    assert capacity.disturbed_by_cores == pytest.approx(1.5)


def test_disturbances_before_and_between_stages_do_not_affect_the_capacity() -> None:
    _, start = null_servers()
    machine = FakeMachine(1.5, stages=(0, 1, 2))
    capacity = measure_capacity("plain", LimitedLoad(25_000.0), start, Interruption(), machine)
    assert (capacity.is_lower_bound, capacity.disturbed_by_cores) == (False, None)
