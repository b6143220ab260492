from __future__ import annotations

import pytest

from app.analysis.objectives import (
    binding,
    find_estimate,
    is_met,
    judge,
    parse_gate,
    parse_objective,
    samples_needed,
    unit_of,
)
from app.records.result import Estimate, Judgement, Stage, Verdict, Window


def stage(**metrics: dict[str, Estimate]) -> Stage:
    return Stage(
        name="steady",
        kind="steady",
        repeat=1,
        tags={},
        variant=None,
        window=Window(0, 1),
        offered_per_s=Estimate(100.0),
        achieved_per_s=Estimate(99.0),
        good_per_s=Estimate(98.0),
        completed=1,
        errors={},
        metrics=metrics,
        verdict=Verdict("VALID"),
    )


@pytest.mark.parametrize(
    ("estimate", "judgement"),
    [
        (Estimate(40.0, (30.0, 49.9)), "PASS"),
        (Estimate(49.0, (40.0, 50.0)), "INCONCLUSIVE"),
        (Estimate(60.0, (50.0, 70.0)), "FAIL"),
        (Estimate(None, reason="needs 72, has 3"), "INCONCLUSIVE"),
        (Estimate(40.0), "PASS"),
        (Estimate(60.0), "FAIL"),
        (Estimate(40.0, reason="no interval"), "INCONCLUSIVE"),
        (Estimate(60.0, reason="no interval"), "FAIL"),
    ],
)
def test_a_gate_judges_the_whole_interval(estimate: Estimate, judgement: Judgement) -> None:
    assert judge(parse_objective("latency_ms.p95 < 50"), estimate).judgement == judgement


def test_a_lower_limit_is_judged_from_its_own_side() -> None:
    objective = parse_objective("goodput_share >= 95%")
    assert judge(objective, Estimate(0.97, (0.95, 0.98))).judgement == "PASS"
    assert judge(objective, Estimate(0.9, (0.8, 0.949))).judgement == "FAIL"


@pytest.mark.parametrize(("value", "met"), [(49.9, True), (50.0, False), (None, None)])
def test_a_search_judges_the_point(value: float | None, met: bool | None) -> None:
    assert is_met(parse_objective("latency_ms.p95 < 50"), Estimate(value, (0.0, 1e9))) is met


def test_an_estimate_is_found_by_metric_and_aggregate() -> None:
    measured = stage(latency_ms={"p95": Estimate(7.0)}, error_rate={"value": Estimate(0.1)})
    assert find_estimate(measured, parse_objective("latency_ms.p95 < 50")).value == 7.0
    assert find_estimate(measured, parse_objective("error_rate < 1%")).value == 0.1
    assert find_estimate(measured, parse_objective("achieved_per_s > 1")).value == 99.0
    missing = find_estimate(measured, parse_objective("gpu_power_w.mean < 50"))
    assert missing == Estimate(None, reason="gpu_power_w was not measured")


def test_an_slo_on_latency_alone_is_held_to_an_error_rate_too() -> None:
    latency, warned = parse_objective("latency_ms.p95 < 50"), parse_objective("latency_ms.p99 < 50 | warn")
    goodput = parse_objective("goodput_share > 95%")
    assert [one.text for one in binding((latency, warned))] == ["latency_ms.p95 < 50", "error_rate <= 1%"]
    assert binding((latency, goodput)) == (latency, goodput)
    assert binding((warned,)) == ()


def test_the_samples_needed_are_those_of_the_highest_percentile() -> None:
    slo = [parse_objective(text) for text in ("latency_ms.p95 < 50", "service_ms.p99 < 50", "error_rate < 1%")]
    assert samples_needed(slo) == 368
    assert samples_needed(slo[:1]) == 72
    assert samples_needed(slo[2:]) == 0


RATES = {
    "completed_per_s": {"value": Estimate(90.0, (81.0, 99.0), 900)},
    "goodput_share": {"value": Estimate(0.97, (0.96, 0.98), 1000)},
    "latency_ms": {"p50": Estimate(10.0, (8.0, 12.5)), "p99": Estimate(40.0, (36.0, 50.0))},
}


@pytest.mark.parametrize(
    ("gate", "value", "ci95"),
    [
        ("completed_per_s >= 80% of achieved_per_s", 90 / 99, (81 / 99, 99 / 99)),  # without an interval: exact
        ("latency_ms.p99 < 500% of latency_ms.p50", 4.0, (36 / 12.5, 50 / 8)),
        ("good_per_s >= 95% of offered_per_s", 0.97, (0.96, 0.98)),  # the same arrivals, so not wider than it is
    ],
)
def test_a_share_of_another_metric_has_the_intervals_of_both(
    gate: str, value: float, ci95: tuple[float, float]
) -> None:
    objective = parse_gate(gate)
    estimate = find_estimate(stage(**RATES), objective)
    assert estimate.value == pytest.approx(value)
    assert estimate.ci95 == pytest.approx(ci95)
    assert unit_of(objective) == "share"


@pytest.mark.parametrize(
    ("metrics", "reason"),
    [
        ({"latency_ms": {"p50": Estimate(0.0)}, "service_ms": {"p50": Estimate(3.0)}}, "there is no share of"),
        ({"service_ms": {"p50": Estimate(3.0)}}, "latency_ms was not measured"),
        ({"latency_ms": {"p50": Estimate(3.0)}}, "service_ms was not measured"),
    ],
)
def test_a_share_of_what_is_not_there_is_withheld(metrics: dict[str, dict[str, Estimate]], reason: str) -> None:
    found = find_estimate(stage(**metrics), parse_gate("service_ms.p50 < 90% of latency_ms.p50"))
    assert found.value is None
    assert reason in str(found.reason)


def test_a_share_whose_interval_is_withheld_does_not_pass() -> None:
    open_ended = {"p50": Estimate(10.0, (8.0, 12.0)), "p99": Estimate(40.0, reason="past the largest value")}
    gate = parse_gate("latency_ms.p99 < 500% of latency_ms.p50")
    assert judge(gate, find_estimate(stage(latency_ms=open_ended), gate)).judgement == "INCONCLUSIVE"
