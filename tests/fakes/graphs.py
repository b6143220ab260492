"""Graphs whose costs can be computed by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

Shape = Sequence[int | str]


def graph_of(
    nodes: Sequence[Any],
    inputs: Mapping[str, Shape],
    weights: Mapping[str, Sequence[int]] | None = None,
    output: str = "y",
) -> Any:
    """A graph with float32 inputs and weights; the output's shape must be inferred."""
    stored = [numpy_helper.from_array(np.zeros(shape, np.float32), name) for name, shape in (weights or {}).items()]
    fed = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()]
    return helper.make_graph(nodes, "g", fed, [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)], stored)


def model_of(graph: Any, opset: int = 17) -> Any:
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def write_graph(path: Path, graph: Any, opset: int = 17) -> Path:
    path.write_bytes(model_of(graph, opset).SerializeToString())
    return path


def attention(path: Path) -> Path:
    """One head over `seq` steps of 8 features: three projections, scores, softmax and the weighted sum."""
    nodes = [
        *(helper.make_node("MatMul", ["x", f"w{part}"], [part]) for part in "qkv"),
        helper.make_node("Transpose", ["k"], ["kt"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["q", "kt"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["shares"], axis=-1),
        helper.make_node("MatMul", ["shares", "v"], ["y"]),
    ]
    return write_graph(path, graph_of(nodes, {"x": ["batch", "seq", 8]}, {f"w{part}": [8, 8] for part in "qkv"}))
