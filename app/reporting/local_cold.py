"""Cold starts of a variant, by their parts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from app.records.local import ColdStartOf
from reports.local_model import ColdStartRow
from reports.model import Quantity

COLD_PARTS = ("process", "library load", "session build", "first inference", "in all")


def cold_rows(starts: Sequence[ColdStartOf]) -> tuple[ColdStartRow, ...]:
    """Anew, and with the optimised model kept, where it was started so."""
    kinds = ((is_cached, [one for one in starts if one.is_cached is is_cached]) for is_cached in (False, True))
    return tuple(_row(is_cached, some) for is_cached, some in kinds if some)


def _row(is_cached: bool, starts: Sequence[ColdStartOf]) -> ColdStartRow:
    parts = np.array(
        [[one.process_ms, one.library_load_ms, one.session_build_ms, one.first_inference_ms] for one in starts]
    )
    whole = np.column_stack((parts, parts.sum(axis=1)))
    return ColdStartRow(
        is_cached=is_cached,
        starts=len(starts),
        p50=_quantities(np.median(whole, axis=0), len(starts)),
        worst=_quantities(whole.max(axis=0), len(starts)),
    )


def _quantities(values_ms: np.ndarray[tuple[int, ...], np.dtype[np.float64]], starts: int) -> tuple[Quantity, ...]:
    return tuple(Quantity(float(value), "ms", n=starts) for value in values_ms)
