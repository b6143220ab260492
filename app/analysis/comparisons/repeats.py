"""Statistics of two sets of repeats of one metric: ratio of medians, confidence interval, noise,
test and statistical power.

All statistics are computed on logarithms: run-to-run noise is then the same for fast and slow
systems, and a ratio becomes a difference."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from functools import cache
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt
from scipy import special

from app.analysis.estimates import estimate_percentile
from app.analysis.sample_size import ALPHA
from app.records.estimate import Estimate

SIGNIFICANCE_LEVEL = 0.01
"""One-sided significance level for all metrics that are tested together."""
MIN_REPEATS = 5
"""Minimum number of repeats per side for the rank test. With fewer repeats, the test cannot reach
`SIGNIFICANCE_LEVEL`: with 4 per side, the most extreme order has probability 1/70."""
_POWER = 0.9
"""Statistical power of each of two conditions: the median is beyond the tolerance, and the rank
test is significant. Both conditions are met in about four of five cases."""
_RESAMPLE_COUNT = 2_000
_SEED = 7
_MEDIAN_ERROR_FACTOR = math.sqrt(math.pi / 2)
_RANK_ERROR_FACTOR = math.sqrt(math.pi / 3)
_MAD_TO_SIGMA = 1.4826
_MAX_CHANGE_FACTOR = 100
_MAX_MORE_REPEATS = 100
_MAX_LOG = math.log(sys.float_info.max)
_Z95 = float(special.ndtri(1 - ALPHA / 2))


class Repeats(msgspec.Struct, frozen=True):
    """Estimates of one metric for both sides, one estimate per repeat. Every estimate has a value;
    only the estimate of a single repeat may have a confidence interval."""

    baseline: tuple[Estimate, ...]
    candidate: tuple[Estimate, ...]

    @property
    def has_enough_for_test(self) -> bool:
        return min(len(self.baseline), len(self.candidate)) >= MIN_REPEATS

    @property
    def min_count(self) -> int:
        return min(len(self.baseline), len(self.candidate))


def compute_median(side: Sequence[Estimate]) -> Estimate:
    """Return the median of several repeats, with a confidence interval from order statistics if
    there are at least six. A single repeat is returned unchanged."""
    if len(side) == 1:
        return side[0]
    values = _read_values(side)
    return Estimate(float(np.median(values)), estimate_percentile(values, 0.5).ci95, values.size)


def compute_ratio(repeats: Repeats) -> Estimate:
    """Compute the ratio candidate/baseline with a 95 % confidence interval: by bootstrap of both
    medians, or by `compute_small_sample_interval` if there are few repeats. If the ratio or its
    interval is missing, the estimate states the reason."""
    baseline_median, candidate_median = (
        compute_median(repeats.baseline).value or 0.0,
        compute_median(repeats.candidate).value or 0.0,
    )
    if baseline_median <= 0:
        return Estimate(None, n=repeats.min_count, reason="no ratio: the baseline value is 0")
    if candidate_median <= 0:
        return Estimate(0.0, n=repeats.min_count, reason="no interval: the candidate value is 0")
    bounds = (
        _bootstrap_interval(repeats)
        if repeats.has_enough_for_test
        else compute_small_sample_interval(repeats, 1 - ALPHA / 2)
    )
    if bounds is None:
        return Estimate(candidate_median / baseline_median, n=repeats.min_count, reason="no interval: too few repeats")
    if bounds[1] > _MAX_LOG:
        reason = "no interval: its upper bound is out of range"
        return Estimate(candidate_median / baseline_median, n=repeats.min_count, reason=reason)
    return Estimate(candidate_median / baseline_median, (math.exp(bounds[0]), math.exp(bounds[1])), repeats.min_count)


def compute_small_sample_interval(repeats: Repeats, level: float) -> tuple[float, float] | None:
    """Compute a confidence interval of the logarithm of the ratio; `level` is the one-sided
    confidence level of each bound. Return `None` if a side has no interval or a value is 0.

    With several repeats per side, Student's t is used with the pooled standard deviation. If a side
    has one repeat, the intervals of both sides are combined (Zou and Donner's MOVER). In that case,
    run-to-run variation is covered only as far as those intervals cover it."""
    if _has_zero(repeats):
        return None
    if repeats.min_count >= 2:
        residuals, degrees_of_freedom = _compute_residuals(repeats)
        standard_deviation = math.sqrt(float(np.sum(residuals**2)) / degrees_of_freedom)
        log_ratio = math.log(
            (compute_median(repeats.candidate).value or 1.0) / (compute_median(repeats.baseline).value or 1.0)
        )
        size_factor = math.sqrt(1 / len(repeats.baseline) + 1 / len(repeats.candidate))
        half_width = float(special.stdtrit(degrees_of_freedom, level)) * standard_deviation * size_factor
        return log_ratio - half_width, log_ratio + half_width
    baseline_interval, candidate_interval = (
        _compute_side_interval(repeats.baseline, level),
        _compute_side_interval(repeats.candidate, level),
    )
    if baseline_interval is None or candidate_interval is None:
        return None
    log_ratio = candidate_interval[1] - baseline_interval[1]
    width_below = math.hypot(candidate_interval[1] - candidate_interval[0], baseline_interval[2] - baseline_interval[1])
    width_above = math.hypot(candidate_interval[2] - candidate_interval[1], baseline_interval[1] - baseline_interval[0])
    return log_ratio - width_below, log_ratio + width_above


def compute_p_value(repeats: Repeats) -> float:
    """Compute the p-value of a one-sided Mann-Whitney test in the direction of the candidate's
    median."""
    from scipy import stats  # imported lazily: the import takes 0.5 s, which would delay every report

    baseline_values, candidate_values = _read_values(repeats.baseline), _read_values(repeats.candidate)
    alternative: Literal["greater", "less"] = (
        "greater" if np.median(candidate_values) >= np.median(baseline_values) else "less"
    )
    return float(stats.mannwhitneyu(candidate_values, baseline_values, alternative=alternative).pvalue)


def adjust_p_values(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for multiple testing by Holm's method. The result is in the order of the
    input."""
    adjusted_p_values, max_adjusted_p_value = [1.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        max_adjusted_p_value = max(max_adjusted_p_value, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted_p_values[index] = max_adjusted_p_value
    return adjusted_p_values


def compute_noise(repeats: Repeats) -> float | None:
    """Compute the coefficient of variation between repeats, from the median absolute deviation of
    each side; `None` with a single repeat or if a value is 0.

    The median absolute deviation is robust: one slow run in ten does not count as noise."""
    if repeats.min_count < 2 or _has_zero(repeats):
        return None
    # with an odd number of repeats, the residual of the median itself is 0 and must not reduce the
    # spread
    deviations = [
        np.sort(np.abs(logs - np.median(logs)))[logs.size % 2 :] for logs in map(_compute_logs, _get_sides(repeats))
    ]
    return _MAD_TO_SIGMA * float(np.median(np.concatenate(deviations)))


def compute_detectable_change(repeats: Repeats, tolerance: float, test_count: int) -> float | None:
    """Compute the smallest relative change that is detected in four of five cases if `test_count`
    metrics are tested together; `None` if the change is unknown or above a factor of 100.

    Use the normal approximation for two conditions: a median beyond the tolerance, and a rank test
    at `SIGNIFICANCE_LEVEL` divided by `test_count`."""
    noise, log_tolerance = compute_noise(repeats), math.log1p(tolerance)
    z_beta, z_alpha = float(special.ndtri(_POWER)), float(special.ndtri(1 - SIGNIFICANCE_LEVEL / test_count))
    if repeats.has_enough_for_test and noise is not None:
        standard_error = noise * math.sqrt(1 / len(repeats.baseline) + 1 / len(repeats.candidate))
        return math.expm1(
            max(
                log_tolerance + z_beta * _MEDIAN_ERROR_FACTOR * standard_error,
                (z_alpha + z_beta) * _RANK_ERROR_FACTOR * standard_error,
            )
        )
    bounds = compute_small_sample_interval(repeats, 1 - SIGNIFICANCE_LEVEL / test_count)
    if bounds is None:
        return None
    half_width = (bounds[1] - bounds[0]) / 2
    log_change = log_tolerance + half_width * (1 + z_beta / z_alpha)
    return math.expm1(log_change) if log_change < math.log(_MAX_CHANGE_FACTOR) else None


def estimate_more_repeats(repeats: Repeats, tolerance: float, test_count: int) -> int | None:
    """Estimate how many more repeats per side would probably make the comparison conclusive, at the
    measured ratio and noise; `None` if more than 100.

    If the noise is unknown, return the number of repeats (at least 1) still needed for the
    two-stage rule, which requires seven.
    """
    noise, repeat_count = compute_noise(repeats), repeats.min_count
    if noise is None:
        return max(1, 7 - repeat_count)
    log_ratio = abs(
        math.log((compute_median(repeats.candidate).value or 1.0) / (compute_median(repeats.baseline).value or 1.0))
    )
    log_tolerance = math.log1p(tolerance)
    z_beta, z_alpha = float(special.ndtri(_POWER)), float(special.ndtri(1 - SIGNIFICANCE_LEVEL / test_count))
    log_distance = abs(log_ratio - log_tolerance)
    if log_distance == 0:
        return None
    if log_ratio > log_tolerance:
        width_factor = max(
            z_beta * _MEDIAN_ERROR_FACTOR / log_distance, (z_alpha + z_beta) * _RANK_ERROR_FACTOR / log_ratio
        )
    else:
        width_factor = _Z95 * _MEDIAN_ERROR_FACTOR / log_distance
    needed_repeat_count = max(MIN_REPEATS, math.ceil(2 * (noise * width_factor) ** 2))
    return (
        max(1, needed_repeat_count - repeat_count) if needed_repeat_count - repeat_count <= _MAX_MORE_REPEATS else None
    )


def _bootstrap_interval(repeats: Repeats) -> tuple[float, float]:
    """Compute the 95 % confidence interval of the logarithm of the ratio of medians, by bootstrap
    with 2,000 seeded resamples."""
    baseline_medians, candidate_medians = (
        np.median(values[_draw_indices(values.size, side_index)], axis=1)
        for side_index, values in enumerate(map(_read_values, _get_sides(repeats)))
    )
    is_positive = (baseline_medians > 0) & (candidate_medians > 0)
    lower_bound, upper_bound = np.quantile(
        np.log(candidate_medians[is_positive] / baseline_medians[is_positive]), (ALPHA / 2, 1 - ALPHA / 2)
    )
    return float(lower_bound), float(upper_bound)


@cache
def _draw_indices(size: int, side_index: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng((_SEED, side_index)).integers(0, size, (_RESAMPLE_COUNT, size))


def _compute_side_interval(side: Sequence[Estimate], level: float) -> tuple[float, float, float] | None:
    """Return the lower bound, the value and the upper bound of one side, as logarithms; `None` if
    the side has no confidence interval."""
    if len(side) > 1:
        logs = _compute_logs(side)
        half_width = float(special.stdtrit(logs.size - 1, level)) * float(logs.std(ddof=1)) / math.sqrt(logs.size)
        mean = float(logs.mean())
        return mean - half_width, mean, mean + half_width
    (estimate,) = side
    if estimate.ci95 is None or estimate.value is None or estimate.ci95[0] <= 0:
        return None
    width_factor, value = float(special.ndtri(level)) / _Z95, math.log(estimate.value)
    return (
        value - width_factor * (value - math.log(estimate.ci95[0])),
        value,
        value + width_factor * (math.log(estimate.ci95[1]) - value),
    )


def _compute_residuals(repeats: Repeats) -> tuple[npt.NDArray[np.float64], int]:
    residuals = [logs - logs.mean() for logs in map(_compute_logs, _get_sides(repeats))]
    return np.concatenate(residuals), len(repeats.baseline) + len(repeats.candidate) - 2


def _has_zero(repeats: Repeats) -> bool:
    return any((estimate.value or 0.0) <= 0 for side in _get_sides(repeats) for estimate in side)


def _get_sides(repeats: Repeats) -> tuple[tuple[Estimate, ...], tuple[Estimate, ...]]:
    return repeats.baseline, repeats.candidate


def _read_values(side: Sequence[Estimate]) -> npt.NDArray[np.float64]:
    return np.array([estimate.value for estimate in side], dtype=np.float64)


def _compute_logs(side: Sequence[Estimate]) -> npt.NDArray[np.float64]:
    return np.asarray(np.log(_read_values(side)), dtype=np.float64)
