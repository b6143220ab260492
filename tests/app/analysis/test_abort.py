from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from app.analysis.abort import RESPONSE_TIME_SAMPLE_COUNT, find_abort_reason, is_over_saturated
from app.analysis.objectives import parse_objective
from app.records.abort import AbortRule
from app.records.result import Objective
from tests.fakes.queues import constant_s, latency_s, poisson_s


def rule(objective: str) -> AbortRule:
    return AbortRule(f"{objective} after 15s", parse_objective(objective), 15.0)


@pytest.mark.parametrize(
    ("elapsed_s", "failed", "completed", "aborts"),
    [
        (15.0, 30, 70, True),
        (14.9, 30, 70, False),  # too early to tell
        (15.0, 20, 80, False),  # at the limit
        (15.0, 0, 0, False),  # nothing is known
        (99.0, 5, 0, True),
    ],
)
def test_errors_end_a_run_once_they_are_too_many(elapsed_s: float, failed: int, completed: int, aborts: bool) -> None:
    why = find_abort_reason(
        rule("error_rate > 20%"), "peak", elapsed_s, failed=failed, completed=completed, recent_ms=()
    )
    assert (why is not None) is aborts


@pytest.mark.parametrize(
    ("objective", "aborts"),
    [
        ("latency_ms.p50 > 40", True),
        ("latency_ms.p50 >= 60", False),
        ("latency_ms.p95 > 95", True),
        ("latency_ms.mean > 50", True),
        ("latency_ms.mean > 51", False),
        ("latency_ms.max > 99", True),
        ("latency_ms.max > 100", False),
    ],
)
def test_latency_is_that_of_recent_answers(objective: str, aborts: bool) -> None:
    recent_ms = range(1, 101)
    why = find_abort_reason(rule(objective), "peak", 20.0, failed=0, completed=100, recent_ms=recent_ms)
    assert (why is not None) is aborts
    assert find_abort_reason(rule(objective), "peak", 20.0, failed=9, completed=0, recent_ms=()) is None


def test_the_reason_says_what_was_seen_where_and_when() -> None:
    why = find_abort_reason(rule("error_rate > 20%"), "peak", 16.25, failed=1, completed=2, recent_ms=())
    assert why == "the abort rule error_rate > 20% after 15s was met in peak after 16.2 s: measured 33.3 %"


SLO = (parse_objective("latency_ms.p95 < 50"),)
SERVICE_PER_S = 300.0
SEEDS = range(200)


def ended_after_s(arrivals: npt.NDArray[np.float64], latency: npt.NDArray[np.float64], rate: float) -> float | None:
    """When a stage watched four times a second would be ended; None when it runs to its end."""
    ends = np.sort(arrivals + latency)
    history: list[tuple[int, int]] = []
    for at_s in np.arange(0.25, arrivals[-1], 0.25):
        backlog = int(np.searchsorted(arrivals, at_s) - np.searchsorted(ends, at_s))
        history.append((int(at_s * 1e9), backlog))
        if is_over_saturated(history, rate, SLO):
            return float(at_s)
    return None


def md1(load: float, duration_s: float, seed: int) -> float | None:
    rate = load * SERVICE_PER_S
    arrivals = poisson_s(rate, duration_s, np.random.default_rng(seed))
    return ended_after_s(arrivals, latency_s(arrivals, np.full(arrivals.size, 1 / SERVICE_PER_S)), rate)


def test_a_stage_the_server_can_carry_runs_to_its_end() -> None:
    """M/D/1 at 0.8 for 10 s: 200 seeds, none ended."""
    assert [seed for seed in SEEDS if md1(0.8, 10, seed) is not None] == []


def test_overload_is_ended_within_2_s() -> None:
    """M/D/1 at 1.3: of 200 seeds at least 95 % end within 2 s, all within 4 s."""
    ended = [md1(1.3, 10, seed) for seed in SEEDS]
    assert all(at_s is not None and at_s <= 4 for at_s in ended)
    assert sum(at_s is not None and at_s <= 2 for at_s in ended) >= 190


def test_one_stall_is_no_overload() -> None:
    """A freeze of 1 s, three seconds into a constant 100/s that is answered in 5 ms otherwise."""
    arrivals = constant_s(100, 10)
    service = np.full(arrivals.size, 0.005)
    service[300] = 1.0
    assert ended_after_s(arrivals, latency_s(arrivals, service), 100) is None


def test_a_backlog_inside_the_slo_is_left_alone() -> None:
    history = [(index * 250_000_000, index * 10) for index in range(9)]
    assert is_over_saturated(history, 100, SLO)
    assert not is_over_saturated(history, 100, (parse_objective("latency_ms.p95 < 1000"),))
    assert not is_over_saturated(history, 200, (), 0.1)


def test_a_backlog_that_chance_can_pile_up_is_left_alone() -> None:
    """At 10/s for 2 s, 20 arrivals: three standard deviations are 13.4."""
    rising = [(index * 250_000_000, index * 1.5) for index in range(9)]
    assert not is_over_saturated([(at_ns, int(backlog)) for at_ns, backlog in rising], 10, SLO)
    assert is_over_saturated([(at_ns, int(1.3 * backlog)) for at_ns, backlog in rising], 10, SLO)


@pytest.mark.parametrize("readings", [0, 1, 5])
def test_a_few_readings_report_nothing(readings: int) -> None:
    assert not is_over_saturated([(index * 10**9, index * 1_000) for index in range(readings)], 100, SLO)
    assert not is_over_saturated([(index, index * 1_000) for index in range(20)], 100, SLO)


TOKENS = (parse_objective("ttft_ms.p95 < 200"),)


def ended_by_tokens_s(
    arrivals: npt.NDArray[np.float64],
    latency: npt.NDArray[np.float64],
    rate: float,
    slo: tuple[Objective, ...] = TOKENS,
) -> float | None:
    """As `ended_after_s`, for an SLO without a limit on whole answers, told the p95 of the first ones."""
    ends = arrivals + latency
    in_order_of_ends = np.argsort(ends)
    history: list[tuple[int, int]] = []
    for at_s in np.arange(0.25, arrivals[-1], 0.25):
        backlog = int(np.searchsorted(arrivals, at_s) - np.count_nonzero(ends <= at_s))
        history.append((int(at_s * 1e9), backlog))
        first = latency[in_order_of_ends][:RESPONSE_TIME_SAMPLE_COUNT][: np.count_nonzero(ends <= at_s)]
        answer_s = float(np.quantile(first, 0.95)) if first.size else None
        if is_over_saturated(history, rate, slo, answer_s):
            return float(at_s)
    return None


def test_long_answers_under_way_are_no_queue() -> None:
    """M/G/∞: answers of 4 s and of 2 to 8 s, all served at once, at 20/s for 30 s."""
    for seed in range(20):
        random = np.random.default_rng(seed)
        arrivals = poisson_s(20, 30, random)
        assert ended_by_tokens_s(arrivals, np.full(arrivals.size, 4.0), 20) is None
        assert ended_by_tokens_s(arrivals, random.uniform(2, 8, arrivals.size), 20) is None


def test_overload_is_ended_by_tokens_too() -> None:
    """M/D/1 at 2 with 0.1 s of work a request."""
    for seed in range(20):
        arrivals = poisson_s(20, 60, np.random.default_rng(seed))
        ended = ended_by_tokens_s(arrivals, latency_s(arrivals, np.full(arrivals.size, 0.1)), 20)
        assert ended is not None
        assert ended < 30


def test_overload_is_ended_where_only_errors_are_limited() -> None:
    """M/D/1 at 1.3 for 10 s: nothing fails, and requests wait ever longer. At 0.9 none of the stages is ended."""
    errors = (parse_objective("error_rate < 5%"),)
    for load, is_ended in ((1.3, True), (0.9, False)):
        for seed in range(20):
            rate = load * SERVICE_PER_S
            arrivals = poisson_s(rate, 10, np.random.default_rng(seed))
            latency = latency_s(arrivals, np.full(arrivals.size, 1 / SERVICE_PER_S))
            assert (ended_by_tokens_s(arrivals, latency, rate, errors) is not None) is is_ended, (load, seed)


def test_without_a_limit_on_whole_answers_and_without_answers_nothing_is_reported() -> None:
    history = [(index * 250_000_000, index * 100) for index in range(20)]
    assert is_over_saturated(history, 400, SLO)
    assert not is_over_saturated(history, 400, TOKENS)
