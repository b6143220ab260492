from __future__ import annotations

import sys

import numpy as np

from app.inference.sampling import MOST_ROWS, KeptOutputs

REFERENCE = np.arange(20.0).reshape(10, 2)


def kept_of(calls: int, batch: int = 1) -> tuple[KeptOutputs, list[int]]:
    kept, indices = KeptOutputs(is_wanted=True), []
    for index in range(calls):
        if index >= kept.next:
            indices.append(index)
            start = index * batch % 10
            kept.keep(index, start, [REFERENCE[start : start + batch]])
    return kept, indices


def test_calls_kept_lie_ever_further_apart() -> None:
    _, indices = kept_of(20_000)
    assert indices[0] == 0
    assert len(indices) == MOST_ROWS
    gaps = np.diff(indices)
    assert (np.diff(gaps) >= 0).all()
    assert gaps[-1] > 20


def test_no_more_rows_than_enough_are_kept() -> None:
    _, indices = kept_of(1000, batch=2)
    assert len(indices) == MOST_ROWS // 2


def test_nothing_is_kept_that_is_not_wanted() -> None:
    kept = KeptOutputs(is_wanted=False)
    assert kept.next == sys.maxsize
    assert kept.beside(REFERENCE, 1) is None


def test_outputs_stand_beside_the_references_of_the_same_rows() -> None:
    kept, indices = kept_of(9, batch=2)
    pair = kept.beside(REFERENCE, 2)
    assert pair is not None
    assert np.array_equal(*pair)
    assert len(pair[0]) == 2 * len(indices)


def test_rows_beyond_the_reference_and_outputs_that_are_no_rows_are_left_out() -> None:
    kept = KeptOutputs(is_wanted=True)
    kept.keep(0, 9, [np.zeros((2, 2))])
    kept.keep(1, 0, [np.array(1.0)])
    kept.keep(2, 0, [np.zeros((1, 2))])
    assert kept.beside(REFERENCE, 2) is None
