from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from app.errors import MeasurementError, UsageError
from app.inference.precision.trial import open_on_cpu, run_converted_model
from tests.fakes import networks

ROWS = {"x": np.ones((2, 8), np.float32)}


def test_invalid_converted_model_is_rejected(tmp_path: Path) -> None:
    original = open_on_cpu(networks.save_network(tmp_path / "fp32.onnx", networks.matrix()))
    (tmp_path / "made.onnx").write_bytes(b"nothing")
    with pytest.raises(UsageError, match="the converted model does not run: made\\.onnx is not a model"):
        run_converted_model(original, tmp_path / "made.onnx", ROWS)


def test_converted_model_with_other_outputs_is_rejected(tmp_path: Path) -> None:
    original = open_on_cpu(networks.save_network(tmp_path / "fp32.onnx", networks.matrix()))
    other = networks.matrix([helper.make_node("Relu", ["m"], ["r"])], input_names="r")
    with pytest.raises(MeasurementError, match="different inputs or outputs"):
        run_converted_model(original, networks.save_network(tmp_path / "made.onnx", other), ROWS)


def test_non_finite_outputs_of_a_converted_model_are_noted(tmp_path: Path) -> None:
    original = open_on_cpu(networks.save_network(tmp_path / "fp32.onnx", networks.matrix()))
    assert run_converted_model(original, networks.save_network(tmp_path / "same.onnx", networks.matrix()), ROWS) == ()
    other = networks.matrix()
    other.graph.initializer[0].raw_data = np.full((8, 8), np.inf, np.float32).tobytes()
    (note,) = run_converted_model(original, networks.save_network(tmp_path / "made.onnx", other), ROWS)
    assert "non-finite" in note
