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
from app.records.service import FitError, FittedService, ServiceFit

_AGGREGATES = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99}
_FEWEST_RUNGS = 3
_FEWEST_REQUESTS = 30
_MOST_PLAYED = 400_000
_FEWEST_PLAYS, _MOST_PLAYS = 8, 32
_LEAST_SCATTER = 0.02
"""Of a logarithm: two measurements of a server differ by this much for reasons that no queue explains."""
_SCREENING_PLAYS = 4
_REFINED = 2
_OUTER = 2
_ROBUST_FROM = 2.0
_LEAST_CHANCE = 0.02


class CannotFit(Exception):
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
    """Raises CannotFit where fewer than three rates were measured, or no latencies."""
    observed = observe(rungs)
    if len(observed) < _FEWEST_RUNGS:
        raise CannotFit(f"a service model needs {_FEWEST_RUNGS} rates with percentiles, and {len(observed)} were measured")
    highest_per_s = max(rung.achieved_per_s for rung in rungs)
    laws = candidate_laws(observed[0].offered_per_s, _unloaded_s(observed), highest_per_s)
    screened = sorted((_fit(law, _plays(observed, _SCREENING_PLAYS, seed), 1) for law in laws), key=_cost)
    plays = _plays(observed, _MOST_PLAYS, seed + 1)
    refined = sorted((_fit(fitted.law, plays, _OUTER) for fitted in screened[:_REFINED]), key=_cost)
    return _judged(refined, plays, observed, highest_per_s)


def observe(rungs: Sequence[Rung]) -> list[Observed]:
    """The rungs of an open loop that tell percentiles, those of one rate together, by rising rate."""
    by_rate: dict[float, list[Rung]] = defaultdict(list)
    for rung in rungs:
        known = rung.latencies_s.get("latency", {})
        if rung.offered_per_s and rung.completed >= _FEWEST_REQUESTS and any(known.get(name) for name in _AGGREGATES):
            by_rate[rung.offered_per_s].append(rung)
    return [_together(rate, by_rate[rate]) for rate in sorted(by_rate)]


def _together(rate: float, rungs: Sequence[Rung]) -> Observed:
    known = [rung.latencies_s["latency"] for rung in rungs]
    names = tuple(name for name in _AGGREGATES if all(one.get(name) for one in known))
    logs = tuple(float(np.mean([math.log(one[name]) for one in known])) for name in names)
    requests = round(float(np.mean([rung.completed + rung.failed for rung in rungs])))
    return Observed(rate, requests, len(rungs), names, logs)


def _unloaded_s(observed: Sequence[Observed]) -> float:
    return math.exp(min(one.logs[0] for one in observed if one.logs))


def _plays(observed: Sequence[Observed], most: int, seed: int) -> list[tuple[Observed, StagePlay]]:
    requests = sum(one.requests for one in observed)
    times = max(min(_FEWEST_PLAYS, most), min(most, _MOST_PLAYED // max(1, requests)))
    seeds = np.random.SeedSequence(seed).spawn(len(observed))
    return [
        (one, StagePlay.drawn(one.offered_per_s, one.requests, times, of)) for one, of in zip(observed, seeds, strict=True)
    ]


class _Fitted(msgspec.Struct, frozen=True):
    law: Law
    cost: float
    """Twice the robust sum of squares, prior included: −2 ln of the likelihood, up to a constant."""
    jacobian: Floats
    residuals: Floats


def _cost(fitted: _Fitted) -> float:
    return fitted.cost


def _fit(law: Law, plays: Sequence[tuple[Observed, StagePlay]], rounds: int) -> _Fitted:
    start = np.array(law.logs)
    for _ in range(rounds):
        whiteners = [_whitener(one, play.played(law.at(start)), one.quantiles) for one, play in plays]

        def residuals(logs: Floats, whiteners: Sequence[Floats] = whiteners) -> Floats:
            service = law.at(logs)
            parts = [
                whiten @ (np.array(one.logs) - play.played(service).log_means(one.quantiles))
                for (one, play), whiten in zip(plays, whiteners, strict=True)
            ]
            return np.concatenate([*parts, law.prior_residuals(logs)])

        found = optimize.least_squares(
            residuals, start, loss="soft_l1", f_scale=_ROBUST_FROM, diff_step=1e-3, x_scale=0.3, max_nfev=15, xtol=1e-3,
            ftol=1e-3, bounds=law.bounds,
        )  # fmt: skip
        start = np.asarray(found.x)
    determinants = sum(float(np.linalg.slogdet(whiten)[1]) for whiten in whiteners)
    return _Fitted(law.moved_to(start), 2 * float(found.cost) - 2 * determinants, found.jac, found.fun)


def _whitener(one: Observed, play: Play, quantiles: Floats) -> Floats:
    """What turns differences of log percentiles into independent units: L⁻¹ of their covariance's Cholesky factor.

    Half of the covariances between percentiles is taken, for few plays tell them badly.
    """
    covariance = play.log_covariance(quantiles) / one.points
    scatter = np.diag(np.diag(covariance)) * 0.5 + covariance * 0.5 + np.eye(len(quantiles)) * _LEAST_SCATTER**2
    return np.asarray(linalg.solve_triangular(np.linalg.cholesky(scatter), np.eye(len(quantiles)), lower=True))


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
    errors = tuple(error for one, play in plays for error in _errors(one, play.played(laws[0].service)))
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
    matrix = np.linalg.inv(fitted.jacobian.T @ fitted.jacobian) * spread**2
    return tuple(tuple(float(cell) for cell in row) for row in matrix)


def _errors(one: Observed, play: Play) -> list[FitError]:
    fitted = play.log_means(one.quantiles)
    scatter = np.sqrt(np.diag(play.log_covariance(one.quantiles)) / one.points + _LEAST_SCATTER**2)
    return [
        FitError(one.offered_per_s, name, math.exp(log), math.exp(mean), float((mean - log) / sigma))
        for name, log, mean, sigma in zip(one.names, one.logs, fitted, scatter, strict=True)
    ]
