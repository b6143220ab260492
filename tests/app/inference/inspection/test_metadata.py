from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from app.errors import UsageError
from app.inference.inspection.metadata import read_model_metadata
from app.records.model import Growth, ShapeOverrides
from tests.fakes.graphs import attention, graph_of, written

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
NOTHING = ShapeOverrides()


def test_resnet_50_costs_what_the_literature_says() -> None:
    """He et al., "Deep Residual Learning" (2015), give 3.8 × 10^9 multiply-adds for ResNet-50; with the stride in the
    3×3 convolution, as in this file, it is 4.1 × 10^9. It has 25.6 million parameters."""
    facts = read_model_metadata(LIGHT / "light_resnet50.onnx", NOTHING)
    (cost,) = facts.costs
    assert cost.batch == 1
    assert cost.flops == pytest.approx(8.18e9, rel=0.001)
    assert facts.parameters.count == pytest.approx(25.6e6, rel=0.002)
    assert (facts.unknown_nodes, facts.unknown_values) == (0, 0)


@pytest.mark.parametrize(
    ("model", "multiply_adds", "parameters"),
    [("vgg19", 19.6e9, 143.7e6), ("squeezenet", 0.35e9, 1.24e6), ("densenet121", 2.83e9, 8.1e6)],
)
def test_other_networks_cost_what_is_known_of_them(model: str, multiply_adds: float, parameters: float) -> None:
    facts = read_model_metadata(LIGHT / f"light_{model}.onnx", NOTHING)
    assert facts.costs[0].flops == pytest.approx(2 * multiply_adds, rel=0.01)
    assert facts.parameters.count == pytest.approx(parameters, rel=0.01)


def test_attention_is_quadratic_in_the_axis_it_is_given(tmp_path: Path) -> None:
    facts = read_model_metadata(attention(tmp_path / "m.onnx"), ShapeOverrides(axes={"seq": 10}))
    projections, scores, sums = 3 * 10 * 8 * 8, 10 * 10 * 8, 10 * 10 * 8
    assert facts.flops_growth == Growth(0, 2 * (projections + scores + sums))
    assert (facts.batch_axes, facts.axes) == (("batch",), {"seq": 10})


def test_an_open_axis_is_asked_for_and_the_rest_is_reported(tmp_path: Path) -> None:
    facts = read_model_metadata(attention(tmp_path / "m.onnx"), NOTHING)
    assert facts.cost_reason == "the model has dynamic axes seq; set them with --axis seq=VALUE"
    assert facts.costs == ()
    assert facts.parameters.count == 3 * 64
    assert {one.operator: (one.nodes, one.flops) for one in facts.operators}["MatMul"] == (5, None)


def test_a_shape_gives_axes_and_n_leaves_one_open(tmp_path: Path) -> None:
    path = attention(tmp_path / "m.onnx")
    given = read_model_metadata(path, ShapeOverrides(shapes={"x": (None, 10, 8)}))
    assert given.costs == read_model_metadata(path, ShapeOverrides(axes={"seq": 10})).costs
    fixed = read_model_metadata(path, ShapeOverrides(shapes={"x": (3, 10, 8)}))
    assert [cost.batch for cost in fixed.costs] == [3]
    assert fixed.costs[0].flops == 3 * given.costs[0].flops


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (ShapeOverrides(shapes={"z": (1,)}), "no input 'z'"),
        (ShapeOverrides(shapes={"x": (1, 2)}), "has 3 axes, but 2 lengths were specified"),
        (ShapeOverrides(shapes={"x": (1, 2, 9)}), "cannot be 9"),
        (ShapeOverrides(axes={"seq": 3}, shapes={"x": (1, 2, 8)}), "cannot be 2"),
        (ShapeOverrides(axes={"seq": 2**41}), "must be between 1 and"),
    ],
)
def test_lengths_the_model_does_not_take_are_refused(tmp_path: Path, given: ShapeOverrides, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read_model_metadata(attention(tmp_path / "m.onnx"), given)


def test_bytes_are_what_an_unfused_run_reads_and_writes(tmp_path: Path) -> None:
    nodes = [helper.make_node("Gemm", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])]
    facts = read_model_metadata(written(tmp_path / "m.onnx", graph_of(nodes, {"x": ["n", 4]}, {"w": [4, 6]})), NOTHING)
    weights, row_in, row_hidden = 4 * 24, 4 * 4, 4 * 6
    assert facts.moved_growth == Growth(weights, row_in + row_hidden + row_hidden + row_hidden)
    assert facts.costs[0].min_bytes == weights + row_in + row_hidden
    assert facts.costs[0].flops_per_byte == 2 * 24 / (weights + 16 + 3 * 24)


def test_a_table_is_not_read_as_a_whole(tmp_path: Path) -> None:
    ids = numpy_helper.from_array(np.array([0, 1], np.int64), "ids")
    nodes = [helper.make_node("Gather", ["w", "i"], ["e"]), helper.make_node("Add", ["e", "x"], ["y"])]
    graph = graph_of(nodes, {"x": ["n", 4]}, {"w": [1000, 4]})
    graph.input.append(helper.make_tensor_value_info("i", TensorProto.INT64, ["n"]))
    graph.initializer.append(ids)
    facts = read_model_metadata(written(tmp_path / "m.onnx", graph), NOTHING)
    assert facts.costs[0].memory_bytes > 16_000
    assert facts.costs[0].moved_bytes < 200


def test_constants_are_worked_out_once_and_count_as_parameters(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ConstantOfShape", ["length"], ["w"]),
        helper.make_node("Mul", ["w", "w"], ["w2"]),
        helper.make_node("MatMul", ["x", "w2"], ["y"]),
    ]
    graph = graph_of(nodes, {"x": ["n", 3]})
    graph.initializer.append(numpy_helper.from_array(np.array([3, 5], np.int64), "length"))
    facts = read_model_metadata(written(tmp_path / "m.onnx", graph), NOTHING)
    assert (facts.parameters.count, facts.parameters.bytes_by_dtype) == (15, {"float32": 60})


def test_constants_of_formulas_are_no_parameters(tmp_path: Path) -> None:
    """A scale, a shape and an index are none, but the int32 bias of a quantized product is one."""
    nodes = [
        helper.make_node("DequantizeLinear", ["bias", "scale"], ["b"]),
        helper.make_node("Mul", ["x", "scale"], ["s"]),
        helper.make_node("Reshape", ["s", "shape"], ["r"]),
        helper.make_node("Gather", ["r", "index"], ["g"], axis=1),
        helper.make_node("Add", ["g", "b"], ["y"]),
    ]
    graph = graph_of(nodes, {"x": ["n", 3]})
    for name, values in (
        ("bias", np.arange(3, dtype=np.int32)),
        ("scale", np.float32(0.5)),
        ("shape", np.array([-1, 3], np.int64)),
        ("index", np.array([2, 1, 0], np.int32)),
    ):
        graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))
    assert read_model_metadata(written(tmp_path / "m.onnx", graph), NOTHING).parameters.count == 3


def test_what_cannot_be_reported_is_said(tmp_path: Path) -> None:
    """NonZero finds as many places as there are; an If may run either branch."""
    nodes = [helper.make_node("NonZero", ["x"], ["z"]), helper.make_node("Cast", ["z"], ["y"], to=TensorProto.FLOAT)]
    facts = read_model_metadata(written(tmp_path / "m.onnx", graph_of(nodes, {"x": [2, 3]})), NOTHING)
    assert (facts.unknown_values, facts.unknown_nodes) == (2, 0)
    assert [cost.batch for cost in facts.costs] == [2]


def test_operators_of_the_runtime_are_let_in_and_not_counted(tmp_path: Path) -> None:
    graph = graph_of(
        [helper.make_node("FusedMatMul", ["x", "w"], ["y"], domain="com.microsoft")], {"x": ["n", 4]}, {"w": [4, 4]}
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    )
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    facts = read_model_metadata(path, NOTHING)
    assert facts.unknown_operators == ("com.microsoft.FusedMatMul",)
    assert (facts.unknown_nodes, facts.unknown_values) == (1, 1)


def test_functions_of_the_model_are_opened(tmp_path: Path) -> None:
    opset = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    product = helper.make_function(
        "own", "f", ["a", "b"], ["c"], [helper.make_node("MatMul", ["a", "b"], ["c"])], opset
    )
    graph = graph_of([helper.make_node("f", ["x", "w"], ["y"], domain="own")], {"x": [2, 4]}, {"w": [4, 5]})
    path = tmp_path / "m.onnx"
    path.write_bytes(
        helper.make_model(graph, opset_imports=opset, functions=[product], ir_version=8).SerializeToString()
    )
    assert read_model_metadata(path, NOTHING).costs[0].flops == 2 * 2 * 4 * 5
