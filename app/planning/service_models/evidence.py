"""Evidence of the max rate from load points: the rates at which one replica met the SLO, and at which it missed it.

A service model summarizes all percentiles of all rates, and may be wrong exactly at the SLO. The measurements there are
not summarized: the max rate is between the highest rate that met the SLO and the lowest that missed it and, where both
happened at the same rates, within the 10–90 % interval of the posterior (`analysis.limit_belief`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

import msgspec
import numpy as np

from app.analysis.columns import Floats
from app.analysis.objectives import binding_objectives, is_met
from app.analysis.search import SPREAD, CapacityPosterior, log_likelihood
from app.analysis.token_samples import unpack_pairs
from app.records.estimate import Estimate
from app.records.planning_inputs import MeasuredLoadPoint, MeasuredTarget
from app.records.result import Objective
from app.records.service import BatchService, RequestService, ServiceFit

TIMES_BY_METRIC = {
    "latency_ms": "latency",
    "service_ms": "latency",
    "ttft_ms": "ttft",
    "ttft_service_ms": "ttft",
    "tpot_ms": "tpot",
    "itl_ms": "itl",
}
"""Time of a load point that each SLO metric is evaluated with."""
MIN_REQUESTS = 30
Z80 = 1.281552
_DEGREES_OF_FREEDOM = 4.0
"""Degrees of freedom of the Student t around the model: measurements overrule a model that they contradict."""
_STUDENT_Z80 = 1.533206
"""90th percentile of that Student t."""
_MODEL_FAILURE_PROBABILITY = 0.2
"""Prior probability that a model contains no information on the max rate, whatever its own sigma."""
_INTERVAL_MARGIN = 1.15
"""Factor by which the interval of a posterior extends beyond the measured rates, as a stage can meet or
miss by chance."""
_MODEL_ERROR = 0.03
"""Sigma of ln rate of the error of a good model in a stage's limit."""
_MIN_STEADY_FACTOR = 0.8
_MIN_SHARE_OF_PASSED = 0.8
RUN_TO_RUN_SIGMA = 0.02
"""Sigma of ln rate between runs: repeated measurements of a machine differ by about this much for
unobserved reasons."""
_MAX_SPREAD = 0.2
_GRID_SIZE = 12_000
_MAX_SIGMA = 4.0


class RatePosterior(msgspec.Struct, frozen=True):
    """The 10th, 50th and 90th percentile of the posterior of a rate."""

    p10: float
    p50: float
    p90: float


class StageEffect(msgspec.Struct, frozen=True):
    """Prediction of a service model for stages as long as the measured ones.

    Half of the stages meet the SLO at the rate `stage_per_s`; `spread` is the scale, in ln rate, of the logistic
    probability that a stage meets it.
    """

    stage_per_s: float
    spread: float


class Evidence(msgspec.Struct, frozen=True):
    """Evidence from load points.

    `tried` has the rates of one replica under Poisson arrivals and whether the SLO was met, by rising rate.
    `max_throughput_per_s` is the highest rate that the replica can serve, by its slots and its latency at low load; it
    applies where no rate missed the SLO. `stage_requests` is the median number of requests of those points, `None`
    where they are long-run values. `lengths` are the input and output tokens that they were measured with, empty where
    unknown. `spread` is the scale, in ln rate, of the logistic probability that a stage meets the SLO. `passed_per_s`
    is the highest rate that met it in all its repeats, 0 for none. No plan exceeds `max_rate_per_s`.
    """

    tested_rates: tuple[tuple[float, bool], ...] = ()
    max_throughput_per_s: float = math.inf
    stage_requests: int | None = None
    lengths: tuple[tuple[int, int], ...] = ()
    spread: float = SPREAD
    passed_per_s: float = 0.0
    max_rate_per_s: float = math.inf

    @property
    def highest_met(self) -> float:
        """Highest rate that met the SLO; 0 where none did."""
        return max((rate for rate, met in self.tested_rates if met), default=0.0)

    @property
    def lowest_missed(self) -> float:
        """Lowest rate that missed the SLO; infinite where all met it."""
        return min((rate for rate, met in self.tested_rates if not met), default=math.inf)

    @property
    def is_contradictory(self) -> bool:
        """Whether some rate missed the SLO and the same or a higher one met it."""
        return self.lowest_missed <= self.highest_met

    @property
    def min_rate_per_s(self) -> float:
        """Lower bound of a plan's rate with 90 % confidence.

        It is four fifths of the highest rate that met the SLO in all repeats.
        """
        return _MIN_SHARE_OF_PASSED * self.passed_per_s

    @property
    def interval(self) -> tuple[float, float]:
        """Bounds of the max rate; 0 and infinity are open ends.

        The upper end is never below the rate that a plan for `min_rate_per_s` assumes, since runs differ.
        """
        if self.is_contradictory:
            belief = CapacityPosterior(self.tested_rates, self.spread)
            counted_on_per_s = self.min_rate_per_s * math.exp(Z80 * RUN_TO_RUN_SIGMA)
            low, high = belief.quantile(0.1), max(belief.quantile(0.9), counted_on_per_s)
            return min(low, self.max_rate_per_s), min(high, self.max_rate_per_s)
        if math.isinf(self.lowest_missed):
            return self.highest_met, max(self.max_throughput_per_s, self.highest_met)
        return self.highest_met, self.lowest_missed

    def scale(self, factor: float) -> Evidence:
        """Return the evidence for a replica that is `factor` times as fast."""
        scaled = tuple((rate * factor, met) for rate, met in self.tested_rates)
        return msgspec.structs.replace(
            self, tested_rates=scaled, max_throughput_per_s=self.max_throughput_per_s * factor,
            passed_per_s=self.passed_per_s * factor,
            max_rate_per_s=self.max_rate_per_s * factor,
        )  # fmt: skip

    def to_steady_state(self, effect: StageEffect | None, steady_per_s: float, fit_spread: float = 1.0) -> Evidence:
        """Return the evidence as if the rates had been measured for long.

        It uses a model's prediction for stages as short as the measured ones. `fit_spread` is the ratio of the model's
        error at the load points to their scatter. The model counts less, the worse it fits, and the farther it puts the
        limit of such stages from the measured one. No rate is moved by more than a fifth, since a plan stays close to
        the measurement.
        """
        if effect is None:
            return self
        low, high = self.interval
        nearest = min(max(effect.stage_per_s, low), high)
        deviation = math.log(effect.stage_per_s / nearest) / math.hypot(effect.spread, _MODEL_ERROR)
        trust = math.exp(-(deviation**2) / 2) / fit_spread**2
        factor = (steady_per_s / effect.stage_per_s) ** trust
        factor = min(max(factor, _MIN_STEADY_FACTOR), 1.0)
        spread = min(max(effect.spread, SPREAD), _MAX_SPREAD)
        return msgspec.structs.replace(
            self.scale(factor), spread=spread, passed_per_s=self.passed_per_s, max_rate_per_s=high
        )

    def compute_posterior(self, model_per_s: float, sigma: float) -> RatePosterior:
        """Return the posterior of the max rate from a model (median and sigma of its logarithm) and the load points.

        A model without a rate (0) adds no information.
        """
        low, high = self.interval
        if not self.tested_rates or (model_per_s <= 0 and low <= 0):
            return RatePosterior(*(model_per_s * math.exp(z * sigma) for z in (-Z80, 0.0, Z80)))
        sigma = min(max(sigma, 1e-3), _MAX_SIGMA)
        rates = [rate for rate, _ in self.tested_rates]
        ends = [min(rates) / 8, max(rates) * 8]
        if model_per_s > 0:
            ends += [model_per_s * math.exp(-4 * sigma), model_per_s * math.exp(4 * sigma)]
        logs = np.linspace(math.log(min(ends)), math.log(max(ends)), _GRID_SIZE)
        log_weights = log_likelihood(logs, self.tested_rates, self.spread)
        if model_per_s > 0:
            log_weights += np.log(_prior(logs, math.log(model_per_s), sigma))
        if math.isinf(self.lowest_missed):
            log_weights[logs > math.log(high)] = -np.inf
        weights = np.exp(log_weights - log_weights.max())
        shares = np.cumsum(weights) / weights.sum()
        p10, p50, p90 = (
            math.exp(float(logs[min(int(np.searchsorted(shares, probability)), _GRID_SIZE - 1)]))
            for probability in (0.1, 0.5, 0.9)
        )
        middle = min(max(p50, low), high)
        return RatePosterior(
            min(max(p10, low / _INTERVAL_MARGIN), middle), middle, max(min(p90, high * _INTERVAL_MARGIN), middle)
        )


def _prior(logs: Floats, log_model: float, sigma: float) -> Floats:
    """Return the prior density over `logs`: a Student t around the model, and a constant for the case that it fails."""
    scale = sigma * Z80 / _STUDENT_Z80
    density = (1 + ((logs - log_model) / scale) ** 2 / _DEGREES_OF_FREEDOM) ** (-(_DEGREES_OF_FREEDOM + 1) / 2)
    return np.asarray(
        (1 - _MODEL_FAILURE_PROBABILITY) * density / density.sum() + _MODEL_FAILURE_PROBABILITY / logs.size
    )


def collect_evidence(target: MeasuredTarget, slo: Sequence[Objective]) -> Evidence:
    """Return the evidence of a target's load points.

    Empty where the load points do not show whether the SLO was met, or their arrivals were not Poisson. Even gaps are
    easier for a server than random ones, so they count only where they missed the SLO.
    """
    tried, counts = [], []
    for point in target.load_points:
        rate, requests = point.offered_per_s, point.completed
        met = meets_slo(point, slo)
        if rate is None or rate <= 0 or met is None or (requests is not None and requests < MIN_REQUESTS):
            continue
        if point.gaps == "random" or (point.gaps == "even" and not met):
            tried.append((rate, met))
            counts.append(requests)
    ceiling = math.inf if target.fit is None else _max_rate_of_models_per_s(target.fit)
    known_counts = [count for count in counts if count is not None]
    stage_requests = round(median(known_counts)) if known_counts and len(known_counts) == len(counts) else None
    missed = {rate for rate, met in tried if not met}
    passed_per_s = max((rate for rate, met in tried if met and rate not in missed), default=0.0)
    return Evidence(tuple(sorted(tried)), ceiling, stage_requests, _lengths(target), passed_per_s=passed_per_s)


def _lengths(target: MeasuredTarget) -> tuple[tuple[int, int], ...]:
    if target.token_sample is not None:
        return tuple((inputs, outputs) for inputs, outputs in unpack_pairs(target.token_sample).tolist())
    if target.lengths is None:
        return ()
    inputs, outputs = target.lengths
    return ((max(1, round(inputs)), max(1, round(outputs))),)


def meets_slo(load_point: MeasuredLoadPoint, slo: Sequence[Objective]) -> bool | None:
    """Return whether a load point met the SLO; `None` where it lacks a time or share that the SLO needs.

    Errors that the file does not count are assumed to be 0.
    """
    results: list[bool | None] = []
    for objective in binding_objectives(slo):
        if objective.metric in TIMES_BY_METRIC:
            time_s = get_time_s(load_point, objective)
            results.append(None if time_s is None else is_met(objective, Estimate(1000 * time_s)))
        elif objective.metric == "error_rate":
            sent = (load_point.completed or 0) + (load_point.failed or 0)
            results.append(is_met(objective, Estimate((load_point.failed or 0) / sent if sent else 0.0)))
        else:
            results.append(None)
    if False in results:
        return False
    return None if None in results else True


def get_time_s(load_point: MeasuredLoadPoint, objective: Objective) -> float | None:
    """Return the time that an objective refers to, in s; `None` if unknown."""
    return load_point.latencies_s.get(TIMES_BY_METRIC[objective.metric], {}).get(objective.aggregate or "")


def _max_rate_of_models_per_s(fit: ServiceFit) -> float:
    """Return the highest rate over all likely models; infinite where one of them has no slots."""
    typical = [error.measured_s for error in fit.errors if error.aggregate in ("p50", "mean")]
    if not typical:
        return math.inf
    widths = []
    for fitted in fit.services:
        match fitted.service:
            case RequestService(slots=slots):
                widths.append(slots)
            case BatchService(max_batch=max_batch):
                widths.append(max_batch)
            case _:
                return math.inf
    return max(widths) / min(typical)
