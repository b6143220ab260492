"""Which rows of a labelled set a model is calibrated with, so that it is not scored by them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_LARGEST_SHARE = 4


def calibration_rows(rows: int, wanted: int) -> npt.NDArray[np.int64]:
    """Places spread evenly over the set, whose rows may be sorted by class: as many as wanted, or a quarter of all."""
    count = max(1, min(wanted, rows // _LARGEST_SHARE))
    return np.unique(np.linspace(0, rows - 1, count).astype(np.int64))
