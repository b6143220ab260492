"""Load labeled or unlabeled rows from an .npz file, a .csv file or a folder. Also select the
labeled rows that calibrate a model and are excluded from scoring."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from app.errors import UsageError
from app.inference.rows import StoredRows
from app.inference.tensor_spec import TensorSpec

_MAX_SHARE_DIVISOR = 4


def select_calibration_rows(row_count: int, max_rows: int) -> npt.NDArray[np.int64]:
    """Return the indices of the calibration rows: at most `max_rows`, and at most a quarter of all
    rows. The indices are evenly spaced, because rows may be sorted by class."""
    count = max(1, min(max_rows, row_count // _MAX_SHARE_DIVISOR))
    return np.unique(np.linspace(0, row_count - 1, count).astype(np.int64))


def load_labeled_rows(
    path: Path, inputs: tuple[TensorSpec, ...], label: str | None = "label", *, max_batch: int = 1
) -> StoredRows:
    """Load rows and their labels from an .npz file, a .csv file or a folder.

    `label` is the name of the array or column with the labels; in a folder, the labels are the
    class indices of its subfolders. If `label` is `None`, there are no labels: all columns are
    inputs, and the files may be in the folder itself. Integer labels are classes, other numbers are
    continuous values. Values are cast to the data types of the model if possible without loss.
    Raises UsageError for data that does not fit the model."""
    if not path.exists():
        raise UsageError(
            f"no rows were found at {path}", hint="Set the path of an .npz file, a .csv file or a folder of files."
        )
    if path.is_dir():
        from app.inference.datasets.class_folders import load_class_folders

        return load_class_folders(path, inputs, max_batch, is_labeled=label is not None)
    if path.suffix.casefold() == ".csv":
        from app.inference.datasets.table import load_table

        return load_table(path, inputs, label, max_batch)
    from app.inference.datasets.table import load_arrays

    return load_arrays(path, inputs, label, max_batch)
