from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from app.errors import UsageError
from app.inference.precision.fp16 import convert_to_fp16
from app.inference.session import open_session
from tests.fakes import networks


def test_fp16_model_has_fp32_inputs_and_outputs_and_fp16_weights(tmp_path: Path) -> None:
    notes = convert_to_fp16(networks.matrix(), tmp_path / "m.onnx")
    assert any("without an fp16 kernel run in fp32" in note for note in notes)
    session = open_session(tmp_path / "m.onnx", "cpu", threads=1)
    assert {spec.dtype for spec in (*session.inputs, *session.outputs)} == {"float32"}
    (weights,) = onnx.load(tmp_path / "m.onnx").graph.initializer
    assert weights.data_type == TensorProto.FLOAT16


def test_model_that_already_uses_fp16_is_rejected(tmp_path: Path) -> None:
    cast = [helper.make_node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16)]
    product = [helper.make_node("MatMul", ["h", "w"], ["p"]), helper.make_node("Cast", ["p"], ["y"], to=1)]
    stored = [networks.weights("w", 8, 8, kind="float16")]
    model = networks.network([*cast, *product], {"x": ["b", 8]}, {"y": ["b", 8]}, stored)
    with pytest.raises(
        UsageError, match="the model has no node that can be converted to fp16, because it already uses fp16"
    ):
        convert_to_fp16(model, tmp_path / "m.onnx")


def test_model_without_fp16_nodes_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"the model has no node that can be converted to fp16$"):
        convert_to_fp16(networks.tree(), tmp_path / "m.onnx")


def test_fp16_outputs_are_close_to_fp32_outputs(tmp_path: Path) -> None:
    rows = np.random.default_rng(1).random((4, 4, 8), np.float32)
    networks.save_network(tmp_path / "fp32.onnx", networks.attention())
    convert_to_fp16(networks.attention(), tmp_path / "fp16.onnx")
    half, full = (
        open_session(tmp_path / f"{kind}.onnx", "cpu", threads=1).run({"x": rows})[0] for kind in ("fp16", "fp32")
    )
    np.testing.assert_allclose(half, full, atol=2e-3)
