from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from app.analysis.rows import compute_offered_window, read_rows
from app.records.result import Window
from tests.fakes.queues import START_NS, build_stage_data, constant_s, request_rows

TIMES = ["sent_ns", "first_byte_ns", "end_ns"]


def build_mixed_rows() -> pd.DataFrame:
    """A success, a failed connection, and two arrivals that were never sent; one of the two timed out in the drain."""
    frame = request_rows(constant_s(1, 4), np.full(4, 0.5), errors=[None, "connect", None, "timeout"])
    return frame.astype(dict.fromkeys(TIMES, "float64")).assign(
        sent_ns=[START_NS, START_NS + 10**9, np.nan, np.nan],
        first_byte_ns=[START_NS + 5, np.nan, np.nan, np.nan],
        end_ns=[START_NS + 9, START_NS + 10**9, np.nan, START_NS + 10**10],
    )


def as_pandas_nullable(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.astype(dict.fromkeys(TIMES, "Int64") | {"error": "string"})


def as_arrow(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.astype(dict.fromkeys(TIMES, pd.ArrowDtype(pa.int64())) | {"error": pd.ArrowDtype(pa.string())})


def as_objects(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.astype(object).where(frame.notna(), None)


@pytest.mark.parametrize("convert", [lambda frame: frame, as_pandas_nullable, as_arrow, as_objects])
def test_nulls_are_read_in_every_column_type(convert: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    rows = read_rows(convert(build_mixed_rows()))
    assert rows.was_sent.tolist() == [True, True, False, False]
    assert rows.is_success.tolist() == [True, False, False, False]
    assert rows.is_failed.tolist() == [False, True, False, False]
    assert rows.sent_ns.tolist() == [START_NS, START_NS + 10**9, 0, 0]
    assert rows.count_errors() == {"connect": 1, "not-started": 2}
    assert rows.correct_counts is None


def test_rows_are_sorted_by_scheduled_start() -> None:
    rows = read_rows(request_rows(constant_s(100, 1), np.linspace(1, 0, 100)))
    assert (np.diff(rows.scheduled_ns) > 0).all()
    assert rows.end_ns[0] - rows.scheduled_ns[0] == 10**9


@pytest.mark.parametrize("right", [[True, False, None, None], [1.0, 0.0, np.nan, np.nan]])
def test_labeled_rows_have_correct_counts(right: list[float | None]) -> None:
    rows = read_rows(build_mixed_rows().assign(correct_rows=np.array(right)))
    assert rows.correct_counts is not None
    assert rows.correct_counts[:2].tolist() == [1.0, 0.0]
    assert np.isnan(rows.correct_counts[2:]).all()


def test_offered_window_of_complete_stage_is_its_duration() -> None:
    rows = read_rows(request_rows(constant_s(100, 10), np.full(1000, 0.1)))
    assert compute_offered_window(rows, build_stage_data(duration_s=10)) == Window(START_NS, START_NS + 10 * 10**9)


def test_offered_window_of_stopped_stage_ends_at_last_send() -> None:
    frame = request_rows(constant_s(100, 2), np.full(200, 0.1))
    frame[TIMES] = frame[TIMES].astype(float).where(frame["index"] < 50, axis=0)
    window = compute_offered_window(read_rows(frame), build_stage_data(duration_s=10, stopped_early=True))
    assert window.end_ns - window.start_ns == 490_000_001
