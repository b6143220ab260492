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
def test_too_much_is_graded(value: float | None, verdict: str, limit: float) -> None:
    check = check_upper_limit("generator_capacity", value, unit="share", warn=0.70, invalid=0.85, hint="lower it")
    assert (check.verdict, check.limit, check.hint is None) == (verdict, limit, verdict == "VALID")


@pytest.mark.parametrize(
    ("value", "verdict", "limit"), [(0.98, "VALID", 0.98), (0.95, "WARN", 0.98), (0.94, "INVALID", 0.95)]
)
def test_too_little_is_graded(value: float, verdict: str, limit: float) -> None:
    check = check_lower_limit("achieved_of_offered", value, unit="share", warn=0.98, invalid=0.95, hint="raise it")
    assert (check.verdict, check.limit) == (verdict, limit)
    assert check_lower_limit("achieved_of_offered", None, unit="share", warn=0.98, hint="raise it").verdict == "WARN"


MS = 1_000_000


def check(verdict: Validity, name: CheckId = "late_sends", value: float | str | None = 0.02) -> Check:
    return Check(name, value, 0.01, "share", verdict, None if verdict == "VALID" else "do this")


def stage(kind: StageKind, verdict: Validity, *, held: bool | None, seconds: float = 30.0, name: str = "") -> Stage:
    nothing = Estimate(None, reason="not asked")
    return Stage(
        name=name or kind,
        kind=kind,
        repeat=1,
        tags={},
        variant=None,
        window=Window(0, round(seconds * 1e9)),
        offered_per_s=nothing,
        achieved_per_s=nothing,
        good_per_s=nothing,
        completed=1,
        errors={},
        metrics={},
        verdict=Verdict(verdict),
        checks=(check(verdict),),
        meets_slo=held,
    )


def found(*stages: Stage) -> dict[str, Check]:
    return {one.id: one for one in combine_stage_checks(stages)}


def test_the_verdict_is_the_worst_check_with_all_reasons() -> None:
    verdict = compute_verdict((check("VALID"), check("WARN", "errors", None), check("INVALID")))
    assert verdict.status == "INVALID"
    assert verdict.reasons == ("late sends: 2 % (limit 1 %)", "errors: n/a (limit 1 %)")
    assert compute_verdict(()) == Verdict("VALID")


def test_one_of_a_count_is_singular() -> None:
    few = Check("samples", 0.0, 1.0, "responses", "WARN")
    assert compute_verdict((few,)).reasons == ("samples: 0 responses (limit 1 response)",)
    busy = Check("other_load", 1.0, 0.3, "cores", "WARN")
    assert compute_verdict((busy,)).reasons == ("other load: 1 core (limit 0.3 cores)",)


def test_a_failed_probe_does_not_make_the_run_invalid() -> None:
    stages = (
        stage("probe", "INVALID", held=False),
        stage("step", "INVALID", held=False),
        stage("step", "WARN", held=True),
    )
    assert found(*stages)["late_sends"].verdict == "WARN"


@pytest.mark.parametrize("kind", ["steady", "closed", "varying", "spike"])
def test_a_stage_that_was_asked_for_counts_whether_or_not_it_held(kind: StageKind) -> None:
    assert (
        found(stage(kind, "INVALID", held=False), stage("step", "VALID", held=True))["late_sends"].verdict == "INVALID"
    )


def test_the_worst_stage_is_named() -> None:
    stages = stage("steady", "VALID", held=True), stage("steady", "WARN", held=True, name="peak")
    assert found(*stages)["late_sends"].hint == "peak: do this"


@pytest.mark.parametrize("repeat", [1, 2, 11])
def test_a_check_names_a_repeated_stage_as_tables_and_charts_do(repeat: int) -> None:
    slow = msgspec.structs.replace(stage("steady", "WARN", held=True, name="peak"), repeat=repeat)
    assert found(slow)["late_sends"].hint == f"{format_stage_name('peak', repeat)}: do this"


def test_warm_up_does_not_count() -> None:
    assert (
        found(stage("warmup", "INVALID", held=None), stage("steady", "VALID", held=True))["late_sends"].verdict
        == "VALID"
    )
    assert found(stage("warmup", "INVALID", held=None)) == {}


def test_where_nothing_held_the_probes_that_carried_count_then_all() -> None:
    assert (
        found(stage("probe", "INVALID", held=False), stage("probe", "WARN", held=True))["late_sends"].verdict == "WARN"
    )
    assert found(stage("probe", "INVALID", held=False))["late_sends"].verdict == "INVALID"


@pytest.mark.parametrize(("seconds", "verdict"), [(3.0, "WARN"), (9.9, "WARN"), (10.0, "VALID")])
def test_short_holds_are_a_warning(seconds: float, verdict: str) -> None:
    stages = stage("step", "VALID", held=True), stage("step", "VALID", held=True, seconds=seconds)
    assert found(*stages)["step_duration"].verdict == verdict
    assert "step_duration" not in found(stage("steady", "VALID", held=True, seconds=seconds))


def test_another_provider_than_asked_for_is_invalid() -> None:
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
def test_the_clocks_must_agree(ratio: float | None, suspended_s: float | None, verdict: str) -> None:
    assert check_wall_clock(Clock(0, "2026-01-01T00:00:00+00:00", 60.0, ratio), suspended_s).verdict == verdict


def telemetry(gaps_ms: list[int], source: str) -> pd.DataFrame:
    at_ns = np.cumsum([0, *gaps_ms]) * MS
    one = pd.DataFrame({"at_ns": at_ns, "source": source, "metric": "host_cpu_percent", "value": 1.0})
    return pd.concat([one, one.assign(metric="host_memory_gib")])


@pytest.mark.parametrize(("slow", "verdict"), [(1, "VALID"), (5, "WARN")])
def test_gaps_in_the_telemetry_are_a_warning(slow: int, verdict: str) -> None:
    gaps = [50] * (200 - slow) + [300] * slow
    both = pd.concat([telemetry(gaps, "host"), telemetry(gaps, "endpoint").assign(at_ns=lambda one: one["at_ns"] + 7)])
    found_check = check_telemetry(both)
    assert found_check.verdict == verdict


@pytest.mark.parametrize(
    ("source", "is_checked"),
    [("gpu0", True), ("gpu-amd1", True), ("gpu0/mig1", False), ("node/gpu0", False), ("gpu-box", False)],
)
def test_gaps_of_every_gpu_of_this_machine_are_checked(source: str, is_checked: bool) -> None:
    assert (check_telemetry(telemetry([300] * 9, source)).value is not None) is is_checked


def test_no_telemetry_is_a_warning() -> None:
    empty = telemetry([], "host").iloc[:0]
    assert (check_telemetry(empty).value, check_telemetry(empty).verdict) == (None, "WARN")


def test_checks_survive_the_result_file() -> None:
    checks = combine_stage_checks((stage("step", "WARN", held=True),))
    assert msgspec.json.decode(msgspec.json.encode(checks), type=tuple[Check, ...]) == checks


def test_a_hold_beyond_the_generator_is_no_part_of_an_answer_that_holds_below_it() -> None:
    checks = found(
        stage("step", "INVALID", held=True), stage("step", "VALID", held=True), stage("probe", "INVALID", held=None)
    )
    assert checks["late_sends"].verdict == "VALID"


def test_rates_that_failed_are_doubted_by_themselves_and_not_by_those_that_could_not_be_sent() -> None:
    checks = found(stage("probe", "INVALID", held=False), stage("probe", "WARN", held=False))
    assert checks["late_sends"].verdict == "WARN"
    assert found(stage("probe", "INVALID", held=False))["late_sends"].verdict == "INVALID"


def test_the_rates_a_sweep_fails_at_are_its_answer_and_no_warning() -> None:
    tags = {"sweep": "yes"}
    carried = msgspec.structs.replace(stage("steady", "VALID", held=True), tags=tags)
    failed = msgspec.structs.replace(stage("steady", "WARN", held=False), tags=tags)
    late = msgspec.structs.replace(stage("steady", "INVALID", held=False), tags=tags)
    assert found(carried, failed)["late_sends"].verdict == "VALID"
    assert found(carried, failed, late)["late_sends"].verdict == "INVALID", "it was asked for"


START = {"start{}": 1e9}


def vllm(hits: float, asked: float) -> Samples:
    return Samples({"vllm:prefix_cache_hits_total": hits, "vllm:prefix_cache_queries_total": asked})


def moved(before: Samples | None, after: Samples | None, *, is_wanted: bool = False) -> Check | None:
    return check_prefix_cache((before,), (after,), is_expected=is_wanted)


@pytest.mark.parametrize(("hits", "verdict"), [(0, "VALID"), (50, "VALID"), (51, "WARN"), (1_000, "WARN")])
def test_prompts_answered_from_a_cache_are_a_warning(hits: float, verdict: str) -> None:
    found = moved(vllm(700, 5_000), vllm(700 + hits, 6_000))
    assert found is not None
    assert (found.value, found.verdict) == (hits / 1_000, verdict)


def test_it_is_said_what_the_share_means_and_what_to_do() -> None:
    found = moved(vllm(0, 0), vllm(380, 1_000))
    assert found is not None
    assert str(found.hint).startswith("38 % of the prompt tokens came from the server's prefix cache")
    assert "prompts.unique" in str(found.hint)


def test_a_cache_that_the_profile_means_to_use_is_no_warning() -> None:
    found = moved(vllm(0, 0), vllm(900, 1_000), is_wanted=True)
    assert found == Check("prefix_cache", 0.9, None, "share", "VALID")


@pytest.mark.parametrize(
    ("hits", "asked"),
    [
        ("vllm:gpu_prefix_cache_hits_total", "vllm:gpu_prefix_cache_queries_total"),
        ("sglang:cached_tokens_total", "sglang:prompt_tokens_total"),
        ("trtllm_prompt_cached_tokens_total", "trtllm_prompt_tokens_total"),
    ],
)
def test_other_servers_count_by_other_names(hits: str, asked: str) -> None:
    found = moved(Samples({hits: 0.0, asked: 100.0}), Samples({hits: 30.0, asked: 200.0, "up": 1.0}))
    assert found is not None
    assert found.value == pytest.approx(0.3)


def test_names_of_two_versions_are_not_added_up() -> None:
    older = {"vllm:gpu_prefix_cache_hits_total": 38.0, "vllm:gpu_prefix_cache_queries_total": 100.0}
    found = moved(Samples({}), Samples({**older, **vllm(38, 100).totals}))
    assert found is not None
    assert found.value == pytest.approx(0.38)


def test_a_counter_that_is_not_shown_before_it_counts_was_0() -> None:
    found = moved(Samples({"sglang:prompt_tokens_total": 10.0}), Samples({
        "sglang:prompt_tokens_total": 110.0, "sglang:cached_tokens_total": 20.0,
    }))  # fmt: skip
    assert found is not None
    assert found.value == pytest.approx(0.2)


def test_replicas_are_taken_together_and_those_that_do_not_count_left_out() -> None:
    before = (vllm(0, 0), None, Samples({"up": 1.0}), vllm(5, 10))
    after = (vllm(30, 100), vllm(9, 9), Samples({"up": 1.0}), vllm(5, 310))
    found = check_prefix_cache(before, after, is_expected=False)
    assert found is not None
    assert found.value == pytest.approx(30 / 400)


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
def test_nothing_is_said_where_nothing_was_counted(before: Samples | None, after: Samples | None) -> None:
    """No page, no such counter, none that moved, a server that started again, numbers that are none, two replicas."""
    assert moved(before, after) is None


def test_a_share_is_at_most_all() -> None:
    found = moved(vllm(0, 0), vllm(300, 100))
    assert found is not None
    assert found.value == 1.0


@pytest.mark.parametrize(("distinct", "prepared", "verdict"), [(1, 1, "WARN"), (1, 1_000, "WARN"), (2, 1_000, "VALID")])
def test_prompts_that_are_all_alike_are_a_warning(distinct: int, prepared: int, verdict: str) -> None:
    found = check_prompts(distinct, prepared)
    assert (found.value, found.verdict) == (distinct, verdict)
    if prepared > 1 and distinct == 1:
        assert "All 1,000 prepared requests have the same prompt" in str(found.hint)
