from __future__ import annotations

import pytest

from app.analysis.abort import reason_to_abort
from app.analysis.objectives import parse_objective
from app.records.abort import AbortRule


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
    why = reason_to_abort(rule("error_rate > 20%"), "peak", elapsed_s, failed=failed, completed=completed, recent_ms=())
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
    why = reason_to_abort(rule(objective), "peak", 20.0, failed=0, completed=100, recent_ms=recent_ms)
    assert (why is not None) is aborts
    assert reason_to_abort(rule(objective), "peak", 20.0, failed=9, completed=0, recent_ms=()) is None


def test_the_reason_says_what_was_seen_where_and_when() -> None:
    why = reason_to_abort(rule("error_rate > 20%"), "peak", 16.25, failed=1, completed=2, recent_ms=())
    assert why == "abort_when: error_rate > 20% after 15s: 33.3 % in peak after 16.2 s"
