"""Batch latency model S(b) = t0 + t1 b: the service time S of a call with b rows, fitted to calls
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
variation between the calls of one measurement.
"""
_MIN_R2 = 0.98
_MAX_RELATIVE_ERROR = 0.05
_MIN_BATCHES = 3
_MIN_BATCHES_FOR_BREAKPOINT = 5
_BREAKPOINT_COUNT = 60


class BatchPoint(msgspec.Struct, frozen=True):
    """Measured service time at one batch size. `service_ms` is the median or mean over all calls;
    points without a value are ignored."""

    batch: int
    service_ms: Estimate


def fit_batch_model(points: Sequence[BatchPoint], variant: Variant) -> BatchModel:
    """Fit the batch latency model by weighted least squares, with t0 and t1 constrained to at least
    0.

    The confidence intervals of t0 and t1 are Student's t on the residuals, but never narrower than
    the intervals of the points imply. With two points, only the latter exist. With few batch sizes
    the intervals are wide: three batch sizes leave one degree of freedom.

    `reason` states why the model does not fit: the slope changes, or r² is at most 0.98. Both
    require that the line misses a batch size by more than 5 %, because r² of a nearly flat line is
    meaningless."""
    sorted_points = sorted(points, key=lambda point: point.batch)
    measurements = [(point.batch, point.service_ms) for point in sorted_points if point.service_ms.value]
    batches = tuple(batch for batch, _ in measurements)
    if len(set(batches)) < 2:
        reason = f"{len(set(batches))} of {_MIN_BATCHES} required batch sizes"
        withheld_estimate = Estimate(None, n=len(measurements), reason=reason)
        return BatchModel(
            variant=variant,
            t0_ms=withheld_estimate,
            t1_ms=withheld_estimate,
            r2=None,
            batches=batches,
            reason=reason,
        )
    b = np.array(batches, dtype=np.float64)
    s = np.array([estimate.value for _, estimate in measurements])
    standard_errors = np.array([_compute_standard_error(estimate) for _, estimate in measurements])
    weights = 1 / np.hypot(standard_errors, _REPEAT_CV * s)
    line = _fit_line(b, s, weights, standard_errors)
    r2 = _compute_r2(line.fitted_values, s, weights) if len(measurements) >= _MIN_BATCHES else None
    return BatchModel(
        variant=variant,
        t0_ms=line.t0_ms,
        t1_ms=line.t1_ms,
        r2=r2,
        batches=batches,
        reason=_find_misfit_reason(b, s, weights, line.fitted_values, r2),
    )


class _Line(msgspec.Struct, frozen=True):
    t0_ms: Estimate
    t1_ms: Estimate
    fitted_values: Floats


def _fit_line(b: Floats, s: Floats, weights: Floats, standard_errors: Floats) -> _Line:
    """Fit a line with non-negative coefficients. The confidence interval of each coefficient
    includes the interval of the unconstrained fit, truncated at 0."""
    weighted_design = np.column_stack((np.ones_like(b), b)) * weights[:, None]
    from scipy import optimize  # imported lazily, as the import would delay the start of a run

    coefficients, _ = optimize.nnls(weighted_design, s * weights)
    pseudo_inverse = np.linalg.pinv(weighted_design)
    unconstrained_coefficients = pseudo_inverse @ (s * weights)
    half_widths = _Z * np.sqrt((pseudo_inverse**2) @ (standard_errors * weights) ** 2)
    degrees_of_freedom = b.size - 2
    if degrees_of_freedom > 0:
        standard_deviation = math.sqrt(
            float(np.sum((weighted_design @ unconstrained_coefficients - s * weights) ** 2)) / degrees_of_freedom
        )
        t = float(special.stdtrit(degrees_of_freedom, 1 - ALPHA / 2))
        half_widths = np.maximum(half_widths, t * standard_deviation * np.sqrt(np.sum(pseudo_inverse**2, axis=1)))
    t0_ms, t1_ms = (
        Estimate(
            float(value),
            (max(0.0, min(value, unconstrained_value) - half_width), max(value, unconstrained_value) + half_width),
            b.size,
        )
        for value, unconstrained_value, half_width in zip(
            coefficients.tolist(), unconstrained_coefficients.tolist(), half_widths.tolist(), strict=True
        )
    )
    return _Line(t0_ms, t1_ms, coefficients[0] + coefficients[1] * b)


def _compute_standard_error(estimate: Estimate) -> float:
    return 0.0 if estimate.ci95 is None else (estimate.ci95[1] - estimate.ci95[0]) / (2 * _Z)


def _compute_r2(fitted_values: Floats, s: Floats, weights: Floats) -> float | None:
    """Compute the weighted R², the proportion of the weighted variance of the service times that
    the line explains; `None` if all service times are equal."""
    squared_weights = weights**2
    total_squares = float(np.sum(squared_weights * (s - np.average(s, weights=squared_weights)) ** 2))
    return 1 - float(np.sum(squared_weights * (s - fitted_values) ** 2)) / total_squares if total_squares > 0 else None


def _find_misfit_reason(b: Floats, s: Floats, weights: Floats, fitted_values: Floats, r2: float | None) -> str | None:
    """Return the reason why a line does not describe call times by batch size, or None if it does: too few batch
    sizes, a change of the slope, or a low r² with a batch that deviates too much."""
    if np.unique(b).size < _MIN_BATCHES:
        return f"{np.unique(b).size} of {_MIN_BATCHES} required batch sizes"
    relative_errors = np.abs(fitted_values / s - 1)
    worst_index = int(np.argmax(relative_errors))
    if relative_errors[worst_index] <= _MAX_RELATIVE_ERROR:
        return None
    breakpoint_batch = _find_breakpoint_batch(b, s, weights)
    if breakpoint_batch is not None:
        return f"the slope changes near batch {breakpoint_batch:.0f}"
    if r2 is not None and r2 <= _MIN_R2:
        return (
            f"the call time is not linear: batch {b[worst_index]:g} deviates by "
            f"{100 * relative_errors[worst_index]:.0f} %, r² {r2:.3f}"
        )
    return None


def _find_breakpoint_batch(b: Floats, s: Floats, weights: Floats) -> float | None:
    """Find the batch size at which the slope changes; `None` if one line is sufficient.

    Two joined lines are fitted; the slope changes where they meet. The two lines must fit better
    than one line by an F test at 5 %, in which the position counts as a parameter."""
    if b.size < _MIN_BATCHES_FOR_BREAKPOINT:
        return None
    breakpoints = np.geomspace(b[1], b[-2], _BREAKPOINT_COUNT)
    single_line_design = np.column_stack((np.ones_like(b), b))
    single_line_squares = _compute_residual_squares(single_line_design, s, weights)
    two_line_squares, breakpoint_batch = min(
        (
            _compute_residual_squares(
                np.column_stack((single_line_design, np.maximum(0.0, b - candidate))), s, weights
            ),
            float(candidate),
        )
        for candidate in breakpoints
    )
    degrees_of_freedom = b.size - 4
    if two_line_squares <= 0:
        return breakpoint_batch
    f_ratio = (single_line_squares - two_line_squares) / 2 / (two_line_squares / degrees_of_freedom)
    return breakpoint_batch if special.fdtrc(2, degrees_of_freedom, f_ratio) < ALPHA else None


def _compute_residual_squares(design_matrix: Floats, s: Floats, weights: Floats) -> float:
    """Compute the weighted sum of squared residuals of the least-squares fit of `design_matrix` to
    `s`."""
    weighted_design = design_matrix * weights[:, None]
    coefficients = np.linalg.lstsq(weighted_design, s * weights, rcond=None)[0]
    return float(np.sum((weighted_design @ coefficients - s * weights) ** 2))
