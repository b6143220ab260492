from __future__ import annotations

import numpy as np
import pytest

from app.analysis.columns import Floats
from app.analysis.paired_bootstrap import compared_errors


def errors(rows: int, seed: int, shift: float = 0.1) -> tuple[Floats, Floats]:
    """Skewed errors of mean 1 + shift now and 1 in the reference, with 0.9 in common."""
    rng = np.random.default_rng(seed)
    common = 0.9 * rng.exponential(1, rows)
    return common + (0.1 + shift) * rng.exponential(1, rows), common + 0.1 * rng.exponential(1, rows)


@pytest.mark.parametrize(("rows", "least"), [(20, 0.9), (200, 0.93)])
def test_intervals_hold_the_truth_about_as_often_as_they_say(rows: int, least: float) -> None:
    """Skewed values of 20 rows leave it a little under 95 %."""
    found = [compared_errors(*errors(rows, seed)) for seed in range(300)]
    differences = [each.difference for each in found if each.difference]
    ratios = [each.ratio for each in found if each.ratio]
    assert len(differences) == len(ratios) == 300
    assert least <= np.mean([low <= 0.1 <= high for low, high in differences]) <= 0.98
    assert least <= np.mean([low <= 1 / 1.1 <= high for low, high in ratios]) <= 0.98


def test_no_difference_is_found_one_time_in_twenty() -> None:
    found = [compared_errors(*errors(100, seed, shift=0.0)).p_value for seed in range(400)]
    assert 0.02 <= np.mean([p is not None and p < 0.05 for p in found]) <= 0.08


def test_pairing_cancels_what_the_errors_share() -> None:
    now, reference = errors(1_000, 3)
    paired, strangers = compared_errors(now, reference), compared_errors(now, np.sort(reference))
    assert paired.difference is not None
    assert strangers.difference is not None
    assert np.ptp(strangers.difference) > 3 * np.ptp(paired.difference)


def test_groups_of_many_rows_leave_the_spread_as_it_is() -> None:
    now, reference = errors(25_003, 4)
    difference = now - reference
    expected = 2 * 1.96 * difference.std() / np.sqrt(difference.size)
    found = compared_errors(now, reference).difference
    assert found is not None
    assert np.ptp(found) == pytest.approx(expected, rel=0.06)
    assert np.mean(found) == pytest.approx(difference.mean(), abs=expected / 10)


def test_the_same_rows_give_the_same_answer() -> None:
    assert compared_errors(*errors(50, 5)) == compared_errors(*errors(50, 5))


def test_few_rows_have_no_interval() -> None:
    few = compared_errors(*errors(19, 6))
    assert (few.difference, few.ratio, few.p_value) == (None, None, None)
    assert few.reason == "no interval from fewer than 20 rows"


def test_a_ratio_to_hardly_any_error_is_withheld() -> None:
    now, reference = np.zeros(30), np.ones(30)
    now[0] = 1.0
    found = compared_errors(now, reference)
    assert found.ratio is None
    assert found.reason == "no interval: hardly a row has an error"
    assert found.difference is not None
