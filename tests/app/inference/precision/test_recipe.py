from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from app.errors import UsageError
from app.inference.precision.recipe import MAX_MODEL_BYTES, build_recipe
from app.inference.probe import DIGITS_MODEL
from tests.fakes.hostile_models import weights_at

pytestmark = pytest.mark.process

ROWS = {"image": np.zeros((2, 1, 8, 8), np.float32)}


def test_recipe_includes_calibration_rows_only_for_int8_static() -> None:
    assert build_recipe(DIGITS_MODEL, "fp16", ROWS) == build_recipe(DIGITS_MODEL, "fp16", None)
    static = build_recipe(DIGITS_MODEL, "int8-static", ROWS)
    assert static == build_recipe(DIGITS_MODEL, "int8-static", {"image": ROWS["image"].copy()})
    others: list[dict[str, np.ndarray]] = [
        {"image": ROWS["image"] + 1},
        {"image": ROWS["image"].reshape(2, 64)},
        {"other": ROWS["image"]},
    ]
    assert len({static.key, *(build_recipe(DIGITS_MODEL, "int8-static", other).key for other in others)}) == 4


def test_recipe_hashes_strings_by_value() -> None:
    first, equal, other = ({"t": np.array([["a"], [word]], object)} for word in ("b", "b", "c"))
    keys = [build_recipe(DIGITS_MODEL, "int8-static", rows).key for rows in (first, equal, other)]
    assert keys[0] == keys[1] != keys[2]


def test_recipe_includes_external_weights(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(128))
    model = weights_at(tmp_path, "w.bin")
    before = build_recipe(model, "fp16", None)
    (tmp_path / "w.bin").write_bytes(b"\1" * 128)
    after = build_recipe(model, "fp16", None)
    assert before.model_sha256 == after.model_sha256
    assert before.key != after.key
    assert after.model_bytes == model.stat().st_size + 128


def test_recipe_includes_tool_versions() -> None:
    tools = build_recipe(DIGITS_MODEL, "fp16", None).tools
    assert any(tool.startswith("onnx ") for tool in tools)
    assert any(tool.startswith("onnxruntime") for tool in tools)


def test_model_above_the_onnx_file_size_limit_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(128))
    os.truncate(tmp_path / "w.bin", MAX_MODEL_BYTES)  # a sparse file, which uses no disk space
    with pytest.raises(UsageError, match=r"the model and its weights have 1\.9 GiB"):
        build_recipe(weights_at(tmp_path, "w.bin"), "fp16", None)
