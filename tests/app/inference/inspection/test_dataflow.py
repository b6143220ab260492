from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from app.inference.inspection.dataflow import dataflow_of
from tests.fakes.graphs import graph_of


def test_weights_stored_as_integers_stay_so() -> None:
    """A dequantised weight is read by the kernel as it is stored."""
    nodes = [
        helper.make_node("DequantizeLinear", ["w8", "scale"], ["w"]),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    graph = graph_of(nodes, {"x": [1, 4]}, {"scale": []})
    graph.initializer.append(numpy_helper.from_array(np.zeros((4, 4), np.int8), "w8"))
    flow = dataflow_of(graph)
    assert flow.weights == {"w8", "scale"}
    assert [name for step in flow.steps for name in flow.content_read(step)] == ["x"]
    assert [name for step in flow.steps for name in flow.content_made(step)] == ["y"]


def test_chance_is_no_constant() -> None:
    nodes = [helper.make_node("RandomNormal", [], ["r"], shape=[4]), helper.make_node("Add", ["x", "r"], ["y"])]
    assert len(dataflow_of(graph_of(nodes, {"x": [4]})).steps) == 2


def test_a_branch_reads_what_it_takes_from_around() -> None:
    branch = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["b"])], "b", [], [helper.make_tensor_value_info("b", TensorProto.FLOAT, [4])]
    )
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["m"]),
        helper.make_node("Cast", ["m"], ["c"], to=TensorProto.BOOL),
        helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch),
    ]
    assert dataflow_of(graph_of(nodes, {"x": [4]})).steps[-1].reads == ("c", "x")
