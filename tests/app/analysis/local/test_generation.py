from __future__ import annotations

from collections.abc import Sequence

import pytest

from app.analysis.local.call_rows import read_calls
from app.analysis.local.call_stages import summarize_calls
from app.analysis.local.generation import MIN_REPETITIONS, check_drift, read_repetitions
from app.records.local import GenerationTest
from app.records.result import Check, Stage
from tests.fakes.calls import table_of
from tests.fakes.steps import generation_stage, steps

BOTH, PROMPT, OUTPUT = GenerationTest(100, 3), GenerationTest(100, 0), GenerationTest(0, 3)


def _summarize(
    test: GenerationTest,
    repetitions: Sequence[list[list[float]]],
    *,
    batch: int = 1,
    repeat: int = 1,
    half_width: float | None = 0.01,
    stopped: bool = False,
) -> Stage:
    stage_data = generation_stage(test, batch=batch, repeat=repeat, half_width=half_width, stopped=stopped)
    return summarize_calls(table_of([row for rows in repetitions for row in rows]), stage_data)


def _get_value(stage: Stage, metric: str, aggregate: str = "value") -> float | None:
    return stage.metrics[metric][aggregate].value


def _find_check(stage: Stage, check_id: str) -> Check | None:
    return next((check for check in stage.checks if check.id == check_id), None)


def test_prompt_with_output_has_prefill_ttft_and_itl() -> None:
    stage = _summarize(BOTH, [steps(0, 0, [4, 6], prefill_ms=20), steps(1, 50, [2, 8], prefill_ms=40)])
    assert _get_value(stage, "prefill_tokens_per_s") == pytest.approx((100 / 0.020 + 100 / 0.040) / 2)
    assert _get_value(stage, "ttft_ms", "mean") == pytest.approx((21 + 41) / 2), "including the sampling of the token"
    assert _get_value(stage, "decode_tokens_per_s") == pytest.approx(2 / 0.010), "excluding the token of the prefill"
    assert _get_value(stage, "itl_ms", "mean") == pytest.approx(5)
    assert _get_value(stage, "itl_ms", "max") == pytest.approx(8)
    assert _get_value(stage, "service_ms", "mean") == pytest.approx((31 + 51) / 2)
    assert _get_value(stage, "tokens_per_s") == pytest.approx((103 / 0.031 + 103 / 0.051) / 2)
    assert (stage.completed, stage.name) == (2, "pp100+tg3: m cpu as-is, batch 1")
    assert stage.tags == {"scenario": "generation", "test": "pp100+tg3"}


def test_token_rates_count_all_sequences_of_batch() -> None:
    stage = _summarize(BOTH, [steps(0, 0, [4, 6], prefill_ms=20)], batch=4)
    assert _get_value(stage, "prefill_tokens_per_s") == pytest.approx(4 * 100 / 0.020)
    assert _get_value(stage, "decode_tokens_per_s") == pytest.approx(4 * 2 / 0.010)
    assert _get_value(stage, "tokens_per_s") == pytest.approx(4 * 103 / 0.031)
    assert _get_value(stage, "itl_ms", "mean") == pytest.approx(5), "each sequence waits for the whole step"
    assert stage.concurrency == 4


def test_means_of_scattered_repetitions_have_no_negative_bound() -> None:
    stage = _summarize(BOTH, [steps(0, 0, [4, 6], prefill_ms=20), steps(1, 50, [100, 900], prefill_ms=2000)])
    means = [
        stage.metrics[metric]["value"] for metric in ("prefill_tokens_per_s", "decode_tokens_per_s", "tokens_per_s")
    ]
    means += [stage.metrics[metric]["mean"] for metric in ("service_ms", "ttft_ms")]
    for estimate in means:
        assert estimate.value is not None
        assert estimate.ci95 is not None
        assert 0 == estimate.ci95[0] < estimate.value < estimate.ci95[1]


def test_generation_without_prompt_has_no_prefill_and_ttft() -> None:
    stage = _summarize(OUTPUT, [steps(0, 0, [4, 6, 2]), steps(1, 20, [5, 5, 2])])
    assert stage.metrics.keys() == {"service_ms", "tokens_per_s", "decode_tokens_per_s", "itl_ms"}
    assert _get_value(stage, "decode_tokens_per_s") == pytest.approx(3 / 0.012)
    assert stage.metrics["itl_ms"]["mean"].n == 6
    assert _get_value(stage, "service_ms", "mean") == pytest.approx(12)


def test_generation_without_output_has_only_prefill() -> None:
    stage = _summarize(PROMPT, [steps(0, 0, [], prefill_ms=20), steps(1, 30, [], prefill_ms=25)])
    assert stage.metrics.keys() == {"service_ms", "tokens_per_s", "prefill_tokens_per_s"}
    assert _get_value(stage, "prefill_tokens_per_s") == pytest.approx((100 / 0.020 + 100 / 0.025) / 2)


def test_single_output_token_belongs_to_prefill() -> None:
    stage = _summarize(GenerationTest(100, 1), [steps(0, 0, [], prefill_ms=20)])
    assert "ttft_ms" in stage.metrics
    assert not {"decode_tokens_per_s", "itl_ms"} & stage.metrics.keys()


def test_unfinished_repetitions_are_dropped() -> None:
    rows = [*steps(0, 0, [4, 6], prefill_ms=20), *steps(1, 50, [2], prefill_ms=40)]
    repetitions = read_repetitions(read_calls(table_of(rows), generation_stage(BOTH)), BOTH)
    assert repetitions.total_s.tolist() == pytest.approx([0.031])
    assert repetitions.token_gaps_s.tolist() == pytest.approx([0.004, 0.006])
    stage = _summarize(BOTH, [rows], stopped=True)
    assert stage.completed == 1
    assert _find_check(stage, "cut_short") is not None


def test_warmup_repetitions_are_not_counted() -> None:
    stage = _summarize(OUTPUT, [steps(0, -30, [9, 9, 9]), steps(1, 0, [4, 6, 2])])
    assert stage.completed == 1
    assert _get_value(stage, "itl_ms", "max") == pytest.approx(6)


def test_generation_stage_without_repetition_is_invalid_without_values() -> None:
    for test in (BOTH, PROMPT, OUTPUT):
        stage = _summarize(test, [], half_width=None, stopped=True)
        assert (stage.verdict.status, stage.completed) == ("INVALID", 0)
        assert all(estimate.value is None for estimates in stage.metrics.values() for estimate in estimates.values())


def test_few_repetitions_are_warning() -> None:
    for count, verdict in ((MIN_REPETITIONS - 1, "WARN"), (MIN_REPETITIONS, "VALID")):
        stage = _summarize(OUTPUT, [steps(index, 20 * index, [4, 6, 2]) for index in range(count)])
        check = _find_check(stage, "repetitions")
        assert check is not None
        assert (check.value, check.verdict, stage.verdict.status) == (count, verdict, verdict)


def test_drift_check_compares_mean_times_of_two_measurements() -> None:
    first = _summarize(OUTPUT, [steps(0, 0, [4, 6, 2])])
    for gaps_ms, change, verdict in (
        ([4, 6, 3], 1 / 12, "VALID"),
        ([4, 6, 4], 2 / 12, "WARN"),
        ([2, 6, 2], 2 / 12, "WARN"),
    ):
        check = check_drift(first, _summarize(OUTPUT, [steps(0, 0, gaps_ms)], repeat=2))
        assert check.value == pytest.approx(change)
        assert check.verdict == verdict
    assert check.hint is not None
    assert "tg3" in check.hint


def test_drift_is_unknown_without_repetition() -> None:
    first, last = _summarize(OUTPUT, [steps(0, 0, [4, 6, 2])]), _summarize(OUTPUT, [], repeat=2)
    assert check_drift(first, last).value is None
