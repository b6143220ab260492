from __future__ import annotations

import numpy as np
import pytest

from app.analysis.idle_latency import UnmetErrorLimit, UnmetObjective, find_unmet_error_limit, find_unmet_objective
from app.analysis.objectives import parse_objective
from app.analysis.rows import read_rows
from tests.fakes.queues import request_rows


def find_excluded_objective(
    latencies_ms: list[float], *objectives: str, errors: list[str | None] | None = None
) -> UnmetObjective | None:
    """The objective that requests sent one at a time exclude. The first request is ignored."""
    latency_s = np.array([1.0, *(value / 1e3 for value in latencies_ms)])
    starts_s = np.concatenate([[0.0], np.cumsum(latency_s[:-1])])
    rows = request_rows(starts_s, latency_s, errors=None if errors is None else [None, *errors])
    return find_unmet_objective(read_rows(rows), tuple(map(parse_objective, objectives)))


def find_error_limit(failed_count: int, *objectives: str) -> UnmetErrorLimit | None:
    """The error limit that eleven requests of 5 ms exclude. The first request failed, too, but is ignored."""
    errors = ["http-4xx"] * (1 + failed_count) + [None] * (10 - failed_count)
    rows = request_rows(np.linspace(0.0, 0.1, 11), np.array([0.005] * 11), errors=errors)
    return find_unmet_error_limit(read_rows(rows), tuple(map(parse_objective, objectives)))


def test_failures_without_load_exclude_error_rate_objective() -> None:
    unmet = find_error_limit(3, "latency_ms.p95 < 50")
    assert unmet is not None, "a limit of 1 % is added to an SLO without one"
    assert (unmet.objective.text, unmet.count, unmet.failed_count) == ("error_rate <= 1%", 10, 3)
    assert (unmet.evaluate().outcome, unmet.evaluate().observed.value) == ("FAIL", 0.3)
    assert find_error_limit(2, "latency_ms.p95 < 50") is None
    assert find_error_limit(4, "error_rate < 50%") is None
    assert find_error_limit(0, "error_rate <= 0%") is None
    assert find_error_limit(1, "error_rate <= 0%") is not None


def test_objective_below_every_idle_latency_is_reported_with_latencies() -> None:
    unmet = find_excluded_objective(
        [400, 402, 404, 406, 408, 410, 412, 414, 416, 418], "error_rate < 1%", "latency_ms.p95 < 50"
    )
    assert unmet is not None
    assert (unmet.objective.text, unmet.count) == ("latency_ms.p95 < 50", 10)
    assert (unmet.min_ms, unmet.median_ms, unmet.max_ms) == (400, 409, 418)
    result = unmet.evaluate()
    assert (result.outcome, result.observed.value, result.observed.n) == ("FAIL", 418, 10)


@pytest.mark.parametrize(
    ("objective", "needed_count"),
    [("latency_ms.p99_9 < 50", 2), ("latency_ms.p99 < 50", 2), ("latency_ms.p95 < 50", 3), ("latency_ms.p50 < 50", 10)],
)
def test_percentile_objective_is_excluded_by_the_required_number_of_slow_responses(
    objective: str, needed_count: int
) -> None:
    assert find_excluded_objective([60.0] * needed_count, objective) is not None
    assert find_excluded_objective([60.0] * (needed_count - 1), objective) is None


def test_few_slow_responses_do_not_exclude_objective() -> None:
    assert find_excluded_objective([60.0] * 4 + [40.0] * 6, "latency_ms.p95 < 50") is None
    assert find_excluded_objective([60.0] * 5 + [40.0] * 5, "latency_ms.p95 < 50") is not None


def test_first_idle_request_is_ignored() -> None:
    assert find_excluded_objective([40.0] * 10, "latency_ms.p99 < 50") is None, "the first request took 1 s"
    assert find_excluded_objective([], "latency_ms.p99 < 50") is None


def test_failed_requests_do_not_exclude_latency_objective() -> None:
    assert find_excluded_objective([60.0] * 10, "latency_ms.p95 < 50", errors=["http-5xx"] * 10) is None


@pytest.mark.parametrize("objective", ["latency_ms.mean < 1", "latency_ms.p95 < 50 | warn", "ttft_ms.p95 < 1"])
def test_mean_warning_and_unmeasured_objectives_are_not_excluded(objective: str) -> None:
    assert find_excluded_objective([60.0] * 10, objective) is None
