from __future__ import annotations

import math

import msgspec
import numpy as np
import pandas as pd
import pytest

from app.analysis.validity import (
    check_execution_provider,
    check_lower_limit,
    check_prefix_cache,
    check_prompts,
    check_telemetry,
    check_upper_limit,
    check_wall_clock,
    combine_stage_checks,
    compute_verdict,
)
from app.records.checks import CheckId
from app.records.result import Check, Clock, Estimate, Stage, StageKind, Validity, Verdict, Window
from app.records.telemetry import Samples
from reports.formatting import format_stage_name


@pytest.mark.parametrize(
    ("value", "verdict", "limit"),
    [(0.70, "VALID", 0.70), (0.71, "WARN", 0.70), (0.85, "WARN", 0.70), (0.86, "INVALID", 0.85), (None, "WARN", 0.70)],
)
def test_value_above_upper_limit_is_warning_or_invalid(value: float | None, verdict: str, limit: float) -> None:
    check = check_upper_limit("generator_capacity", value, unit="share", warn=0.70, invalid=0.85, hint="lower it")
    assert (check.verdict, check.limit, check.hint is None) == (verdict, limit, verdict == "VALID")


@pytest.mark.parametrize(
    ("value", "verdict", "limit"), [(0.98, "VALID", 0.98), (0.95, "WARN", 0.98), (0.94, "INVALID", 0.95)]
)
def test_value_below_lower_limit_is_warning_or_invalid(value: float, verdict: str, limit: float) -> None:
    check = check_lower_limit("achieved_of_offered", value, unit="share", warn=0.98, invalid=0.95, hint="raise it")
    assert (check.verdict, check.limit) == (verdict, limit)
    assert check_lower_limit("achieved_of_offered", None, unit="share", warn=0.98, hint="raise it").verdict == "WARN"


MS = 1_000_000


def check(verdict: Validity, name: CheckId = "late_sends", value: float | str | None = 0.02) -> Check:
    return Check(name, value, 0.01, "share", verdict, None if verdict == "VALID" else "do this")


def stage(
    kind: StageKind, verdict: Validity, *, meets_slo: bool | None, seconds: float = 30.0, name: str = ""
) -> Stage:
    missing = Estimate(None, reason="not measured")
    return Stage(
        name=name or kind,
        kind=kind,
        repeat=1,
        tags={},
        variant=None,
        window=Window(0, round(seconds * 1e9)),
        offered_per_s=missing,
        achieved_per_s=missing,
        good_per_s=missing,
        completed=1,
        errors={},
        metrics={},
        verdict=Verdict(verdict),
        checks=(check(verdict),),
        meets_slo=meets_slo,
    )


def combine_checks(*stages: Stage) -> dict[str, Check]:
    return {combined.id: combined for combined in combine_stage_checks(stages)}


def test_verdict_is_of_worst_check_with_all_reasons() -> None:
    verdict = compute_verdict((check("VALID"), check("WARN", "errors", None), check("INVALID")))
    assert verdict.status == "INVALID"
    assert verdict.reasons == ("late sends: 2 % (limit 1 %)", "errors: n/a (limit 1 %)")
    assert compute_verdict(()) == Verdict("VALID")


def test_verdict_reason_uses_singular_unit_for_1() -> None:
    few = Check("samples", 0.0, 1.0, "responses", "WARN")
    assert compute_verdict((few,)).reasons == ("samples: 0 responses (limit 1 response)",)
    busy = Check("other_load", 1.0, 0.3, "cores", "WARN")
    assert compute_verdict((busy,)).reasons == ("other load: 1 core (limit 0.3 cores)",)


def test_failed_probe_and_step_do_not_make_run_invalid() -> None:
    stages = (
        stage("probe", "INVALID", meets_slo=False),
        stage("step", "INVALID", meets_slo=False),
        stage("step", "WARN", meets_slo=True),
    )
    assert combine_checks(*stages)["late_sends"].verdict == "WARN"


@pytest.mark.parametrize("kind", ["steady", "closed", "varying", "spike"])
def test_configured_stage_counts_even_if_slo_is_violated(kind: StageKind) -> None:
    assert (
        combine_checks(stage(kind, "INVALID", meets_slo=False), stage("step", "VALID", meets_slo=True))[
            "late_sends"
        ].verdict
        == "INVALID"
    )


def test_combined_check_names_worst_stage() -> None:
    stages = stage("steady", "VALID", meets_slo=True), stage("steady", "WARN", meets_slo=True, name="peak")
    assert combine_checks(*stages)["late_sends"].hint == "peak: do this"


@pytest.mark.parametrize("repeat", [1, 2, 11])
def test_check_names_repeated_stage_as_tables_and_charts_do(repeat: int) -> None:
    slow = msgspec.structs.replace(stage("steady", "WARN", meets_slo=True, name="peak"), repeat=repeat)
    assert combine_checks(slow)["late_sends"].hint == f"{format_stage_name('peak', repeat)}: do this"


def test_warmup_stage_does_not_count_in_combined_checks() -> None:
    assert (
        combine_checks(stage("warmup", "INVALID", meets_slo=None), stage("steady", "VALID", meets_slo=True))[
            "late_sends"
        ].verdict
        == "VALID"
    )
    assert combine_checks(stage("warmup", "INVALID", meets_slo=None)) == {}


def test_passing_probes_count_without_steps_and_else_all_probes() -> None:
    assert (
        combine_checks(stage("probe", "INVALID", meets_slo=False), stage("probe", "WARN", meets_slo=True))[
            "late_sends"
        ].verdict
        == "WARN"
    )
    assert combine_checks(stage("probe", "INVALID", meets_slo=False))["late_sends"].verdict == "INVALID"


@pytest.mark.parametrize(("seconds", "verdict"), [(3.0, "WARN"), (9.9, "WARN"), (10.0, "VALID")])
def test_short_steps_are_warning(seconds: float, verdict: str) -> None:
    stages = stage("step", "VALID", meets_slo=True), stage("step", "VALID", meets_slo=True, seconds=seconds)
    assert combine_checks(*stages)["step_duration"].verdict == verdict
    assert "step_duration" not in combine_checks(stage("steady", "VALID", meets_slo=True, seconds=seconds))


def test_other_execution_provider_than_requested_is_invalid() -> None:
    assert check_execution_provider("cuda", "cuda", ()).verdict == "VALID"
    fallen_back = check_execution_provider("cuda", "cpu", ())
    assert (fallen_back.verdict, fallen_back.value, fallen_back.limit) == ("INVALID", "cpu", "cuda")
    fallback = check_execution_provider("cuda", "cuda", ("NonZero on CPUExecutionProvider",))
    assert fallback.verdict == "INVALID"
    assert "NonZero on CPUExecutionProvider" in str(fallback.value)


@pytest.mark.parametrize(
    ("ratio", "suspended_s", "verdict"),
    [
        (1.0009, 0.0, "VALID"),
        (0.9985, 0.0, "WARN"),
        (1.02, None, "INVALID"),
        (1.02, 0.0, "WARN"),
        (61.0, 0.0, "WARN"),
        (-59.0, 0.0, "WARN"),
        (61.0, 3_600.0, "INVALID"),
        (None, None, "WARN"),
        (1.0, 2.1, "INVALID"),
        (1.0, 1.9, "VALID"),
    ],
)
def test_wall_clock_deviation_and_suspension_are_graded(
    ratio: float | None, suspended_s: float | None, verdict: str
) -> None:
    assert check_wall_clock(Clock(0, "2026-01-01T00:00:00+00:00", 60.0, ratio), suspended_s).verdict == verdict


def build_telemetry(gaps_ms: list[int], source: str) -> pd.DataFrame:
    at_ns = np.cumsum([0, *gaps_ms]) * MS
    samples = pd.DataFrame({"at_ns": at_ns, "source": source, "metric": "host_cpu_percent", "value": 1.0})
    return pd.concat([samples, samples.assign(metric="host_memory_gib")])


@pytest.mark.parametrize(("slow", "verdict"), [(1, "VALID"), (5, "WARN")])
def test_telemetry_gaps_are_warning(slow: int, verdict: str) -> None:
    gaps = [50] * (200 - slow) + [300] * slow
    frames = pd.concat(
        [
            build_telemetry(gaps, "host"),
            build_telemetry(gaps, "endpoint").assign(at_ns=lambda frame: frame["at_ns"] + 7),
        ]
    )
    telemetry_check = check_telemetry(frames)
    assert telemetry_check.verdict == verdict


@pytest.mark.parametrize(
    ("source", "is_checked"),
    [("gpu0", True), ("gpu-amd1", True), ("gpu0/mig1", False), ("node/gpu0", False), ("gpu-box", False)],
)
def test_telemetry_gaps_are_checked_for_local_gpus_only(source: str, is_checked: bool) -> None:
    assert (check_telemetry(build_telemetry([300] * 9, source)).value is not None) is is_checked


def test_missing_telemetry_is_warning() -> None:
    empty = build_telemetry([], "host").iloc[:0]
    assert (check_telemetry(empty).value, check_telemetry(empty).verdict) == (None, "WARN")


def test_checks_are_unchanged_by_json_round_trip() -> None:
    checks = combine_stage_checks((stage("step", "WARN", meets_slo=True),))
    assert msgspec.json.decode(msgspec.json.encode(checks), type=tuple[Check, ...]) == checks


def test_invalid_step_does_not_count_if_another_step_passed() -> None:
    checks = combine_checks(
        stage("step", "INVALID", meets_slo=True),
        stage("step", "VALID", meets_slo=True),
        stage("probe", "INVALID", meets_slo=None),
    )
    assert checks["late_sends"].verdict == "VALID"


def test_invalid_probe_does_not_count_if_another_probe_failed() -> None:
    checks = combine_checks(stage("probe", "INVALID", meets_slo=False), stage("probe", "WARN", meets_slo=False))
    assert checks["late_sends"].verdict == "WARN"
    assert combine_checks(stage("probe", "INVALID", meets_slo=False))["late_sends"].verdict == "INVALID"


def test_warning_of_failed_sweep_rate_does_not_count_and_invalid_rate_does() -> None:
    tags = {"sweep": "yes"}
    passed = msgspec.structs.replace(stage("steady", "VALID", meets_slo=True), tags=tags)
    failed = msgspec.structs.replace(stage("steady", "WARN", meets_slo=False), tags=tags)
    late = msgspec.structs.replace(stage("steady", "INVALID", meets_slo=False), tags=tags)
    assert combine_checks(passed, failed)["late_sends"].verdict == "VALID"
    assert combine_checks(passed, failed, late)["late_sends"].verdict == "INVALID", "the sweep includes this rate"


START = {"start{}": 1e9}


def vllm(hits: float, queries: float) -> Samples:
    return Samples({"vllm:prefix_cache_hits_total": hits, "vllm:prefix_cache_queries_total": queries})


def check_cache(before: Samples | None, after: Samples | None, *, is_expected: bool = False) -> Check | None:
    return check_prefix_cache((before,), (after,), is_expected=is_expected)


@pytest.mark.parametrize(("hits", "verdict"), [(0, "VALID"), (50, "VALID"), (51, "WARN"), (1_000, "WARN")])
def test_prefix_cache_hits_above_5_percent_are_warning(hits: float, verdict: str) -> None:
    cache_check = check_cache(vllm(700, 5_000), vllm(700 + hits, 6_000))
    assert cache_check is not None
    assert (cache_check.value, cache_check.verdict) == (hits / 1_000, verdict)


def test_prefix_cache_hint_has_share_and_setting() -> None:
    cache_check = check_cache(vllm(0, 0), vllm(380, 1_000))
    assert cache_check is not None
    assert str(cache_check.hint).startswith("38 % of the prompt tokens came from the server's prefix cache")
    assert "prompts.unique" in str(cache_check.hint)


def test_expected_prefix_cache_hits_are_valid() -> None:
    cache_check = check_cache(vllm(0, 0), vllm(900, 1_000), is_expected=True)
    assert cache_check == Check("prefix_cache", 0.9, None, "share", "VALID")


@pytest.mark.parametrize(
    ("hits", "queries"),
    [
        ("vllm:gpu_prefix_cache_hits_total", "vllm:gpu_prefix_cache_queries_total"),
        ("sglang:cached_tokens_total", "sglang:prompt_tokens_total"),
        ("trtllm_prompt_cached_tokens_total", "trtllm_prompt_tokens_total"),
    ],
)
def test_prefix_cache_counters_of_other_servers_are_read(hits: str, queries: str) -> None:
    cache_check = check_cache(Samples({hits: 0.0, queries: 100.0}), Samples({hits: 30.0, queries: 200.0, "up": 1.0}))
    assert cache_check is not None
    assert cache_check.value == pytest.approx(0.3)


def test_prefix_cache_counters_of_two_versions_are_not_summed() -> None:
    older = {"vllm:gpu_prefix_cache_hits_total": 38.0, "vllm:gpu_prefix_cache_queries_total": 100.0}
    cache_check = check_cache(Samples({}), Samples({**older, **vllm(38, 100).totals}))
    assert cache_check is not None
    assert cache_check.value == pytest.approx(0.38)


def test_prefix_cache_counter_missing_before_first_hit_counts_as_0() -> None:
    cache_check = check_cache(Samples({"sglang:prompt_tokens_total": 10.0}), Samples({
        "sglang:prompt_tokens_total": 110.0, "sglang:cached_tokens_total": 20.0,
    }))  # fmt: skip
    assert cache_check is not None
    assert cache_check.value == pytest.approx(0.2)


def test_prefix_cache_share_sums_replicas_that_report_counters() -> None:
    before = (vllm(0, 0), None, Samples({"up": 1.0}), vllm(5, 10))
    after = (vllm(30, 100), vllm(9, 9), Samples({"up": 1.0}), vllm(5, 310))
    cache_check = check_prefix_cache(before, after, is_expected=False)
    assert cache_check is not None
    assert cache_check.value == pytest.approx(30 / 400)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, vllm(1, 2)),
        (vllm(1, 2), None),
        (vllm(5, 10), vllm(5, 10)),
        (vllm(5, 10), vllm(1, 2)),
        (vllm(50, 100), vllm(1, 200)),
        (vllm(0, 0), vllm(math.inf, math.inf)),
        (Samples({"up": 1.0}), Samples({"up": 1.0})),
        (
            msgspec.structs.replace(vllm(0, 0), start_times_s=START),
            msgspec.structs.replace(vllm(30, 100), start_times_s={"start{}": 2e9}),
        ),
    ],
)
def test_prefix_cache_check_is_none_without_comparable_counters(before: Samples | None, after: Samples | None) -> None:
    """No page, no such counter, unchanged counters, a restarted server, invalid numbers, or another replica."""
    assert check_cache(before, after) is None


def test_prefix_cache_share_is_at_most_1() -> None:
    cache_check = check_cache(vllm(0, 0), vllm(300, 100))
    assert cache_check is not None
    assert cache_check.value == 1.0


@pytest.mark.parametrize(("distinct", "prepared", "verdict"), [(1, 1, "WARN"), (1, 1_000, "WARN"), (2, 1_000, "VALID")])
def test_identical_prompts_are_warning(distinct: int, prepared: int, verdict: str) -> None:
    prompts_check = check_prompts(distinct, prepared)
    assert (prompts_check.value, prompts_check.verdict) == (distinct, verdict)
    if prepared > 1 and distinct == 1:
        assert "All 1,000 prepared requests have the same prompt" in str(prompts_check.hint)
