from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from app.errors import UsageError
from app.inference.inspection.metadata import read_model_metadata
from app.records.model import Growth, ShapeOverrides
from tests.fakes.graphs import attention, graph_of, write_graph

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
NO_OVERRIDES = ShapeOverrides()


def test_flops_and_parameters_of_resnet_50_match_the_literature() -> None:
    """He et al., "Deep Residual Learning" (2015), give 3.8 × 10^9 multiply-adds for ResNet-50; with the stride in the
    3×3 convolution, as in this file, it is 4.1 × 10^9. It has 25.6 million parameters."""
    model_metadata = read_model_metadata(LIGHT / "light_resnet50.onnx", NO_OVERRIDES)
    (cost,) = model_metadata.costs
    assert cost.batch == 1
    assert cost.flops == pytest.approx(8.18e9, rel=0.001)
    assert model_metadata.parameters.count == pytest.approx(25.6e6, rel=0.002)
    assert (model_metadata.unknown_nodes, model_metadata.unknown_values) == (0, 0)


@pytest.mark.parametrize(
    ("model", "multiply_adds", "parameters"),
    [("vgg19", 19.6e9, 143.7e6), ("squeezenet", 0.35e9, 1.24e6), ("densenet121", 2.83e9, 8.1e6)],
)
def test_flops_and_parameters_of_networks_match_published_values(
    model: str, multiply_adds: float, parameters: float
) -> None:
    model_metadata = read_model_metadata(LIGHT / f"light_{model}.onnx", NO_OVERRIDES)
    assert model_metadata.costs[0].flops == pytest.approx(2 * multiply_adds, rel=0.01)
    assert model_metadata.parameters.count == pytest.approx(parameters, rel=0.01)


def test_attention_flops_are_quadratic_in_sequence_length(tmp_path: Path) -> None:
    model_metadata = read_model_metadata(attention(tmp_path / "m.onnx"), ShapeOverrides(axes={"seq": 10}))
    projections, scores, sums = 3 * 10 * 8 * 8, 10 * 10 * 8, 10 * 10 * 8
    assert model_metadata.flops_growth == Growth(0, 2 * (projections + scores + sums))
    assert (model_metadata.batch_axes, model_metadata.axes) == (("batch",), {"seq": 10})


def test_unset_dynamic_axis_leaves_costs_unknown_but_not_parameters(tmp_path: Path) -> None:
    model_metadata = read_model_metadata(attention(tmp_path / "m.onnx"), NO_OVERRIDES)
    assert model_metadata.cost_reason == "the model has dynamic axes seq; set them with --axis seq=VALUE"
    assert model_metadata.costs == ()
    assert model_metadata.parameters.count == 3 * 64
    assert {row.operator: (row.nodes, row.flops) for row in model_metadata.operators}["MatMul"] == (5, None)


def test_shape_override_sets_axes_and_may_leave_the_batch_open(tmp_path: Path) -> None:
    path = attention(tmp_path / "m.onnx")
    open_batch = read_model_metadata(path, ShapeOverrides(shapes={"x": (None, 10, 8)}))
    assert open_batch.costs == read_model_metadata(path, ShapeOverrides(axes={"seq": 10})).costs
    fixed = read_model_metadata(path, ShapeOverrides(shapes={"x": (3, 10, 8)}))
    assert [cost.batch for cost in fixed.costs] == [3]
    assert fixed.costs[0].flops == 3 * open_batch.costs[0].flops


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (ShapeOverrides(shapes={"z": (1,)}), "no input 'z'"),
        (ShapeOverrides(shapes={"x": (1, 2)}), "has 3 axes, but 2 lengths were specified"),
        (ShapeOverrides(shapes={"x": (1, 2, 9)}), "cannot be 9"),
        (ShapeOverrides(axes={"seq": 3}, shapes={"x": (1, 2, 8)}), "cannot be 2"),
        (ShapeOverrides(axes={"seq": 2**41}), "must be between 1 and"),
    ],
)
def test_shape_overrides_that_do_not_fit_the_model_are_rejected(
    tmp_path: Path, overrides: ShapeOverrides, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        read_model_metadata(attention(tmp_path / "m.onnx"), overrides)


def test_moved_bytes_are_those_of_an_unfused_run(tmp_path: Path) -> None:
    nodes = [helper.make_node("Gemm", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])]
    model_metadata = read_model_metadata(
        write_graph(tmp_path / "m.onnx", graph_of(nodes, {"x": ["n", 4]}, {"w": [4, 6]})), NO_OVERRIDES
    )
    weights, row_in, row_hidden = 4 * 24, 4 * 4, 4 * 6
    assert model_metadata.moved_growth == Growth(weights, row_in + row_hidden + row_hidden + row_hidden)
    assert model_metadata.costs[0].min_bytes == weights + row_in + row_hidden
    assert model_metadata.costs[0].flops_per_byte == 2 * 24 / (weights + 16 + 3 * 24)


def test_moved_bytes_of_a_gather_exclude_the_whole_table(tmp_path: Path) -> None:
    ids = numpy_helper.from_array(np.array([0, 1], np.int64), "ids")
    nodes = [helper.make_node("Gather", ["w", "i"], ["e"]), helper.make_node("Add", ["e", "x"], ["y"])]
    graph = graph_of(nodes, {"x": ["n", 4]}, {"w": [1000, 4]})
    graph.input.append(helper.make_tensor_value_info("i", TensorProto.INT64, ["n"]))
    graph.initializer.append(ids)
    model_metadata = read_model_metadata(write_graph(tmp_path / "m.onnx", graph), NO_OVERRIDES)
    assert model_metadata.costs[0].memory_bytes > 16_000
    assert model_metadata.costs[0].moved_bytes < 200


def test_folded_constants_count_as_parameters(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ConstantOfShape", ["length"], ["w"]),
        helper.make_node("Mul", ["w", "w"], ["w2"]),
        helper.make_node("MatMul", ["x", "w2"], ["y"]),
    ]
    graph = graph_of(nodes, {"x": ["n", 3]})
    graph.initializer.append(numpy_helper.from_array(np.array([3, 5], np.int64), "length"))
    model_metadata = read_model_metadata(write_graph(tmp_path / "m.onnx", graph), NO_OVERRIDES)
    assert (model_metadata.parameters.count, model_metadata.parameters.bytes_by_dtype) == (15, {"float32": 60})


def test_scales_shapes_and_indices_are_not_parameters(tmp_path: Path) -> None:
    """A scale, a shape and an index are no parameters, but the int32 bias of a quantized product is."""
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
    assert read_model_metadata(write_graph(tmp_path / "m.onnx", graph), NO_OVERRIDES).parameters.count == 3


def test_values_of_unknown_shape_are_counted(tmp_path: Path) -> None:
    """The length of NonZero's output depends on the data."""
    nodes = [helper.make_node("NonZero", ["x"], ["z"]), helper.make_node("Cast", ["z"], ["y"], to=TensorProto.FLOAT)]
    model_metadata = read_model_metadata(write_graph(tmp_path / "m.onnx", graph_of(nodes, {"x": [2, 3]})), NO_OVERRIDES)
    assert (model_metadata.unknown_values, model_metadata.unknown_nodes) == (2, 0)
    assert [cost.batch for cost in model_metadata.costs] == [2]


def test_onnx_runtime_operators_are_accepted_with_unknown_costs(tmp_path: Path) -> None:
    graph = graph_of(
        [helper.make_node("FusedMatMul", ["x", "w"], ["y"], domain="com.microsoft")], {"x": ["n", 4]}, {"w": [4, 4]}
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    )
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    model_metadata = read_model_metadata(path, NO_OVERRIDES)
    assert model_metadata.unknown_operators == ("com.microsoft.FusedMatMul",)
    assert (model_metadata.unknown_nodes, model_metadata.unknown_values) == (1, 1)


def test_model_functions_are_inlined_for_costs(tmp_path: Path) -> None:
    opset = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    product = helper.make_function(
        "own", "f", ["a", "b"], ["c"], [helper.make_node("MatMul", ["a", "b"], ["c"])], opset
    )
    graph = graph_of([helper.make_node("f", ["x", "w"], ["y"], domain="own")], {"x": [2, 4]}, {"w": [4, 5]})
    path = tmp_path / "m.onnx"
    path.write_bytes(
        helper.make_model(graph, opset_imports=opset, functions=[product], ir_version=8).SerializeToString()
    )
    assert read_model_metadata(path, NO_OVERRIDES).costs[0].flops == 2 * 2 * 4 * 5
