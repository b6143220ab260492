from __future__ import annotations

import numpy as np
import pytest

from app.analysis.comparisons.series import MIN_VALUES, find_change_points


def series(*levels: tuple[float, int], cv: float = 0.02, seed: int = 1) -> list[float]:
    rng = np.random.default_rng(seed)
    return [level * float(rng.lognormal(0, cv)) for level, count in levels for _ in range(count)]


def test_change_point_is_detected_at_level_shift() -> None:
    (change_point,) = find_change_points(series((100, 15), (115, 15)))
    assert change_point.index == 15
    assert change_point.ratio == pytest.approx(1.15, rel=0.02)
    assert change_point.p_value < 0.001


def test_rise_and_fall_are_two_change_points() -> None:
    change_points = find_change_points(series((100, 20), (130, 20), (100, 20)))
    assert [change_point.index for change_point in change_points] == [20, 40]
    assert [change_point.ratio > 1 for change_point in change_points] == [True, False]


def test_change_within_tolerance_is_not_change_point() -> None:
    steps = series((100, 40), (104, 40), cv=0.001)
    assert find_change_points(steps) == ()
    assert len(find_change_points(steps, tolerance=0.02)) == 1


def test_noise_is_rarely_detected_as_change_point() -> None:
    results = [find_change_points(series((100, 30), cv=0.10, seed=seed)) for seed in range(200)]
    assert sum(bool(change_points) for change_points in results) <= 8, (
        "four of 200 are expected at p = 0.02, and more than eight in one of 40 series of 200"
    )


def test_too_few_runs_have_no_change_points() -> None:
    clear = series((100, MIN_VALUES // 2 - 1), (200, MIN_VALUES // 2))
    assert find_change_points(clear) == ()
    assert len(find_change_points(series((100, MIN_VALUES // 2), (200, MIN_VALUES // 2)))) == 1


def test_single_outlier_is_not_change_point() -> None:
    values = series((100, 30))
    values[12] *= 3
    assert find_change_points(values) == ()
