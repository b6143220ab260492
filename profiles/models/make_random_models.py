"""Create the models with random weights in this folder:
`python -m profiles.models.make_random_models`.

They have the architecture of their kind of model, so that presets have a real workload to time.
Their outputs have no meaning.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

SEED = 20_260_101
FEATURES = 30
IDS, WIDTH, CANDIDATES = 1500, 16, 100


class _Graph:
    """An ONNX graph under construction, to which nodes and weights are added in order."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def weight(self, *shape: int) -> str:
        fan_in = int(np.prod(shape[1:])) or 1
        values = self._rng.normal(0, np.sqrt(2 / fan_in), shape).astype(np.float32)
        return self._constant(values)

    def whole(self, *values: int) -> str:
        return self._constant(np.array(values, np.int64))

    def add(self, kind: str, inputs: Sequence[str], output: str | None = None, **attributes: Any) -> str:
        output = output or f"value{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def _constant(self, values: Any) -> str:
        name = f"weight{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(values, name))
        return name


def fraud(graph: _Graph) -> tuple[list[Any], list[Any]]:
    """Build a small dense network over the features of a payment, with one score per row."""
    value = "features"
    for before, after in ((FEATURES, 64), (64, 32)):
        value = graph.add("Relu", [graph.add("Gemm", [value, graph.weight(after, before)], transB=1)])
    graph.add("Sigmoid", [graph.add("Gemm", [value, graph.weight(1, 32)], transB=1)], "score")
    return [_value("features", [FEATURES])], [_value("score", [1])]


def recommendation(graph: _Graph) -> tuple[list[Any], list[Any]]:
    """Build a model that computes the inner products of the embeddings of a user and of candidates.

    Any id is mapped into the embedding table, modulo its size.
    """
    table, size = graph.weight(IDS, WIDTH), graph.whole(IDS)
    user, items = (graph.add("Gather", [table, graph.add("Mod", [ids, size])]) for ids in ("user", "items"))
    graph.add("ReduceSum", [graph.add("Mul", [user, items]), graph.whole(2)], "scores", keepdims=0)
    inputs = [_value("user", [1], TensorProto.INT64), _value("items", [CANDIDATES], TensorProto.INT64)]
    return inputs, [_value("scores", [CANDIDATES])]


def perception(graph: _Graph) -> tuple[list[Any], list[Any]]:
    """Build a convolutional backbone for a camera frame, with a head that returns eight numbers per
    grid cell."""
    value = "frame"
    for before, after in ((3, 16), (16, 32), (32, 48)):
        weight = graph.weight(after, before, 3, 3)
        value = graph.add("Relu", [graph.add("Conv", [value, weight], strides=[2, 2], pads=[1, 1, 1, 1])])
    graph.add("Conv", [value, graph.weight(8, 48, 1, 1)], "cells")
    return [_value("frame", [3, 96, 160])], [_value("cells", [8, 12, 20])]


def write_models(folder: Path) -> None:
    for make in (fraud, recommendation, perception):
        graph = _Graph(np.random.default_rng([SEED, len(make.__name__)]))
        inputs, outputs = make(graph)
        model = helper.make_model(
            helper.make_graph(graph.nodes, make.__name__, inputs, outputs, graph.weights),
            opset_imports=[helper.make_opsetid("", 17)],
            ir_version=8,
            producer_name="sizewise",
        )
        (folder / f"{make.__name__}.onnx").write_bytes(model.SerializeToString(deterministic=True))


def _value(name: str, row: list[int], kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, ["batch", *row])


if __name__ == "__main__":
    write_models(Path(__file__).parent)
