"""Single-operator models that measure the peak rates of floating-point operations, integer
operations and memory reads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper

_MATRIX_SIDE = 768
"""Number of rows and columns of the square matrices: large enough for the kernels to reach their
peak rate, small enough for many calls in 0.25 s."""
_MIN_BYTES = 4 * 2**20
"""Minimum size of the weights in bytes. Reading smaller weights takes less time than the overhead
of a call."""
_MAX_BYTES = 128 * 2**20
"""Maximum size of the weights in bytes. It exceeds most last-level caches, so larger weights would
be read at the same bandwidth."""


class PeakGraph(msgspec.Struct, frozen=True):
    """A benchmark model with its inputs. `work_per_call` is the number of operations of one call,
    or the number of bytes that one call reads."""

    model: Path
    feeds: dict[str, npt.NDArray[Any]]
    work_per_call: int
    description: str


def build_float_product(folder: Path) -> PeakGraph:
    """Build a model that multiplies a float32 matrix by a float32 matrix of constant weights,
    as in a dense layer."""
    rng = np.random.default_rng(0)
    weights = numpy_helper.from_array(rng.random((_MATRIX_SIDE, _MATRIX_SIDE), np.float32), "w")
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    model = _write_model(folder / "float.onnx", [node], [weights], (_MATRIX_SIDE, _MATRIX_SIDE))
    return PeakGraph(
        model,
        {"x": rng.random((_MATRIX_SIDE, _MATRIX_SIDE), np.float32)},
        2 * _MATRIX_SIDE**3,
        f"MatMul of {_MATRIX_SIDE} × {_MATRIX_SIDE} float32 matrices",
    )


def build_integer_product(folder: Path) -> PeakGraph:
    """Build a model that multiplies a uint8 matrix by constant int8 weights into an int32 matrix,
    as in a quantized layer."""
    rng = np.random.default_rng(0)
    constants = [
        numpy_helper.from_array(rng.integers(-100, 100, (_MATRIX_SIDE, _MATRIX_SIDE)).astype(np.int8), "w"),
        numpy_helper.from_array(np.array(128, np.uint8), "x_zero"),
        numpy_helper.from_array(np.array(0, np.int8), "w_zero"),
    ]
    node = helper.make_node("MatMulInteger", ["x", "w", "x_zero", "w_zero"], ["y"])
    path = folder / "integer.onnx"
    model = _write_model(path, [node], constants, (_MATRIX_SIDE, _MATRIX_SIDE), TensorProto.UINT8, TensorProto.INT32)
    rows = rng.integers(0, 255, (_MATRIX_SIDE, _MATRIX_SIDE)).astype(np.uint8)
    return PeakGraph(
        model, {"x": rows}, 2 * _MATRIX_SIDE**3, f"MatMulInteger of {_MATRIX_SIDE} × {_MATRIX_SIDE} 8-bit matrices"
    )


def build_weight_read(folder: Path, weight_bytes: int) -> PeakGraph:
    """Build a model that multiplies one row by a square weight matrix of about `weight_bytes`
    bytes, limited to 4 to 128 MiB.

    As in a layer at batch size 1, each call reads each weight once, from a cache or from memory."""
    side = math.isqrt(min(max(weight_bytes, _MIN_BYTES), _MAX_BYTES) // 4)
    constants = [
        numpy_helper.from_array(np.ones(1, np.float32), "one"),
        numpy_helper.from_array(np.array((side, side), np.int64), "shape"),
    ]
    # The runtime evaluates Expand once when it opens the model, so the weights are constants
    # without a large file.
    nodes = [helper.make_node("Expand", ["one", "shape"], ["w"]), helper.make_node("MatMul", ["x", "w"], ["y"])]
    model = _write_model(folder / "read.onnx", nodes, constants, (1, side))
    size_bytes = 4 * side**2
    feeds: dict[str, npt.NDArray[Any]] = {"x": np.ones((1, side), np.float32)}
    return PeakGraph(model, feeds, size_bytes, f"MatMul of one row with {size_bytes / 2**20:.0f} MiB of weights")


def _write_model(
    path: Path,
    nodes: Sequence[Any],
    constants: Sequence[Any],
    shape: tuple[int, int],
    input_type: int = TensorProto.FLOAT,
    output_type: int = TensorProto.FLOAT,
) -> Path:
    input_info = helper.make_tensor_value_info("x", input_type, shape)
    output_info = helper.make_tensor_value_info("y", output_type, ["rows", "columns"])
    graph = helper.make_graph(nodes, path.stem, [input_info], [output_info], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path
