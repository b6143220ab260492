from __future__ import annotations

import msgspec
import pytest

from app.analysis.comparisons.comparison import (
    can_fail_run,
    compare_runs,
    find_inconclusive_changes,
    find_regressions,
    has_suspected_change,
)
from app.analysis.comparisons.metric_pairs import list_unpaired_metrics, match_stages
from app.records.comparison import MAX_RATE, Comparison, MetricChange
from app.records.local import TEST_TAG
from app.records.result import CLASS_TAG, Estimate, Objective, ObjectiveResult, Result
from tests.fakes.language_model_runs import TESTS, language_model_run, measured_stage
from tests.fakes.local_runs import local_run
from tests.fakes.repeated import FULL, repeats, result, steady
from tests.studies.regressions import Case, compare_case
from tests.tiers import first_in_unit_tier

QUIET = (10.0, 10.1, 9.9, 10.05, 9.95, 10.02, 9.98)
NOISY = (10.0, 14.0, 7.0, 12.0, 8.0, 15.0, 6.5)


def scale(values: tuple[float, ...], factor: float) -> tuple[float, ...]:
    return tuple(factor * value for value in values)


def select_change(comparison: Comparison, metric: str = "latency_ms") -> MetricChange:
    return next(change for change in comparison.changes if change.metric == metric)


@pytest.mark.parametrize(
    ("factor", "verdict"), [(1.2, "worse"), (0.8, "better"), (1.0, "same"), (1.03, "same"), (1.0499, "inconclusive")]
)
def test_seven_quiet_repeats_per_side_are_compared_by_ranks_and_tolerance(factor: float, verdict: str) -> None:
    comparison = compare_runs(repeats(QUIET), repeats(scale(QUIET, factor)))
    change = select_change(comparison)
    assert change.verdict == verdict
    assert change.p_value is not None
    assert bool(find_regressions(comparison)) == (verdict == "worse")
    assert (change.more_repeats is not None) <= (verdict == "inconclusive")


def test_run_compared_with_itself_has_no_differences() -> None:
    run = result(steady(10.0, 3.0), run_id="alone")
    other = msgspec.structs.replace(run, run_id="other")
    assert find_inconclusive_changes(compare_runs([run], [other]))
    comparison = compare_runs([run], [run])
    assert {change.verdict for change in comparison.changes} == {"same"}
    assert not find_inconclusive_changes(comparison)
    assert not find_regressions(comparison)
    assert comparison.notes == ("Baseline and candidate are the same run, so there are no differences.",)


def test_higher_max_rate_is_better() -> None:
    def build_run(per_s: float) -> Result:
        assert FULL.max_rate is not None
        rate = msgspec.structs.replace(FULL.max_rate, per_s=Estimate(per_s, (0.99 * per_s, 1.01 * per_s)))
        return msgspec.structs.replace(FULL, max_rate=rate)

    assert select_change(compare_runs([build_run(200)], [build_run(150)]), MAX_RATE).verdict == "worse"
    assert select_change(compare_runs([build_run(150)], [build_run(200)]), MAX_RATE).verdict == "better"


@pytest.mark.parametrize(
    ("candidate_ms", "half_width_ms", "verdict"),
    [(20.0, 0.5, "worse"), (5.0, 0.1, "better"), (10.0, 0.1, "same"), (10.8, 0.5, "inconclusive")],
)
def test_single_runs_are_compared_by_their_intervals_with_note(
    candidate_ms: float, half_width_ms: float, verdict: str
) -> None:
    candidate = result(steady(candidate_ms, half_width_ms), run_id="later")
    comparison = compare_runs([result(steady(10.0, 0.1))], [candidate])
    assert select_change(comparison).verdict == verdict
    assert select_change(comparison).p_value is None
    assert any("run-to-run variation is not included" in note for note in comparison.notes)
    assert len(find_inconclusive_changes(comparison)) == (verdict == "inconclusive")


def test_repeats_within_single_runs_are_compared() -> None:
    baseline = result(*(steady(value, repeat=place) for place, value in enumerate(QUIET)))
    candidate = result(*(steady(1.2 * value, repeat=place) for place, value in enumerate(QUIET)))
    comparison = compare_runs([baseline], [candidate])
    assert select_change(comparison).verdict == "worse"
    assert any("repeats are those within a run" in note for note in comparison.notes)


def test_each_of_several_runs_counts_as_one_repeat() -> None:
    baseline = [result(steady(value), steady(value, repeat=2)) for value in QUIET]
    assert select_change(compare_runs(baseline, baseline)).baseline.n == len(QUIET)


def test_three_repeats_are_compared_by_interval_without_p_value() -> None:
    comparison = compare_runs(repeats(QUIET[:3]), repeats(scale(QUIET[:3], 1.5)))
    assert select_change(comparison).verdict == "worse"
    assert select_change(comparison).p_value is None
    assert any("Use at least 5 repeats per side" in note for note in comparison.notes)


def test_error_rate_rising_from_0_is_worse_without_ratio() -> None:
    comparison = compare_runs([result(steady(10.0, 0.1))], [result(steady(10.0, 0.1, errors=0.05))])
    change = select_change(comparison, "error_rate")
    assert (change.verdict, change.ratio.value) == ("worse", None)
    assert change in find_regressions(comparison)
    without = compare_runs([result(steady(10.0, 0.1))], [result(steady(10.0, 0.1))])
    assert select_change(without, "error_rate").verdict == "same"


def test_metric_with_noise_above_10_percent_does_not_fail_comparison() -> None:
    comparison = compare_runs(repeats(NOISY), repeats(scale(NOISY, 4.0)))
    change = select_change(comparison)
    assert change.verdict == "worse"
    assert change.noise is not None
    assert change.noise > 0.1
    assert not can_fail_run(change)
    assert not find_regressions(comparison)
    assert any("only changes above" in note and "does not fail the comparison" in note for note in comparison.notes)


def test_metric_without_objective_is_reported_and_does_not_fail_comparison() -> None:
    def build_run(cores: float) -> Result:
        stage = steady(10.0, 0.1)
        telemetry = {"endpoint_cpu_cores": {"mean": Estimate(cores, (0.99 * cores, 1.01 * cores))}}
        return result(msgspec.structs.replace(stage, metrics=stage.metrics | telemetry))

    comparison = compare_runs([build_run(1.0)], [build_run(2.0)])
    assert select_change(comparison, "endpoint_cpu_cores").verdict == "worse"
    assert not select_change(comparison, "endpoint_cpu_cores").is_headline
    assert not find_regressions(comparison)
    assert comparison.changes[0].is_headline


@pytest.mark.parametrize(("tags", "is_headline"), [({}, True), ({CLASS_TAG: "chat"}, False)])
def test_class_objective_does_not_make_stage_metric_headline(tags: dict[str, str], is_headline: bool) -> None:
    cores = Estimate(1.0, (0.9, 1.1))
    objective = Objective("endpoint_cpu_cores.mean < 4", "endpoint_cpu_cores", "mean", "<", 4.0, tags=tags)
    stage = steady(10.0, 0.1)
    stage = msgspec.structs.replace(stage, metrics=stage.metrics | {"endpoint_cpu_cores": {"mean": cores}})
    candidate = msgspec.structs.replace(result(stage), slo=(ObjectiveResult(objective, cores, "PASS"),))
    assert select_change(compare_runs([result(stage)], [candidate]), "endpoint_cpu_cores").is_headline == is_headline


def test_model_variants_are_matched_across_model_versions() -> None:
    run = local_run().result
    renamed = msgspec.structs.replace(
        run,
        stages=tuple(
            item
            if item.variant is None
            else msgspec.structs.replace(item, variant=msgspec.structs.replace(item.variant, model="newer"))
            for item in run.stages
        ),
    )
    places = {(item.stage, item.metric) for item in compare_runs([run], [renamed]).changes if item.is_headline}
    assert {metric for _, metric in places} >= {"throughput_per_s"}
    assert {stage for stage, _ in places} == {item.name for item in run.stages}
    settings = {(item.variant, item.tags["scenario"], item.scheduled_per_s) for item in run.stages}
    assert len({stage for stage, _ in places}) == len(settings)


def test_local_language_model_tests_are_compared_by_name_in_tokens_per_s() -> None:
    baseline = language_model_run().result
    changes = compare_runs([baseline], [baseline]).changes
    headline = {
        (change.stage.partition(":")[0], change.metric, change.better) for change in changes if change.is_headline
    }
    assert headline >= {
        ("pp512", "prefill_tokens_per_s", "higher"),
        ("tg16", "decode_tokens_per_s", "higher"),
        ("tg16", "itl_ms", "lower"),
        ("pp512+tg16", "ttft_ms", "lower"),
        ("tg16 @ d1024", "decode_tokens_per_s", "higher"),
    }
    assert {metric for _, metric, _ in headline} == {"prefill_tokens_per_s", "decode_tokens_per_s", "itl_ms", "ttft_ms"}
    decoded = [change for change in changes if change.metric == "decode_tokens_per_s"]
    assert len(decoded) == 6, "three tests of two variants"
    (prefill,) = (
        change
        for change in changes
        if change.metric == "prefill_tokens_per_s" and change.stage == baseline.stages[0].name
    )
    assert prefill.baseline == baseline.stages[0].metrics["prefill_tokens_per_s"]["value"], "without the repeated test"


def test_drifted_variant_does_not_fail_comparison() -> None:
    """Every test is 30 % slower. Batch 1 drifted by 20 % during its measurement, and batch 2 did not."""
    baseline = language_model_run().result
    slower = tuple(
        measured_stage(stage.variant, test, slower=1.3)
        for stage in baseline.stages
        if stage.repeat == 1 and stage.variant is not None
        for test in TESTS
        if test.name == stage.tags[TEST_TAG]
    )
    candidate = msgspec.structs.replace(baseline, run_id="candidate", stages=slower)
    for sides in (([baseline], [candidate]), ([candidate], [baseline])):
        comparison = compare_runs(*sides)
        noises = {change.stage.rpartition(" ")[2]: change.noise for change in comparison.changes if change.is_headline}
        assert noises == {"1": pytest.approx(0.2, abs=0.001), "2": None}
        assert sum("changed by up to 20 % during a run (check drift)" in note for note in comparison.notes) == 1
        assert not any("varies by" in note for note in comparison.notes)
    failing = {change.stage for change in find_regressions(compare_runs([baseline], [candidate]))}
    assert failing
    assert all(stage.endswith("batch 2") for stage in failing)
    several = compare_runs([baseline] * 2, [candidate] * 2)
    assert all(change.noise == 0.0 for change in several.changes if change.is_headline), "repeats determine the noise"


def _with_setting(run: Result, **settings: object) -> Result:
    """The run with changed settings of all its variants, including the names of its stages."""
    stages = []
    for stage in run.stages:
        assert stage.variant is not None
        changed = msgspec.structs.replace(stage.variant, **settings)
        name = stage.name.replace(stage.variant.label, changed.label)
        stages.append(msgspec.structs.replace(stage, variant=changed, name=name))
    return msgspec.structs.replace(run, stages=tuple(stages))


def test_forced_comparison_matches_tests_across_precisions() -> None:
    baseline = language_model_run().result
    smaller = _with_setting(baseline, precision="int4", threads=8)
    assert not compare_runs([baseline], [smaller]).changes, "the precision differs"
    forced = compare_runs([baseline], [smaller], is_forced=True)
    names = {change.stage for change in forced.changes if change.metric == "decode_tokens_per_s"}
    assert names == {
        f"{test}: tiny-decoder cpu, batch {batch}"
        for test in ("tg16", "pp512+tg16", "tg16 @ d1024")
        for batch in (1, 2)
    }
    matched = match_stages((baseline, smaller))
    assert matched["tg16: tiny-decoder cpu, batch 2"] == (
        "tg16: tiny-decoder cpu as-is, batch 2", "tg16: tiny-decoder cpu int4, batch 2, 8 threads"
    )  # fmt: skip
    mixed = msgspec.structs.replace(baseline, stages=(*baseline.stages, *smaller.stages))
    assert not any("int4" in name for names in match_stages((baseline, mixed)).values() for name in names)


def test_metric_of_one_side_is_listed_with_reason_of_other_side() -> None:
    stage = steady(10.0, 0.1)
    ttft = {"ttft_ms": {"p95": Estimate(5.0), "p99": Estimate(6.0)}}
    withheld = {"ttft_ms": {"p99": Estimate(None, reason="too few samples")}}
    before = result(msgspec.structs.replace(stage, metrics=stage.metrics | ttft))
    after = result(
        msgspec.structs.replace(stage, metrics=stage.metrics | withheld),
        msgspec.structs.replace(stage, name="added"),
        msgspec.structs.replace(stage, name="step 99 req/s", kind="step"),
        run_id="after",
    )
    unpaired = list_unpaired_metrics([before], [after])
    reasons = {
        (change.stage, change.metric, change.aggregate): (
            change.baseline.reason,
            change.candidate.reason,
            change.is_headline,
        )
        for change in unpaired
    }
    assert reasons["steady", "ttft_ms", "p95"] == (None, "not measured", True)
    assert reasons["steady", "ttft_ms", "p99"] == (None, "too few samples", True)
    assert reasons["added", "latency_ms", "p95"] == ("no such stage", None, True)
    assert {stage for stage, _, _ in reasons} == {"steady", "added"}, "steps of a rate search are not listed"
    assert [change.is_headline for change in unpaired] == sorted(
        (change.is_headline for change in unpaired), reverse=True
    )
    assert list_unpaired_metrics([before], [before]) == ()


def test_invalid_and_warmup_stages_are_not_compared() -> None:
    stage = steady(10.0, 0.1)
    invalid = msgspec.structs.replace(stage, verdict=msgspec.structs.replace(stage.verdict, status="INVALID"))
    assert compare_runs([result(stage)], [result(invalid)]).changes == ()
    assert compare_runs([result(stage)], [result(msgspec.structs.replace(stage, kind="warmup"))]).changes == ()


def test_runs_of_different_workloads_are_compared_only_if_forced() -> None:
    baseline = [result(steady(10.0, 0.1))]
    other = [msgspec.structs.replace(baseline[0], workload_hash="other")]
    assert compare_runs(baseline, other).changes == ()
    forced = compare_runs(baseline, other, is_forced=True)
    assert forced.is_forced
    assert forced.changes
    assert "The comparison was forced despite differences in workload. " in forced.notes[0]
    assert not compare_runs(baseline, baseline, is_forced=True).is_forced


def test_change_beyond_tolerance_is_suspected() -> None:
    for factor, suspected in ((1.0, False), (1.03, False), (1.2, True), (0.8, True)):
        changes = compare_runs(repeats(QUIET), repeats(scale(QUIET, factor))).changes
        assert has_suspected_change(changes, 0.05) == suspected, factor


@pytest.mark.parametrize("share", first_in_unit_tier([0.2, 1.0]))
def test_comparison_rarely_fails_equal_runs_and_detects_10_percent_regression(share: float) -> None:
    """A small part of tests/studies/regressions.py, whose true rates are 0.2 % and 78 %. One in a million such samples
    is outside of these limits by chance."""
    false_alarms = sum(compare_case(seed, Case(0.05, 0.0)).is_failed for seed in range(round(300 * share)))
    detections = sum(compare_case(seed, Case(0.05, 0.10)).is_failed for seed in range(round(200 * share)))
    assert false_alarms <= 7 * share
    assert detections >= 127 * share
