from __future__ import annotations

import pytest

from app.analysis.objective_grammar import parse_gate, parse_objective
from app.errors import UsageError


def test_an_objective_is_read_in_all_its_parts() -> None:
    objective = parse_objective("  latency_ms.p95 <=  50.5 | warn ")
    assert objective.text == "latency_ms.p95 <= 50.5 | warn"
    assert (objective.metric, objective.aggregate) == ("latency_ms", "p95")
    assert (objective.comparator, objective.limit, objective.level) == ("<=", 50.5, "warn")


@pytest.mark.parametrize(("text", "limit"), [("error_rate < 0.1%", 0.001), ("goodput_share >= 95 %", 0.95)])
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
        ("error_rate < 0.05", "has no unit", "0.05%"),
        ("error_rate < 500%", "not within 0% and 100%", "in %"),
        ("change(latency_ms.p95) < 8%", "against a baseline", "Make it a gate."),
        ("latency_ms.p95{stage=peak} < 8", "has tags", "Make it a gate."),
        ("good_per_s > 95% of offered_per_s", "share of offered_per_s", "Make it a gate."),
        ("max_rate_within_slo > 8", "of a run as a whole", "Make it a gate."),
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
    ("text", "tags"),
    [
        ("ttft_ms.p95{stage=peak} < 300", {"stage": "peak"}),
        ("ttft_ms.p95 { stage = sweep 40/s , sweep=yes } < 300 | warn", {"stage": "sweep 40/s", "sweep": "yes"}),
        ("error_rate{stage=peak} < 0.1%", {"stage": "peak"}),
        ("change(ttft_ms.p95{stage=peak}) < +8%", {"stage": "peak"}),
    ],
)
def test_a_gate_may_choose_its_stages_by_tags(text: str, tags: dict[str, str]) -> None:
    assert parse_gate(text).tags == tags


@pytest.mark.parametrize(
    ("text", "metric", "limit"),
    [
        ("change(latency_ms.p95) < +8%", "latency_ms", 0.08),
        ("change( max_rate_within_slo ) > -5% | warn", "max_rate_within_slo", -0.05),
        ("change(error_rate) <= 12.5%", "error_rate", 0.125),
    ],
)
def test_a_change_is_held_against_a_share_with_its_sign(text: str, metric: str, limit: float) -> None:
    gate = parse_gate(text)
    assert gate.is_change
    assert gate.metric == metric
    assert gate.limit == pytest.approx(limit)


@pytest.mark.parametrize(
    ("text", "of", "limit"),
    [
        ("good_per_s >= 95% of offered_per_s", "offered_per_s", 0.95),
        ("latency_ms.p99 < 300 % of latency_ms.p50 | warn", "latency_ms.p50", 3.0),
        ("service_ms.p50 > 1% of latency_ms.p99.9", "latency_ms.p99_9", 0.01),
    ],
)
def test_a_limit_may_be_a_share_of_another_metric(text: str, of: str, limit: float) -> None:
    gate = parse_gate(text)
    assert gate.of == of
    assert gate.limit == pytest.approx(limit)
    assert gate.level == ("warn" if "warn" in text else "fail")


def test_what_an_slo_says_a_gate_may_say_too() -> None:
    for text in ("latency_ms.p95 < 50 | warn", "error_rate < 0.1%"):
        assert parse_gate(text) == parse_objective(text)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("max_rate_within_slp > 8", 'no metric "max_rate_within_slp"', "Did you mean max_rate_within_slo?"),
        ("usd_per_1k_inference <= 0.6", 'no metric "usd_per_1k_inference"', "Did you mean usd_per_1k_inferences?"),
        ("usd_per_month <= 60%", "usd_per_month is in USD", "Write 60 alone"),
        ("max_rate_within_slo.p95 > 8", "one number a run", "Write max_rate_within_slo."),
        ("max_rate_within_slo{stage=peak} > 8", "of the run as a whole", "Write max_rate_within_slo."),
        ("latency_ms.p95{stage} < 8", "as tags", "{stage=peak}"),
        ("latency_ms.p95{} < 8", "as tags", "{stage=peak}"),
        ("latency_ms.p95{stage=} < 8", "as tags", "{stage=peak}"),
        ("latency_ms.p95{stage=a, stage=b} < 8", "given twice", "one value"),
        ("change(latency_ms.p95) < 8", "a change is a share", "Write 8%."),
        ("change(latency_ms.p95) < +8ms", "a change is a share", "Write +8%."),
        ("change(latncy_ms.p95) < 8%", 'no metric "latncy_ms"', "Did you mean latency_ms?"),
        ("change(latency_ms.p95 < 8%", "cannot read", "change(latency_ms.p95) < +8%"),
        ("change(change(latency_ms.p95)) < 8%", "cannot read", "change(latency_ms.p95) < +8%"),
        ("change(latency_ms.p95){stage=peak} < 8%", "cannot read", "change(latency_ms.p95) < +8%"),
        ("change(good_per_s) < 8% of offered_per_s", "not against a share", "change(latency_ms.p95) < +8%"),
        ("good_per_s >= 95 of offered_per_s", "a limit of offered_per_s is a share", "Write 95%."),
        ("good_per_s >= 95% of oferred_per_s", 'no metric "oferred_per_s"', "Did you mean offered_per_s?"),
        ("good_per_s >= 95% of latency_ms", "latency_ms needs an aggregate", "p50"),
        ("good_per_s >= 95% of latency_ms.p50", "good_per_s is in 1/s, and latency_ms in ms", "offered_per_s"),
        ("good_per_s >= 95% of good_per_s", "all of itself", "another metric"),
        ("latency_ms.p95 < 50%", "latency_ms is in ms", "50% of another metric"),
    ],
)
def test_a_wrong_gate_says_what_is_right(text: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_gate(text)
    assert message in str(caught.value)
    assert hint in str(caught.value.hint)
