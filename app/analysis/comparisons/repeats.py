"""Statistics of two sets of repeats of one metric: ratio of medians, its interval, noise, test, and statistical power.

Everything is computed on logarithms, on which run-to-run noise is the same for fast and slow and a ratio is a
difference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt
from scipy import special

from app.analysis.estimates import percentile
from app.analysis.sample_size import ALPHA
from app.records.estimate import Estimate

SIGNIFICANCE_LEVEL = 0.01
"""One-sided significance level, over all metrics that are evaluated together."""
MIN_REPEATS = 5
"""Minimum number of repeats of each side for the test: with fewer, no order of the repeats is rarer than
`SIGNIFICANCE_LEVEL`; for 4 against 4 it is 1 in 70."""
_POWER = 0.9
"""Power of each of two conditions, median beyond the tolerance and significant rank test: both are met in four of five
cases."""
_DRAWS = 2_000
_SEED = 7
_MEDIAN_WIDTH = math.sqrt(math.pi / 2)
_RANK_WIDTH = math.sqrt(math.pi / 3)
_MAD_TO_SIGMA = 1.4826
_MAX_USEFUL = 100
_Z95 = float(special.ndtri(1 - ALPHA / 2))


class Repeats(msgspec.Struct, frozen=True):
    """Estimates of one metric from each repeat of both sides, all with a value. A single repeat has its own interval or
    none."""

    base: tuple[Estimate, ...]
    candidate: tuple[Estimate, ...]

    @property
    def has_enough_for_test(self) -> bool:
        return min(len(self.base), len(self.candidate)) >= MIN_REPEATS

    @property
    def min_count(self) -> int:
        return min(len(self.base), len(self.candidate))


def compute_median(side: Sequence[Estimate]) -> Estimate:
    """Return a single repeat unchanged; for several, their median, with an interval by order statistics if there are
    six or more."""
    if len(side) == 1:
        return side[0]
    values = _values(side)
    return Estimate(float(np.median(values)), percentile(values, 0.5).ci95, values.size)


def compute_ratio(repeats: Repeats) -> Estimate:
    """Compute candidate over base with its 95 % interval: by a bootstrap of both medians, or with few repeats by
    `compute_small_sample_interval`."""
    base, candidate = compute_median(repeats.base).value or 0.0, compute_median(repeats.candidate).value or 0.0
    if base <= 0:
        return Estimate(None, n=repeats.min_count, reason="no ratio: the base value is 0")
    if candidate <= 0:
        return Estimate(0.0, n=repeats.min_count, reason="no interval: the candidate value is 0")
    bounds = (
        _bootstrap(repeats) if repeats.has_enough_for_test else compute_small_sample_interval(repeats, 1 - ALPHA / 2)
    )
    if bounds is None:
        return Estimate(candidate / base, n=repeats.min_count, reason="no interval: too few repeats")
    return Estimate(candidate / base, (math.exp(bounds[0]), math.exp(bounds[1])), repeats.min_count)


def compute_small_sample_interval(repeats: Repeats, level: float) -> tuple[float, float] | None:
    """Compute an interval of the ratio's logarithm, each end at this one-sided level.

    With several repeats of each side: Student's t, with the pooled standard deviation. With one repeat of a side: both
    sides' own intervals combined (Zou and Donner's MOVER), which includes run-to-run variation only as far as these do.
    None if a side has no interval, or a value is 0.
    """
    if _has_zero(repeats):
        return None
    if repeats.min_count >= 2:
        residuals, freedom = _residuals(repeats)
        spread = math.sqrt(float(np.sum(residuals**2)) / freedom)
        shift = math.log((compute_median(repeats.candidate).value or 1.0) / (compute_median(repeats.base).value or 1.0))
        width = math.sqrt(1 / len(repeats.base) + 1 / len(repeats.candidate))
        half_width = float(special.stdtrit(freedom, level)) * spread * width
        return shift - half_width, shift + half_width
    base, candidate = _side_interval(repeats.base, level), _side_interval(repeats.candidate, level)
    if base is None or candidate is None:
        return None
    shift = candidate[1] - base[1]
    below = math.hypot(candidate[1] - candidate[0], base[2] - base[1])
    above = math.hypot(candidate[2] - candidate[1], base[1] - base[0])
    return shift - below, shift + above


def compute_p_value(repeats: Repeats) -> float:
    """Compute the p-value of a one-sided Mann-Whitney test in the direction of the candidate's median."""
    from scipy import stats  # imported late, because it takes half a second, which every report would wait for

    base, candidate = _values(repeats.base), _values(repeats.candidate)
    side: Literal["greater", "less"] = "greater" if np.median(candidate) >= np.median(base) else "less"
    return float(stats.mannwhitneyu(candidate, base, alternative=side).pvalue)


def adjust_p_values(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for multiple testing by Holm's method, in the order given."""
    adjusted, running = [1.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def compute_noise(repeats: Repeats) -> float | None:
    """Compute the coefficient of variation between repeats, from the median absolute deviation of both sides' repeats
    from their own medians: one slow run in ten does not make a machine noisy. None with a single repeat, or if a value
    is 0."""
    if repeats.min_count < 2 or _has_zero(repeats):
        return None
    # the median's own residual is 0 if the number is odd, and contains no information on the spread
    deviations = [np.sort(np.abs(logs - np.median(logs)))[logs.size % 2 :] for logs in map(_logs, _sides(repeats))]
    return _MAD_TO_SIGMA * float(np.median(np.concatenate(deviations)))


def compute_detectable_change(repeats: Repeats, tolerance: float, test_count: int) -> float | None:
    """Compute the smallest change, as a share, that is detected in four of five cases, with `test_count` metrics tested
    together.

    Uses the normal approximation for both conditions: a median beyond the tolerance, and a rank test at the level
    `SIGNIFICANCE_LEVEL` shared by all metrics.
    """
    noise, limit = compute_noise(repeats), math.log1p(tolerance)
    beta, alpha = float(special.ndtri(_POWER)), float(special.ndtri(1 - SIGNIFICANCE_LEVEL / test_count))
    if repeats.has_enough_for_test and noise is not None:
        width = noise * math.sqrt(1 / len(repeats.base) + 1 / len(repeats.candidate))
        return math.expm1(max(limit + beta * _MEDIAN_WIDTH * width, (alpha + beta) * _RANK_WIDTH * width))
    bounds = compute_small_sample_interval(repeats, 1 - SIGNIFICANCE_LEVEL / test_count)
    if bounds is None:
        return None
    half_width = (bounds[1] - bounds[0]) / 2
    log_change = limit + half_width * (1 + beta / alpha)
    return math.expm1(log_change) if log_change < math.log(_MAX_USEFUL) else None


def estimate_more_repeats(repeats: Repeats, tolerance: float, test_count: int) -> int | None:
    """Estimate how many more repeats of each side would probably decide the change, at this ratio and this noise; None
    above a hundred.

    Without repeats the noise is unknown: then as many as make seven, with which the two-stage rule starts.
    """
    noise, count = compute_noise(repeats), repeats.min_count
    if noise is None:
        return max(1, 7 - count)
    shift = abs(
        math.log((compute_median(repeats.candidate).value or 1.0) / (compute_median(repeats.base).value or 1.0))
    )
    limit = math.log1p(tolerance)
    beta, alpha = float(special.ndtri(_POWER)), float(special.ndtri(1 - SIGNIFICANCE_LEVEL / test_count))
    gap = abs(shift - limit)
    if gap == 0:
        return None
    if shift > limit:
        width = max(beta * _MEDIAN_WIDTH / gap, (alpha + beta) * _RANK_WIDTH / shift)
    else:
        width = _Z95 * _MEDIAN_WIDTH / gap
    needed = max(MIN_REPEATS, math.ceil(2 * (noise * width) ** 2))
    return max(1, needed - count) if needed - count <= _MAX_USEFUL else None


def _bootstrap(repeats: Repeats) -> tuple[float, float]:
    """Compute percentiles of the logarithm of the ratio of medians over 2,000 seeded draws of the repeats."""
    base, candidate = (
        np.median(values[_draw_indices(values.size, side)], axis=1)
        for side, values in enumerate(map(_values, _sides(repeats)))
    )
    known = (base > 0) & (candidate > 0)
    low, high = np.quantile(np.log(candidate[known] / base[known]), (ALPHA / 2, 1 - ALPHA / 2))
    return float(low), float(high)


@cache
def _draw_indices(size: int, side: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng((_SEED, side)).integers(0, size, (_DRAWS, size))


def _side_interval(side: Sequence[Estimate], level: float) -> tuple[float, float, float] | None:
    """Return lower end, value and upper end of one side, as logarithms."""
    if len(side) > 1:
        logs = _logs(side)
        half_width = float(special.stdtrit(logs.size - 1, level)) * float(logs.std(ddof=1)) / math.sqrt(logs.size)
        mean = float(logs.mean())
        return mean - half_width, mean, mean + half_width
    (estimate,) = side
    if estimate.ci95 is None or estimate.value is None or estimate.ci95[0] <= 0:
        return None
    widened, value = float(special.ndtri(level)) / _Z95, math.log(estimate.value)
    return (
        value - widened * (value - math.log(estimate.ci95[0])),
        value,
        value + widened * (math.log(estimate.ci95[1]) - value),
    )


def _residuals(repeats: Repeats) -> tuple[npt.NDArray[np.float64], int]:
    parts = [logs - logs.mean() for logs in map(_logs, _sides(repeats))]
    return np.concatenate(parts), len(repeats.base) + len(repeats.candidate) - 2


def _has_zero(repeats: Repeats) -> bool:
    return any((estimate.value or 0.0) <= 0 for side in _sides(repeats) for estimate in side)


def _sides(repeats: Repeats) -> tuple[tuple[Estimate, ...], tuple[Estimate, ...]]:
    return repeats.base, repeats.candidate


def _values(side: Sequence[Estimate]) -> npt.NDArray[np.float64]:
    return np.array([estimate.value for estimate in side], dtype=np.float64)


def _logs(side: Sequence[Estimate]) -> npt.NDArray[np.float64]:
    return np.asarray(np.log(_values(side)), dtype=np.float64)
