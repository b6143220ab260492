"""The last samples of several numbers, in memory taken once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from app.gui.charts.axes import Floats


class Ring:
    """Every sample is written twice, a capacity apart, so that what is kept always lies in one piece."""

    def __init__(self, capacity: int, names: Sequence[str]) -> None:
        self._capacity = capacity
        self._row_of = {name: row + 1 for row, name in enumerate(names)}
        self._cells = np.full((1 + len(names), 2 * capacity), np.nan)
        self._appended = 0

    def __len__(self) -> int:
        return min(self._appended, self._capacity)

    def append(self, x: float, *values: float | None) -> None:
        """`None` is a gap."""
        if len(values) != len(self._row_of):
            raise ValueError(f"{len(self._row_of)} values, not {len(values)}")
        place = self._appended % self._capacity
        for row, value in enumerate((x, *values)):
            number = np.nan if value is None else value
            self._cells[row, place] = self._cells[row, place + self._capacity] = number
        self._appended += 1

    def clear(self) -> None:
        self._appended = 0

    @property
    def x(self) -> Floats:
        """Oldest first; a view that the next append may change."""
        return self._kept(0)

    def column(self, name: str) -> Floats:
        """Beside `x`; a view that the next append may change."""
        return self._kept(self._row_of[name])

    def _kept(self, row: int) -> Floats:
        if self._appended <= self._capacity:
            return self._cells[row, : self._appended]
        start = self._appended % self._capacity
        return self._cells[row, start : start + self._capacity]
