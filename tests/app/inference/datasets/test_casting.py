from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from app.errors import UsageError
from app.inference.datasets.casting import cast_input, cast_labels
from app.inference.tensor_spec import TensorSpec


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (np.array([0.5, math.nan, math.inf]), "float32"),
        (np.array([0, 2**24]), "float32"),
        (np.array([1.0, 2.0]), "int64"),
        (np.array([0, 255]), "uint8"),
        (np.array([True, False]), "float32"),
        (np.array([0, 1]), "bool"),
        (np.array(["a", "bc"]), "object"),
        (np.array([0.5], np.float16), "float16"),
    ],
)
def test_losslessly_convertible_values_are_cast_to_the_input_type(values: npt.NDArray[Any], dtype: str) -> None:
    cast = cast_input(values, TensorSpec("x", dtype, (-1,)), "rows")
    assert cast.dtype == np.dtype(dtype)
    assert np.array_equal(cast.astype(values.dtype), values, equal_nan=values.dtype.kind == "f")


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (np.array([0.1]), "float32"),
        (np.array([2**24 + 1]), "float32"),
        (np.array([1e300]), "float32"),
        (np.array([1.5]), "int64"),
        (np.array([math.nan]), "int64"),
        (np.array([-1]), "uint8"),
        (np.array([256]), "uint8"),
        (np.array([2]), "bool"),
        (np.array(["1"]), "float32"),
        (np.array([1]), "object"),
        (np.array([b"a"]), "object"),
        (np.array([1 + 1j]), "float32"),
    ],
)
def test_values_that_a_cast_would_change_are_rejected(values: npt.NDArray[Any], dtype: str) -> None:
    with pytest.raises(UsageError, match=f"x is {values.dtype} in rows, but the model needs {dtype}"):
        cast_input(values, TensorSpec("x", dtype, (-1,)), "rows")


def test_decimals_are_rounded_to_the_nearest_float32() -> None:
    spec = TensorSpec("x", "float32", (-1,))
    assert cast_input(np.array([0.1]), spec, "rows", is_decimal=True)[0] == np.float32(0.1)
    with pytest.raises(UsageError):
        cast_input(np.array([1e300]), spec, "rows", is_decimal=True)
    with pytest.raises(UsageError):
        cast_input(np.array([1.5]), TensorSpec("x", "int64", (-1,)), "rows", is_decimal=True)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [(np.array([1, 2], np.uint8), "int64"), (np.array([True]), "int64"), (np.array([0.5], np.float16), "float64")],
)
def test_numeric_labels_are_cast_to_int64_or_float64(values: npt.NDArray[Any], dtype: str) -> None:
    assert cast_labels(values, "rows").dtype == np.dtype(dtype)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([[1]]), "not one number per row"),
        (np.array(["cat"]), "not one number per row"),
        (np.array(1), "not one number per row"),
        (np.array([1.0, math.nan]), "row 2 of rows has a label that is not a finite number"),
    ],
)
def test_labels_that_are_not_finite_numbers_per_row_are_rejected(values: npt.NDArray[Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        cast_labels(values, "rows")
