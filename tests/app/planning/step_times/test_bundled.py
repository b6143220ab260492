from __future__ import annotations

from collections import Counter

import msgspec
import numpy as np
import pytest

from app.analysis.language_models import load_language_models
from app.analysis.published_points import load_published_points
from app.planning.step_times.bundled import FILE, format_evidence, load_bundled_evidence
from app.planning.step_times.intervals import MIN_GROUP, NOVELTIES
from tests.studies.published_folds import build_loops


def test_bundled_points_are_predicted_within_5_percent_tpot_and_16_percent_ttft() -> None:
    """A fit on another processor differs in the last digits."""
    evidence, published = load_bundled_evidence(), build_loops(load_published_points())
    predicted = evidence.model.predict(published.loops)
    assert np.median(np.abs(predicted["tpot"] / published.tpot_s - 1)) < 0.05
    assert np.median(np.abs(predicted["ttft"] / published.ttft_s - 1)) < 0.16
    counts = Counter(point.served.accelerator for point in published.points)
    assert evidence.known["gpu"] == {accelerator for accelerator, points in counts.items() if points >= MIN_GROUP}
    assert counts["gb200-186gb"] < MIN_GROUP
    assert evidence.errors.keys() == set(NOVELTIES)


def test_bundled_file_survives_a_round_trip() -> None:
    assert FILE.read_bytes() == format_evidence(load_bundled_evidence())
    assert len(FILE.read_bytes()) < 50_000


def test_model_is_identified_by_its_shape() -> None:
    evidence, models = load_bundled_evidence(), load_language_models()
    assert evidence.find_model(models["deepseek-v3"].shape) == "deepseek-v3"
    assert evidence.find_model(models["kimi-k2"].shape) is None
    assert evidence.find_model(models["llama-3-8b"].shape) == "llama-3.1-8b"
    assert evidence.find_model(models["llama-2-7b"].shape) is None, "four times as many KV heads"
    assert evidence.find_model(msgspec.structs.replace(models["deepseek-v3"].shape, layers=60)) is None


@pytest.mark.parametrize("novelty", NOVELTIES)
def test_error_intervals_have_a_lower_and_an_upper_bound(novelty: str) -> None:
    for errors in load_bundled_evidence().errors[novelty].values():  # type: ignore[index]
        assert errors.below < 0 < errors.above
