"""Highest rate per replica at which a fleet meets the objectives, found by simulation. The rate is
0 if the objectives are missed even at the lowest load.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import msgspec
import numpy as np

from app.analysis.columns import Floats
from app.analysis.objectives import parse_objective
from app.analysis.token_samples import unpack_pairs
from app.analysis.traces import WINDOW_S, unpack_token_pairs
from app.planning.service_models.discrepancy import RATE_SIGMA_PER_DISCREPANCY, compute_discrepancy
from app.planning.service_models.evidence import RUN_TO_RUN_SIGMA, Evidence
from app.planning.service_models.families import with_parameters
from app.planning.service_models.service_times import speed_up
from app.planning.service_models.stage_effect import compute_stage_effect, find_crossing
from app.planning.simulation.arrivals import Arrivals
from app.planning.simulation.design import FleetDesign, SimulatedClass, compute_max_throughput_per_s
from app.planning.simulation.replay import ReplayResult, replay
from app.planning.simulation.results import ClassOutcome
from app.planning.simulation.steady import MAX_CELL_REPLICAS, SteadyOutcome, simulate_steady
from app.planning.sizing.bursts import Bursts, compute_burst_factor, compute_fluid_rate_per_s, draw_arrivals, is_bursty
from app.planning.sizing.demand import compute_peak_per_s
from app.planning.sizing.formulas import MIN_LOAD, compute_max_sequences_in_flight, estimate_rate_within_slo
from app.planning.sizing.model_error import Z80
from app.planning.sizing.slo_objectives import LatencyObjective, SloObjectives, build_slo_objectives
from app.records.offers import Router
from app.records.service import FittedService, ServiceFit, ServiceModel, TokenService
from app.records.traffic import Dispersion, TokenLengths, TraceRows, Traffic

SEEDS = (1, 2, 3, 4, 5)
_REQUESTS, _ROUGH_REQUESTS = (20_000, 1_500), (8_000, 300)
"""Minimum numbers of requests per seed, in total and per replica, for the median rate and for rough
rates at the ends of the uncertainty range.

The larger number of requests applies. With only a few hundred requests per replica, queues do not
build up, so round robin over 64 replicas would appear to sustain a rate that is 4 to 6 % too high.
"""
_TOKEN_CELL_REPLICAS_BY_ROUTER, _DEFAULT_TOKEN_CELL_REPLICAS = {"random": 1, "round-robin": 6}, 8
"""Number of language model replicas that are simulated in place of the entire fleet: by router, and
for all other routers.

Requests stay in flight for seconds, so queues build up slowly. A simulation of many replicas, with
few requests each, would end before queues build up.
"""
_TOKEN_SEEDS, _MIN_RESIDENCE_TIMES = SEEDS[:2], 40
"""Seeds for language models with long residence times, and the minimum length of a simulation in
residence times of a full batch.

Simulations below the minimum length use only these seeds, with more requests each, because a queue
that grows without bound looks acceptable at first.
"""
_POOLING_SIGMA, _MAX_POOLING_SIGMA = 0.2, 0.04
"""Sigma of a router's pooling effect, relative to the logarithm of the effect, and the maximum
sigma.

Load points of a single replica contain no pooling effect, and a fleet with pooled queues runs its
replicas at a higher utilization than was measured.
"""
_PRECISION = 0.003
_FULL_LOAD = 0.995
_MAX_STEP = 0.5
_ROUGH_PRECISION = 0.01
_MAX_PRECISE_SPEED_SIGMA = 0.1
"""Largest sigma of the log speed of a replica at which its median rate is simulated precisely."""
_SLOPE_STEP = 0.01
_MISSING_MODEL_SIGMA = 1.0
_LENGTH_TOLERANCE = 0.02
_MIN_SIGMA = 0.01
_MIN_POOLING_RATIO = 0.98
"""Minimum ratio of the rate per replica in a fleet to the rate of a single replica. Above it, the
load points are a lower bound of the rate.

Below this ratio, the router spreads requests so that batches become smaller.
"""
_BURST_PRECISION = 0.01
_BURST_CELL_REPLICAS = 256
"""Maximum number of replicas that are simulated under bursts. The maximum is high, because a burst
of a few requests per replica occupies the entire fleet.
"""
_MIN_BURST_FACTOR = 1e-3
_SIGMA_STEP, _MAX_TRACE_SIGMA = 1.1, 0.5
_BURST_LOADS = (0.5, 0.7, 0.85, 0.95, 1.0, 1.03, 1.06)


class FleetShape(msgspec.Struct, frozen=True):
    """Properties of a fleet that do not depend on its size: router, objectives and requests.

    `lengths` are equally likely pairs of input and output tokens. `classes` are traffic classes
    with their own limits.
    """

    router: Router
    objectives: SloObjectives
    classes: tuple[SimulatedClass, ...] = ()
    class_objectives: tuple[SloObjectives, ...] = ()
    """SloObjectives of each traffic class, in the order of `classes`. The fleet must meet all
    objectives."""
    lengths: tuple[tuple[int, int], ...] = ((1, 1),)
    bursts: Bursts | None = None
    """Bursty arrivals at the peak; `None` for Poisson arrivals."""

    @property
    def mean_work(self) -> float:
        """Mean work per request, relative to the work of a measured request."""
        total_share = sum(request_class.share for request_class in self.classes)
        return (
            sum(request_class.share * request_class.work for request_class in self.classes) / total_share
            if total_share
            else 1.0
        )

    @property
    def mean_lengths(self) -> tuple[float, float]:
        return _compute_mean_lengths(self.lengths)


@lru_cache(64)
def _compute_mean_lengths(lengths: tuple[tuple[int, int], ...]) -> tuple[float, float]:
    mean_input, mean_output = np.mean(np.array(lengths, dtype=float), axis=0)
    return float(mean_input), float(mean_output)


def build_fleet_shape(
    traffic: Traffic, objectives: SloObjectives, router: Router, peak_per_s: float | None = None
) -> FleetShape:
    """Build the fleet shape for the traffic.

    Traffic classes without their own SLO get the objectives of the plan. `peak_per_s` is the peak
    rate of the fleet in req/s; `None` stands for the highest rate of the next 12 months without
    campaigns.
    """
    class_objectives = tuple(
        build_slo_objectives([parse_objective(text) for text in traffic_class.slo]) if traffic_class.slo else objectives
        for traffic_class in traffic.classes
    )
    classes = tuple(
        SimulatedClass(
            traffic_class.share,
            objectives_of_class.get_limit_s("latency"),
            traffic_class.work,
            objectives_of_class.get_limit_s("first_token"),
            objectives_of_class.get_limit_s("per_token"),
        )
        for traffic_class, objectives_of_class in zip(traffic.classes, class_objectives, strict=True)
    )
    lengths = tuple(
        (max(1, round(pair.input)), max(1, round(pair.output))) for pair in _repeat_by_share(traffic.tokens)
    )
    if traffic.token_sample is not None:
        lengths = tuple((inputs, outputs) for inputs, outputs in unpack_pairs(traffic.token_sample).tolist())
    bursts = None
    if is_bursty(traffic.rows, traffic.dispersion):
        dispersion = traffic.dispersion if traffic.rows is None else Dispersion()
        bursts = Bursts(traffic.rows, dispersion, compute_peak_per_s(traffic) if peak_per_s is None else peak_per_s)
    trace_lengths = None if traffic.rows is None else unpack_token_pairs(traffic.rows)
    if trace_lengths is not None:
        lengths = tuple((inputs, outputs) for inputs, outputs in trace_lengths.tolist())
    return FleetShape(router, objectives, classes, class_objectives, lengths or ((1, 1),), bursts)


def _repeat_by_share(tokens: Sequence[TokenLengths]) -> list[TokenLengths]:
    """Return a list that contains each pair of token lengths as many times as its share in percent,
    at least once."""
    return [pair for pair in tokens for _ in range(max(1, round(100 * pair.share)))] if len(tokens) > 1 else [*tokens]


class ReplicaRate(msgspec.Struct, frozen=True):
    """Request rate of one replica within the SLO: median and sigma of a lognormal distribution. The
    median is 0 if no rate meets the SLO.

    `extrapolated_per_s` is the rate that the service model predicts beyond the highest observed
    rate; `None` if the median is not limited to the observed rates. `model_sigma` is the sigma
    before the correction by load points; `None` without a correction. `max_throughput_per_s` is the
    P90 of the predicted throughput at full utilization.
    """

    rate_per_s: float
    sigma: float
    extrapolated_per_s: float | None = None
    model_sigma: float | None = None
    max_throughput_per_s: float = math.inf


NO_EVIDENCE = Evidence()


class _PredictedRates(msgspec.Struct, frozen=True):
    """Rates that the service model predicts, without correction by load points.

    `rate_per_s` is the rate per replica in the fleet. `single_replica_per_s` is the rate of a
    single replica under Poisson arrivals, the conditions of the load points. `sigma` applies to
    both rates, and includes `speed_sigma` from the extrapolation to other hardware.
    `discrepancy_sigma` is the uncertainty because the model misses load points, and `fit_spread`
    the ratio of its errors at the load points to their scatter.
    """

    rate_per_s: float
    single_replica_per_s: float
    sigma: float
    speed_sigma: float
    discrepancy_sigma: float = 0.0
    fit_spread: float = 1.0


def estimate_rate(
    fit: ServiceFit, shape: FleetShape, replicas: int, speed: float, speed_sigma: float,
    evidence: Evidence = NO_EVIDENCE,
) -> ReplicaRate:  # fmt: skip
    fitted_service, objectives, lengths = fit.services[0], shape.objectives, shape.mean_lengths
    service = speed_up(fitted_service.service, speed)
    rate_per_s = _estimate_rate_within_slo(service, shape, replicas)
    sigma = math.hypot(speed_sigma, _compute_throughput_sigma(fitted_service, shape), RUN_TO_RUN_SIGMA)
    single_replica_per_s = (
        estimate_rate_within_slo(service, objectives, 1, "random", lengths) if evidence.tested_rates else rate_per_s
    )
    predicted_rates = _PredictedRates(
        rate_per_s,
        single_replica_per_s,
        sigma,
        speed_sigma,
        _compute_discrepancy_sigma(fit, shape, evidence),
        fit.spread,
    )
    burst_factor = 1.0 if shape.bursts is None else _compute_fluid_factor(shape, shape.bursts)
    replica_rate = _correct_by_load_points(
        predicted_rates, evidence.scale_rates(speed), fit.highest_per_s * speed, shape, burst_factor
    )
    return msgspec.structs.replace(
        replica_rate, max_throughput_per_s=_compute_upper_throughput_per_s(fitted_service, shape, speed, speed_sigma)
    )


def _correct_by_load_points(
    predicted_rates: _PredictedRates,
    evidence: Evidence,
    max_observed_per_s: float,
    shape: FleetShape,
    burst_factor: float,
) -> ReplicaRate:
    """Return the predicted rate, corrected by load points near the SLO, and limited to the highest
    observed rate.

    The predicted rate of a single replica is compared with the load points directly. The predicted
    rate per replica in a fleet, which pools queues, is multiplied by the same correction. The
    result is at least the observed max rate of a single replica.
    """
    if not evidence.tested_rates:
        return _limit_rate_to_observed(
            predicted_rates.rate_per_s,
            max_observed_per_s,
            burst_factor,
            math.hypot(predicted_rates.sigma, predicted_rates.discrepancy_sigma),
        )
    service_sigma = math.sqrt(
        max(predicted_rates.sigma**2 - predicted_rates.speed_sigma**2 - RUN_TO_RUN_SIGMA**2, _MIN_SIGMA**2)
    )
    posterior, (low, high) = (
        evidence.compute_posterior(predicted_rates.single_replica_per_s, service_sigma),
        evidence.interval,
    )
    pooling_ratio = (
        predicted_rates.rate_per_s / predicted_rates.single_replica_per_s
        if predicted_rates.single_replica_per_s > 0 and predicted_rates.rate_per_s > 0
        else 1.0
    )
    pooled_per_s = posterior.p50 * pooling_ratio
    has_lower_bound = pooling_ratio > _MIN_POOLING_RATIO and not shape.classes
    lower_bound_per_s = evidence.min_rate_per_s if has_lower_bound else 0.0
    min_per_s = max(low, min(lower_bound_per_s * math.exp(Z80 * RUN_TO_RUN_SIGMA), high)) if has_lower_bound else 0.0
    rate_per_s = max(pooled_per_s, min_per_s)
    if rate_per_s <= 0:
        return ReplicaRate(0.0, 0.0)
    observed_per_s = min(rate_per_s, max_observed_per_s)
    pooling_sigma = math.hypot(
        _compute_pooling_sigma(pooling_ratio, predicted_rates.fit_spread),
        RUN_TO_RUN_SIGMA,
        predicted_rates.discrepancy_sigma,
    )
    low_sigma, high_sigma = (
        math.hypot(math.log(posterior.p50 / end) / Z80, pooling_sigma) for end in (posterior.p10, posterior.p90)
    )
    low_per_s, high_per_s = (pooled_per_s * math.exp(Z80 * sigma) for sigma in (-low_sigma, high_sigma))
    lower_sigma = max(0.0, math.log(observed_per_s / min(observed_per_s, max(low_per_s, lower_bound_per_s)))) / Z80
    sigma = math.hypot(max(lower_sigma, RUN_TO_RUN_SIGMA), predicted_rates.speed_sigma, evidence.steady_sigma)
    extrapolated_per_s = None
    if rate_per_s > max_observed_per_s:
        extrapolated_per_s = max(rate_per_s, high_per_s * math.exp(-Z80 * sigma)) * burst_factor
    return ReplicaRate(observed_per_s * burst_factor, sigma, extrapolated_per_s, predicted_rates.sigma)


def _compute_pooling_sigma(pooling_ratio: float, fit_spread: float) -> float:
    """Return the sigma of the pooling effect. It grows with the variance of the model's errors, up
    to the logarithm of the effect itself."""
    log_ratio = abs(math.log(pooling_ratio))
    return min(min(_POOLING_SIGMA * log_ratio, _MAX_POOLING_SIGMA) * fit_spread**2, log_ratio)


def _compute_discrepancy_sigma(fit: ServiceFit, shape: FleetShape, evidence: Evidence) -> float:
    """Return the sigma of the rate because the service model misses load points. `evidence` is
    that of the measured replica."""
    discrepancy = compute_discrepancy(fit, shape.objectives, evidence.highest_met_per_s or fit.highest_per_s)
    return RATE_SIGMA_PER_DISCREPANCY * discrepancy


def _limit_rate_to_observed(
    rate_per_s: float, max_observed_per_s: float, burst_factor: float, sigma: float
) -> ReplicaRate:
    if rate_per_s <= max_observed_per_s:
        return ReplicaRate(rate_per_s * burst_factor, sigma)
    return ReplicaRate(max_observed_per_s * burst_factor, sigma, rate_per_s * burst_factor)


class _SingleReplicaPrediction(msgspec.Struct, frozen=True):
    """Prediction of a service model for a single replica under Poisson arrivals, the conditions of
    the load points.

    `rate_per_s` is the rate within the SLO for the measured token lengths. `evidence` contains the
    load points, corrected to steady state. `max_observed_per_s` is the highest observed rate,
    converted to the token lengths of the traffic.
    """

    rate_per_s: float
    evidence: Evidence
    max_observed_per_s: float


def _predict_single_replica(
    service: ServiceModel, shape: FleetShape, median_per_s: float, max_observed_per_s: float, evidence: Evidence,
    fit_spread: float,
) -> _SingleReplicaPrediction:  # fmt: skip
    """Predict the rate of a single replica within the SLO, with all requests in one class.

    `median_per_s` is the rate per replica in the fleet. The prediction is the same rate if the
    fleet is equivalent to a single replica.
    """
    uses_measured_lengths = (
        isinstance(service, TokenService)
        and evidence.lengths
        and _have_different_means(evidence.lengths, shape.lengths)
    )
    lengths = evidence.lengths if uses_measured_lengths else shape.lengths
    relative_work = compute_max_throughput_per_s(service, shape.lengths) / compute_max_throughput_per_s(
        service, lengths
    )
    if 1.0 < relative_work < 1.0 + _LENGTH_TOLERANCE:  # within the difference of two samples of the same lengths
        relative_work = 1.0
    if not evidence.tested_rates:
        return _SingleReplicaPrediction(median_per_s, evidence, max_observed_per_s * relative_work)
    measured_shape = FleetShape("random", shape.objectives, lengths=lengths)
    rate_per_s = median_per_s
    if measured_shape != msgspec.structs.replace(shape, bursts=None):
        guess_per_s = estimate_rate_within_slo(service, shape.objectives, 1, "random", measured_shape.mean_lengths)
        rate_per_s = _find_steady_rate(service, measured_shape, 1, guess_per_s)
    if rate_per_s > 0 and evidence.stage_requests is not None:
        stage_effect = compute_stage_effect(service, shape.objectives, lengths, evidence.stage_requests, rate_per_s)
        evidence = evidence.correct_to_steady_state(stage_effect, rate_per_s, fit_spread)
    return _SingleReplicaPrediction(rate_per_s, evidence, max_observed_per_s * relative_work)


def _have_different_means(lengths: tuple[tuple[int, int], ...], other_lengths: tuple[tuple[int, int], ...]) -> bool:
    """Return whether two samples differ in mean token lengths, with a tolerance for the rounding of
    scaled samples."""
    pairs = zip(_compute_mean_lengths(lengths), _compute_mean_lengths(other_lengths), strict=True)
    return any(abs(math.log(mean / other_mean)) > _LENGTH_TOLERANCE for mean, other_mean in pairs)


def _compute_throughput_sigma(fitted_service: FittedService, shape: FleetShape) -> float:
    """Return the standard deviation of the log max throughput of a replica, by propagation of the
    parameters' covariance."""
    if not fitted_service.parameters:
        return 0.0
    log_parameters, slopes = _get_log_parameters(fitted_service), []
    for log_step in np.eye(log_parameters.size) * _SLOPE_STEP:
        rates = (
            compute_max_throughput_per_s(
                with_parameters(fitted_service.service, fitted_service.parameters, log_parameters + sign * log_step),
                shape.lengths,
            )
            for sign in (-1, 1)
        )
        slow_per_s, fast_per_s = rates
        slopes.append(math.log(fast_per_s / slow_per_s) / (2 * _SLOPE_STEP))
    return math.sqrt(max(0.0, float(np.array(slopes) @ np.array(fitted_service.log_covariance) @ np.array(slopes))))


def _compute_upper_throughput_per_s(
    fitted_service: FittedService, shape: FleetShape, speed: float, speed_sigma: float
) -> float:
    sigma = math.hypot(_compute_throughput_sigma(fitted_service, shape), speed_sigma)
    return (
        compute_max_throughput_per_s(speed_up(fitted_service.service, speed), shape.lengths)
        / shape.mean_work
        * math.exp(Z80 * sigma)
    )


def simulate_rate(
    fit: ServiceFit, shape: FleetShape, replicas: int, speed: float, speed_sigma: float,
    evidence: Evidence = NO_EVIDENCE,
) -> ReplicaRate:  # fmt: skip
    """Simulate the rate of one replica in a fleet, with its uncertainty.

    `speed` is relative to the measured replica; `speed_sigma` is the standard deviation of the log
    speed.
    """
    model_rate = _simulate_model(fit.services[0], shape, replicas, speed, speed_sigma)
    discrepancy_sigma = _compute_discrepancy_sigma(fit, shape, evidence)
    median_per_s, evidence = model_rate.rate_per_s, evidence.scale_rates(speed)
    if median_per_s <= 0:
        missing_model_rates = _PredictedRates(0.0, 0.0, _MISSING_MODEL_SIGMA, speed_sigma)
        return (
            _correct_by_load_points(missing_model_rates, evidence, fit.highest_per_s * speed, shape, 1.0)
            if evidence.tested_rates
            else model_rate
        )
    alternatives_variance = sum(
        fitted_service.probability
        * math.log(
            _find_rough_rate(speed_up(fitted_service.service, speed), shape, replicas, median_per_s) / median_per_s
        )
        ** 2
        for fitted_service in fit.services[1:]
    )
    max_observed_per_s = fit.highest_per_s * speed
    service, sigma = (
        speed_up(fit.services[0].service, speed),
        math.hypot(model_rate.sigma, math.sqrt(alternatives_variance), RUN_TO_RUN_SIGMA),
    )
    prediction = _predict_single_replica(service, shape, median_per_s, max_observed_per_s, evidence, fit.spread)
    burst_effect = _compute_burst_effect(service, shape, replicas, (median_per_s, prediction.max_observed_per_s), True)
    predicted_rates = _PredictedRates(
        median_per_s, prediction.rate_per_s, sigma, speed_sigma, discrepancy_sigma, fit.spread
    )
    replica_rate = burst_effect.add_sigma(
        _correct_by_load_points(
            predicted_rates, prediction.evidence, prediction.max_observed_per_s, shape, burst_effect.factor
        )
    )
    upper_throughput_per_s = max(
        _compute_upper_throughput_per_s(fitted_service, shape, speed, speed_sigma) for fitted_service in fit.services
    )
    return msgspec.structs.replace(replica_rate, max_throughput_per_s=upper_throughput_per_s)


def simulate_median_rate(
    fit: ServiceFit, shape: FleetShape, replicas: int, speed: float, similar_rate: ReplicaRate,
    evidence: Evidence = NO_EVIDENCE, speed_sigma: float = 0.0, steady_replicas: int | None = None,
) -> ReplicaRate:  # fmt: skip
    """Simulate the median rate of one replica with the most likely service model. The sigma is
    taken from `similar_rate`.

    The steady rate is simulated with `steady_replicas`, a number close to `replicas`. Only the
    effect of bursts needs the exact number of replicas.
    """
    service, max_observed_per_s = speed_up(fit.services[0].service, speed), fit.highest_per_s * speed
    median_per_s = _find_steady_rate(
        service, shape, steady_replicas or replicas, similar_rate.rate_per_s, *_choose_effort(speed_sigma)
    )
    prediction = _predict_single_replica(
        service, shape, median_per_s, max_observed_per_s, evidence.scale_rates(speed), fit.spread
    )
    burst_effect = _compute_burst_effect(service, shape, replicas, (median_per_s, prediction.max_observed_per_s), False)
    sigma = similar_rate.sigma if similar_rate.model_sigma is None else similar_rate.model_sigma
    discrepancy_sigma = _compute_discrepancy_sigma(fit, shape, evidence)
    predicted_rates = _PredictedRates(
        median_per_s, prediction.rate_per_s, sigma, speed_sigma, discrepancy_sigma, fit.spread
    )
    replica_rate = _correct_by_load_points(
        predicted_rates, prediction.evidence, prediction.max_observed_per_s, shape, burst_effect.factor
    )
    replica_rate = msgspec.structs.replace(replica_rate, max_throughput_per_s=similar_rate.max_throughput_per_s)
    return (
        replica_rate
        if shape.bursts is None
        else msgspec.structs.replace(replica_rate, sigma=max(replica_rate.sigma, similar_rate.sigma))
    )


@lru_cache(64)
def _find_steady_rate(
    service: ServiceModel, shape: FleetShape, replicas: int, guess_per_s: float, requests: tuple[int, int] = _REQUESTS,
    precision: float = _PRECISION,
) -> float:  # fmt: skip
    return find_highest_rate(service, shape, replicas, guess_per_s, requests, precision)[0]


class BurstEffect(msgspec.Struct, frozen=True):
    """Effect of bursts on the steady rate of a replica: a factor, and a sigma, which is above 0 if
    the trace is too short to determine the factor.
    """

    factor: float
    sigma: float = 0.0

    def add_sigma(self, replica_rate: ReplicaRate) -> ReplicaRate:
        return msgspec.structs.replace(replica_rate, sigma=math.hypot(replica_rate.sigma, self.sigma))


def _compute_burst_effect(
    service: ServiceModel, shape: FleetShape, replicas: int, rates_per_s: tuple[float, float], needs_sigma: bool
) -> BurstEffect:
    """Return the effect of bursts on the steady rate of a replica.

    `rates_per_s` holds the replica's steady rate within the SLO and its highest observed rate.
    """
    bursts, (steady_per_s, max_observed_per_s) = shape.bursts, rates_per_s
    if bursts is None or min(steady_per_s, max_observed_per_s) <= 0:
        return BurstEffect(1.0)
    arrivals_per_seed = draw_arrivals(bursts, min(replicas, _BURST_CELL_REPLICAS) / replicas)
    if arrivals_per_seed is not None:
        return replay_bursts(service, shape, replicas, steady_per_s, arrivals_per_seed, needs_sigma)
    if bursts.rows is None:
        return BurstEffect(
            _compute_burst_factor(service, shape, bursts, replicas, min(steady_per_s, max_observed_per_s))
        )
    return BurstEffect(_compute_fluid_factor(shape, bursts))


def _compute_fluid_factor(shape: FleetShape, bursts: Bursts) -> float:
    limit_s = min((objective.limit_s for objective in shape.objectives.latency_objectives), default=2.0)
    return bursts.peak_per_s / compute_fluid_rate_per_s(
        bursts, float(f"{limit_s / 2:.2g}"), _compute_allowed_late_share(shape)
    )


def _compute_allowed_late_share(shape: FleetShape) -> float:
    quantiles = [
        objective.quantile for objective in shape.objectives.latency_objectives if objective.quantile is not None
    ]
    return min(
        [1 - max(quantiles, default=0.5), *([] if shape.objectives.share is None else [1 - shape.objectives.share])]
    )


def replay_bursts(
    service: ServiceModel,
    shape: FleetShape,
    replicas: int,
    steady_per_s: float,
    arrivals_per_seed: tuple[Arrivals, ...],
    needs_sigma: bool,
) -> BurstEffect:
    """Return the effect of bursts on the steady rate of a replica.

    The peak's requests are replayed at different speeds. The effect follows from the highest speed
    at which `replicas` replicas meet the SLO.
    """
    bursts = shape.bursts
    assert bursts is not None
    design, steady_factor = (
        build_design(service, shape, min(replicas, _BURST_CELL_REPLICAS)),
        steady_per_s * replicas / bursts.peak_per_s,
    )
    if isinstance(service, TokenService):
        arrivals_per_seed = arrivals_per_seed[:1]

    def replay_at(speed_factor: float) -> ReplayResult:
        compressed_arrivals = [seed_arrivals.compress(speed_factor) for seed_arrivals in arrivals_per_seed]
        return replay(design, bursts.peak_per_s * speed_factor, compressed_arrivals, list_percentiles(shape), replicas)

    start_factor = min(
        steady_factor, max(MIN_LOAD * steady_factor, steady_factor * _compute_fluid_factor(shape, bursts))
    )
    factor, _ = find_crossing(
        lambda speed_factor: compute_excess(replay_at(speed_factor).outcome, shape),
        (MIN_LOAD * steady_factor, start_factor, steady_factor),
        _BURST_PRECISION,
    )
    if factor <= 0:
        return BurstEffect(_MIN_BURST_FACTOR)
    sigma = (
        _compute_short_trace_sigma(bursts.rows, replay_at, factor) if needs_sigma and bursts.rows is not None else 0.0
    )
    return BurstEffect(factor / steady_factor, sigma)


def _compute_short_trace_sigma(rows: TraceRows, replay_at: Callable[[float], ReplayResult], factor: float) -> float:
    """Return the standard deviation of the log rate that is due to a trace shorter than the peak
    hour; 0 for longer traces.

    The number of late requests varies between parts of the trace. Its standard deviation is divided
    by the growth of the number with the rate.
    """
    unobserved_share = 1.0 - rows.window_s / WINDOW_S
    if unobserved_share <= 0.01:
        return 0.0
    late_requests_per_block = np.array(replay_at(factor).late_requests_per_block, dtype=float)
    additional_late_requests = sum(replay_at(factor * _SIGMA_STEP).late_requests_per_block) - float(
        late_requests_per_block.sum()
    )
    if additional_late_requests <= 0:
        return _MAX_TRACE_SIGMA if late_requests_per_block.any() else 0.0
    deviation = math.sqrt(late_requests_per_block.size) * float(late_requests_per_block.std(ddof=1))
    return min(
        _MAX_TRACE_SIGMA, deviation / additional_late_requests * math.log(_SIGMA_STEP) * math.sqrt(unobserved_share)
    )


def _compute_burst_factor(
    service: ServiceModel, shape: FleetShape, bursts: Bursts, replicas: int, rate_per_s: float
) -> float:
    """Return the factor by which bursts with a stated index of dispersion reduce the rate per
    replica.

    The index applies to the traffic at its peak, so the rate fluctuates by the same percentage
    regardless of the capacity of the replicas.
    """
    design, max_per_s = (
        build_design(service, shape, replicas),
        compute_max_throughput_per_s(service, shape.lengths) * _FULL_LOAD,
    )
    requests = choose_request_count(replicas, *_ROUGH_REQUESTS)
    loads = [load for load in _BURST_LOADS if load * rate_per_s < max_per_s] + [max_per_s / rate_per_s]
    good_shares = [
        simulate_fleet(design, shape, load * rate_per_s, requests).overall.good_share or 0.0 for load in loads
    ]
    squared_cv = (bursts.dispersion.index - 1) / (bursts.peak_per_s * bursts.dispersion.window_s)
    return compute_burst_factor(
        loads, [1 - good_share for good_share in good_shares], _compute_allowed_late_share(shape), 1 / squared_cv
    )


def _simulate_model(
    fitted_service: FittedService, shape: FleetShape, replicas: int, speed: float, speed_sigma: float
) -> ReplicaRate:
    """Return the simulated rate within the SLO of one fitted service in req/s, and its sigma. The variances of the
    search, of each uncertain parameter and of the speed add up."""
    service = speed_up(fitted_service.service, speed)
    guess_per_s = _estimate_rate_within_slo(service, shape, replicas)
    median_per_s, sigma = find_highest_rate(service, shape, replicas, guess_per_s, *_choose_effort(speed_sigma))
    if median_per_s <= 0:
        return ReplicaRate(0.0, 0.0)
    variance = sigma**2
    for services, steps_per_sigma in _iterate_uncertainty(fitted_service, speed, speed_sigma):
        slow_per_s, fast_per_s = (
            _find_rough_rate(
                service_at_end,
                shape,
                replicas,
                median_per_s * _estimate_rate_ratio(service_at_end, service, shape, replicas),
            )
            for service_at_end in services
        )
        variance += (math.log(fast_per_s / slow_per_s) / 2 * steps_per_sigma) ** 2
    return ReplicaRate(median_per_s, math.sqrt(variance))


def _estimate_rate_ratio(service: ServiceModel, other: ServiceModel, shape: FleetShape, replicas: int) -> float:
    """Estimate the ratio of the rates of two services within the SLO by formula, and by their max throughputs if the
    formula finds no rate for one of them."""
    rate_per_s, other_per_s = (_estimate_rate_within_slo(each, shape, replicas) for each in (service, other))
    if min(rate_per_s, other_per_s) > 0:
        return rate_per_s / other_per_s
    return compute_max_throughput_per_s(service, shape.lengths) / compute_max_throughput_per_s(other, shape.lengths)


def _estimate_rate_within_slo(service: ServiceModel, shape: FleetShape, replicas: int) -> float:
    return estimate_rate_within_slo(
        speed_up(service, 1 / shape.mean_work), shape.objectives, replicas, shape.router, shape.mean_lengths
    )


def _choose_effort(speed_sigma: float) -> tuple[tuple[int, int], float]:
    """Return the minimum numbers of requests, and the precision of the log rate, for the median rate of a replica whose
    speed is uncertain by `speed_sigma`: a rate that is uncertain by a tenth is not simulated to a thousandth."""
    return (_REQUESTS, _PRECISION) if speed_sigma <= _MAX_PRECISE_SPEED_SIGMA else (_ROUGH_REQUESTS, _ROUGH_PRECISION)


def _find_rough_rate(service: ServiceModel, shape: FleetShape, replicas: int, guess_per_s: float) -> float:
    """Return a roughly simulated rate per replica, at least the rate of the lowest load to try.

    A model that misses the SLO even at the lowest load then results in a large, but not infinite,
    uncertainty.
    """
    rate_per_s, _ = find_highest_rate(service, shape, replicas, guess_per_s, _ROUGH_REQUESTS, _ROUGH_PRECISION)
    return max(rate_per_s, MIN_LOAD * compute_max_throughput_per_s(service, shape.lengths))


def _iterate_uncertainty(
    fitted_service: FittedService, speed: float, speed_sigma: float
) -> Iterator[tuple[tuple[ServiceModel, ServiceModel], float]]:
    """Yield, for each direction of uncertainty, the service models one step below and above, and
    the number of steps per sigma.

    The directions are the speed, and the principal axes of the log parameters. A step is one sigma,
    but at most `_MAX_STEP`. With much smaller steps, the effect would be lost in simulation noise.
    """
    if speed_sigma:
        step = min(speed_sigma, _MAX_STEP)
        yield (
            (
                speed_up(fitted_service.service, speed * math.exp(-step)),
                speed_up(fitted_service.service, speed * math.exp(step)),
            ),
            speed_sigma / step,
        )
    if not fitted_service.parameters:
        return
    log_parameters = _get_log_parameters(fitted_service)
    variances, directions = np.linalg.eigh(np.array(fitted_service.log_covariance))
    for variance, direction in zip(variances, directions.T, strict=True):
        sigma = math.sqrt(max(float(variance), 1e-12))
        step_share = min(1.0, _MAX_STEP / sigma)
        log_step = direction * sigma * step_share
        shifted_services = [
            speed_up(
                with_parameters(fitted_service.service, fitted_service.parameters, log_parameters + sign * log_step),
                speed,
            )
            for sign in (-1.0, 1.0)
        ]
        yield (shifted_services[0], shifted_services[1]), 1 / step_share


def _get_log_parameters(fitted_service: FittedService) -> Floats:
    return np.log([getattr(fitted_service.service, name) for name in fitted_service.parameters])


def find_highest_rate(
    service: ServiceModel, shape: FleetShape, replicas: int, guess_per_s: float, requests: tuple[int, int] = _REQUESTS,
    precision: float = _PRECISION,
) -> tuple[float, float]:  # fmt: skip
    """Return the highest rate per replica at which the fleet meets all objectives, and the standard
    deviation of its logarithm.

    The search starts at `guess_per_s` and ends when the log rate is known to `precision`.
    `requests` are the minimum numbers of requests per seed, in total and per replica; the larger
    number applies.
    """
    max_per_s = compute_max_throughput_per_s(service, shape.lengths) * _FULL_LOAD
    design, request_count = build_design(service, shape, replicas), choose_request_count(replicas, *requests)

    def compute_excess_at(rate_per_s: float) -> float:
        """Return the excess at a rate: the largest log ratio of a latency to its limit; above 0 if
        an objective is missed."""
        return compute_excess(simulate_fleet(design, shape, rate_per_s, request_count), shape)

    start_per_s = min(max(guess_per_s, MIN_LOAD * max_per_s), max_per_s)
    return find_crossing(compute_excess_at, (MIN_LOAD * max_per_s, start_per_s, max_per_s), precision)


def build_design(service: ServiceModel, shape: FleetShape, replicas: int) -> FleetDesign:
    objectives = shape.objectives
    classes = shape.classes or (
        SimulatedClass(
            limit_s=objectives.get_limit_s("latency"),
            first_token_limit_s=objectives.get_limit_s("first_token"),
            per_token_limit_s=objectives.get_limit_s("per_token"),
        ),
    )
    return FleetDesign((service,) * replicas, shape.router, classes, lengths=shape.lengths)


def choose_request_count(replicas: int, min_requests: int, min_requests_per_replica: int) -> int:
    return max(min_requests, min_requests_per_replica * min(replicas, MAX_CELL_REPLICAS))


def count_simulated_replicas(service: ServiceModel, shape: FleetShape, replicas: int) -> int:
    """Return the number of replicas that are simulated in steady state in place of a fleet of
    `replicas` replicas. Fleets with the same number have the same rate per replica."""
    if not isinstance(service, TokenService):
        return min(replicas, MAX_CELL_REPLICAS)
    return min(replicas, _TOKEN_CELL_REPLICAS_BY_ROUTER.get(shape.router, _DEFAULT_TOKEN_CELL_REPLICAS))


def simulate_fleet(
    design: FleetDesign, shape: FleetShape, rate_per_replica_per_s: float, requests: int
) -> SteadyOutcome:
    """Simulate a fleet in steady state under Poisson arrivals at a constant rate per replica."""
    replicas, service = len(design.services), design.services[0]
    cell_replicas = count_simulated_replicas(service, shape, replicas)
    seeds: tuple[int, ...] = SEEDS
    if isinstance(service, TokenService) and (
        requests < _MIN_RESIDENCE_TIMES * compute_max_sequences_in_flight(service, shape.mean_lengths) * cell_replicas
    ):
        seeds, requests = _TOKEN_SEEDS, requests * len(SEEDS) // len(_TOKEN_SEEDS)
    return simulate_steady(
        design, rate_per_replica_per_s * replicas, requests, seeds, list_percentiles(shape), max_replicas=cell_replicas
    )


def simulate_traffic(
    service: ServiceModel, shape: FleetShape, replicas: int, rate_per_s: float, requests: int
) -> SteadyOutcome:
    """Simulate the entire fleet at a total rate. The bursts of the traffic are simulated unless
    there are too many requests.
    """
    bursts, cell_replicas = shape.bursts, min(replicas, _BURST_CELL_REPLICAS)
    arrivals_per_seed = (
        None if bursts is None else draw_arrivals(bursts, cell_replicas / replicas * rate_per_s / bursts.peak_per_s)
    )
    if arrivals_per_seed is None or not arrivals_per_seed[0].times_s.size:
        return simulate_fleet(build_design(service, shape, replicas), shape, rate_per_s / replicas, requests)
    return replay(
        build_design(service, shape, cell_replicas),
        rate_per_s,
        arrivals_per_seed[:1],
        list_percentiles(shape),
        replicas,
    ).outcome


def list_percentiles(shape: FleetShape) -> list[float]:
    """Return the percentiles to compute, in ascending order: those in the SLO, and p50, p95 and
    p99."""
    slo_latency_objectives = {
        objective
        for objectives in (shape.objectives, *shape.class_objectives)
        for objective in objectives.latency_objectives
    }
    return sorted(
        {100 * objective.quantile for objective in slo_latency_objectives if objective.quantile is not None}
        | {50, 95, 99}
    )


def compute_excess(outcome: SteadyOutcome, shape: FleetShape) -> float:
    """Return the largest log ratio of a latency to its limit, over all objectives and traffic
    classes. The excess is above 0 if an objective is missed.

    For a target share of good requests, the excess is ten times the shortfall.
    """
    if not shape.classes:
        return _compute_class_excess(outcome, outcome.overall, shape.objectives)
    pairs = zip(outcome.classes, shape.class_objectives, strict=True)
    return max(_compute_class_excess(outcome, class_outcome, objectives) for class_outcome, objectives in pairs)


def _compute_class_excess(outcome: SteadyOutcome, class_outcome: ClassOutcome, objectives: SloObjectives) -> float:
    excesses = [
        math.log(max(get_latency_s(outcome, objective, class_outcome), 1e-9) / objective.limit_s)
        for objective in objectives.latency_objectives
    ]
    if objectives.share is not None:
        excesses.append(10 * (objectives.share - (class_outcome.good_share or 0.0)))
    return max(excesses, default=-1.0)


def get_latency_s(
    outcome: SteadyOutcome, objective: LatencyObjective, class_outcome: ClassOutcome | None = None
) -> float:
    """Return the latency in seconds that an objective limits, over all requests or over one traffic
    class; infinity if unknown.
    """
    class_outcome = class_outcome or outcome.overall
    statistics = {
        "latency": class_outcome.latency,
        "first_token": class_outcome.first_token,
        "per_token": class_outcome.per_token,
    }[objective.kind]
    if statistics is None:
        return math.inf
    index = None if objective.quantile is None else outcome.percentiles.index(100 * objective.quantile)
    latency_s = statistics.mean_s if index is None else statistics.percentiles_s[index]
    return math.inf if latency_s is None else latency_s
