"""Two shares of the same rows compared: how many rows did only the one get right, and how many only the other.

The intervals are score intervals: Tango's for the difference (Statistics in Medicine 17, 1998) and Tang, Tang and
Chan's for the ratio (ibid. 22, 2003), recommended by Fagerland, Lydersen and Laake (ibid. 33, 2014). They have a width
where no row differs at all, and so tell ten rows without a difference from ten thousand.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec
from scipy import special

from app.analysis.sample_size import ALPHA

_Z = float(special.ndtri(1 - ALPHA / 2))
_HALVINGS = 60


class PairedCounts(msgspec.Struct, frozen=True):
    """Of `rows`: right in both, right only now, right only in the reference."""

    rows: int
    both: int
    only_now: int
    only_reference: int

    @property
    def now(self) -> int:
        return self.both + self.only_now

    @property
    def reference(self) -> int:
        return self.both + self.only_reference

    @property
    def difference(self) -> float:
        return (self.only_now - self.only_reference) / self.rows


def difference_interval(counts: PairedCounts) -> tuple[float, float]:
    """Of the share now less the reference's."""

    def is_within(difference: float) -> bool:
        distance = counts.only_now - counts.only_reference - counts.rows * difference
        return distance**2 <= _Z**2 * _difference_variance(counts, difference)

    return _edge(is_within, counts.difference, -1.0), _edge(is_within, counts.difference, 1.0)


def ratio_interval(counts: PairedCounts) -> tuple[float, float]:
    """Of the share now over the reference's, which must have got a row right."""
    ratio = counts.now / counts.reference

    def is_within(supposed: float) -> bool:
        distance = counts.now - supposed * counts.reference
        return distance**2 <= _Z**2 * _ratio_variance(counts, supposed)

    beyond = max(1.0, 2 * ratio)
    while is_within(beyond):
        beyond *= 2
    return _edge(is_within, ratio, 0.0), _edge(is_within, ratio, beyond)


def mcnemar(counts: PairedCounts) -> float:
    """The two-sided mid-p value of McNemar's exact test: the binomial on the rows that only one side got right.

    The exact test errs far less often than it may, and so misses more; mid-p holds its level (Fagerland, Lydersen and
    Laake, BMC Medical Research Methodology 13, 2013).
    """
    fewer, differing = min(counts.only_now, counts.only_reference), counts.only_now + counts.only_reference
    at_most = float(special.bdtr(fewer, differing, 0.5))
    below = float(special.bdtr(fewer - 1, differing, 0.5)) if fewer else 0.0
    return at_most + below


def _difference_variance(counts: PairedCounts, difference: float) -> float:
    """Of the rows' sum of differences, by the likeliest shares that have this difference."""
    rows, only_now, only_reference = counts.rows, counts.only_now, counts.only_reference
    linear = -only_now - only_reference + (2 * rows - only_now + only_reference) * difference
    constant = -only_reference * difference * (1 - difference)
    likeliest = _upper_root(2 * rows, linear, constant)
    return max(0.0, rows * (2 * likeliest + difference * (1 - difference)))


def _ratio_variance(counts: PairedCounts, ratio: float) -> float:
    """Of the rows' sum of right now less `ratio` times right before, by the likeliest shares of that ratio."""
    right = counts.both + counts.only_now + counts.only_reference
    linear = counts.reference * ratio**2 - (counts.now + 2 * counts.only_reference)
    constant = counts.only_reference * (1 - ratio) * right / counts.rows
    likeliest = _upper_root(counts.rows * (1 + ratio), linear, constant)
    return max(0.0, counts.rows * (1 + ratio) * likeliest + right * (ratio - 1))


def _upper_root(square: float, linear: float, constant: float) -> float:
    return (math.sqrt(max(0.0, linear**2 - 4 * square * constant)) - linear) / (2 * square)


def _edge(is_within: Callable[[float], bool], inside: float, outside: float) -> float:
    """Where, on the way from one to the other, it ends; `outside` itself where it does not."""
    if is_within(outside):
        return outside
    for _ in range(_HALVINGS):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if is_within(middle) else (inside, middle)
    return inside
