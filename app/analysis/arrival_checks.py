"""Was the load what the profile says? Checks of the arrivals as they were really sent.

A rate that changes is taken out first: where each send lies by the area under the rate curve, the arrivals of any curve
are those of a rate of 1 (the time-rescaling theorem; Daley and Vere-Jones, Introduction to the Theory of Point
Processes, 2003, theorem 7.4.I).
"""

from __future__ import annotations

import math

import numpy as np
from scipy import special

from app.analysis.columns import Floats, Nanoseconds
from app.analysis.grading import grade_high
from app.analysis.rate_curve import curve_of
from app.records.result import Check, Trust, Window
from app.records.stage import StageFacts

_FEWEST = 100
_PER_COUNT = 10
_PER_LARGE = 100
_MOST_COUNTS = 1_000
_TAIL = 0.0005
_CONSTANT_LIMIT = 0.1
_SPACING_LIMIT = 0.05
_SHORTEST_S = 0.0001
_HINT_BUSY = "The generator's machine was busy: stop other work on it, or lower the rate."
_HINT_FEW = "Too few requests were sent to tell: a longer stage or a higher rate shows it."


def arrival_checks(sent_ns: Nanoseconds, facts: StageFacts, window: Window) -> tuple[Check, ...]:
    """`sent_ns` of the stage, in any order. None of what answers decide, nor of a trace, whose lag tells all.

    A constant schedule is judged by its evenness alone.
    """
    curve = None if facts.sessions else curve_of(facts)
    if curve is None:
        return ()
    inside = np.sort(sent_ns[(sent_ns >= window.start_ns) & (sent_ns < window.end_ns)])
    length = curve.area_until(np.array([(window.end_ns - facts.start_ns) / 1e9]))
    sent = curve.area_until((inside - facts.start_ns) / 1e9)
    if facts.arrival_kind == "constant":
        return (_evenness(sent, float(length[0])),)
    cv = facts.cv if facts.arrival_kind == "gamma" else 1.0
    shortest = _SHORTEST_S * float(curve.per_s.max()) if cv > 1 else 0.0
    return _dispersion(sent, float(length[0]), cv), _spacing(sent, cv, shortest)


def _dispersion(sent: Floats, length: float, cv: float) -> Check:
    """Variance over mean of counts in equal windows: cv² for a renewal process (Cox, Renewal Theory, 1962, section
    4.2), so 1 for Poisson; within 10 % of that (20 % where it is not 1) and what chance allows.

    With few windows chance allows more: (windows − 1) times the index over cv² follows chi-square, taken at 99.9 %.
    Other than 1, cv² holds in large windows only.
    """
    expected, is_poisson = cv * cv, cv == 1.0
    tolerance = 0.1 if is_poisson else 0.2
    if sent.size < (_FEWEST if is_poisson else 2 * _FEWEST):
        plain = f"{(1 - tolerance) * expected:.3g} to {(1 + tolerance) * expected:.3g}"
        return Check("arrival_dispersion", None, plain, "variance/mean", "WARN", _HINT_FEW)
    index, counts = _dispersion_index(sent, length, _PER_COUNT if is_poisson else min(_PER_LARGE, sent.size // 10))
    low = expected * min(1 - tolerance, float(special.chdtri(counts - 1, 1 - _TAIL)) / (counts - 1))
    high = expected * max(1 + tolerance, float(special.chdtri(counts - 1, _TAIL)) / (counts - 1))
    is_valid = low <= index <= high
    verdict: Trust = "VALID" if is_valid else "WARN"
    hint = None if is_valid else _HINT_BUSY
    return Check("arrival_dispersion", index, f"{low:.2f} to {high:.2f}", "variance/mean", verdict, hint)


def _evenness(sent: Floats, length: float) -> Check:
    """The same index where arrivals are meant to be even: 0, but for one arrival at the edge of a window."""
    few = sent.size < _FEWEST
    index = None if few else _dispersion_index(sent, length, _PER_COUNT)[0]
    hint = _HINT_FEW if few else _HINT_BUSY
    return grade_high("arrival_dispersion", index, unit="variance/mean", warn=_CONSTANT_LIMIT, hint=hint)


def _dispersion_index(sent: Floats, length: float, per_count: int) -> tuple[float, int]:
    counts = min(_MOST_COUNTS, sent.size // per_count)
    in_each = np.diff(np.searchsorted(sent, np.linspace(0.0, length, counts + 1)))
    return float(in_each.var(ddof=1) / in_each.mean()), counts


def _spacing(sent: Floats, cv: float, shortest: float) -> Check:
    """Kolmogorov–Smirnov distance of the gaps from the gamma distribution of mean 1 (cv 1: the exponential).

    Below `shortest` gaps are not told apart: bursts hold many that are shorter than a send takes.
    """
    n = sent.size - 1
    if n < _FEWEST:
        return Check("arrival_spacing", None, _SPACING_LIMIT, "KS distance", "WARN", _HINT_FEW)
    gaps, shape = np.sort(np.diff(sent)), cv**-2
    expected = -np.expm1(-gaps) if cv == 1.0 else special.gammainc(shape, shape * gaps)
    steps = np.arange(n + 1) / n
    apart = np.maximum(steps[1:] - expected, expected - steps[:-1])
    distance = float(np.max(apart, where=gaps >= shortest, initial=0.0))
    limit = round(_SPACING_LIMIT + 1.36 / math.sqrt(n), 3)
    return grade_high("arrival_spacing", distance, unit="KS distance", warn=limit, hint=_HINT_BUSY)
