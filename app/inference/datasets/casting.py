"""A user's values in the types that a model takes, where that loses nothing."""

from __future__ import annotations

import numpy as np

from app.errors import UsageError
from app.inference.rows import Array
from app.inference.tensor_spec import TensorSpec, printable

MOST_BYTES = 2 * 2**30
"""Of all rows, as the model takes them."""
OR_NO_LABELS = "or say labels: null in the profile where there are none."


def as_input(values: Array, spec: TensorSpec, source: str, *, is_decimal: bool = False) -> Array:
    """Raises UsageError, with what `source` has, where a value is not the same in the model's type.

    `is_decimal`: the values were written in decimals, so that the nearest number of the model's is the one meant.
    """
    dtype, kind = np.dtype(spec.dtype), values.dtype.kind
    if values.dtype == dtype:
        return values
    if (kind in "UO") != (dtype.kind == "O") or kind not in "fiubUO":
        raise _unlike(values, spec, source)
    if dtype.kind == "O":
        return values.astype(object)
    with np.errstate(over="ignore", invalid="ignore"):
        cast = values.astype(dtype)
        is_kept = (
            np.isfinite(cast) | ~np.isfinite(values) if is_decimal and dtype.kind == "f" else _is_same(cast, values)
        )
    if not is_kept.all():
        raise _unlike(values, spec, source)
    return cast


def as_labels(values: Array, source: str) -> Array:
    """One number a row: int64 of whole ones, else float64. Raises UsageError for what is neither."""
    if values.ndim != 1 or values.dtype.kind not in "fiub":
        raise UsageError(
            f"the labels of {source} are not one number a row",
            hint="A class is a whole number from 0, an amount has a point.",
        )
    labels = values.astype(np.float64 if values.dtype.kind == "f" else np.int64)
    if not np.isfinite(labels).all():
        raise UsageError(f"row {int(np.argmin(np.isfinite(labels))) + 1} of {source} has a label that is no number")
    return labels


def shown_shape(shape: tuple[int, ...]) -> str:
    """As in `any x 3 x 224`."""
    return " x ".join("any" if axis == -1 else str(axis) for axis in shape) or "a single number"


def fits(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    return len(shape) == len(wanted) and all(want in (-1, axis) for axis, want in zip(shape, wanted, strict=True))


def _is_same(cast: Array, values: Array) -> Array:
    back = cast.astype(values.dtype)
    return np.asarray((back == values) | ((values != values) & (back != back)))  # NaN is NaN


def _unlike(values: Array, spec: TensorSpec, source: str) -> UsageError:
    return UsageError(
        f"{printable(spec.name)} is {values.dtype} in {source}; the model takes {spec.dtype}",
        hint="Write the values in the model's type, or such as lose nothing in it.",
    )
