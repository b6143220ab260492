"""Labelled rows from an .npz, a .csv, or a folder of classes."""

from __future__ import annotations

from pathlib import Path

from app.errors import UsageError
from app.inference.rows import LabelledRows
from app.inference.tensor_spec import TensorSpec


def load_labelled(
    path: Path, inputs: tuple[TensorSpec, ...], label: str = "label", *, largest_batch: int = 1
) -> LabelledRows:
    """`label` is the name of the labels' array or column; a folder's labels are the places of its class folders.

    Whole numbers are classes, others are amounts. Values are cast to the model's types where that loses nothing; raises
    UsageError with one sentence for whatever does not fit.
    """
    if not path.exists():
        raise UsageError(f"there are no labelled rows at {path}", hint="Give an .npz, a .csv, or a folder of classes.")
    if path.is_dir():
        from app.inference.datasets.class_folders import load_class_folders

        return load_class_folders(path, inputs, largest_batch)
    if path.suffix.casefold() == ".csv":
        from app.inference.datasets.table import load_table

        return load_table(path, inputs, label, largest_batch)
    from app.inference.datasets.arrays import load_arrays

    return load_arrays(path, inputs, label, largest_batch)
