from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import profiles
from app.inference.session import open_session
from profiles.models.make_random_models import write_models

MODELS = Path(profiles.__file__).parent / "models"
NAMES = ("fraud", "recommendation", "perception")


@pytest.mark.parametrize("name", NAMES)
def test_random_models_are_small(name: str) -> None:
    assert (MODELS / f"{name}.onnx").stat().st_size < 150_000


def test_script_reproduces_stored_perception_model(tmp_path: Path) -> None:
    """The outputs are compared: another release of onnx may write other bytes."""
    write_models(tmp_path)
    frame = {"frame": np.linspace(0, 1, 3 * 96 * 160, dtype=np.float32).reshape(1, 3, 96, 160)}
    written, stored = (
        open_session(folder / "perception.onnx", "cpu", threads=1).run(frame)[0] for folder in (tmp_path, MODELS)
    )
    assert np.array_equal(written, stored)


def test_recommendation_model_accepts_any_id() -> None:
    session = open_session(MODELS / "recommendation.onnx", "cpu", threads=1)
    ids = {"user": np.array([[-5]]), "items": np.full((1, 100), 2**62)}
    (scores,) = session.run(ids)
    assert scores.shape == (1, 100)
    assert np.isfinite(scores).all()


def test_fraud_scores_are_probabilities() -> None:
    session = open_session(MODELS / "fraud.onnx", "cpu", threads=1)
    (scores,) = session.run({"features": np.full((2, 30), 3, np.float32)})
    assert ((scores >= 0) & (scores <= 1)).all()
