"""The batch law S(b) = t0 + t1 b: what a call of b rows takes, from calls timed at several batches."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from scipy import special

from app.analysis.columns import Floats
from app.analysis.sample_size import ALPHA
from app.records.estimate import Estimate, Variant
from app.records.local import BatchLaw

_Z = float(special.ndtri(1 - ALPHA / 2))
_ANOTHER_TIME = 0.01
"""By how much of its value the time of one batch differs when it is measured again, besides what its calls show."""
_LEAST_R2 = 0.98
_MISS = 0.05
_FEWEST = 3
_FEWEST_BROKEN = 5
_CUTS = 60


class BatchPoint(msgspec.Struct, frozen=True):
    """`service_ms` is the median, or the mean, of the calls of one batch; without a value it takes no part."""

    batch: int
    service_ms: Estimate


def fit_batch_law(points: Sequence[BatchPoint], variant: Variant) -> BatchLaw:
    """By weighted least squares, t0 and t1 not below 0.

    The intervals are Student's, from what the points miss the line by, and never narrower than the intervals of the
    points themselves allow; two points have the latter alone. Of few batches they are wide: three leave one degree of
    freedom. `reason` says why the law does not hold: a break, or r² of 0.98 or less where the line misses a batch by
    over 5 % as well (r² of a line that is flat says nothing).
    """
    ordered = sorted(points, key=lambda point: point.batch)
    known = [(point.batch, point.service_ms) for point in ordered if point.service_ms.value]
    batches = tuple(batch for batch, _ in known)
    if len(set(batches)) < 2:
        reason = f"needs {_FEWEST} batches, has {len(set(batches))}"
        nothing = Estimate(None, n=len(known), reason=reason)
        return BatchLaw(variant=variant, t0_ms=nothing, t1_ms=nothing, r2=None, batches=batches, reason=reason)
    b = np.array(batches, dtype=np.float64)
    s = np.array([estimate.value for _, estimate in known])
    own = np.array([_standard_error(estimate) for _, estimate in known])
    weights = 1 / np.hypot(own, _ANOTHER_TIME * s)
    line = _line(b, s, weights, own)
    r2 = _r2(line.fitted, s, weights) if len(known) >= _FEWEST else None
    return BatchLaw(
        variant=variant,
        t0_ms=line.t0_ms,
        t1_ms=line.t1_ms,
        r2=r2,
        batches=batches,
        reason=_reason(b, s, weights, line.fitted, r2),
    )


class _Line(msgspec.Struct, frozen=True):
    t0_ms: Estimate
    t1_ms: Estimate
    fitted: Floats


def _line(b: Floats, s: Floats, weights: Floats, own: Floats) -> _Line:
    """The point is the best with no negative part; its interval holds that of the free line, cut at 0."""
    columns = np.column_stack((np.ones_like(b), b)) * weights[:, None]
    from scipy import optimize  # imported late: the start of a run would wait for it

    best, _ = optimize.nnls(columns, s * weights)
    inverse = np.linalg.pinv(columns)
    free = inverse @ (s * weights)
    halves = _Z * np.sqrt((inverse**2) @ (own * weights) ** 2)
    freedom = b.size - 2
    if freedom > 0:
        spread = math.sqrt(float(np.sum((columns @ free - s * weights) ** 2)) / freedom)
        t = float(special.stdtrit(freedom, 1 - ALPHA / 2))
        halves = np.maximum(halves, t * spread * np.sqrt(np.sum(inverse**2, axis=1)))
    t0_ms, t1_ms = (
        Estimate(float(value), (max(0.0, min(value, middle) - half), max(value, middle) + half), b.size)
        for value, middle, half in zip(best.tolist(), free.tolist(), halves.tolist(), strict=True)
    )
    return _Line(t0_ms, t1_ms, best[0] + best[1] * b)


def _standard_error(estimate: Estimate) -> float:
    return 0.0 if estimate.ci95 is None else (estimate.ci95[1] - estimate.ci95[0]) / (2 * _Z)


def _r2(fitted: Floats, s: Floats, weights: Floats) -> float | None:
    """The share of the weighted variance of the times that the line explains; None where they are all the same."""
    squares = weights**2
    total = float(np.sum(squares * (s - np.average(s, weights=squares)) ** 2))
    return 1 - float(np.sum(squares * (s - fitted) ** 2)) / total if total > 0 else None


def _reason(b: Floats, s: Floats, weights: Floats, fitted: Floats, r2: float | None) -> str | None:
    if np.unique(b).size < _FEWEST:
        return f"needs {_FEWEST} batches, has {np.unique(b).size}"
    misses = np.abs(fitted / s - 1)
    worst = int(np.argmax(misses))
    if misses[worst] <= _MISS:
        return None
    at = _break_at(b, s, weights)
    if at is not None:
        return f"the line breaks near batch {at:.0f}: from there a row adds another time"
    if r2 is not None and r2 <= _LEAST_R2:
        return f"not a straight line: batch {b[worst]:g} is {100 * misses[worst]:.0f} % off it, r² {r2:.3f}"
    return None


def _break_at(b: Floats, s: Floats, weights: Floats) -> float | None:
    """The batch where two lines, joined, turn, if by an F test at 5 % they fit better than one; its place is one of
    the parameters."""
    if b.size < _FEWEST_BROKEN:
        return None
    cuts = np.geomspace(b[1], b[-2], _CUTS)
    one = np.column_stack((np.ones_like(b), b))
    left_by_one = _left(one, s, weights)
    left, at = min((_left(np.column_stack((one, np.maximum(0.0, b - cut))), s, weights), float(cut)) for cut in cuts)
    freedom = b.size - 4
    if left <= 0:
        return at
    return at if special.fdtrc(2, freedom, (left_by_one - left) / 2 / (left / freedom)) < ALPHA else None


def _left(columns: Floats, s: Floats, weights: Floats) -> float:
    """The weighted squares that the best fit of these columns leaves."""
    weighted = columns * weights[:, None]
    coefficients = np.linalg.lstsq(weighted, s * weights, rcond=None)[0]
    return float(np.sum((weighted @ coefficients - s * weights) ** 2))
