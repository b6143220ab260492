"""Rows from a .csv with a header: a column for each input of the model, or all columns for its only one."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv

from app.errors import UsageError
from app.inference.datasets.casting import MOST_BYTES, OR_NO_LABELS, as_input, as_labels, shown_shape
from app.inference.printable import printable
from app.inference.rows import Array, StoredRows
from app.inference.tensor_spec import TensorSpec

_MOST_FILE_BYTES = 2**30


def load_table(path: Path, inputs: tuple[TensorSpec, ...], label: str | None, largest_batch: int) -> StoredRows:
    """Where every input is named like a column, each is fed its own; else the only input is fed all columns but the
    labels', if there are any, in the file's order."""
    columns = _columns(path)
    if label is not None and label not in columns:
        raise UsageError(
            f"{path.name} has no column {printable(label)}; it has {_named(columns)}",
            hint=f"Name the labels' column, {OR_NO_LABELS}",
        )
    labels = None if label is None else as_labels(columns.pop(label), path.name)
    if all(spec.name in columns for spec in inputs):
        feeds = {spec.name: _single(columns[spec.name], spec, path) for spec in inputs}
    elif len(inputs) == 1:
        feeds = {
            inputs[0].name: _joined(columns, inputs[0], path, beside="" if label is None else " beside the labels")
        }
    else:
        absent = [spec.name for spec in inputs if spec.name not in columns]
        raise UsageError(
            f"{path.name} has no column {_named(absent)}, and the model has {len(inputs)} inputs",
            hint="Name a column like each input, or use an .npz.",
        )
    return StoredRows(feeds, labels, largest_batch=largest_batch)


def _columns(path: Path) -> dict[str, Array]:
    if path.stat().st_size > _MOST_FILE_BYTES:
        raise UsageError(f"{path.name} has more than 1 GiB")
    try:
        table = csv.read_csv(path)
        names = table.column_names
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path.name} is not a table: {printable(str(error).splitlines()[0])}") from error
    if not table.num_rows:
        raise UsageError(f"{path.name} holds no rows", hint="Write one row a line, after the header.")
    twice = sorted(name for name, times in Counter(names).items() if times > 1)
    if twice:
        raise UsageError(f"{path.name} has more than one column {_named(twice)}")
    return {name: _values(table.column(name), name, path) for name in names}


def _values(column: Any, name: str, path: Path) -> Array:
    if column.null_count:
        row = column.is_null().to_pylist().index(True) + 1
        raise UsageError(f"row {row} of {path.name} has no value in the column {printable(name)}")
    if pa.types.is_binary(column.type):
        raise UsageError(f"the column {printable(name)} of {path.name} is neither numbers nor text")
    return np.asarray(column.to_numpy())


def _single(values: Array, spec: TensorSpec, path: Path) -> Array:
    if not spec.shape or any(axis not in (-1, 1) for axis in spec.shape[1:]):
        raise UsageError(
            f"the column {printable(spec.name)} has one value a row; the model takes {shown_shape(spec.shape)}"
        )
    return as_input(values, spec, path.name, is_decimal=True).reshape(-1, *[1] * (len(spec.shape) - 1))


def _joined(columns: dict[str, Array], spec: TensorSpec, path: Path, *, beside: str) -> Array:
    wanted = spec.shape[1:]
    has_room = bool(spec.shape) and (wanted == (-1,) or (-1 not in wanted and math.prod(wanted) == len(columns)))
    if not has_room:
        raise UsageError(
            f"{path.name} has {len(columns)} columns{beside}; "
            f"the model takes {shown_shape(spec.shape)} in {printable(spec.name)}"
        )
    words = [name for name, values in columns.items() if values.dtype.kind not in "fiub"]
    if words and spec.dtype != "object":
        raise UsageError(f"the column {printable(words[0])} of {path.name} is not all numbers")
    rows = len(next(iter(columns.values())))
    if rows * len(columns) * np.dtype(spec.dtype).itemsize > MOST_BYTES:
        raise UsageError(f"{path.name} holds more than 2 GiB of numbers")
    joined: Array = np.empty((rows, len(columns)), np.dtype(spec.dtype))
    for place, values in enumerate(columns.values()):
        joined[:, place] = as_input(values, spec, path.name, is_decimal=True)
    return joined.reshape(rows, *wanted) if wanted != (-1,) else joined


def _named(names: Any) -> str:
    shown = [printable(name) for name in names]
    return ", ".join(shown[:10]) + (f" and {len(shown) - 10} more" if len(shown) > 10 else "")
