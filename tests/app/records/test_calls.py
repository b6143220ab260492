from __future__ import annotations

import numpy as np
import pytest

from app.records.calls import CALL_SCHEMA, COLUMNS, unpack_calls


def test_packed_calls_are_unpacked_with_nulls() -> None:
    table = np.array([[4, 1, -1, 10, 20, -1, 30, -1, 40], [5, 0, 7, -1, -1, -1, -1, -1, -1]], np.int64)
    rows = unpack_calls(3, table.tobytes())
    assert rows.schema == CALL_SCHEMA
    first, second = rows.to_pylist()
    assert first == {
        "stage": 3, "query": 4, "stream": 1, "scheduled_ns": None, "begin_ns": 10, "prepared_ns": 20,
        "copied_in_ns": None, "executed_ns": 30, "copied_out_ns": None, "end_ns": 40,
    }  # fmt: skip
    assert {name for name, value in second.items() if value is None} == set(COLUMNS[3:])


def test_empty_calls_are_unpacked_to_no_rows() -> None:
    assert unpack_calls(0, b"").num_rows == 0


def test_incomplete_packed_call_is_rejected() -> None:
    with pytest.raises(ValueError, match="reshape"):
        unpack_calls(0, np.zeros(5, np.int64).tobytes())
