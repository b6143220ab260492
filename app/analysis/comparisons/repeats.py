"""Two sets of repeats of one metric: ratio of medians, its interval, noise, the test, and what it could have seen.

Everything is in logarithms, in which run-to-run noise is alike for fast and slow and a ratio is a difference.
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

ERROR = 0.01
"""One-sided, over all the metrics that are judged together."""
FEWEST = 5
"""With fewer of each, no order of the repeats is rarer than `ERROR`: 4 against 4 is 1 in 70."""
_POWER = 0.9
"""Of each of two conditions, the median beyond the tolerance and the ranks apart: both are met in four of five."""
_DRAWS = 2_000
_SEED = 7
_MEDIAN_WIDTH = math.sqrt(math.pi / 2)
_RANK_WIDTH = math.sqrt(math.pi / 3)
_TO_SIGMA = 1.4826
_MOST_MORE = 100
_Z95 = float(special.ndtri(1 - ALPHA / 2))


class Repeats(msgspec.Struct, frozen=True):
    """What each repeat of the two says of one metric, all with a value. One alone has its own interval or none."""

    base: tuple[Estimate, ...]
    candidate: tuple[Estimate, ...]

    @property
    def has_test(self) -> bool:
        return min(len(self.base), len(self.candidate)) >= FEWEST

    @property
    def fewer(self) -> int:
        return min(len(self.base), len(self.candidate))


def median_of(side: Sequence[Estimate]) -> Estimate:
    """A single repeat as it is; of several, their median, with an interval by order statistics from six on."""
    if len(side) == 1:
        return side[0]
    values = _values(side)
    return Estimate(float(np.median(values)), percentile(values, 0.5).ci95, values.size)


def ratio_of(repeats: Repeats) -> Estimate:
    """Candidate over base with its 95 % interval: a bootstrap of both medians, or with few repeats `few_interval`."""
    base, candidate = median_of(repeats.base).value or 0.0, median_of(repeats.candidate).value or 0.0
    if base <= 0:
        return Estimate(None, n=repeats.fewer, reason="no ratio: the base is 0")
    if candidate <= 0:
        return Estimate(0.0, n=repeats.fewer, reason="no interval: the candidate is 0")
    bounds = _bootstrap(repeats) if repeats.has_test else few_interval(repeats, 1 - ALPHA / 2)
    if bounds is None:
        return Estimate(candidate / base, n=repeats.fewer, reason="no interval from so few")
    return Estimate(candidate / base, (math.exp(bounds[0]), math.exp(bounds[1])), repeats.fewer)


def few_interval(repeats: Repeats, level: float) -> tuple[float, float] | None:
    """Of the ratio's logarithm, each end at this one-sided level.

    Several of each: Student's, with the spread of both pooled. One of either: the two sides' own intervals combined
    (Zou and Donner's MOVER), in which what differs from run to run is only as far as it is in them. None where one
    has no interval, or a value is 0.
    """
    if _has_zero(repeats):
        return None
    if repeats.fewer >= 2:
        residuals, freedom = _residuals(repeats)
        spread = math.sqrt(float(np.sum(residuals**2)) / freedom)
        shift = math.log((median_of(repeats.candidate).value or 1.0) / (median_of(repeats.base).value or 1.0))
        width = math.sqrt(1 / len(repeats.base) + 1 / len(repeats.candidate))
        half = float(special.stdtrit(freedom, level)) * spread * width
        return shift - half, shift + half
    base, candidate = _side_interval(repeats.base, level), _side_interval(repeats.candidate, level)
    if base is None or candidate is None:
        return None
    shift = candidate[1] - base[1]
    below = math.hypot(candidate[1] - candidate[0], base[2] - base[1])
    above = math.hypot(candidate[2] - candidate[1], base[1] - base[0])
    return shift - below, shift + above


def p_of_shift(repeats: Repeats) -> float:
    """One-sided Mann-Whitney towards where the candidate's median lies: how rare it would be if they were alike."""
    from scipy import stats  # half of a second, which every report would wait for

    base, candidate = _values(repeats.base), _values(repeats.candidate)
    side: Literal["greater", "less"] = "greater" if np.median(candidate) >= np.median(base) else "less"
    return float(stats.mannwhitneyu(candidate, base, alternative=side).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted for there being several, in the order given."""
    adjusted, running = [1.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = running
    return adjusted


def noise_of(repeats: Repeats) -> float | None:
    """The coefficient of variation from repeat to repeat, by the median deviation of both sides' repeats from their own
    medians: one slow run in ten does not make a machine noisy. None with a single one, or where a value is 0."""
    if repeats.fewer < 2 or _has_zero(repeats):
        return None
    # a median's own residual is 0 where the number is odd, and says nothing of the spread
    away = [np.sort(np.abs(logs - np.median(logs)))[logs.size % 2 :] for logs in map(_logs, _sides(repeats))]
    return _TO_SIGMA * float(np.median(np.concatenate(away)))


def detectable(repeats: Repeats, tolerance: float, judged: int) -> float | None:
    """The smallest change, as a share, that is told four times in five, with `judged` metrics judged together.

    By the normal approximation: a median beyond the tolerance, and a rank test at `ERROR` shared by all of them.
    """
    noise, limit = noise_of(repeats), math.log1p(tolerance)
    beta, alpha = float(special.ndtri(_POWER)), float(special.ndtri(1 - ERROR / judged))
    if repeats.has_test and noise is not None:
        width = noise * math.sqrt(1 / len(repeats.base) + 1 / len(repeats.candidate))
        return math.expm1(max(limit + beta * _MEDIAN_WIDTH * width, (alpha + beta) * _RANK_WIDTH * width))
    bounds = few_interval(repeats, 1 - ERROR / judged)
    if bounds is None:
        return None
    half = (bounds[1] - bounds[0]) / 2
    seen = limit + half * (1 + beta / alpha)
    return math.expm1(seen) if seen < math.log(_MOST_MORE) else None


def more_repeats(repeats: Repeats, tolerance: float, judged: int) -> int | None:
    """How many more of each would likely decide it, at this ratio and this noise; None where over a hundred would not.

    Without repeats nothing is known of the noise: then as many as make seven, with which the two-stage rule begins.
    """
    noise, have = noise_of(repeats), repeats.fewer
    if noise is None:
        return max(1, 7 - have)
    shift = abs(math.log((median_of(repeats.candidate).value or 1.0) / (median_of(repeats.base).value or 1.0)))
    limit = math.log1p(tolerance)
    beta, alpha = float(special.ndtri(_POWER)), float(special.ndtri(1 - ERROR / judged))
    gap = abs(shift - limit)
    if gap == 0:
        return None
    if shift > limit:
        width = max(beta * _MEDIAN_WIDTH / gap, (alpha + beta) * _RANK_WIDTH / shift)
    else:
        width = _Z95 * _MEDIAN_WIDTH / gap
    needed = max(FEWEST, math.ceil(2 * (noise * width) ** 2))
    return max(1, needed - have) if needed - have <= _MOST_MORE else None


def _bootstrap(repeats: Repeats) -> tuple[float, float]:
    """Percentiles of the logarithm of the ratio of medians over 2,000 seeded draws of the repeats."""
    base, candidate = (
        np.median(values[_drawn(values.size, side)], axis=1)
        for side, values in enumerate(map(_values, _sides(repeats)))
    )
    known = (base > 0) & (candidate > 0)
    low, high = np.quantile(np.log(candidate[known] / base[known]), (ALPHA / 2, 1 - ALPHA / 2))
    return float(low), float(high)


@cache
def _drawn(size: int, side: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng((_SEED, side)).integers(0, size, (_DRAWS, size))


def _side_interval(side: Sequence[Estimate], level: float) -> tuple[float, float, float] | None:
    """Lower end, value and upper end in logarithms."""
    if len(side) > 1:
        logs = _logs(side)
        half = float(special.stdtrit(logs.size - 1, level)) * float(logs.std(ddof=1)) / math.sqrt(logs.size)
        middle = float(logs.mean())
        return middle - half, middle, middle + half
    (one,) = side
    if one.ci95 is None or one.value is None or one.ci95[0] <= 0:
        return None
    widened, value = float(special.ndtri(level)) / _Z95, math.log(one.value)
    return (
        value - widened * (value - math.log(one.ci95[0])),
        value,
        value + widened * (math.log(one.ci95[1]) - value),
    )


def _residuals(repeats: Repeats) -> tuple[npt.NDArray[np.float64], int]:
    parts = [logs - logs.mean() for logs in map(_logs, _sides(repeats))]
    return np.concatenate(parts), len(repeats.base) + len(repeats.candidate) - 2


def _has_zero(repeats: Repeats) -> bool:
    return any((one.value or 0.0) <= 0 for side in _sides(repeats) for one in side)


def _sides(repeats: Repeats) -> tuple[tuple[Estimate, ...], tuple[Estimate, ...]]:
    return repeats.base, repeats.candidate


def _values(side: Sequence[Estimate]) -> npt.NDArray[np.float64]:
    return np.array([one.value for one in side], dtype=np.float64)


def _logs(side: Sequence[Estimate]) -> npt.NDArray[np.float64]:
    return np.asarray(np.log(_values(side)), dtype=np.float64)
