"""Method of simulated moments: fit the parameters of a service model so that its simulations match
the measurement.

For each measured stage, the model is simulated several times under the same conditions. The
logarithms of simulated and measured latencies are compared, in units of the standard deviation
between simulations. The underlying random numbers are the same for all parameters, so that the
objective function is smooth. All models that explain the measurement about equally well are
returned, with their posterior probabilities.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec
import numpy as np

from app.analysis.columns import Floats
from app.planning.service_models.families import ADMISSION_LIMITS, LIMITS, ServiceFamily, with_parameters
from app.records.planning_inputs import GapDistribution
from app.records.service import (
    BatchService,
    FitError,
    FittedService,
    RequestService,
    ServiceFit,
    ServiceModel,
    TokenService,
)

Point = TypeVar("Point")

MIN_LOAD_POINTS = 3
MIN_REQUESTS = 30
ASSUMED_REQUESTS = 1000
"""Assumed number of requests of a load point that reports neither a number of requests nor a
duration."""
_MIN_SCATTER = 0.02
"""Minimum standard deviation of a log latency: the variation between repeated measurements for
reasons other than queueing.
"""
_SCREENING_SCATTER = 0.1
"""Standard deviation of a log latency that screening assumes for all models.

The simulated standard deviation would be misleading for models that fit badly.
"""
_MAX_EVALUATIONS = 20
_MAX_RICHER_FAMILIES = 2
_SLOPE_STEPS = {RequestService: 0.01, BatchService: 0.05, TokenService: 0.005}
"""Finite-difference step for the logarithm of a parameter, by type of service model.

Simulated latencies of a batch model are a rough function of the parameters, because one batch more
or less changes all later batches. With a step of 0.001, the slope would consist of this roughness
only, and the search would not make progress.
"""
_LIMIT_SLOPE_STEP = 0.05
"""Finite-difference step for the logarithm of a limit. A step smaller than one sequence, or than
the tokens of one request, has no effect.
"""
_MIN_START_LOG = 0.01
_SEARCH_DECIMALS = 7
"""Decimals to which a search rounds the logarithms of parameters, and residuals in standard
deviations, at each evaluation.

The last bits of exponentials and matrix products depend on the processor. Where the cost is flat
and rough, as with a share of slow requests, a search would turn such a difference into another
result.
"""
_ROBUST_SCALE = 2.0
_ERROR_FACTORS = {RequestService: 1.3, BatchService: 1.8, TokenService: 2.5}
"""Factors by which actual fit errors exceed the errors that the Jacobian predicts, by type of
service model.

The factors were determined with fits of simulated models (docs/explanation/planning.md). The factor
of token services comes from the error of the saturation rate.
"""
_MIN_PROBABILITY = 0.02
_MAX_EXCESS_COST = 30.0
"""Maximum cost above the best model at which a model is compared again, with equal scatter.

Costs are first computed with the scatter that each model predicts. A model above this maximum
cannot become the best with equal scatter.
"""
_STEADY_LOAD = 0.9


class CannotFitError(Exception):
    """Error that is raised if the load points do not determine a service model; the message states
    why."""


class ObservedLoad(msgspec.Struct, frozen=True):
    """Measured latencies at one request rate or number of clients.

    `logs` are the natural logarithms of the latencies in seconds, in the order of `names`, averaged
    over `point_count` load points.
    """

    offered_per_s: float
    requests: int
    point_count: int
    names: tuple[str, ...]
    logs: tuple[float, ...]
    gaps: GapDistribution = "random"
    is_steady: bool = False
    """True if the latencies are steady-state values. If False, the latencies are from a stage of
    `requests` requests that started with an empty server.
    """


class SimulatedStatistics(msgspec.Struct, frozen=True):
    """Results of repeated simulations of a stage: logarithms of the measured statistics, with shape
    simulations × names.
    """

    logs: Floats

    @property
    def log_means(self) -> Floats:
        return np.asarray(self.logs.sum(axis=0) / len(self.logs))

    @property
    def log_covariance(self) -> Floats:
        return np.atleast_2d(np.cov(self.logs, rowvar=False))


class ObservedStage(msgspec.Struct, frozen=True):
    """Measurement of a stage, and a function that simulates the stage with a service model.

    `variance_share` is the ratio of the variance of the measurement to the variance of a single
    simulation.
    """

    observed_load: ObservedLoad
    simulate: Callable[[ServiceModel], SimulatedStatistics]
    variance_share: float


class FamilyFit(msgspec.Struct, frozen=True):
    """Fit of a service family, with the residuals and their Jacobian at the fitted parameters."""

    family: ServiceFamily
    cost: float
    """Cost of the fit: −2 × log-likelihood with the prior, up to a constant, under the robust loss.
    """
    jacobian: Floats
    residuals: Floats
    whiteners: tuple[Floats, ...]
    """Matrix per stage that transforms differences of logarithms into the residuals."""
    held_out_cost: float | None = None
    """Held-out cost: the cost of each load point under a model fitted to all other load points,
    summed. `None` if models are not compared by held-out cost.
    """

    @property
    def score(self) -> float:
        """Score by which models are compared: the held-out cost if known, else the cost. The model
        with the lowest score is the most likely.
        """
        return self.cost if self.held_out_cost is None else self.held_out_cost


def find_best_fits(
    families: Sequence[ServiceFamily],
    screening_stages: Sequence[ObservedStage],
    stages: Sequence[ObservedStage],
    *,
    max_fits: int,
    derive_additional: Callable[[Sequence[FamilyFit]], Sequence[ServiceFamily]] | None = None,
    derive_richer: Callable[[ServiceFamily], Sequence[ServiceFamily]] | None = None,
    derive_nearby: Callable[[ServiceFamily], Sequence[ServiceFamily]] | None = None,
    max_excess_cost: float = math.inf,
    use_held_out: bool = False,
) -> list[FamilyFit]:
    """Fit all models roughly to the screening stages and the best models to all stages. Return the
    most likely model first.

    `derive_additional` derives more models to screen from the screened models, sorted best first.
    `derive_richer` derives models with more parameters from a fitted model; only the first two are
    tried. `derive_nearby` derives models with other integer parameters from the final best model;
    these models are fitted without screening. A model is dropped after screening if its cost
    exceeds the lowest cost by more than `max_excess_cost`, or if the screening does not support its
    admission limit. With `use_held_out`, models are compared by how well they predict load points
    that were left out of the fit, otherwise by how well they fit.
    """
    whiteners = [np.eye(len(stage.observed_load.names)) / _SCREENING_SCATTER for stage in screening_stages]
    screened_fits = _select_best_by_kind(
        sorted((_fit_family(family, screening_stages, whiteners) for family in families), key=_get_cost)
    )
    if derive_additional is not None:
        screened_fits = sorted(
            [
                *screened_fits,
                *(_fit_family(family, screening_stages, whiteners) for family in derive_additional(screened_fits)),
            ],
            key=_get_cost,
        )
    if derive_richer is not None:
        richer_families = [family for fit in screened_fits for family in derive_richer(fit.family)][
            :_MAX_RICHER_FAMILIES
        ]
        richer_fits = [_fit_family(family, screening_stages, whiteners) for family in richer_families]
        screened_fits = sorted(
            [*screened_fits, *(fit for fit in richer_fits if _supports_limits(fit, screened_fits[0].cost))],
            key=_get_cost,
        )
    candidates = [fit for fit in screened_fits if fit.cost <= screened_fits[0].cost + max_excess_cost]
    refined_fits = [
        _fit_by_own_scatter(fit.family, stages) for fit in _select_leading(candidates, screening_stages, max_fits)
    ]
    refined_fits.sort(key=_get_cost)
    refined_kinds, max_cost = (
        [fit.family.kind_key for fit in refined_fits],
        refined_fits[0].cost + _MAX_EXCESS_COST * _compute_spread(refined_fits[0]) ** 2,
    )
    nearby_families = (
        []
        if derive_nearby is None
        else [family for family in derive_nearby(refined_fits[0].family) if family.kind_key not in refined_kinds]
    )
    compared_fits = _fit_with_equal_scatter(
        [*(fit.family for fit in refined_fits if fit.cost <= max_cost), *nearby_families], stages
    )
    if use_held_out:
        compared_fits = [
            msgspec.structs.replace(fit, held_out_cost=_compute_held_out_cost(fit)) for fit in compared_fits
        ]
    return sorted(compared_fits, key=_get_score)


def compute_rough_cost(family: ServiceFamily, screening_stages: Sequence[ObservedStage]) -> float:
    """Return the cost of a model with its starting values, before the fit."""
    log_parameters = np.array(family.log_parameters)
    residuals = [
        (np.array(stage.observed_load.logs) - stage.simulate(family.service).log_means) / _SCREENING_SCATTER
        for stage in screening_stages
    ]
    squares = np.concatenate([*residuals, family.compute_prior_residuals(log_parameters)]) ** 2
    return float(2 * _ROBUST_SCALE**2 * (np.sqrt(1 + squares / _ROBUST_SCALE**2) - 1).sum())


def _supports_limits(fit: FamilyFit, unlimited_cost: float) -> bool:
    """Return whether the screening supports a model's admission limits; True for models without
    such limits.

    The model must fit better than the best model without limits. The load points must also
    contain more information about each limit (inverse variance) than the prior, assuming the
    minimum residual standard deviation.
    """
    parameters = fit.family.parameters
    if set(parameters).isdisjoint(ADMISSION_LIMITS):
        return True
    if fit.cost >= unlimited_cost:
        return False
    information = (fit.jacobian[: -len(parameters)] ** 2).sum(axis=0) * (_SCREENING_SCATTER / _MIN_SCATTER) ** 2
    return all(
        information[index] > 1 / fit.family.priors[name].log_sd ** 2
        for index, name in enumerate(parameters)
        if name in ADMISSION_LIMITS
    )


def _select_best_by_kind(screened_fits: Sequence[FamilyFit]) -> list[FamilyFit]:
    """Return the best fit of each model over all starting values."""
    best_by_kind: dict[ServiceModel, FamilyFit] = {}
    for fit in screened_fits:
        best_by_kind.setdefault(fit.family.kind_key, fit)
    return list(best_by_kind.values())


def _select_leading(
    screened_fits: Sequence[FamilyFit], screening_stages: Sequence[ObservedStage], max_count: int
) -> list[FamilyFit]:
    """Select the fits to refine, including the best fit of each family, since screening is only a
    rough fit.

    A rough fit can hardly distinguish batch sizes, especially with a batching window. If batch
    models lead, each batch size is therefore fitted to the screening stages again, with the
    accuracy of the final fit, before any batch size is dropped.
    """
    if any(isinstance(fit.family.service, BatchService) for fit in screened_fits[: max_count - 1]):
        batch_fits = [fit for fit in screened_fits if isinstance(fit.family.service, BatchService)]
        ranked_batch_fits = sorted((_refine_family(fit.family, screening_stages) for fit in batch_fits), key=_get_cost)
        other_fits = [fit for fit in screened_fits if not isinstance(fit.family.service, BatchService)]
        return [*ranked_batch_fits[: max_count - 1], *other_fits[:1]]
    leading_fits, remaining_fits = list(screened_fits[: max_count - 1]), screened_fits[max_count - 1 :]
    families = {fit.family.family_key for fit in leading_fits}
    for fit in remaining_fits:
        if fit.family.family_key not in families:
            leading_fits.append(fit)
            families.add(fit.family.family_key)
    return (
        leading_fits
        if len(leading_fits) >= max_count
        else [*leading_fits, *remaining_fits[: max_count - len(leading_fits)]]
    )


def build_service_fit(fits: Sequence[FamilyFit], stages: Sequence[ObservedStage], highest_per_s: float) -> ServiceFit:
    best_fit = fits[0]
    spread = _compute_spread(best_fit)
    probabilities = np.array([math.exp(-(fit.score - best_fit.score) / (2 * spread**2)) for fit in fits])
    probabilities = np.where(probabilities / probabilities.sum() < _MIN_PROBABILITY, 0.0, probabilities)
    probabilities /= probabilities.sum()
    services = tuple(
        FittedService(
            _round_limits(fit.family), float(probability), fit.family.parameters, _compute_covariance(fit, spread)
        )
        for fit, probability in zip(fits, probabilities, strict=True)
        if probability > 0
    )
    held_out_residuals = _compute_held_out_residuals(best_fit)
    errors = tuple(
        error
        for stage, whitener, residuals in zip(stages, best_fit.whiteners, held_out_residuals, strict=True)
        for error in _compute_errors(stage, services[0].service, np.asarray(np.linalg.solve(whitener, residuals)))
    )
    return ServiceFit(
        services=services,
        errors=errors,
        median_error=_compute_median_error(errors, highest_per_s),
        spread=spread,
        lowest_per_s=stages[0].observed_load.offered_per_s,
        highest_per_s=highest_per_s,
    )


def _round_limits(family: ServiceFamily) -> ServiceModel:
    """Return the service model with limits rounded to integers."""
    has_fitted_limit = any(name in LIMITS for name in family.parameters)
    return (
        with_parameters(family.service, family.parameters, np.array(family.log_parameters))
        if has_fitted_limit
        else family.service
    )


def _compute_median_error(errors: Sequence[FitError], highest_per_s: float) -> float:
    """Return the median relative error at loads below 90 % of the highest observed rate. If all
    loads are higher, return the median over all loads.

    Near saturation, latencies depend on the length of a stage.
    """
    steady_errors = [error for error in errors if error.offered_per_s < _STEADY_LOAD * highest_per_s] or list(errors)
    return float(np.median([abs(error.fitted_s / error.measured_s - 1) for error in steady_errors]))


def pick_evenly(points: Sequence[Point], max_count: int) -> list[Point]:
    """Return at most `max_count` evenly spaced points, including the first and the last."""
    indices = np.linspace(0, len(points) - 1, min(max_count, len(points))).round().astype(int)
    return [points[index] for index in indices]


def _get_cost(fit: FamilyFit) -> float:
    return fit.cost


def _get_score(fit: FamilyFit) -> float:
    return fit.score


def _refine_family(family: ServiceFamily, stages: Sequence[ObservedStage]) -> FamilyFit:
    """Fit a service family twice. The second fit uses the scatter that the first fit predicts."""
    return _fit_by_own_scatter(_fit_by_own_scatter(family, stages).family, stages)


def _fit_by_own_scatter(family: ServiceFamily, stages: Sequence[ObservedStage]) -> FamilyFit:
    return _fit_family(family, stages, _build_whiteners(family, stages))


def _fit_with_equal_scatter(families: Sequence[ServiceFamily], stages: Sequence[ObservedStage]) -> list[FamilyFit]:
    """Fit all models with the scatter that the first model predicts, so that no model benefits from
    predicting more scatter.
    """
    whiteners = _build_whiteners(families[0], stages)
    return [_fit_family(family, stages, whiteners) for family in families]


def _compute_held_out_cost(fit: FamilyFit) -> float:
    """Return the held-out cost of a fit, summed over load points."""
    squares = (np.concatenate(_compute_held_out_residuals(fit)) / _ROBUST_SCALE) ** 2
    return float((2 * _ROBUST_SCALE**2 * (np.sqrt(1 + squares) - 1)).sum())


def _compute_held_out_residuals(fit: FamilyFit) -> list[Floats]:
    """Return the residuals of each load point under the model that is fitted to all other load
    points.

    The fit without a load point is approximated by one Gauss-Newton step within the model's bounds,
    without another simulation. The last rows of the Jacobian belong to the prior and are never left
    out. For the soft_l1 loss, scipy scales the rows of the Jacobian by (1 + z)^(−3/4), where z is
    the squared residual relative to the scale of the loss.
    """
    from scipy import optimize  # deferred, because the import would delay the start of a run

    scale = 1 + (fit.residuals / _ROBUST_SCALE) ** 2
    slopes, weights = fit.jacobian * scale[:, None] ** 0.75, scale**-0.25
    log_parameters, (low, high) = np.array(fit.family.log_parameters), fit.family.bounds
    bounds = np.minimum(low - log_parameters, -1e-9), np.maximum(high - log_parameters, 1e-9)
    held_out_residuals, start = [], 0
    for whitener in fit.whiteners:
        held_out_rows = np.arange(start, start + len(whitener))
        fitted_rows = np.delete(np.arange(scale.size), held_out_rows)
        step = optimize.lsq_linear(
            slopes[fitted_rows] * weights[fitted_rows, None],
            -fit.residuals[fitted_rows] * weights[fitted_rows],
            bounds=bounds,
        ).x
        held_out_residuals.append(np.asarray(fit.residuals[held_out_rows] + slopes[held_out_rows] @ step))
        start += len(whitener)
    return held_out_residuals


def _build_whiteners(family: ServiceFamily, stages: Sequence[ObservedStage]) -> list[Floats]:
    service = family.with_values(np.array(family.log_parameters))
    return [_build_whitener(stage, stage.simulate(service)) for stage in stages]


def _fit_family(family: ServiceFamily, stages: Sequence[ObservedStage], whiteners: Sequence[Floats]) -> FamilyFit:
    """Fit the parameters of one service family to the stages.

    Each stage has a matrix in `whiteners`, which transforms differences of logarithms into
    independent standardized residuals.
    """
    observed_logs = [np.array(stage.observed_load.logs) for stage in stages]

    def compute_residuals(exact_log_parameters: Floats) -> Floats:
        log_parameters = np.round(exact_log_parameters, _SEARCH_DECIMALS)
        service = family.with_values(log_parameters)
        stage_residuals = [
            whitener @ (logs - stage.simulate(service).log_means)
            for stage, logs, whitener in zip(stages, observed_logs, whiteners, strict=True)
        ]
        residuals = np.concatenate([*stage_residuals, family.compute_prior_residuals(log_parameters)])
        return np.asarray(np.round(residuals, _SEARCH_DECIMALS))

    from scipy import optimize  # deferred, because the import would delay the start of a run

    # the step of a slope is relative to the logarithm, and must not be 0 where a search begins at a parameter of 1
    log_parameters = np.array(family.log_parameters)
    start = np.where(np.abs(log_parameters) < _MIN_START_LOG, _MIN_START_LOG, log_parameters)
    solution = optimize.least_squares(
        compute_residuals, np.clip(start, *family.bounds), loss="soft_l1", f_scale=_ROBUST_SCALE,
        diff_step=_compute_slope_steps(family), x_scale=0.3, max_nfev=_MAX_EVALUATIONS, xtol=1e-3, ftol=1e-3,
        bounds=family.bounds,
    )  # fmt: skip
    log_determinant = sum(float(np.linalg.slogdet(whitener)[1]) for whitener in whiteners)
    cost = 2 * float(solution.cost) - 2 * log_determinant
    return FamilyFit(
        family.with_log_parameters(np.asarray(solution.x)),
        cost,
        np.asarray(solution.jac),
        np.asarray(solution.fun),
        tuple(whiteners),
    )


def _compute_slope_steps(family: ServiceFamily) -> list[float]:
    """Return the finite-difference step of each parameter, relative to its logarithm, as scipy
    expects."""
    default_step = _SLOPE_STEPS[type(family.service)]
    return [
        _LIMIT_SLOPE_STEP / max(1.0, log) if name in LIMITS else default_step
        for name, log in zip(family.parameters, family.log_parameters, strict=True)
    ]


def _build_whitener(stage: ObservedStage, statistics: SimulatedStatistics) -> Floats:
    """Return the whitening matrix L⁻¹, where L is the Cholesky factor of the covariance of the
    measured statistics.

    Covariances between different statistics are halved, because few simulations estimate them
    poorly.
    """
    covariance, identity = statistics.log_covariance * stage.variance_share, np.eye(len(stage.observed_load.names))
    scatter = np.diag(np.diag(covariance)) * 0.5 + covariance * 0.5 + identity * _MIN_SCATTER**2
    return np.asarray(np.linalg.inv(np.linalg.cholesky(scatter)))


def _compute_spread(best_fit: FamilyFit) -> float:
    """Return the Birge ratio of the residuals, with the robust loss in place of squares; at least
    1."""
    scaled_residuals = best_fit.residuals[: len(best_fit.residuals) - len(best_fit.family.parameters)] / _ROBUST_SCALE
    robust_squares = 2 * _ROBUST_SCALE**2 * (np.sqrt(1 + scaled_residuals**2) - 1)
    degrees_of_freedom = max(1, len(scaled_residuals) - len(best_fit.family.parameters))
    return max(1.0, math.sqrt(float(robust_squares.sum()) / degrees_of_freedom))


def _compute_covariance(fit: FamilyFit, spread: float) -> tuple[tuple[float, ...], ...]:
    """Return the covariance matrix of the parameters' logarithms.

    `spread`, the Birge ratio, increases the errors of the measurement, but not those of the prior,
    which is in the last rows of the Jacobian.
    """
    scale = np.ones(len(fit.jacobian))
    scale[: -len(fit.family.parameters)] /= spread
    scaled_jacobian = fit.jacobian * scale[:, None]
    covariance = np.linalg.inv(scaled_jacobian.T @ scaled_jacobian) * _ERROR_FACTORS[type(fit.family.service)] ** 2
    return tuple(tuple(float(value) for value in row) for row in covariance)


def _compute_errors(stage: ObservedStage, service: ServiceModel, held_out_differences: Floats) -> list[FitError]:
    """Return the errors of a service model at one stage. `held_out_differences` are the logarithms
    of the ratios of the measured values to those of the model without this stage."""
    observed_load, statistics = stage.observed_load, stage.simulate(service)
    scatter = np.sqrt(np.diag(statistics.log_covariance) * stage.variance_share + _MIN_SCATTER**2)
    rows = zip(
        observed_load.names, observed_load.logs, statistics.log_means, scatter, held_out_differences, strict=True
    )
    return [
        FitError(
            observed_load.offered_per_s,
            name,
            math.exp(log),
            math.exp(mean),
            float((mean - log) / sigma),
            math.exp(log - difference),
            float(sigma),
        )
        for name, log, mean, sigma, difference in rows
    ]
