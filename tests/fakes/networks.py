"""Small networks with seeded weights, to be made again in another precision."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

Shape = Sequence[int | str]
_FLOAT = TensorProto.FLOAT


def weights(name: str, *shape: int, kind: str = "float32") -> Any:
    numbers = np.random.default_rng(len(name) + sum(shape)).normal(size=shape) * 0.2
    return numpy_helper.from_array(numbers.astype(kind), name)


def network(
    nodes: Sequence[Any], inputs: dict[str, Shape], outputs: dict[str, Shape], stored: Sequence[Any], opset: int = 17
) -> Any:
    input_values, output_values = ([_value(*item) for item in values.items()] for values in (inputs, outputs))
    graph = helper.make_graph(nodes, "g", input_values, output_values, stored)
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def matrix(outputs: Sequence[Any] = (), *, input_names: str = "m", classes: int = 8, source: str = "x") -> Any:
    """`m = x w`, of 8 features to so many classes, and what `outputs` make of it."""
    product = helper.make_node("MatMul", [source, "w"], ["m"])
    shapes: dict[str, Shape] = {name: ["b", classes] for name in input_names.split()}
    return network([product, *outputs], {source: ["b", 8]}, shapes, [weights("w", 8, classes)])


def attention() -> Any:
    """One head over `t` steps of 8 features."""
    nodes = [
        *(helper.make_node("MatMul", ["x", f"w{part}"], [part]) for part in "qkv"),
        helper.make_node("Transpose", ["k"], ["kt"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["q", "kt"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["shares"], axis=-1),
        helper.make_node("MatMul", ["shares", "v"], ["y"]),
    ]
    return network(nodes, {"x": ["b", "t", 8]}, {"y": ["b", "t", 8]}, [weights(f"w{part}", 8, 8) for part in "qkv"])


def upsampled(opset: int = 9) -> Any:
    """A convolution and an Upsample, which later opsets call Resize."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["z"], pads=[1, 1, 1, 1]),
        helper.make_node("Upsample", ["z", "scales"], ["y"], mode="nearest"),
    ]
    scales = numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales")
    stored = [weights("w", 4, 3, 3, 3), scales]
    return network(nodes, {"x": ["b", 3, 8, 8]}, {"y": ["b", 4, 16, 16]}, stored, opset)


def tree() -> Any:
    """One split of a decision tree."""
    node = helper.make_node(
        "TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", n_targets=1,
        nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"], nodes_values=[0.5, 0.0, 0.0],
        nodes_treeids=[0] * 3, nodes_nodeids=[0, 1, 2], nodes_featureids=[0] * 3,
        nodes_truenodeids=[1, 0, 0], nodes_falsenodeids=[2, 0, 0],
        target_treeids=[0, 0], target_nodeids=[1, 2], target_ids=[0, 0], target_weights=[1.0, 2.0],
    )  # fmt: skip
    return network([node], {"x": ["b", 4]}, {"y": ["b", 1]}, [])


def save_network(path: Path, model: Any) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def _value(name: str, shape: Shape) -> Any:
    return helper.make_tensor_value_info(name, _FLOAT, shape)
