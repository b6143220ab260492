"""Compute all metrics of one test of a local language model from its steps.

A test is repeated. Each repetition consists of the prefill of the prompt, if there is one, and of
steps that each generate one token per sequence of the batch. A repetition that did not end, because
the run was stopped, is dropped."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from app.analysis.estimates import compute_distribution, estimate_mean, estimate_rate
from app.analysis.local.call_checks import build_interruption_check, check_precision, check_warm_up
from app.analysis.local.call_rows import CallRows, Floats
from app.analysis.validity import check_upper_limit, compute_verdict
from app.records.calls import CallStage
from app.records.estimate import Estimate
from app.records.local import TEST_TAG, GenerationTest
from app.records.result import Check, Stage, Window

MIN_REPETITIONS = 5
"""Minimum number of repetitions of a test, as in llama-bench."""
_MAX_DRIFT = 0.1
"""Maximum relative change of the mean time of a test between two measurements of a variant."""
_NO_OFFERED_RATE = Estimate(None, reason="closed loop: the next repetition starts when the previous one ends")


class Repetitions(msgspec.Struct, frozen=True, kw_only=True):
    """Complete repetitions of a test, in order. Times are in seconds, and each array has one value
    per repetition, except `token_gaps_s`."""

    prefill_s: Floats
    """Duration of each prefill; empty for a test without a prompt."""
    first_token_s: Floats
    """Time from the start of each repetition to its first token; empty for a test without a prompt
    or without output."""
    decode_s: Floats
    """Duration of all steps after the prefill; empty for a test without such steps."""
    decode_steps: int
    """Number of steps of a repetition after the prefill."""
    total_s: Floats
    token_gaps_s: Floats
    """Durations of the steps after the prefill, in chronological order, over all repetitions."""


def read_repetitions(calls: CallRows, test: GenerationTest) -> Repetitions:
    """Return the complete repetitions among the steps of a stage."""
    has_prefill = test.prompt_tokens > 0
    decode_steps = max(0, test.output_tokens - has_prefill)
    steps_per_repetition = has_prefill + decode_steps
    repetitions, index, counts = np.unique(calls.query, return_inverse=True, return_counts=True)
    is_complete = (counts == steps_per_repetition)[index] if len(repetitions) else np.zeros(0, np.bool_)
    shape = (-1, steps_per_repetition)
    begin_ns, executed_ns, end_ns = (
        times_ns[is_complete].reshape(shape) for times_ns in (calls.begin_ns, calls.executed_ns, calls.end_ns)
    )
    none = np.zeros(0)
    decode_ends_ns = end_ns[:, int(has_prefill) :]
    # The first step of a test without a prompt begins with the repetition, and every other one with the last token.
    previous_ends_ns = end_ns[:, :-1] if has_prefill else np.hstack([begin_ns[:, :1], end_ns[:, :-1]])
    return Repetitions(
        prefill_s=(executed_ns[:, 0] - begin_ns[:, 0]) / 1e9 if has_prefill else none,
        first_token_s=(end_ns[:, 0] - begin_ns[:, 0]) / 1e9 if has_prefill and test.output_tokens else none,
        decode_s=(decode_ends_ns[:, -1] - previous_ends_ns[:, 0]) / 1e9 if decode_steps else none,
        decode_steps=decode_steps,
        total_s=(end_ns[:, -1] - begin_ns[:, 0]) / 1e9,
        token_gaps_s=((decode_ends_ns - previous_ends_ns) / 1e9).ravel(),
    )


def summarize_generation(
    calls: CallRows, stage_data: CallStage, test: GenerationTest, checks: Sequence[Check] = ()
) -> Stage:
    """Build the stage of a test from its steps. `checks` are the checks that apply to the variant as
    a whole."""
    repetitions = read_repetitions(calls, test)
    all_checks = (*checks, *_check_repetitions(repetitions, stage_data))
    window = Window(stage_data.start_ns, stage_data.end_ns)
    starts_ns = calls.begin_ns[np.unique(calls.query, return_index=True)[1]]  # The steps are in order.
    return Stage(
        name=f"{test.name}: {stage_data.variant.label}",
        kind="closed",
        repeat=stage_data.repeat,
        tags={"scenario": stage_data.scenario, TEST_TAG: test.name},
        variant=stage_data.variant,
        window=window,
        offered_per_s=_NO_OFFERED_RATE,
        achieved_per_s=estimate_rate(np.sort(starts_ns), (window.start_ns, window.end_ns)),
        good_per_s=Estimate(None, reason="individual repetitions of a local model are not evaluated"),
        completed=len(repetitions.total_s),
        errors={},
        metrics=_build_metrics(repetitions, stage_data.variant.batch, test),
        verdict=compute_verdict(all_checks),
        checks=all_checks,
        concurrency=stage_data.variant.batch,
    )


def _build_metrics(repetitions: Repetitions, batch: int, test: GenerationTest) -> dict[str, dict[str, Estimate]]:
    tokens = batch * (test.prompt_tokens + test.output_tokens)
    metrics = {
        "service_ms": compute_distribution(repetitions.total_s * 1e3),
        "tokens_per_s": {"value": estimate_mean(tokens / repetitions.total_s)},
    }
    if repetitions.prefill_s.size:
        prefill_rates = batch * test.prompt_tokens / repetitions.prefill_s
        metrics["prefill_tokens_per_s"] = {"value": estimate_mean(prefill_rates)}
    if repetitions.first_token_s.size:
        metrics["ttft_ms"] = compute_distribution(repetitions.first_token_s * 1e3)
    if repetitions.decode_s.size:
        decode_rates = batch * repetitions.decode_steps / repetitions.decode_s
        metrics["decode_tokens_per_s"] = {"value": estimate_mean(decode_rates)}
        metrics["itl_ms"] = compute_distribution(repetitions.token_gaps_s * 1e3)
    return metrics


def _check_repetitions(repetitions: Repetitions, stage_data: CallStage) -> tuple[Check, ...]:
    count = len(repetitions.total_s)
    if not count:
        hint = "No repetition completed. Increase load.max_duration, or use a shorter test."
        return (Check("repetitions", 0, MIN_REPETITIONS, "repetitions", "INVALID", hint),)
    hint = "There are few repetitions, so the interval is wide. Increase load.max_duration, or use a shorter test."
    count_check = Check("repetitions", count, MIN_REPETITIONS, "repetitions", "VALID")
    if count < MIN_REPETITIONS:
        count_check = msgspec.structs.replace(count_check, verdict="WARN", hint=hint)
    last_check = build_interruption_check(stage_data) if stage_data.stopped_early else check_precision(stage_data)
    return (check_warm_up(stage_data), count_check, last_check)


def check_drift(first: Stage, last: Stage) -> Check:
    """Compare two measurements of the same test, before and after all others of a variant."""
    first_mean, last_mean = (stage.metrics["service_ms"]["mean"].value for stage in (first, last))
    return check_upper_limit(
        "drift",
        abs(last_mean / first_mean - 1) if first_mean and last_mean else None,
        unit="share",
        warn=_MAX_DRIFT,
        hint=f"The time of {first.tags[TEST_TAG]} changed while the variant was measured. Check for throttling and "
        "other load, and run again.",
    )
