from __future__ import annotations

import pytest

from app.analysis.objectives import binding, find_estimate, is_met, judge, parse_objective, samples_needed
from app.errors import UsageError
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


def test_an_objective_is_read_in_all_its_parts() -> None:
    objective = parse_objective("  latency_ms.p95 <=  50.5 | warn ")
    assert objective.text == "latency_ms.p95 <= 50.5 | warn"
    assert (objective.metric, objective.aggregate) == ("latency_ms", "p95")
    assert (objective.comparator, objective.limit, objective.level) == ("<=", 50.5, "warn")


@pytest.mark.parametrize(
    ("text", "limit"), [("error_rate < 0.1%", 0.001), ("goodput_share >= 95 %", 0.95), ("error_rate < 0.02", 0.02)]
)
def test_the_limit_of_a_share_is_a_fraction(text: str, limit: float) -> None:
    assert parse_objective(text).limit == pytest.approx(limit)
    assert parse_objective(text).level == "fail"


@pytest.mark.parametrize("written", ["p99.9", "p99_9"])
def test_the_last_percentile_may_be_written_with_a_dot(written: str) -> None:
    assert parse_objective(f"service_ms.{written} < 1e3").aggregate == "p99_9"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("latncy_ms.p95 < 50", 'no metric "latncy_ms"', "Did you mean latency_ms?"),
        ("zzz < 50", 'no metric "zzz"', "The metrics are latency_ms"),
        ("latency_ms < 50", "needs an aggregate", "p50, p90, p95, p99, p99.9, mean, max"),
        ("latency_ms.p96 < 50", 'no aggregate "p96"', "p95"),
        ("error_rate.p95 < 1%", "no aggregates", "Write error_rate."),
        ("latency_ms.p95 < 50ms", "latency_ms is in ms", "Write 50 alone"),
        ("latency_ms.p95 < 50%", "latency_ms is in ms", "Write 50 alone"),
        ("error_rate < 5ms", "it is a share", "in %"),
        ("error_rate < 5", "not within 0% and 100%", "in %"),
        ("latency_ms.p95 < 50 | loud", "| loud", "| warn"),
        ("latency_ms.p95 = 50", "cannot read", "metric.aggregate"),
        ("latency_ms.p95 < nan", "cannot read", "metric.aggregate"),
        ("", "cannot read", "metric.aggregate"),
    ],
)
def test_a_wrong_objective_says_what_is_right(text: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_objective(text)
    assert message in str(caught.value)
    assert hint in str(caught.value.hint)


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
