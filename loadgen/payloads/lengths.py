"""Draw lengths from a distribution."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import assert_never

import numpy as np
import numpy.typing as npt

from loadgen.workloads import EmpiricalLength, FixedLength, Length, LognormalLength, NormalLength, UniformLength

Lengths = npt.NDArray[np.int64]

MAX_LENGTH = 2_000_000
_STANDARD = NormalDist()
_MIN_PROBABILITY = 1e-9
"""Minimum probability between the bounds; with less, practically nothing can be drawn."""


class LengthError(Exception):
    """Raised when no length can be drawn from the distribution."""


def draw_lengths(length: Length, count: int, rng: np.random.Generator) -> Lengths:
    """Draw `count` whole numbers from 1 to MAX_LENGTH. Raises LengthError."""
    match length:
        case FixedLength(tokens=tokens):
            return np.full(count, _validated(tokens), np.int64)
        case UniformLength(low=low, high=high):
            _check_bounds(low, high)
            return rng.integers(low, high, count, endpoint=True)
        case NormalLength(mean=mean, sd=sd):
            if not (math.isfinite(mean) and 0 <= sd < math.inf):
                raise LengthError(
                    f"mean {mean:g} and standard deviation {sd:g} are not valid for a normal distribution"
                )
            low, high = _bounds_of(length)
            return _rounded(
                mean + sd * _truncated_normal((low - 0.5 - mean, high + 0.5 - mean), sd, count, rng), low, high
            )
        case LognormalLength(median=median, sigma=sigma):
            if not (0 < median < math.inf and 0 <= sigma < math.inf):
                raise LengthError(f"median {median:g} and sigma {sigma:g} are not valid for a lognormal distribution")
            low, high = _bounds_of(length)
            edges = (math.log((low - 0.5) / median), math.log((high + 0.5) / median))
            return _rounded(median * np.exp(sigma * _truncated_normal(edges, sigma, count, rng)), low, high)
        case EmpiricalLength(values=values, weights=weights):
            return rng.choice(
                np.array([_validated(value) for value in values]), count, p=_probabilities(values, weights)
            )
        case _:
            assert_never(length)


def _validated(tokens: int) -> int:
    _check_bounds(tokens, tokens)
    return tokens


def _check_bounds(low: int, high: int) -> None:
    if not 1 <= low <= high <= MAX_LENGTH:
        between = f"{low}" if low == high else f"{low} to {high}"
        raise LengthError(f"a length must be from 1 to {MAX_LENGTH:,} (got {between})")


def _bounds_of(length: NormalLength | LognormalLength) -> tuple[int, int]:
    high = MAX_LENGTH if length.high is None else length.high
    _check_bounds(length.low, high)
    return length.low, high


def _truncated_normal(
    edges: tuple[float, float], spread: float, count: int, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Draw standard normal numbers truncated so that `spread` times the number lies between `edges`.

    The distribution is that of drawing again until a number fits, without the repetition.
    """
    if spread == 0:
        if not edges[0] <= 0 <= edges[1]:
            raise LengthError("no length between the bounds can be drawn from the distribution")
        return np.zeros(count)
    low, high = edges[0] / spread, edges[1] / spread
    # probabilities in the lower tail are exact where those in the upper tail all round to 1
    is_upper = low > 0
    if is_upper:
        low, high = -high, -low
    lowest, highest = _STANDARD.cdf(low), _STANDARD.cdf(high)
    if highest - lowest < _MIN_PROBABILITY:
        raise LengthError("almost no length between the bounds can be drawn from the distribution")
    probabilities = np.clip(rng.uniform(lowest, highest, count), 1e-300, 1 - 1e-16)
    drawn = np.fromiter((_STANDARD.inv_cdf(probability) for probability in probabilities.tolist()), np.float64, count)
    return -drawn if is_upper else drawn


def _rounded(values: npt.NDArray[np.float64], low: int, high: int) -> Lengths:
    """Round the values; a value at the very edge may round beyond the bounds and is clipped."""
    return np.clip(np.rint(values), low, high).astype(np.int64)


def _probabilities(values: tuple[int, ...], weights: tuple[float, ...]) -> npt.NDArray[np.float64] | None:
    if not values:
        raise LengthError("an empirical distribution needs at least one value")
    if not weights:
        return None
    if len(weights) != len(values):
        raise LengthError(
            f"an empirical distribution needs one weight per value (got {len(values)} values and "
            f"{len(weights)} weights)"
        )
    weight_array = np.array(weights, np.float64)
    total = weight_array.sum()
    if not (np.isfinite(total) and total > 0 and (weight_array >= 0).all()):
        raise LengthError("weights must be at least 0, and one must be greater than 0")
    return np.asarray(weight_array / total, np.float64)
