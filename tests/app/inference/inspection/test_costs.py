from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from app.inference.inspection.costs import build_dataflow, compute_peak_activation_bytes, count_multiply_adds
from tests.fakes.graphs import graph_of


def test_dequantized_weights_count_as_stored_integers() -> None:
    """The kernel reads a dequantized weight in its stored type."""
    nodes = [
        helper.make_node("DequantizeLinear", ["w8", "scale"], ["w"]),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    graph = graph_of(nodes, {"x": [1, 4]}, {"scale": []})
    graph.initializer.append(numpy_helper.from_array(np.zeros((4, 4), np.int8), "w8"))
    flow = build_dataflow(graph)
    assert flow.weights == {"w8", "scale"}
    assert [name for step in flow.steps for name in flow.iterate_read_activations(step)] == ["x"]
    assert [name for step in flow.steps for name in flow.iterate_written_activations(step)] == ["y"]


def test_random_operator_is_not_folded_as_a_constant() -> None:
    nodes = [helper.make_node("RandomNormal", [], ["r"], shape=[4]), helper.make_node("Add", ["x", "r"], ["y"])]
    assert len(build_dataflow(graph_of(nodes, {"x": [4]})).steps) == 2


def test_if_node_reads_the_outer_values_of_its_branches() -> None:
    branch = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["b"])], "b", [], [helper.make_tensor_value_info("b", TensorProto.FLOAT, [4])]
    )
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["m"]),
        helper.make_node("Cast", ["m"], ["c"], to=TensorProto.BOOL),
        helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch),
    ]
    assert build_dataflow(graph_of(nodes, {"x": [4]})).steps[-1].reads == ("c", "x")


Shapes = dict[str, tuple[int, ...]]


@pytest.mark.parametrize(
    ("operator", "shapes", "attributes", "expected"),
    [
        ("Conv", {"a": (1, 3, 8, 8), "b": (16, 3, 3, 3), "y": (1, 16, 6, 6)}, {}, 16 * 36 * 27),
        ("Conv", {"a": (2, 8, 8, 8), "b": (8, 1, 3, 3), "y": (2, 8, 8, 8)}, {"group": 8}, 2 * 8 * 64 * 9),
        ("ConvTranspose", {"a": (1, 4, 5, 5), "b": (4, 2, 3, 3), "y": (1, 2, 7, 7)}, {}, 100 * 18),
        ("Gemm", {"a": (7, 5), "b": (5, 3), "y": (7, 3)}, {}, 7 * 5 * 3),
        ("Gemm", {"a": (5, 7), "b": (5, 3), "y": (7, 3)}, {"transA": 1}, 7 * 5 * 3),
        ("MatMul", {"a": (2, 4, 6, 8), "b": (8, 3), "y": (2, 4, 6, 3)}, {}, 2 * 4 * 6 * 8 * 3),
        ("MatMul", {"a": (8,), "b": (8,), "y": ()}, {}, 8),
        ("Einsum", {"a": (2, 3, 4), "b": (2, 4, 5), "y": (2, 3, 5)}, {"equation": "bij,bjk->bik"}, 2 * 3 * 4 * 5),
        ("LSTM", {"a": (10, 2, 6), "b": (1, 20, 6), "c": (1, 20, 5), "y": (10, 1, 2, 5)}, {}, 20 * (120 + 100)),
        ("Relu", {"a": (9, 9), "y": (9, 9)}, {}, 0),
    ],
)
def test_multiply_adds_of_each_operator_match_hand_counts(
    operator: str, shapes: Shapes, attributes: dict[str, Any], expected: int
) -> None:
    inputs = [name for name in shapes if name != "y"]
    assert count_multiply_adds(helper.make_node(operator, inputs, ["y"], **attributes), shapes.get) == expected


def test_multiply_adds_of_quantized_operators_use_their_weight_input() -> None:
    inputs = ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz"]
    shapes: Shapes = {"x": (1, 3, 8, 8), "w": (16, 3, 3, 3), "y": (1, 16, 6, 6)}
    assert count_multiply_adds(helper.make_node("QLinearConv", inputs, ["y"]), shapes.get) == 16 * 36 * 27
    shapes = {"x": (4, 6), "w": (6, 2), "y": (4, 2)}
    assert count_multiply_adds(helper.make_node("QLinearMatMul", inputs, ["y"]), shapes.get) == 4 * 6 * 2


@pytest.mark.parametrize(
    ("operator", "domain", "shapes"),
    [
        ("MatMul", "", {"a": (4, 4)}),
        ("Gemm", "", {"a": (4,), "b": (4,), "y": (4, 4)}),
        ("Einsum", "", {"a": (4, 4), "b": (4, 4), "y": (4, 4)}),
        ("Loop", "", {"a": (), "b": (), "y": ()}),
        ("NoSuchOperator", "", {"a": (1,), "b": (1,), "y": (1,)}),
        ("MatMul", "com.microsoft", {"a": (4, 4), "b": (4, 4), "y": (4, 4)}),
    ],
)
def test_multiply_adds_without_rule_or_shapes_are_none(operator: str, domain: str, shapes: Shapes) -> None:
    assert count_multiply_adds(helper.make_node(operator, ["a", "b"], ["y"], domain=domain), shapes.get) is None


def test_peak_activation_bytes_of_a_chain_are_input_and_two_values() -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),  # holds x, a
        helper.make_node("Concat", ["a", "a"], ["b"], axis=0),  # holds x, a, b: the peak
        helper.make_node("ReduceMax", ["b"], ["y"]),  # holds x, b, y
    ]
    sizes = {"x": 10, "a": 10, "b": 20, "y": 1}
    assert compute_peak_activation_bytes(build_dataflow(graph_of(nodes, {"x": [10]})), sizes.__getitem__) == 40


def test_peak_activation_bytes_include_a_residual_until_its_addition() -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Sigmoid", ["a"], ["b"]),
        helper.make_node("Tanh", ["b"], ["c"]),  # holds x, a (for the sum), b, c
        helper.make_node("Add", ["a", "c"], ["y"]),  # holds x, a, c, y
    ]
    assert compute_peak_activation_bytes(build_dataflow(graph_of(nodes, {"x": [5]})), lambda _: 5) == 20


def test_unread_activation_is_freed_at_once() -> None:
    nodes = [
        helper.make_node("Exp", ["x"], ["unread"]),
        helper.make_node("Relu", ["x"], ["y"]),
    ]
    sizes = {"x": 1, "unread": 100, "y": 50}
    assert compute_peak_activation_bytes(build_dataflow(graph_of(nodes, {"x": [1]})), sizes.__getitem__) == 101


def test_view_retains_its_source_and_needs_no_bytes() -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Flatten", ["a"], ["view"]),
        helper.make_node("Exp", ["x"], ["b"]),  # holds x, a (through the view), b
        helper.make_node("Add", ["view", "b"], ["y"]),  # and y
    ]
    assert compute_peak_activation_bytes(build_dataflow(graph_of(nodes, {"x": [1, 5]})), lambda _: 5) == 20


def test_peak_activation_bytes_exclude_weights() -> None:
    graph = graph_of([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": [1, 4]}, {"w": [4, 4]})
    sizes = {"x": 4, "y": 4, "w": 1000}
    assert compute_peak_activation_bytes(build_dataflow(graph), sizes.__getitem__) == 8
