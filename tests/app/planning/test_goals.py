from __future__ import annotations

import math

import pytest

from app.analysis.objectives import parse_objective
from app.planning.fleets import plan_fleets
from app.planning.goals import CancelledError, Goal, Goals, TimeKind, build_goals
from tests.performance.planning import question


def goals(*slo: str) -> Goals:
    return build_goals([parse_objective(text) for text in slo])


@pytest.mark.parametrize(
    ("text", "time", "quantile", "limit_s"),
    [
        ("latency_ms.p95 < 50", "latency", 0.95, 0.05),
        ("latency_ms.p99_9 < 2000", "latency", 0.999, 2.0),
        ("latency_ms.mean < 20", "latency", None, 0.02),
        ("ttft_ms.p99 < 500", "first_token", 0.99, 0.5),
        ("tpot_ms.p50 < 40", "per_token", 0.5, 0.04),
    ],
)
def test_a_time_is_a_goal_in_seconds(text: str, time: TimeKind, quantile: float | None, limit_s: float) -> None:
    found = goals(text)
    (goal,) = found.time_goals
    assert goal.limit_s == pytest.approx(limit_s)
    assert goal == Goal(text, text.partition(" ")[0], time, quantile, goal.limit_s)
    assert (found.share, found.notes) == (None, ())


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("service_ms.p95 < 50", "latency"),
        ("first_byte_ms.p95 < 50", "latency"),
        ("ttft_service_ms.p95 < 50", "first_token"),
        ("ttfo_ms.p95 < 50", "first_token"),
        ("itl_ms.p95 < 50", "per_token"),
        ("icl_ms.p95 < 50", "per_token"),
    ],
)
def test_a_time_that_is_not_simulated_is_held_as_the_next_longer_and_said(text: str, time: TimeKind) -> None:
    found = goals(text)
    assert [goal.time for goal in found.time_goals] == [time]
    assert found.notes == (f"{text} is planned as if it were of the whole {time.replace('_', ' ')} time.",)


def test_a_goodput_is_the_share_that_is_asked_for() -> None:
    found = goals("goodput_share > 99%")
    assert found.share == pytest.approx(0.99)
    assert found == Goals((), found.share)


def test_errors_and_what_says_nothing_of_a_fleet_are_noted() -> None:
    found = goals("error_rate < 1%", "throughput_per_s > 10", "latency_ms.max < 90")
    assert found.time_goals == ()
    assert [note.partition(":")[0].partition(" says")[0] for note in found.notes] == [
        "error_rate < 1%", "throughput_per_s > 10", "latency_ms.max < 90",
    ]  # fmt: skip


def test_what_only_warns_asks_for_nothing() -> None:
    assert goals("latency_ms.p95 < 50 | warn") == Goals((), None)


def test_the_tightest_limit_on_a_time() -> None:
    both = goals("latency_ms.p95 < 50", "latency_ms.p99 < 40", "ttft_ms.p95 < 10")
    assert both.limit_s("latency") == pytest.approx(0.04)
    assert both.limit_s("first_token") == pytest.approx(0.01)
    assert both.limit_s("per_token") == math.inf


def test_a_plan_that_nobody_waits_for_any_more_ends_before_its_first_play() -> None:
    with pytest.raises(CancelledError):
        plan_fleets(question(), should_continue=lambda: False)


def test_a_preview_is_not_asked_about() -> None:
    assert plan_fleets(question(), estimate_only=True, should_continue=lambda: False).recommendation is not None
