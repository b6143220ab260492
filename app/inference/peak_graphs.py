"""Models of one operator that do nothing but arithmetic, or nothing but read memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper

_SIDE = 768
"""Of square matrices: large enough for the plateau of the kernels, small enough for many calls in a quarter second."""
_LEAST_BYTES = 4 * 2**20
"""Fewer are read in the time that starting a call takes."""
_MOST_BYTES = 128 * 2**20
"""More than most last-level caches hold, so that more would be read no slower."""


class PeakGraph(msgspec.Struct, frozen=True):
    """What one call does, by the model: `amount` FLOPs or bytes."""

    model: Path
    feeds: dict[str, npt.NDArray[Any]]
    amount: int
    what: str


def float_product(folder: Path) -> PeakGraph:
    """float32 by constant float32 weights, as in a layer."""
    dice = np.random.default_rng(0)
    weights = numpy_helper.from_array(dice.random((_SIDE, _SIDE), np.float32), "w")
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    model = _written(folder / "float.onnx", [node], [weights], (_SIDE, _SIDE))
    return PeakGraph(model, {"x": dice.random((_SIDE, _SIDE), np.float32)}, 2 * _SIDE**3, f"MatMul of {_SIDE}³ float32")


def integer_product(folder: Path) -> PeakGraph:
    """uint8 by constant int8 weights into int32, as in a quantised layer."""
    dice = np.random.default_rng(0)
    constants = [
        numpy_helper.from_array(dice.integers(-100, 100, (_SIDE, _SIDE)).astype(np.int8), "w"),
        numpy_helper.from_array(np.array(128, np.uint8), "x_zero"),
        numpy_helper.from_array(np.array(0, np.int8), "w_zero"),
    ]
    node = helper.make_node("MatMulInteger", ["x", "w", "x_zero", "w_zero"], ["y"])
    path = folder / "integer.onnx"
    model = _written(path, [node], constants, (_SIDE, _SIDE), TensorProto.UINT8, TensorProto.INT32)
    rows = dice.integers(0, 255, (_SIDE, _SIDE)).astype(np.uint8)
    return PeakGraph(model, {"x": rows}, 2 * _SIDE**3, f"MatMulInteger of {_SIDE}³ 8-bit numbers")


def weight_read(folder: Path, weight_bytes: int) -> PeakGraph:
    """One row by a square of about so many bytes of weights, but 4 MiB at least and 128 MiB at most: each is read once,
    as in a layer at batch 1, from the cache that holds them or from memory."""
    side = math.isqrt(min(max(weight_bytes, _LEAST_BYTES), _MOST_BYTES) // 4)
    constants = [
        numpy_helper.from_array(np.ones(1, np.float32), "one"),
        numpy_helper.from_array(np.array((side, side), np.int64), "shape"),
    ]
    # the runtime computes this once, as it opens the model: the weights become constants without a file of their size
    nodes = [helper.make_node("Expand", ["one", "shape"], ["w"]), helper.make_node("MatMul", ["x", "w"], ["y"])]
    model = _written(folder / "read.onnx", nodes, constants, (1, side))
    size_bytes = 4 * side**2
    feeds: dict[str, npt.NDArray[Any]] = {"x": np.ones((1, side), np.float32)}
    return PeakGraph(model, feeds, size_bytes, f"one row by {size_bytes / 2**20:.0f} MiB of weights")


def _written(
    path: Path,
    nodes: Sequence[Any],
    constants: Sequence[Any],
    shape: tuple[int, int],
    given: int = TensorProto.FLOAT,
    made: int = TensorProto.FLOAT,
) -> Path:
    rows = helper.make_tensor_value_info("x", given, shape)
    output = helper.make_tensor_value_info("y", made, ["rows", "columns"])
    graph = helper.make_graph(nodes, path.stem, [rows], [output], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path
