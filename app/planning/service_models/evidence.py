"""Evidence on the max rate from load points: rates at which a single replica met or missed the SLO.

A service model summarizes all percentiles at all rates, so it can be wrong exactly at the SLO. Load
points near the SLO are therefore used directly: the max rate is between the highest rate that met
the SLO and the lowest rate that missed it. If rates that met the SLO overlap with rates that missed
it, the max rate is in the 10–90 % interval of the posterior
(`app.analysis.search.CapacityPosterior`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

import msgspec
import numpy as np

from app.analysis.columns import Floats
from app.analysis.objectives import is_met, select_binding_objectives, select_run_objectives
from app.analysis.search import LOGISTIC_SPREAD, CapacityPosterior, compute_log_likelihood
from app.analysis.token_samples import unpack_pairs
from app.planning.sizing.model_error import DEGREES_OF_FREEDOM, SCALE, Z80
from app.records.estimate import Estimate
from app.records.planning_inputs import MeasuredLoadPoint, MeasuredTarget
from app.records.result import Objective
from app.records.service import BatchService, RequestService, ServiceFit

LATENCY_KEY_BY_METRIC = {
    "latency_ms": "latency",
    "service_ms": "latency",
    "ttft_ms": "ttft",
    "ttft_service_ms": "ttft",
    "tpot_ms": "tpot",
    "itl_ms": "itl",
}
"""Key in `MeasuredLoadPoint.latencies_s` by SLO metric."""
MIN_REQUESTS = 30
_MODEL_FAILURE_PROBABILITY = 0.2
"""Prior probability that a service model contains no information about the max rate, regardless of
the predicted sigma."""
_INTERVAL_MARGIN = 1.15
"""Factor by which the interval of a posterior may extend beyond the measured rates, since a stage
may meet or miss the SLO by chance.
"""
_MODEL_SIGMA = 0.03
"""Standard deviation of the log max rate of a stage as predicted by a good service model."""
_MIN_STEADY_FACTOR = 0.8
_STEADY_SIGMA = 0.2
"""Standard deviation of the log of a predicted ratio of steady-state rate to stage rate, as a share
of that log. Where the prediction is not used, the whole log is the standard deviation."""
_MIN_SHARE_OF_ALWAYS_MET = 0.8
RUN_TO_RUN_SIGMA = 0.02
"""Standard deviation of the log max rate between repeated measurements of the same machine."""
_MAX_SPREAD = 0.2
_GRID_SIZE = 12_000
_MAX_SIGMA = 4.0


class RatePosterior(msgspec.Struct, frozen=True):
    """10th, 50th and 90th percentile of the posterior of a rate in req/s."""

    p10: float
    p50: float
    p90: float


class StageEffect(msgspec.Struct, frozen=True):
    """Prediction of a service model for stages with as few requests as the measured stages.

    Half of these stages meet the SLO at the rate `stage_rate_per_s`. The probability that a stage
    meets the SLO is a logistic function of the log rate, with the scale `spread`.
    """

    stage_rate_per_s: float
    spread: float


class Evidence(msgspec.Struct, frozen=True):
    """Evidence from load points on the max rate of a single replica under Poisson arrivals.

    `tested_rates` holds pairs of rate and whether the SLO was met, in ascending order.
    `max_throughput_per_s` is the maximum throughput of the replica, computed from its slots and its
    latency at low load; the limit applies if no rate missed the SLO. `stage_requests` is the median
    number of requests of the load points; `None` if the load points are steady-state values.
    `lengths` are the measured pairs of input and output tokens; empty if unknown. The probability
    that a stage meets the SLO is a logistic function of the log rate, with the scale `spread`.
    `always_met_rate_per_s` is the highest rate at which all repeats met the SLO; 0 if there is
    none. No plan exceeds `max_rate_per_s`. `steady_sigma` is the standard deviation of the log rate
    because the measured stages are too short for a steady state.
    """

    tested_rates: tuple[tuple[float, bool], ...] = ()
    max_throughput_per_s: float = math.inf
    stage_requests: int | None = None
    lengths: tuple[tuple[int, int], ...] = ()
    spread: float = LOGISTIC_SPREAD
    always_met_rate_per_s: float = 0.0
    max_rate_per_s: float = math.inf
    steady_sigma: float = 0.0

    @property
    def highest_met_per_s(self) -> float:
        """Highest rate in req/s that met the SLO; 0 if no rate met the SLO."""
        return max((rate for rate, is_slo_met in self.tested_rates if is_slo_met), default=0.0)

    @property
    def lowest_missed_per_s(self) -> float:
        """Lowest rate in req/s that missed the SLO; infinity if all rates met the SLO."""
        return min((rate for rate, is_slo_met in self.tested_rates if not is_slo_met), default=math.inf)

    @property
    def is_contradictory(self) -> bool:
        """True if the load points contradict each other: a rate missed the SLO although the same or
        a higher rate met it."""
        return self.lowest_missed_per_s <= self.highest_met_per_s

    @property
    def min_rate_per_s(self) -> float:
        """Lower bound of the planned rate in req/s at 90 % confidence: 80 % of the highest rate at
        which all repeats met the SLO.
        """
        return _MIN_SHARE_OF_ALWAYS_MET * self.always_met_rate_per_s

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper bound of the max rate in req/s; 0 or infinity if a bound is unknown.

        If load points contradict each other, the upper bound is at least `min_rate_per_s` plus the
        variation between runs.
        """
        if self.is_contradictory:
            posterior = CapacityPosterior(self.tested_rates, self.spread)
            min_upper_per_s = self.min_rate_per_s * math.exp(Z80 * RUN_TO_RUN_SIGMA)
            low, high = posterior.compute_quantile(0.1), max(posterior.compute_quantile(0.9), min_upper_per_s)
            return min(low, self.max_rate_per_s), min(high, self.max_rate_per_s)
        if math.isinf(self.lowest_missed_per_s):
            return self.highest_met_per_s, max(self.max_throughput_per_s, self.highest_met_per_s)
        return self.highest_met_per_s, self.lowest_missed_per_s

    def scale_rates(self, factor: float) -> Evidence:
        """Return the evidence for a replica that is `factor` times as fast."""
        scaled_rates = tuple((rate * factor, is_slo_met) for rate, is_slo_met in self.tested_rates)
        return msgspec.structs.replace(
            self, tested_rates=scaled_rates, max_throughput_per_s=self.max_throughput_per_s * factor,
            always_met_rate_per_s=self.always_met_rate_per_s * factor,
            max_rate_per_s=self.max_rate_per_s * factor,
        )  # fmt: skip

    def correct_to_steady_state(
        self, stage_effect: StageEffect | None, steady_rate_per_s: float, fit_spread: float = 1.0
    ) -> Evidence:
        """Return the evidence corrected from short stages to steady state, based on a service
        model's prediction.

        `stage_effect` is the prediction for stages as short as the measured stages, and
        `steady_rate_per_s` the model's rate in steady state. `fit_spread` is the ratio of the
        model's error at the load points to their scatter. The correction is weaker if the model
        fits badly, or if `stage_effect` differs from the measurement. No rate changes by more than
        a fifth, so that a plan stays close to the measurement; what the correction leaves out makes
        the rate less certain.
        """
        if stage_effect is None:
            return self
        low, high = self.interval
        nearest_rate_per_s = min(max(stage_effect.stage_rate_per_s, low), high)
        deviation = math.log(stage_effect.stage_rate_per_s / nearest_rate_per_s) / math.hypot(
            stage_effect.spread, _MODEL_SIGMA
        )
        weight = math.exp(-(deviation**2) / 2) / fit_spread**2
        log_ratio = min(0.0, math.log(steady_rate_per_s / stage_effect.stage_rate_per_s))
        log_factor = max(weight * log_ratio, math.log(_MIN_STEADY_FACTOR))
        factor = math.exp(log_factor)
        spread = min(max(stage_effect.spread, LOGISTIC_SPREAD), _MAX_SPREAD)
        return msgspec.structs.replace(
            self.scale_rates(factor),
            spread=spread,
            always_met_rate_per_s=self.always_met_rate_per_s,
            max_rate_per_s=high,
            steady_sigma=log_factor - log_ratio - _STEADY_SIGMA * log_ratio,
        )

    def compute_posterior(self, model_rate_per_s: float, sigma: float) -> RatePosterior:
        """Return the posterior of the max rate, given a service model's prediction and the load
        points.

        `model_rate_per_s` and `sigma` are median and sigma of the predicted lognormal distribution.
        A rate of 0 adds no information.
        """
        low, high = self.interval
        if not self.tested_rates or (model_rate_per_s <= 0 and low <= 0):
            return RatePosterior(*(model_rate_per_s * math.exp(z * sigma) for z in (-Z80, 0.0, Z80)))
        sigma = min(max(sigma, 1e-3), _MAX_SIGMA)
        rates = [rate for rate, _ in self.tested_rates]
        grid_ends = [min(rates) / 8, max(rates) * 8]
        if model_rate_per_s > 0:
            grid_ends += [model_rate_per_s * math.exp(-4 * sigma), model_rate_per_s * math.exp(4 * sigma)]
        log_rates = np.linspace(math.log(min(grid_ends)), math.log(max(grid_ends)), _GRID_SIZE)
        log_weights = compute_log_likelihood(log_rates, self.tested_rates, self.spread)
        if model_rate_per_s > 0:
            log_weights += np.log(_compute_prior(log_rates, math.log(model_rate_per_s), sigma))
        if math.isinf(self.lowest_missed_per_s):
            log_weights[log_rates > math.log(high)] = -np.inf
        weights = np.exp(log_weights - log_weights.max())
        cumulative_shares = np.cumsum(weights) / weights.sum()
        p10, p50, p90 = (
            math.exp(float(log_rates[min(int(np.searchsorted(cumulative_shares, probability)), _GRID_SIZE - 1)]))
            for probability in (0.1, 0.5, 0.9)
        )
        median_per_s = min(max(p50, low), high)
        return RatePosterior(
            min(max(p10, low / _INTERVAL_MARGIN), median_per_s),
            median_per_s,
            max(min(p90, high * _INTERVAL_MARGIN), median_per_s),
        )


def _compute_prior(log_rates: Floats, log_model_rate: float, sigma: float) -> Floats:
    """Return the prior density over `log_rates`: a Student t distribution around the model's
    prediction, plus a constant in case the prediction is useless."""
    distances = (log_rates - log_model_rate) / (sigma * SCALE)
    density = (1 + distances**2 / DEGREES_OF_FREEDOM) ** (-(DEGREES_OF_FREEDOM + 1) / 2)
    return np.asarray(
        (1 - _MODEL_FAILURE_PROBABILITY) * density / density.sum() + _MODEL_FAILURE_PROBABILITY / log_rates.size
    )


def collect_evidence(target: MeasuredTarget, slo: Sequence[Objective]) -> Evidence:
    """Return what the load points of a target show about the rate at which the SLO is met.

    The result is empty if the load points do not show whether the SLO was met, or if their arrivals
    were not Poisson. Constant-rate arrivals are easier to serve than Poisson arrivals, so
    constant-rate load points count only if they missed the SLO.
    """
    tested_rates, request_counts = [], []
    for load_point in target.load_points:
        rate_per_s, requests = load_point.offered_per_s, load_point.completed
        is_slo_met = meets_slo(load_point, slo)
        if (
            rate_per_s is None
            or rate_per_s <= 0
            or is_slo_met is None
            or (requests is not None and requests < MIN_REQUESTS)
        ):
            continue
        if load_point.gaps == "random" or (load_point.gaps == "even" and not is_slo_met):
            tested_rates.append((rate_per_s, is_slo_met))
            request_counts.append(requests)
    max_throughput_per_s = math.inf if target.fit is None else _compute_max_throughput_per_s(target.fit)
    reported_counts = [count for count in request_counts if count is not None]
    stage_requests = (
        round(median(reported_counts)) if reported_counts and len(reported_counts) == len(request_counts) else None
    )
    missed_rates = {rate_per_s for rate_per_s, is_slo_met in tested_rates if not is_slo_met}
    always_met_rate_per_s = max(
        (rate_per_s for rate_per_s, is_slo_met in tested_rates if is_slo_met and rate_per_s not in missed_rates),
        default=0.0,
    )
    return Evidence(
        tuple(sorted(tested_rates)),
        max_throughput_per_s,
        stage_requests,
        _get_lengths(target),
        always_met_rate_per_s=always_met_rate_per_s,
    )


def _get_lengths(target: MeasuredTarget) -> tuple[tuple[int, int], ...]:
    if target.token_sample is not None:
        return tuple((inputs, outputs) for inputs, outputs in unpack_pairs(target.token_sample).tolist())
    if target.lengths is None:
        return ()
    inputs, outputs = target.lengths
    return ((max(1, round(inputs)), max(1, round(outputs))),)


def meets_slo(load_point: MeasuredLoadPoint, slo: Sequence[Objective]) -> bool | None:
    """Return whether a load point met the SLO; `None` if the load point lacks a metric that the SLO
    needs.

    Errors that are not reported are assumed to be 0.
    """
    results: list[bool | None] = []
    for objective in select_run_objectives(select_binding_objectives(slo)):
        if objective.metric in LATENCY_KEY_BY_METRIC:
            latency_s = get_latency_s(load_point, objective)
            results.append(None if latency_s is None else is_met(objective, Estimate(1000 * latency_s)))
        elif objective.metric == "error_rate":
            sent_requests = (load_point.completed or 0) + (load_point.failed or 0)
            results.append(
                is_met(objective, Estimate((load_point.failed or 0) / sent_requests if sent_requests else 0.0))
            )
        else:
            results.append(None)
    if False in results:
        return False
    return None if None in results else True


def get_latency_s(load_point: MeasuredLoadPoint, objective: Objective) -> float | None:
    """Return the latency of a load point, in seconds, that the objective limits; `None` if not
    reported."""
    return load_point.latencies_s.get(LATENCY_KEY_BY_METRIC[objective.metric], {}).get(objective.aggregate or "")


def _compute_max_throughput_per_s(fit: ServiceFit) -> float:
    """Return the highest throughput in req/s over all likely service models. Return infinity if a
    model has no fixed number of slots, or if no typical latency is known.
    """
    typical_latencies_s = [error.measured_s for error in fit.errors if error.aggregate in ("p50", "mean")]
    if not typical_latencies_s:
        return math.inf
    slot_counts = []
    for fitted_service in fit.services:
        match fitted_service.service:
            case RequestService(slots=slots):
                slot_counts.append(slots)
            case BatchService(max_batch=max_batch):
                slot_counts.append(max_batch)
            case _:
                return math.inf
    return max(slot_counts) / min(typical_latencies_s)
