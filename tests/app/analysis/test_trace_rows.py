from __future__ import annotations

import msgspec
import numpy as np
import pytest

from app.analysis.trace_rows import busiest_rows, invalid_rows, rate_per_s, times_s, token_pairs


def test_a_short_trace_is_kept_whole_with_its_rate_and_tokens() -> None:
    rows = busiest_rows(np.array([0.0, 1.5, 2.0]), (np.array([5, 0, 7], np.int32), np.array([1, 2, 3], np.int32)))
    assert times_s(rows).tolist() == [0.0, 1.5, 2.0]
    pairs = token_pairs(rows)
    assert pairs is not None
    assert pairs.tolist() == [[5, 1], [1, 2], [7, 3]]
    assert rate_per_s(rows) == pytest.approx(1.0)  # two gaps in 2 s
    assert invalid_rows(rows) is None


def test_the_busiest_hour_of_a_longer_trace_is_kept() -> None:
    at_s = np.concatenate([[0.0], np.linspace(7200, 9000, 500), [20_000.0]])
    rows = busiest_rows(at_s)
    assert times_s(rows).size == 500
    assert (rows.window_s, token_pairs(rows)) == (3600.0, None)


def test_of_too_many_requests_a_random_sample_keeps_the_rate_and_the_bursts() -> None:
    at_s = np.concatenate([np.linspace(0, 100, 4000, endpoint=False), np.linspace(100, 101, 4000)])
    rows = busiest_rows(at_s, max_rows=1000)
    assert times_s(rows).size == 1000
    assert rate_per_s(rows) == pytest.approx(8000 / 101, rel=0.01)
    assert np.mean(times_s(rows) >= 100) == pytest.approx(0.5, abs=0.06)


def test_rows_of_an_edited_file_are_checked() -> None:
    rows = busiest_rows(np.array([0.0, 1.0, 2.0]))
    descending = np.array([0, 5, 4], "<u4").tobytes()
    for changes in (
        {"at_us": b"abc"},
        {"at_us": descending},
        {"at_us": rows.at_us[:4]},
        {"window_s": 1.0},
        {"window_s": 0.0},
        {"kept_share": 0.0},
        {"input_tokens": b"1234"},
        {"input_tokens": rows.at_us},
    ):
        assert invalid_rows(msgspec.structs.replace(rows, **changes)) is not None
