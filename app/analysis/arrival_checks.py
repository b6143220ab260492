"""Was the load what the profile says? Checks of the arrivals as they were really sent."""

from __future__ import annotations

import math

import numpy as np
from scipy import special

from app.analysis.grading import grade_high
from app.analysis.rows import Nanoseconds
from app.records.result import Check, Trust, Window
from app.records.stage import StageFacts

_FEWEST = 100
_PER_COUNT = 10
_MOST_COUNTS = 1_000
_TAIL = 0.0005
_CONSTANT_LIMIT = 0.1
_SPACING_LIMIT = 0.05
_HINT_BUSY = "The generator's machine was busy: stop other work on it, or lower the rate."
_HINT_FEW = "Too few requests were sent to tell: a longer stage or a higher rate shows it."


def arrival_checks(sent_ns: Nanoseconds, facts: StageFacts, window: Window) -> tuple[Check, ...]:
    """`sent_ns` of the stage, in any order. A constant schedule is judged by its evenness alone."""
    ordered = np.sort(sent_ns[sent_ns < window.end_ns])
    if facts.arrivals == "constant":
        return (_evenness(ordered, window),)
    return _dispersion(ordered, window), _spacing(ordered, facts.rate_per_s)


def _dispersion(ordered_ns: Nanoseconds, window: Window) -> Check:
    """Variance over mean of counts in equal windows: 1 for Poisson, within 0.9 to 1.1 and what chance allows.

    With few windows chance allows more: (windows − 1) times the index follows chi-square, taken at 99.9 %.
    """
    name = "arrival dispersion"
    if ordered_ns.size < _FEWEST:
        return Check(name, None, "0.9 to 1.1", "variance/mean", "WARN", _HINT_FEW)
    index, counts = _dispersion_index(ordered_ns, window)
    low = min(0.9, float(special.chdtri(counts - 1, 1 - _TAIL)) / (counts - 1))
    high = max(1.1, float(special.chdtri(counts - 1, _TAIL)) / (counts - 1))
    is_valid = low <= index <= high
    verdict: Trust = "VALID" if is_valid else "WARN"
    hint = None if is_valid else _HINT_BUSY
    return Check(name, index, f"{low:.2f} to {high:.2f}", "variance/mean", verdict, hint)


def _evenness(ordered_ns: Nanoseconds, window: Window) -> Check:
    """The same index where arrivals are meant to be even: 0, but for one arrival at the edge of a window."""
    few = ordered_ns.size < _FEWEST
    index = None if few else _dispersion_index(ordered_ns, window)[0]
    hint = _HINT_FEW if few else _HINT_BUSY
    return grade_high("arrival dispersion", index, unit="variance/mean", warn=_CONSTANT_LIMIT, hint=hint)


def _dispersion_index(ordered_ns: Nanoseconds, window: Window) -> tuple[float, int]:
    counts = min(_MOST_COUNTS, ordered_ns.size // _PER_COUNT)
    edges = np.linspace(window.start_ns, window.end_ns, counts + 1)
    in_each = np.diff(np.searchsorted(ordered_ns, edges))
    return float(in_each.var(ddof=1) / in_each.mean()), counts


def _spacing(ordered_ns: Nanoseconds, rate_per_s: float) -> Check:
    """Kolmogorov–Smirnov distance of the gaps from the exponential of the stated rate."""
    name, n = "arrival spacing", ordered_ns.size - 1
    if n < _FEWEST:
        return Check(name, None, _SPACING_LIMIT, "KS distance", "WARN", _HINT_FEW)
    expected = -np.expm1(-np.sort(np.diff(ordered_ns)) * (rate_per_s / 1e9))
    steps = np.arange(n + 1) / n
    distance = float(max(np.max(steps[1:] - expected), np.max(expected - steps[:-1])))
    limit = _SPACING_LIMIT + 1.36 / math.sqrt(n)
    return grade_high(name, distance, unit="KS distance", warn=limit, hint=_HINT_BUSY)
