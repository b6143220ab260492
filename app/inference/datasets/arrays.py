"""Rows from an .npz: one array for each input of the model, and the labels where there are any."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import BinaryIO

import numpy as np

from app.errors import UsageError
from app.inference.datasets.casting import MOST_BYTES, OR_NO_LABELS, as_input, as_labels, fits, shown_shape
from app.inference.printable import printable
from app.inference.rows import Array, StoredRows
from app.inference.tensor_spec import TensorSpec


def load_arrays(path: Path, inputs: tuple[TensorSpec, ...], label: str | None, largest_batch: int) -> StoredRows:
    """In a model with free first axes the other inputs are given whole, in one without them those that have the shape
    of the input and not the rows of the labels, or without labels of the first array that is more than its input."""
    has_free = any(spec.shape[:1] == (-1,) for spec in inputs)
    arrays = _arrays(path, [spec.name for spec in inputs], label)
    labels = None if label is None else as_labels(arrays[label], path.name)
    rows = _rows_axis(arrays, inputs) if labels is None else labels.shape
    feeds, whole = {}, {}
    for spec in inputs:
        values = arrays[spec.name]
        may_be_rows = spec.shape[:1] == (-1,) if has_free else spec.shape != ()
        if may_be_rows and values.shape[:1] == rows and fits(values.shape[1:], spec.shape[1:]):
            feeds[spec.name] = as_input(values, spec, path.name)
        elif spec.shape[:1] != (-1,) and fits(values.shape, spec.shape):
            whole[spec.name] = as_input(values, spec, path.name)
        else:
            beside = f"{rows[0] if rows else 'no'} {'rows' if labels is None else 'labels'}"
            raise _unfit(path, spec, values, beside)
    if not feeds or not rows[0]:
        raise UsageError(f"{path.name} holds no rows", hint="The first axis of the arrays is the row.")
    return StoredRows(feeds, labels, largest_batch=largest_batch, whole=whole)


def _rows_axis(arrays: dict[str, Array], inputs: tuple[TensorSpec, ...]) -> tuple[int, ...]:
    """Of arrays without labels; empty where none can hold rows."""
    free = [spec for spec in inputs if spec.shape[:1] == (-1,)]
    fixed = [spec for spec in inputs if spec.shape]
    larger = (spec for spec in fixed if not fits(arrays[spec.name].shape, spec.shape))
    chosen = next(iter(free), None) or next(larger, None) or next(iter(fixed), None)
    return () if chosen is None else arrays[chosen.name].shape[:1]


def _arrays(path: Path, names: list[str], label: str | None) -> dict[str, Array]:
    wanted = names if label is None else [*names, label]
    try:
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("it is a single array")
            absent = [name for name in wanted if name not in archive]
            if not absent:
                _check_size(path, file)
                return {name: np.asarray(archive[name]) for name in wanted}
            kept = archive.files
    except UsageError:
        raise
    except Exception as error:  # a damaged file raises whatever its readers happen on
        raise UsageError(f"{path} is not an .npz of plain arrays: {_first_line(error)}") from error
    raise UsageError(
        f"{path.name} has no array named {_named(absent)}; it has {_named(kept) or 'none'}",
        hint="Rows are one array for each input of the model"
        + (f", and the labels, {OR_NO_LABELS}" if label in absent else "."),
    )


def _check_size(path: Path, file: BinaryIO) -> None:
    size = sum(member.file_size for member in zipfile.ZipFile(file).infolist())
    if size > MOST_BYTES:
        raise UsageError(f"{path.name} unpacks to {size / 2**30:,.1f} GiB, and 2 GiB are the most")


def _unfit(path: Path, spec: TensorSpec, values: Array, beside: str) -> UsageError:
    return UsageError(
        f"{printable(spec.name)} is {shown_shape(values.shape)} in {path.name}, with {beside}; "
        f"the model takes {shown_shape(spec.shape)}",
        hint="The first axis is the row, and every array has the same number of rows.",
    )


def _named(names: list[str]) -> str:
    return ", ".join(map(printable, names))


def _first_line(error: BaseException) -> str:
    return printable(next(iter(str(error).splitlines()), type(error).__name__))
