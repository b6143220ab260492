from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import profiles
from app.inference.probe import DIGITS_MODEL, DIGITS_ROWS
from app.inference.session import open_session

MODELS = Path(profiles.__file__).parent / "models"


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    document: dict[str, Any] = json.loads((MODELS / "digits.json").read_text(encoding="utf-8"))
    return document


@pytest.mark.parametrize("what", ["model", "script", "rows"])
def test_digits_files_match_recorded_checksums(record: dict[str, Any], what: str) -> None:
    assert hashlib.sha256((MODELS / record[what]).read_bytes()).hexdigest() == record[f"{what}_sha256"]


def test_recorded_accuracy_is_reproduced(record: dict[str, Any]) -> None:
    rows = np.load(DIGITS_ROWS)
    (scores,) = open_session(DIGITS_MODEL, "cpu", threads=1).run({"image": rows["image"]})
    right = int((scores.argmax(axis=1) == rows["label"]).sum())
    assert (right, len(rows["label"])) == (record["held_out_right"], record["held_out_rows"])
    assert record["held_out_accuracy"] == right / 450 >= 0.98


def test_digits_model_is_small_and_has_expected_inputs_and_outputs(record: dict[str, Any]) -> None:
    rows = np.load(DIGITS_ROWS)
    session = open_session(DIGITS_MODEL, "cpu", threads=1)
    assert DIGITS_MODEL.stat().st_size == record["size_bytes"] <= 2_000_000
    assert [(spec.name, spec.dtype, spec.shape) for spec in session.inputs] == [("image", "float32", (-1, 1, 8, 8))]
    assert [(spec.name, spec.dtype, spec.shape) for spec in session.outputs] == [("scores", "float32", (-1, 10))]
    assert (rows["image"].dtype, rows["image"].shape) == (np.float32, (450, 1, 8, 8))
    assert (rows["image"].min(), rows["image"].max()) == (0, 16)


def test_batched_outputs_equal_single_row_outputs() -> None:
    image = np.load(DIGITS_ROWS)["image"][:4]
    session = open_session(DIGITS_MODEL, "cpu", threads=1)
    single_row_scores = np.concatenate([session.run({"image": image[row : row + 1]})[0] for row in range(4)])
    np.testing.assert_allclose(session.run({"image": image})[0], single_row_scores, rtol=1e-4, atol=1e-4)
