"""Batch latency model S(b) = t0 + t1 b: the duration of a call with b rows, fitted to calls
measured at several batch sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from scipy import special

from app.analysis.columns import Floats
from app.analysis.sample_size import ALPHA
from app.records.estimate import Estimate, Variant
from app.records.local import BatchModel

_Z = float(special.ndtri(1 - ALPHA / 2))
_REPEAT_CV = 0.01
"""Coefficient of variation between repeated measurements of one batch size, in addition to the
variation of its calls.
"""
_MIN_R2 = 0.98
_MAX_MISS = 0.05
_MIN_BATCHES = 3
_MIN_BATCHES_FOR_BREAK = 5
_BREAKPOINT_COUNT = 60


class BatchPoint(msgspec.Struct, frozen=True):
    """Measured latency at one batch size. `service_ms` is the median or mean over its calls; points
    without a value are ignored."""

    batch: int
    service_ms: Estimate


def fit_batch_model(points: Sequence[BatchPoint], variant: Variant) -> BatchModel:
    """Fit the model by weighted least squares, with t0 and t1 constrained to at least 0.

    The intervals are Student's t on the residuals, but never narrower than the intervals of the
    points imply; with two points only the latter exist. With few batch sizes they are wide: three
    leave one degree of freedom. `reason` states why the model does not fit: a change of slope, or
    r² of 0.98 or less while the line misses a batch by over 5 % (r² of a flat line is
    meaningless)."""
    ordered = sorted(points, key=lambda point: point.batch)
    known = [(point.batch, point.service_ms) for point in ordered if point.service_ms.value]
    batches = tuple(batch for batch, _ in known)
    if len(set(batches)) < 2:
        reason = f"needs {_MIN_BATCHES} batch sizes, has {len(set(batches))}"
        unavailable = Estimate(None, n=len(known), reason=reason)
        return BatchModel(
            variant=variant, t0_ms=unavailable, t1_ms=unavailable, r2=None, batches=batches, reason=reason
        )
    b = np.array(batches, dtype=np.float64)
    s = np.array([estimate.value for _, estimate in known])
    errors = np.array([_compute_standard_error(estimate) for _, estimate in known])
    weights = 1 / np.hypot(errors, _REPEAT_CV * s)
    line = _fit_line(b, s, weights, errors)
    r2 = _r2(line.fitted, s, weights) if len(known) >= _MIN_BATCHES else None
    return BatchModel(
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


def _fit_line(b: Floats, s: Floats, weights: Floats, errors: Floats) -> _Line:
    """Fit the line with non-negative coefficients. Each interval includes that of the unconstrained
    fit, truncated at 0."""
    columns = np.column_stack((np.ones_like(b), b)) * weights[:, None]
    from scipy import optimize  # imported lazily, as the import would delay the start of a run

    best, _ = optimize.nnls(columns, s * weights)
    inverse = np.linalg.pinv(columns)
    unconstrained = inverse @ (s * weights)
    half_widths = _Z * np.sqrt((inverse**2) @ (errors * weights) ** 2)
    degrees_of_freedom = b.size - 2
    if degrees_of_freedom > 0:
        spread = math.sqrt(float(np.sum((columns @ unconstrained - s * weights) ** 2)) / degrees_of_freedom)
        t = float(special.stdtrit(degrees_of_freedom, 1 - ALPHA / 2))
        half_widths = np.maximum(half_widths, t * spread * np.sqrt(np.sum(inverse**2, axis=1)))
    t0_ms, t1_ms = (
        Estimate(
            float(value),
            (max(0.0, min(value, unconstrained_value) - half_width), max(value, unconstrained_value) + half_width),
            b.size,
        )
        for value, unconstrained_value, half_width in zip(
            best.tolist(), unconstrained.tolist(), half_widths.tolist(), strict=True
        )
    )
    return _Line(t0_ms, t1_ms, best[0] + best[1] * b)


def _compute_standard_error(estimate: Estimate) -> float:
    return 0.0 if estimate.ci95 is None else (estimate.ci95[1] - estimate.ci95[0]) / (2 * _Z)


def _r2(fitted: Floats, s: Floats, weights: Floats) -> float | None:
    """Compute the proportion of the weighted variance of the latencies that the line explains;
    `None` if all latencies are equal."""
    squares = weights**2
    total = float(np.sum(squares * (s - np.average(s, weights=squares)) ** 2))
    return 1 - float(np.sum(squares * (s - fitted) ** 2)) / total if total > 0 else None


def _reason(b: Floats, s: Floats, weights: Floats, fitted: Floats, r2: float | None) -> str | None:
    if np.unique(b).size < _MIN_BATCHES:
        return f"needs {_MIN_BATCHES} batch sizes, has {np.unique(b).size}"
    relative_errors = np.abs(fitted / s - 1)
    worst = int(np.argmax(relative_errors))
    if relative_errors[worst] <= _MAX_MISS:
        return None
    break_batch = _find_break(b, s, weights)
    if break_batch is not None:
        return f"the slope changes near batch {break_batch:.0f}"
    if r2 is not None and r2 <= _MIN_R2:
        return f"not linear: batch {b[worst]:g} deviates by {100 * relative_errors[worst]:.0f} %, r² {r2:.3f}"
    return None


def _find_break(b: Floats, s: Floats, weights: Floats) -> float | None:
    """Find the batch size at which the slope changes: where two joined lines meet, if they fit
    better than one line by an F test at 5 %. The position counts as a parameter."""
    if b.size < _MIN_BATCHES_FOR_BREAK:
        return None
    breakpoints = np.geomspace(b[1], b[-2], _BREAKPOINT_COUNT)
    single_line = np.column_stack((np.ones_like(b), b))
    single_line_squares = _compute_residual_squares(single_line, s, weights)
    two_line_squares, breakpoint_batch = min(
        (
            _compute_residual_squares(np.column_stack((single_line, np.maximum(0.0, b - break_point))), s, weights),
            float(break_point),
        )
        for break_point in breakpoints
    )
    degrees_of_freedom = b.size - 4
    if two_line_squares <= 0:
        return breakpoint_batch
    f_ratio = (single_line_squares - two_line_squares) / 2 / (two_line_squares / degrees_of_freedom)
    return breakpoint_batch if special.fdtrc(2, degrees_of_freedom, f_ratio) < ALPHA else None


def _compute_residual_squares(columns: Floats, s: Floats, weights: Floats) -> float:
    """Compute the weighted sum of squared residuals of the best fit of `columns` to `s`."""
    weighted = columns * weights[:, None]
    coefficients = np.linalg.lstsq(weighted, s * weights, rcond=None)[0]
    return float(np.sum((weighted @ coefficients - s * weights) ** 2))
