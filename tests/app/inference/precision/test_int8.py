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

FREE = (TensorSpec("x", "float32", (-1, 3)),)


def written(folder: Path, *arrays: Any) -> Path:
    np.savez(folder / "rows.npz", *arrays)
    return folder / "rows.npz"


def test_all_rows_come_in_batches_and_no_array_that_is_no_input(tmp_path: Path) -> None:
    rows = np.arange(60, dtype=np.float32).reshape(20, 3)
    batches = load_calibration_batches(written(tmp_path, np.zeros(20), rows), ("label", "x"), FREE)
    assert [len(batch["x"]) for batch in batches] == [16, 4]
    assert [set(batch) for batch in batches] == [{"x"}, {"x"}]
    np.testing.assert_array_equal(np.concatenate([batch["x"] for batch in batches]), rows)


def test_model_of_a_fixed_batch_has_whole_batches_only(tmp_path: Path) -> None:
    path, fixed = written(tmp_path, np.zeros((20, 3), np.float32)), (TensorSpec("x", "float32", (8, 3)),)
    assert [len(batch["x"]) for batch in load_calibration_batches(path, ("x",), fixed)] == [8, 8]
    with pytest.raises(UsageError, match="has a fixed batch size of 32, but there are only 20"):
        load_calibration_batches(path, ("x",), (TensorSpec("x", "float32", (32, 3)),))


def test_text_comes_back_as_the_runtime_takes_it(tmp_path: Path) -> None:
    (batch,) = load_calibration_batches(
        written(tmp_path, np.array(["a", "bc"])), ("x",), (TensorSpec("x", "object", (-1,)),)
    )
    assert batch["x"].dtype == object
    assert batch["x"].tolist() == ["a", "bc"]


def test_rows_of_another_type_are_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="input x expects float32, but the calibration rows are float64"):
        load_calibration_batches(written(tmp_path, np.zeros((2, 3))), ("x",), FREE)


Rows = npt.NDArray[np.float32]


def rows(*shape: int) -> Rows:
    return np.random.default_rng(3).random(shape, np.float32)


def static(model: Any, given: Rows, folder: Path) -> onnx.ModelProto:
    """Made as the product makes it for this processor: without VNNI, products of 8-bit weights may overflow."""
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    with capture_output():
        convert_to_int8_static(copy, folder / "int8.onnx", products_may_overflow(), [{"x": given}])
    return onnx.load(folder / "int8.onnx")


def dynamic(model: Any, folder: Path, *, spares_a_bit: bool = False) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    with capture_output():
        notes = convert_to_int8_dynamic(model, folder / "int8.onnx", spares_a_bit)
    return onnx.load(folder / "int8.onnx"), notes


def difference(model: Any, given: Rows, folder: Path) -> float:
    """The largest of all outputs, between int8 and fp32."""
    networks.saved(folder / "fp32.onnx", model)
    answers = (open_session(folder / f"{kind}.onnx", "cpu", threads=1).run({"x": given}) for kind in ("int8", "fp32"))
    return max(float(np.abs(one - other).max()) for one, other in zip(*answers, strict=True))


def weight_type(model: onnx.ModelProto) -> int:
    return next(tensor.data_type for tensor in model.graph.initializer if tensor.name == "w_quantized")


@pytest.mark.parametrize("arranged", [False, True], ids=["last", "before a Reshape"])
def test_shares_of_many_classes_are_reported_apart(arranged: bool, tmp_path: Path) -> None:
    nodes = [helper.make_node("Softmax", ["m"], ["s"])]
    if arranged:
        nodes.append(helper.make_node("Flatten", ["s"], ["y"]))
    model = matrix(nodes, given="y" if arranged else "s", classes=1000)
    static(model, rows(16, 8), tmp_path)
    assert difference(model, rows(16, 8), tmp_path) < 1e-4  # a share is 1e-3, and a step of int8 4e-3


def test_probability_stays_finer_than_a_step_though_nodes_have_no_names(tmp_path: Path) -> None:
    model = matrix([helper.make_node("Sigmoid", ["m"], ["p"])], given="p")
    made = static(model, rows(16, 8), tmp_path)
    assert made.graph.node[-1].op_type == "Sigmoid"
    assert any(node.op_type == "DequantizeLinear" for node in made.graph.node)


def test_shares_within_a_model_come_out_right(tmp_path: Path) -> None:
    model, given = networks.attention(), rows(16, 4, 8)
    static(model, given, tmp_path)
    assert difference(model, given, tmp_path) < 0.03


def test_answer_that_a_relu_reads_keeps_its_negative_half(tmp_path: Path) -> None:
    model = matrix([helper.make_node("Relu", ["m"], ["r"])], given="m r")
    static(model, rows(16, 8), tmp_path)
    assert difference(model, rows(16, 8), tmp_path) < 0.02


@pytest.mark.parametrize("opset", [7, 9])
def test_old_opset_is_brought_to_one_that_has_scales_a_channel(opset: int, tmp_path: Path) -> None:
    model = networks.upsampled() if opset == 9 else matrix()
    model.opset_import[0].version = opset
    given = rows(16, 3, 8, 8) if opset == 9 else rows(16, 8)
    made = static(model, given, tmp_path)
    assert made.opset_import[0].version >= 13
    assert difference(model, given, tmp_path) < 0.03


def test_opset_that_cannot_be_brought_there_is_reported(tmp_path: Path) -> None:
    model = matrix([helper.make_node("Scan", ["m"], ["y"], body=helper.make_graph([], "b", [], []), num_scan_inputs=1)])
    model.opset_import[0].version = 8
    with pytest.raises(UsageError, match="int8 needs opset 13, but the model cannot be converted to it from 8"):
        dynamic(model, tmp_path)


def test_matrices_are_signed_and_convolutions_unsigned(tmp_path: Path) -> None:
    made, notes = dynamic(matrix(), tmp_path)
    assert (weight_type(made), notes) == (TensorProto.INT8, ())
    made, notes = dynamic(networks.upsampled(), tmp_path)
    assert weight_type(made) == TensorProto.UINT8
    assert any("use int8-static for convolutions" in note for note in notes)


def test_transposed_weights_are_folded_and_made_int8(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["w"], value=helper.make_tensor("v", 1, [1], [0.5])),
        helper.make_node("Gemm", ["x", "w"], ["y"], transB=1),
    ]
    shape = helper.make_tensor("shape", TensorProto.INT64, [2], [3, 8])
    made, _ = dynamic(networks.network(nodes, {"x": ["b", 8]}, {"y": ["b", 3]}, [shape], opset=9), tmp_path)
    assert Counter(node.op_type for node in made.graph.node)["MatMulInteger"] == 1


def test_a_bit_is_spared_where_products_may_overflow_and_it_is_said(tmp_path: Path) -> None:
    made, notes = dynamic(matrix(), tmp_path, spares_a_bit=True)
    (weights,) = (onnx.numpy_helper.to_array(one) for one in made.graph.initializer if one.name == "w_quantized")
    assert np.abs(weights.astype(int)).max() <= 64
    assert any("7 bits" in note for note in notes)


def test_products_that_stay_as_they_were_are_counted(tmp_path: Path) -> None:
    _, notes = dynamic(networks.attention(), tmp_path)
    assert notes == ("2 convolutions or matrix products are not converted",)


def test_model_with_nothing_to_quantise_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the model has no node that can be converted to int8-dynamic"):
        dynamic(networks.tree(), tmp_path)
