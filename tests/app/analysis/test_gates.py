from __future__ import annotations

import msgspec
import pytest

from app.analysis.gates import judge_change, judge_gate
from app.analysis.objectives import parse_gate
from app.records.comparison import Comparison, MetricChange
from app.records.result import IN_SWEEP, Estimate, Judgement, Stage, StageKind, Variant, Verdict, Window


def stage(
    name: str,
    p95: Estimate,
    *,
    kind: StageKind = "steady",
    tags: dict[str, str] | None = None,
    variant: Variant | None = None,
) -> Stage:
    nothing = Estimate(None)
    return Stage(
        name=name,
        kind=kind,
        repeat=1,
        tags=tags or {},
        variant=variant,
        window=Window(0, 1),
        offered_per_s=nothing,
        achieved_per_s=nothing,
        good_per_s=nothing,
        completed=1,
        errors={},
        metrics={"latency_ms": {"p95": p95}},
        verdict=Verdict("VALID"),
    )


CALM, PEAK = stage("calm", Estimate(10.0, (9.0, 11.0))), stage("peak", Estimate(60.0, (55.0, 65.0)))
WARM = stage("warm-up", Estimate(900.0, (800.0, 999.0)), kind="warmup")
SWEPT = stage("sweep 40/s", Estimate(45.0, (40.0, 55.0)), tags={IN_SWEEP: "yes"})
STAGES = (WARM, CALM, PEAK, SWEPT)


@pytest.mark.parametrize(
    ("gate", "judgement", "judged_in"),
    [
        ("latency_ms.p95 < 50", "PASS", "calm"),  # without tags, where the answer lies
        ("latency_ms.p95 < 5", "FAIL", "calm"),
        ("latency_ms.p95{stage=peak} < 70", "PASS", "peak"),
        ("latency_ms.p95{stage=peak} < 50", "FAIL", "peak"),
        ("latency_ms.p95{stage=peak} < 60", "INCONCLUSIVE", "peak"),
        ("latency_ms.p95{sweep=yes} < 50", "INCONCLUSIVE", "sweep 40/s"),
        ("latency_ms.p95{sweep=yes} < 40", "FAIL", "sweep 40/s"),
        ("latency_ms.p95{sweep=yes} < 60", "PASS", "sweep 40/s"),
        ("latency_ms.p95{stage=gone} < 60", "INCONCLUSIVE", None),
        ("latency_ms.p95{stage=warm-up} < 60", "INCONCLUSIVE", None),  # a warm-up is never judged
    ],
)
def test_a_gate_is_judged_in_the_stages_of_its_tags(gate: str, judgement: Judgement, judged_in: str | None) -> None:
    judged = judge_gate(parse_gate(gate), (CALM,), STAGES, {})
    assert (judged.judgement, judged.stage) == (judgement, judged_in)


def test_the_worst_of_several_stages_decides() -> None:
    twice = (CALM, PEAK, stage("peak", Estimate(40.0, (30.0, 49.0))))
    judged = judge_gate(parse_gate("latency_ms.p95{stage=peak} < 50"), (), twice, {})
    assert (judged.judgement, judged.observed.value) == ("FAIL", 60.0)
    untagged = judge_gate(parse_gate("latency_ms.p95 < 58"), (CALM, PEAK), twice, {})
    assert (untagged.judgement, untagged.stage) == ("INCONCLUSIVE", "peak")


def test_a_stage_that_was_not_run_is_named() -> None:
    judged = judge_gate(parse_gate("latency_ms.p95{stage=gone} < 60"), (CALM,), STAGES, {})
    assert judged.observed.reason == "no stage {stage=gone} was run"
    nothing = judge_gate(parse_gate("latency_ms.p95 < 60"), (), (), {})
    assert (nothing.judgement, nothing.observed.reason) == ("INCONCLUSIVE", "no stage to judge it on")


def test_the_variants_of_a_model_are_chosen_by_what_they_are() -> None:
    small, large = (
        stage(f"{batch}", Estimate(float(batch), (batch - 0.5, batch + 0.5)), tags={"scenario": "offline"},
              variant=Variant("m", "cpu", "as-is", batch, 1))
        for batch in (1, 8)
    )  # fmt: skip
    judged = judge_gate(parse_gate("latency_ms.p95{batch=8, scenario=offline} < 7"), (small,), (small, large), {})
    assert (judged.judgement, judged.stage) == ("FAIL", "8")
    judged = judge_gate(parse_gate("latency_ms.p95{batch=1} < 7"), (large,), (small, large), {})
    assert (judged.judgement, judged.stage) == ("PASS", "1")


@pytest.mark.parametrize(
    ("gate", "judgement"),
    [
        ("max_rate_within_slo > 180", "PASS"),
        ("max_rate_within_slo > 250", "FAIL"),
        ("max_rate_within_slo > 200", "INCONCLUSIVE"),
    ],
)
def test_a_metric_of_the_run_is_judged_without_a_stage(gate: str, judgement: Judgement) -> None:
    of_run = {"max_rate_within_slo": Estimate(205.0, (190.0, 220.0))}
    judged = judge_gate(parse_gate(gate), (CALM,), STAGES, of_run)
    assert (judged.judgement, judged.stage) == (judgement, None)


def change(
    ratio: Estimate, name: str = "peak", metric: str = "latency_ms", aggregate: str | None = "p95"
) -> MetricChange:
    nothing = Estimate(1.0)
    return MetricChange(metric, aggregate, "ms", "lower", name, nothing, nothing, ratio, 0.01, "worse")


def compared(*changes: MetricChange, is_advisory: bool = False) -> Comparison:
    return Comparison(("a",), ("b",), 0.05, changes, is_advisory=is_advisory)


WORSE = Estimate(1.2, (1.1, 1.3))


@pytest.mark.parametrize(
    ("gate", "ratio", "judgement"),
    [
        ("change(latency_ms.p95) < +8%", WORSE, "FAIL"),
        ("change(latency_ms.p95) < +35%", WORSE, "PASS"),
        ("change(latency_ms.p95) < +15%", WORSE, "INCONCLUSIVE"),
        ("change(latency_ms.p95) < +8%", Estimate(0.9, (0.85, 0.95)), "PASS"),
        ("change(latency_ms.p95) > -8%", Estimate(0.9, (0.85, 0.91)), "FAIL"),
        ("change(latency_ms.p95{stage=peak}) < +8%", WORSE, "FAIL"),
        ("change(latency_ms.p95) < +8%", Estimate(9.0, reason="2 repeats, needs 5"), "INCONCLUSIVE"),
        ("change(latency_ms.p95) < +8%", Estimate(9.0), "INCONCLUSIVE"),
        ("change(latency_ms.p95) < +8%", Estimate(None, reason="nothing to compare"), "INCONCLUSIVE"),
    ],
)
def test_a_change_is_judged_by_the_interval_of_its_ratio(gate: str, ratio: Estimate, judgement: Judgement) -> None:
    judged = judge_change(parse_gate(gate), STAGES, compared(change(ratio)))
    assert (judged.judgement, judged.stage) == (judgement, "peak")
    if ratio.ci95 is not None and ratio.value is not None:
        assert judged.observed.value == pytest.approx(ratio.value - 1)
        assert judged.observed.ci95 == pytest.approx((ratio.ci95[0] - 1, ratio.ci95[1] - 1))


def test_a_change_is_looked_for_in_the_stages_of_its_tags() -> None:
    both = compared(change(Estimate(1.0, (0.99, 1.01)), "calm"), change(WORSE, "peak"))
    for gate, judgement in (
        ("change(latency_ms.p95{stage=calm}) < +8%", "PASS"),
        ("change(latency_ms.p95{stage=peak}) < +8%", "FAIL"),
        ("change(latency_ms.p95) < +8%", "FAIL"),  # the worst of all
        ("change(latency_ms.p99) < +8%", "INCONCLUSIVE"),
        ("change(latency_ms.p95{sweep=yes}) < +8%", "INCONCLUSIVE"),
    ):
        assert judge_change(parse_gate(gate), STAGES, both).judgement == judgement
    missing = judge_change(parse_gate("change(latency_ms.p95{sweep=yes}) < +8%"), STAGES, both)
    assert missing.observed.reason == "the comparison tells nothing of latency_ms.p95{sweep=yes}"


def test_the_change_of_the_max_rate_is_of_no_stage() -> None:
    lower = compared(change(Estimate(0.8, (0.75, 0.85)), "", "max_rate_within_slo", None))
    judged = judge_change(parse_gate("change(max_rate_within_slo) > -5%"), STAGES, lower)
    assert (judged.judgement, judged.stage) == ("FAIL", None)
    assert judge_change(parse_gate("change(max_rate_within_slo) > -30%"), STAGES, lower).judgement == "PASS"


def test_without_a_baseline_a_change_is_inconclusive_and_says_why() -> None:
    gate = parse_gate("change(latency_ms.p95) < +8%")
    for judged in (judge_change(gate, STAGES, None), judge_gate(gate, STAGES, STAGES, {})):
        assert (judged.judgement, judged.observed.reason) == ("INCONCLUSIVE", "no baseline was given")


def test_an_advisory_comparison_fails_nothing() -> None:
    judged = judge_change(parse_gate("change(latency_ms.p95) < +8%"), STAGES, compared(change(WORSE), is_advisory=True))
    assert (judged.judgement, judged.objective.level) == ("FAIL", "warn")


def test_a_probe_counts_only_where_nothing_else_was_compared_or_its_tags_ask_for_it() -> None:
    probe = msgspec.structs.replace(change(WORSE, "sweep 40/s"), is_headline=False)
    same = change(Estimate(1.0, (0.99, 1.01)), "calm")
    gate, of_probe = (parse_gate(f"change(latency_ms.p95{tags}) < +8%") for tags in ("", "{sweep=yes}"))
    assert judge_change(gate, STAGES, compared(same, probe)).judgement == "PASS"
    assert judge_change(gate, STAGES, compared(probe)).judgement == "FAIL"
    assert judge_change(of_probe, STAGES, compared(same, probe)).judgement == "FAIL"


def test_a_metric_that_is_too_noisy_fails_nothing() -> None:
    for noise, level in ((0.09, "fail"), (0.11, "warn")):
        noisy = msgspec.structs.replace(change(WORSE), noise=noise)
        judged = judge_change(parse_gate("change(latency_ms.p95) < +8%"), STAGES, compared(noisy))
        assert (judged.judgement, judged.objective.level) == ("FAIL", level)
