from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from msgspec.structs import replace

from app.analysis.objectives import parse_objective
from app.analysis.rows import offered_window, read_rows
from app.analysis.stage_checks import stage_checks
from app.analysis.validity import verdict_of
from app.records.checks import CheckId
from app.records.result import Check
from app.records.stage import StageFacts
from tests.fakes.queues import constant_s, latency_s, poisson_s, request_rows, stage_facts
from tests.fakes.streams import Answer, stream_rows

SLO = (parse_objective("latency_ms.p95 < 50"),)
FACTS = stage_facts(200, 10, arrivals="constant")


def rows(lag_s: npt.NDArray[np.float64] | float = 0.0, errors: list[str | None] | None = None) -> pd.DataFrame:
    return request_rows(constant_s(200, 10), np.full(2_000, 0.02), lag_s, errors)


def check(name: CheckId, frame: pd.DataFrame, facts: StageFacts = FACTS, slo: str | None = None) -> Check:
    objectives = SLO if slo is None else (parse_objective(slo),)
    read = read_rows(frame)
    return {one.id: one for one in stage_checks(read, facts, offered_window(read, facts), objectives)}[name]


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
        (0.011, 0.02, None, "INVALID"),
        (0.5, 0.0099, None, "VALID"),
        (0.5, 0.02, "latency_ms.p95 < 1000", "VALID"),
        (0.5, 0.06, "latency_ms.p95 < 1000", "INVALID"),
    ],
)
def test_late_sends_are_judged_by_the_slo(share: float, by_s: float, slo: str | None, verdict: str) -> None:
    assert check("late_sends", rows(late(share, by_s)), slo=slo).verdict == verdict


def test_a_target_process_that_ended_makes_the_stage_invalid_and_is_the_reason_for_a_backlog() -> None:
    facts = replace(FACTS, target_ended="the scripted server was killed by SIGKILL", over_saturated=True)
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
    checks = stage_checks(read, stopped, offered_window(read, stopped), SLO)
    assert "INVALID" not in {one.verdict for one in checks}
    (cpu,) = [one for one in checks if one.id == "generator_cpu"]
    assert cpu.verdict == "WARN"
    assert cpu.value == pytest.approx(4)
    assert cpu.hint == "The stage was stopped less than 1 s after its start, too soon to judge this."
    run_down = replace(stopped, stopped_early=False)
    assert "INVALID" in {one.verdict for one in stage_checks(read, run_down, offered_window(read, run_down), SLO)}


@pytest.mark.parametrize(("share", "verdict"), [(0.009, "VALID"), (0.011, "WARN")])
def test_a_lag_of_5_ms_is_a_warning(share: float, verdict: str) -> None:
    assert check("send_lag_p99", rows(late(share, 0.006))).verdict == verdict


@pytest.mark.parametrize(("share", "verdict"), [(0.01, "VALID"), (0.03, "WARN"), (0.06, "INVALID")])
def test_arrivals_never_started_are_the_clients(share: float, verdict: str) -> None:
    found = check("achieved_of_offered", never_sent(share))
    assert found.verdict == verdict
    assert found.value == pytest.approx(1 - share)


def test_a_target_that_refuses_connections_is_not_the_clients_fault() -> None:
    frame = rows(errors=["connect"] * 2_000)
    assert check("achieved_of_offered", frame).verdict == "VALID"
    assert check("errors", frame).value == 1.0


def test_an_overloaded_server_leaves_an_open_loop_client_valid() -> None:
    intended = poisson_s(200, 10, np.random.default_rng(0))
    frame = request_rows(intended, latency_s(intended, np.full(intended.size, 0.008)))
    facts = stage_facts(200, 10, drain_s=10)
    read = read_rows(frame)
    found = stage_checks(read, facts, offered_window(read, facts), SLO)
    assert {one.id for one in found if one.verdict != "VALID"} == {"stationarity"}
    assert not any(one.verdict == "INVALID" for one in found)


@pytest.mark.parametrize(
    ("ceiling", "verdict"), [(300.0, "VALID"), (280.0, "WARN"), (230.0, "INVALID"), (None, "WARN")]
)
def test_the_generator_must_stay_under_its_ceiling(ceiling: float | None, verdict: str) -> None:
    found = check("generator_ceiling", rows(), stage_facts(200, 10, ceiling_per_s=ceiling))
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
    assert "cannot carry this rate" in str(found.hint)
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
def test_a_closed_loop_obeys_littles_law(clients: int, think_s: float, answer_s: float) -> None:
    """Little, A proof for the queuing formula L = λW, Operations Research 9 (1961)."""
    facts = replace(stage_facts(1, 10, kind="closed", arrivals="closed"), concurrency=clients, think_s=think_s)
    frame = closed_loop(clients, think_s, answer_s)
    assert check("littles_law", frame, facts).verdict == "VALID"
    fewer = frame[frame["index"] % 3 == 0]
    assert check("littles_law", fewer, facts).verdict == "WARN"


def test_open_stages_have_no_clients_to_count() -> None:
    read = read_rows(rows())
    found = {one.id for one in stage_checks(read, FACTS, offered_window(read, FACTS), SLO)}
    assert "littles_law" not in found
    assert "token_counts" not in found


@pytest.mark.parametrize("kind", ["varying", "spike"])
def test_a_rate_that_changes_is_not_asked_to_stand_still(kind: str) -> None:
    facts = replace(FACTS, kind=kind, rate_per_s=None, rates=((0.0, 100.0), (10.0, 300.0)))
    read = read_rows(rows())
    assert "stationarity" not in {one.id for one in stage_checks(read, facts, offered_window(read, facts), SLO)}


def test_a_locust_test_has_one_doubt_of_its_own_and_no_lag() -> None:
    frame = rows().assign(intended_ns=pd.array([None] * 2_000, dtype="Int64"))
    facts = replace(FACTS, arrival_kind="locust", kind="closed", rate_per_s=None, ceiling_per_s=None, concurrency=10)
    read = read_rows(frame)
    found = stage_checks(read, facts, offered_window(read, facts), SLO)
    doubts = [one for one in found if one.verdict != "VALID"]
    assert verdict_of(doubts).reasons == ("closed loop, Locust's transport: coordinated omission cannot be ruled out",)
    assert not {"late_sends", "send_lag_p99"} & {one.id for one in found}
    (ceiling,) = [one for one in found if one.id == "generator_ceiling"]
    assert (ceiling.value, ceiling.verdict) == (None, "VALID")
    assert "Locust" in str(ceiling.hint)


@pytest.mark.parametrize(("source", "verdict"), [("server", "VALID"), ("tokenizer", "VALID"), ("chunks", "WARN")])
def test_chunks_counted_as_tokens_are_a_doubt(source: str, verdict: str) -> None:
    answers = [Answer(intended_ms=at, chunks_ms=(at + 1, at + 2), tokens_out=2) for at in range(9)]
    frame = stream_rows([*answers, Answer(intended_ms=9, chunks_ms=(10, 11), tokens_out=2, tokens_from=source)])
    assert check("token_counts", frame).verdict == verdict


def test_late_sends_are_judged_by_a_limit_on_the_first_token_too() -> None:
    frame = rows(late(0.5, 0.02))
    assert check("late_sends", frame, slo="ttft_ms.p99 < 1000").verdict == "VALID"
    assert check("late_sends", frame, slo="ttft_ms.p99 < 100").verdict == "INVALID"
