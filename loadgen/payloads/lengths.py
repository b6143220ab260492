"""Draw lengths in tokens from a distribution."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import assert_never

import numpy as np
import numpy.typing as npt

from loadgen.workloads import (
    EmpiricalLength,
    FixedLength,
    JointLengths,
    Length,
    LognormalLength,
    NormalLength,
    UniformLength,
)

Lengths = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

MAX_LENGTH = 2_000_000
_STANDARD_NORMAL = NormalDist()
_MIN_PROBABILITY = 1e-9
"""Minimum probability that a value of the untruncated distribution lies between the bounds. For a
lower probability, LengthError is raised."""


class LengthError(Exception):
    """Error that is raised when no length can be drawn from a distribution of lengths."""


def draw_lengths(distribution: Length, count: int, rng: np.random.Generator) -> Lengths:
    """Draw `count` lengths from a distribution of lengths, as integers from 1 to MAX_LENGTH. Raises
    LengthError if the distribution is invalid."""
    match distribution:
        case FixedLength(tokens=tokens):
            return np.full(count, _check_length(tokens), np.int64)
        case UniformLength(low=low, high=high):
            _check_bounds(low, high)
            return rng.integers(low, high, count, endpoint=True)
        case NormalLength(mean=mean, sd=sd):
            if not (math.isfinite(mean) and 0 <= sd < math.inf):
                raise LengthError(
                    f"mean {mean:g} and standard deviation {sd:g} are not valid for a normal distribution"
                )
            low, high = _get_bounds(distribution)
            return _round_lengths(
                mean + sd * _draw_truncated_normal((low - 0.5 - mean, high + 0.5 - mean), sd, count, rng), low, high
            )
        case LognormalLength(median=median, sigma=sigma):
            if not (0 < median < math.inf and 0 <= sigma < math.inf):
                raise LengthError(f"median {median:g} and sigma {sigma:g} are not valid for a lognormal distribution")
            low, high = _get_bounds(distribution)
            bounds = (math.log((low - 0.5) / median), math.log((high + 0.5) / median))
            return _round_lengths(median * np.exp(sigma * _draw_truncated_normal(bounds, sigma, count, rng)), low, high)
        case EmpiricalLength(values=values, weights=weights):
            return rng.choice(
                np.array([_check_length(value) for value in values]), count, p=_get_probabilities(values, weights)
            )
        case _:
            assert_never(distribution)


def draw_length_pairs(distribution: JointLengths, count: int, rng: np.random.Generator) -> tuple[Lengths, Lengths]:
    """Draw `count` pairs of the lengths of a prompt and its response. Raises LengthError if the
    distribution is invalid."""
    if len(distribution.input_tokens) % 4 or len(distribution.weights) % 8:
        raise LengthError("the pairs of lengths are incomplete")
    columns = [np.frombuffer(data, "<i4") for data in (distribution.input_tokens, distribution.output_tokens)]
    weights = np.frombuffer(distribution.weights, "<f8")
    if not len(columns[0]) or len(columns[1]) != len(columns[0]) or len(weights) not in (0, len(columns[0])):
        raise LengthError("there must be as many response lengths and weights as prompt lengths, and at least one")
    if min(column.min() for column in columns) < 1 or max(column.max() for column in columns) > MAX_LENGTH:
        raise LengthError(f"a length must be from 1 to {MAX_LENGTH:,}")
    rows = rng.choice(len(columns[0]), count, p=_normalize_weights(weights) if len(weights) else None)
    return columns[0][rows].astype(np.int64), columns[1][rows].astype(np.int64)


def _check_length(tokens: int) -> int:
    _check_bounds(tokens, tokens)
    return tokens


def _check_bounds(low: int, high: int) -> None:
    if not 1 <= low <= high <= MAX_LENGTH:
        range_text = f"{low}" if low == high else f"{low} to {high}"
        raise LengthError(f"a length must be from 1 to {MAX_LENGTH:,} (got {range_text})")


def _get_bounds(distribution: NormalLength | LognormalLength) -> tuple[int, int]:
    high = MAX_LENGTH if distribution.high is None else distribution.high
    _check_bounds(distribution.low, high)
    return distribution.low, high


def _draw_truncated_normal(bounds: tuple[float, float], scale: float, count: int, rng: np.random.Generator) -> Floats:
    """Draw `count` values of a standard normal distribution, truncated so that `scale` times the
    value lies within `bounds`.

    Inverse transform sampling yields the same distribution as rejection sampling, but rejects no
    samples. Raises LengthError if (almost) no value lies within the bounds.
    """
    if scale == 0:
        if not bounds[0] <= 0 <= bounds[1]:
            raise LengthError("the distribution has no length between the bounds. Widen the bounds.")
        return np.zeros(count)
    low, high = bounds[0] / scale, bounds[1] / scale
    # Use the lower tail, because probabilities in the upper tail would all be rounded to 1.
    is_in_upper_tail = low > 0
    if is_in_upper_tail:
        low, high = -high, -low
    low_probability, high_probability = _STANDARD_NORMAL.cdf(low), _STANDARD_NORMAL.cdf(high)
    if high_probability - low_probability < _MIN_PROBABILITY:
        raise LengthError("the distribution has almost no lengths between the bounds. Widen the bounds.")
    probabilities = np.clip(rng.uniform(low_probability, high_probability, count), 1e-300, 1 - 1e-16)
    samples = np.fromiter(
        (_STANDARD_NORMAL.inv_cdf(probability) for probability in probabilities.tolist()), np.float64, count
    )
    return -samples if is_in_upper_tail else samples


def _round_lengths(values: Floats, low: int, high: int) -> Lengths:
    """Round values to integer lengths. Clip values that rounding moves beyond the bounds."""
    return np.clip(np.rint(values), low, high).astype(np.int64)


def _get_probabilities(values: tuple[int, ...], weights: tuple[float, ...]) -> Floats | None:
    if not values:
        raise LengthError("an empirical distribution must have at least one value")
    if not weights:
        return None
    if len(weights) != len(values):
        raise LengthError(
            f"an empirical distribution must have one weight per value (got {len(values)} values and "
            f"{len(weights)} weights)"
        )
    return _normalize_weights(np.array(weights, np.float64))


def _normalize_weights(weights: Floats) -> Floats:
    total_weight = weights.sum()
    if not (np.isfinite(total_weight) and total_weight > 0 and (weights >= 0).all()):
        raise LengthError("weights must be at least 0, and at least one weight must be greater than 0")
    return np.asarray(weights / total_weight, np.float64)
