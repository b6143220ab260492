"""Lengths drawn from a distribution."""

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
_LEAST_SHARE = 1e-9
"""Bounds that leave less of a distribution than this leave nothing that could be drawn."""


class LengthError(Exception):
    """The distribution has no length to give."""


def draw(length: Length, count: int, rng: np.random.Generator) -> Lengths:
    """Whole numbers from 1 to MAX_LENGTH. Raises LengthError."""
    match length:
        case FixedLength(tokens=tokens):
            return np.full(count, _checked(tokens), np.int64)
        case UniformLength(low=low, high=high):
            _check_bounds(low, high)
            return rng.integers(low, high, count, endpoint=True)
        case NormalLength(mean=mean, sd=sd):
            if not (math.isfinite(mean) and 0 <= sd < math.inf):
                raise LengthError(f"a normal distribution of mean {mean:g} and standard deviation {sd:g} is none")
            low, high = _bounds_of(length)
            return _clipped(mean + sd * _deviations((low - 0.5 - mean, high + 0.5 - mean), sd, count, rng), low, high)
        case LognormalLength(median=median, sigma=sigma):
            if not (0 < median < math.inf and 0 <= sigma < math.inf):
                raise LengthError(f"a lognormal distribution of median {median:g} and sigma {sigma:g} is none")
            low, high = _bounds_of(length)
            edges = (math.log((low - 0.5) / median), math.log((high + 0.5) / median))
            return _clipped(median * np.exp(sigma * _deviations(edges, sigma, count, rng)), low, high)
        case EmpiricalLength(values=values, weights=weights):
            return rng.choice(np.array([_checked(value) for value in values]), count, p=_shares(values, weights))
        case _:
            assert_never(length)


def _checked(tokens: int) -> int:
    _check_bounds(tokens, tokens)
    return tokens


def _check_bounds(low: int, high: int) -> None:
    if not 1 <= low <= high <= MAX_LENGTH:
        between = f"{low}" if low == high else f"{low} to {high}"
        raise LengthError(f"a length must be from 1 to {MAX_LENGTH:,}, not {between}")


def _bounds_of(length: NormalLength | LognormalLength) -> tuple[int, int]:
    high = MAX_LENGTH if length.high is None else length.high
    _check_bounds(length.low, high)
    return length.low, high


def _deviations(
    edges: tuple[float, float], spread: float, count: int, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Standard normal numbers of which `spread` times lies between `edges`: what drawing again until one does gives,
    without drawing again."""
    if spread == 0:
        if not edges[0] <= 0 <= edges[1]:
            raise LengthError("no length between the bounds can be drawn from the distribution")
        return np.zeros(count)
    low, high = edges[0] / spread, edges[1] / spread
    # in the lower tail shares are exact where in the upper one they all are 1
    is_upper = low > 0
    if is_upper:
        low, high = -high, -low
    least, most = _STANDARD.cdf(low), _STANDARD.cdf(high)
    if most - least < _LEAST_SHARE:
        raise LengthError("next to no length between the bounds can be drawn from the distribution")
    shares = np.clip(rng.uniform(least, most, count), 1e-300, 1 - 1e-16)
    drawn = np.fromiter((_STANDARD.inv_cdf(share) for share in shares.tolist()), np.float64, count)
    return -drawn if is_upper else drawn


def _clipped(values: npt.NDArray[np.float64], low: int, high: int) -> Lengths:
    """Rounded; a value at the very edge may round over it."""
    return np.clip(np.rint(values), low, high).astype(np.int64)


def _shares(values: tuple[int, ...], weights: tuple[float, ...]) -> npt.NDArray[np.float64] | None:
    if not values:
        raise LengthError("an empirical distribution needs a value")
    if not weights:
        return None
    if len(weights) != len(values):
        raise LengthError(f"{len(values)} values and {len(weights)} weights")
    given = np.array(weights, np.float64)
    total = given.sum()
    if not (np.isfinite(total) and total > 0 and (given >= 0).all()):
        raise LengthError("weights are numbers of at least 0 with one above")
    return np.asarray(given / total, np.float64)
