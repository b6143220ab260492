"""Convert values from a user's files to the data types of a model, if possible without loss."""

from __future__ import annotations

import numpy as np

from app.errors import UsageError
from app.inference.rows import Array
from app.inference.tensor_spec import TensorSpec, printable

MAX_BYTES = 2 * 2**30
"""Maximum total size of the input rows in bytes, after conversion to the data types of the
model."""
NO_LABELS_HINT = "or set labels: null in the profile if there are no labels."


def cast_input(values: Array, spec: TensorSpec, source: str, *, is_decimal: bool = False) -> Array:
    """Convert values to the data type of a model input.

    `source` is the file name for error messages. With `is_decimal`, the values were written as
    decimal numbers, and are rounded to the nearest number of the data type. Raises UsageError if
    the conversion would change a value in any other way."""
    dtype, kind = np.dtype(spec.dtype), values.dtype.kind
    if values.dtype == dtype:
        return values
    if (kind in "UO") != (dtype.kind == "O") or kind not in "fiubUO":
        raise _build_type_error(values, spec, source)
    if dtype.kind == "O":
        return values.astype(object)
    with np.errstate(over="ignore", invalid="ignore"):
        converted_values = values.astype(dtype)
        is_preserved = (
            np.isfinite(converted_values) | ~np.isfinite(values)
            if is_decimal and dtype.kind == "f"
            else _compare_round_trip(converted_values, values)
        )
    if not is_preserved.all():
        raise _build_type_error(values, spec, source)
    return converted_values


def cast_labels(values: Array, source: str) -> Array:
    """Convert labels, one per row, to int64 if they are integers, and otherwise to float64. Raises
    UsageError if labels are not finite numbers, or if a row has several labels."""
    if values.ndim != 1 or values.dtype.kind not in "fiub":
        raise UsageError(
            f"the labels of {source} are not one number per row",
            hint="Use integers from 0 for classes, and decimal numbers for continuous values.",
        )
    labels = values.astype(np.float64 if values.dtype.kind == "f" else np.int64)
    if not np.isfinite(labels).all():
        raise UsageError(
            f"row {int(np.argmin(np.isfinite(labels))) + 1} of {source} has a label that is not a finite number",
            hint="Correct the label, or remove the row.",
        )
    return labels


def format_shape(shape: tuple[int, ...]) -> str:
    """Format a shape for messages, such as `any x 3 x 224`, or `()` for a scalar."""
    return " x ".join("any" if length == -1 else str(length) for length in shape) or "()"


def matches_shape(shape: tuple[int, ...], expected_shape: tuple[int, ...]) -> bool:
    """Return True if a shape matches the expected shape, in which -1 stands for any length."""
    return len(shape) == len(expected_shape) and all(
        expected_length in (-1, length) for length, expected_length in zip(shape, expected_shape, strict=True)
    )


def _compare_round_trip(converted_values: Array, values: Array) -> Array:
    round_trip = converted_values.astype(values.dtype)
    # NaN counts as equal to NaN.
    return np.asarray((round_trip == values) | ((values != values) & (round_trip != round_trip)))


def _build_type_error(values: Array, spec: TensorSpec, source: str) -> UsageError:
    return UsageError(
        f"input {printable(spec.name)} is {values.dtype} in {source}, but the model needs {spec.dtype}",
        hint="Store the values in the model's data type, or in a type that converts without loss.",
    )
