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
from tests.fakes.queues import START_NS, constant_s, latency_s, poisson_s, request_rows, stage_facts
from tests.fakes.streams import Answer, stream_rows

SLO = (parse_objective("latency_ms.p95 < 50"),)
FACTS = stage_facts(200, 10, arrivals="constant")


def rows(lag_s: npt.NDArray[np.float64] | float = 0.0, errors: list[str | None] | None = None) -> pd.DataFrame:
    return request_rows(constant_s(200, 10), np.full(2_000, 0.02), lag_s, errors)


def check(name: CheckId, frame: pd.DataFrame, facts: StageData = FACTS, slo: str | None = None) -> Check:
    objectives = SLO if slo is None else (parse_objective(slo),)
    read = read_rows(frame)
    return {one.id: one for one in check_stage(read, facts, compute_offered_window(read, facts), objectives)}[name]


def late(share: float, by_s: float) -> npt.NDArray[np.float64]:
    return np.where(np.arange(2_000) < share * 2_000, by_s, 0.0)


def never_sent(share: float) -> pd.DataFrame:
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
def test_late_sends_are_evaluated_by_the_slo(share: float, by_s: float, slo: str | None, verdict: str) -> None:
    assert check("late_sends", rows(late(share, by_s)), slo=slo).verdict == verdict


@pytest.mark.parametrize("count", [1, 2, 10, 20, 50, 92])
@pytest.mark.parametrize(
    "name", ["late_sends", "achieved_of_offered", "arrivals_never_started"], ids=["late", "unsent", "never started"]
)
def test_one_request_does_not_make_a_stage_invalid_and_all_of_them_do(name: CheckId, count: int) -> None:
    def read(violations: int) -> Check:
        is_violation = np.arange(count) < violations
        frame = request_rows(constant_s(10, count / 10), np.full(count, 0.02), np.where(is_violation, 0.05, 0.0))
        if name != "late_sends":
            times = ["sent_ns", "first_byte_ns", "end_ns"]
            frame[times] = frame[times].astype(float).where(frame["index"] >= violations, axis=0)
        return check(name, frame, stage_facts(10, count / 10, arrivals="constant"))

    assert read(1).verdict != "INVALID"
    if count > 1:
        assert read(count).verdict == "INVALID"


@pytest.mark.parametrize(("late_count", "verdict"), [(0, "VALID"), (1, "WARN"), (4, "WARN"), (5, "INVALID")])
def test_late_requests_decide_when_their_number_is_improbable_at_the_limit(late_count: int, verdict: str) -> None:
    """Of 92 requests with a late share of 1 %, four or more are late with a probability of 1.5 %, five or more with
    0.3 %."""
    lag_s = np.where(np.arange(92) < late_count, 0.05, 0.0)
    frame = request_rows(constant_s(9.2, 10), np.full(92, 0.02), lag_s)
    assert check("late_sends", frame, stage_facts(9.2, 10, arrivals="constant")).verdict == verdict


@pytest.mark.parametrize("count", [1, 2, 10, 19, 49])
def test_a_last_request_that_is_sent_a_moment_after_the_end_of_the_window_was_sent(count: int) -> None:
    scheduled_s = constant_s(10, count / 10)
    facts = stage_facts(10, float(scheduled_s[-1]) + 1e-9, arrivals="constant")
    frame = request_rows(scheduled_s, np.full(count, 0.02), 0.0002)
    assert check("achieved_of_offered", frame, facts).value == 1.0
    late_frame = request_rows(scheduled_s, np.full(count, 0.2), 0.15)
    assert check("achieved_of_offered", late_frame, facts).value < 1.0  # type: ignore[operator]


def test_a_target_process_that_ended_makes_the_stage_invalid_and_is_the_reason_for_a_backlog() -> None:
    facts = replace(FACTS, target_ended="the scripted server was killed by SIGKILL", is_saturated=True)
    found = check("target_process", rows(), facts)
    assert (found.verdict, found.value) == ("INVALID", "the scripted server was killed by SIGKILL")
    assert "endpoint" not in str(check("stationarity", rows(), facts).hint)


@pytest.mark.parametrize("started", [0, 2])
def test_a_stage_that_was_stopped_at_its_start_is_no_fault_of_the_generator(started: int) -> None:
    """Two of four arrivals were sent within 5 ms, with the CPU time of a whole start."""
    frame = rows().iloc[:4].copy()
    times = ["sent_ns", "first_byte_ns", "end_ns"]
    frame[times] = frame[times].astype(float).where(frame["index"] < started, axis=0)
    stopped = replace(FACTS, stopped_early=True, end_ns=FACTS.start_ns + 5_000_000, worker_cpu_s=0.02)
    read = read_rows(frame)
    checks = check_stage(read, stopped, compute_offered_window(read, stopped), SLO)
    assert "INVALID" not in {one.verdict for one in checks}
    (cpu,) = [one for one in checks if one.id == "generator_cpu"]
    assert cpu.verdict == "WARN"
    assert cpu.value == pytest.approx(4)
    assert cpu.hint == "The stage was stopped less than 1 s after its start, too early for this check."
    run_down = replace(stopped, stopped_early=False)
    assert "INVALID" in {
        one.verdict for one in check_stage(read, run_down, compute_offered_window(read, run_down), SLO)
    }


@pytest.mark.parametrize(("share", "verdict"), [(0.009, "VALID"), (0.011, "WARN")])
def test_a_lag_of_5_ms_is_a_warning(share: float, verdict: str) -> None:
    assert check("send_lag_p99", rows(late(share, 0.006))).verdict == verdict


@pytest.mark.parametrize(("share", "verdict"), [(0.01, "VALID"), (0.03, "WARN"), (0.06, "WARN"), (0.07, "INVALID")])
def test_arrivals_never_started_are_the_clients(share: float, verdict: str) -> None:
    found = check("achieved_of_offered", never_sent(share))
    assert found.verdict == verdict
    assert found.value == pytest.approx(1 - share)


def test_a_target_that_refuses_connections_is_not_the_clients_fault() -> None:
    frame = rows(errors=["connect"] * 2_000)
    assert check("achieved_of_offered", frame).verdict == "VALID"
    assert check("errors", frame).value == 1.0


def test_an_overloaded_server_leaves_an_open_loop_client_valid() -> None:
    scheduled = poisson_s(200, 10, np.random.default_rng(0))
    frame = request_rows(scheduled, latency_s(scheduled, np.full(scheduled.size, 0.008)))
    facts = stage_facts(200, 10, drain_s=10)
    read = read_rows(frame)
    found = check_stage(read, facts, compute_offered_window(read, facts), SLO)
    assert {one.id for one in found if one.verdict != "VALID"} == {"stationarity"}
    assert not any(one.verdict == "INVALID" for one in found)


@pytest.mark.parametrize(
    ("ceiling", "verdict"), [(300.0, "VALID"), (280.0, "WARN"), (230.0, "INVALID"), (None, "WARN")]
)
def test_the_generator_must_stay_under_its_ceiling(ceiling: float | None, verdict: str) -> None:
    found = check("generator_capacity", rows(), stage_facts(200, 10, ceiling_per_s=ceiling))
    assert found.verdict == verdict
    assert (found.value is None) == (ceiling is None)


@pytest.mark.parametrize(("cpu_s", "verdict"), [(7.0, "VALID"), (8.0, "WARN"), (10.0, "INVALID")])
def test_the_load_worker_has_one_core(cpu_s: float, verdict: str) -> None:
    assert check("generator_cpu", rows(), stage_facts(200, 10, worker_cpu_s=cpu_s)).verdict == verdict


@pytest.mark.parametrize(
    ("slo", "limit", "verdict"), [("p95", 72, "VALID"), ("p99", 368, "VALID"), ("p99.9", 3688, "WARN")]
)
def test_the_slos_percentiles_need_their_samples(slo: str, limit: int, verdict: str) -> None:
    found = check("samples", rows(), slo=f"latency_ms.{slo} < 50")
    assert (found.value, found.limit, found.verdict) == (2_000, limit, verdict)


def test_no_success_is_never_valid() -> None:
    frame = rows(errors=["http-5xx"] * 2_000)
    assert check("samples", frame, slo="error_rate < 100%").verdict == "WARN"


@pytest.mark.parametrize(("failed", "verdict"), [(20, "VALID"), (21, "WARN")])
def test_errors_over_1_percent_are_a_warning(failed: int, verdict: str) -> None:
    assert check("errors", rows(errors=["timeout"] * failed + [None] * (2_000 - failed))).verdict == verdict


def test_a_stage_ended_by_its_backlog_says_so() -> None:
    found = check("stationarity", rows(), stage_facts(200, 10, over_saturated=True))
    assert found.verdict == "WARN"
    assert "cannot sustain this rate" in str(found.hint)
    assert check("stationarity", rows()).verdict == "VALID"


def closed_loop(clients: int, think_s: float, answer_s: float) -> pd.DataFrame:
    """Each client asks again a pause after its last answer, for 10 s."""
    random = np.random.default_rng(4)
    starts = []
    for _ in range(clients):
        at = 0.0
        while at < 10:
            starts.append(at)
            at += answer_s + (random.exponential(think_s) if think_s else 0.0)
    return request_rows(np.sort(np.array(starts)), np.full(len(starts), answer_s))


@pytest.mark.parametrize(("clients", "think_s", "answer_s"), [(8, 0.0, 0.05), (50, 0.2, 0.05), (4, 0.0, 3.0)])
def test_a_closed_loop_executes_littles_law(clients: int, think_s: float, answer_s: float) -> None:
    """Little, A proof for the queuing formula L = λW, Operations Research 9 (1961)."""
    facts = replace(stage_facts(1, 10, kind="closed", arrivals="closed"), concurrency=clients, think_s=think_s)
    frame = closed_loop(clients, think_s, answer_s)
    assert check("littles_law", frame, facts).verdict == "VALID"
    fewer = frame[frame["index"] % 3 == 0]
    assert check("littles_law", fewer, facts).verdict == "WARN"


def test_open_stages_have_no_clients_to_count() -> None:
    read = read_rows(rows())
    found = {one.id for one in check_stage(read, FACTS, compute_offered_window(read, FACTS), SLO)}
    assert "littles_law" not in found
    assert "token_counts" not in found


@pytest.mark.parametrize("kind", ["varying", "spike"])
def test_a_rate_that_changes_is_not_asked_to_stand_still(kind: str) -> None:
    facts = replace(FACTS, kind=kind, rate_per_s=None, rates=((0.0, 100.0), (10.0, 300.0)))
    read = read_rows(rows())
    assert "stationarity" not in {one.id for one in check_stage(read, facts, compute_offered_window(read, facts), SLO)}


def test_a_locust_test_has_one_warning_of_its_own_and_no_lag() -> None:
    frame = rows().assign(scheduled_ns=pd.array([None] * 2_000, dtype="Int64"))
    facts = replace(
        FACTS, arrival_kind="locust", kind="closed", rate_per_s=None, generator_capacity_per_s=None, concurrency=10
    )
    read = read_rows(frame)
    found = check_stage(read, facts, compute_offered_window(read, facts), SLO)
    doubts = [one for one in found if one.verdict != "VALID"]
    assert compute_verdict(doubts).reasons == ("Locust transport: coordinated omission cannot be ruled out",)
    assert not {"late_sends", "send_lag_p99"} & {one.id for one in found}
    (ceiling,) = [one for one in found if one.id == "generator_capacity"]
    assert (ceiling.value, ceiling.verdict) == (None, "VALID")
    assert "Locust" in str(ceiling.hint)


@pytest.mark.parametrize(("source", "verdict"), [("server", "VALID"), ("tokenizer", "VALID"), ("chunks", "WARN")])
def test_chunks_counted_as_tokens_are_a_warning(source: str, verdict: str) -> None:
    answers = [Answer(scheduled_ms=at, chunks_ms=(at + 1, at + 2), tokens_out=2) for at in range(9)]
    frame = stream_rows([*answers, Answer(scheduled_ms=9, chunks_ms=(10, 11), tokens_out=2, token_source=source)])
    assert check("token_counts", frame).verdict == verdict


def test_late_sends_are_evaluated_by_a_limit_on_the_first_token_too() -> None:
    frame = rows(late(0.5, 0.02))
    assert check("late_sends", frame, slo="ttft_ms.p99 < 1000").verdict == "VALID"
    assert check("late_sends", frame, slo="ttft_ms.p99 < 100").verdict == "INVALID"


def checks(sent_s: npt.NDArray[np.float64], rate: float, seconds: float, arrivals: str = "poisson") -> dict[str, Check]:
    sent_ns = START_NS + (sent_s * 1e9).astype(np.int64)
    facts = stage_facts(rate, seconds, arrivals=arrivals)  # type: ignore[arg-type]
    found = check_arrivals(sent_ns, facts, Window(START_NS, START_NS + round(seconds * 1e9)))
    return {check.id: check for check in found}


@pytest.mark.parametrize(("rate", "seconds"), [(100, 3), (200, 30), (2_000, 10)])
def test_a_poisson_load_passes_at_any_length(rate: float, seconds: float) -> None:
    """At 99.9 % a check, 40 checks of 20 seeds may fail once at most."""
    verdicts = [
        check.verdict
        for seed in range(20)
        for check in checks(poisson_s(rate, seconds, np.random.default_rng(seed)), rate, seconds).values()
    ]
    assert verdicts.count("VALID") >= 39


def test_long_stages_are_held_to_the_plain_limits() -> None:
    found = checks(poisson_s(2_000, 60, np.random.default_rng(0)), 2_000, 60)
    low, high = str(found["arrival_dispersion"].limit).split(" to ")
    assert float(low) == pytest.approx(0.9, abs=0.05)
    assert float(high) == pytest.approx(1.1, abs=0.06)


def test_bunched_sends_are_seen() -> None:
    """Sent in bunches of 25 ms, as by a pacer that oversleeps."""
    bunched = np.ceil(poisson_s(1_000, 10, np.random.default_rng(0)) / 0.025) * 0.025
    found = checks(bunched, 1_000, 10)
    assert found["arrival_dispersion"].verdict == "WARN"
    assert found["arrival_spacing"].verdict == "WARN"


def test_even_sends_are_not_poisson() -> None:
    found = checks(constant_s(200, 10), 200, 10)
    assert found["arrival_dispersion"].verdict == "WARN"
    assert found["arrival_spacing"].value == pytest.approx(1 - np.exp(-1), abs=0.01)


def test_another_rate_than_stated_is_seen() -> None:
    assert checks(poisson_s(120, 30, np.random.default_rng(0)), 100, 30)["arrival_spacing"].verdict == "WARN"


def test_a_constant_load_is_even_and_a_poisson_one_is_not() -> None:
    jittered = constant_s(200, 10) + np.random.default_rng(0).exponential(0.0005, 2_000)
    even = checks(jittered, 200, 10, "constant")
    assert list(even) == ["arrival_dispersion"]
    assert even["arrival_dispersion"].verdict == "VALID"
    uneven = checks(poisson_s(200, 10, np.random.default_rng(0)), 200, 10, "constant")
    assert uneven["arrival_dispersion"].verdict == "WARN"


@pytest.mark.parametrize("arrivals", ["poisson", "constant"])
def test_too_few_sends_report_nothing(arrivals: str) -> None:
    for n in (0, 1, 99):
        found = checks(np.linspace(0, 2, n), 50, 2, arrivals)
        assert {(check.value, check.verdict) for check in found.values()} == {(None, "WARN")}


RAMP = ((0.0, 10.0), (30.0, 200.0))
SPIKE = ((0.0, 50.0), (10.0, 50.0), (10.0, 500.0), (15.0, 500.0), (15.0, 50.0), (30.0, 50.0))


def of_a_curve(
    arrivals: OpenArrivals, seed: int, stated: tuple[tuple[float, float], ...] | None = None, **changes: object
) -> dict[str, Check]:
    """30 s of what the worker would send, told to be of the rates `stated`."""
    sent_ns = START_NS + compute_offsets_ns(arrivals, 30.0, 0.0, seed)
    facts = stage_facts(1.0, 30, arrivals=arrivals.process)
    facts = replace(facts, rate_per_s=None, rates=stated or arrivals.rates, **{"cv": arrivals.cv, **changes})
    found = check_arrivals(sent_ns, facts, Window(START_NS, START_NS + 30 * 10**9))
    return {check.id: check for check in found}


@pytest.mark.parametrize("rates", [RAMP, SPIKE])
@pytest.mark.parametrize(("process", "cv"), [("poisson", 1.0), ("gamma", 0.5), ("gamma", 3.0), ("constant", 1.0)])
def test_arrivals_along_any_curve_pass(rates: tuple[tuple[float, float], ...], process: str, cv: float) -> None:
    """The time-rescaling theorem: along the area under its rate curve a process is one of rate 1."""
    arrivals = OpenArrivals(process, rates, cv)  # type: ignore[arg-type]
    verdicts = [check.verdict for seed in range(20) for check in of_a_curve(arrivals, seed).values()]
    assert verdicts.count("VALID") >= len(verdicts) - 1


def test_another_curve_than_stated_is_seen() -> None:
    level = ((0.0, 105.0),)
    assert of_a_curve(OpenArrivals("poisson", RAMP), 0, stated=level)["arrival_dispersion"].verdict == "WARN"
    double = ((0.0, 20.0), (30.0, 400.0))
    assert of_a_curve(OpenArrivals("poisson", RAMP), 0, stated=double)["arrival_spacing"].verdict == "WARN"


def test_another_burstiness_than_stated_is_seen() -> None:
    """Counts of a renewal process vary by cv² times their mean (Cox, Renewal Theory, 1962)."""
    sent = OpenArrivals("gamma", ((0.0, 1_000.0),), 3.0)
    index = of_a_curve(sent, 1)["arrival_dispersion"].value
    assert index == pytest.approx(9.0, rel=0.2)
    poisson = replace(sent, cv=1.0)  # gamma gaps of cv 1 are exponential
    assert {check.verdict for check in of_a_curve(poisson, 1, cv=3.0).values()} == {"WARN"}


def test_a_lead_in_is_in_no_check() -> None:
    sent_s = np.concatenate([np.linspace(-5, -0.001, 4_000), poisson_s(200, 30, np.random.default_rng(3))])
    assert {check.verdict for check in checks(sent_s, 200, 30).values()} == {"VALID"}


@pytest.mark.parametrize("arrivals", ["trace", "closed", "locust"])
def test_what_no_curve_made_is_held_against_none(arrivals: str) -> None:
    assert checks(constant_s(200, 10), 200, 10, arrivals) == {}


def test_later_turns_of_sessions_follow_answers_and_no_curve() -> None:
    assert of_a_curve(OpenArrivals("poisson", ((0.0, 50.0),)), 0, sessions=True) == {}


Draw = Callable[[], float]


def clients(count: int, arrivals: ArrivalKind = "closed") -> StageData:
    return replace(stage_facts(1, 10, kind="closed", arrivals=arrivals), rate_per_s=None, concurrency=count)


def sends_s(
    count: int, *, servers: float, service: Draw, think: Draw = lambda: 0.0, until_s: float = 10.0
) -> list[float]:
    """Clients of a closed loop that all start at 0, before so many servers, first come first served."""
    waiting = [0.0] * count
    free = [0.0] * int(min(servers, count))
    sent = []
    while (at := heapq.heappop(waiting)) < until_s:
        sent.append(at)
        end = max(at, heapq.heappop(free)) + service()
        heapq.heappush(free, end)
        heapq.heappush(waiting, end + think())
    return sent


def in_step(count: int, sent: list[float], facts: StageData | None = None) -> Check | None:
    read = read_rows(request_rows(np.array(sent), np.full(len(sent), 0.001)))
    facts = facts or clients(count)
    found = check_client_synchronization(read.sent_ns, facts, compute_offered_window(read, facts))
    return found[0] if found else None


@pytest.mark.parametrize("count", [2, 8, 100, 1000])
def test_clients_of_a_server_that_takes_all_alike_and_any_number_stay_in_step(count: int) -> None:
    found = in_step(count, sends_s(count, servers=math.inf, service=lambda: 0.1))
    assert found is not None
    assert found.verdict == "WARN"
    assert found.value == pytest.approx(1.0)
    assert "Set a think time" in str(found.hint)


@pytest.mark.parametrize("count", [2, 3, 16, 64])
def test_clients_of_one_server_take_turns(count: int) -> None:
    found = in_step(count, sends_s(count, servers=1, service=lambda: 0.1 / count))
    assert found is not None
    assert found.verdict == "VALID"
    assert isinstance(found.value, float)
    assert found.value < 0.1


@pytest.mark.parametrize("count", [2, 8, 100])
@pytest.mark.parametrize("servers", [math.inf, 1])
def test_clients_that_think_by_chance_know_nothing_of_each_other(count: int, servers: float) -> None:
    rng = np.random.default_rng(count)
    think: Draw = lambda: float(rng.exponential(0.2))  # noqa: E731
    found = in_step(count, sends_s(count, servers=servers, service=lambda: 0.2 / count, think=think))
    assert found is not None
    assert found.verdict == "VALID"


def test_answers_that_vary_set_clients_apart() -> None:
    """Exponential service: each cycle loses the phase of the one before."""
    rng = np.random.default_rng(5)
    found = in_step(32, sends_s(32, servers=math.inf, service=lambda: float(rng.exponential(0.1))))
    assert found is not None
    assert found.verdict == "VALID"


def test_a_server_that_answers_in_batches_of_changing_length_keeps_them_in_step() -> None:
    """No period to find: only sends of the same cycle are compared."""
    rng = np.random.default_rng(6)
    starts = np.cumsum(rng.uniform(0.05, 0.15, 90))
    found = in_step(16, sorted(np.repeat(starts, 16) + rng.uniform(0, 0.001, 16 * 90)))
    assert found is not None
    assert found.verdict == "WARN"


@pytest.mark.parametrize(("servers", "verdict"), [(4, "VALID"), (24, "WARN")])
def test_groups_as_large_as_the_servers_are_as_far_in_step_as_they_are_large(servers: int, verdict: str) -> None:
    """Of 32 clients, as many as there are servers are answered and send together: (k − 1) of 31 others."""
    found = in_step(32, sends_s(32, servers=servers, service=lambda: 0.05))
    assert found is not None
    assert found.verdict == verdict


def test_users_of_a_locust_test_are_looked_at_too_and_open_loops_are_not() -> None:
    sent = sends_s(8, servers=math.inf, service=lambda: 0.1)
    found = in_step(8, sent, clients(8, "locust"))
    assert found is not None
    assert found.verdict == "WARN"
    assert in_step(8, sent, replace(clients(8), arrival_kind="poisson")) is None


def test_one_client_and_too_few_cycles_report_nothing() -> None:
    assert in_step(1, sends_s(1, servers=math.inf, service=lambda: 0.1)) is None
    assert in_step(8, sends_s(8, servers=math.inf, service=lambda: 1.2)) is None


def test_cycles_as_short_as_what_an_event_loop_reads_at_once_report_nothing() -> None:
    assert in_step(8, sends_s(8, servers=math.inf, service=lambda: 0.009)) is None
    assert in_step(8, sends_s(8, servers=math.inf, service=lambda: 0.011)) is not None


@pytest.mark.parametrize(
    ("missing", "verdict"), [(0, "VALID"), (1, "WARN"), (30, "WARN"), (40, "INVALID"), (2_000, "INVALID")]
)
def test_arrivals_never_started_have_a_check_of_their_own(missing: int, verdict: str) -> None:
    frame = request_rows(constant_s(200, 10), np.full(2_000, 0.02))
    times = ["sent_ns", "first_byte_ns", "end_ns"]
    frame[times] = frame[times].astype(float).where(frame["index"] >= missing, axis=0)
    found = check_never_started(read_rows(frame))
    assert found.verdict == verdict
    assert found.value == pytest.approx(missing / 2_000)


def test_a_target_that_refuses_connections_was_sent_to() -> None:
    frame = request_rows(constant_s(200, 10), np.full(2_000, 0.02), errors=["connect"] * 2_000)
    assert check_never_started(read_rows(frame)).verdict == "VALID"
    assert check_never_started(read_rows(frame.iloc[:0])).verdict == "WARN"


def worker(number: int, *, lost_s: float | None = None, residual_ms: float | None = None) -> WorkerData:
    """`lost_s` from the start of the stage's measured part."""
    lost_ns = None if lost_s is None else START_NS + round(lost_s * 1e9)
    return WorkerData(number, f"host{number % 2}", 100 + number, 0.1, 50, 0.2, residual_ms, lost_ns)


def worker_checks_checks(*workers: WorkerData, lead_in_s: float = 0.0) -> dict[str, Check]:
    found = check_workers(replace(stage_facts(), workers=workers, lead_in_s=lead_in_s))
    return {check.id: check for check in found}


def test_one_worker_that_speaks_for_itself_is_not_evaluated() -> None:
    assert check_workers(stage_facts()) == ()


def test_workers_that_stayed_and_share_a_clock_are_valid() -> None:
    found = worker_checks_checks(worker(0), worker(1))
    assert [(check.value, check.verdict) for check in found.values()] == [("2 of 2", "VALID"), ("one clock", "VALID")]


def test_a_worker_lost_in_the_stage_spoils_it() -> None:
    lost = worker_checks_checks(worker(0), worker(1), worker(2), worker(3, lost_s=2.34))["workers"]
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
def test_it_says_how_much_was_not_sent(workers: tuple[WorkerData, ...], part: str) -> None:
    lost = worker_checks_checks(*workers)["workers"]
    assert lost.verdict == "INVALID"
    assert f"{part} was not sent" in str(lost.hint)


def test_a_share_that_was_given_to_the_others_before_is_only_a_warning() -> None:
    lost = worker_checks_checks(worker(0), worker(1), worker(2), worker(3, lost_s=-3.0))["workers"]
    assert lost.verdict == "WARN"
    assert (
        lost.hint == "Worker 3 on host1 was disconnected before the stage. 3 of 4 workers have shared the load since."
    )


def test_the_lead_in_is_part_of_the_stage() -> None:
    lost = worker_checks_checks(worker(0), worker(1, lost_s=-1.0), lead_in_s=2.0)["workers"]
    assert lost.verdict == "INVALID"
    assert "0.0 s into the stage" in str(lost.hint)


def test_of_one_lost_in_the_drain_only_answers_are_missing() -> None:
    lost = worker_checks_checks(worker(0), worker(1, lost_s=10.5))["workers"]
    assert lost.verdict == "INVALID"
    assert "pending responses" in str(lost.hint)


@pytest.mark.parametrize(("residual_ms", "verdict"), [(0.2, "VALID"), (1.5, "WARN"), (11.0, "INVALID")])
def test_clocks_are_as_good_as_the_worst_of_them(residual_ms: float, verdict: str) -> None:
    clocks = worker_checks_checks(worker(0), worker(1, residual_ms=0.1), worker(2, residual_ms=residual_ms))[
        "worker_clocks"
    ]
    assert (clocks.value, clocks.unit, clocks.verdict) == (residual_ms, "ms", verdict)


STREAM_CHECKS_FACTS = replace(stage_facts(10, 10), requests_output_lengths=True)


def stream_checks_checks(
    frame: pd.DataFrame, facts: StageData = STREAM_CHECKS_FACTS, *sending: Check
) -> dict[str, Check]:
    return {one.id: one for one in check_streams(read_rows(frame), facts, sending)}


def coalesced(share: float, *sending: Check) -> Check:
    """One answer of 1,001 chunks, so many of them read with the one before."""
    gaps = np.where(np.arange(1_000) < share * 1_000, 0.0, 1.0)
    return stream_checks_checks(
        stream_rows([Answer(chunks_ms=(5.0, *(5.0 + np.cumsum(gaps))))]), STREAM_CHECKS_FACTS, *sending
    )["coalesced_chunks"]


@pytest.mark.parametrize(("share", "verdict"), [(0.0, "VALID"), (0.1, "VALID"), (0.101, "WARN"), (1.0, "WARN")])
def test_chunks_read_together_are_a_warning_of_the_gaps_between_them(share: float, verdict: str) -> None:
    found = coalesced(share)
    assert found.verdict == verdict
    assert found.value == pytest.approx(share)


def test_a_chunk_of_one_answer_does_not_follow_that_of_another() -> None:
    alike = Answer(chunks_ms=(5.0, 6.0))
    assert (
        stream_checks_checks(stream_rows([alike, alike, replace(alike, error="truncated")]))["coalesced_chunks"].value
        == 0.0
    )


def load(name: CheckId, value: float | None, verdict: Validity) -> Check:
    return Check(name, value, 0.7, "share", verdict)


@pytest.mark.parametrize(
    ("sending", "whose"),
    [
        (load("generator_cpu", 0.8, "WARN"), "The load worker was overloaded"),
        (load("generator_capacity", 0.9, "INVALID"), "The load worker was overloaded"),
        (load("generator_core_wait", 0.2, "INVALID"), "The load worker was overloaded"),
        (load("generator_capacity", 0.1, "VALID"), "The server, or a proxy"),
        (load("generator_capacity", None, "WARN"), "The server, or a proxy"),
        (load("late_sends", 0.5, "INVALID"), "The server, or a proxy"),
    ],
)
def test_whose_doing_it_was_is_reported_by_how_busy_the_worker_was(sending: Check, whose: str) -> None:
    assert str(coalesced(0.5, sending).hint).startswith(whose)


def answered(tokens: list[int | None], asked: int | None, source: str = "server") -> pd.DataFrame:
    answers = [Answer(chunks_ms=(1, 2), tokens_out=one, token_source=source) for one in tokens]
    return stream_rows(answers).assign(max_output_tokens=asked)


@pytest.mark.parametrize(
    ("tokens", "verdict"),
    [([100, 100, 100], "VALID"), ([10, 90, 100], "VALID"), ([89, 89, 100], "WARN"), ([120, 130, 140], "VALID")],
)
def test_the_median_answer_has_nine_tenths_of_what_was_asked(tokens: list[int | None], verdict: str) -> None:
    found = stream_checks_checks(answered(tokens, 100))["output_lengths"]
    assert (found.value, found.verdict) == (sorted(tokens)[1] / 100, verdict)  # type: ignore[operator,type-var]


def test_short_answers_are_reported_with_what_makes_them_long() -> None:
    hint = str(stream_checks_checks(answered([41], 100))["output_lengths"].hint)
    assert "41 % of the requested tokens" in hint
    assert "ignore_eos" in hint


def test_lengths_that_nobody_asked_for_or_counted_are_not_evaluated() -> None:
    assert "output_lengths" not in stream_checks_checks(answered([41], None))
    assert "output_lengths" not in stream_checks_checks(answered([None], 100))
    assert "output_lengths" not in stream_checks_checks(answered([41], 100, source="chunks"))
    assert "output_lengths" not in stream_checks_checks(
        answered([41], 100), replace(STREAM_CHECKS_FACTS, requests_output_lengths=False)
    )


def test_nothing_is_reported_of_answers_without_tokens() -> None:
    assert stream_checks_checks(stream_rows([Answer(end_ms=5.0)])) == {}
    assert set(stream_checks_checks(stream_rows([Answer(chunks_ms=(5.0,))]))) == set()
