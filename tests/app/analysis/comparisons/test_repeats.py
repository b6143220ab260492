from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from app.analysis.comparisons.repeats import (
    Repeats,
    adjust_p_values,
    compute_detectable_change,
    compute_median,
    compute_noise,
    compute_p_value,
    compute_ratio,
    compute_small_sample_interval,
    estimate_more_repeats,
)
from app.records.estimate import Estimate

Numbers = tuple[float, ...]


def said(*values: float) -> tuple[Estimate, ...]:
    return tuple(Estimate(value) for value in values)


def drawn(seed: int, count: int, noise: float, ratio: float = 1.0) -> Repeats:
    generator = np.random.default_rng(seed)
    baseline, candidate = np.exp(generator.normal(0, noise, (2, count)))
    return Repeats(said(*baseline), said(*(ratio * candidate)))


@pytest.mark.parametrize(("count", "rarest"), [(3, 1 / 20), (4, 1 / 70), (5, 1 / 252), (7, 1 / 3432)])
def test_the_rarest_order_of_the_repeats_has_its_exact_probability(count: int, rarest: float) -> None:
    low, high = said(*range(1, count + 1)), said(*range(11, count + 11))
    assert compute_p_value(Repeats(low, high)) == pytest.approx(rarest)
    assert compute_p_value(Repeats(high, low)) == pytest.approx(rarest)


def test_holm_adjusts_as_in_its_worked_example() -> None:
    assert adjust_p_values([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert adjust_p_values([]) == []


@pytest.mark.parametrize("count", [3, 7])
def test_the_interval_of_the_ratio_covers_the_true_one(count: int) -> None:
    inside = 0
    for seed in range(300):
        ends = compute_ratio(drawn(seed, count, 0.05, 1.1)).ci95
        assert ends is not None
        inside += ends[0] <= 1.1 <= ends[1]
    assert inside / 300 > 0.9


def test_a_single_run_of_each_is_reported_apart_by_their_own_intervals() -> None:
    # by hand: ends in logarithms are 0.0953 and 0.0488 below and above their values
    repeats = Repeats((Estimate(10.0, (9.0, 11.0)),), (Estimate(20.0, (19.0, 21.0)),))
    ends = compute_ratio(repeats).ci95
    below = math.hypot(math.log(20 / 19), math.log(11 / 10))
    above = math.hypot(math.log(21 / 20), math.log(10 / 9))
    assert ends == pytest.approx((2 * math.exp(-below), 2 * math.exp(above)))


def test_few_repeats_have_students_interval_with_pooled_spread() -> None:
    baseline, candidate = np.array([10.0, 10.4, 10.2]), np.array([12.0, 12.2, 12.6])
    found = compute_small_sample_interval(Repeats(said(*baseline), said(*candidate)), 0.975)
    reported = stats.ttest_ind(np.log(candidate), np.log(baseline)).confidence_interval(0.95)
    assert found is not None
    assert found[1] - found[0] == pytest.approx(reported.high - reported.low)


@pytest.mark.parametrize(
    ("baseline", "candidate", "reason"),
    [
        ((0.0, 0.0), (1.0, 1.0), "the baseline value is 0"),
        ((1.0,), (2.0,), "too few repeats"),
        ((1.0, 2.0), (0.0, 0.0), "is 0"),
        ((1e-300, 1.0), (1.0, 1e300), "out of range"),
    ],
)
def test_what_has_no_ratio_or_no_interval_says_why(baseline: Numbers, candidate: Numbers, reason: str) -> None:
    found = compute_ratio(Repeats(said(*baseline), said(*candidate)))
    assert found.ci95 is None
    assert reason in str(found.reason)


def test_one_slow_run_in_seven_does_not_make_a_machine_noisy() -> None:
    quiet = [10.0, 10.1, 9.9, 10.2, 9.8, 10.05]
    noise = compute_noise(Repeats(said(*quiet, 15.0), said(*quiet, 10.0)))
    assert noise is not None
    assert noise < 0.03


@pytest.mark.parametrize("true_noise", [0.02, 0.05, 0.15])
def test_noise_is_near_the_true_one(true_noise: float) -> None:
    found = [compute_noise(drawn(seed, 7, true_noise)) for seed in range(300)]
    assert np.median([one for one in found if one is not None]) == pytest.approx(true_noise, rel=0.2)


@pytest.mark.soak
@pytest.mark.parametrize("noise", [0.02, 0.05])
def test_a_change_that_is_called_detectable_is_detected_four_times_in_five(noise: float) -> None:
    found = [compute_detectable_change(drawn(seed, 14, noise), 0.05, 1) for seed in range(200)]
    change = float(np.median([one for one in found if one is not None]))
    reported = 0
    for seed in range(400):
        repeats = drawn(seed, 14, noise, 1 + change)
        ratio = compute_ratio(repeats).value
        reported += compute_p_value(repeats) < 0.01 and ratio is not None and ratio > 1.05
    assert 0.75 < reported / 400 < 0.95


def test_as_many_more_repeats_as_are_called_for_do_decide() -> None:
    few = drawn(3, 5, 0.04, 1.08)
    more = estimate_more_repeats(few, 0.05, 1)
    assert more is not None
    decided = 0
    for seed in range(200):
        enough = drawn(seed, 5 + more, 0.04, 1.1)
        ratio = compute_ratio(enough).value
        decided += compute_p_value(enough) < 0.01 and ratio is not None and ratio > 1.05
    assert decided / 200 > 0.75


def test_no_number_of_repeats_decides_what_lies_on_the_tolerance() -> None:
    values = (10.0, 10.3, 9.7, 10.1, 9.9)
    assert estimate_more_repeats(Repeats(said(*values), said(*(1.0501 * value for value in values))), 0.05, 1) is None


def test_a_median_of_six_and_more_has_an_interval_by_order() -> None:
    assert compute_median(said(1, 2, 3, 4, 5, 6)).ci95 == (1, 6)
    assert compute_median(said(1, 2, 3)).ci95 is None
    assert compute_median((Estimate(2.0, (1.0, 3.0)),)).ci95 == (1.0, 3.0)
