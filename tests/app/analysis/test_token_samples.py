from __future__ import annotations

import numpy as np
import pytest

from app.analysis.token_samples import (
    MAX_PAIRS,
    build_sample_from_pairs,
    build_sample_from_percentiles,
    build_sample_from_rows,
    find_sample_error,
    merge_samples,
    scale_sample,
    unpack_pairs,
)
from app.records.estimate import TokenSample


def test_token_sample_of_rows_pairs_input_with_output_lengths() -> None:
    sample = build_sample_from_rows([10.0, np.nan, 3000.0, 20.0], [100.0, 5.0, 7.0, np.nan])
    assert sample is not None
    assert unpack_pairs(sample).tolist() == [[10, 100], [3000, 7]]
    assert build_sample_from_rows([np.nan], [1.0]) is None


def test_selected_token_sample_preserves_means_tail_and_correlation() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.standard_normal((2, 50_000))
    pairs = np.rint(np.exp(np.column_stack([6 + first, 5 + 0.6 * first + 0.8 * second]))).astype(np.int64) + 1
    selected = unpack_pairs(build_sample_from_pairs(pairs))
    assert len(selected) == MAX_PAIRS
    assert selected.mean(axis=0) == pytest.approx(pairs.mean(axis=0), rel=0.04)
    assert np.percentile(selected, 99, axis=0) == pytest.approx(np.percentile(pairs, 99, axis=0), rel=0.15)
    assert np.corrcoef(np.log(selected).T)[0, 1] == pytest.approx(0.6, abs=0.05)


def test_token_sample_of_percentiles_has_independent_lengths_with_same_percentiles() -> None:
    reported = {"mean": 420.0, "p50": 300.0, "p90": 800.0, "p99": 1800.0}
    sample = build_sample_from_percentiles(reported, {"p50": 100.0, "p95": 100.0})
    assert sample is not None
    inputs, outputs = unpack_pairs(sample).T
    assert inputs.mean() == pytest.approx(420.0, rel=0.01)
    assert np.percentile(inputs, 90) / np.median(inputs) == pytest.approx(800 / 300, rel=0.05)
    assert set(outputs.tolist()) == {100}
    assert build_sample_from_percentiles({"mean": 420.0}, reported) is None


def test_token_samples_are_merged_and_scaled() -> None:
    merged = merge_samples(
        [build_sample_from_pairs(np.array([[100, 10]])), build_sample_from_pairs(np.array([[300, 30]]))]
    )
    assert merged is not None
    assert unpack_pairs(scale_sample(merged, (20.0, 40.0))).tolist() == [[10, 20], [30, 60]]
    assert merge_samples([]) is None


@pytest.mark.parametrize(
    ("inputs", "outputs", "reason"),
    [
        (b"", b"", "two columns"),
        (b"\1\0\0", b"\1\0\0", "two columns"),
        (b"\1\0\0\0", b"\1\0\0\0" * 2, "two columns"),
        (b"\0\0\0\0", b"\1\0\0\0", "below 1"),
    ],
)
def test_damaged_token_sample_is_rejected_with_reason(inputs: bytes, outputs: bytes, reason: str) -> None:
    error = find_sample_error(TokenSample(inputs, outputs))
    assert error is not None
    assert reason in error
    assert find_sample_error(build_sample_from_pairs(np.array([[1, 1]]))) is None
