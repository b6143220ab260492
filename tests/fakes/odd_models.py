"""Models with unusual inputs, outputs or behavior."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

INT64 = TensorProto.INT64


def memory_hungry(path: Path, gib_a_row: int = 24) -> Path:
    """`y` is a sum over `gib_a_row` GiB per row, which are allocated when the model runs."""
    constants = [_constant("many", [gib_a_row * 2**28, 0]), _constant("one", [0, 1])]
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Mul", ["shape", "many"], ["rows"]),
        helper.make_node("Add", ["rows", "one"], ["wide"]),
        helper.make_node("ConstantOfShape", ["wide"], ["filled"]),
        helper.make_node("ReduceSum", ["filled"], ["total"], keepdims=0),
        helper.make_node("Add", ["x", "total"], ["y"]),
    ]
    return _written(path, nodes, [_value("x", ["batch", 3])], [_value("y", ["batch", 3])], constants)


def endless(path: Path) -> Path:
    """`y` is `x` after 2**40 rounds of a loop."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_on"], ["goes_on"]),
            helper.make_node("Neg", ["before"], ["after"]),
        ],
        "body",
        [_value("round", [], INT64), _value("go_on", [], TensorProto.BOOL), _value("before", ["batch", 3])],
        [_value("goes_on", [], TensorProto.BOOL), _value("after", ["batch", 3])],
    )
    constants = [numpy_helper.from_array(np.array(2**40), "rounds"), numpy_helper.from_array(np.array(True), "yes")]
    node = helper.make_node("Loop", ["rounds", "yes", "x"], ["y"], body=body)
    return _written(path, [node], [_value("x", ["batch", 3])], [_value("y", ["batch", 3])], constants)


def with_state(path: Path) -> Path:
    """A step of a recurrence: the state has no batch axis, and is an output, too."""
    nodes = [
        helper.make_node("Add", ["x", "state"], ["y"]),
        helper.make_node("Neg", ["state"], ["next_state"]),
    ]
    inputs = [_value("x", ["batch", 4]), _value("state", [1, 4])]
    return _written(path, nodes, inputs, [_value("y", ["batch", 4]), _value("next_state", [1, 4])])


def with_scalar(path: Path) -> Path:
    """A speech model's inputs: the samples, and the sampling rate as a single int64."""
    nodes = [
        helper.make_node("Cast", ["rate"], ["hertz"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["x", "hertz"], ["y"]),
    ]
    inputs = [_value("x", ["batch", 4]), _value("rate", [], INT64)]
    return _written(path, nodes, inputs, [_value("y", ["batch", 4])])


def nhwc(path: Path) -> Path:
    """An image with its channels last, as in models from TensorFlow."""
    nodes = [helper.make_node("ReduceMean", ["x"], ["y"], axes=[1, 2], keepdims=0)]
    return _written(path, nodes, [_value("x", ["batch", 8, 8, 3])], [_value("y", ["batch", 3])])


def token_sequences(path: Path) -> Path:
    """Token numbers of symbolic length, each looked up."""
    table = numpy_helper.from_array(np.arange(8, dtype=np.float32).reshape(4, 2), "table")
    node = helper.make_node("Gather", ["table", "ids"], ["y"])
    return _written(path, [node], [_value("ids", ["batch", "sequence"], INT64)], [_value("y", None)], [table])


def sequence_output(path: Path) -> Path:
    """The only output is a sequence."""
    sequence = helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, None)
    node = helper.make_node("SequenceConstruct", ["x"], ["s"])
    return _written(path, [node], [_value("x", ["batch", 3])], [sequence])


def sequence_input(path: Path) -> Path:
    sequence = helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, None)
    node = helper.make_node("ConcatFromSequence", ["s"], ["y"], axis=0)
    return _written(path, [node], [sequence], [_value("y", ["n"])])


def detections(path: Path) -> Path:
    """`y` are the positions where `x` is above one half, as in detectors: one row per position."""
    half = numpy_helper.from_array(np.array(0.5, np.float32), "half")
    nodes = [
        helper.make_node("Greater", ["x", "half"], ["is_above"]),
        helper.make_node("NonZero", ["is_above"], ["places"]),
        helper.make_node("Transpose", ["places"], ["y"], perm=[1, 0]),
    ]
    return _written(path, nodes, [_value("x", ["batch", 64])], [_value("y", ["found", 2], INT64)], [half])


def _constant(name: str, values: list[int]) -> Any:
    return numpy_helper.from_array(np.array(values, np.int64), name)


def _value(name: str, shape: list[int | str] | None, kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def _written(path: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any], constants: Any = ()) -> Path:
    graph = helper.make_graph(nodes, path.stem, inputs, outputs, list(constants))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path
