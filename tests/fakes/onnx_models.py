"""Small models whose outputs can be computed by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper


def doubling(path: Path, *, rows: int | str = "batch") -> Path:
    """`y = x + x`, of shape [rows, 3]."""
    return _written(
        path, [helper.make_node("Add", ["x", "x"], ["y"])], [_value("x", [rows, 3])], [_value("y", [rows, 3])]
    )


def lookup(path: Path) -> Path:
    """`y` is row `id` of [[0, 0], [1, 10], [2, 20]]; any other id makes the run fail."""
    table = numpy_helper.from_array(np.array([[0, 0], [1, 10], [2, 20]], np.float32), "table")
    node = helper.make_node("Gather", ["table", "id"], ["y"])
    return _written(path, [node], [_value("id", ["batch"], TensorProto.INT64)], [_value("y", ["batch", 2])], [table])


def classifier(path: Path, *, more_scores: bool = False) -> Path:
    """A classifier as skl2onnx exports one: of `x`, [batch, 4], `label` is the index of the largest value, int64 of
    [batch, 1], and `probabilities` are the softmax. `more_scores` adds another output of scores, `x` itself, and leaves
    `label` out."""
    nodes = [
        helper.make_node("ArgMax", ["x"], ["label"], axis=1, keepdims=1),
        helper.make_node("Softmax", ["x"], ["probabilities"], axis=1),
    ]
    outputs = [_value("label", ["batch", 1], TensorProto.INT64), _value("probabilities", ["batch", 4])]
    if more_scores:
        nodes[0] = helper.make_node("Neg", ["x"], ["opposite"])
        outputs[0] = _value("opposite", ["batch", 4])
    return _written(path, nodes, [_value("x", ["batch", 4])], outputs)


def labelled(path: Path, rows: int = 40, correct: int = 30) -> Path:
    """Rows for a `classifier`: the first `correct` labels are those it predicts, the others are not."""
    x = np.random.default_rng(7).normal(size=(rows, 4)).astype(np.float32)
    label = x.argmax(axis=1)
    label[correct:] = (label[correct:] + 1) % 4
    np.savez(path, x=x, label=label)
    return path


def reshaping(path: Path) -> Path:
    """`y` is `x`, of shape [batch, 3], as one row: its Shape and Gather work on shapes alone."""
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"], "shape"),
        helper.make_node("Gather", ["shape", "first"], ["rows"], "rows"),
        helper.make_node("Mul", ["rows", "three"], ["length"], "length"),
        helper.make_node("Concat", ["one", "length"], ["wanted"], "wanted", axis=0),
        helper.make_node("Reshape", ["x", "wanted"], ["y"], "y"),
    ]
    stored = [
        numpy_helper.from_array(np.array([0], np.int64), "first"),
        numpy_helper.from_array(np.array([3], np.int64), "three"),
        numpy_helper.from_array(np.array([1], np.int64), "one"),
    ]
    return _written(path, nodes, [_value("x", ["batch", 3])], [_value("y", [1, "all"])], stored)


def echo(path: Path, kind: int) -> Path:
    """`y = x`, of any ONNX element type and any length."""
    node = helper.make_node("Identity", ["x"], ["y"])
    return _written(path, [node], [_value("x", ["batch", "n"], kind)], [_value("y", ["batch", "n"], kind)])


def total(path: Path) -> Path:
    """`y` is the sum over all rows, though its first axis looks like the batch."""
    axes = numpy_helper.from_array(np.array([0], np.int64), "axes")
    node = helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=1)
    return _written(path, [node], [_value("x", ["batch", 3])], [_value("y", ["some", 3])], [axes])


def with_sequence_output(path: Path) -> Path:
    """`y = x + x`, and beside it a sequence, as exported classifiers have."""
    nodes = [helper.make_node("Add", ["x", "x"], ["y"]), helper.make_node("SequenceConstruct", ["x"], ["s"])]
    sequence = helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, None)
    return _written(path, nodes, [_value("x", ["batch", 3])], [sequence, _value("y", ["batch", 3])])


def convolutions(path: Path, layers: int, channels: int = 256) -> Path:
    """CPU load: 151 million multiplications per row and layer at 256 channels; `x` is [rows, 1, 16, 16]."""
    rng, nodes, constants, ins = np.random.default_rng(0), [], [], 1
    for layer in range(layers):
        weights = rng.standard_normal((channels, ins, 3, 3)) / np.sqrt(9 * ins)
        constants.append(numpy_helper.from_array(weights.astype(np.float32), f"w{layer}"))
        taken = "x" if layer == 0 else f"h{layer - 1}"
        nodes.append(helper.make_node("Conv", [taken, f"w{layer}"], [f"h{layer}"], pads=[1, 1, 1, 1]))
        ins = channels
    nodes.append(helper.make_node("GlobalAveragePool", [f"h{layers - 1}"], ["y"]))
    input_value, output_value = _value("x", ["batch", 1, 16, 16]), _value("y", ["batch", channels, 1, 1])
    return _written(path, nodes, [input_value], [output_value], constants)


def _value(name: str, shape: list[int | str], kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def _written(path: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any], constants: Any = ()) -> Path:
    graph = helper.make_graph(nodes, path.stem, inputs, outputs, list(constants))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path
