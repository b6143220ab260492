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
from tests.checks.regressions import Case, compare_case
from tests.fakes.language_model_runs import TESTS, language_model_run, measured_stage
from tests.fakes.local_runs import local_run
from tests.fakes.repeated import FULL, repeats, result, steady
from tests.tiers import first_in_unit_tier

QUIET = (10.0, 10.1, 9.9, 10.05, 9.95, 10.02, 9.98)
NOISY = (10.0, 14.0, 7.0, 12.0, 8.0, 15.0, 6.5)


def times(values: tuple[float, ...], factor: float) -> tuple[float, ...]:
    return tuple(factor * value for value in values)


def of(comparison: Comparison, metric: str = "latency_ms") -> MetricChange:
    return next(one for one in comparison.changes if one.metric == metric)


@pytest.mark.parametrize(
    ("factor", "verdict"), [(1.2, "worse"), (0.8, "better"), (1.0, "same"), (1.03, "same"), (1.0499, "inconclusive")]
)
def test_seven_quiet_repeats_of_each_are_reported_by_ranks_and_tolerance(factor: float, verdict: str) -> None:
    comparison = compare_runs(repeats(QUIET), repeats(times(QUIET, factor)))
    change = of(comparison)
    assert change.verdict == verdict
    assert change.p_value is not None
    assert bool(find_regressions(comparison)) == (verdict == "worse")
    assert (change.more_repeats is not None) <= (verdict == "inconclusive")


def test_a_run_against_itself_is_the_same_run_without_a_difference() -> None:
    alone = result(steady(10.0, 3.0), run_id="alone")
    other = msgspec.structs.replace(alone, run_id="other")
    assert find_inconclusive_changes(compare_runs([alone], [other]))
    comparison = compare_runs([alone], [alone])
    assert {one.verdict for one in comparison.changes} == {"same"}
    assert not find_inconclusive_changes(comparison)
    assert not find_regressions(comparison)
    assert comparison.notes == ("Baseline and candidate are the same run, so there are no differences.",)


def test_higher_is_better_for_a_rate() -> None:
    def carried(per_s: float) -> Result:
        assert FULL.max_rate is not None
        rate = msgspec.structs.replace(FULL.max_rate, per_s=Estimate(per_s, (0.99 * per_s, 1.01 * per_s)))
        return msgspec.structs.replace(FULL, max_rate=rate)

    assert of(compare_runs([carried(200)], [carried(150)]), MAX_RATE).verdict == "worse"
    assert of(compare_runs([carried(150)], [carried(200)]), MAX_RATE).verdict == "better"


@pytest.mark.parametrize(
    ("now_ms", "half_ms", "verdict"),
    [(20.0, 0.5, "worse"), (5.0, 0.1, "better"), (10.0, 0.1, "same"), (10.8, 0.5, "inconclusive")],
)
def test_one_run_of_each_is_reported_by_their_own_intervals_and_it_is_said(
    now_ms: float, half_ms: float, verdict: str
) -> None:
    later = result(steady(now_ms, half_ms), run_id="later")
    comparison = compare_runs([result(steady(10.0, 0.1))], [later])
    assert of(comparison).verdict == verdict
    assert of(comparison).p_value is None
    assert any("run-to-run variation is not included" in note for note in comparison.notes)
    assert len(find_inconclusive_changes(comparison)) == (verdict == "inconclusive")


def test_repeats_inside_a_run_count_where_there_is_one_run_of_each() -> None:
    baseline = result(*(steady(value, repeat=place) for place, value in enumerate(QUIET)))
    candidate = result(*(steady(1.2 * value, repeat=place) for place, value in enumerate(QUIET)))
    comparison = compare_runs([baseline], [candidate])
    assert of(comparison).verdict == "worse"
    assert any("repeats are those within a run" in note for note in comparison.notes)


def test_of_several_runs_each_is_one_repeat_however_often_its_stage_was_run() -> None:
    baseline = [result(steady(value), steady(value, repeat=2)) for value in QUIET]
    assert of(compare_runs(baseline, baseline)).baseline.n == len(QUIET)


def test_three_repeats_are_reported_by_the_interval_alone() -> None:
    comparison = compare_runs(repeats(QUIET[:3]), repeats(times(QUIET[:3], 1.5)))
    assert of(comparison).verdict == "worse"
    assert of(comparison).p_value is None
    assert any("Use at least 5 repeats per side" in note for note in comparison.notes)


def test_errors_that_come_from_none_are_worse_and_have_no_ratio() -> None:
    comparison = compare_runs([result(steady(10.0, 0.1))], [result(steady(10.0, 0.1, errors=0.05))])
    change = of(comparison, "error_rate")
    assert (change.verdict, change.ratio.value) == ("worse", None)
    assert change in find_regressions(comparison)
    without = compare_runs([result(steady(10.0, 0.1))], [result(steady(10.0, 0.1))])
    assert of(without, "error_rate").verdict == "same"


def test_a_metric_that_varies_by_more_than_a_tenth_fails_nothing_and_says_what_would_show() -> None:
    comparison = compare_runs(repeats(NOISY), repeats(times(NOISY, 4.0)))
    change = of(comparison)
    assert change.verdict == "worse"
    assert change.noise is not None
    assert change.noise > 0.1
    assert not can_fail_run(change)
    assert not find_regressions(comparison)
    assert any("only changes above" in note and "does not fail the comparison" in note for note in comparison.notes)


def test_what_no_profile_asks_of_is_reported_and_fails_nothing() -> None:
    def served(cores: float) -> Result:
        stage = steady(10.0, 0.1)
        more = {"endpoint_cpu_cores": {"mean": Estimate(cores, (0.99 * cores, 1.01 * cores))}}
        return result(msgspec.structs.replace(stage, metrics=stage.metrics | more))

    comparison = compare_runs([served(1.0)], [served(2.0)])
    assert of(comparison, "endpoint_cpu_cores").verdict == "worse"
    assert not of(comparison, "endpoint_cpu_cores").is_headline
    assert not find_regressions(comparison)
    assert comparison.changes[0].is_headline


@pytest.mark.parametrize(("tags", "is_headline"), [({}, True), ({CLASS_TAG: "chat"}, False)])
def test_the_slo_of_a_class_of_requests_makes_no_metric_of_all_requests_a_headline(
    tags: dict[str, str], is_headline: bool
) -> None:
    cores = Estimate(1.0, (0.9, 1.1))
    objective = Objective("endpoint_cpu_cores.mean < 4", "endpoint_cpu_cores", "mean", "<", 4.0, tags=tags)
    stage = steady(10.0, 0.1)
    stage = msgspec.structs.replace(stage, metrics=stage.metrics | {"endpoint_cpu_cores": {"mean": cores}})
    asked = msgspec.structs.replace(result(stage), slo=(ObjectiveResult(objective, cores, "PASS"),))
    assert of(compare_runs([result(stage)], [asked]), "endpoint_cpu_cores").is_headline == is_headline


def test_variants_of_a_model_are_compared_with_the_same_variant_of_another_version_of_it() -> None:
    run = local_run().result
    renamed = msgspec.structs.replace(
        run,
        stages=tuple(
            one
            if one.variant is None
            else msgspec.structs.replace(one, variant=msgspec.structs.replace(one.variant, model="newer"))
            for one in run.stages
        ),
    )
    places = {(one.stage, one.metric) for one in compare_runs([run], [renamed]).changes if one.is_headline}
    assert {metric for _, metric in places} >= {"throughput_per_s"}
    assert {stage for stage, _ in places} == {one.name for one in run.stages}
    asked = {(one.variant, one.tags["scenario"], one.scheduled_per_s) for one in run.stages}
    assert len({stage for stage, _ in places}) == len(asked)


def test_tests_of_a_language_model_are_compared_by_name_and_in_tokens() -> None:
    baseline = language_model_run().result
    changes = compare_runs([baseline], [baseline]).changes
    headline = {(one.stage.partition(":")[0], one.metric, one.better) for one in changes if one.is_headline}
    assert headline >= {
        ("pp512", "prefill_tokens_per_s", "higher"),
        ("tg16", "decode_tokens_per_s", "higher"),
        ("tg16", "itl_ms", "lower"),
        ("pp512+tg16", "ttft_ms", "lower"),
        ("tg16 @ d1024", "decode_tokens_per_s", "higher"),
    }
    assert {metric for _, metric, _ in headline} == {"prefill_tokens_per_s", "decode_tokens_per_s", "itl_ms", "ttft_ms"}
    decoded = [one for one in changes if one.metric == "decode_tokens_per_s"]
    assert len(decoded) == 6, "three tests of two variants"
    (prefill,) = (
        one for one in changes if one.metric == "prefill_tokens_per_s" and one.stage == baseline.stages[0].name
    )
    assert prefill.baseline == baseline.stages[0].metrics["prefill_tokens_per_s"]["value"], "without the repeated test"


def test_tests_of_a_variant_that_drifted_do_not_fail_the_comparison() -> None:
    """Everything is 30 % slower. Batch 1 drifted by 20 % while it was measured, and batch 2 did not."""
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
    assert all(change.noise == 0.0 for change in several.changes if change.is_headline), "repeats show the noise"


def _with_setting(run: Result, **settings: object) -> Result:
    """The run with other settings of all its variants, also in the names of its stages."""
    stages = []
    for stage in run.stages:
        assert stage.variant is not None
        changed = msgspec.structs.replace(stage.variant, **settings)
        name = stage.name.replace(stage.variant.label, changed.label)
        stages.append(msgspec.structs.replace(stage, variant=changed, name=name))
    return msgspec.structs.replace(run, stages=tuple(stages))


def test_tests_are_compared_across_precisions_and_named_by_what_both_sides_share() -> None:
    baseline = language_model_run().result
    smaller = _with_setting(baseline, precision="int4", threads=8)
    assert not compare_runs([baseline], [smaller]).changes, "refused, because the precision differs"
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


def test_a_metric_of_one_side_is_listed_with_the_reason_of_the_other() -> None:
    stage = steady(10.0, 0.1)
    ttft = {"ttft_ms": {"p95": Estimate(5.0), "p99": Estimate(6.0)}}
    few = {"ttft_ms": {"p99": Estimate(None, reason="too few samples")}}
    before = result(msgspec.structs.replace(stage, metrics=stage.metrics | ttft))
    after = result(
        msgspec.structs.replace(stage, metrics=stage.metrics | few),
        msgspec.structs.replace(stage, name="added"),
        msgspec.structs.replace(stage, name="step 99 req/s", kind="step"),
        run_id="after",
    )
    unpaired = list_unpaired_metrics([before], [after])
    found = {
        (one.stage, one.metric, one.aggregate): (one.baseline.reason, one.candidate.reason, one.is_headline)
        for one in unpaired
    }
    assert found["steady", "ttft_ms", "p95"] == (None, "not measured", True)
    assert found["steady", "ttft_ms", "p99"] == (None, "too few samples", True)
    assert found["added", "latency_ms", "p95"] == ("no such stage", None, True)
    assert {stage for stage, _, _ in found} == {"steady", "added"}, "a search seldom tests a rate twice"
    assert [one.is_headline for one in unpaired] == sorted((one.is_headline for one in unpaired), reverse=True)
    assert list_unpaired_metrics([before], [before]) == ()


def test_a_stage_that_is_invalid_or_a_warm_up_is_not_compared() -> None:
    stage = steady(10.0, 0.1)
    invalid = msgspec.structs.replace(stage, verdict=msgspec.structs.replace(stage.verdict, status="INVALID"))
    assert compare_runs([result(stage)], [result(invalid)]).changes == ()
    assert compare_runs([result(stage)], [result(msgspec.structs.replace(stage, kind="warmup"))]).changes == ()


def test_what_is_forbidden_is_compared_and_stamped_only_when_forced() -> None:
    baseline = [result(steady(10.0, 0.1))]
    other = [msgspec.structs.replace(baseline[0], workload_hash="other")]
    assert compare_runs(baseline, other).changes == ()
    forced = compare_runs(baseline, other, is_forced=True)
    assert forced.is_forced
    assert forced.changes
    assert "The comparison was forced despite differences in workload. " in forced.notes[0]
    assert not compare_runs(baseline, baseline, is_forced=True).is_forced


def test_the_first_look_suspects_what_is_beyond_the_tolerance_and_unlikely() -> None:
    for factor, suspected in ((1.0, False), (1.03, False), (1.2, True), (0.8, True)):
        changes = compare_runs(repeats(QUIET), repeats(times(QUIET, factor))).changes
        assert has_suspected_change(changes, 0.05) == suspected, factor


@pytest.mark.parametrize("share", first_in_unit_tier([0.2, 1.0]))
def test_it_does_not_cry_wolf_and_sees_one(share: float) -> None:
    """A small part of tests/checks/regressions.py, whose true rates are 0.2 % and 78 %: by chance one in a million such
    samples lies outside."""
    clean = sum(compare_case(seed, Case(0.05, 0.0)).is_failed for seed in range(round(300 * share)))
    slower = sum(compare_case(seed, Case(0.05, 0.10)).is_failed for seed in range(round(200 * share)))
    assert clean <= 7 * share
    assert slower >= 127 * share
