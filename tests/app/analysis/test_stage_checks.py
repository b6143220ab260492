from __future__ import annotations

import heapq
import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from msgspec.structs import replace

from app.analysis.objectives import parse_objective
from app.analysis.rows import compute_offered_window, read_rows
from app.analysis.stage_checks import (
    check_arrivals,
    check_client_synchronization,
    check_never_started,
    check_stage,
    check_streams,
    check_workers,
)
from app.analysis.validity import compute_verdict
from app.records.checks import CheckId
from app.records.result import ArrivalKind, Check, Validity, Window, WorkerData
from app.records.stage import StageData
from loadgen.arrivals import compute_offsets_ns
from loadgen.records import OpenArrivals
from tests.fakes.queues import START_NS, build_stage_data, constant_s, latency_s, poisson_s, request_rows
from tests.fakes.streams import StreamedResponse, stream_rows

SLO = (parse_objective("latency_ms.p95 < 50"),)
STAGE_DATA = build_stage_data(200, 10, arrivals="constant")


def rows(lag_s: npt.NDArray[np.float64] | float = 0.0, errors: list[str | None] | None = None) -> pd.DataFrame:
    return request_rows(constant_s(200, 10), np.full(2_000, 0.02), lag_s, errors)


def run_check(name: CheckId, frame: pd.DataFrame, stage_data: StageData = STAGE_DATA, slo: str | None = None) -> Check:
    objectives = SLO if slo is None else (parse_objective(slo),)
    read = read_rows(frame)
    return {
        item.id: item for item in check_stage(read, stage_data, compute_offered_window(read, stage_data), objectives)
    }[name]


def build_lags_s(share: float, by_s: float) -> npt.NDArray[np.float64]:
    return np.where(np.arange(2_000) < share * 2_000, by_s, 0.0)


def build_partly_sent_rows(share: float) -> pd.DataFrame:
    frame = rows()
    times = ["sent_ns", "first_byte_ns", "end_ns"]
    frame[times] = frame[times].astype(float).where(frame["index"] >= share * 2_000, axis=0)
    return frame


@pytest.mark.parametrize(
    ("share", "by_s", "slo", "verdict"),
    [
        (0.009, 0.02, None, "VALID"),
        (0.011, 0.02, None, "WARN"),
        (0.02, 0.02, None, "INVALID"),
        (0.5, 0.0099, None, "VALID"),
        (0.5, 0.02, "latency_ms.p95 < 1000", "VALID"),
        (0.5, 0.06, "latency_ms.p95 < 1000", "INVALID"),
    ],
)
def test_late_sends_limit_depends_on_slo(share: float, by_s: float, slo: str | None, verdict: str) -> None:
    assert run_check("late_sends", rows(build_lags_s(share, by_s)), slo=slo).verdict == verdict


@pytest.mark.parametrize("count", [1, 2, 10, 20, 50, 92])
@pytest.mark.parametrize(
    "name", ["late_sends", "achieved_of_offered", "arrivals_never_started"], ids=["late", "unsent", "never started"]
)
def test_one_late_or_unsent_request_is_not_invalid_and_all_are(name: CheckId, count: int) -> None:
    def read(violations: int) -> Check:
        is_violation = np.arange(count) < violations
        frame = request_rows(constant_s(10, count / 10), np.full(count, 0.02), np.where(is_violation, 0.05, 0.0))
        if name != "late_sends":
            times = ["sent_ns", "first_byte_ns", "end_ns"]
            frame[times] = frame[times].astype(float).where(frame["index"] >= violations, axis=0)
        return run_check(name, frame, build_stage_data(10, count / 10, arrivals="constant"))

    assert read(1).verdict != "INVALID"
    if count > 1:
        assert read(count).verdict == "INVALID"


@pytest.mark.parametrize(("late_count", "verdict"), [(0, "VALID"), (1, "WARN"), (4, "WARN"), (5, "INVALID")])
def test_late_sends_are_invalid_if_count_is_improbable_at_limit(late_count: int, verdict: str) -> None:
    """Of 92 requests with a late share of 1 %, four or more are late with a probability of 1.5 %, five or more with
    0.3 %."""
    lag_s = np.where(np.arange(92) < late_count, 0.05, 0.0)
    frame = request_rows(constant_s(9.2, 10), np.full(92, 0.02), lag_s)
    assert run_check("late_sends", frame, build_stage_data(9.2, 10, arrivals="constant")).verdict == verdict


@pytest.mark.parametrize("count", [1, 2, 10, 19, 49])
def test_last_request_sent_shortly_after_window_counts_as_achieved(count: int) -> None:
    scheduled_s = constant_s(10, count / 10)
    stage_data = build_stage_data(10, float(scheduled_s[-1]) + 1e-9, arrivals="constant")
    frame = request_rows(scheduled_s, np.full(count, 0.02), 0.0002)
    assert run_check("achieved_of_offered", frame, stage_data).value == 1.0
    late_frame = request_rows(scheduled_s, np.full(count, 0.2), 0.15)
    assert run_check("achieved_of_offered", late_frame, stage_data).value < 1.0  # type: ignore[operator]


def test_ended_target_process_makes_stage_invalid_and_explains_backlog() -> None:
    stage_data = replace(STAGE_DATA, target_ended="the scripted server was killed by SIGKILL", is_saturated=True)
    process_check = run_check("target_process", rows(), stage_data)
    assert (process_check.verdict, process_check.value) == ("INVALID", "the scripted server was killed by SIGKILL")
    assert "endpoint" not in str(run_check("stationarity", rows(), stage_data).hint)


@pytest.mark.parametrize("started", [0, 2])
def test_stage_stopped_at_start_has_no_invalid_generator_check(started: int) -> None:
    """None or two of four requests were sent within 5 ms, with the CPU time of a complete start."""
    frame = rows().iloc[:4].copy()
    times = ["sent_ns", "first_byte_ns", "end_ns"]
    frame[times] = frame[times].astype(float).where(frame["index"] < started, axis=0)
    stopped = replace(STAGE_DATA, stopped_early=True, end_ns=STAGE_DATA.start_ns + 5_000_000, worker_cpu_s=0.02)
    read = read_rows(frame)
    run_arrival_checks = check_stage(read, stopped, compute_offered_window(read, stopped), SLO)
    assert "INVALID" not in {check.verdict for check in run_arrival_checks}
    (cpu,) = [check for check in run_arrival_checks if check.id == "generator_cpu"]
    assert cpu.verdict == "WARN"
    assert cpu.value == pytest.approx(4)
    assert cpu.hint == "The stage was stopped less than 1 s after its start, too early for this check."
    run_down = replace(stopped, stopped_early=False)
    assert "INVALID" in {
        check.verdict for check in check_stage(read, run_down, compute_offered_window(read, run_down), SLO)
    }


@pytest.mark.parametrize(("share", "verdict"), [(0.009, "VALID"), (0.011, "WARN")])
def test_p99_send_lag_above_5_ms_is_warning(share: float, verdict: str) -> None:
    assert run_check("send_lag_p99", rows(build_lags_s(share, 0.006))).verdict == verdict


@pytest.mark.parametrize(("share", "verdict"), [(0.01, "VALID"), (0.03, "WARN"), (0.06, "WARN"), (0.07, "INVALID")])
def test_unsent_requests_reduce_achieved_share(share: float, verdict: str) -> None:
    sent_check = run_check("achieved_of_offered", build_partly_sent_rows(share))
    assert sent_check.verdict == verdict
    assert sent_check.value == pytest.approx(1 - share)


def test_refused_connections_count_as_sent_and_as_errors() -> None:
    frame = rows(errors=["connect"] * 2_000)
    assert run_check("achieved_of_offered", frame).verdict == "VALID"
    assert run_check("errors", frame).value == 1.0


def test_overloaded_server_causes_only_stationarity_warning() -> None:
    scheduled = poisson_s(200, 10, np.random.default_rng(0))
    frame = request_rows(scheduled, latency_s(scheduled, np.full(scheduled.size, 0.008)))
    stage_data = build_stage_data(200, 10, drain_s=10)
    read = read_rows(frame)
    run_arrival_checks = check_stage(read, stage_data, compute_offered_window(read, stage_data), SLO)
    assert {check.id for check in run_arrival_checks if check.verdict != "VALID"} == {"stationarity"}
    assert not any(check.verdict == "INVALID" for check in run_arrival_checks)


@pytest.mark.parametrize(
    ("capacity_per_s", "verdict"), [(300.0, "VALID"), (280.0, "WARN"), (230.0, "INVALID"), (None, "WARN")]
)
def test_generator_capacity_check_is_graded_by_utilization(capacity_per_s: float | None, verdict: str) -> None:
    capacity_check = run_check("generator_capacity", rows(), build_stage_data(200, 10, ceiling_per_s=capacity_per_s))
    assert capacity_check.verdict == verdict
    assert (capacity_check.value is None) == (capacity_per_s is None)


@pytest.mark.parametrize(("cpu_s", "verdict"), [(7.0, "VALID"), (8.0, "WARN"), (10.0, "INVALID")])
def test_load_worker_cpu_is_graded_against_one_core(cpu_s: float, verdict: str) -> None:
    assert run_check("generator_cpu", rows(), build_stage_data(200, 10, worker_cpu_s=cpu_s)).verdict == verdict


@pytest.mark.parametrize(
    ("slo", "limit", "verdict"), [("p95", 72, "VALID"), ("p99", 368, "VALID"), ("p99.9", 3688, "WARN")]
)
def test_samples_check_uses_samples_required_by_slo_percentile(slo: str, limit: int, verdict: str) -> None:
    samples_check = run_check("samples", rows(), slo=f"latency_ms.{slo} < 50")
    assert (samples_check.value, samples_check.limit, samples_check.verdict) == (2_000, limit, verdict)


def test_samples_check_without_success_is_warning() -> None:
    frame = rows(errors=["http-5xx"] * 2_000)
    assert run_check("samples", frame, slo="error_rate < 100%").verdict == "WARN"


@pytest.mark.parametrize(("failed", "verdict"), [(20, "VALID"), (21, "WARN")])
def test_errors_above_1_percent_are_warning(failed: int, verdict: str) -> None:
    assert run_check("errors", rows(errors=["timeout"] * failed + [None] * (2_000 - failed))).verdict == verdict


def test_over_saturated_stage_has_stationarity_warning() -> None:
    stationarity = run_check("stationarity", rows(), build_stage_data(200, 10, over_saturated=True))
    assert stationarity.verdict == "WARN"
    assert "cannot sustain this rate" in str(stationarity.hint)
    assert run_check("stationarity", rows()).verdict == "VALID"


def closed_loop(clients: int, think_s: float, response_s: float) -> pd.DataFrame:
    """Rows of clients that send their next request after the response and a think time, for 10 s."""
    random = np.random.default_rng(4)
    starts = []
    for _ in range(clients):
        at = 0.0
        while at < 10:
            starts.append(at)
            at += response_s + (random.exponential(think_s) if think_s else 0.0)
    return request_rows(np.sort(np.array(starts)), np.full(len(starts), response_s))


@pytest.mark.parametrize(("clients", "think_s", "response_s"), [(8, 0.0, 0.05), (50, 0.2, 0.05), (4, 0.0, 3.0)])
def test_closed_loop_is_checked_by_littles_law(clients: int, think_s: float, response_s: float) -> None:
    """Little, A proof for the queuing formula L = λW, Operations Research 9 (1961)."""
    stage_data = replace(
        build_stage_data(1, 10, kind="closed", arrivals="closed"), concurrency=clients, think_s=think_s
    )
    frame = closed_loop(clients, think_s, response_s)
    assert run_check("littles_law", frame, stage_data).verdict == "VALID"
    fewer = frame[frame["index"] % 3 == 0]
    assert run_check("littles_law", fewer, stage_data).verdict == "WARN"


def test_open_loop_stage_has_no_littles_law_or_token_count_check() -> None:
    read = read_rows(rows())
    check_ids = {check.id for check in check_stage(read, STAGE_DATA, compute_offered_window(read, STAGE_DATA), SLO)}
    assert "littles_law" not in check_ids
    assert "token_counts" not in check_ids


@pytest.mark.parametrize("kind", ["varying", "spike"])
def test_varying_rate_has_no_stationarity_check(kind: str) -> None:
    stage_data = replace(STAGE_DATA, kind=kind, rate_per_s=None, rates=((0.0, 100.0), (10.0, 300.0)))
    read = read_rows(rows())
    assert "stationarity" not in {
        check.id for check in check_stage(read, stage_data, compute_offered_window(read, stage_data), SLO)
    }


def test_locust_stage_has_transport_warning_and_no_send_lag_checks() -> None:
    frame = rows().assign(scheduled_ns=pd.array([None] * 2_000, dtype="Int64"))
    stage_data = replace(
        STAGE_DATA, arrival_kind="locust", kind="closed", rate_per_s=None, generator_capacity_per_s=None, concurrency=10
    )
    read = read_rows(frame)
    run_arrival_checks = check_stage(read, stage_data, compute_offered_window(read, stage_data), SLO)
    warnings = [check for check in run_arrival_checks if check.verdict != "VALID"]
    assert compute_verdict(warnings).reasons == ("Locust transport: coordinated omission cannot be ruled out",)
    assert not {"late_sends", "send_lag_p99"} & {check.id for check in run_arrival_checks}
    (capacity_check,) = [check for check in run_arrival_checks if check.id == "generator_capacity"]
    assert (capacity_check.value, capacity_check.verdict) == (None, "VALID")
    assert "Locust" in str(capacity_check.hint)


@pytest.mark.parametrize(("source", "verdict"), [("server", "VALID"), ("tokenizer", "VALID"), ("chunks", "WARN")])
def test_chunks_counted_as_tokens_are_warning(source: str, verdict: str) -> None:
    answers = [StreamedResponse(scheduled_ms=at, chunks_ms=(at + 1, at + 2), tokens_out=2) for at in range(9)]
    frame = stream_rows(
        [*answers, StreamedResponse(scheduled_ms=9, chunks_ms=(10, 11), tokens_out=2, token_source=source)]
    )
    assert run_check("token_counts", frame).verdict == verdict


def test_late_sends_limit_depends_on_ttft_objective() -> None:
    frame = rows(build_lags_s(0.5, 0.02))
    assert run_check("late_sends", frame, slo="ttft_ms.p99 < 1000").verdict == "VALID"
    assert run_check("late_sends", frame, slo="ttft_ms.p99 < 100").verdict == "INVALID"


def run_arrival_checks(
    sent_s: npt.NDArray[np.float64], rate: float, seconds: float, arrivals: str = "poisson"
) -> dict[str, Check]:
    sent_ns = START_NS + (sent_s * 1e9).astype(np.int64)
    stage_data = build_stage_data(rate, seconds, arrivals=arrivals)  # type: ignore[arg-type]
    arrival_checks = check_arrivals(sent_ns, stage_data, Window(START_NS, START_NS + round(seconds * 1e9)))
    return {run_check.id: run_check for run_check in arrival_checks}


@pytest.mark.parametrize(("rate", "seconds"), [(100, 3), (200, 30), (2_000, 10)])
def test_poisson_arrivals_pass_checks_at_any_stage_length(rate: float, seconds: float) -> None:
    """At a confidence of 99.9 % per check, at most one of 40 checks of 20 seeds may fail."""
    verdicts = [
        run_check.verdict
        for seed in range(20)
        for run_check in run_arrival_checks(
            poisson_s(rate, seconds, np.random.default_rng(seed)), rate, seconds
        ).values()
    ]
    assert verdicts.count("VALID") >= 39


def test_dispersion_limits_of_long_stage_are_0_9_to_1_1() -> None:
    arrival_checks = run_arrival_checks(poisson_s(2_000, 60, np.random.default_rng(0)), 2_000, 60)
    low, high = str(arrival_checks["arrival_dispersion"].limit).split(" to ")
    assert float(low) == pytest.approx(0.9, abs=0.05)
    assert float(high) == pytest.approx(1.1, abs=0.06)


def test_bunched_sends_are_warning() -> None:
    """Requests are sent in bunches every 25 ms, as by a pacer that oversleeps."""
    bunched = np.ceil(poisson_s(1_000, 10, np.random.default_rng(0)) / 0.025) * 0.025
    arrival_checks = run_arrival_checks(bunched, 1_000, 10)
    assert arrival_checks["arrival_dispersion"].verdict == "WARN"
    assert arrival_checks["arrival_spacing"].verdict == "WARN"


def test_even_sends_of_poisson_stage_are_warning() -> None:
    arrival_checks = run_arrival_checks(constant_s(200, 10), 200, 10)
    assert arrival_checks["arrival_dispersion"].verdict == "WARN"
    assert arrival_checks["arrival_spacing"].value == pytest.approx(1 - np.exp(-1), abs=0.01)


def test_send_rate_other_than_scheduled_is_warning() -> None:
    assert (
        run_arrival_checks(poisson_s(120, 30, np.random.default_rng(0)), 100, 30)["arrival_spacing"].verdict == "WARN"
    )


def test_constant_stage_accepts_even_and_rejects_poisson_sends() -> None:
    jittered = constant_s(200, 10) + np.random.default_rng(0).exponential(0.0005, 2_000)
    even = run_arrival_checks(jittered, 200, 10, "constant")
    assert list(even) == ["arrival_dispersion"]
    assert even["arrival_dispersion"].verdict == "VALID"
    uneven = run_arrival_checks(poisson_s(200, 10, np.random.default_rng(0)), 200, 10, "constant")
    assert uneven["arrival_dispersion"].verdict == "WARN"


@pytest.mark.parametrize("arrivals", ["poisson", "constant"])
def test_arrival_checks_of_few_sends_have_no_value(arrivals: str) -> None:
    for n in (0, 1, 99):
        arrival_checks = run_arrival_checks(np.linspace(0, 2, n), 50, 2, arrivals)
        assert {(run_check.value, run_check.verdict) for run_check in arrival_checks.values()} == {(None, "WARN")}


RAMP = ((0.0, 10.0), (30.0, 200.0))
SPIKE = ((0.0, 50.0), (10.0, 50.0), (10.0, 500.0), (15.0, 500.0), (15.0, 50.0), (30.0, 50.0))


def run_curve_checks(
    arrivals: OpenArrivals, seed: int, stated: tuple[tuple[float, float], ...] | None = None, **changes: object
) -> dict[str, Check]:
    """Checks of 30 s of arrivals as the worker schedules them, with `stated` as the rate curve of the stage."""
    sent_ns = START_NS + compute_offsets_ns(arrivals, 30.0, 0.0, seed)
    stage_data = build_stage_data(1.0, 30, arrivals=arrivals.process)
    stage_data = replace(stage_data, rate_per_s=None, rates=stated or arrivals.rates, **{"cv": arrivals.cv, **changes})
    arrival_checks = check_arrivals(sent_ns, stage_data, Window(START_NS, START_NS + 30 * 10**9))
    return {run_check.id: run_check for run_check in arrival_checks}


@pytest.mark.parametrize("rates", [RAMP, SPIKE])
@pytest.mark.parametrize(("process", "cv"), [("poisson", 1.0), ("gamma", 0.5), ("gamma", 3.0), ("constant", 1.0)])
def test_arrivals_along_rate_curve_pass_checks(rates: tuple[tuple[float, float], ...], process: str, cv: float) -> None:
    """The time-rescaling theorem: along the area under its rate curve a process is one of rate 1."""
    arrivals = OpenArrivals(process, rates, cv)  # type: ignore[arg-type]
    verdicts = [run_check.verdict for seed in range(20) for run_check in run_curve_checks(arrivals, seed).values()]
    assert verdicts.count("VALID") >= len(verdicts) - 1


def test_rate_curve_other_than_scheduled_is_warning() -> None:
    level = ((0.0, 105.0),)
    assert run_curve_checks(OpenArrivals("poisson", RAMP), 0, stated=level)["arrival_dispersion"].verdict == "WARN"
    double = ((0.0, 20.0), (30.0, 400.0))
    assert run_curve_checks(OpenArrivals("poisson", RAMP), 0, stated=double)["arrival_spacing"].verdict == "WARN"


def test_cv_other_than_scheduled_is_warning() -> None:
    """Counts of a renewal process vary by cv² times their mean (Cox, Renewal Theory, 1962)."""
    sent = OpenArrivals("gamma", ((0.0, 1_000.0),), 3.0)
    index = run_curve_checks(sent, 1)["arrival_dispersion"].value
    assert index == pytest.approx(9.0, rel=0.2)
    poisson = replace(sent, cv=1.0)  # gamma gaps of cv 1 are exponential
    assert {run_check.verdict for run_check in run_curve_checks(poisson, 1, cv=3.0).values()} == {"WARN"}


def test_lead_in_is_excluded_from_arrival_checks() -> None:
    sent_s = np.concatenate([np.linspace(-5, -0.001, 4_000), poisson_s(200, 30, np.random.default_rng(3))])
    assert {run_check.verdict for run_check in run_arrival_checks(sent_s, 200, 30).values()} == {"VALID"}


@pytest.mark.parametrize("arrivals", ["trace", "closed", "locust"])
def test_trace_and_closed_loop_stages_have_no_arrival_checks(arrivals: str) -> None:
    assert run_arrival_checks(constant_s(200, 10), 200, 10, arrivals) == {}


def test_session_stages_have_no_arrival_checks() -> None:
    assert run_curve_checks(OpenArrivals("poisson", ((0.0, 50.0),)), 0, sessions=True) == {}


Draw = Callable[[], float]


def clients(count: int, arrivals: ArrivalKind = "closed") -> StageData:
    return replace(build_stage_data(1, 10, kind="closed", arrivals=arrivals), rate_per_s=None, concurrency=count)


def simulate_send_times_s(
    count: int, *, servers: float, service: Draw, think: Draw = lambda: 0.0, until_s: float = 10.0
) -> list[float]:
    """Send times of closed-loop clients that all start at 0, with `servers` first-come-first-served servers."""
    next_sends_s = [0.0] * count
    server_free_s = [0.0] * int(min(servers, count))
    sent = []
    while (at := heapq.heappop(next_sends_s)) < until_s:
        sent.append(at)
        end = max(at, heapq.heappop(server_free_s)) + service()
        heapq.heappush(server_free_s, end)
        heapq.heappush(next_sends_s, end + think())
    return sent


def check_synchronization(count: int, sent: list[float], stage_data: StageData | None = None) -> Check | None:
    read = read_rows(request_rows(np.array(sent), np.full(len(sent), 0.001)))
    stage_data = stage_data or clients(count)
    run_arrival_checks = check_client_synchronization(
        read.sent_ns, stage_data, compute_offered_window(read, stage_data)
    )
    return run_arrival_checks[0] if run_arrival_checks else None


@pytest.mark.parametrize("count", [2, 8, 100, 1000])
def test_clients_with_constant_latency_are_synchronized(count: int) -> None:
    sync_check = check_synchronization(count, simulate_send_times_s(count, servers=math.inf, service=lambda: 0.1))
    assert sync_check is not None
    assert sync_check.verdict == "WARN"
    assert sync_check.value == pytest.approx(1.0)
    assert "Set a think time" in str(sync_check.hint)


@pytest.mark.parametrize("count", [2, 3, 16, 64])
def test_clients_of_single_server_are_not_synchronized(count: int) -> None:
    sync_check = check_synchronization(count, simulate_send_times_s(count, servers=1, service=lambda: 0.1 / count))
    assert sync_check is not None
    assert sync_check.verdict == "VALID"
    assert isinstance(sync_check.value, float)
    assert sync_check.value < 0.1


@pytest.mark.parametrize("count", [2, 8, 100])
@pytest.mark.parametrize("servers", [math.inf, 1])
def test_clients_with_random_think_time_are_not_synchronized(count: int, servers: float) -> None:
    rng = np.random.default_rng(count)
    think: Draw = lambda: float(rng.exponential(0.2))  # noqa: E731
    sync_check = check_synchronization(
        count, simulate_send_times_s(count, servers=servers, service=lambda: 0.2 / count, think=think)
    )
    assert sync_check is not None
    assert sync_check.verdict == "VALID"


def test_clients_with_random_latency_are_not_synchronized() -> None:
    """Exponential service times remove the common phase within a cycle."""
    rng = np.random.default_rng(5)
    sync_check = check_synchronization(
        32, simulate_send_times_s(32, servers=math.inf, service=lambda: float(rng.exponential(0.1)))
    )
    assert sync_check is not None
    assert sync_check.verdict == "VALID"


def test_clients_of_server_with_batches_of_varying_length_are_synchronized() -> None:
    """There is no fixed period: only sends of the same cycle are compared."""
    rng = np.random.default_rng(6)
    starts = np.cumsum(rng.uniform(0.05, 0.15, 90))
    sync_check = check_synchronization(16, sorted(np.repeat(starts, 16) + rng.uniform(0, 0.001, 16 * 90)))
    assert sync_check is not None
    assert sync_check.verdict == "WARN"


@pytest.mark.parametrize(("servers", "verdict"), [(4, "VALID"), (24, "WARN")])
def test_synchronization_grows_with_number_of_servers(servers: int, verdict: str) -> None:
    """Of 32 clients, as many as there are servers send together: each is in step with (k − 1) of 31 others."""
    sync_check = check_synchronization(32, simulate_send_times_s(32, servers=servers, service=lambda: 0.05))
    assert sync_check is not None
    assert sync_check.verdict == verdict


def test_synchronization_is_checked_for_locust_users_and_not_for_open_loop() -> None:
    sent = simulate_send_times_s(8, servers=math.inf, service=lambda: 0.1)
    sync_check = check_synchronization(8, sent, clients(8, "locust"))
    assert sync_check is not None
    assert sync_check.verdict == "WARN"
    assert check_synchronization(8, sent, replace(clients(8), arrival_kind="poisson")) is None


def test_synchronization_is_not_checked_for_one_client_or_few_cycles() -> None:
    assert check_synchronization(1, simulate_send_times_s(1, servers=math.inf, service=lambda: 0.1)) is None
    assert check_synchronization(8, simulate_send_times_s(8, servers=math.inf, service=lambda: 1.2)) is None


def test_synchronization_is_not_checked_for_cycles_below_10_ms() -> None:
    assert check_synchronization(8, simulate_send_times_s(8, servers=math.inf, service=lambda: 0.009)) is None
    assert check_synchronization(8, simulate_send_times_s(8, servers=math.inf, service=lambda: 0.011)) is not None


@pytest.mark.parametrize(
    ("missing", "verdict"), [(0, "VALID"), (1, "WARN"), (30, "WARN"), (40, "INVALID"), (2_000, "INVALID")]
)
def test_never_started_requests_are_graded(missing: int, verdict: str) -> None:
    frame = request_rows(constant_s(200, 10), np.full(2_000, 0.02))
    times = ["sent_ns", "first_byte_ns", "end_ns"]
    frame[times] = frame[times].astype(float).where(frame["index"] >= missing, axis=0)
    never_started = check_never_started(read_rows(frame))
    assert never_started.verdict == verdict
    assert never_started.value == pytest.approx(missing / 2_000)


def test_refused_connections_are_not_never_started_requests() -> None:
    frame = request_rows(constant_s(200, 10), np.full(2_000, 0.02), errors=["connect"] * 2_000)
    assert check_never_started(read_rows(frame)).verdict == "VALID"
    assert check_never_started(read_rows(frame.iloc[:0])).verdict == "WARN"


def worker(number: int, *, lost_s: float | None = None, residual_ms: float | None = None) -> WorkerData:
    """Worker data. `lost_s` is relative to the start of the measurement window."""
    lost_ns = None if lost_s is None else START_NS + round(lost_s * 1e9)
    return WorkerData(number, f"host{number % 2}", 100 + number, 0.1, 50, 0.2, residual_ms, lost_ns)


def run_worker_checks(*workers: WorkerData, lead_in_s: float = 0.0) -> dict[str, Check]:
    worker_checks = check_workers(replace(build_stage_data(), workers=workers, lead_in_s=lead_in_s))
    return {run_check.id: run_check for run_check in worker_checks}


def test_single_local_worker_has_no_worker_checks() -> None:
    assert check_workers(build_stage_data()) == ()


def test_connected_workers_with_shared_clock_are_valid() -> None:
    worker_checks = run_worker_checks(worker(0), worker(1))
    assert [(run_check.value, run_check.verdict) for run_check in worker_checks.values()] == [
        ("2 of 2", "VALID"),
        ("one clock", "VALID"),
    ]


def test_worker_lost_during_stage_is_invalid() -> None:
    lost = run_worker_checks(worker(0), worker(1), worker(2), worker(3, lost_s=2.34))["workers"]
    assert (lost.value, lost.limit, lost.verdict) == ("3 of 4", "4", "INVALID")
    assert lost.hint == (
        "Worker 3 on host1 was disconnected 2.3 s into the stage: a quarter of the load was not sent from then on. "
        "Restart the worker and measure again."
    )


@pytest.mark.parametrize(
    ("workers", "part"),
    [
        ((worker(0), worker(1, lost_s=1)), "half of the load"),
        ((worker(0, lost_s=1),), "all of the load"),
        ((*map(worker, range(4)), worker(4, lost_s=1)), "1/5 of the load"),
        ((worker(0), worker(1, lost_s=1), worker(2, lost_s=2)), "2/3 of the load"),
        ((worker(0), worker(1, lost_s=-9), worker(2, lost_s=2)), "half of the load"),
    ],
)
def test_lost_worker_hint_has_unsent_share_of_load(workers: tuple[WorkerData, ...], part: str) -> None:
    lost = run_worker_checks(*workers)["workers"]
    assert lost.verdict == "INVALID"
    assert f"{part} was not sent" in str(lost.hint)


def test_worker_lost_before_stage_is_warning() -> None:
    lost = run_worker_checks(worker(0), worker(1), worker(2), worker(3, lost_s=-3.0))["workers"]
    assert lost.verdict == "WARN"
    assert (
        lost.hint == "Worker 3 on host1 was disconnected before the stage. 3 of 4 workers have shared the load since."
    )


def test_worker_lost_during_lead_in_is_invalid() -> None:
    lost = run_worker_checks(worker(0), worker(1, lost_s=-1.0), lead_in_s=2.0)["workers"]
    assert lost.verdict == "INVALID"
    assert "0.0 s into the stage" in str(lost.hint)


def test_worker_lost_during_drain_is_invalid_with_pending_responses() -> None:
    lost = run_worker_checks(worker(0), worker(1, lost_s=10.5))["workers"]
    assert lost.verdict == "INVALID"
    assert "pending responses" in str(lost.hint)


@pytest.mark.parametrize(("residual_ms", "verdict"), [(0.2, "VALID"), (1.5, "WARN"), (11.0, "INVALID")])
def test_worker_clocks_check_uses_largest_residual(residual_ms: float, verdict: str) -> None:
    clocks = run_worker_checks(worker(0), worker(1, residual_ms=0.1), worker(2, residual_ms=residual_ms))[
        "worker_clocks"
    ]
    assert (clocks.value, clocks.unit, clocks.verdict) == (residual_ms, "ms", verdict)


STREAM_FACTS = replace(build_stage_data(10, 10), requests_output_lengths=True)


def run_stream_checks(frame: pd.DataFrame, stage_data: StageData = STREAM_FACTS, *sending: Check) -> dict[str, Check]:
    return {check.id: check for check in check_streams(read_rows(frame), stage_data, sending)}


def check_coalesced_chunks(share: float, *sending: Check) -> Check:
    """Check of one response of 1,001 chunks; a `share` of them was read together with the previous chunk."""
    gaps = np.where(np.arange(1_000) < share * 1_000, 0.0, 1.0)
    return run_stream_checks(
        stream_rows([StreamedResponse(chunks_ms=(5.0, *(5.0 + np.cumsum(gaps))))]), STREAM_FACTS, *sending
    )["coalesced_chunks"]


@pytest.mark.parametrize(("share", "verdict"), [(0.0, "VALID"), (0.1, "VALID"), (0.101, "WARN"), (1.0, "WARN")])
def test_coalesced_chunks_above_10_percent_are_warning(share: float, verdict: str) -> None:
    coalesced = check_coalesced_chunks(share)
    assert coalesced.verdict == verdict
    assert coalesced.value == pytest.approx(share)


def test_chunks_of_different_responses_are_not_coalesced() -> None:
    alike = StreamedResponse(chunks_ms=(5.0, 6.0))
    assert (
        run_stream_checks(stream_rows([alike, alike, replace(alike, error="truncated")]))["coalesced_chunks"].value
        == 0.0
    )


def build_load_check(name: CheckId, value: float | None, verdict: Validity) -> Check:
    return Check(name, value, 0.7, "share", verdict)


@pytest.mark.parametrize(
    ("sending", "hint"),
    [
        (build_load_check("generator_cpu", 0.8, "WARN"), "The load worker was overloaded"),
        (build_load_check("generator_capacity", 0.9, "INVALID"), "The load worker was overloaded"),
        (build_load_check("generator_core_wait", 0.2, "INVALID"), "The load worker was overloaded"),
        (build_load_check("generator_capacity", 0.1, "VALID"), "The server, or a proxy"),
        (build_load_check("generator_capacity", None, "WARN"), "The server, or a proxy"),
        (build_load_check("late_sends", 0.5, "INVALID"), "The server, or a proxy"),
    ],
)
def test_coalesced_chunks_hint_names_cause_by_worker_load(sending: Check, hint: str) -> None:
    assert str(check_coalesced_chunks(0.5, sending).hint).startswith(hint)


def build_responses(tokens: list[int | None], requested_tokens: int | None, source: str = "server") -> pd.DataFrame:
    answers = [StreamedResponse(chunks_ms=(1, 2), tokens_out=count, token_source=source) for count in tokens]
    return stream_rows(answers).assign(max_output_tokens=requested_tokens)


@pytest.mark.parametrize(
    ("tokens", "verdict"),
    [([100, 100, 100], "VALID"), ([10, 90, 100], "VALID"), ([89, 89, 100], "WARN"), ([120, 130, 140], "VALID")],
)
def test_median_output_length_below_90_percent_of_requested_is_warning(tokens: list[int | None], verdict: str) -> None:
    lengths_check = run_stream_checks(build_responses(tokens, 100))["output_lengths"]
    assert (lengths_check.value, lengths_check.verdict) == (sorted(tokens)[1] / 100, verdict)  # type: ignore[operator,type-var]


def test_output_lengths_hint_has_share_and_ignore_eos() -> None:
    hint = str(run_stream_checks(build_responses([41], 100))["output_lengths"].hint)
    assert "41 % of the requested tokens" in hint
    assert "ignore_eos" in hint


def test_unrequested_or_uncounted_output_lengths_are_not_checked() -> None:
    assert "output_lengths" not in run_stream_checks(build_responses([41], None))
    assert "output_lengths" not in run_stream_checks(build_responses([None], 100))
    assert "output_lengths" not in run_stream_checks(build_responses([41], 100, source="chunks"))
    assert "output_lengths" not in run_stream_checks(
        build_responses([41], 100), replace(STREAM_FACTS, requests_output_lengths=False)
    )


def test_responses_without_tokens_have_no_stream_checks() -> None:
    assert run_stream_checks(stream_rows([StreamedResponse(end_ms=5.0)])) == {}
    assert set(run_stream_checks(stream_rows([StreamedResponse(chunks_ms=(5.0,))]))) == set()
