from __future__ import annotations

from onnx import helper

from app.inference.inspection.dataflow import dataflow_of
from app.inference.inspection.liveness import peak_activation_bytes
from tests.fakes.graphs import graph_of


def test_a_chain_holds_what_goes_in_and_two_of_the_rest() -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),  # holds x, a
        helper.make_node("Concat", ["a", "a"], ["b"], axis=0),  # holds x, a, b: the peak
        helper.make_node("ReduceMax", ["b"], ["y"]),  # holds x, b, y
    ]
    sizes = {"x": 10, "a": 10, "b": 20, "y": 1}
    assert peak_activation_bytes(dataflow_of(graph_of(nodes, {"x": [10]})), sizes.__getitem__) == 40


def test_a_residual_is_held_until_it_is_added() -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Sigmoid", ["a"], ["b"]),
        helper.make_node("Tanh", ["b"], ["c"]),  # holds x, a (for the sum), b, c
        helper.make_node("Add", ["a", "c"], ["y"]),  # holds x, a, c, y
    ]
    assert peak_activation_bytes(dataflow_of(graph_of(nodes, {"x": [5]})), lambda _: 5) == 20


def test_what_nobody_reads_goes_at_once() -> None:
    nodes = [
        helper.make_node("Exp", ["x"], ["unread"]),
        helper.make_node("Relu", ["x"], ["y"]),
    ]
    sizes = {"x": 1, "unread": 100, "y": 50}
    assert peak_activation_bytes(dataflow_of(graph_of(nodes, {"x": [1]})), sizes.__getitem__) == 101


def test_a_view_holds_the_bytes_it_shows_and_none_of_its_own() -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Flatten", ["a"], ["view"]),
        helper.make_node("Exp", ["x"], ["b"]),  # holds x, a (through the view), b
        helper.make_node("Add", ["view", "b"], ["y"]),  # and y
    ]
    assert peak_activation_bytes(dataflow_of(graph_of(nodes, {"x": [1, 5]})), lambda _: 5) == 20


def test_weights_are_no_activations() -> None:
    graph = graph_of([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": [1, 4]}, {"w": [4, 4]})
    sizes = {"x": 4, "y": 4, "w": 1000}
    assert peak_activation_bytes(dataflow_of(graph), sizes.__getitem__) == 8
