"""The method of simulated moments: the parameters of a service law under which its plays look like the measurement.

A law is played as each stage was measured, several times over; the logarithms of what comes out are held against the
measured ones, each in units of how much such a measurement scatters from one play to the next. The unit random numbers
are the same for all parameters, so that what is minimised is smooth. Laws that explain the measurement about as well
stay side by side, by their chance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec
import numpy as np

from app.analysis.columns import Floats
from app.planning.service_models.service_laws import ADMISSION_LIMITS, LIMITS, ServiceFamily, moved
from app.records.plan_question import Gaps
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

FEWEST_RUNGS = 3
FEWEST_REQUESTS = 30
SUPPOSED_REQUESTS = 1000
"""Of a load point that tells neither its count nor its duration."""
_LEAST_SCATTER = 0.02
"""Of a logarithm: two measurements of a server differ by this much for reasons that no queue explains."""
_PLAIN_SCATTER = 0.1
"""What a screened law's logarithms are held to, all alike: of laws that are far off, the own scatter misleads."""
_STEPS = 20
_RICHER = 2
_DIFFERENCES = {RequestService: 0.01, BatchService: 0.05, TokenService: 0.005}
"""Of a logarithm, for a slope. One batch more or less changes all that come after it, so times are a rough function of
a batch law: over a thousandth the roughness is all that is seen, and the search stops where it began."""
_LIMIT_DIFFERENCE = 0.05
"""Of a limit's logarithm: a step below one sequence or one request's tokens changes nothing."""
_ROBUST_FROM = 2.0
_MISSES = {RequestService: 1.3, BatchService: 1.8, TokenService: 2.5}
"""Fits of simulated truths miss by so much more than the information of their moments says (docs/planning.md); of
tokens, by the saturation rate of development truths."""
_LEAST_CHANCE = 0.02
_HOPELESS = 30.0
"""Of a cost: a law so far behind, each by its own scatter, keeps no chance when the scatter is the same for all."""
_STEADY_LOAD = 0.9


class CannotFitError(Exception):
    """The load points do not tell a service model; the message says why."""


class Observed(msgspec.Struct, frozen=True):
    """What was measured at one load: `logs` are of the times `names`, in ln s, and means over `points` load points."""

    offered_per_s: float
    requests: int
    points: int
    names: tuple[str, ...]
    logs: tuple[float, ...]
    gaps: Gaps = "random"
    is_steady: bool = False
    """Whether the times are long-run values, not those of a stage that began empty and was so long."""


class Play(msgspec.Struct, frozen=True):
    """Of each play, the logarithms of what was measured: plays × names."""

    logs: Floats

    @property
    def log_means(self) -> Floats:
        return np.asarray(self.logs.mean(axis=0))

    @property
    def log_covariance(self) -> Floats:
        return np.atleast_2d(np.cov(self.logs, rowvar=False))


class ObservedStage(msgspec.Struct, frozen=True):
    """A measurement and how a law plays it; `share` of a play's variance is left in what was measured."""

    observed: Observed
    played: Callable[[ServiceModel], Play]
    share: float


class Fitted(msgspec.Struct, frozen=True):
    law: ServiceFamily
    cost: float
    """Twice the robust sum of squares, prior included: −2 ln of the likelihood, up to a constant."""
    jacobian: Floats
    residuals: Floats
    held_out: float | None = None
    """The same of each load point under the law fitted to the others, added up; None where laws are not compared so."""

    @property
    def score(self) -> float:
        """What laws are compared by; the least is the likeliest."""
        return self.cost if self.held_out is None else self.held_out


def best_fits(
    laws: Sequence[ServiceFamily],
    screening: Sequence[ObservedStage],
    stages: Sequence[ObservedStage],
    *,
    most: int,
    further: Callable[[Sequence[Fitted]], Sequence[ServiceFamily]] | None = None,
    richer: Callable[[ServiceFamily], Sequence[ServiceFamily]] | None = None,
    nearby: Callable[[ServiceFamily], Sequence[ServiceFamily]] | None = None,
    most_behind: float = math.inf,
    holds_out: bool = False,
) -> list[Fitted]:
    """All laws are fitted to the screening roughly, and the best few of them to the stages; the likeliest first.

    `further` makes laws that are screened too, of those that have been, the best first. `richer` makes laws with more
    parameters of one that was fitted; the first two of these are tried. `nearby` makes those with other whole numbers
    of the law that leads at last; they are fitted to the stages without a screening.
    A law whose screening costs over `most_behind` more than the best one's is not fitted to the stages, and neither is
    one with a limit that the screening does not show. With `holds_out` the laws are compared by how well each predicts
    the load points that were held out of its fit, else by how well it fits them.
    """
    plain = [np.eye(len(stage.observed.names)) / _PLAIN_SCATTER for stage in screening]
    screened = _best_of_each(sorted((_fit(law, screening, plain) for law in laws), key=_cost))
    if further is not None:
        screened = sorted([*screened, *(_fit(law, screening, plain) for law in further(screened))], key=_cost)
    if richer is not None:
        more = [law for fitted in screened for law in richer(fitted.law)][:_RICHER]
        tried = [_fit(law, screening, plain) for law in more]
        screened = sorted([*screened, *(one for one in tried if _shows_limits(one, screened[0].cost))], key=_cost)
    near = [fitted for fitted in screened if fitted.cost <= screened[0].cost + most_behind]
    first = [_fit_by_own_scatter(fitted.law, stages) for fitted in _leading(near, screening, most)]
    first.sort(key=_cost)
    known, farthest = [fitted.law.kind for fitted in first], first[0].cost + _HOPELESS * _spread(first[0]) ** 2
    others = [] if nearby is None else [law for law in nearby(first[0].law) if law.kind not in known]
    compared = _compared([*(fitted.law for fitted in first if fitted.cost <= farthest), *others], stages)
    if holds_out:
        sizes = [len(stage.observed.names) for stage in stages]
        compared = [msgspec.structs.replace(one, held_out=_held_out_cost(one, sizes)) for one in compared]
    return sorted(compared, key=_score)


def rough_cost(law: ServiceFamily, screening: Sequence[ObservedStage]) -> float:
    """Of a law as it is, before it is fitted: what `best_fits` screens by."""
    logs = np.array(law.logs)
    residuals = [
        (np.array(stage.observed.logs) - stage.played(law.service).log_means) / _PLAIN_SCATTER for stage in screening
    ]
    squares = np.concatenate([*residuals, law.prior_residuals(logs)]) ** 2
    return float(2 * _ROBUST_FROM**2 * (np.sqrt(1 + squares / _ROBUST_FROM**2) - 1).sum())


def _shows_limits(fitted: Fitted, unlimited_cost: float) -> bool:
    """Whether a screened law with limits fits better than the best one without, and load points could tell each limit
    better than its prior does, at the least scatter. True of laws without such limits."""
    parameters = fitted.law.parameters
    if set(parameters).isdisjoint(ADMISSION_LIMITS):
        return True
    if fitted.cost >= unlimited_cost:
        return False
    information = (fitted.jacobian[: -len(parameters)] ** 2).sum(axis=0) * (_PLAIN_SCATTER / _LEAST_SCATTER) ** 2
    return all(
        information[at] > 1 / fitted.law.priors[name].sigma ** 2
        for at, name in enumerate(parameters)
        if name in ADMISSION_LIMITS
    )


def _best_of_each(screened: Sequence[Fitted]) -> list[Fitted]:
    """The best of each law, from wherever it began."""
    best: dict[ServiceModel, Fitted] = {}
    for fitted in screened:
        best.setdefault(fitted.law.kind, fitted)
    return list(best.values())


def _leading(screened: Sequence[Fitted], screening: Sequence[ObservedStage], most: int) -> list[Fitted]:
    """Screening may misjudge what it fits roughly: the best of each family is among them.

    Where batches lead, their sizes look alike to a rough fit, the more so behind a window: each size is fitted to the
    screening once more, as exactly as the stages will be, before one is left out.
    """
    if any(isinstance(fitted.law.service, BatchService) for fitted in screened[: most - 1]):
        batches = [fitted for fitted in screened if isinstance(fitted.law.service, BatchService)]
        ranked = sorted((_refined(fitted.law, screening) for fitted in batches), key=_cost)
        others = [fitted for fitted in screened if not isinstance(fitted.law.service, BatchService)]
        return [*ranked[: most - 1], *others[:1]]
    first, rest = list(screened[: most - 1]), screened[most - 1 :]
    families = {fitted.law.family for fitted in first}
    for fitted in rest:
        if fitted.law.family not in families:
            first.append(fitted)
            families.add(fitted.law.family)
    return first if len(first) >= most else [*first, *rest[: most - len(first)]]


def judged(fits: Sequence[Fitted], stages: Sequence[ObservedStage], highest_per_s: float) -> ServiceFit:
    best = fits[0]
    spread = _spread(best)
    chances = np.array([math.exp(-(one.score - best.score) / (2 * spread**2)) for one in fits])
    chances = np.where(chances / chances.sum() < _LEAST_CHANCE, 0.0, chances)
    chances /= chances.sum()
    laws = tuple(
        FittedService(_whole(one.law), float(chance), one.law.parameters, _covariance(one, spread))
        for one, chance in zip(fits, chances, strict=True)
        if chance > 0
    )
    errors = tuple(error for stage in stages for error in _errors(stage, laws[0].service))
    return ServiceFit(
        laws=laws,
        errors=errors,
        median_error=_median_error(errors, highest_per_s),
        spread=spread,
        lowest_per_s=stages[0].observed.offered_per_s,
        highest_per_s=highest_per_s,
    )


def _whole(law: ServiceFamily) -> ServiceModel:
    """With limits that a replica can have."""
    is_limited = any(name in LIMITS for name in law.parameters)
    return moved(law.service, law.parameters, np.array(law.logs)) if is_limited else law.service


def _median_error(errors: Sequence[FitError], highest_per_s: float) -> float:
    """Of loads under nine tenths of the most that was answered, where there are any: beyond, times are a matter of how
    long a stage was."""
    steady = [error for error in errors if error.offered_per_s < _STEADY_LOAD * highest_per_s] or list(errors)
    return float(np.median([abs(error.fitted_s / error.measured_s - 1) for error in steady]))


def spread_out(points: Sequence[Point], most: int) -> list[Point]:
    """At most so many, evenly picked, both ends among them."""
    places = np.linspace(0, len(points) - 1, min(most, len(points))).round().astype(int)
    return [points[place] for place in places]


def _cost(fitted: Fitted) -> float:
    return fitted.cost


def _score(fitted: Fitted) -> float:
    return fitted.score


def _refined(law: ServiceFamily, stages: Sequence[ObservedStage]) -> Fitted:
    """Twice, since what a measurement scatters by is itself known from the law alone."""
    return _fit_by_own_scatter(_fit_by_own_scatter(law, stages).law, stages)


def _fit_by_own_scatter(law: ServiceFamily, stages: Sequence[ObservedStage]) -> Fitted:
    return _fit(law, stages, _whiteners(law, stages))


def _compared(laws: Sequence[ServiceFamily], stages: Sequence[ObservedStage]) -> list[Fitted]:
    """Fitted once more, all of them by the scatter that the first of them predicts, so that no law gains by predicting
    less scatter than another."""
    whiteners = _whiteners(laws[0], stages)
    return [_fit(law, stages, whiteners) for law in laws]


def _held_out_cost(fitted: Fitted, sizes: Sequence[int]) -> float:
    """By one Gauss-Newton step for each load point that is held out, within the law's bounds, without another play.

    The prior's rows come last and stay. scipy scales the rows of a Jacobian by (1 + z)^(−3/4) where the loss is
    soft_l1; z is a squared residual in its units.
    """
    from scipy import optimize  # imported late: the start of a run would wait for it

    bent = 1 + (fitted.residuals / _ROBUST_FROM) ** 2
    slopes, weights = fitted.jacobian * bent[:, None] ** 0.75, bent**-0.25
    logs, (low, high) = np.array(fitted.law.logs), fitted.law.bounds
    room = np.minimum(low - logs, -1e-9), np.maximum(high - logs, 1e-9)
    cost, first = 0.0, 0
    for size in sizes:
        held = np.arange(first, first + size)
        left = np.delete(np.arange(bent.size), held)
        step = optimize.lsq_linear(
            slopes[left] * weights[left, None], -fitted.residuals[left] * weights[left], bounds=room
        ).x
        squares = ((fitted.residuals[held] + slopes[held] @ step) / _ROBUST_FROM) ** 2
        cost += float((2 * _ROBUST_FROM**2 * (np.sqrt(1 + squares) - 1)).sum())
        first += size
    return cost


def _whiteners(law: ServiceFamily, stages: Sequence[ObservedStage]) -> list[Floats]:
    service = law.at(np.array(law.logs))
    return [_whitener(stage, stage.played(service)) for stage in stages]


def _fit(law: ServiceFamily, stages: Sequence[ObservedStage], whiteners: Sequence[Floats]) -> Fitted:
    """`whiteners` turn differences of logarithms into independent units."""

    def residuals(logs: Floats) -> Floats:
        service = law.at(logs)
        parts = [
            whiten @ (np.array(stage.observed.logs) - stage.played(service).log_means)
            for stage, whiten in zip(stages, whiteners, strict=True)
        ]
        return np.concatenate([*parts, law.prior_residuals(logs)])

    from scipy import optimize  # imported late: the start of a run would wait for it

    found = optimize.least_squares(
        residuals, np.array(law.logs), loss="soft_l1", f_scale=_ROBUST_FROM,
        diff_step=_differences(law), x_scale=0.3, max_nfev=_STEPS, xtol=1e-3, ftol=1e-3,
        bounds=law.bounds,
    )  # fmt: skip
    determinants = sum(float(np.linalg.slogdet(whiten)[1]) for whiten in whiteners)
    cost = 2 * float(found.cost) - 2 * determinants
    return Fitted(law.moved_to(np.asarray(found.x)), cost, np.asarray(found.jac), np.asarray(found.fun))


def _differences(law: ServiceFamily) -> list[float]:
    """As shares of the logarithms, which is what scipy takes."""
    usual = _DIFFERENCES[type(law.service)]
    return [
        _LIMIT_DIFFERENCE / max(1.0, log) if name in LIMITS else usual
        for name, log in zip(law.parameters, law.logs, strict=True)
    ]


def _whitener(stage: ObservedStage, play: Play) -> Floats:
    """L⁻¹ of the Cholesky factor of the covariance of a measured mean.

    Half of the covariances between times is taken, for few plays tell them badly.
    """
    covariance, one_each = play.log_covariance * stage.share, np.eye(len(stage.observed.names))
    scatter = np.diag(np.diag(covariance)) * 0.5 + covariance * 0.5 + one_each * _LEAST_SCATTER**2
    return np.asarray(np.linalg.inv(np.linalg.cholesky(scatter)))


def _spread(best: Fitted) -> float:
    """The Birge ratio, at least 1, of residuals that count as the robust loss counts them."""
    squares = best.residuals[: len(best.residuals) - len(best.law.parameters)] / _ROBUST_FROM
    robust = 2 * _ROBUST_FROM**2 * (np.sqrt(1 + squares**2) - 1)
    freedom = max(1, len(squares) - len(best.law.parameters))
    return max(1.0, math.sqrt(float(robust.sum()) / freedom))


def _covariance(fitted: Fitted, spread: float) -> tuple[tuple[float, ...], ...]:
    """The measurement's information is lessened by the spread; that of the prior, the last rows, is not."""
    scale = np.ones(len(fitted.jacobian))
    scale[: -len(fitted.law.parameters)] /= spread
    scaled = fitted.jacobian * scale[:, None]
    matrix = np.linalg.inv(scaled.T @ scaled) * _MISSES[type(fitted.law.service)] ** 2
    return tuple(tuple(float(cell) for cell in row) for row in matrix)


def _errors(stage: ObservedStage, service: ServiceModel) -> list[FitError]:
    one, play = stage.observed, stage.played(service)
    scatter = np.sqrt(np.diag(play.log_covariance) * stage.share + _LEAST_SCATTER**2)
    return [
        FitError(one.offered_per_s, name, math.exp(log), math.exp(mean), float((mean - log) / sigma))
        for name, log, mean, sigma in zip(one.names, one.logs, play.log_means, scatter, strict=True)
    ]
