from __future__ import annotations

import math

import pytest

from app.analysis.objectives import parse_objective
from app.planning.fleets import plan_fleets
from app.planning.slo_objectives import (
    CancelledError,
    LatencyKind,
    LatencyObjective,
    SloObjectives,
    build_slo_objectives,
)
from tests.performance.planning import question


def objectives(*slo: str) -> SloObjectives:
    return build_slo_objectives([parse_objective(text) for text in slo])


@pytest.mark.parametrize(
    ("text", "shown", "time", "quantile", "limit_s"),
    [
        ("latency_ms.p95 < 50", "p95 latency < 50 ms", "latency", 0.95, 0.05),
        ("latency_ms.p99_9 < 2000", "p99.9 latency < 2000 ms", "latency", 0.999, 2.0),
        ("latency_ms.mean < 20", "mean latency < 20 ms", "latency", None, 0.02),
        ("ttft_ms.p99 < 500", "p99 TTFT < 500 ms", "first_token", 0.99, 0.5),
        ("tpot_ms.p50 < 40", "p50 TPOT < 40 ms", "per_token", 0.5, 0.04),
    ],
)
def test_a_time_is_an_objective_in_seconds(
    text: str, shown: str, time: LatencyKind, quantile: float | None, limit_s: float
) -> None:
    found = objectives(text)
    (objective,) = found.latency_objectives
    assert objective.limit_s == pytest.approx(limit_s)
    assert objective == LatencyObjective(shown, text.partition(" ")[0], time, quantile, objective.limit_s)
    assert (found.share, found.notes) == (None, ())


@pytest.mark.parametrize(
    ("text", "shown", "time"),
    [
        ("service_ms.p95 < 50", "p95 service time < 50 ms", "latency"),
        ("first_byte_ms.p95 < 50", "p95 time to first byte < 50 ms", "latency"),
        ("ttft_service_ms.p95 < 50", "p95 TTFT from send < 50 ms", "first_token"),
        ("ttfo_ms.p95 < 50", "p95 TTFO < 50 ms", "first_token"),
        ("itl_ms.p95 < 50", "p95 ITL < 50 ms", "per_token"),
        ("icl_ms.p95 < 50", "p95 inter-chunk latency < 50 ms", "per_token"),
    ],
)
def test_a_time_that_is_not_simulated_is_held_as_the_next_longer_and_said(
    text: str, shown: str, time: LatencyKind
) -> None:
    found = objectives(text)
    assert [objective.kind for objective in found.latency_objectives] == [time]
    simulated = {"latency": "the latency of the entire request", "first_token": "TTFT", "per_token": "TPOT"}[time]
    assert found.notes == (f"{shown} is evaluated as a limit on {simulated}.",)


def test_a_goodput_is_the_share_that_is_asked_for() -> None:
    found = objectives("goodput_share > 99%")
    assert found.share == pytest.approx(0.99)
    assert found == SloObjectives((), found.share)


def test_errors_and_what_says_nothing_of_a_fleet_are_noted() -> None:
    found = objectives("error_rate < 1%", "throughput_per_s > 10", "latency_ms.max < 90")
    assert found.latency_objectives == ()
    assert [note.removeprefix("For ").partition(", dropped and")[0].partition(" does not apply")[0] for note in
            found.notes] == ["error rate < 1 %", "throughput > 10 req/s", "max latency < 90 ms"]  # fmt: skip


def test_what_only_warns_asks_for_nothing() -> None:
    assert objectives("latency_ms.p95 < 50 | warn") == SloObjectives((), None)


def test_the_tightest_limit_on_a_time() -> None:
    both = objectives("latency_ms.p95 < 50", "latency_ms.p99 < 40", "ttft_ms.p95 < 10")
    assert both.get_limit_s("latency") == pytest.approx(0.04)
    assert both.get_limit_s("first_token") == pytest.approx(0.01)
    assert both.get_limit_s("per_token") == math.inf


def test_a_plan_that_nobody_waits_for_any_more_ends_before_its_first_play() -> None:
    with pytest.raises(CancelledError):
        plan_fleets(question(), should_continue=lambda: False)


def test_a_preview_is_not_asked_about() -> None:
    assert plan_fleets(question(), estimate_only=True, should_continue=lambda: False).recommendation is not None


def test_an_objective_of_a_class_is_left_out_with_a_note() -> None:
    built = objectives("ttft_ms.p95{class=chat} < 300", "latency_ms.p95 < 50")
    assert [one.text for one in built.latency_objectives] == ["p95 latency < 50 ms"]
    assert any(note.startswith("p95 TTFT (chat) < 300 ms applies to one class") for note in built.notes)
