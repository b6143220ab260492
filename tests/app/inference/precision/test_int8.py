from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper

from app.errors import UsageError
from app.inference.output_capture import capture_output
from app.inference.precision.int8 import convert_to_int8_dynamic, convert_to_int8_static, load_calibration_batches
from app.inference.precision.recipe import products_may_overflow
from app.inference.session import open_session
from app.inference.tensor_spec import TensorSpec
from tests.fakes import networks
from tests.fakes.networks import matrix

DYNAMIC_BATCH_INPUTS = (TensorSpec("x", "float32", (-1, 3)),)


def save_arrays(folder: Path, *arrays: Any) -> Path:
    np.savez(folder / "rows.npz", *arrays)
    return folder / "rows.npz"


def test_calibration_batches_have_all_rows_and_only_model_inputs(tmp_path: Path) -> None:
    draw_rows = np.arange(60, dtype=np.float32).reshape(20, 3)
    batches = load_calibration_batches(
        save_arrays(tmp_path, np.zeros(20), draw_rows), ("label", "x"), DYNAMIC_BATCH_INPUTS
    )
    assert [len(batch["x"]) for batch in batches] == [16, 4]
    assert [set(batch) for batch in batches] == [{"x"}, {"x"}]
    np.testing.assert_array_equal(np.concatenate([batch["x"] for batch in batches]), draw_rows)


def test_fixed_batch_size_drops_the_incomplete_batch(tmp_path: Path) -> None:
    path, fixed = save_arrays(tmp_path, np.zeros((20, 3), np.float32)), (TensorSpec("x", "float32", (8, 3)),)
    assert [len(batch["x"]) for batch in load_calibration_batches(path, ("x",), fixed)] == [8, 8]
    with pytest.raises(UsageError, match="has a fixed batch size of 32, but there are only 20"):
        load_calibration_batches(path, ("x",), (TensorSpec("x", "float32", (32, 3)),))


def test_calibration_strings_are_loaded_as_objects(tmp_path: Path) -> None:
    (batch,) = load_calibration_batches(
        save_arrays(tmp_path, np.array(["a", "bc"])), ("x",), (TensorSpec("x", "object", (-1,)),)
    )
    assert batch["x"].dtype == object
    assert batch["x"].tolist() == ["a", "bc"]


def test_calibration_rows_of_another_type_are_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="input x expects float32, but the calibration rows are float64"):
        load_calibration_batches(save_arrays(tmp_path, np.zeros((2, 3))), ("x",), DYNAMIC_BATCH_INPUTS)


Rows = npt.NDArray[np.float32]


def draw_rows(*shape: int) -> Rows:
    return np.random.default_rng(3).random(shape, np.float32)


def convert_static(model: Any, calibration_rows: Rows, folder: Path) -> onnx.ModelProto:
    """Convert a model as the product does on this processor: without VNNI, products of 8-bit weights may overflow."""
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    with capture_output():
        convert_to_int8_static(copy, folder / "int8.onnx", products_may_overflow(), [{"x": calibration_rows}])
    return onnx.load(folder / "int8.onnx")


def convert_dynamic(model: Any, folder: Path, *, spares_a_bit: bool = False) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    with capture_output():
        notes = convert_to_int8_dynamic(model, folder / "int8.onnx", spares_a_bit)
    return onnx.load(folder / "int8.onnx"), notes


def compute_max_difference(model: Any, input_rows: Rows, folder: Path) -> float:
    """Return the largest difference of an output between int8 and fp32."""
    networks.save_network(folder / "fp32.onnx", model)
    outputs = (
        open_session(folder / f"{kind}.onnx", "cpu", threads=1).run({"x": input_rows}) for kind in ("int8", "fp32")
    )
    return max(float(np.abs(int8 - fp32).max()) for int8, fp32 in zip(*outputs, strict=True))


def get_weight_type(model: onnx.ModelProto) -> int:
    return next(tensor.data_type for tensor in model.graph.initializer if tensor.name == "w_quantized")


@pytest.mark.parametrize("is_reshaped", [False, True], ids=["last", "before a Reshape"])
def test_int8_static_softmax_of_many_classes_stays_accurate(is_reshaped: bool, tmp_path: Path) -> None:
    nodes = [helper.make_node("Softmax", ["m"], ["s"])]
    if is_reshaped:
        nodes.append(helper.make_node("Flatten", ["s"], ["y"]))
    model = matrix(nodes, input_names="y" if is_reshaped else "s", classes=1000)
    convert_static(model, draw_rows(16, 8), tmp_path)
    assert compute_max_difference(model, draw_rows(16, 8), tmp_path) < 1e-4  # a share is 1e-3, and a step of int8 4e-3


def test_int8_static_output_sigmoid_is_not_quantized(tmp_path: Path) -> None:
    model = matrix([helper.make_node("Sigmoid", ["m"], ["p"])], input_names="p")
    int8_model = convert_static(model, draw_rows(16, 8), tmp_path)
    assert int8_model.graph.node[-1].op_type == "Sigmoid"
    assert any(node.op_type == "DequantizeLinear" for node in int8_model.graph.node)


def test_int8_static_attention_stays_accurate(tmp_path: Path) -> None:
    model, input_rows = networks.attention(), draw_rows(16, 4, 8)
    convert_static(model, input_rows, tmp_path)
    assert compute_max_difference(model, input_rows, tmp_path) < 0.03


def test_int8_static_output_read_by_a_relu_has_negative_values(tmp_path: Path) -> None:
    model = matrix([helper.make_node("Relu", ["m"], ["r"])], input_names="m r")
    convert_static(model, draw_rows(16, 8), tmp_path)
    assert compute_max_difference(model, draw_rows(16, 8), tmp_path) < 0.02


@pytest.mark.parametrize("opset", [7, 9])
def test_int8_static_upgrades_an_old_opset(opset: int, tmp_path: Path) -> None:
    model = networks.upsampled() if opset == 9 else matrix()
    model.opset_import[0].version = opset
    input_rows = draw_rows(16, 3, 8, 8) if opset == 9 else draw_rows(16, 8)
    int8_model = convert_static(model, input_rows, tmp_path)
    assert int8_model.opset_import[0].version >= 13
    assert compute_max_difference(model, input_rows, tmp_path) < 0.03


def test_opset_that_cannot_be_upgraded_is_rejected(tmp_path: Path) -> None:
    model = matrix([helper.make_node("Scan", ["m"], ["y"], body=helper.make_graph([], "b", [], []), num_scan_inputs=1)])
    model.opset_import[0].version = 8
    with pytest.raises(UsageError, match="int8 needs opset 13, but the model cannot be converted to it from 8"):
        convert_dynamic(model, tmp_path)


def test_int8_dynamic_matrices_are_signed_and_convolutions_unsigned(tmp_path: Path) -> None:
    int8_model, notes = convert_dynamic(matrix(), tmp_path)
    assert (get_weight_type(int8_model), notes) == (TensorProto.INT8, ())
    int8_model, notes = convert_dynamic(networks.upsampled(), tmp_path)
    assert get_weight_type(int8_model) == TensorProto.UINT8
    assert any("use int8-static for convolutions" in note for note in notes)


def test_int8_dynamic_converts_transposed_constant_weights(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["w"], value=helper.make_tensor("v", 1, [1], [0.5])),
        helper.make_node("Gemm", ["x", "w"], ["y"], transB=1),
    ]
    shape = helper.make_tensor("shape", TensorProto.INT64, [2], [3, 8])
    int8_model, _ = convert_dynamic(
        networks.network(nodes, {"x": ["b", 8]}, {"y": ["b", 3]}, [shape], opset=9), tmp_path
    )
    assert Counter(node.op_type for node in int8_model.graph.node)["MatMulInteger"] == 1


def test_7_bit_weights_where_products_may_overflow_are_noted(tmp_path: Path) -> None:
    int8_model, notes = convert_dynamic(matrix(), tmp_path, spares_a_bit=True)
    (weights,) = (
        onnx.numpy_helper.to_array(tensor) for tensor in int8_model.graph.initializer if tensor.name == "w_quantized"
    )
    assert np.abs(weights.astype(int)).max() <= 64
    assert any("7 bits" in note for note in notes)


def test_unconverted_products_are_counted_in_the_notes(tmp_path: Path) -> None:
    _, notes = convert_dynamic(networks.attention(), tmp_path)
    assert notes == ("2 convolutions or matrix products are not converted",)


def test_model_without_int8_nodes_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the model has no node that can be converted to int8-dynamic"):
        convert_dynamic(networks.tree(), tmp_path)
