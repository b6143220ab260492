"""Sample the outputs of calls during a measurement, for comparison with the reference outputs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

MAX_ROWS = 64
_MAX_BYTES = 64 * 2**20
_INTERVAL_GROWTH = 1.1


class OutputSampler:
    """Sampler of the first output of calls. The intervals between sampled calls grow, so that the
    samples are spread over a measurement of any length.

    Only references to the output arrays are stored. Several threads may sample concurrently, in
    which case one or two additional outputs are stored."""

    def __init__(self, *, is_enabled: bool) -> None:
        self.next_index = 0 if is_enabled else sys.maxsize
        self._samples: list[tuple[int, Array]] = []
        self._row_count = self._size_bytes = 0

    def add(self, index: int, start: int, outputs: Sequence[Array]) -> int:
        """Store the first output of call `index`, which began at row `start`. Return the index of
        the next call to sample."""
        output = outputs[0]
        self._samples.append((start, output))
        self._row_count += len(output) if output.ndim else 1
        self._size_bytes += output.nbytes
        has_enough_samples = self._row_count >= MAX_ROWS or self._size_bytes >= _MAX_BYTES
        self.next_index = sys.maxsize if has_enough_samples else max(index + 1, int(index * _INTERVAL_GROWTH) + 1)
        return self.next_index

    def pair_with_reference(self, reference: Array, batch: int) -> tuple[Array, Array] | None:
        """Return the sampled outputs and the reference outputs for the same rows; `None` if no
        sampled row has a reference, or if the outputs do not have one entry per row."""
        pairs = [
            (output, reference[start : start + batch])
            for start, output in self._samples
            if output.ndim and len(output) == batch and start + batch <= len(reference)
        ]
        if not pairs or any(sampled_rows.shape != reference_rows.shape for sampled_rows, reference_rows in pairs):
            return None
        return np.concatenate([sampled_rows for sampled_rows, _ in pairs]), np.concatenate(
            [reference_rows for _, reference_rows in pairs]
        )
