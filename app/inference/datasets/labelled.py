"""Rows from an .npz, a .csv, or a folder, with labels or without.

Which rows of a labelled set a model is calibrated with, so that it is not scored by them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from app.errors import UsageError
from app.inference.rows import StoredRows
from app.inference.tensor_spec import TensorSpec

_LARGEST_SHARE = 4


def calibration_rows(rows: int, wanted: int) -> npt.NDArray[np.int64]:
    """Places spread evenly over the set, whose rows may be sorted by class: as many as wanted, or a quarter of all."""
    count = max(1, min(wanted, rows // _LARGEST_SHARE))
    return np.unique(np.linspace(0, rows - 1, count).astype(np.int64))


def load_labelled(
    path: Path, inputs: tuple[TensorSpec, ...], label: str | None = "label", *, largest_batch: int = 1
) -> StoredRows:
    """`label` is the name of the labels' array or column; a folder's labels are the places of its class folders.
    None: there are none, so that all columns are inputs, and files may lie in the folder itself.

    Whole numbers are classes, others are amounts. Values are cast to the model's types where that loses nothing; raises
    UsageError with one sentence for whatever does not fit.
    """
    if not path.exists():
        raise UsageError(f"there are no rows at {path}", hint="Give an .npz, a .csv, or a folder of files.")
    if path.is_dir():
        from app.inference.datasets.class_folders import load_class_folders

        return load_class_folders(path, inputs, largest_batch, is_labelled=label is not None)
    if path.suffix.casefold() == ".csv":
        from app.inference.datasets.table import load_table

        return load_table(path, inputs, label, largest_batch)
    from app.inference.datasets.table import load_arrays

    return load_arrays(path, inputs, label, largest_batch)
