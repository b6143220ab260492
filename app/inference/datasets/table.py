"""Load rows from a .csv file with a header, or from an .npz file with one array per model input.

A .csv file has one column per model input, or its columns together feed a single input. Labels are
optional."""

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
from app.inference.datasets.casting import (
    MAX_BYTES,
    NO_LABELS_HINT,
    cast_input,
    cast_labels,
    format_shape,
    matches_shape,
)
from app.inference.rows import Array, StoredRows
from app.inference.tensor_spec import TensorSpec, printable
from loadgen.regular_files import open_regular


def load_arrays(path: Path, inputs: tuple[TensorSpec, ...], label: str | None, max_batch: int) -> StoredRows:
    """Load rows from an .npz file, with one array per model input.

    If some inputs of the model have a dynamic first axis, the arrays of all other inputs are passed
    whole to each call. Otherwise, an array is passed whole if it has the shape of its input and its
    first axis differs from the number of rows. The number of rows is the number of labels. Without
    labels, it is the length of the array of the first input with a dynamic first axis; without such
    an input, it is the length of the first array that does not match the shape of its input. Raises
    UsageError for arrays that do not fit the model."""
    has_dynamic_first_axis = any(spec.shape[:1] == (-1,) for spec in inputs)
    arrays = _read_arrays(path, [spec.name for spec in inputs], label)
    labels = None if label is None else cast_labels(arrays[label], path.name)
    rows_shape = _find_rows_shape(arrays, inputs) if labels is None else labels.shape
    feeds, whole_inputs = {}, {}
    for spec in inputs:
        values = arrays[spec.name]
        may_be_rows = spec.shape[:1] == (-1,) if has_dynamic_first_axis else spec.shape != ()
        if may_be_rows and values.shape[:1] == rows_shape and matches_shape(values.shape[1:], spec.shape[1:]):
            feeds[spec.name] = cast_input(values, spec, path.name)
        elif spec.shape[:1] != (-1,) and matches_shape(values.shape, spec.shape):
            whole_inputs[spec.name] = cast_input(values, spec, path.name)
        else:
            row_text = f"{rows_shape[0] if rows_shape else 'no'} {'rows' if labels is None else 'labels'}"
            raise _build_shape_error(path, spec, values, row_text)
    if not feeds or not rows_shape[0]:
        raise UsageError(f"{path.name} has no rows", hint="The first axis of the arrays must be the row.")
    return StoredRows(feeds, labels, max_batch=max_batch, whole_inputs=whole_inputs)


def _find_rows_shape(arrays: dict[str, Array], inputs: tuple[TensorSpec, ...]) -> tuple[int, ...]:
    """Return the number of rows of unlabeled arrays, as a shape with one axis; an empty tuple if no
    array can contain rows."""
    dynamic_inputs = [spec for spec in inputs if spec.shape[:1] == (-1,)]
    fixed_inputs = [spec for spec in inputs if spec.shape]
    mismatched_inputs = (spec for spec in fixed_inputs if not matches_shape(arrays[spec.name].shape, spec.shape))
    row_input = next(iter(dynamic_inputs), None) or next(mismatched_inputs, None) or next(iter(fixed_inputs), None)
    return () if row_input is None else arrays[row_input.name].shape[:1]


def _read_arrays(path: Path, names: list[str], label: str | None) -> dict[str, Array]:
    required_names = names if label is None else [*names, label]
    try:
        with open_regular(path) as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("it is a single array")
            missing_names = [name for name in required_names if name not in archive]
            if not missing_names:
                _check_size(path, file)
                return {name: np.asarray(archive[name]) for name in required_names}
            names_in_file = archive.files
    except UsageError:
        raise
    except Exception as error:  # For a corrupted file, its readers may raise any error.
        raise UsageError(
            f"{path} is not a valid .npz file of arrays: {_extract_first_line(error)}",
            hint="Save the arrays again with numpy.savez.",
        ) from error
    raise UsageError(
        f"{path.name} has no array named {_format_array_names(missing_names)}; "
        f"it contains {_format_array_names(names_in_file) or 'none'}",
        hint="Store one array per model input"
        + (f", and one array with the labels, {NO_LABELS_HINT}" if label in missing_names else "."),
    )


def _check_size(path: Path, file: BinaryIO) -> None:
    size = sum(zip_entry.file_size for zip_entry in zipfile.ZipFile(file).infolist())
    if size > MAX_BYTES:
        raise UsageError(
            f"{path.name} unpacks to {size / 2**30:,.1f} GiB, above the maximum of 2 GiB", hint="Use fewer rows."
        )


def _build_shape_error(path: Path, spec: TensorSpec, values: Array, row_text: str) -> UsageError:
    return UsageError(
        f"input {printable(spec.name)} has shape {format_shape(values.shape)} in {path.name}, with {row_text}, but the "
        f"model needs shape {format_shape(spec.shape)}",
        hint="The first axis must be the row, and all arrays must have the same number of rows.",
    )


def _format_array_names(names: list[str]) -> str:
    return ", ".join(map(printable, names))


def _extract_first_line(error: BaseException) -> str:
    return printable(next(iter(str(error).splitlines()), type(error).__name__))


_MAX_FILE_BYTES = 2**30


def load_table(path: Path, inputs: tuple[TensorSpec, ...], label: str | None, max_batch: int) -> StoredRows:
    """Load rows from a .csv file.

    If every model input has a column with its name, each input is fed from its column. Otherwise,
    the model must have a single input, which is fed from all columns except the labels, in the
    order of the file. Raises UsageError for columns that do not fit the model."""
    columns = _read_columns(path)
    if label is not None and label not in columns:
        raise UsageError(
            f"{path.name} has no column {printable(label)}; its columns are {_format_names(columns)}",
            hint=f"Set the column of the labels, {NO_LABELS_HINT}",
        )
    labels = None if label is None else cast_labels(columns.pop(label), path.name)
    if all(spec.name in columns for spec in inputs):
        feeds = {spec.name: _convert_column(columns[spec.name], spec, path) for spec in inputs}
    elif len(inputs) == 1:
        feeds = {
            inputs[0].name: _join_columns(
                columns, inputs[0], path, suffix="" if label is None else " besides the labels"
            )
        }
    else:
        missing_names = [spec.name for spec in inputs if spec.name not in columns]
        raise UsageError(
            f"{path.name} has no column {_format_names(missing_names)}, but the model has {len(inputs)} inputs",
            hint="Add a column for each input, with the name of the input, or use an .npz file.",
        )
    return StoredRows(feeds, labels, max_batch=max_batch)


def _read_columns(path: Path) -> dict[str, Array]:
    if path.stat().st_size > _MAX_FILE_BYTES:
        raise UsageError(f"{path.name} is larger than 1 GiB", hint="Use fewer rows, or an .npz file.")
    try:
        table = csv.read_csv(path)
        names = table.column_names
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path.name} is not a valid .csv file: {printable(str(error).splitlines()[0])}",
            hint="Check the header and the number of columns in each line.",
        ) from error
    if not table.num_rows:
        raise UsageError(f"{path.name} has no rows", hint="Add one row per line after the header.")
    duplicates = sorted(name for name, count in Counter(names).items() if count > 1)
    if duplicates:
        raise UsageError(
            f"{path.name} has duplicate columns {_format_names(duplicates)}", hint="Use a unique name for each column."
        )
    return {name: _read_values(table.column(name), name, path) for name in names}


def _read_values(column: Any, name: str, path: Path) -> Array:
    if column.null_count:
        row = column.is_null().to_pylist().index(True) + 1
        raise UsageError(
            f"row {row} of {path.name} has no value in the column {printable(name)}",
            hint="Add the value, or remove the row.",
        )
    if pa.types.is_binary(column.type):
        raise UsageError(
            f"the column {printable(name)} of {path.name} contains neither numbers nor strings",
            hint="Remove the column, or convert it.",
        )
    return np.asarray(column.to_numpy())


def _convert_column(values: Array, spec: TensorSpec, path: Path) -> Array:
    if not spec.shape or any(dim not in (-1, 1) for dim in spec.shape[1:]):
        raise UsageError(
            f"the column {printable(spec.name)} has one value per row, but the model needs shape "
            f"{format_shape(spec.shape)}",
            hint="Use an .npz file for inputs with several values per row.",
        )
    return cast_input(values, spec, path.name, is_decimal=True).reshape(-1, *[1] * (len(spec.shape) - 1))


def _join_columns(columns: dict[str, Array], spec: TensorSpec, path: Path, *, suffix: str) -> Array:
    row_shape = spec.shape[1:]
    is_compatible = bool(spec.shape) and (
        row_shape == (-1,) or (-1 not in row_shape and math.prod(row_shape) == len(columns))
    )
    if not is_compatible:
        noun_text = "column" if len(columns) == 1 else "columns"
        raise UsageError(
            f"{path.name} has {len(columns)} {noun_text}{suffix}, but the model needs shape {format_shape(spec.shape)} "
            f"in input {printable(spec.name)}",
            hint="Use one column per value of a row, or an .npz file.",
        )
    text_columns = [name for name, values in columns.items() if values.dtype.kind not in "fiub"]
    if text_columns and spec.dtype != "object":
        raise UsageError(
            f"the column {printable(text_columns[0])} of {path.name} contains values that are not numbers",
            hint="Remove the column, or convert it to numbers.",
        )
    row_count = len(next(iter(columns.values())))
    if row_count * len(columns) * np.dtype(spec.dtype).itemsize > MAX_BYTES:
        raise UsageError(f"{path.name} needs more than 2 GiB as model input", hint="Use fewer rows.")
    matrix: Array = np.empty((row_count, len(columns)), np.dtype(spec.dtype))
    for index, values in enumerate(columns.values()):
        matrix[:, index] = cast_input(values, spec, path.name, is_decimal=True)
    return matrix.reshape(row_count, *row_shape) if row_shape != (-1,) else matrix


def _format_names(names: Any) -> str:
    printable_names = [printable(name) for name in names]
    return ", ".join(printable_names[:10]) + (
        f" and {len(printable_names) - 10} more" if len(printable_names) > 10 else ""
    )
