"""Service times of single requests, as factors of the mean service time.

Factors are computed from standard normals, so that simulations are smooth functions of the
parameters. Factors have a lognormal distribution, or a two-phase distribution of fast and slow
requests with gamma-distributed service times. The module also scales services and targets to
another speed, for example of another precision, runtime or model.
"""

from __future__ import annotations

import math
from functools import lru_cache

import msgspec
import numpy as np
from scipy import special

from app.analysis.columns import Floats
from app.records.offers import CapacityCurve
from app.records.planning_inputs import MeasuredLoadPoint, MeasuredTarget
from app.records.service import BatchService, RequestService, ServiceFit, ServiceModel, TokenService

_LOG_FACTOR_GRID = np.linspace(math.log(1e-4), math.log(300.0), 1200)
"""Grid of the logarithms of service time factors at which the cumulative distribution is tabulated.
"""
_MAX_Z = 8.0
_NORMALS_GRID = np.linspace(-6.0, 6.0, 6001)


def compute_service_factors(unit_normals: Floats, service: RequestService | BatchService | TokenService) -> Floats:
    """Return service time factors with mean 1. Factors increase with `unit_normals`."""
    if not is_two_phase(service):
        return compute_lognormal_factors(unit_normals, service.cv)
    assert isinstance(service, RequestService)
    return np.asarray(np.exp(_compute_two_phase_logs(unit_normals, service)))


def is_two_phase(service: ServiceModel) -> bool:
    return isinstance(service, RequestService) and service.slow_share > 0


def compute_lognormal_factors(unit_normals: Floats, cv: float) -> Floats:
    """Return lognormal service time factors with mean 1 and the coefficient of variation `cv`."""
    variance = np.log1p(cv * cv)
    factors = np.asarray(np.sqrt(variance) * unit_normals)
    factors -= variance / 2
    np.exp(factors, out=factors)
    return factors


def compute_fleet_normals(unit_normals: Floats, service: ServiceModel) -> Floats:
    """Return the normals that the fleet simulation uses in place of standard normals.

    For a two-phase service, a returned normal z gives the service time factor exp(z − 1/2), since
    the fleet simulation uses the sigma `FLEET_SIGMA`. Other services keep their standard normals.
    """
    if not is_two_phase(service):
        return unit_normals
    assert isinstance(service, RequestService)
    return np.asarray(_compute_two_phase_logs(unit_normals, service) + FLEET_SIGMA**2 / 2)


FLEET_SIGMA = 1.0
"""Lognormal sigma with which the fleet simulation converts normals to service time factors of a
two-phase service."""


def compute_total_cv(service: RequestService) -> float:
    """Return the coefficient of variation of the service times of all requests, fast and slow."""
    if not is_two_phase(service):
        return service.cv
    slow_share, slow_factor = service.slow_share, service.slow_factor
    fast_mean = 1 / (1 - slow_share + slow_share * slow_factor)
    second_moment = (1 + service.cv**2) * fast_mean**2 * (1 - slow_share + slow_share * slow_factor**2)
    return math.sqrt(max(0.0, second_moment - 1))


def build_two_phase_table(service: RequestService) -> tuple[Floats, Floats]:
    """Return evenly spaced normals and the service time factor at each of them.

    At the transition from fast to slow requests, interpolation is inaccurate for about 0.1 % of the
    requests.
    """
    return _NORMALS_GRID, _tabulate_factors(*_get_phase_parameters(service))


def _compute_two_phase_logs(unit_normals: Floats, service: RequestService) -> Floats:
    return np.asarray(np.interp(unit_normals, _tabulate_normals(*_get_phase_parameters(service)), _LOG_FACTOR_GRID))


def _get_phase_parameters(service: RequestService) -> tuple[float, float, float]:
    return min(service.slow_share, 0.999), service.slow_factor, max(service.cv, 0.01)


@lru_cache(64)
def _tabulate_factors(slow_share: float, slow_factor: float, cv: float) -> Floats:
    return np.asarray(
        np.exp(np.interp(_NORMALS_GRID, _tabulate_normals(slow_share, slow_factor, cv), _LOG_FACTOR_GRID))
    )


@lru_cache(64)
def _tabulate_normals(slow_share: float, slow_factor: float, cv: float) -> Floats:
    """Return, for each service time factor of the grid, the standard normal with the same
    cumulative probability. The normals are non-decreasing."""
    fast_mean = 1 / (1 - slow_share + slow_share * slow_factor)
    gamma_shape, factors = 1 / cv**2, np.exp(_LOG_FACTOR_GRID)
    lower_tail = (1 - slow_share) * special.gammainc(gamma_shape, gamma_shape * factors / fast_mean)
    lower_tail = lower_tail + slow_share * special.gammainc(
        gamma_shape, gamma_shape * factors / (fast_mean * slow_factor)
    )
    # in the upper half, the survival function is more accurate than the distribution function
    is_upper = lower_tail >= 0.5
    normals, factors = special.ndtri(lower_tail), factors[is_upper]
    upper_tail = (1 - slow_share) * special.gammaincc(gamma_shape, gamma_shape * factors / fast_mean)
    upper_tail = upper_tail + slow_share * special.gammaincc(
        gamma_shape, gamma_shape * factors / (fast_mean * slow_factor)
    )
    normals[is_upper] = -special.ndtri(upper_tail)
    return np.asarray(np.maximum.accumulate(np.clip(normals, -_MAX_Z, _MAX_Z)))


def speed_up(service: ServiceModel, speed: float) -> ServiceModel:
    """Return the service model of a replica that is `speed` times as fast; the time outside the
    replica is unchanged.
    """
    if speed == 1:
        return service
    match service:
        case RequestService():
            return msgspec.structs.replace(service, mean_s=service.mean_s / speed)
        case BatchService():
            fixed_s, per_item_s = service.fixed_s / speed, service.per_item_s / speed
            return msgspec.structs.replace(service, fixed_s=fixed_s, per_item_s=per_item_s)
        case TokenService():
            return msgspec.structs.replace(
                service,
                step_s=service.step_s / speed,
                per_sequence_s=service.per_sequence_s / speed,
                per_kv_token_s=service.per_kv_token_s / speed,
                experts_s=service.experts_s / speed,
                prefill_s_per_token=service.prefill_s_per_token / speed,
            )


def speed_up_target(target: MeasuredTarget, speed: float) -> MeasuredTarget:
    """Return the target with all measurements scaled to a replica that is `speed` times as fast.
    The target is marked as assumed."""
    fit = None if target.fit is None else _scale_fit(target.fit, speed)
    load_points = tuple(_scale_load_point(load_point, speed) for load_point in target.load_points)
    curve = _scale_curve(target.curve, speed)
    return msgspec.structs.replace(target, curve=curve, fit=fit, load_points=load_points, is_assumed=True)


def _scale_load_point(load_point: MeasuredLoadPoint, speed: float) -> MeasuredLoadPoint:
    return msgspec.structs.replace(
        load_point,
        offered_per_s=None if load_point.offered_per_s is None else load_point.offered_per_s * speed,
        achieved_per_s=load_point.achieved_per_s * speed,
        duration_s=None if load_point.duration_s is None else load_point.duration_s / speed,
        latencies_s={
            metric: {name: value / speed for name, value in latencies_s.items()}
            for metric, latencies_s in load_point.latencies_s.items()
        },
    )


def _scale_fit(fit: ServiceFit, speed: float) -> ServiceFit:
    """Return a fit whose services are faster by `speed`, and whose rates are multiplied by it."""
    services = tuple(
        msgspec.structs.replace(fitted_service, service=speed_up(fitted_service.service, speed))
        for fitted_service in fit.services
    )
    return msgspec.structs.replace(
        fit, services=services, lowest_per_s=fit.lowest_per_s * speed, highest_per_s=fit.highest_per_s * speed
    )


def _scale_curve(curve: CapacityCurve, speed: float) -> CapacityCurve:
    """Return a curve with its rates multiplied, and its latencies divided, by `speed`."""
    points = tuple(
        msgspec.structs.replace(
            point,
            offered_per_s=point.offered_per_s * speed,
            achieved_per_s=point.achieved_per_s * speed,
            latency_ms=None if point.latency_ms is None else point.latency_ms / speed,
        )
        for point in curve.points
    )
    max_rate_ci95 = curve.max_rate_ci95
    return msgspec.structs.replace(
        curve,
        points=points,
        max_rate_per_s=curve.max_rate_per_s * speed,
        max_rate_ci95=None if max_rate_ci95 is None else (max_rate_ci95[0] * speed, max_rate_ci95[1] * speed),
    )
