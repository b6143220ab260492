from __future__ import annotations

import sys

import numpy as np

from app.inference.sampling import MAX_ROWS, OutputSampler

REFERENCE = np.arange(20.0).reshape(10, 2)


def kept_of(calls: int, batch: int = 1) -> tuple[OutputSampler, list[int]]:
    kept, indices = OutputSampler(is_enabled=True), []
    for index in range(calls):
        if index >= kept.next_index:
            indices.append(index)
            start = index * batch % 10
            kept.add(index, start, [REFERENCE[start : start + batch]])
    return kept, indices


def test_calls_kept_lie_ever_further_apart() -> None:
    _, indices = kept_of(20_000)
    assert indices[0] == 0
    assert len(indices) == MAX_ROWS
    gaps = np.diff(indices)
    assert (np.diff(gaps) >= 0).all()
    assert gaps[-1] > 20


def test_no_more_rows_than_enough_are_kept() -> None:
    _, indices = kept_of(1000, batch=2)
    assert len(indices) == MAX_ROWS // 2


def test_nothing_is_kept_that_is_not_wanted() -> None:
    kept = OutputSampler(is_enabled=False)
    assert kept.next_index == sys.maxsize
    assert kept.pair_with_reference(REFERENCE, 1) is None


def test_outputs_stand_beside_the_references_of_the_same_rows() -> None:
    kept, indices = kept_of(9, batch=2)
    pair = kept.pair_with_reference(REFERENCE, 2)
    assert pair is not None
    assert np.array_equal(*pair)
    assert len(pair[0]) == 2 * len(indices)


def test_rows_beyond_the_reference_and_outputs_that_are_no_rows_are_left_out() -> None:
    kept = OutputSampler(is_enabled=True)
    kept.add(0, 9, [np.zeros((2, 2))])
    kept.add(1, 0, [np.array(1.0)])
    kept.add(2, 0, [np.zeros((1, 2))])
    assert kept.pair_with_reference(REFERENCE, 2) is None
