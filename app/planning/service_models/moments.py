"""Method of simulated moments: parameters of a service model under which its simulations look like the measurement.

A model is simulated as each stage was measured, several times; the logarithms of the results are compared with the
measured ones, each in units of the scatter of such a measurement between simulations. The unit random numbers are the
same for all parameters, so that the minimized function is smooth. Models that explain the measurement about equally
well are all kept, with their probabilities.
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
"""Assumed number of requests of a load point that has neither a count nor a duration."""
_MIN_SCATTER = 0.02
"""Minimum scatter of a logarithm: two measurements of a server differ by this much for reasons outside queueing."""
_SCREENING_SCATTER = 0.1
"""Scatter of the logarithms in screening, equal for all: for models that are far off, their own scatter misleads."""
_STEPS = 20
_MAX_RICHER = 2
_SLOPE_STEPS = {RequestService: 0.01, BatchService: 0.05, TokenService: 0.005}
"""Step of a logarithm to compute a slope.

One batch more or less changes all that follow, so times are a rough function of a batch model's parameters: over a step
of a thousandth only the roughness is visible, and the search would stop where it began.
"""
_LIMIT_SLOPE_STEP = 0.05
"""Step of a limit's logarithm; a step below one sequence or one request's tokens would change nothing."""
_ROBUST_SCALE = 2.0
_ERROR_FACTORS = {RequestService: 1.3, BatchService: 1.8, TokenService: 2.5}
"""Ratio of the errors of fits of simulated truths to the information of their moments (docs/explanation/planning.md).

For token services it is from the saturation rate of development truths.
"""
_MIN_PROBABILITY = 0.02
_MAX_COST_BEHIND = 30.0
"""Cost by which a model may be behind, each by its own scatter; one farther behind cannot win with equal scatter."""
_STEADY_LOAD = 0.9


class CannotFitError(Exception):
    """Raised when the load points do not determine a service model; the message states why."""


class ObservedLoad(msgspec.Struct, frozen=True):
    """Measurement at one load.

    `logs` are those of the times `names`, in ln s, and are means over `points` load points.
    """

    offered_per_s: float
    requests: int
    points: int
    names: tuple[str, ...]
    logs: tuple[float, ...]
    gaps: GapDistribution = "random"
    is_steady: bool = False
    """Whether the times are long-run values, not those of a stage that began empty and had `requests` requests."""


class SimulatedTimes(msgspec.Struct, frozen=True):
    """Simulations of a stage: for each, the logarithms of the measured times, of shape simulations × names."""

    logs: Floats

    @property
    def log_means(self) -> Floats:
        return np.asarray(self.logs.mean(axis=0))

    @property
    def log_covariance(self) -> Floats:
        return np.atleast_2d(np.cov(self.logs, rowvar=False))


class ObservedStage(msgspec.Struct, frozen=True):
    """Measurement and how a model simulates it; `share` of a simulation's variance remains in the measurement."""

    observed: ObservedLoad
    simulate: Callable[[ServiceModel], SimulatedTimes]
    share: float


class Fitted(msgspec.Struct, frozen=True):
    family: ServiceFamily
    cost: float
    """Twice the robust sum of squares, prior included: −2 ln of the likelihood, up to a constant."""
    jacobian: Floats
    residuals: Floats
    held_out: float | None = None
    """Same cost of each load point under the model fitted to the others, summed; `None` where models are not compared
    by it."""

    @property
    def score(self) -> float:
        """Score by which models are compared; the lowest is the most likely."""
        return self.cost if self.held_out is None else self.held_out


def find_best_fits(
    families: Sequence[ServiceFamily],
    screening: Sequence[ObservedStage],
    stages: Sequence[ObservedStage],
    *,
    max_fits: int,
    further: Callable[[Sequence[Fitted]], Sequence[ServiceFamily]] | None = None,
    richer: Callable[[ServiceFamily], Sequence[ServiceFamily]] | None = None,
    nearby: Callable[[ServiceFamily], Sequence[ServiceFamily]] | None = None,
    max_cost_behind: float = math.inf,
    use_held_out: bool = False,
) -> list[Fitted]:
    """Fit all models to the screening roughly and the best few of them to the stages; return the most likely first.

    `further` makes models that are screened too from those that have been, best first. `richer` makes models with more
    parameters from one that was fitted; the first two of these are tried. `nearby` makes those with other whole numbers
    from the model that leads in the end; they are fitted to the stages without a screening.

    A model whose screening costs over `max_cost_behind` more than the best one's is not fitted to the stages, and
    neither is one with a limit that the screening does not show. With `use_held_out` the models are compared by how
    well each predicts load points that were left out of its fit, else by how well it fits them.
    """
    whiteners = [np.eye(len(stage.observed.names)) / _SCREENING_SCATTER for stage in screening]
    screened = _best_of_each_kind(sorted((_fit(family, screening, whiteners) for family in families), key=_cost))
    if further is not None:
        screened = sorted([*screened, *(_fit(family, screening, whiteners) for family in further(screened))], key=_cost)
    if richer is not None:
        richer_families = [family for fit in screened for family in richer(fit.family)][:_MAX_RICHER]
        richer_fits = [_fit(family, screening, whiteners) for family in richer_families]
        screened = sorted([*screened, *(fit for fit in richer_fits if _shows_limits(fit, screened[0].cost))], key=_cost)
    candidates = [fit for fit in screened if fit.cost <= screened[0].cost + max_cost_behind]
    refined = [_fit_by_own_scatter(fit.family, stages) for fit in _leading(candidates, screening, max_fits)]
    refined.sort(key=_cost)
    known_kinds, max_cost = (
        [fit.family.kind for fit in refined],
        refined[0].cost + _MAX_COST_BEHIND * _spread(refined[0]) ** 2,
    )
    nearby_families = (
        [] if nearby is None else [family for family in nearby(refined[0].family) if family.kind not in known_kinds]
    )
    compared = _fit_with_equal_scatter(
        [*(fit.family for fit in refined if fit.cost <= max_cost), *nearby_families], stages
    )
    if use_held_out:
        sizes = [len(stage.observed.names) for stage in stages]
        compared = [msgspec.structs.replace(fit, held_out=_held_out_cost(fit, sizes)) for fit in compared]
    return sorted(compared, key=_score)


def compute_rough_cost(family: ServiceFamily, screening: Sequence[ObservedStage]) -> float:
    """Return the cost of a model before it is fitted, by which `find_best_fits` screens."""
    logs = np.array(family.logs)
    residuals = [
        (np.array(stage.observed.logs) - stage.simulate(family.service).log_means) / _SCREENING_SCATTER
        for stage in screening
    ]
    squares = np.concatenate([*residuals, family.prior_residuals(logs)]) ** 2
    return float(2 * _ROBUST_SCALE**2 * (np.sqrt(1 + squares / _ROBUST_SCALE**2) - 1).sum())


def _shows_limits(fitted: Fitted, unlimited_cost: float) -> bool:
    """Return whether the screening supports a model's limits; True for models without such limits.

    It has to fit better than the best model without limits, and load points have to determine each limit better than
    its prior does, at the minimum scatter.
    """
    parameters = fitted.family.parameters
    if set(parameters).isdisjoint(ADMISSION_LIMITS):
        return True
    if fitted.cost >= unlimited_cost:
        return False
    information = (fitted.jacobian[: -len(parameters)] ** 2).sum(axis=0) * (_SCREENING_SCATTER / _MIN_SCATTER) ** 2
    return all(
        information[index] > 1 / fitted.family.priors[name].sigma ** 2
        for index, name in enumerate(parameters)
        if name in ADMISSION_LIMITS
    )


def _best_of_each_kind(screened: Sequence[Fitted]) -> list[Fitted]:
    """Return the best fit of each model over all starting points."""
    best: dict[ServiceModel, Fitted] = {}
    for fitted in screened:
        best.setdefault(fitted.family.kind, fitted)
    return list(best.values())


def _leading(screened: Sequence[Fitted], screening: Sequence[ObservedStage], max_count: int) -> list[Fitted]:
    """Return the fits to refine, among them the best of each family, since screening fits only roughly.

    Where batches lead, their sizes look alike to a rough fit, even more so with a window: each size is fitted to the
    screening once more, as exactly as the stages will be, before one is dropped.
    """
    if any(isinstance(fitted.family.service, BatchService) for fitted in screened[: max_count - 1]):
        batches = [fitted for fitted in screened if isinstance(fitted.family.service, BatchService)]
        ranked = sorted((_refine(fitted.family, screening) for fitted in batches), key=_cost)
        others = [fitted for fitted in screened if not isinstance(fitted.family.service, BatchService)]
        return [*ranked[: max_count - 1], *others[:1]]
    leading, remaining = list(screened[: max_count - 1]), screened[max_count - 1 :]
    families = {fitted.family.family for fitted in leading}
    for fitted in remaining:
        if fitted.family.family not in families:
            leading.append(fitted)
            families.add(fitted.family.family)
    return leading if len(leading) >= max_count else [*leading, *remaining[: max_count - len(leading)]]


def build_service_fit(fits: Sequence[Fitted], stages: Sequence[ObservedStage], highest_per_s: float) -> ServiceFit:
    best = fits[0]
    spread = _spread(best)
    probabilities = np.array([math.exp(-(fit.score - best.score) / (2 * spread**2)) for fit in fits])
    probabilities = np.where(probabilities / probabilities.sum() < _MIN_PROBABILITY, 0.0, probabilities)
    probabilities /= probabilities.sum()
    services = tuple(
        FittedService(
            _with_whole_limits(fit.family), float(probability), fit.family.parameters, _covariance(fit, spread)
        )
        for fit, probability in zip(fits, probabilities, strict=True)
        if probability > 0
    )
    errors = tuple(error for stage in stages for error in _errors(stage, services[0].service))
    return ServiceFit(
        services=services,
        errors=errors,
        median_error=_median_error(errors, highest_per_s),
        spread=spread,
        lowest_per_s=stages[0].observed.offered_per_s,
        highest_per_s=highest_per_s,
    )


def _with_whole_limits(family: ServiceFamily) -> ServiceModel:
    """Return the service with limits that a replica can have: whole numbers."""
    is_limited = any(name in LIMITS for name in family.parameters)
    return with_parameters(family.service, family.parameters, np.array(family.logs)) if is_limited else family.service


def _median_error(errors: Sequence[FitError], highest_per_s: float) -> float:
    """Return the median error at loads below nine tenths of the highest observed rate, where there are any.

    At higher loads, times depend on the length of a stage.
    """
    steady = [error for error in errors if error.offered_per_s < _STEADY_LOAD * highest_per_s] or list(errors)
    return float(np.median([abs(error.fitted_s / error.measured_s - 1) for error in steady]))


def pick_evenly(points: Sequence[Point], max_count: int) -> list[Point]:
    """Return at most `max_count` points, evenly picked, both ends among them."""
    indices = np.linspace(0, len(points) - 1, min(max_count, len(points))).round().astype(int)
    return [points[index] for index in indices]


def _cost(fitted: Fitted) -> float:
    return fitted.cost


def _score(fitted: Fitted) -> float:
    return fitted.score


def _refine(family: ServiceFamily, stages: Sequence[ObservedStage]) -> Fitted:
    """Fit twice, since the scatter of a measurement is itself known only from the model."""
    return _fit_by_own_scatter(_fit_by_own_scatter(family, stages).family, stages)


def _fit_by_own_scatter(family: ServiceFamily, stages: Sequence[ObservedStage]) -> Fitted:
    return _fit(family, stages, _whiteners(family, stages))


def _fit_with_equal_scatter(families: Sequence[ServiceFamily], stages: Sequence[ObservedStage]) -> list[Fitted]:
    """Fit again, all with the scatter that the first model predicts, so that none gains by predicting less scatter."""
    whiteners = _whiteners(families[0], stages)
    return [_fit(family, stages, whiteners) for family in families]


def _held_out_cost(fitted: Fitted, sizes: Sequence[int]) -> float:
    """Return the cost of the load points, each held out of the fit.

    It takes one Gauss-Newton step for each load point held out, within the model's bounds, without another simulation.
    The prior's rows are last and stay. scipy scales the rows of a Jacobian by (1 + z)^(−3/4) for the soft_l1 loss; z is
    a squared residual in its units.
    """
    from scipy import optimize  # imported here because it would delay the start of a run

    scale = 1 + (fitted.residuals / _ROBUST_SCALE) ** 2
    slopes, weights = fitted.jacobian * scale[:, None] ** 0.75, scale**-0.25
    logs, (low, high) = np.array(fitted.family.logs), fitted.family.bounds
    bounds = np.minimum(low - logs, -1e-9), np.maximum(high - logs, 1e-9)
    cost, first = 0.0, 0
    for size in sizes:
        held_out = np.arange(first, first + size)
        fitted_rows = np.delete(np.arange(scale.size), held_out)
        step = optimize.lsq_linear(
            slopes[fitted_rows] * weights[fitted_rows, None],
            -fitted.residuals[fitted_rows] * weights[fitted_rows],
            bounds=bounds,
        ).x
        squares = ((fitted.residuals[held_out] + slopes[held_out] @ step) / _ROBUST_SCALE) ** 2
        cost += float((2 * _ROBUST_SCALE**2 * (np.sqrt(1 + squares) - 1)).sum())
        first += size
    return cost


def _whiteners(family: ServiceFamily, stages: Sequence[ObservedStage]) -> list[Floats]:
    service = family.with_values(np.array(family.logs))
    return [_whitener(stage, stage.simulate(service)) for stage in stages]


def _fit(family: ServiceFamily, stages: Sequence[ObservedStage], whiteners: Sequence[Floats]) -> Fitted:
    """Fit one model. `whiteners` turn differences of logarithms into independent units."""

    def residuals(logs: Floats) -> Floats:
        service = family.with_values(logs)
        parts = [
            whiten @ (np.array(stage.observed.logs) - stage.simulate(service).log_means)
            for stage, whiten in zip(stages, whiteners, strict=True)
        ]
        return np.concatenate([*parts, family.prior_residuals(logs)])

    from scipy import optimize  # imported here because it would delay the start of a run

    solution = optimize.least_squares(
        residuals, np.array(family.logs), loss="soft_l1", f_scale=_ROBUST_SCALE,
        diff_step=_slope_steps(family), x_scale=0.3, max_nfev=_STEPS, xtol=1e-3, ftol=1e-3,
        bounds=family.bounds,
    )  # fmt: skip
    determinants = sum(float(np.linalg.slogdet(whiten)[1]) for whiten in whiteners)
    cost = 2 * float(solution.cost) - 2 * determinants
    return Fitted(family.with_logs(np.asarray(solution.x)), cost, np.asarray(solution.jac), np.asarray(solution.fun))


def _slope_steps(family: ServiceFamily) -> list[float]:
    """Return the steps as shares of the logarithms, as scipy expects."""
    default = _SLOPE_STEPS[type(family.service)]
    return [
        _LIMIT_SLOPE_STEP / max(1.0, log) if name in LIMITS else default
        for name, log in zip(family.parameters, family.logs, strict=True)
    ]


def _whitener(stage: ObservedStage, simulated: SimulatedTimes) -> Floats:
    """Return L⁻¹ of the Cholesky factor L of the covariance of a measured mean.

    Covariances between times are halved, since few simulations estimate them badly.
    """
    covariance, identity = simulated.log_covariance * stage.share, np.eye(len(stage.observed.names))
    scatter = np.diag(np.diag(covariance)) * 0.5 + covariance * 0.5 + identity * _MIN_SCATTER**2
    return np.asarray(np.linalg.inv(np.linalg.cholesky(scatter)))


def _spread(best: Fitted) -> float:
    """Return the Birge ratio, at least 1, of residuals weighted as by the robust loss."""
    squares = best.residuals[: len(best.residuals) - len(best.family.parameters)] / _ROBUST_SCALE
    robust = 2 * _ROBUST_SCALE**2 * (np.sqrt(1 + squares**2) - 1)
    freedom = max(1, len(squares) - len(best.family.parameters))
    return max(1.0, math.sqrt(float(robust.sum()) / freedom))


def _covariance(fitted: Fitted, spread: float) -> tuple[tuple[float, ...], ...]:
    """Return the covariance of the parameters.

    The spread reduces the measurement's information, but not that of the prior, which is in the last rows.
    """
    scale = np.ones(len(fitted.jacobian))
    scale[: -len(fitted.family.parameters)] /= spread
    scaled = fitted.jacobian * scale[:, None]
    matrix = np.linalg.inv(scaled.T @ scaled) * _ERROR_FACTORS[type(fitted.family.service)] ** 2
    return tuple(tuple(float(cell) for cell in row) for row in matrix)


def _errors(stage: ObservedStage, service: ServiceModel) -> list[FitError]:
    observed, simulated = stage.observed, stage.simulate(service)
    scatter = np.sqrt(np.diag(simulated.log_covariance) * stage.share + _MIN_SCATTER**2)
    return [
        FitError(observed.offered_per_s, name, math.exp(log), math.exp(mean), float((mean - log) / sigma))
        for name, log, mean, sigma in zip(observed.names, observed.logs, simulated.log_means, scatter, strict=True)
    ]
