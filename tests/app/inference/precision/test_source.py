from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from app.errors import UsageError
from app.inference.precision.source import load_source_model
from tests.fakes import hostile_models, networks


def test_external_weights_are_loaded_into_the_model(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(np.full(32, 2, np.float32).tobytes())
    (tensor,) = load_source_model(hostile_models.weights_at(tmp_path, "w.bin")).graph.initializer
    assert np.frombuffer(tensor.raw_data, np.float32).tolist() == [2.0] * 32


def test_weights_with_several_hard_links_are_rejected(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    with pytest.raises(UsageError, match="several hard links"):
        load_source_model(hostile_models.by_a_hard_link(folder))


def test_weight_listed_as_input_is_removed_from_the_inputs(tmp_path: Path) -> None:
    model = networks.matrix()
    model.graph.input.append(helper.make_tensor_value_info("w", 1, [8, 8]))
    model.ir_version = 3
    loaded = load_source_model(networks.save_network(tmp_path / "m.onnx", model))
    assert [value.name for value in loaded.graph.input] == ["x"]
    assert loaded.ir_version >= 7


def test_model_functions_are_inlined_in_the_loaded_model(tmp_path: Path) -> None:
    model = networks.matrix([helper.make_node("twice", ["m"], ["y"], domain="own")], input_names="y")
    opsets = [helper.make_opsetid("", 17)]
    nodes = [helper.make_node("Add", ["a", "a"], ["b"])]
    model.functions.append(helper.make_function("own", "twice", ["a"], ["b"], nodes, opsets))
    model.opset_import.append(helper.make_opsetid("own", 1))
    loaded = load_source_model(networks.save_network(tmp_path / "m.onnx", model))
    assert [node.op_type for node in loaded.graph.node] == ["MatMul", "Add"]
