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
from tests.fakes.whole_plan import nothing_fits, whole_plan


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
SWEPT = stage("sweep 40 req/s", Estimate(45.0, (40.0, 55.0)), tags={SWEEP_TAG: "yes"})
STAGES = (WARM, CALM, PEAK, SWEPT)


@pytest.mark.parametrize(
    ("gate", "judgement", "judged_in"),
    [
        ("latency_ms.p95 < 50", "PASS", "calm"),  # without tags, where the answer lies
        ("latency_ms.p95 < 5", "FAIL", "calm"),
        ("latency_ms.p95{stage=peak} < 70", "PASS", "peak"),
        ("latency_ms.p95{stage=peak} < 50", "FAIL", "peak"),
        ("latency_ms.p95{stage=peak} < 60", "INCONCLUSIVE", "peak"),
        ("latency_ms.p95{sweep=yes} < 50", "INCONCLUSIVE", "sweep 40 req/s"),
        ("latency_ms.p95{sweep=yes} < 40", "FAIL", "sweep 40 req/s"),
        ("latency_ms.p95{sweep=yes} < 60", "PASS", "sweep 40 req/s"),
        ("latency_ms.p95{stage=gone} < 60", "INCONCLUSIVE", None),
        ("latency_ms.p95{stage=warm-up} < 60", "INCONCLUSIVE", None),  # a warm-up is never judged
    ],
)
def test_a_gate_is_evaluated_in_the_stages_of_its_tags(
    gate: str, judgement: ObjectiveOutcome, judged_in: str | None
) -> None:
    evaluated = evaluate_gate(parse_gate(gate), (CALM,), STAGES, {})
    assert (evaluated.outcome, evaluated.stage) == (judgement, judged_in)


def test_the_worst_of_several_stages_decides() -> None:
    twice = (CALM, PEAK, stage("peak", Estimate(40.0, (30.0, 49.0))))
    evaluated = evaluate_gate(parse_gate("latency_ms.p95{stage=peak} < 50"), (), twice, {})
    assert (evaluated.outcome, evaluated.observed.value) == ("FAIL", 60.0)
    untagged = evaluate_gate(parse_gate("latency_ms.p95 < 58"), (CALM, PEAK), twice, {})
    assert (untagged.outcome, untagged.stage) == ("INCONCLUSIVE", "peak")


def test_short_stages_are_evaluated_together_unless_one_of_them_failed() -> None:
    short = stage("short", Estimate(40.0, None))
    pooled = stage("2 stages", Estimate(42.0, (41.0, 44.0)), tags={"pooled": "2"})
    together = evaluate_gate(parse_gate("latency_ms.p95 < 50"), (short, short, pooled), (), {})
    assert (together.outcome, together.stage) == ("PASS", "2 stages")
    failed = evaluate_gate(parse_gate("latency_ms.p95 < 50"), (short, PEAK, pooled), (), {})
    assert (failed.outcome, failed.stage) == ("FAIL", "peak")


def test_a_stage_that_was_not_run_is_named() -> None:
    evaluated = evaluate_gate(parse_gate("latency_ms.p95{stage=gone} < 60"), (CALM,), STAGES, {})
    assert evaluated.observed.reason == "no stage with {stage=gone} was run"
    nothing = evaluate_gate(parse_gate("latency_ms.p95 < 60"), (), (), {})
    assert (nothing.outcome, nothing.observed.reason) == ("INCONCLUSIVE", "not evaluated: no stage qualified")


def test_the_variants_of_a_model_are_chosen_by_what_they_are() -> None:
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
    ("gate", "judgement"),
    [
        ("max_rate_within_slo > 180", "PASS"),
        ("max_rate_within_slo > 250", "FAIL"),
        ("max_rate_within_slo > 200", "INCONCLUSIVE"),
    ],
)
def test_a_metric_of_the_run_is_evaluated_without_a_stage(gate: str, judgement: ObjectiveOutcome) -> None:
    of_run = {"max_rate_within_slo": Estimate(205.0, (190.0, 220.0))}
    evaluated = evaluate_gate(parse_gate(gate), (CALM,), STAGES, of_run)
    assert (evaluated.outcome, evaluated.stage) == (judgement, None)


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
def test_a_change_is_evaluated_by_the_interval_of_its_ratio(
    gate: str, ratio: Estimate, judgement: ObjectiveOutcome
) -> None:
    evaluated = evaluate_change(parse_gate(gate), STAGES, compared(change(ratio)))
    assert (evaluated.outcome, evaluated.stage) == (judgement, "peak")
    if ratio.ci95 is not None and ratio.value is not None:
        assert evaluated.observed.value == pytest.approx(ratio.value - 1)
        assert evaluated.observed.ci95 == pytest.approx((ratio.ci95[0] - 1, ratio.ci95[1] - 1))


def test_a_change_is_looked_for_in_the_stages_of_its_tags() -> None:
    both = compared(change(Estimate(1.0, (0.99, 1.01)), "calm"), change(WORSE, "peak"))
    for gate, judgement in (
        ("change(latency_ms.p95{stage=calm}) < +8%", "PASS"),
        ("change(latency_ms.p95{stage=peak}) < +8%", "FAIL"),
        ("change(latency_ms.p95) < +8%", "FAIL"),  # the worst of all
        ("change(latency_ms.p99) < +8%", "INCONCLUSIVE"),
        ("change(latency_ms.p95{sweep=yes}) < +8%", "INCONCLUSIVE"),
    ):
        assert evaluate_change(parse_gate(gate), STAGES, both).outcome == judgement
    missing = evaluate_change(parse_gate("change(latency_ms.p95{sweep=yes}) < +8%"), STAGES, both)
    assert missing.observed.reason == "the comparison does not contain p95 latency{sweep=yes}"


def test_the_change_of_the_max_rate_is_of_no_stage() -> None:
    lower = compared(change(Estimate(0.8, (0.75, 0.85)), "", "max_rate_within_slo", None))
    evaluated = evaluate_change(parse_gate("change(max_rate_within_slo) > -5%"), STAGES, lower)
    assert (evaluated.outcome, evaluated.stage) == ("FAIL", None)
    assert evaluate_change(parse_gate("change(max_rate_within_slo) > -30%"), STAGES, lower).outcome == "PASS"


def test_without_a_baseline_a_change_is_inconclusive_and_says_why() -> None:
    gate = parse_gate("change(latency_ms.p95) < +8%")
    for evaluated in (evaluate_change(gate, STAGES, None), evaluate_gate(gate, STAGES, STAGES, {})):
        assert (evaluated.outcome, evaluated.observed.reason) == ("INCONCLUSIVE", "no baseline was specified")


def test_an_advisory_comparison_fails_nothing() -> None:
    evaluated = evaluate_change(
        parse_gate("change(latency_ms.p95) < +8%"), STAGES, compared(change(WORSE), is_advisory=True)
    )
    assert (evaluated.outcome, evaluated.objective.level) == ("FAIL", "warn")


def test_a_probe_counts_only_where_nothing_else_was_compared_or_its_tags_ask_for_it() -> None:
    probe = msgspec.structs.replace(change(WORSE, "sweep 40 req/s"), is_headline=False)
    same = change(Estimate(1.0, (0.99, 1.01)), "calm")
    gate, of_probe = (parse_gate(f"change(latency_ms.p95{tags}) < +8%") for tags in ("", "{sweep=yes}"))
    assert evaluate_change(gate, STAGES, compared(same, probe)).outcome == "PASS"
    assert evaluate_change(gate, STAGES, compared(probe)).outcome == "FAIL"
    assert evaluate_change(of_probe, STAGES, compared(same, probe)).outcome == "FAIL"


def test_a_metric_that_is_too_noisy_fails_nothing() -> None:
    for noise, level in ((0.09, "fail"), (0.11, "warn")):
        noisy = msgspec.structs.replace(change(WORSE), noise=noise)
        evaluated = evaluate_change(parse_gate("change(latency_ms.p95) < +8%"), STAGES, compared(noisy))
        assert (evaluated.outcome, evaluated.objective.level) == ("FAIL", level)


CHANGE = parse_gate("change(latency_ms.p95) < +8%")
NO_BASELINE = evaluate_objective(CHANGE, Estimate(None, reason="no baseline was specified"))


def evaluated(text: str, estimate: Estimate) -> ObjectiveResult:
    return msgspec.structs.replace(evaluate_objective(parse_objective(text), estimate), stage="peak")


MISSED = evaluated("latency_ms.p95 < 50", Estimate(60.0, (55.0, 65.0)))
OPEN = evaluated("latency_ms.p99 < 80", Estimate(78.0, (70.0, 90.0)))
WARNED = evaluated("latency_ms.p50 < 5 | warn", Estimate(6.0, (5.5, 6.5)))
MET = evaluated("error_rate < 1%", Estimate(0.0, (0.0, 0.001)))


def ended(*gates: ObjectiveResult, gating: Gating = Gating()) -> Result:  # noqa: B008 - frozen
    return msgspec.structs.replace(full_run().result, slo=(), gates=gates, exit=build_exit(find_causes(gates, gating)))


def gating_compared(low: float, high: float, **more: Any) -> Comparison:
    nothing = Estimate(1.0)
    ratio = Estimate((low + high) / 2, (low, high))
    changed = MetricChange("latency_ms", "p95", "ms", "lower", "peak", nothing, nothing, ratio, 0.001, "worse")
    return Comparison(("a",), ("b",), 0.05, (changed,), **more)


@pytest.mark.parametrize(
    ("gates", "gating", "code"),
    [
        ((MET, WARNED), Gating(), ExitCode.OK),
        ((MISSED,), Gating(), ExitCode.GATE_FAILED),
        ((MISSED, OPEN), Gating("fail"), ExitCode.GATE_FAILED),
        ((MISSED,), Gating(kinds=("regression",)), ExitCode.OK),
        ((OPEN,), Gating(), ExitCode.OK),
        ((OPEN,), Gating("pass"), ExitCode.OK),
        ((OPEN,), Gating("fail"), ExitCode.INCONCLUSIVE),
        ((OPEN,), Gating("fail", ("regression",)), ExitCode.OK),
        ((NO_BASELINE,), Gating(), ExitCode.OK),
        ((NO_BASELINE,), Gating("fail"), ExitCode.INCONCLUSIVE),
        ((NO_BASELINE,), Gating("fail", ("slo",)), ExitCode.OK),
    ],
)
def test_each_judgement_has_its_exit_code(gates: tuple[ObjectiveResult, ...], gating: Gating, code: ExitCode) -> None:
    assert ended(*gates, gating=gating).exit.code == code


@pytest.mark.parametrize(
    ("comparison", "gating", "code"),
    [
        (gating_compared(1.1, 1.3), Gating(), ExitCode.REGRESSION),
        (gating_compared(1.1, 1.3), Gating(kinds=("slo",)), ExitCode.OK),
        (gating_compared(1.1, 1.3, is_advisory=True), Gating(), ExitCode.OK),
        (gating_compared(1.0, 1.2), Gating(), ExitCode.OK),
        (gating_compared(1.0, 1.2), Gating("fail"), ExitCode.INCONCLUSIVE),
        (gating_compared(0.9, 1.05), Gating("fail"), ExitCode.OK),
    ],
)
def test_a_change_decides_once_the_comparison_is_known(comparison: Comparison, gating: Gating, code: ExitCode) -> None:
    result = apply_comparison(ended(NO_BASELINE, MET, gating=gating), comparison, gating)
    assert result.exit.code == code
    assert bool(result.exit.texts) is (code != ExitCode.OK)
    assert result.comparison == comparison
    assert result.gates[1] == MET
    assert apply_comparison(result, comparison, gating) == result, "judged twice it is the same"


@pytest.mark.parametrize(("kinds", "code"), [(("slo", "regression"), ExitCode.REGRESSION), (("slo",), ExitCode.OK)])
def test_a_regression_without_a_gate_decides_where_regressions_do(kinds: tuple[GateKind, ...], code: ExitCode) -> None:
    found = [Cause("baseline_regressed", ExitCode.REGRESSION, "ttft_ms.p95 is worse")]
    assert apply_comparison(ended(MET), gating_compared(1.1, 1.3), Gating(kinds=kinds), found).exit.code == code
    refused = [Cause("baseline_refused", ExitCode.USAGE, "the baseline cannot be compared")]
    assert (
        apply_comparison(ended(MET), gating_compared(1.1, 1.3), Gating(kinds=kinds), refused).exit.code
        == ExitCode.USAGE
    )


def test_what_a_run_ended_with_before_stays_first() -> None:
    gating = Gating("fail")
    result = apply_comparison(ended(NO_BASELINE, OPEN, MISSED, gating=gating), gating_compared(1.1, 1.3), gating)
    assert result.exit.code == ExitCode.GATE_FAILED
    codes = [ExitCode.GATE_FAILED, ExitCode.REGRESSION, ExitCode.INCONCLUSIVE]
    assert [cause.code for cause in result.exit.causes] == codes
    assert result.exit.texts == (
        "p95 latency < 50 ms was not met in peak: measured 60 ms",
        "change of p95 latency < 8 % was not met in peak: measured 20 %",
        "p99 latency < 80 ms is inconclusive in peak: the 95 % CI crosses the limit",
    )


def test_the_cause_that_decides_stands_first() -> None:
    limit, failed = Cause("limit", ExitCode.LIMIT, "a"), Cause("no_rate", ExitCode.GATE_FAILED, "b")
    open_one = Cause("objective_inconclusive", ExitCode.INCONCLUSIVE, "c")
    assert build_exit([open_one, limit, failed]) == Exit(5, (limit, failed, open_one))
    assert build_exit([]) == Exit(0)


def test_a_demonstration_shows_what_would_fail_a_run_and_fails_only_if_it_was_stopped_or_nothing_responded() -> None:
    invalid = Cause("invalid", ExitCode.INVALID, "a")
    shown = (
        invalid,
        Cause("objective_failed", ExitCode.GATE_FAILED, "b"),
        Cause("no_rate", ExitCode.GATE_FAILED, "c"),
        Cause("objective_inconclusive", ExitCode.INCONCLUSIVE, "d"),
    )
    assert build_exit(shown) == Exit(ExitCode.INVALID, shown)
    assert build_exit(shown, is_demonstration=True) == Exit(ExitCode.OK, shown)
    assert build_exit(shown, is_demonstration=True).first_code == ExitCode.INVALID
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
def test_what_decides_nothing_is_a_warning(gating: Gating, reported: list[str]) -> None:
    assert list(list_warnings(ended(MET, MISSED, WARNED, OPEN, NO_BASELINE), gating)) == reported


def test_a_kind_that_does_not_decide_warns() -> None:
    reported = list(list_warnings(ended(MISSED), Gating(kinds=("regression",))))
    assert reported == ["p95 latency < 50 ms was not met in peak: measured 60 ms (warning only)"]


FOUND = MaxRate(Estimate(205.0, (190.0, 220.0)), ("latency_ms.p95 < 50",), "the CPUs")


def test_every_metric_of_a_run_is_reported_or_says_why_not() -> None:
    for of_run in (
        collect_run_metrics(FOUND, whole_plan()),
        collect_run_metrics(None, None),
        collect_run_metrics(FOUND, nothing_fits()),
    ):
        assert of_run.keys() == RUN_METRICS.keys()
        assert all((one.value is None) is (one.reason is not None) for one in of_run.values())


def test_costs_are_those_of_the_recommended_fleet() -> None:
    plan = whole_plan()
    assert plan.recommendation is not None
    fleet = plan.recommendation.fleet
    of_run = collect_run_metrics(FOUND, plan)
    assert of_run["usd_per_month"] == fleet.usd_per_month
    assert of_run["usd_per_1k_inferences"] == fleet.usd_per_1k_inferences
    assert of_run["max_rate_within_slo"] == FOUND.per_s


def test_the_cost_of_tokens_has_the_months_interval() -> None:
    plan = whole_plan()
    assert plan.recommendation is not None
    tokens = TokenUnitCosts(None, None, UnitCosts(None, None, 0.5))
    fleet = replace(plan.recommendation.fleet, usd_per_month=Estimate(100.0, (80.0, 140.0)), per_1m_tokens=tokens)
    of_run = collect_run_metrics(None, replace(plan, recommendation=replace(plan.recommendation, fleet=fleet)))
    per_1m = of_run["usd_per_1m_tokens"]
    assert per_1m == Estimate(0.5, per_1m.ci95)
    assert per_1m.ci95 == pytest.approx((0.4, 0.7))


@pytest.mark.parametrize(("share", "judgement"), [(1.5, "PASS"), (0.5, "FAIL"), (1.0, "INCONCLUSIVE")])
def test_a_cost_gate_can_pass_and_fail(share: float, judgement: ObjectiveOutcome) -> None:
    plan = whole_plan()
    assert plan.recommendation is not None
    cost = Estimate(0.2, (0.18, 0.22))
    fleet = replace(plan.recommendation.fleet, usd_per_1k_inferences=cost)
    of_run = collect_run_metrics(FOUND, replace(plan, recommendation=replace(plan.recommendation, fleet=fleet)))
    gate = parse_gate(f"usd_per_1k_inferences <= {0.2 * share}")
    assert evaluate_gate(gate, (), (), of_run).outcome == judgement


def test_a_cost_gate_without_a_fleet_is_inconclusive() -> None:
    evaluated = evaluate_gate(parse_gate("usd_per_month < 60"), (), (), collect_run_metrics(FOUND, nothing_fits()))
    assert (evaluated.outcome, evaluated.observed.reason) == ("INCONCLUSIVE", "the plan recommends no fleet")
