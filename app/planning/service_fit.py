"""The service model of one replica, from its measured load points.

By the method of simulated moments: a law is played at the rates, and for as many requests, as were measured, starting
empty as a stage does; the logarithms of its percentiles are held against the measured ones, each in units of how much
such a measurement scatters from one play to the next. The unit random numbers are the same for all parameters, so that
what is minimised is smooth. Laws that explain the measurement about as well stay side by side, by their chance.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import msgspec
import numpy as np
from scipy import linalg, optimize

from app.analysis.columns import Floats
from app.planning.service_laws import Law, candidate_laws
from app.planning.stage_play import Play, StagePlay
from app.records.curves import Rung
from app.records.service import BatchService, FitError, FittedService, RequestService, ServiceFit, ServiceModel

_AGGREGATES = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99}
_FEWEST_RUNGS = 3
_FEWEST_REQUESTS = 30
_SUPPOSED_REQUESTS = 1000
_ALIKE = 1.004
"""Rates within this factor are one: a search ends with many holds that differ by a hundredth."""
_SCREENED_RATES = 8
_SCREENING = (10, 60_000)
_REFINING = (32, 200_000)
"""The most plays of each stage, and about how many requests they may come to over all stages."""
_FEWEST_PLAYS = 8
_MOST_REQUESTS = 20_000
"""Of one play: of a longer stage the scatter is taken to fall as its length grows."""
_LEAST_SCATTER = 0.02
"""Of a logarithm: two measurements of a server differ by this much for reasons that no queue explains."""
_REFINED = 3
_PLAIN_SCATTER = 0.1
"""What a screened law's logarithms are held to, all alike: of laws that are far off, the own scatter misleads."""
_STEPS = 20
_DIFFERENCES = {RequestService: 0.01, BatchService: 0.05}
"""Of a logarithm, for a slope. One batch more or less changes all that come after it, so times are a rough function of
a batch law: over a thousandth the roughness is all that is seen, and the search stops where it began."""
_ROBUST_FROM = 2.0
_LEAST_CHANCE = 0.02


class CannotFitError(Exception):
    """The load points do not tell a service model; the message says why."""


class Observed(msgspec.Struct, frozen=True):
    """All load points of one rate: `logs` are means over `points` of them, of the percentiles `quantiles`, in ln s."""

    offered_per_s: float
    requests: int
    points: int
    names: tuple[str, ...]
    logs: tuple[float, ...]

    @property
    def quantiles(self) -> Floats:
        return np.array([_AGGREGATES[name] for name in self.names])


def fit_service(rungs: Sequence[Rung], *, seed: int = 20_26) -> ServiceFit:
    """Raises CannotFitError where fewer than three rates were measured, or no latencies."""
    observed = observe(rungs)
    if len(observed) < _FEWEST_RUNGS:
        needs = f"a service model needs percentiles at {_FEWEST_RUNGS} rates"
        raise CannotFitError(f"{needs}, and there are {len(observed)}")
    highest_per_s = max(rung.achieved_per_s for rung in rungs)
    laws = candidate_laws(_unloaded_s(observed), highest_per_s)
    screening = _plays(_spread_out(observed), *_SCREENING, seed)
    plain = [np.eye(len(one.names)) / _PLAIN_SCATTER for one, _ in screening]
    screened = sorted((_fit(law, screening, plain) for law in laws), key=_cost)
    plays = _plays(observed, *_REFINING, seed + 1)
    refined = sorted((_refine(fitted.law, plays) for fitted in _leading(screened)), key=_cost)
    return _judged(refined, plays, observed, highest_per_s)


def _leading(screened: Sequence[_Fitted]) -> list[_Fitted]:
    """The best of each law, from wherever it began; one of the other kind among them, which screening may misjudge."""
    best: dict[ServiceModel, _Fitted] = {}
    for fitted in screened:
        best.setdefault(fitted.law.kind, fitted)
    ranked = list(best.values())
    first, rest = ranked[: _REFINED - 1], ranked[_REFINED - 1 :]
    kinds = {type(fitted.law.service) for fitted in first}
    other = next((fitted for fitted in rest if type(fitted.law.service) not in kinds), None)
    return [*first, *([other] if other is not None else rest[:1])]


def observe(rungs: Sequence[Rung]) -> list[Observed]:
    """The rungs of an open loop that tell percentiles, those of one rate together, by rising rate."""
    by_rate: dict[float, list[Rung]] = defaultdict(list)
    for rung in rungs:
        known = rung.latencies_s.get("latency", {})
        if rung.offered_per_s and _requests(rung) >= _FEWEST_REQUESTS and any(known.get(name) for name in _AGGREGATES):
            by_rate[rung.offered_per_s].append(rung)
    groups: list[list[float]] = []
    for rate in sorted(by_rate):
        if groups and rate <= groups[-1][0] * _ALIKE:
            groups[-1].append(rate)
        else:
            groups.append([rate])
    return [_together([rung for rate in rates for rung in by_rate[rate]]) for rates in groups]


def _together(rungs: Sequence[Rung]) -> Observed:
    rate = float(np.mean([rung.offered_per_s or 0.0 for rung in rungs]))
    known = [rung.latencies_s["latency"] for rung in rungs]
    names = tuple(name for name in _AGGREGATES if all(one.get(name) for one in known))
    logs = tuple(float(np.mean([math.log(one[name]) for one in known])) for name in names)
    requests = round(float(np.mean([_requests(rung) for rung in rungs])))
    return Observed(rate, requests, len(rungs), names, logs)


def _requests(rung: Rung) -> int:
    """Where the counts are not known: as many as the rate brings in the time, or a thousand."""
    if rung.completed is not None:
        return rung.completed + (rung.failed or 0)
    return _SUPPOSED_REQUESTS if rung.duration_s is None else round((rung.offered_per_s or 0.0) * rung.duration_s)


def _spread_out(observed: Sequence[Observed]) -> list[Observed]:
    places = np.linspace(0, len(observed) - 1, min(_SCREENED_RATES, len(observed))).round().astype(int)
    return [observed[place] for place in places]


def _unloaded_s(observed: Sequence[Observed]) -> float:
    return math.exp(min(one.logs[0] for one in observed if one.logs))


def _plays(observed: Sequence[Observed], most: int, budget: int, seed: int) -> list[tuple[Observed, StagePlay]]:
    requests = [min(one.requests, _MOST_REQUESTS) for one in observed]
    times = max(_FEWEST_PLAYS, min(most, budget // max(1, sum(requests))))
    seeds = np.random.SeedSequence(seed).spawn(len(observed))
    return [
        (one, StagePlay.drawn(one.offered_per_s, many, times, of))
        for one, many, of in zip(observed, requests, seeds, strict=True)
    ]


class _Fitted(msgspec.Struct, frozen=True):
    law: Law
    cost: float
    """Twice the robust sum of squares, prior included: −2 ln of the likelihood, up to a constant."""
    jacobian: Floats
    residuals: Floats


def _cost(fitted: _Fitted) -> float:
    return fitted.cost


def _refine(law: Law, plays: Sequence[tuple[Observed, StagePlay]]) -> _Fitted:
    """Twice, since what a measurement scatters by is itself known from the law alone."""
    for _ in range(2):
        service = law.at(np.array(law.logs))
        fitted = _fit(law, plays, [_whitener(one, play.played(service, one.quantiles)) for one, play in plays])
        law = fitted.law
    return fitted


def _fit(law: Law, plays: Sequence[tuple[Observed, StagePlay]], whiteners: Sequence[Floats]) -> _Fitted:
    """`whiteners` turn differences of log percentiles into independent units."""

    def residuals(logs: Floats) -> Floats:
        service = law.at(logs)
        parts = [
            whiten @ (np.array(one.logs) - play.played(service, one.quantiles).log_means)
            for (one, play), whiten in zip(plays, whiteners, strict=True)
        ]
        return np.concatenate([*parts, law.prior_residuals(logs)])

    found = optimize.least_squares(
        residuals, np.array(law.logs), loss="soft_l1", f_scale=_ROBUST_FROM,
        diff_step=[_DIFFERENCES[type(law.service)]], x_scale=0.3, max_nfev=_STEPS, xtol=1e-3, ftol=1e-3,
        bounds=law.bounds,
    )  # fmt: skip
    determinants = sum(float(np.linalg.slogdet(whiten)[1]) for whiten in whiteners)
    cost = 2 * float(found.cost) - 2 * determinants
    return _Fitted(law.moved_to(np.asarray(found.x)), cost, np.asarray(found.jac), np.asarray(found.fun))


def _whitener(one: Observed, play: Play) -> Floats:
    """L⁻¹ of the Cholesky factor of the covariance of a measured mean.

    Half of the covariances between percentiles is taken, for few plays tell them badly.
    """
    covariance, one_each = play.log_covariance * _share(one), np.eye(len(one.names))
    scatter = np.diag(np.diag(covariance)) * 0.5 + covariance * 0.5 + one_each * _LEAST_SCATTER**2
    return np.asarray(linalg.solve_triangular(np.linalg.cholesky(scatter), one_each, lower=True))


def _share(one: Observed) -> float:
    """How much of the variance of a play a measured mean has: of several points, and of longer stages."""
    return min(1.0, _MOST_REQUESTS / one.requests) / one.points


def _judged(
    refined: Sequence[_Fitted], plays: Sequence[tuple[Observed, StagePlay]], observed: Sequence[Observed], most: float
) -> ServiceFit:
    best = refined[0]
    spread = _spread(best)
    chances = np.array([math.exp(-(one.cost - best.cost) / (2 * spread**2)) for one in refined])
    chances = np.where(chances / chances.sum() < _LEAST_CHANCE, 0.0, chances)
    chances /= chances.sum()
    laws = tuple(
        FittedService(one.law.service, float(chance), one.law.parameters, _covariance(one, spread))
        for one, chance in zip(refined, chances, strict=True)
        if chance > 0
    )
    errors = tuple(error for one, play in plays for error in _errors(one, play.played(laws[0].service, one.quantiles)))
    return ServiceFit(
        laws=laws,
        errors=errors,
        median_error=float(np.median([abs(error.fitted_s / error.measured_s - 1) for error in errors])),
        spread=spread,
        lowest_per_s=observed[0].offered_per_s,
        highest_per_s=most,
    )


def _spread(best: _Fitted) -> float:
    """The Birge ratio, at least 1, of residuals that count as the robust loss counts them."""
    squares = best.residuals[: len(best.residuals) - len(best.law.parameters)] / _ROBUST_FROM
    robust = 2 * _ROBUST_FROM**2 * (np.sqrt(1 + squares**2) - 1)
    freedom = max(1, len(squares) - len(best.law.parameters))
    return max(1.0, math.sqrt(float(robust.sum()) / freedom))


def _covariance(fitted: _Fitted, spread: float) -> tuple[tuple[float, ...], ...]:
    """The measurement's information is lessened by the spread; that of the prior, the last rows, is not."""
    scale = np.ones(len(fitted.jacobian))
    scale[: -len(fitted.law.parameters)] /= spread
    scaled = fitted.jacobian * scale[:, None]
    matrix = np.linalg.inv(scaled.T @ scaled)
    return tuple(tuple(float(cell) for cell in row) for row in matrix)


def _errors(one: Observed, play: Play) -> list[FitError]:
    scatter = np.sqrt(np.diag(play.log_covariance) * _share(one) + _LEAST_SCATTER**2)
    return [
        FitError(one.offered_per_s, name, math.exp(log), math.exp(mean), float((mean - log) / sigma))
        for name, log, mean, sigma in zip(one.names, one.logs, play.log_means, scatter, strict=True)
    ]
