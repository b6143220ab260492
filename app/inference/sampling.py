"""Outputs taken out of the measured run, to be held against the reference's."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

MOST_ROWS = 64
_MOST_BYTES = 64 * 2**20
_GROWTH = 1.1


class KeptOutputs:
    """The first output of calls ever further apart, so that they are spread over a run of any length. Keeping one is
    keeping a reference; threads may do so at once, and then one or two more are kept."""

    def __init__(self, *, is_wanted: bool) -> None:
        self.next = 0 if is_wanted else sys.maxsize
        self._kept: list[tuple[int, Array]] = []
        self._rows = self._bytes = 0

    def keep(self, index: int, start: int, outputs: Sequence[Array]) -> int:
        """Of call `index`, whose first row is `start`. Returns the index of the next call to be kept."""
        output = outputs[0]
        self._kept.append((start, output))
        self._rows += len(output) if output.ndim else 1
        self._bytes += output.nbytes
        is_enough = self._rows >= MOST_ROWS or self._bytes >= _MOST_BYTES
        self.next = sys.maxsize if is_enough else max(index + 1, int(index * _GROWTH) + 1)
        return self.next

    def beside(self, reference: Array, batch: int) -> tuple[Array, Array] | None:
        """Rows kept and the reference's of the same inputs; None where no row has one, or outputs are no rows."""
        pairs = [
            (output, reference[start : start + batch])
            for start, output in self._kept
            if output.ndim and len(output) == batch and start + batch <= len(reference)
        ]
        if not pairs or any(ours.shape != theirs.shape for ours, theirs in pairs):
            return None
        return np.concatenate([ours for ours, _ in pairs]), np.concatenate([theirs for _, theirs in pairs])
