"""Rows from a .csv file with a header, or from an .npz file with one array per input.

A .csv file has one column per input of the model, or all columns together feed the only input.
Labels are optional."""

from __future__ import annotations

import math
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
from pyarrow import csv

from app.errors import UsageError
from app.inference.datasets.casting import MAX_BYTES, NO_LABELS_HINT, as_input, as_labels, format_shape, matches_shape
from app.inference.rows import Array, StoredRows
from app.inference.tensor_spec import TensorSpec, printable


def load_arrays(path: Path, inputs: tuple[TensorSpec, ...], label: str | None, max_batch: int) -> StoredRows:
    """Load rows from an .npz file.

    If some inputs of the model have a free first axis, the arrays of all other inputs are passed
    whole to each call. Otherwise, an array is passed whole if it has the shape of the input and a
    first axis that differs from the number of rows. The number of rows is that of the labels or,
    without labels, of the first array larger than its input."""
    has_free = any(spec.shape[:1] == (-1,) for spec in inputs)
    arrays = _read_arrays(path, [spec.name for spec in inputs], label)
    labels = None if label is None else as_labels(arrays[label], path.name)
    rows = _find_rows_axis(arrays, inputs) if labels is None else labels.shape
    feeds, whole_inputs = {}, {}
    for spec in inputs:
        values = arrays[spec.name]
        may_be_rows = spec.shape[:1] == (-1,) if has_free else spec.shape != ()
        if may_be_rows and values.shape[:1] == rows and matches_shape(values.shape[1:], spec.shape[1:]):
            feeds[spec.name] = as_input(values, spec, path.name)
        elif spec.shape[:1] != (-1,) and matches_shape(values.shape, spec.shape):
            whole_inputs[spec.name] = as_input(values, spec, path.name)
        else:
            row_text = f"{rows[0] if rows else 'no'} {'rows' if labels is None else 'labels'}"
            raise _build_shape_error(path, spec, values, row_text)
    if not feeds or not rows[0]:
        raise UsageError(f"{path.name} has no rows", hint="The first axis of the arrays must be the row.")
    return StoredRows(feeds, labels, max_batch=max_batch, whole_inputs=whole_inputs)


def _find_rows_axis(arrays: dict[str, Array], inputs: tuple[TensorSpec, ...]) -> tuple[int, ...]:
    """Return the length of the row axis of unlabeled arrays, as a tuple; empty if no array can
    contain rows."""
    free_inputs = [spec for spec in inputs if spec.shape[:1] == (-1,)]
    fixed_inputs = [spec for spec in inputs if spec.shape]
    larger_inputs = (spec for spec in fixed_inputs if not matches_shape(arrays[spec.name].shape, spec.shape))
    row_input = next(iter(free_inputs), None) or next(larger_inputs, None) or next(iter(fixed_inputs), None)
    return () if row_input is None else arrays[row_input.name].shape[:1]


def _read_arrays(path: Path, names: list[str], label: str | None) -> dict[str, Array]:
    required = names if label is None else [*names, label]
    try:
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("it is a single array")
            missing = [name for name in required if name not in archive]
            if not missing:
                _check_size(path, file)
                return {name: np.asarray(archive[name]) for name in required}
            names_in_file = archive.files
    except UsageError:
        raise
    except Exception as error:  # For a corrupted file, its readers may raise any error.
        raise UsageError(f"{path} is not a valid .npz file of arrays: {_first_line(error)}") from error
    raise UsageError(
        f"{path.name} has no array named {_format_array_names(missing)}; "
        f"it contains {_format_array_names(names_in_file) or 'none'}",
        hint="Rows are one array per model input"
        + (f", and the labels, {NO_LABELS_HINT}" if label in missing else "."),
    )


def _check_size(path: Path, file: BinaryIO) -> None:
    size = sum(zip_entry.file_size for zip_entry in zipfile.ZipFile(file).infolist())
    if size > MAX_BYTES:
        raise UsageError(f"{path.name} unpacks to {size / 2**30:,.1f} GiB, above the maximum of 2 GiB")


def _build_shape_error(path: Path, spec: TensorSpec, values: Array, row_text: str) -> UsageError:
    return UsageError(
        f"{printable(spec.name)} is {format_shape(values.shape)} in {path.name}, with {row_text}, but the model "
        f"needs {format_shape(spec.shape)}",
        hint="The first axis must be the row, with the same number of rows in every array.",
    )


def _format_array_names(names: list[str]) -> str:
    return ", ".join(map(printable, names))


def _first_line(error: BaseException) -> str:
    return printable(next(iter(str(error).splitlines()), type(error).__name__))


_MAX_FILE_BYTES = 2**30


def load_table(path: Path, inputs: tuple[TensorSpec, ...], label: str | None, max_batch: int) -> StoredRows:
    """Load rows from a .csv file.

    If every input has a column with its name, each input is fed from its column. Otherwise, the
    only input is fed from all columns except the labels, in the order of the file."""
    columns = _read_columns(path)
    if label is not None and label not in columns:
        raise UsageError(
            f"{path.name} has no column {printable(label)}; its columns are {_format_names(columns)}",
            hint=f"Set the column of the labels, {NO_LABELS_HINT}",
        )
    labels = None if label is None else as_labels(columns.pop(label), path.name)
    if all(spec.name in columns for spec in inputs):
        feeds = {spec.name: _single_column(columns[spec.name], spec, path) for spec in inputs}
    elif len(inputs) == 1:
        feeds = {
            inputs[0].name: _join_columns(
                columns, inputs[0], path, suffix="" if label is None else " beside the labels"
            )
        }
    else:
        missing = [spec.name for spec in inputs if spec.name not in columns]
        raise UsageError(
            f"{path.name} has no column {_format_names(missing)}, but the model has {len(inputs)} inputs",
            hint="Add a column for each input, with the name of the input, or use an .npz.",
        )
    return StoredRows(feeds, labels, max_batch=max_batch)


def _read_columns(path: Path) -> dict[str, Array]:
    if path.stat().st_size > _MAX_FILE_BYTES:
        raise UsageError(f"{path.name} is larger than 1 GiB")
    try:
        table = csv.read_csv(path)
        names = table.column_names
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path.name} is not a valid table: {printable(str(error).splitlines()[0])}") from error
    if not table.num_rows:
        raise UsageError(f"{path.name} has no rows", hint="Add one row per line after the header.")
    duplicates = sorted(name for name, count in Counter(names).items() if count > 1)
    if duplicates:
        raise UsageError(f"{path.name} has duplicate columns {_format_names(duplicates)}")
    return {name: _read_values(table.column(name), name, path) for name in names}


def _read_values(column: Any, name: str, path: Path) -> Array:
    if column.null_count:
        row = column.is_null().to_pylist().index(True) + 1
        raise UsageError(f"row {row} of {path.name} has no value in the column {printable(name)}")
    if pa.types.is_binary(column.type):
        raise UsageError(f"the column {printable(name)} of {path.name} contains neither numbers nor strings")
    return np.asarray(column.to_numpy())


def _single_column(values: Array, spec: TensorSpec, path: Path) -> Array:
    if not spec.shape or any(axis not in (-1, 1) for axis in spec.shape[1:]):
        raise UsageError(
            f"the column {printable(spec.name)} has one value per row, but the model needs {format_shape(spec.shape)}"
        )
    return as_input(values, spec, path.name, is_decimal=True).reshape(-1, *[1] * (len(spec.shape) - 1))


def _join_columns(columns: dict[str, Array], spec: TensorSpec, path: Path, *, suffix: str) -> Array:
    row_shape = spec.shape[1:]
    is_compatible = bool(spec.shape) and (
        row_shape == (-1,) or (-1 not in row_shape and math.prod(row_shape) == len(columns))
    )
    if not is_compatible:
        noun = "column" if len(columns) == 1 else "columns"
        raise UsageError(
            f"{path.name} has {len(columns)} {noun}{suffix}, but the model needs {format_shape(spec.shape)} in "
            f"{printable(spec.name)}"
        )
    text_columns = [name for name, values in columns.items() if values.dtype.kind not in "fiub"]
    if text_columns and spec.dtype != "object":
        raise UsageError(f"the column {printable(text_columns[0])} of {path.name} contains values that are not numbers")
    rows = len(next(iter(columns.values())))
    if rows * len(columns) * np.dtype(spec.dtype).itemsize > MAX_BYTES:
        raise UsageError(f"{path.name} has more than 2 GiB of numbers")
    matrix: Array = np.empty((rows, len(columns)), np.dtype(spec.dtype))
    for index, values in enumerate(columns.values()):
        matrix[:, index] = as_input(values, spec, path.name, is_decimal=True)
    return matrix.reshape(rows, *row_shape) if row_shape != (-1,) else matrix


def _format_names(names: Any) -> str:
    display_names = [printable(name) for name in names]
    return ", ".join(display_names[:10]) + (f" and {len(display_names) - 10} more" if len(display_names) > 10 else "")
