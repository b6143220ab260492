from __future__ import annotations

import numpy as np
import pytest

from app.analysis.idle_latency import UnmetErrorLimit, UnmetObjective, find_unmet_error_limit, find_unmet_objective
from app.analysis.objectives import parse_objective
from app.analysis.rows import read_rows
from tests.fakes.queues import request_rows


def find(latencies_ms: list[float], *objectives: str, errors: list[str | None] | None = None) -> UnmetObjective | None:
    """The finding about requests that were sent one at a time, the first of which is ignored."""
    latency_s = np.array([1.0, *(value / 1e3 for value in latencies_ms)])
    starts_s = np.concatenate([[0.0], np.cumsum(latency_s[:-1])])
    rows = request_rows(starts_s, latency_s, errors=None if errors is None else [None, *errors])
    return find_unmet_objective(read_rows(rows), tuple(map(parse_objective, objectives)))


def find_error_limit(failed_count: int, *objectives: str) -> UnmetErrorLimit | None:
    """The finding about eleven requests of 5 ms. The first failed, too, but is ignored."""
    errors = ["http-4xx"] * (1 + failed_count) + [None] * (10 - failed_count)
    rows = request_rows(np.linspace(0.0, 0.1, 11), np.array([0.005] * 11), errors=errors)
    return find_unmet_error_limit(read_rows(rows), tuple(map(parse_objective, objectives)))


def test_so_many_failures_without_load_exclude_a_limit_on_the_error_rate() -> None:
    found = find_error_limit(3, "latency_ms.p95 < 50")
    assert found is not None, "a limit of 1 % is added to an SLO without one"
    assert (found.objective.text, found.count, found.failed_count) == ("error_rate <= 1%", 10, 3)
    assert (found.evaluate().outcome, found.evaluate().observed.value) == ("FAIL", 0.3)
    assert find_error_limit(2, "latency_ms.p95 < 50") is None
    assert find_error_limit(4, "error_rate < 50%") is None
    assert find_error_limit(0, "error_rate <= 0%") is None
    assert find_error_limit(1, "error_rate <= 0%") is not None


def test_an_slo_below_every_latency_is_found_with_the_latency() -> None:
    found = find([400, 402, 404, 406, 408, 410, 412, 414, 416, 418], "error_rate < 1%", "latency_ms.p95 < 50")
    assert found is not None
    assert (found.objective.text, found.count) == ("latency_ms.p95 < 50", 10)
    assert (found.min_ms, found.median_ms, found.max_ms) == (400, 409, 418)
    result = found.evaluate()
    assert (result.outcome, result.observed.value, result.observed.n) == ("FAIL", 418, 10)


@pytest.mark.parametrize(
    ("objective", "needed"),
    [("latency_ms.p99_9 < 50", 2), ("latency_ms.p99 < 50", 2), ("latency_ms.p95 < 50", 3), ("latency_ms.p50 < 50", 10)],
)
def test_so_many_responses_above_the_limit_exclude_a_percentile(objective: str, needed: int) -> None:
    assert find([60.0] * needed, objective) is not None
    assert find([60.0] * (needed - 1), objective) is None


def test_a_few_slow_responses_do_not_exclude_an_slo() -> None:
    assert find([60.0] * 4 + [40.0] * 6, "latency_ms.p95 < 50") is None
    assert find([60.0] * 5 + [40.0] * 5, "latency_ms.p95 < 50") is not None


def test_the_first_request_does_not_count() -> None:
    assert find([40.0] * 10, "latency_ms.p99 < 50") is None, "the first request took 1 s"
    assert find([], "latency_ms.p99 < 50") is None


def test_failed_requests_have_no_latency() -> None:
    assert find([60.0] * 10, "latency_ms.p95 < 50", errors=["http-5xx"] * 10) is None


@pytest.mark.parametrize("objective", ["latency_ms.mean < 1", "latency_ms.p95 < 50 | warn", "ttft_ms.p95 < 1"])
def test_only_a_percentile_that_was_measured_and_can_fail_a_rate_excludes_an_slo(objective: str) -> None:
    assert find([60.0] * 10, objective) is None
