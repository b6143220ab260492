"""Calls as a table of whole numbers: what streams add while a scenario runs, and what is told of it."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from app.records.calls import COLUMNS

Table = npt.NDArray[np.int64]
"""A row a call, as COLUMNS."""
WIDTH = len(COLUMNS)
_INTENDED, _PREPARED, _EXECUTED, _COPIED_OUT = (
    COLUMNS.index(name) for name in ("intended_ns", "prepared_ns", "executed_ns", "copied_out_ns")
)


def table_of(rows: array[int]) -> Table:
    return np.frombuffer(rows, np.int64).reshape(-1, WIDTH)


def told_since(rows: array[int], told: list[int], stream: int) -> Table:
    """What one stream has added since it was last told; other threads may be adding meanwhile."""
    whole = len(rows) // WIDTH * WIDTH
    part, told[stream] = rows[told[stream] : whole], whole
    return table_of(part)


def joined(parts: Sequence[Table]) -> Table:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def service_ms(table: Table) -> npt.NDArray[np.float64]:
    """Of the call itself: copies and execution."""
    done_ns = np.where(table[:, _COPIED_OUT] >= 0, table[:, _COPIED_OUT], table[:, _EXECUTED])
    times: npt.NDArray[np.float64] = (done_ns - table[:, _PREPARED]) / 1e6
    return times


def never_begun(numbers: Sequence[int], intended_ns: Sequence[int]) -> Table:
    table = np.full((len(numbers), WIDTH), -1, np.int64)
    table[:, 0], table[:, _INTENDED] = numbers, intended_ns
    return table
