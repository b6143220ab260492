from __future__ import annotations

import sys

import numpy as np

from app.inference.sampling import MAX_ROWS, OutputSampler

REFERENCE = np.arange(20.0).reshape(10, 2)


def sample_calls(calls: int, batch: int = 1) -> tuple[OutputSampler, list[int]]:
    sampler, indices = OutputSampler(is_enabled=True), []
    for index in range(calls):
        if index >= sampler.next_index:
            indices.append(index)
            start = index * batch % 10
            sampler.add(index, start, [REFERENCE[start : start + batch]])
    return sampler, indices


def test_gaps_between_sampled_calls_grow() -> None:
    _, indices = sample_calls(20_000)
    assert indices[0] == 0
    assert len(indices) == MAX_ROWS
    gaps = np.diff(indices)
    assert (np.diff(gaps) >= 0).all()
    assert gaps[-1] > 20


def test_sampler_stores_at_most_the_maximum_rows() -> None:
    _, indices = sample_calls(1000, batch=2)
    assert len(indices) == MAX_ROWS // 2


def test_disabled_sampler_stores_no_outputs() -> None:
    sampler = OutputSampler(is_enabled=False)
    assert sampler.next_index == sys.maxsize
    assert sampler.pair_with_reference(REFERENCE, 1) is None


def test_sampled_outputs_are_paired_with_the_reference_of_their_rows() -> None:
    sampler, indices = sample_calls(9, batch=2)
    pair = sampler.pair_with_reference(REFERENCE, 2)
    assert pair is not None
    assert np.array_equal(*pair)
    assert len(pair[0]) == 2 * len(indices)


def test_outputs_beyond_the_reference_or_without_rows_are_not_paired() -> None:
    sampler = OutputSampler(is_enabled=True)
    sampler.add(0, 9, [np.zeros((2, 2))])
    sampler.add(1, 0, [np.array(1.0)])
    sampler.add(2, 0, [np.zeros((1, 2))])
    assert sampler.pair_with_reference(REFERENCE, 2) is None
