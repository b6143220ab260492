from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from app.analysis.gating import (
    GateKind,
    Gating,
    apply_comparison,
    build_exit,
    collect_run_metrics,
    evaluate_change,
    evaluate_gate,
    find_causes,
    list_warnings,
)
from app.analysis.objectives import evaluate_objective, parse_gate, parse_objective
from app.errors import ExitCode
from app.records.comparison import Comparison, MetricChange
from app.records.metrics import RUN_METRICS
from app.records.plan import TokenUnitCosts, UnitCosts
from app.records.result import (
    SWEEP_TAG,
    Cause,
    Estimate,
    Exit,
    MaxRate,
    ObjectiveOutcome,
    ObjectiveResult,
    Result,
    Stage,
    StageKind,
    Variant,
    Verdict,
    Window,
)
from tests.fakes.results import full_run
from tests.fakes.whole_plan import plan_without_feasible_offer, whole_plan


def stage(
    name: str,
    p95: Estimate,
    *,
    kind: StageKind = "steady",
    tags: dict[str, str] | None = None,
    variant: Variant | None = None,
) -> Stage:
    missing = Estimate(None)
    return Stage(
        name=name,
        kind=kind,
        repeat=1,
        tags=tags or {},
        variant=variant,
        window=Window(0, 1),
        offered_per_s=missing,
        achieved_per_s=missing,
        good_per_s=missing,
        completed=1,
        errors={},
        metrics={"latency_ms": {"p95": p95}},
        verdict=Verdict("VALID"),
    )


CALM, PEAK = stage("calm", Estimate(10.0, (9.0, 11.0))), stage("peak", Estimate(60.0, (55.0, 65.0)))
WARMUP = stage("warm-up", Estimate(900.0, (800.0, 999.0)), kind="warmup")
SWEPT = stage("sweep 40 req/s", Estimate(45.0, (40.0, 55.0)), tags={SWEEP_TAG: "yes"})
STAGES = (WARMUP, CALM, PEAK, SWEPT)


@pytest.mark.parametrize(
    ("gate", "expected_outcome", "stage_name"),
    [
        ("latency_ms.p95 < 50", "PASS", "calm"),  # without tags, in the headline stages
        ("latency_ms.p95 < 5", "FAIL", "calm"),
        ("latency_ms.p95{stage=peak} < 70", "PASS", "peak"),
        ("latency_ms.p95{stage=peak} < 50", "FAIL", "peak"),
        ("latency_ms.p95{stage=peak} < 60", "INCONCLUSIVE", "peak"),
        ("latency_ms.p95{sweep=yes} < 50", "INCONCLUSIVE", "sweep 40 req/s"),
        ("latency_ms.p95{sweep=yes} < 40", "FAIL", "sweep 40 req/s"),
        ("latency_ms.p95{sweep=yes} < 60", "PASS", "sweep 40 req/s"),
        ("latency_ms.p95{stage=gone} < 60", "INCONCLUSIVE", None),
        ("latency_ms.p95{stage=warm-up} < 60", "INCONCLUSIVE", None),  # a warm-up is never evaluated
    ],
)
def test_gate_is_evaluated_in_stages_with_its_tags(
    gate: str, expected_outcome: ObjectiveOutcome, stage_name: str | None
) -> None:
    evaluated = evaluate_gate(parse_gate(gate), (CALM,), STAGES, {})
    assert (evaluated.outcome, evaluated.stage) == (expected_outcome, stage_name)


def test_worst_stage_decides_gate() -> None:
    stages = (CALM, PEAK, stage("peak", Estimate(40.0, (30.0, 49.0))))
    evaluated = evaluate_gate(parse_gate("latency_ms.p95{stage=peak} < 50"), (), stages, {})
    assert (evaluated.outcome, evaluated.observed.value) == ("FAIL", 60.0)
    untagged = evaluate_gate(parse_gate("latency_ms.p95 < 58"), (CALM, PEAK), stages, {})
    assert (untagged.outcome, untagged.stage) == ("INCONCLUSIVE", "peak")
    repeated = evaluate_gate(parse_gate("latency_ms.p95 < 58"), (CALM, replace(PEAK, repeat=2)), stages, {})
    assert repeated.stage == "peak #2"


def test_gate_uses_pooled_stage_unless_single_stage_failed() -> None:
    short = stage("short", Estimate(40.0, None))
    pooled = stage("2 stages", Estimate(42.0, (41.0, 44.0)), tags={"pooled": "2"})
    pooled_result = evaluate_gate(parse_gate("latency_ms.p95 < 50"), (short, short, pooled), (), {})
    assert (pooled_result.outcome, pooled_result.stage) == ("PASS", "2 stages")
    failed = evaluate_gate(parse_gate("latency_ms.p95 < 50"), (short, PEAK, pooled), (), {})
    assert (failed.outcome, failed.stage) == ("FAIL", "peak")


def test_inconclusive_gate_names_tags_of_missing_stage() -> None:
    evaluated = evaluate_gate(parse_gate("latency_ms.p95{stage=gone} < 60"), (CALM,), STAGES, {})
    assert evaluated.observed.reason == "no stage with {stage=gone} was run"
    without_stages = evaluate_gate(parse_gate("latency_ms.p95 < 60"), (), (), {})
    assert (without_stages.outcome, without_stages.observed.reason) == (
        "INCONCLUSIVE",
        "not evaluated: no stage qualified",
    )


def test_gate_selects_model_variants_by_batch_and_scenario() -> None:
    small, large = (
        stage(f"{batch}", Estimate(float(batch), (batch - 0.5, batch + 0.5)), tags={"scenario": "offline"},
              variant=Variant("m", "cpu", "as-is", batch, 1))
        for batch in (1, 8)
    )  # fmt: skip
    evaluated = evaluate_gate(parse_gate("latency_ms.p95{batch=8, scenario=offline} < 7"), (small,), (small, large), {})
    assert (evaluated.outcome, evaluated.stage) == ("FAIL", "8")
    evaluated = evaluate_gate(parse_gate("latency_ms.p95{batch=1} < 7"), (large,), (small, large), {})
    assert (evaluated.outcome, evaluated.stage) == ("PASS", "1")


@pytest.mark.parametrize(
    ("gate", "expected_outcome"),
    [
        ("max_rate_within_slo > 180", "PASS"),
        ("max_rate_within_slo > 250", "FAIL"),
        ("max_rate_within_slo > 200", "INCONCLUSIVE"),
    ],
)
def test_gate_on_run_metric_has_no_stage(gate: str, expected_outcome: ObjectiveOutcome) -> None:
    run_metrics = {"max_rate_within_slo": Estimate(205.0, (190.0, 220.0))}
    evaluated = evaluate_gate(parse_gate(gate), (CALM,), STAGES, run_metrics)
    assert (evaluated.outcome, evaluated.stage) == (expected_outcome, None)


def build_change(
    ratio: Estimate, name: str = "peak", metric: str = "latency_ms", aggregate: str | None = "p95"
) -> MetricChange:
    unchanged = Estimate(1.0)
    return MetricChange(metric, aggregate, "ms", "lower", name, unchanged, unchanged, ratio, 0.01, "worse")


def build_comparison(*changes: MetricChange, is_advisory: bool = False) -> Comparison:
    return Comparison(("a",), ("b",), 0.05, changes, is_advisory=is_advisory)


WORSE = Estimate(1.2, (1.1, 1.3))


@pytest.mark.parametrize(
    ("gate", "ratio", "expected_outcome"),
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
def test_change_gate_is_evaluated_by_interval_of_ratio(
    gate: str, ratio: Estimate, expected_outcome: ObjectiveOutcome
) -> None:
    evaluated = evaluate_change(parse_gate(gate), STAGES, build_comparison(build_change(ratio)))
    assert (evaluated.outcome, evaluated.stage) == (expected_outcome, "peak")
    if ratio.ci95 is not None and ratio.value is not None:
        assert evaluated.observed.value == pytest.approx(ratio.value - 1)
        assert evaluated.observed.ci95 == pytest.approx((ratio.ci95[0] - 1, ratio.ci95[1] - 1))


def test_change_gate_is_evaluated_in_stages_with_its_tags() -> None:
    comparison = build_comparison(build_change(Estimate(1.0, (0.99, 1.01)), "calm"), build_change(WORSE, "peak"))
    for gate, expected_outcome in (
        ("change(latency_ms.p95{stage=calm}) < +8%", "PASS"),
        ("change(latency_ms.p95{stage=peak}) < +8%", "FAIL"),
        ("change(latency_ms.p95) < +8%", "FAIL"),  # the worst of all
        ("change(latency_ms.p99) < +8%", "INCONCLUSIVE"),
        ("change(latency_ms.p95{sweep=yes}) < +8%", "INCONCLUSIVE"),
    ):
        assert evaluate_change(parse_gate(gate), STAGES, comparison).outcome == expected_outcome
    missing = evaluate_change(parse_gate("change(latency_ms.p95{sweep=yes}) < +8%"), STAGES, comparison)
    assert missing.observed.reason == "the comparison does not contain p95 latency{sweep=yes}"


def test_change_gate_on_max_rate_has_no_stage() -> None:
    comparison = build_comparison(build_change(Estimate(0.8, (0.75, 0.85)), "", "max_rate_within_slo", None))
    evaluated = evaluate_change(parse_gate("change(max_rate_within_slo) > -5%"), STAGES, comparison)
    assert (evaluated.outcome, evaluated.stage) == ("FAIL", None)
    assert evaluate_change(parse_gate("change(max_rate_within_slo) > -30%"), STAGES, comparison).outcome == "PASS"


def test_change_gate_without_baseline_is_inconclusive_with_reason() -> None:
    gate = parse_gate("change(latency_ms.p95) < +8%")
    for evaluated in (evaluate_change(gate, STAGES, None), evaluate_gate(gate, STAGES, STAGES, {})):
        assert (evaluated.outcome, evaluated.observed.reason) == ("INCONCLUSIVE", "no baseline was specified")


def test_advisory_comparison_turns_failed_change_gate_into_warning() -> None:
    evaluated = evaluate_change(
        parse_gate("change(latency_ms.p95) < +8%"), STAGES, build_comparison(build_change(WORSE), is_advisory=True)
    )
    assert (evaluated.outcome, evaluated.objective.level) == ("FAIL", "warn")


def test_probe_counts_in_change_gate_only_without_other_stages_or_by_its_tags() -> None:
    probe = msgspec.structs.replace(build_change(WORSE, "sweep 40 req/s"), is_headline=False)
    same = build_change(Estimate(1.0, (0.99, 1.01)), "calm")
    gate, of_probe = (parse_gate(f"change(latency_ms.p95{tags}) < +8%") for tags in ("", "{sweep=yes}"))
    assert evaluate_change(gate, STAGES, build_comparison(same, probe)).outcome == "PASS"
    assert evaluate_change(gate, STAGES, build_comparison(probe)).outcome == "FAIL"
    assert evaluate_change(of_probe, STAGES, build_comparison(same, probe)).outcome == "FAIL"


def test_noisy_metric_turns_failed_change_gate_into_warning() -> None:
    for noise, level in ((0.09, "fail"), (0.11, "warn")):
        noisy = msgspec.structs.replace(build_change(WORSE), noise=noise)
        evaluated = evaluate_change(parse_gate("change(latency_ms.p95) < +8%"), STAGES, build_comparison(noisy))
        assert (evaluated.outcome, evaluated.objective.level) == ("FAIL", level)


CHANGE = parse_gate("change(latency_ms.p95) < +8%")
NO_BASELINE = evaluate_objective(CHANGE, Estimate(None, reason="no baseline was specified"))


def evaluate_at_peak(text: str, estimate: Estimate) -> ObjectiveResult:
    return msgspec.structs.replace(evaluate_objective(parse_objective(text), estimate), stage="peak")


FAILED = evaluate_at_peak("latency_ms.p95 < 50", Estimate(60.0, (55.0, 65.0)))
UNDECIDED = evaluate_at_peak("latency_ms.p99 < 80", Estimate(78.0, (70.0, 90.0)))
WARNED = evaluate_at_peak("latency_ms.p50 < 5 | warn", Estimate(6.0, (5.5, 6.5)))
MET = evaluate_at_peak("error_rate < 1%", Estimate(0.0, (0.0, 0.001)))


def build_gated_result(*gates: ObjectiveResult, gating: Gating = Gating()) -> Result:  # noqa: B008 - frozen
    return msgspec.structs.replace(full_run().result, slo=(), gates=gates, exit=build_exit(find_causes(gates, gating)))


def build_latency_comparison(low: float, high: float, **more: Any) -> Comparison:
    unchanged = Estimate(1.0)
    ratio = Estimate((low + high) / 2, (low, high))
    changed = MetricChange("latency_ms", "p95", "ms", "lower", "peak", unchanged, unchanged, ratio, 0.001, "worse")
    return Comparison(("a",), ("b",), 0.05, (changed,), **more)


@pytest.mark.parametrize(
    ("gates", "gating", "code"),
    [
        ((MET, WARNED), Gating(), ExitCode.OK),
        ((FAILED,), Gating(), ExitCode.GATE_FAILED),
        ((FAILED, UNDECIDED), Gating("fail"), ExitCode.GATE_FAILED),
        ((FAILED,), Gating(kinds=("regression",)), ExitCode.OK),
        ((UNDECIDED,), Gating(), ExitCode.OK),
        ((UNDECIDED,), Gating("pass"), ExitCode.OK),
        ((UNDECIDED,), Gating("fail"), ExitCode.INCONCLUSIVE),
        ((UNDECIDED,), Gating("fail", ("regression",)), ExitCode.OK),
        ((NO_BASELINE,), Gating(), ExitCode.OK),
        ((NO_BASELINE,), Gating("fail"), ExitCode.INCONCLUSIVE),
        ((NO_BASELINE,), Gating("fail", ("slo",)), ExitCode.OK),
    ],
)
def test_gate_outcomes_determine_exit_code(gates: tuple[ObjectiveResult, ...], gating: Gating, code: ExitCode) -> None:
    assert build_gated_result(*gates, gating=gating).exit.code == code


@pytest.mark.parametrize(
    ("comparison", "gating", "code"),
    [
        (build_latency_comparison(1.1, 1.3), Gating(), ExitCode.REGRESSION),
        (build_latency_comparison(1.1, 1.3), Gating(kinds=("slo",)), ExitCode.OK),
        (build_latency_comparison(1.1, 1.3, is_advisory=True), Gating(), ExitCode.OK),
        (build_latency_comparison(1.0, 1.2), Gating(), ExitCode.OK),
        (build_latency_comparison(1.0, 1.2), Gating("fail"), ExitCode.INCONCLUSIVE),
        (build_latency_comparison(0.9, 1.05), Gating("fail"), ExitCode.OK),
    ],
)
def test_comparison_updates_change_gate_and_exit_code(comparison: Comparison, gating: Gating, code: ExitCode) -> None:
    result = apply_comparison(build_gated_result(NO_BASELINE, MET, gating=gating), comparison, gating)
    assert result.exit.code == code
    assert bool(result.exit.texts) is (code != ExitCode.OK)
    assert result.comparison == comparison
    assert result.gates[1] == MET
    assert apply_comparison(result, comparison, gating) == result, "a second evaluation changes nothing"


@pytest.mark.parametrize(("kinds", "code"), [(("slo", "regression"), ExitCode.REGRESSION), (("slo",), ExitCode.OK)])
def test_regression_without_gate_sets_exit_code_only_if_regressions_are_gated(
    kinds: tuple[GateKind, ...], code: ExitCode
) -> None:
    causes = [Cause("baseline_regressed", ExitCode.REGRESSION, "ttft_ms.p95 is worse")]
    assert (
        apply_comparison(
            build_gated_result(MET), build_latency_comparison(1.1, 1.3), Gating(kinds=kinds), causes
        ).exit.code
        == code
    )
    refused = [Cause("baseline_refused", ExitCode.USAGE, "the baseline cannot be compared")]
    assert (
        apply_comparison(
            build_gated_result(MET), build_latency_comparison(1.1, 1.3), Gating(kinds=kinds), refused
        ).exit.code
        == ExitCode.USAGE
    )


def test_exit_cause_from_before_comparison_stays_first() -> None:
    gating = Gating("fail")
    result = apply_comparison(
        build_gated_result(NO_BASELINE, UNDECIDED, FAILED, gating=gating), build_latency_comparison(1.1, 1.3), gating
    )
    assert result.exit.code == ExitCode.GATE_FAILED
    codes = [ExitCode.GATE_FAILED, ExitCode.REGRESSION, ExitCode.INCONCLUSIVE]
    assert [cause.code for cause in result.exit.causes] == codes
    assert result.exit.texts == (
        "p95 latency < 50 ms was not met in peak: measured 60 ms",
        "change of p95 latency < 8 % was not met in peak: measured 20 %",
        "p99 latency < 80 ms is inconclusive in peak: the 95 % CI crosses the limit",
    )


def test_cause_with_deciding_exit_code_is_listed_first() -> None:
    limit, failed = Cause("limit", ExitCode.LIMIT, "a"), Cause("no_rate", ExitCode.GATE_FAILED, "b")
    inconclusive = Cause("objective_inconclusive", ExitCode.INCONCLUSIVE, "c")
    assert build_exit([inconclusive, limit, failed]) == Exit(5, (limit, failed, inconclusive))
    assert build_exit([]) == Exit(0)


def test_demonstration_fails_only_if_stopped_or_target_failed() -> None:
    invalid = Cause("invalid", ExitCode.INVALID, "a")
    causes = (
        invalid,
        Cause("objective_failed", ExitCode.GATE_FAILED, "b"),
        Cause("no_rate", ExitCode.GATE_FAILED, "c"),
        Cause("objective_inconclusive", ExitCode.INCONCLUSIVE, "d"),
    )
    assert build_exit(causes) == Exit(ExitCode.INVALID, causes)
    assert build_exit(causes, is_demonstration=True) == Exit(ExitCode.OK, causes)
    assert build_exit(causes, is_demonstration=True).first_code == ExitCode.INVALID
    for cause in (
        Cause("interrupted", ExitCode.INTERRUPTED, "e"),
        Cause("limit", ExitCode.LIMIT, "f"),
        Cause("target_failed", ExitCode.GATE_FAILED, "g"),
    ):
        assert build_exit([invalid, cause], is_demonstration=True).code == cause.code


@pytest.mark.parametrize(
    ("gating", "reported"),
    [
        (
            Gating(),
            [
                "p50 latency < 5 ms was not met in peak: measured 6 ms (warning only)",
                "p99 latency < 80 ms is inconclusive in peak: the 95 % CI crosses the limit",
                (
                    "change of p95 latency < 8 % is inconclusive: no baseline was specified; set a baseline with "
                    "--baseline RUN"
                ),
            ],
        ),
        (Gating("pass"), ["p50 latency < 5 ms was not met in peak: measured 6 ms (warning only)"]),
        (Gating("fail"), ["p50 latency < 5 ms was not met in peak: measured 6 ms (warning only)"]),
    ],
)
def test_outcomes_that_do_not_decide_exit_code_are_warnings(gating: Gating, reported: list[str]) -> None:
    assert list(list_warnings(build_gated_result(MET, FAILED, WARNED, UNDECIDED, NO_BASELINE), gating)) == reported


def test_failed_gate_of_unselected_kind_is_warning() -> None:
    reported = list(list_warnings(build_gated_result(FAILED), Gating(kinds=("regression",))))
    assert reported == ["p95 latency < 50 ms was not met in peak: measured 60 ms (warning only)"]


MAX_RATE = MaxRate(Estimate(205.0, (190.0, 220.0)), ("latency_ms.p95 < 50",), "the CPUs")


def test_every_run_metric_has_value_or_reason() -> None:
    for run_metrics in (
        collect_run_metrics(MAX_RATE, whole_plan()),
        collect_run_metrics(None, None),
        collect_run_metrics(MAX_RATE, plan_without_feasible_offer()),
    ):
        assert run_metrics.keys() == RUN_METRICS.keys()
        assert all((estimate.value is None) is (estimate.reason is not None) for estimate in run_metrics.values())


def test_cost_metrics_are_of_recommended_fleet() -> None:
    plan = whole_plan()
    assert plan.recommendation is not None
    fleet = plan.recommendation.fleet
    run_metrics = collect_run_metrics(MAX_RATE, plan)
    assert run_metrics["usd_per_month"] == fleet.usd_per_month
    assert run_metrics["usd_per_1k_inferences"] == fleet.usd_per_1k_inferences
    assert run_metrics["max_rate_within_slo"] == MAX_RATE.per_s


def test_token_cost_interval_scales_monthly_cost_interval() -> None:
    plan = whole_plan()
    assert plan.recommendation is not None
    tokens = TokenUnitCosts(None, None, UnitCosts(None, None, 0.5))
    fleet = replace(plan.recommendation.fleet, usd_per_month=Estimate(100.0, (80.0, 140.0)), per_1m_tokens=tokens)
    run_metrics = collect_run_metrics(None, replace(plan, recommendation=replace(plan.recommendation, fleet=fleet)))
    per_1m = run_metrics["usd_per_1m_tokens"]
    assert per_1m == Estimate(0.5, per_1m.ci95)
    assert per_1m.ci95 == pytest.approx((0.4, 0.7))


@pytest.mark.parametrize(("share", "expected_outcome"), [(1.5, "PASS"), (0.5, "FAIL"), (1.0, "INCONCLUSIVE")])
def test_cost_gate_outcome_depends_on_interval(share: float, expected_outcome: ObjectiveOutcome) -> None:
    plan = whole_plan()
    assert plan.recommendation is not None
    cost = Estimate(0.2, (0.18, 0.22))
    fleet = replace(plan.recommendation.fleet, usd_per_1k_inferences=cost)
    run_metrics = collect_run_metrics(MAX_RATE, replace(plan, recommendation=replace(plan.recommendation, fleet=fleet)))
    gate = parse_gate(f"usd_per_1k_inferences <= {0.2 * share}")
    assert evaluate_gate(gate, (), (), run_metrics).outcome == expected_outcome


def test_cost_gate_without_recommended_fleet_is_inconclusive() -> None:
    evaluated = evaluate_gate(
        parse_gate("usd_per_month < 60"), (), (), collect_run_metrics(MAX_RATE, plan_without_feasible_offer())
    )
    assert (evaluated.outcome, evaluated.observed.reason) == ("INCONCLUSIVE", "the plan recommends no fleet")
