"""What the rows of a running stage say: counted a few times a second, all that came since at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from app.analysis.rows import read_rows
from app.analysis.spans import FROM_INTENDED, is_inside, span_ms
from app.records.result import Objective

_COLUMNS = [
    "intended_ns", "sent_ns", "first_byte_ns", "end_ns", "error", "first_token_ns", "first_output_ns", "last_token_ns",
    "tokens_out",
]  # fmt: skip
_RECENT_ROWS = 1000


class Tally:
    """Reading rows costs some milliseconds of CPU, hardly more for ten thousand than for one: so they are kept until
    they are counted."""

    def __init__(self, slo: Sequence[Objective]) -> None:
        self._slo = slo
        self._counts_from_intended = any(objective.metric in FROM_INTENDED for objective in slo)
        self._batches: list[pa.RecordBatch] = []
        self._recent_lags_ms = np.empty(0)
        self.good: int | None = 0
        """Answered inside every SLO; None where a limit counts from a start that is not known."""
        self.errors = Counter[str]()

    def take(self, batch: pa.RecordBatch) -> None:
        if batch.num_rows:
            self._batches.append(batch.select(_COLUMNS))

    def count(self) -> None:
        if not self._batches:
            return
        rows = read_rows(pa.Table.from_batches(self._batches))
        self._batches = []
        self.errors.update(rows.errors())
        if self._counts_from_intended and not rows.knows_intended:
            self.good = None
        if self.good is not None:
            self.good += int(np.count_nonzero(is_inside(rows, self._slo)))
        lags_ms = span_ms(rows, "send_lag_ms")
        if lags_ms is not None:
            sent = lags_ms[~np.isnan(lags_ms)]
            self._recent_lags_ms = np.concatenate((self._recent_lags_ms, sent))[-_RECENT_ROWS:]

    @property
    def lag_p99_ms(self) -> float | None:
        """Of the last thousand; None where it cannot be known."""
        return float(np.percentile(self._recent_lags_ms, 99)) if self._recent_lags_ms.size else None
