from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from app.analysis.objectives import parse_objective
from app.analysis.rows import offered_window, read_rows
from app.analysis.stage_checks import stage_checks
from app.records.result import Check
from app.records.stage import StageFacts
from tests.fakes.queues import constant_s, latency_s, poisson_s, request_rows, stage_facts

SLO = (parse_objective("latency_ms.p95 < 50"),)
FACTS = stage_facts(200, 10, arrivals="constant")


def rows(lag_s: npt.NDArray[np.float64] | float = 0.0, errors: list[str | None] | None = None) -> pd.DataFrame:
    return request_rows(constant_s(200, 10), np.full(2_000, 0.02), lag_s, errors)


def check(name: str, frame: pd.DataFrame, facts: StageFacts = FACTS, slo: str | None = None) -> Check:
    objectives = SLO if slo is None else (parse_objective(slo),)
    read = read_rows(frame)
    return {one.check: one for one in stage_checks(read, facts, offered_window(read, facts), objectives)}[name]


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
    assert check("late sends", rows(late(share, by_s)), slo=slo).verdict == verdict


@pytest.mark.parametrize(("share", "verdict"), [(0.009, "VALID"), (0.011, "WARN")])
def test_a_lag_of_5_ms_is_a_warning(share: float, verdict: str) -> None:
    assert check("send lag p99", rows(late(share, 0.006))).verdict == verdict


@pytest.mark.parametrize(("share", "verdict"), [(0.01, "VALID"), (0.03, "WARN"), (0.06, "INVALID")])
def test_arrivals_never_started_are_the_clients(share: float, verdict: str) -> None:
    found = check("achieved of offered", never_sent(share))
    assert found.verdict == verdict
    assert found.value == pytest.approx(1 - share)


def test_a_target_that_refuses_connections_is_not_the_clients_fault() -> None:
    frame = rows(errors=["connect"] * 2_000)
    assert check("achieved of offered", frame).verdict == "VALID"
    assert check("errors", frame).value == 1.0


def test_an_overloaded_server_leaves_an_open_loop_client_valid() -> None:
    intended = poisson_s(200, 10, np.random.default_rng(0))
    frame = request_rows(intended, latency_s(intended, np.full(intended.size, 0.008)))
    facts = stage_facts(200, 10, drain_s=10)
    read = read_rows(frame)
    found = stage_checks(read, facts, offered_window(read, facts), SLO)
    assert {one.check for one in found if one.verdict != "VALID"} == {"stationarity"}
    assert not any(one.verdict == "INVALID" for one in found)


@pytest.mark.parametrize(
    ("ceiling", "verdict"), [(300.0, "VALID"), (280.0, "WARN"), (230.0, "INVALID"), (None, "WARN")]
)
def test_the_generator_must_stay_under_its_ceiling(ceiling: float | None, verdict: str) -> None:
    found = check("generator ceiling", rows(), stage_facts(200, 10, ceiling_per_s=ceiling))
    assert found.verdict == verdict
    assert (found.value is None) == (ceiling is None)


@pytest.mark.parametrize(("cpu_s", "verdict"), [(7.0, "VALID"), (8.0, "WARN"), (10.0, "INVALID")])
def test_the_load_worker_has_one_core(cpu_s: float, verdict: str) -> None:
    assert check("generator CPU", rows(), stage_facts(200, 10, worker_cpu_s=cpu_s)).verdict == verdict


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
