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
        (14.9, 30, 70, False),  # before the rule's delay
        (15.0, 20, 80, False),  # at the limit
        (15.0, 0, 0, False),  # no requests yet
        (99.0, 5, 0, True),
    ],
)
def test_error_rate_above_limit_aborts_run_after_delay(
    elapsed_s: float, failed: int, completed: int, aborts: bool
) -> None:
    reason = find_abort_reason(
        rule("error_rate > 20%"), "peak", elapsed_s, failed=failed, completed=completed, recent_ms=()
    )
    assert (reason is not None) is aborts


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
def test_latency_abort_rule_uses_recent_responses(objective: str, aborts: bool) -> None:
    recent_ms = range(1, 101)
    reason = find_abort_reason(rule(objective), "peak", 20.0, failed=0, completed=100, recent_ms=recent_ms)
    assert (reason is not None) is aborts
    assert find_abort_reason(rule(objective), "peak", 20.0, failed=9, completed=0, recent_ms=()) is None


def test_abort_reason_has_rule_stage_time_and_measured_value() -> None:
    reason = find_abort_reason(rule("error_rate > 20%"), "peak", 16.25, failed=1, completed=2, recent_ms=())
    assert reason == "the abort rule error_rate > 20% after 15s was met in peak after 16.2 s: measured 33.3 %"


SLO = (parse_objective("latency_ms.p95 < 50"),)
SERVICE_PER_S = 300.0
SEEDS = range(200)


def find_abort_time_s(arrivals: npt.NDArray[np.float64], latency: npt.NDArray[np.float64], rate: float) -> float | None:
    """Time at which a stage checked four times a second is aborted, in s; `None` if it runs to its end."""
    ends = np.sort(arrivals + latency)
    history: list[tuple[int, int]] = []
    for at_s in np.arange(0.25, arrivals[-1], 0.25):
        backlog = int(np.searchsorted(arrivals, at_s) - np.searchsorted(ends, at_s))
        history.append((int(at_s * 1e9), backlog))
        if is_over_saturated(history, rate, SLO):
            return float(at_s)
    return None


def find_md1_abort_time_s(load: float, duration_s: float, seed: int) -> float | None:
    rate = load * SERVICE_PER_S
    arrivals = poisson_s(rate, duration_s, np.random.default_rng(seed))
    return find_abort_time_s(arrivals, latency_s(arrivals, np.full(arrivals.size, 1 / SERVICE_PER_S)), rate)


def test_stage_within_server_capacity_is_not_aborted() -> None:
    """M/D/1 at a utilization of 0.8 for 10 s: no stage of 200 seeds is aborted."""
    assert [seed for seed in SEEDS if find_md1_abort_time_s(0.8, 10, seed) is not None] == []


def test_overloaded_stage_is_aborted_within_2_s() -> None:
    """M/D/1 at a utilization of 1.3: at least 95 % of 200 seeds are aborted within 2 s, all of them within 4 s."""
    abort_times_s = [find_md1_abort_time_s(1.3, 10, seed) for seed in SEEDS]
    assert all(at_s is not None and at_s <= 4 for at_s in abort_times_s)
    assert sum(at_s is not None and at_s <= 2 for at_s in abort_times_s) >= 190


def test_single_server_stall_is_not_over_saturation() -> None:
    """The server freezes for 1 s, three seconds into a constant 100 req/s that otherwise takes 5 ms a request."""
    arrivals = constant_s(100, 10)
    service = np.full(arrivals.size, 0.005)
    service[300] = 1.0
    assert find_abort_time_s(arrivals, latency_s(arrivals, service), 100) is None


def test_backlog_within_slo_latency_is_not_over_saturation() -> None:
    history = [(index * 250_000_000, index * 10) for index in range(9)]
    assert is_over_saturated(history, 100, SLO)
    assert not is_over_saturated(history, 100, (parse_objective("latency_ms.p95 < 1000"),))
    assert not is_over_saturated(history, 200, (), 0.1)


def test_backlog_within_random_variation_is_not_over_saturation() -> None:
    """At 10 req/s for 2 s, 20 arrivals: three standard deviations are 13.4."""
    rising = [(index * 250_000_000, index * 1.5) for index in range(9)]
    assert not is_over_saturated([(at_ns, int(backlog)) for at_ns, backlog in rising], 10, SLO)
    assert is_over_saturated([(at_ns, int(1.3 * backlog)) for at_ns, backlog in rising], 10, SLO)


@pytest.mark.parametrize("readings", [0, 1, 5])
def test_few_backlog_samples_do_not_report_over_saturation(readings: int) -> None:
    assert not is_over_saturated([(index * 10**9, index * 1_000) for index in range(readings)], 100, SLO)
    assert not is_over_saturated([(index, index * 1_000) for index in range(20)], 100, SLO)


TTFT_SLO = (parse_objective("ttft_ms.p95 < 200"),)


def find_abort_time_without_latency_limit_s(
    arrivals: npt.NDArray[np.float64],
    latency: npt.NDArray[np.float64],
    rate: float,
    slo: tuple[Objective, ...] = TTFT_SLO,
) -> float | None:
    """As `find_abort_time_s`, for an SLO without a limit on latency: uses the p95 latency of the first responses."""
    ends = arrivals + latency
    in_order_of_ends = np.argsort(ends)
    history: list[tuple[int, int]] = []
    for at_s in np.arange(0.25, arrivals[-1], 0.25):
        backlog = int(np.searchsorted(arrivals, at_s) - np.count_nonzero(ends <= at_s))
        history.append((int(at_s * 1e9), backlog))
        first_latencies_s = latency[in_order_of_ends][:RESPONSE_TIME_SAMPLE_COUNT][: np.count_nonzero(ends <= at_s)]
        p95_latency_s = float(np.quantile(first_latencies_s, 0.95)) if first_latencies_s.size else None
        if is_over_saturated(history, rate, slo, p95_latency_s):
            return float(at_s)
    return None


def test_long_concurrent_responses_are_not_over_saturation() -> None:
    """M/G/∞: responses of 4 s and of 2 to 8 s, all served concurrently, at 20 req/s for 30 s."""
    for seed in range(20):
        random = np.random.default_rng(seed)
        arrivals = poisson_s(20, 30, random)
        assert find_abort_time_without_latency_limit_s(arrivals, np.full(arrivals.size, 4.0), 20) is None
        assert find_abort_time_without_latency_limit_s(arrivals, random.uniform(2, 8, arrivals.size), 20) is None


def test_overload_is_aborted_under_ttft_objective() -> None:
    """M/D/1 at a utilization of 2, with a service time of 0.1 s."""
    for seed in range(20):
        arrivals = poisson_s(20, 60, np.random.default_rng(seed))
        abort_time_s = find_abort_time_without_latency_limit_s(
            arrivals, latency_s(arrivals, np.full(arrivals.size, 0.1)), 20
        )
        assert abort_time_s is not None
        assert abort_time_s < 30


def test_overload_is_aborted_under_error_rate_objective() -> None:
    """M/D/1 for 10 s without failures: aborted at a utilization of 1.3, where the queue grows, and never at 0.9."""
    errors = (parse_objective("error_rate < 5%"),)
    for load, is_aborted in ((1.3, True), (0.9, False)):
        for seed in range(20):
            rate = load * SERVICE_PER_S
            arrivals = poisson_s(rate, 10, np.random.default_rng(seed))
            latency = latency_s(arrivals, np.full(arrivals.size, 1 / SERVICE_PER_S))
            assert (
                find_abort_time_without_latency_limit_s(arrivals, latency, rate, errors) is not None
            ) is is_aborted, (load, seed)


def test_growing_backlog_without_latency_limit_or_responses_is_not_over_saturation() -> None:
    history = [(index * 250_000_000, index * 100) for index in range(20)]
    assert is_over_saturated(history, 400, SLO)
    assert not is_over_saturated(history, 400, TTFT_SLO)
