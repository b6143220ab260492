from __future__ import annotations

import pytest

from app.analysis.objectives import (
    count_needed_slo_samples,
    count_planned_slo_samples,
    evaluate_objective,
    expand_short_form,
    find_estimate,
    format_objective,
    get_unit,
    is_met,
    parse_gate,
    parse_objective,
    select_binding_objectives,
)
from app.errors import UsageError
from app.records.result import Estimate, ObjectiveOutcome, Stage, Verdict, Window


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
    ("estimate", "expected_outcome"),
    [
        (Estimate(40.0, (30.0, 49.9)), "PASS"),
        (Estimate(49.0, (40.0, 50.0)), "INCONCLUSIVE"),
        (Estimate(60.0, (50.0, 70.0)), "FAIL"),
        (Estimate(None, reason="3 of 72 required samples"), "INCONCLUSIVE"),
        (Estimate(None, n=71, reason="71 of 72 required samples", undersampled=90.0), "INCONCLUSIVE"),
        (Estimate(None, n=71, reason="71 of 72 required samples", undersampled=10.0), "INCONCLUSIVE"),
        (Estimate(40.0), "PASS"),
        (Estimate(60.0), "FAIL"),
        (Estimate(40.0, reason="no interval"), "INCONCLUSIVE"),
        (Estimate(60.0, reason="no interval"), "FAIL"),
    ],
)
def test_gate_is_evaluated_by_whole_interval(estimate: Estimate, expected_outcome: ObjectiveOutcome) -> None:
    assert evaluate_objective(parse_objective("latency_ms.p95 < 50"), estimate).outcome == expected_outcome


def test_lower_limit_is_evaluated_by_lower_end_of_interval() -> None:
    objective = parse_objective("goodput_share >= 95%")
    assert evaluate_objective(objective, Estimate(0.97, (0.95, 0.98))).outcome == "PASS"
    assert evaluate_objective(objective, Estimate(0.9, (0.8, 0.949))).outcome == "FAIL"


@pytest.mark.parametrize(("value", "met"), [(49.9, True), (50.0, False), (None, None)])
def test_rate_search_evaluates_point_estimate(value: float | None, met: bool | None) -> None:
    assert is_met(parse_objective("latency_ms.p95 < 50"), Estimate(value, (0.0, 1e9), undersampled=90.0)) is met


def test_estimate_is_selected_by_metric_and_aggregate() -> None:
    measured = stage(latency_ms={"p95": Estimate(7.0)}, error_rate={"value": Estimate(0.1)})
    assert find_estimate(measured, parse_objective("latency_ms.p95 < 50")).value == 7.0
    assert find_estimate(measured, parse_objective("error_rate < 1%")).value == 0.1
    assert find_estimate(measured, parse_objective("achieved_per_s > 1")).value == 99.0
    missing = find_estimate(measured, parse_objective("gpu_power_w.mean < 50"))
    assert missing == Estimate(None, reason="mean GPU power was not measured")


def test_latency_only_slo_gets_error_rate_objective() -> None:
    latency, warned = parse_objective("latency_ms.p95 < 50"), parse_objective("latency_ms.p99 < 50 | warn")
    goodput = parse_objective("goodput_share > 95%")
    assert [objective.text for objective in select_binding_objectives((latency, warned))] == [
        "latency_ms.p95 < 50",
        "error_rate <= 1%",
    ]
    assert select_binding_objectives((latency, goodput)) == (latency, goodput)
    assert select_binding_objectives((warned,)) == ()


def test_needed_slo_samples_are_of_highest_percentile() -> None:
    slo = [parse_objective(text) for text in ("latency_ms.p95 < 50", "service_ms.p99 < 50", "error_rate < 1%")]
    assert count_needed_slo_samples(slo) == 368
    assert count_needed_slo_samples(slo[:1]) == 72
    assert count_planned_slo_samples(slo[:1]) == pytest.approx(106, abs=0.1)
    assert count_needed_slo_samples(slo[2:]) == 0


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
        ("good_per_s >= 95% of offered_per_s", 0.97, (0.96, 0.98)),  # of the same arrivals, so not wider
    ],
)
def test_relative_gate_combines_intervals_of_both_metrics(gate: str, value: float, ci95: tuple[float, float]) -> None:
    objective = parse_gate(gate)
    estimate = find_estimate(stage(**RATES), objective)
    assert estimate.value == pytest.approx(value)
    assert estimate.ci95 == pytest.approx(ci95)
    assert get_unit(objective) == "share"


@pytest.mark.parametrize(
    ("metrics", "reason"),
    [
        ({"latency_ms": {"p50": Estimate(0.0)}, "service_ms": {"p50": Estimate(3.0)}}, "no ratio: p50 latency was 0"),
        ({"service_ms": {"p50": Estimate(3.0)}}, "p50 latency was not measured"),
        ({"latency_ms": {"p50": Estimate(3.0)}}, "p50 service time was not measured"),
    ],
)
def test_relative_gate_without_either_metric_is_withheld(metrics: dict[str, dict[str, Estimate]], reason: str) -> None:
    estimate = find_estimate(stage(**metrics), parse_gate("service_ms.p50 < 90% of latency_ms.p50"))
    assert estimate.value is None
    assert reason in str(estimate.reason)


def test_relative_gate_with_withheld_interval_is_inconclusive() -> None:
    open_ended = {"p50": Estimate(10.0, (8.0, 12.0)), "p99": Estimate(40.0, reason="too few samples in the tail")}
    gate = parse_gate("latency_ms.p99 < 500% of latency_ms.p50")
    assert evaluate_objective(gate, find_estimate(stage(latency_ms=open_ended), gate)).outcome == "INCONCLUSIVE"


def test_objective_is_parsed_into_metric_comparator_limit_and_level() -> None:
    objective = parse_objective("  latency_ms.p95 <=  50.5 | warn ")
    assert objective.text == "latency_ms.p95 <= 50.5 | warn"
    assert (objective.metric, objective.aggregate) == ("latency_ms", "p95")
    assert (objective.comparator, objective.limit, objective.level) == ("<=", 50.5, "warn")


@pytest.mark.parametrize(("text", "limit"), [("error_rate < 0.1%", 0.001), ("goodput_share >= 95 %", 0.95)])
def test_percent_limit_is_parsed_as_fraction(text: str, limit: float) -> None:
    assert parse_objective(text).limit == pytest.approx(limit)
    assert parse_objective(text).level == "fail"


@pytest.mark.parametrize("written", ["p99.9", "p99_9"])
def test_p99_9_is_accepted_with_dot_or_underscore(written: str) -> None:
    assert parse_objective(f"service_ms.{written} < 1e3").aggregate == "p99_9"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("latncy_ms.p95 < 50", 'the metric "latncy_ms" is unknown', "Did you mean latency_ms?"),
        ("zzz < 50", 'the metric "zzz" is unknown', "Use a metric such as latency_ms"),
        ("latency_ms < 50", "needs an aggregate", "p50, p90, p95, p99, p99.9, mean, max"),
        ("latency_ms.p96 < 50", 'no aggregate "p96"', "p95"),
        ("error_rate.p95 < 1%", "no aggregates", "Use error_rate."),
        ("latency_ms.p95 < 50ms", "latency_ms is in ms", "Use 50 without a unit"),
        ("latency_ms.p95 < 50%", "latency_ms is in ms", "Use 50 without a unit"),
        ("error_rate < 5ms", "which is in %", "5%"),
        ("error_rate < 0.05", "has no unit", "0.05%"),
        ("error_rate < 500%", "must be between 0% and 100%", "99%"),
        ("change(latency_ms.p95) < 8%", "with a baseline", "Define it as a gate."),
        ("latency_ms.p95{stage=peak} < 8", "cannot have tags", "Define it as a gate."),
        ("good_per_s > 95% of offered_per_s", "limit relative to offered_per_s", "Define it as a gate."),
        ("max_rate_within_slo > 8", "of the whole run", "Define it as a gate."),
        ("latency_ms.p95 < 50 | loud", "| loud", "| warn"),
        ("latency_ms.p95 = 50", "is not a valid objective", "metric.aggregate"),
        ("latency_ms.p95 < nan", "is not a valid objective", "metric.aggregate"),
        ("", "is not a valid objective", "metric.aggregate"),
    ],
)
def test_invalid_objective_is_rejected_with_hint(text: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_objective(text)
    assert message in str(caught.value)
    assert hint in str(caught.value.hint)


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("ttft_ms.p95{stage=peak} < 300", {"stage": "peak"}),
        (
            "ttft_ms.p95 { stage = sweep 40 req/s , sweep=yes } < 300 | warn",
            {"stage": "sweep 40 req/s", "sweep": "yes"},
        ),
        ("error_rate{stage=peak} < 0.1%", {"stage": "peak"}),
        ("change(ttft_ms.p95{stage=peak}) < +8%", {"stage": "peak"}),
    ],
)
def test_gate_tags_are_parsed(text: str, tags: dict[str, str]) -> None:
    assert parse_gate(text).tags == tags


@pytest.mark.parametrize(
    ("text", "metric", "limit"),
    [
        ("change(latency_ms.p95) < +8%", "latency_ms", 0.08),
        ("change( max_rate_within_slo ) > -5% | warn", "max_rate_within_slo", -0.05),
        ("change(error_rate) <= 12.5%", "error_rate", 0.125),
    ],
)
def test_change_gate_limit_is_parsed_as_signed_fraction(text: str, metric: str, limit: float) -> None:
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
def test_gate_limit_relative_to_other_metric_is_parsed(text: str, of: str, limit: float) -> None:
    gate = parse_gate(text)
    assert gate.of == of
    assert gate.limit == pytest.approx(limit)
    assert gate.level == ("warn" if "warn" in text else "fail")


def test_gate_accepts_slo_objective() -> None:
    for text in ("latency_ms.p95 < 50 | warn", "error_rate < 0.1%"):
        assert parse_gate(text) == parse_objective(text)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("max_rate_within_slp > 8", 'the metric "max_rate_within_slp" is unknown', "Did you mean max_rate_within_slo?"),
        (
            "usd_per_1k_inference <= 0.6",
            'the metric "usd_per_1k_inference" is unknown',
            "Did you mean usd_per_1k_inferences?",
        ),
        ("usd_per_month <= 60%", "usd_per_month is in USD", "Use 60 without a unit"),
        ("max_rate_within_slo.p95 > 8", "one value per run", "Use max_rate_within_slo"),
        ("max_rate_within_slo{stage=peak} > 8", "of the whole run", "Use max_rate_within_slo"),
        ("latency_ms.p95{stage} < 8", "not valid tags", "{stage=peak}"),
        ("latency_ms.p95{} < 8", "not valid tags", "{stage=peak}"),
        ("latency_ms.p95{stage=} < 8", "not valid tags", "{stage=peak}"),
        ("latency_ms.p95{stage=a, stage=b} < 8", "set twice", "Set each tag once"),
        ("change(latency_ms.p95) < 8", "a change must be in %", "Use 8%."),
        ("change(latency_ms.p95) < +8ms", "a change must be in %", "Use +8%."),
        ("change(latncy_ms.p95) < 8%", 'the metric "latncy_ms" is unknown', "Did you mean latency_ms?"),
        ("change(latency_ms.p95 < 8%", "is not a valid objective", "change(latency_ms.p95) < +8%"),
        ("change(change(latency_ms.p95)) < 8%", "is not a valid objective", "change(latency_ms.p95) < +8%"),
        ("change(latency_ms.p95){stage=peak} < 8%", "is not a valid objective", "change(latency_ms.p95) < +8%"),
        ("change(good_per_s) < 8% of offered_per_s", "needs an absolute limit", "change(latency_ms.p95) < +8%"),
        ("good_per_s >= 95 of offered_per_s", "a limit relative to offered_per_s must be in %", "Use 95%."),
        ("good_per_s >= 95% of oferred_per_s", 'the metric "oferred_per_s" is unknown', "Did you mean offered_per_s?"),
        ("good_per_s >= 95% of latency_ms", "latency_ms needs an aggregate", "p50"),
        ("good_per_s >= 95% of latency_ms.p50", "good_per_s is in 1/s, but latency_ms is in ms", "offered_per_s"),
        ("good_per_s >= 95% of good_per_s", "relative to itself", "another metric"),
        ("latency_ms.p95 < 50%", "latency_ms is in ms", "50% of METRIC"),
    ],
)
def test_invalid_gate_is_rejected_with_hint(text: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_gate(text)
    assert message in str(caught.value)
    assert hint in str(caught.value.hint)


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("p95 < 50ms", "latency_ms.p95 < 50"),
        ("p99.9<=1.5s | warn", "latency_ms.p99.9 <= 1500 | warn"),
        ("ttft.p95 < 0.3s", "ttft_ms.p95 < 300"),
        ("ttft p95 < 1s", "ttft_ms.p95 < 1000"),
        (" TPOT  p95<40ms", "tpot_ms.p95 < 40"),
        ("mean < 250us", "latency_ms.mean < 0.25"),
        ("p50 < 7", "latency_ms.p50 < 7"),
        ("latency_ms.p95 < 50", "latency_ms.p95 < 50"),
        ("nothing.p95 < 50ms", "nothing.p95 < 50ms"),
        ("nothing p95 < 50ms", "nothing p95 < 50ms"),
        ("p95 < 50%", "p95 < 50%"),
    ],
)
def test_short_form_of_objective_is_expanded(short: str, full: str) -> None:
    assert expand_short_form(short) == full


def test_objective_in_short_form_is_stored_with_full_name() -> None:
    assert parse_objective("p95 < 50ms").text == "latency_ms.p95 < 50"
    assert parse_gate("ttft.p95 < 0.3s | warn").text == "ttft_ms.p95 < 300 | warn"


@pytest.mark.parametrize(
    ("text", "display_text"),
    [
        ("latency_ms.p95 < 50", "p95 latency < 50 ms"),
        ("ttft_ms.p95{class=chat} < 300", "p95 TTFT (chat) < 300 ms"),
        ("latency_ms.p95{stage=peak} < 50 | warn", "p95 latency < 50 ms in peak"),
        ("of_a_newer_version.p95 < 50", "of_a_newer_version.p95 < 50"),
    ],
)
def test_objectives_and_gates_have_display_text(text: str, display_text: str) -> None:
    assert format_objective(text) == display_text


@pytest.mark.parametrize("text", ["p95 < 50min", "ttft.p99 <= 2 sec", "mean < 5x | warn"])
def test_short_objective_with_unknown_unit_is_rejected_with_valid_units(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_objective(text)
    assert "unit" in str(caught.value)
    assert "us, ms or s" in str(caught.value.hint)
