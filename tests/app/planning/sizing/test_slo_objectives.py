from __future__ import annotations

import math

import pytest

from app.analysis.objectives import parse_objective
from app.planning.fleets import plan_fleets
from app.planning.sizing.slo_objectives import (
    CancelledError,
    LatencyKind,
    LatencyObjective,
    SloObjectives,
    build_slo_objectives,
)
from tests.performance.planning import question


def build_slo(*texts: str) -> SloObjectives:
    return build_slo_objectives([parse_objective(text) for text in texts])


@pytest.mark.parametrize(
    ("text", "display_text", "kind", "quantile", "limit_s"),
    [
        ("latency_ms.p95 < 50", "p95 latency < 50 ms", "latency", 0.95, 0.05),
        ("latency_ms.p99_9 < 2000", "p99.9 latency < 2000 ms", "latency", 0.999, 2.0),
        ("latency_ms.mean < 20", "mean latency < 20 ms", "latency", None, 0.02),
        ("ttft_ms.p99 < 500", "p99 TTFT < 500 ms", "first_token", 0.99, 0.5),
        ("tpot_ms.p50 < 40", "p50 TPOT < 40 ms", "per_token", 0.5, 0.04),
    ],
)
def test_latency_objective_has_its_limit_in_seconds(
    text: str, display_text: str, kind: LatencyKind, quantile: float | None, limit_s: float
) -> None:
    slo = build_slo(text)
    (objective,) = slo.latency_objectives
    assert objective.limit_s == pytest.approx(limit_s)
    assert objective == LatencyObjective(display_text, text.partition(" ")[0], kind, quantile, objective.limit_s)
    assert (slo.share, slo.notes) == (None, ())


@pytest.mark.parametrize(
    ("text", "display_text", "kind"),
    [
        ("service_ms.p95 < 50", "p95 service time < 50 ms", "latency"),
        ("first_byte_ms.p95 < 50", "p95 time to first byte < 50 ms", "latency"),
        ("ttft_service_ms.p95 < 50", "p95 TTFT from send < 50 ms", "first_token"),
        ("ttfo_ms.p95 < 50", "p95 TTFO < 50 ms", "first_token"),
        ("itl_ms.p95 < 50", "p95 ITL < 50 ms", "per_token"),
        ("icl_ms.p95 < 50", "p95 inter-chunk latency < 50 ms", "per_token"),
    ],
)
def test_objective_on_an_unsimulated_latency_uses_a_longer_latency_with_a_note(
    text: str, display_text: str, kind: LatencyKind
) -> None:
    slo = build_slo(text)
    assert [objective.kind for objective in slo.latency_objectives] == [kind]
    simulated = {"latency": "the latency of the entire request", "first_token": "TTFT", "per_token": "TPOT"}[kind]
    assert slo.notes == (f"{display_text} is evaluated as a limit on {simulated}.",)


def test_goodput_objective_sets_the_share() -> None:
    slo = build_slo("goodput_share > 99%")
    assert slo.share == pytest.approx(0.99)
    assert slo == SloObjectives((), slo.share)


def test_error_rate_throughput_and_max_latency_objectives_only_have_notes() -> None:
    slo = build_slo("error_rate < 1%", "throughput_per_s > 10", "latency_ms.max < 90")
    assert slo.latency_objectives == ()
    assert [note.removeprefix("For ").partition(", dropped and")[0].partition(" does not apply")[0] for note in
            slo.notes] == ["error rate < 1 %", "throughput > 10 req/s", "max latency < 90 ms"]  # fmt: skip


def test_warn_objectives_are_ignored() -> None:
    assert build_slo("latency_ms.p95 < 50 | warn") == SloObjectives((), None)


def test_limit_of_a_latency_kind_is_the_tightest_or_infinity() -> None:
    slo = build_slo("latency_ms.p95 < 50", "latency_ms.p99 < 40", "ttft_ms.p95 < 10")
    assert slo.get_limit_s("latency") == pytest.approx(0.04)
    assert slo.get_limit_s("first_token") == pytest.approx(0.01)
    assert slo.get_limit_s("per_token") == math.inf


def test_canceled_plan_raises_before_its_first_simulation() -> None:
    with pytest.raises(CancelledError):
        plan_fleets(question(), should_continue=lambda: False)


def test_analytical_estimate_ignores_cancellation() -> None:
    assert plan_fleets(question(), estimate_only=True, should_continue=lambda: False).recommendation is not None


def test_objective_of_a_request_class_is_omitted_with_a_note() -> None:
    slo = build_slo("ttft_ms.p95{class=chat} < 300", "latency_ms.p95 < 50")
    assert [objective.text for objective in slo.latency_objectives] == ["p95 latency < 50 ms"]
    assert any(note.startswith("p95 TTFT (chat) < 300 ms applies to one class") for note in slo.notes)
