from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from msgspec.structs import replace

from app.analysis.generator_checks import (
    ConnectionDemand,
    MachineLimits,
    check_demand,
    check_generator,
    check_local_limits,
    compute_demand,
)
from app.analysis.objectives import parse_objective
from app.analysis.rows import compute_offered_window, read_rows
from app.analysis.stages import summarize_stage
from app.records.result import Check, ErrorSample, WorkerData
from app.records.stage import StageData
from tests.fakes.queues import build_stage_data, constant_s, latency_s, poisson_s, request_rows
from tests.fakes.streams import StreamedResponse, stream_rows
from tests.tiers import first_in_unit_tier

SLO = (parse_objective("latency_ms.p95 < 50"),)
STAGE_DATA = build_stage_data(200, 10, arrivals="constant")


def rows(rate_per_s: float = 200.0) -> pd.DataFrame:
    scheduled = constant_s(rate_per_s, 10)
    return request_rows(scheduled, np.full(scheduled.size, 0.02))


def run_checks(frame: pd.DataFrame, stage_data: StageData = STAGE_DATA, slo: str | None = None) -> dict[str, Check]:
    read = read_rows(frame)
    objectives = SLO if slo is None else (parse_objective(slo),)
    return {
        check.id: check
        for check in check_generator(read, stage_data, compute_offered_window(read, stage_data), objectives)
    }


def streams(per_s: int, chunks: int, seconds: int = 10, gap_ms: float = 10.0) -> pd.DataFrame:
    """Responses of `chunks` chunks each. Those that start before the stage count for its chunks, not its requests."""
    starts_ms = np.arange(-per_s * seconds, per_s * seconds) * 1e3 / per_s
    return stream_rows(
        [
            StreamedResponse(
                scheduled_ms=at, chunks_ms=tuple(at + 1 + gap_ms * k for k in range(chunks)), tokens_out=chunks
            )
            for at in starts_ms
        ]
    )


def test_generator_utilization_adds_requests_and_chunks() -> None:
    stage_data = replace(STAGE_DATA, generator_capacity_per_s=200.0, generator_chunk_capacity_per_s=4_000.0)
    read = read_rows(streams(20, 50))
    demand = compute_demand(read, stage_data, compute_offered_window(read, stage_data))
    assert (demand.requests_per_s, demand.chunks_per_s) == (20.0, 1_000.0)
    assert demand.utilization == pytest.approx(0.1 + 0.25)
    assert demand.compute_reliable_rate_per_s(200.0) == pytest.approx(40.0), "twice the load is 70 % utilization"


@pytest.mark.parametrize(
    ("chunk_capacity_per_s", "verdict"), [(2_000.0, "VALID"), (1_500.0, "WARN"), (1_200.0, "INVALID")]
)
def test_generator_capacity_check_includes_chunk_capacity(chunk_capacity_per_s: float, verdict: str) -> None:
    stage_data = replace(
        STAGE_DATA, generator_capacity_per_s=200.0, generator_chunk_capacity_per_s=chunk_capacity_per_s
    )
    check = run_checks(streams(20, 50), stage_data)["generator_capacity"]
    assert check.verdict == verdict
    assert (check.hint is None) == (verdict == "VALID")
    if check.hint is not None:
        assert "1,000 chunks/s" in check.hint
        assert "same CPU" in check.hint
        assert (
            f"is reliable up to {20 * 0.7 / (0.1 + 1_000 / chunk_capacity_per_s):,.0f} req/s with streams" in check.hint
        )


def test_generator_demand_includes_chunks_read_after_stage() -> None:
    stage_data = replace(STAGE_DATA, generator_capacity_per_s=200.0, generator_chunk_capacity_per_s=1_200.0)
    delayed = streams(20, 50, gap_ms=1_000.0)
    assert run_checks(delayed, stage_data)["generator_capacity"].verdict == "INVALID"
    read = read_rows(delayed)
    assert compute_demand(read, stage_data, compute_offered_window(read, stage_data)).chunks_per_s == pytest.approx(
        1_000.0
    )


def test_unknown_generator_capacity_is_warning() -> None:
    check = run_checks(streams(20, 5), replace(STAGE_DATA, generator_chunk_capacity_per_s=None))["generator_capacity"]
    assert (check.value, check.verdict) == (None, "WARN")
    assert "capacity for streams is unknown" in str(check.hint)
    check = run_checks(rows(), replace(STAGE_DATA, generator_capacity_per_s=None))["generator_capacity"]
    assert (check.value, check.verdict) == (None, "WARN")
    assert "on each machine that generates load" in str(check.hint)


def test_generator_demand_includes_unsent_requests() -> None:
    frame = rows()
    frame["sent_ns"] = frame["sent_ns"].astype(float).where(frame["index"] < 500, axis=0)
    check = run_checks(frame, replace(STAGE_DATA, generator_capacity_per_s=220.0))["generator_capacity"]
    assert check.value == pytest.approx(200 / 220)
    assert check.verdict == "INVALID"
    assert "reliable up to 154 req/s" in str(check.hint)


def test_late_sends_hint_advises_lower_rate_only_near_capacity() -> None:
    scheduled = constant_s(200, 10)
    frame = request_rows(scheduled, np.full(scheduled.size, 0.1), 0.02)
    for capacity_per_s, is_advised in ((20_000.0, False), (400.0, True), (None, True)):
        check = run_checks(frame, replace(STAGE_DATA, generator_capacity_per_s=capacity_per_s))["late_sends"]
        assert check.verdict == "INVALID"
        assert ("Lower the rate" in str(check.hint)) is is_advised


def test_generator_capacity_check_of_spike_uses_busiest_second() -> None:
    spike = np.concatenate([constant_s(100, 4), 4 + constant_s(900, 1), 5 + constant_s(100, 5)])
    frame = request_rows(spike, np.full(spike.size, 0.02))
    stage_data = replace(build_stage_data(100, 10, kind="spike", ceiling_per_s=1_000.0), rate_per_s=None)
    assert run_checks(frame, stage_data)["generator_capacity"].value == pytest.approx(0.9)
    assert run_checks(frame, replace(stage_data, kind="steady"))["generator_capacity"].value == pytest.approx(0.18)


def test_closed_loop_has_generator_capacity_check_and_no_late_sends() -> None:
    stage_data = replace(build_stage_data(1, 10, kind="closed", arrivals="closed", ceiling_per_s=210.0), concurrency=4)
    checks = run_checks(rows(), stage_data)
    assert checks["generator_capacity"].verdict == "INVALID"
    assert checks["late_sends"].verdict == "VALID", "closed-loop clients never send late"


def worker(index: int, cpu_s: float) -> WorkerData:
    return WorkerData(index, "a", index, cpu_s, 100, 0.1)


def test_generator_cpu_check_uses_busiest_worker() -> None:
    stage_data = replace(build_stage_data(200, 10, worker_cpu_s=14.0), workers=(worker(0, 5.0), worker(1, 9.0)))
    check = run_checks(rows(), stage_data)["generator_cpu"]
    assert check.verdict == "WARN"
    assert check.value == pytest.approx(9 / 11)
    calm = replace(stage_data, workers=(worker(0, 7.0), worker(1, 7.0)))
    assert run_checks(rows(), calm)["generator_cpu"].verdict == "VALID"


def test_generator_cpu_check_includes_lead_in() -> None:
    stage_data = replace(build_stage_data(200, 10, worker_cpu_s=11.0), lead_in_s=11.0)
    assert run_checks(rows(), stage_data)["generator_cpu"].value == pytest.approx(0.5)


def test_late_sends_check_does_not_depend_on_slo() -> None:
    frame = request_rows(constant_s(200, 10), np.full(2_000, 0.02), lag_s=0.12)
    assert run_checks(frame, slo="latency_ms.p95 < 60000")["late_sends"].verdict == "INVALID"


def test_late_sends_hint_has_reliable_rate() -> None:
    frame = request_rows(constant_s(200, 10), np.full(2_000, 0.02), lag_s=0.12)
    near = run_checks(frame, replace(STAGE_DATA, generator_capacity_per_s=220.0))
    for name in ("late_sends", "generator_capacity"):
        assert "is reliable up to 154 req/s." in str(near[name].hint)
    far = run_checks(frame, replace(STAGE_DATA, generator_capacity_per_s=20_000.0))["late_sends"]
    assert "up to 14,000 req/s if nothing else uses the CPU of its machine" in str(far.hint)


def build_overloaded_rows(
    capacity_per_s: float, load: float, response_s: float, seed: int, drain_s: float
) -> pd.DataFrame:
    """Rows of an overloaded generator: requests wait in its own queue, and those left after the drain are not sent."""
    rng = np.random.default_rng(seed)
    scheduled = poisson_s(load * capacity_per_s, 3, rng)
    lag = latency_s(scheduled, rng.exponential(1 / capacity_per_s, scheduled.size)) - 1 / capacity_per_s
    frame = request_rows(scheduled, np.maximum(lag, 0) + response_s, np.maximum(lag, 0))
    cut = scheduled + lag > 3 + drain_s
    missing = frame["index"].isin(np.flatnonzero(cut))
    times = ["sent_ns", "first_byte_ns", "end_ns"]
    frame[times] = frame[times].astype(float).mask(missing, axis=0)
    return frame


@pytest.mark.parametrize("response_s", [0.0001, 0.005, 2.0], ids=["null server", "fast", "slow"])
@pytest.mark.parametrize("drain_s", [0.0, 5.0])
@pytest.mark.parametrize(
    "calibrated_share", [0.5, 0.9, 1.0, 1.3, 2.0, None], ids=lambda share: f"calibrated to {share} of the capacity"
)
@pytest.mark.parametrize(
    "slo", first_in_unit_tier(["latency_ms.p95 < 50", "latency_ms.p95 < 60000", "error_rate < 1%"])
)
@pytest.mark.parametrize("rates", first_in_unit_tier([{0: 500.0}, {1: 2_000.0, 2: 8_000.0}]), ids=["slow", "quick"])
def test_twice_generator_capacity_is_always_invalid(
    response_s: float, drain_s: float, calibrated_share: float | None, slo: str, rates: dict[int, float]
) -> None:
    """For any error of the calibration and any response time. `rates` are by seed."""
    for seed, true_per_s in rates.items():
        capacity_per_s = None if calibrated_share is None else calibrated_share * true_per_s
        load = 2 * (true_per_s if capacity_per_s is None else capacity_per_s) / true_per_s
        stage_data = build_stage_data(load * true_per_s, 3, drain_s=drain_s, ceiling_per_s=capacity_per_s)
        frame = build_overloaded_rows(true_per_s, load, response_s, seed, drain_s)
        stage = summarize_stage(frame, None, stage_data, (parse_objective(slo),))
        assert stage.verdict.status == "INVALID", stage.verdict
        reasons = [check for check in stage.checks if check.verdict == "INVALID"]
        if capacity_per_s is not None:
            (capacity_check,) = [check for check in reasons if check.id == "generator_capacity"]
            assert f"is reliable up to {0.7 * capacity_per_s:,.0f} req/s" in str(capacity_check.hint)


@pytest.mark.parametrize("response_s", [0.0001, 2.0], ids=["null server", "slow"])
@pytest.mark.parametrize("drain_s", [0.0, 5.0])
@pytest.mark.parametrize("calibrated_share", [0.05, 0.5, 1.0])
@pytest.mark.parametrize("slo", ["latency_ms.p95 < 60000", "error_rate < 1%"])
@pytest.mark.parametrize("rates", first_in_unit_tier([{0: 500.0}, {1: 2_000.0, 2: 8_000.0}]), ids=["slow", "quick"])
def test_twice_generator_capacity_is_invalid_with_lower_bound_calibration(
    response_s: float, drain_s: float, calibrated_share: float, slo: str, rates: dict[int, float]
) -> None:
    for seed, true_per_s in rates.items():
        stage_data = build_stage_data(2 * true_per_s, 3, drain_s=drain_s, ceiling_per_s=calibrated_share * true_per_s)
        frame = build_overloaded_rows(true_per_s, 2, response_s, seed, drain_s)
        stage = summarize_stage(
            frame, None, replace(stage_data, is_generator_capacity_lower_bound=True), (parse_objective(slo),)
        )
        assert stage.verdict.status == "INVALID", stage.verdict
        invalid = {check.id for check in stage.checks if check.verdict == "INVALID"}
        assert "late_sends" in invalid
        assert "generator_capacity" not in invalid


def test_demand_above_lower_bound_of_capacity_is_warning() -> None:
    stage_data = replace(STAGE_DATA, generator_capacity_per_s=135.0, is_generator_capacity_lower_bound=True)
    check = run_checks(rows(), stage_data)["generator_capacity"]
    assert (check.verdict, check.limit) == ("WARN", 0.7)
    assert check.value == pytest.approx(200 / 135)
    assert "The stage needs 200 req/s; the load generator can send at least 135 req/s." in str(check.hint)
    assert "The capacity may be higher. Run `sizewise calibrate`" in str(check.hint)
    assert (
        run_checks(rows(), replace(stage_data, generator_capacity_per_s=300.0))["generator_capacity"].verdict == "VALID"
    )
    of_streams = replace(
        STAGE_DATA,
        generator_capacity_per_s=200.0,
        generator_chunk_capacity_per_s=940.0,
        is_generator_capacity_lower_bound=True,
    )
    check = run_checks(streams(20, 50), of_streams)["generator_capacity"]
    assert check.verdict == "WARN"
    assert "1,000 chunks/s; the load generator can read at least 940 chunks/s. Both" in str(check.hint)


WAIT = "generator_core_wait"


@pytest.mark.parametrize(
    ("wait_s", "verdict"), [(0.0, "VALID"), (1.1, "VALID"), (1.6, "VALID"), (1.8, "WARN"), (2.8, "INVALID")]
)
def test_core_wait_counts_above_half_of_worker_cpu_time(wait_s: float, verdict: str) -> None:
    stage_data = build_stage_data(200, 10, kind="closed", arrivals="closed", worker_cpu_s=2.2)  # 11 s with the drain
    check = run_checks(rows(), replace(stage_data, worker_cpu_wait_s=wait_s))[WAIT]
    assert check.verdict == verdict
    assert check.value == pytest.approx(max(0.0, wait_s - 1.1) / 11)
    assert (check.hint is None) == (verdict == "VALID")
    led_in = run_checks(rows(), replace(stage_data, worker_cpu_wait_s=wait_s, lead_in_s=11.0))[WAIT]
    assert led_in.value == pytest.approx(max(0.0, wait_s - 1.1) / 22)


def test_core_wait_check_is_valid_if_os_does_not_report_wait() -> None:
    for stage_data in (
        STAGE_DATA,
        replace(STAGE_DATA, workers=(worker(0, 1.0),)),
        replace(STAGE_DATA, arrival_kind="locust"),
    ):
        check = run_checks(rows(), stage_data)[WAIT]
        assert (check.value, check.verdict, check.hint) == (None, "VALID", None)


def test_core_wait_check_uses_worker_with_most_excess_wait() -> None:
    calm, starved = replace(worker(0, 10.0), cpu_wait_s=5.0), replace(worker(1, 2.0), cpu_wait_s=3.0)
    stage_data = replace(STAGE_DATA, workers=(calm, starved, worker(2, 1.0)), worker_cpu_wait_s=5.0)
    assert run_checks(rows(), stage_data)[WAIT].value == pytest.approx(2 / 11)
    assert (
        run_checks(rows(), replace(STAGE_DATA, arrival_kind="locust", worker_cpu_wait_s=3.0))[WAIT].verdict == "INVALID"
    )


def test_fast_responses_do_not_hide_late_sends() -> None:
    """A generator 1.5 s behind its schedule, with an endpoint that responds within 7 ms."""
    scheduled = constant_s(200, 10)
    frame = request_rows(scheduled, 0.15 * scheduled + 0.007, lag_s=0.15 * scheduled)
    stage = summarize_stage(frame, None, STAGE_DATA, SLO)
    assert stage.metrics["service_ms"]["p99"].value == pytest.approx(7.0)
    latency = stage.metrics["latency_ms"]["p99"].value
    assert latency is not None
    assert latency > 1_450
    assert stage.verdict.status == "INVALID"
    assert stage.meets_slo is False


DEMAND = ConnectionDemand(rate_per_s=150, service_s=1.0, max_connections=2048)
"""150 req/s of 1 s each: 150 requests in flight on average."""


@pytest.mark.parametrize(
    ("demand", "limits", "expected"),
    [
        (DEMAND, MachineLimits(), []),
        (DEMAND, MachineLimits(1024, 28_232), []),
        (DEMAND, MachineLimits(100, 28_232), [("file_descriptors", 252, 100)]),
        (replace(DEMAND, workers=4), MachineLimits(120, None), []),
        (replace(DEMAND, service_s=None), MachineLimits(100, 100), []),
        (replace(DEMAND, rate_per_s=10_000), MachineLimits(4096, None), []),  # no more than max_connections
        (
            ConnectionDemand(concurrency=10_000, max_connections=2048),
            MachineLimits(65_536),
            [("connections", 10_000, 2048)],
        ),
        (ConnectionDemand(concurrency=10_000, max_connections=10_000), MachineLimits(65_536, 28_232), []),
        (replace(DEMAND, has_keep_alive=False, rate_per_s=600), MachineLimits(), []),
        (
            replace(DEMAND, has_keep_alive=False, rate_per_s=600),
            MachineLimits(None, 28_232),
            [("local_ports", 36_750, 28_232)],
        ),
        (replace(DEMAND, has_keep_alive=False, rate_per_s=600, addresses=2), MachineLimits(None, 28_232), []),
    ],
)
def test_connection_demand_above_machine_limits_is_warning(
    demand: ConnectionDemand, limits: MachineLimits, expected: list[tuple[str, float, float]]
) -> None:
    warnings = check_demand(demand, limits)
    assert [(check.id, check.value, check.limit) for check in warnings] == expected
    assert all(check.verdict == "WARN" and f"{check.value:,.0f}" in str(check.hint) for check in warnings)


def test_request_failed_by_local_limit_makes_stage_invalid() -> None:
    errors: list[str | None] = [None] * 200
    read = read_rows(request_rows(constant_s(20, 10), np.full(200, 0.02), 0.0, errors))
    assert check_local_limits(read, build_stage_data(20, 10)) == ()
    errors[7] = "local-limit"
    read = read_rows(request_rows(constant_s(20, 10), np.full(200, 0.02), 0.0, errors))
    stage_data = replace(
        build_stage_data(20, 10), error_samples=(ErrorSample("local-limit", 1, "Too many open files"),)
    )
    (check,) = check_local_limits(read, stage_data)
    assert (check.verdict, check.value) == ("INVALID", 1 / 200)
    assert "not of the target (Too many open files)" in str(check.hint)
