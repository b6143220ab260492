from __future__ import annotations

import pytest
from msgspec.structs import replace

from app.analysis.language_models import load_language_models
from app.analysis.published_points import load_published_points
from app.planning.step_times.closed_loop import MEAN_LENGTH
from app.planning.step_times.nearest import (
    COUNT,
    PlannedLoad,
    compute_user_tokens_per_s,
    count_running_sequences,
    find_nearest_points,
)
from app.profiles.pricing.catalog import load_catalog
from app.records.service import TokenService

ACCELERATORS = load_catalog().accelerators
POINT = next(
    point
    for point in load_published_points()
    if point.served.model == "llama-3.1-70b" and point.served.engine == "vllm" and point.clients == 16
)
LOAD = PlannedLoad(
    POINT.served,
    load_language_models()["llama-3.1-70b"].shape,
    ACCELERATORS[POINT.served.accelerator],
    MEAN_LENGTH * POINT.input_tokens,
    MEAN_LENGTH * POINT.output_tokens,
    POINT.clients,
)


def test_nearest_point_of_a_published_load_is_that_point() -> None:
    nearest, *others = find_nearest_points(LOAD, ACCELERATORS)
    assert (nearest.point.served.model, nearest.point.clients) == ("llama-3.1-70b", 16)
    assert nearest.distance == pytest.approx(0)
    assert len(others) == COUNT - 1
    distances = [point.distance for point in others]
    assert distances == sorted(distances)
    assert distances[0] > 0
    assert nearest.predicted_tpot_ms == pytest.approx(nearest.point.tpot_ms, rel=0.5)


def test_nearest_points_have_one_point_per_curve() -> None:
    points = find_nearest_points(LOAD, ACCELERATORS)
    curves = {
        (replace(near.point.served, version=""), near.point.input_tokens, near.point.output_tokens) for near in points
    }
    assert len(curves) == len(points)


def test_model_without_published_points_has_points_of_similar_models() -> None:
    shape = load_language_models()["qwen3-32b"].shape
    load = replace(LOAD, served=replace(LOAD.served, model="qwen3-32b"), shape=shape)
    points = find_nearest_points(load, ACCELERATORS)
    assert {near.point.served.model for near in points} <= {"llama-3.1-8b", "llama-3.1-70b"}
    assert points[0].distance >= 2


def test_points_on_unknown_accelerators_are_omitted() -> None:
    few = {"h200-sxm-141gb": ACCELERATORS["h200-sxm-141gb"]}
    assert {near.point.served.accelerator for near in find_nearest_points(LOAD, few)} == {"h200-sxm-141gb"}
    assert find_nearest_points(LOAD, {}) == ()


def test_running_sequences_follow_littles_law_up_to_the_engine_limit() -> None:
    service = TokenService(0.01, 0.0, 0.0, max_sequences=64, kv_tokens=10**6)
    assert count_running_sequences(service, 2.0, 100, 200) == pytest.approx(2.0 * 200 * 0.01)
    assert count_running_sequences(service, 0.01, 100, 200) == 1
    assert count_running_sequences(service, 100.0, 100, 200) == 64
    busy = replace(service, prefill_s_per_token=0.5 / (2.0 * 100))
    assert count_running_sequences(busy, 2.0, 100, 200) == pytest.approx(2 * 2.0 * 200 * 0.01)


def test_tokens_of_a_user_times_running_sequences_are_the_tokens_of_the_replica() -> None:
    service = TokenService(0.01, 0.0002, 0.0005, max_sequences=64, kv_tokens=10**6, per_kv_token_s=1e-8)
    for rate_per_s in (1.0, 4.0, 8.0):
        sequences = count_running_sequences(service, rate_per_s, 100, 200)
        assert 1 < sequences < 64
        user_tokens_per_s = compute_user_tokens_per_s(service, rate_per_s, 100, 200)
        assert sequences * user_tokens_per_s == pytest.approx(rate_per_s * 200, rel=1e-6)


def test_lone_user_receives_a_token_each_step() -> None:
    service = TokenService(0.01, 0.0, 0.0, max_sequences=64, kv_tokens=10**6)
    assert compute_user_tokens_per_s(service, 0.01, 100, 200) == pytest.approx(100)
