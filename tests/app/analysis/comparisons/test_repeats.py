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


def build_estimates(*values: float) -> tuple[Estimate, ...]:
    return tuple(Estimate(value) for value in values)


def draw_repeats(seed: int, count: int, noise: float, ratio: float = 1.0) -> Repeats:
    generator = np.random.default_rng(seed)
    baseline, candidate = np.exp(generator.normal(0, noise, (2, count)))
    return Repeats(build_estimates(*baseline), build_estimates(*(ratio * candidate)))


@pytest.mark.parametrize(("count", "probability"), [(3, 1 / 20), (4, 1 / 70), (5, 1 / 252), (7, 1 / 3432)])
def test_p_value_of_separated_repeats_is_exact(count: int, probability: float) -> None:
    low, high = build_estimates(*range(1, count + 1)), build_estimates(*range(11, count + 11))
    assert compute_p_value(Repeats(low, high)) == pytest.approx(probability)
    assert compute_p_value(Repeats(high, low)) == pytest.approx(probability)


def test_holm_adjustment_matches_worked_example() -> None:
    assert adjust_p_values([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert adjust_p_values([]) == []


@pytest.mark.parametrize("count", [3, 7])
def test_interval_of_ratio_covers_true_ratio(count: int) -> None:
    inside = 0
    for seed in range(300):
        ends = compute_ratio(draw_repeats(seed, count, 0.05, 1.1)).ci95
        assert ends is not None
        inside += ends[0] <= 1.1 <= ends[1]
    assert inside / 300 > 0.9


def test_ratio_interval_of_single_runs_combines_their_intervals() -> None:
    # computed by hand: the ends are 0.0953 and 0.0488 below and above the logarithms of the values
    repeats = Repeats((Estimate(10.0, (9.0, 11.0)),), (Estimate(20.0, (19.0, 21.0)),))
    ends = compute_ratio(repeats).ci95
    below = math.hypot(math.log(20 / 19), math.log(11 / 10))
    above = math.hypot(math.log(21 / 20), math.log(10 / 9))
    assert ends == pytest.approx((2 * math.exp(-below), 2 * math.exp(above)))


def test_few_repeats_have_student_interval_with_pooled_variance() -> None:
    baseline, candidate = np.array([10.0, 10.4, 10.2]), np.array([12.0, 12.2, 12.6])
    interval = compute_small_sample_interval(Repeats(build_estimates(*baseline), build_estimates(*candidate)), 0.975)
    expected = stats.ttest_ind(np.log(candidate), np.log(baseline)).confidence_interval(0.95)
    assert interval is not None
    assert interval[1] - interval[0] == pytest.approx(expected.high - expected.low)


@pytest.mark.parametrize(
    ("baseline", "candidate", "reason"),
    [
        ((0.0, 0.0), (1.0, 1.0), "the baseline value is 0"),
        ((1.0,), (2.0,), "too few repeats"),
        ((1.0, 2.0), (0.0, 0.0), "is 0"),
        ((1e-300, 1.0), (1.0, 1e300), "out of range"),
    ],
)
def test_missing_ratio_or_interval_has_reason(baseline: Numbers, candidate: Numbers, reason: str) -> None:
    ratio = compute_ratio(Repeats(build_estimates(*baseline), build_estimates(*candidate)))
    assert ratio.ci95 is None
    assert reason in str(ratio.reason)


def test_one_slow_run_in_seven_does_not_raise_noise() -> None:
    quiet = [10.0, 10.1, 9.9, 10.2, 9.8, 10.05]
    noise = compute_noise(Repeats(build_estimates(*quiet, 15.0), build_estimates(*quiet, 10.0)))
    assert noise is not None
    assert noise < 0.03


@pytest.mark.parametrize("true_noise", [0.02, 0.05, 0.15])
def test_estimated_noise_matches_true_noise(true_noise: float) -> None:
    noises = [compute_noise(draw_repeats(seed, 7, true_noise)) for seed in range(300)]
    assert np.median([noise for noise in noises if noise is not None]) == pytest.approx(true_noise, rel=0.2)


@pytest.mark.soak
@pytest.mark.parametrize("noise", [0.02, 0.05])
def test_detectable_change_is_detected_in_four_of_five_comparisons(noise: float) -> None:
    changes = [compute_detectable_change(draw_repeats(seed, 14, noise), 0.05, 1) for seed in range(200)]
    change = float(np.median([estimate for estimate in changes if estimate is not None]))
    detections = 0
    for seed in range(400):
        repeats = draw_repeats(seed, 14, noise, 1 + change)
        ratio = compute_ratio(repeats).value
        detections += compute_p_value(repeats) < 0.01 and ratio is not None and ratio > 1.05
    assert 0.75 < detections / 400 < 0.95


def test_estimated_additional_repeats_make_comparison_conclusive() -> None:
    few = draw_repeats(3, 5, 0.04, 1.08)
    more = estimate_more_repeats(few, 0.05, 1)
    assert more is not None
    detections = 0
    for seed in range(200):
        enough = draw_repeats(seed, 5 + more, 0.04, 1.1)
        ratio = compute_ratio(enough).value
        detections += compute_p_value(enough) < 0.01 and ratio is not None and ratio > 1.05
    assert detections / 200 > 0.75


def test_additional_repeats_are_none_for_change_at_tolerance() -> None:
    values = (10.0, 10.3, 9.7, 10.1, 9.9)
    assert (
        estimate_more_repeats(
            Repeats(build_estimates(*values), build_estimates(*(1.0501 * value for value in values))), 0.05, 1
        )
        is None
    )


def test_median_of_six_or_more_values_has_order_statistic_interval() -> None:
    assert compute_median(build_estimates(1, 2, 3, 4, 5, 6)).ci95 == (1, 6)
    assert compute_median(build_estimates(1, 2, 3)).ci95 is None
    assert compute_median((Estimate(2.0, (1.0, 3.0)),)).ci95 == (1.0, 3.0)
