"""Ring buffer of fixed size for the most recent samples of several columns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from app.gui.charts.axes import Floats


class RingBuffer:
    """Ring buffer for samples with several columns. Every sample is written twice, `capacity`
    positions apart, so that the stored samples are always contiguous in memory."""

    def __init__(self, capacity: int, names: Sequence[str]) -> None:
        self._capacity = capacity
        self._row_by_name = {name: row + 1 for row, name in enumerate(names)}
        self._cells = np.full((1 + len(names), 2 * capacity), np.nan)
        self._append_count = 0

    def __len__(self) -> int:
        return min(self._append_count, self._capacity)

    def append(self, x: float, *values: float | None) -> None:
        """Append one sample. `None` is a gap. Raises `ValueError` if the number of values differs
        from the number of columns."""
        if len(values) != len(self._row_by_name):
            raise ValueError(f"a sample must have {len(self._row_by_name)} values (got {len(values)})")
        slot = self._append_count % self._capacity
        for row, value in enumerate((x, *values)):
            stored_value = np.nan if value is None else value
            self._cells[row, slot] = self._cells[row, slot + self._capacity] = stored_value
        self._append_count += 1

    def clear(self) -> None:
        self._append_count = 0

    @property
    def x(self) -> Floats:
        """X values, oldest first. The array is a view whose contents may change with the next
        append."""
        return self._contiguous_values(0)

    def column(self, name: str) -> Floats:
        """Return the values of a column, aligned with `x`. The array is a view whose contents may
        change with the next append."""
        return self._contiguous_values(self._row_by_name[name])

    def _contiguous_values(self, row: int) -> Floats:
        if self._append_count <= self._capacity:
            return self._cells[row, : self._append_count]
        start = self._append_count % self._capacity
        return self._cells[row, start : start + self._capacity]
