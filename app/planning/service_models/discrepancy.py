"""Discrepancy between a service model and the load points that it was fitted to.

A service that belongs to none of the fitted families is predicted wrongly, however narrow the
posterior of the parameters is. Each load is therefore predicted by the model that is fitted to all
other loads, and the part of the errors that sampling does not explain is carried into the
uncertainty of a plan. A target that becomes slower or faster during its measurement is detected by
the order of the errors in time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np

from app.analysis.columns import Floats
from app.planning.sizing.slo_objectives import LatencyObjective, SloObjectives
from app.records.planning_inputs import MeasuredLoadPoint
from app.records.service import FitError, ServiceFit

_NEAR_LOADS = (0.5, 1.15)
"""Rates, relative to the highest rate that met the SLO, whose errors count. A plan runs replicas at
these rates."""
_MIN_LOADS = 3
_SAMPLING_CONFIDENCE = 0.95
_WEIGHT_SIGMA = 0.05
"""Error that limits the weight of a load point whose own sampling error is small."""
RATE_SIGMA_PER_DISCREPANCY = 0.4
"""Standard deviation of the log rate within the SLO per discrepancy of the log latency.

Of a queue at utilization u, the log latency grows by u / (1 − u) per log rate, so 0.4 is that of a
replica at 70 % utilization.
"""
_ERROR_PREFIX_BY_KIND = {"latency": "", "first_token": "ttft ", "per_token": "tpot "}
_METRIC_BY_KIND = {"latency": "latency", "first_token": "ttft", "per_token": "tpot"}
_MIN_DRIFT_POINTS = 6
_DRIFT_CONFIDENCE = 0.98
"""One-sided confidence at which a drift counts as real. It is low, because a drift that is missed
costs more than a probability that is withheld."""
_UNKNOWN_SIGMA = 0.05
MAX_DISCREPANCY = 0.5
"""Discrepancy of the log latency above which a service model does not describe the target."""


class Drift(msgspec.Struct, frozen=True):
    """Interval of the change of the log latency over a measurement that the loads do not explain:
    positive if the target became slower."""

    low: float
    high: float

    @property
    def is_significant(self) -> bool:
        return self.low > 0 or self.high < 0


def select_errors(fit: ServiceFit, objective: LatencyObjective) -> list[FitError]:
    """Return the errors of a fit at the percentile or mean that an objective limits."""
    aggregate = "mean" if objective.quantile is None else f"p{100 * objective.quantile:g}"
    names = {
        f"{_ERROR_PREFIX_BY_KIND[objective.kind]}{aggregate}",
        f"latency {aggregate}" if objective.kind == "latency" else "",
    }
    return [error for error in fit.errors if error.aggregate in names]


def compute_discrepancy(fit: ServiceFit, objectives: SloObjectives, max_rate_per_s: float) -> float:
    """Return the discrepancy of the service model at the SLO: the standard deviation of the log
    latency that neither sampling nor the parameters of the model explain; the largest over the
    objectives.

    `max_rate_per_s` is the highest rate that met the SLO, in whose neighborhood the errors count.
    The result is 0 if sampling explains the errors, or if the SLO limits no fitted latency.
    """
    return max(
        (_compute_excess(select_errors(fit, objective), max_rate_per_s) for objective in objectives.latency_objectives),
        default=0.0,
    )


def _compute_excess(errors: Sequence[FitError], max_rate_per_s: float) -> float:
    """Return the standard deviation of the log errors that sampling noise does not explain, at loads near the maximum
    rate, or at all loads if too few are near; 0 if noise explains the errors or there are too few loads. Noise
    explains squares up to the 95 % quantile of the χ² distribution."""
    low, high = (share * max_rate_per_s for share in _NEAR_LOADS)
    near_errors = [error for error in errors if low <= error.offered_per_s <= high]
    if len(near_errors) < _MIN_LOADS:
        near_errors = list(errors)
    if len(near_errors) < _MIN_LOADS:
        return 0.0
    from scipy import special  # deferred, because the import would delay the start of a run

    squares = np.array([_compute_log_error(error) for error in near_errors]) ** 2
    variances = np.array([_get_sigma(error) for error in near_errors]) ** 2
    explained_ratio = float(special.chdtri(len(near_errors), 1 - _SAMPLING_CONFIDENCE)) / len(near_errors)
    weights = 1 / (variances + _WEIGHT_SIGMA**2)
    return math.sqrt(max(0.0, float(weights @ (squares - explained_ratio * variances) / weights.sum())))


def _compute_log_error(error: FitError) -> float:
    return math.log(error.measured_s / (error.fitted_s if error.held_out_s is None else error.held_out_s))


def _get_sigma(error: FitError) -> float:
    """Return the sampling error of a measured log latency. Plan files of earlier versions contain
    it only as the ratio to the error of the fit."""
    if error.sigma is not None:
        return error.sigma
    log_error = abs(math.log(error.measured_s / error.fitted_s))
    return log_error / abs(error.deviations) if error.deviations and log_error else _UNKNOWN_SIGMA


def estimate_drift(
    fit: ServiceFit, objectives: SloObjectives, load_points: Sequence[MeasuredLoadPoint]
) -> Drift | None:
    """Estimate how the latency changed during the measurement, beyond what the loads explain.

    The result is the more precise of the estimates at the median and at the SLO's first percentile.
    Return `None` if the order of the load points in time is unknown, or for too few load points.
    Load points without a start are taken in the order in which they are listed, unless that is the
    order of their rates.
    """
    objective = next(iter(objectives.latency_objectives), None)
    timed_points = _order_by_time(load_points)
    if objective is None or timed_points is None:
        return None
    median_objective = msgspec.structs.replace(objective, quantile=0.5)
    drifts = [_estimate_drift_of(fit, each, timed_points) for each in (median_objective, objective)]
    return min((drift for drift in drifts if drift is not None), key=lambda drift: drift.high - drift.low, default=None)


def _estimate_drift_of(
    fit: ServiceFit, objective: LatencyObjective, timed_points: Sequence[tuple[float, MeasuredLoadPoint]]
) -> Drift | None:
    if objective.quantile is None:
        return None
    errors = sorted(select_errors(fit, objective), key=lambda error: error.offered_per_s)
    metric, aggregate = _METRIC_BY_KIND[objective.kind], f"p{100 * objective.quantile:g}"
    rows = [
        (time, math.log(load_point.offered_per_s), math.log(latency_s))
        for time, load_point in timed_points
        if load_point.offered_per_s and (latency_s := load_point.latencies_s.get(metric, {}).get(aggregate))
    ]
    if len(rows) < _MIN_DRIFT_POINTS or len(errors) < _MIN_LOADS:
        return None
    times, log_rates, log_latencies = np.array(rows).T
    fitted_rates = np.log([error.offered_per_s for error in errors])
    fitted = np.interp(log_rates, fitted_rates, np.log([error.fitted_s for error in errors]))
    sigmas = np.interp(log_rates, fitted_rates, [_get_sigma(error) for error in errors])
    return _fit_trend(times, log_latencies - fitted, sigmas)


def _order_by_time(load_points: Sequence[MeasuredLoadPoint]) -> list[tuple[float, MeasuredLoadPoint]] | None:
    """Return the load points with their positions in time from 0 to 1; `None` if their order in
    time is unknown."""
    starts_s = [load_point.start_s for load_point in load_points]
    if all(start_s is not None for start_s in starts_s):
        times = np.array(starts_s, dtype=float)
    else:
        rates = [load_point.offered_per_s or 0.0 for load_point in load_points]
        if rates == sorted(rates):
            return None
        times = np.cumsum([load_point.duration_s or 1.0 for load_point in load_points])
    duration_s = float(times.max() - times.min()) if times.size else 0.0
    if duration_s <= 0:
        return None
    return list(zip(((times - times.min()) / duration_s).tolist(), load_points, strict=True))


def _fit_trend(times: Floats, errors: Floats, sigmas: Floats) -> Drift | None:
    """Fit a line by weighted least squares. The interval is wider if the errors scatter more than
    `sigmas`."""
    from scipy import special  # deferred, because the import would delay the start of a run

    weights = 1 / sigmas**2
    mean_time = float(weights @ times / weights.sum())
    spread = float(weights @ (times - mean_time) ** 2)
    if spread <= 0:
        return None
    slope = float(weights @ ((times - mean_time) * errors)) / spread
    mean_error = float(weights @ errors / weights.sum())
    residuals = errors - mean_error - slope * (times - mean_time)
    degrees_of_freedom = len(times) - 2
    scatter = max(1.0, math.sqrt(float(weights @ residuals**2) / degrees_of_freedom))
    half_width = float(special.stdtrit(degrees_of_freedom, _DRIFT_CONFIDENCE)) * scatter / math.sqrt(spread)
    return Drift(slope - half_width, slope + half_width)
