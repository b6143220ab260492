from __future__ import annotations

import numpy as np
import pytest

from app.analysis.comparisons.series import MIN_VALUES, find_change_points


def series(*levels: tuple[float, int], cv: float = 0.02, seed: int = 1) -> list[float]:
    rng = np.random.default_rng(seed)
    return [level * float(rng.lognormal(0, cv)) for level, count in levels for _ in range(count)]


def test_a_step_is_found_where_it_is() -> None:
    (found,) = find_change_points(series((100, 15), (115, 15)))
    assert found.index == 15
    assert found.ratio == pytest.approx(1.15, rel=0.02)
    assert found.p_value < 0.001


def test_a_rise_and_a_fall_are_two() -> None:
    found = find_change_points(series((100, 20), (130, 20), (100, 20)))
    assert [one.index for one in found] == [20, 40]
    assert [one.ratio > 1 for one in found] == [True, False]


def test_a_change_within_the_tolerance_is_none_however_sure() -> None:
    steps = series((100, 40), (104, 40), cv=0.001)
    assert find_change_points(steps) == ()
    assert len(find_change_points(steps, tolerance=0.02)) == 1


def test_noise_alone_is_seldom_a_change() -> None:
    quiet = [find_change_points(series((100, 30), cv=0.10, seed=seed)) for seed in range(200)]
    assert sum(bool(found) for found in quiet) <= 8, "at p 0.02: four in 200, and eight in one series of 200 in 40"


def test_too_few_runs_say_nothing() -> None:
    clear = series((100, MIN_VALUES // 2 - 1), (200, MIN_VALUES // 2))
    assert find_change_points(clear) == ()
    assert len(find_change_points(series((100, MIN_VALUES // 2), (200, MIN_VALUES // 2)))) == 1


def test_one_odd_run_is_no_change() -> None:
    values = series((100, 30))
    values[12] *= 3
    assert find_change_points(values) == ()
