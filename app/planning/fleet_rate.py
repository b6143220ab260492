"""The highest rate of a fleet at which the goals are met, found by simulation; 0 if they are missed at any load.

`near_per_s` is where the search begins; `requests` are the minimum per seed and per replica, the larger of which
applies; `precision` is that of the rate's logarithm.
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
from app.planning.bursts import Bursts, burst_factor, draw_arrivals, fluid_rate_per_s, is_bursty
from app.planning.demand import peak_per_s
from app.planning.formulas import MIN_LOAD, estimate_rate_within_slo, max_sequences_in_flight
from app.planning.goals import Goal, Goals, build_goals
from app.planning.service_models.evidence import RUN_TO_RUN_SIGMA, Z80, Evidence
from app.planning.service_models.families import with_parameters
from app.planning.service_models.service_times import speed_up
from app.planning.service_models.stage_effect import compute_stage_effect, find_crossing
from app.planning.simulation.arrivals import Arrivals
from app.planning.simulation.design import FleetDesign, SimulatedClass, compute_max_throughput_per_s
from app.planning.simulation.replay import ReplayResult, replay
from app.planning.simulation.results import ClassOutcome
from app.planning.simulation.steady import CELL, SteadyOutcome, simulate_steady
from app.records.offers import Router
from app.records.service import FittedService, ServiceFit, ServiceModel, TokenService
from app.records.traffic import Dispersion, TokenLengths, TraceRows, Traffic

SEEDS = (1, 2, 3, 4, 5)
_REQUESTS, _ROUGH_REQUESTS = (20_000, 1_500), (8_000, 300)
"""Requests per seed, and the minimum per replica, for the middle and for the ends of an uncertainty.

With a few hundred requests each, replicas that fill one by one never reach their queues: round robin over 64 would
sustain 4 to 6 % more than it does.
"""
_TOKEN_CELLS, _TOKEN_CELL = {"random": 1, "round_robin": 6}, 8
"""Replicas of a language model that are simulated in place of the whole fleet.

Requests stay for seconds, and a few replicas with many requests each reach their queues, where many replicas would
finish before.
"""
_TOKEN_SEEDS, _MIN_RESIDENCES = SEEDS[:2], 40
"""Minimum length of a simulation of token services, in residence times of a full batch.

Shorter ones use fewer seeds of more requests: a queue that grows without end looks acceptable while it has just begun.
"""
_POOLING_SIGMA, _MAX_POOLING_SIGMA = 0.2, 0.04
"""Sigma of the effect of a router's pooling, as a share of its logarithm, and its maximum.

Load points of one replica do not show this effect, and a pooled fleet runs its replicas fuller than they were measured.
"""
_PRECISION = 0.003
_FULL_LOAD = 0.995
_MAX_STEP = 0.5
_ROUGH_PRECISION = 0.01
_SLOPE_STEP = 0.01
_NO_MODEL_SIGMA = 1.0
_SAME_LENGTHS = 0.02
_MIN_SIGMA = 0.01
_NO_POOLING = 0.98
"""Rate per replica of a fleet over that of a single replica, below which load points are no lower bound.

Such a fleet has a router that spreads batches thin.
"""
_BURST_PRECISION = 0.01
_BURST_CELL = 256
"""Replicas that are simulated under bursts. A burst of a few requests per replica needs them all."""
_MIN_FACTOR = 1e-3
_SIGMA_STEP, _MAX_TRACE_SIGMA = 1.1, 0.5
_BURST_LOADS = (0.5, 0.7, 0.85, 0.95, 1.0, 1.03, 1.06)


class FleetShape(msgspec.Struct, frozen=True):
    """Shape of a fleet apart from its size: its routing and its requests.

    `lengths` are pairs of input and output tokens, equally likely; `classes` have their own limits.
    """

    router: Router
    goals: Goals
    classes: tuple[SimulatedClass, ...] = ()
    class_goals: tuple[Goals, ...] = ()
    """Goals of each class, in the order of `classes`; the fleet meets all of them."""
    lengths: tuple[tuple[int, int], ...] = ((1, 1),)
    bursts: Bursts | None = None
    """Bursts in the arrivals of the peak; `None` for Poisson arrivals."""

    @property
    def mean_work(self) -> float:
        """Mean work of a request relative to a measured request."""
        shares = sum(request_class.share for request_class in self.classes)
        return (
            sum(request_class.share * request_class.work for request_class in self.classes) / shares if shares else 1.0
        )

    @property
    def mean_lengths(self) -> tuple[float, float]:
        return _mean_lengths(self.lengths)


@lru_cache(64)
def _mean_lengths(lengths: tuple[tuple[int, int], ...]) -> tuple[float, float]:
    inputs, outputs = np.mean(np.array(lengths, dtype=float), axis=0)
    return float(inputs), float(outputs)


def build_fleet_shape(traffic: Traffic, goals: Goals, router: Router, peak: float | None = None) -> FleetShape:
    """Build the shape of a fleet for this traffic.

    Traffic classes without limits of their own have the plan's. `peak` is the rate per second at the fleet's peak;
    without it, the highest rate of the next 12 months without campaigns.
    """
    class_goals = tuple(
        build_goals([parse_objective(text) for text in traffic_class.slo]) if traffic_class.slo else goals
        for traffic_class in traffic.classes
    )
    classes = tuple(
        SimulatedClass(
            traffic_class.share,
            own_goals.limit_s("latency"),
            traffic_class.work,
            own_goals.limit_s("first_token"),
            own_goals.limit_s("per_token"),
        )
        for traffic_class, own_goals in zip(traffic.classes, class_goals, strict=True)
    )
    lengths = tuple((max(1, round(pair.input)), max(1, round(pair.output))) for pair in _by_share(traffic.tokens))
    if traffic.token_sample is not None:
        lengths = tuple((inputs, outputs) for inputs, outputs in unpack_pairs(traffic.token_sample).tolist())
    bursts = None
    if is_bursty(traffic.rows, traffic.dispersion):
        dispersion = traffic.dispersion if traffic.rows is None else Dispersion()
        bursts = Bursts(traffic.rows, dispersion, peak_per_s(traffic) if peak is None else peak)
    recorded = None if traffic.rows is None else unpack_token_pairs(traffic.rows)
    if recorded is not None:
        lengths = tuple((inputs, outputs) for inputs, outputs in recorded.tolist())
    return FleetShape(router, goals, classes, class_goals, lengths or ((1, 1),), bursts)


def _by_share(tokens: Sequence[TokenLengths]) -> list[TokenLengths]:
    """Return each pair as often as its share of a hundred."""
    return [pair for pair in tokens for _ in range(max(1, round(100 * pair.share)))] if len(tokens) > 1 else [*tokens]


class ReplicaRate(msgspec.Struct, frozen=True):
    """Request rate of one replica within the SLO: median and sigma of a log-normal; 0 where no rate meets the SLO.

    `unseen_per_s` is the rate of the service model beyond the highest observed rate, `None` where that is not the
    limit. `model_sigma` is the sigma before load points at the SLO narrowed it. `capacity_per_s` is the service model's
    throughput when always busy, at the 90th percentile of its uncertainty.
    """

    per_s: float
    sigma: float
    extrapolated_per_s: float | None = None
    model_sigma: float | None = None
    max_throughput_per_s: float = math.inf


NO_EVIDENCE = Evidence()


class _ModelRates(msgspec.Struct, frozen=True):
    """Rates that follow from a service model alone.

    The rate of each replica in the fleet, that of a single replica under Poisson arrivals, as load points are measured,
    and the sigmas of both and of the extrapolated speed.
    """

    per_s: float
    alone_per_s: float
    sigma: float
    speed_sigma: float


def estimate_rate(
    fit: ServiceFit, shape: FleetShape, replicas: int, speed: float, speed_sigma: float,
    evidence: Evidence = NO_EVIDENCE,
) -> ReplicaRate:  # fmt: skip
    best, goals, lengths = fit.services[0], shape.goals, shape.mean_lengths
    service = speed_up(best.service, speed)
    per_s = estimate_rate_within_slo(speed_up(service, 1 / shape.mean_work), goals, replicas, shape.router, lengths)
    sigma = math.hypot(speed_sigma, _throughput_sigma(best, shape), RUN_TO_RUN_SIGMA)
    alone_per_s = estimate_rate_within_slo(service, goals, 1, "random", lengths) if evidence.tested_rates else per_s
    model = _ModelRates(per_s, alone_per_s, sigma, speed_sigma)
    factor = 1.0 if shape.bursts is None else _fluid_factor(shape, shape.bursts)
    rate = _correct_by_load_points(model, evidence.scale(speed), fit.highest_per_s * speed, shape, factor)
    return msgspec.structs.replace(rate, max_throughput_per_s=_upper_throughput_per_s(best, shape, speed, speed_sigma))


def _correct_by_load_points(
    model: _ModelRates, evidence: Evidence, most_seen_per_s: float, shape: FleetShape, burst_factor: float
) -> ReplicaRate:
    """Return the model's rate corrected by the load points at the SLO and limited by the highest observed rate.

    A single replica is compared with the load points directly. A fleet pools its replicas' queues, so its rate is the
    model's times the same correction, and not below what one replica was observed to sustain.
    """
    if not evidence.tested_rates:
        return _limit_to_observed(model.per_s, most_seen_per_s, burst_factor, model.sigma)
    own_sigma = math.sqrt(max(model.sigma**2 - model.speed_sigma**2 - RUN_TO_RUN_SIGMA**2, _MIN_SIGMA**2))
    posterior, (low, high) = evidence.compute_posterior(model.alone_per_s, own_sigma), evidence.interval
    pooling = model.per_s / model.alone_per_s if model.alone_per_s > 0 and model.per_s > 0 else 1.0
    pooled_per_s = posterior.p50 * pooling
    is_bound_below = pooling > _NO_POOLING and not shape.classes
    floor_per_s = evidence.min_rate_per_s if is_bound_below else 0.0
    least_per_s = max(low, min(floor_per_s * math.exp(Z80 * RUN_TO_RUN_SIGMA), high)) if is_bound_below else 0.0
    per_s = max(pooled_per_s, least_per_s)
    if per_s <= 0:
        return ReplicaRate(0.0, 0.0)
    seen_per_s = min(per_s, most_seen_per_s)
    sigma_of_pooling = math.hypot(min(_POOLING_SIGMA * abs(math.log(pooling)), _MAX_POOLING_SIGMA), RUN_TO_RUN_SIGMA)
    to_low, to_high = (
        math.hypot(math.log(posterior.p50 / end) / Z80, sigma_of_pooling) for end in (posterior.p10, posterior.p90)
    )
    low_per_s, high_per_s = (pooled_per_s * math.exp(Z80 * sigma) for sigma in (-to_low, to_high))
    below = max(0.0, math.log(seen_per_s / min(seen_per_s, max(low_per_s, floor_per_s)))) / Z80
    sigma = math.hypot(max(below, RUN_TO_RUN_SIGMA), model.speed_sigma)
    unseen_per_s = None
    if per_s > most_seen_per_s:
        unseen_per_s = max(per_s, high_per_s * math.exp(-Z80 * sigma)) * burst_factor
    return ReplicaRate(seen_per_s * burst_factor, sigma, unseen_per_s, model.sigma)


def _limit_to_observed(per_s: float, most_seen_per_s: float, burst_factor: float, sigma: float) -> ReplicaRate:
    if per_s <= most_seen_per_s:
        return ReplicaRate(per_s * burst_factor, sigma)
    return ReplicaRate(most_seen_per_s * burst_factor, sigma, per_s * burst_factor)


class _SingleReplica(msgspec.Struct, frozen=True):
    """Prediction of a service model for a single replica under Poisson arrivals, as load points are measured.

    Its rate within the SLO, the load points as if measured for long, and the highest observed rate, all for the
    traffic's own requests.
    """

    per_s: float
    evidence: Evidence
    most_seen_per_s: float


def _predict_single_replica(
    service: ServiceModel, shape: FleetShape, middle: float, most_seen_per_s: float, evidence: Evidence,
    fit_spread: float,
) -> _SingleReplica:  # fmt: skip
    """Compute the prediction for a single replica.

    All requests are of one class here, so `middle`, the rate of the shape's own replicas, is the result where the shape
    already is that of a single replica.
    """
    are_other = (
        isinstance(service, TokenService) and evidence.lengths and _differ_in_mean(evidence.lengths, shape.lengths)
    )
    lengths = evidence.lengths if are_other else shape.lengths
    other_work = compute_max_throughput_per_s(service, shape.lengths) / compute_max_throughput_per_s(service, lengths)
    if 1.0 < other_work < 1.0 + _SAME_LENGTHS:  # two samples of the same lengths differ by as much
        other_work = 1.0
    if not evidence.tested_rates:
        return _SingleReplica(middle, evidence, most_seen_per_s * other_work)
    measured = FleetShape("random", shape.goals, lengths=lengths)
    per_s = middle
    if measured != msgspec.structs.replace(shape, bursts=None):
        guess = estimate_rate_within_slo(service, shape.goals, 1, "random", measured.mean_lengths)
        per_s = _steady_rate(service, measured, 1, guess)
    if per_s > 0 and evidence.stage_requests is not None:
        effect = compute_stage_effect(service, shape.goals, lengths, evidence.stage_requests, per_s)
        evidence = evidence.to_steady_state(effect, per_s, fit_spread)
    return _SingleReplica(per_s, evidence, most_seen_per_s * other_work)


def _differ_in_mean(lengths: tuple[tuple[int, int], ...], other_lengths: tuple[tuple[int, int], ...]) -> bool:
    """Return whether the means differ; those of one sample are rounded when it is scaled."""
    pairs = zip(_mean_lengths(lengths), _mean_lengths(other_lengths), strict=True)
    return any(abs(math.log(mean / other_mean)) > _SAME_LENGTHS for mean, other_mean in pairs)


def _throughput_sigma(fitted: FittedService, shape: FleetShape) -> float:
    """Return one sigma of the logarithm of a replica's maximum throughput, from its slopes in the parameters."""
    if not fitted.parameters:
        return 0.0
    logs, slopes = _log_parameters(fitted), []
    for step_logs in np.eye(logs.size) * _SLOPE_STEP:
        rates = (
            compute_max_throughput_per_s(
                with_parameters(fitted.service, fitted.parameters, logs + sign * step_logs), shape.lengths
            )
            for sign in (-1, 1)
        )
        slow_per_s, fast_per_s = rates
        slopes.append(math.log(fast_per_s / slow_per_s) / (2 * _SLOPE_STEP))
    return math.sqrt(max(0.0, float(np.array(slopes) @ np.array(fitted.log_covariance) @ np.array(slopes))))


def _upper_throughput_per_s(fitted: FittedService, shape: FleetShape, speed: float, speed_sigma: float) -> float:
    sigma = math.hypot(_throughput_sigma(fitted, shape), speed_sigma)
    return (
        compute_max_throughput_per_s(speed_up(fitted.service, speed), shape.lengths)
        / shape.mean_work
        * math.exp(Z80 * sigma)
    )


def simulate_rate(
    fit: ServiceFit, shape: FleetShape, replicas: int, speed: float, speed_sigma: float,
    evidence: Evidence = NO_EVIDENCE,
) -> ReplicaRate:  # fmt: skip
    """Simulate the rate of one replica.

    `speed` is relative to the measured replica; `speed_sigma` is the sigma of its logarithm.
    """
    simulated = _simulated_model(fit.services[0], shape, replicas, speed, speed_sigma)
    middle, evidence = simulated.per_s, evidence.scale(speed)
    if middle <= 0:
        unknown = _ModelRates(0.0, 0.0, _NO_MODEL_SIGMA, speed_sigma)
        return (
            _correct_by_load_points(unknown, evidence, fit.highest_per_s * speed, shape, 1.0)
            if evidence.tested_rates
            else simulated
        )
    variance_of_others = sum(
        fitted.probability
        * math.log(_rough_rate(speed_up(fitted.service, speed), shape, replicas, middle) / middle) ** 2
        for fitted in fit.services[1:]
    )
    most_seen_per_s = fit.highest_per_s * speed
    service, sigma = (
        speed_up(fit.services[0].service, speed),
        math.hypot(simulated.sigma, math.sqrt(variance_of_others), RUN_TO_RUN_SIGMA),
    )
    single = _predict_single_replica(service, shape, middle, most_seen_per_s, evidence, fit.spread)
    effect = _burst_effect(service, shape, replicas, (middle, single.most_seen_per_s), True)
    model = _ModelRates(middle, single.per_s, sigma, speed_sigma)
    rate = effect.widen(_correct_by_load_points(model, single.evidence, single.most_seen_per_s, shape, effect.factor))
    ceiling_per_s = max(_upper_throughput_per_s(fitted, shape, speed, speed_sigma) for fitted in fit.services)
    return msgspec.structs.replace(rate, max_throughput_per_s=ceiling_per_s)


def simulate_median_rate(
    fit: ServiceFit, shape: FleetShape, replicas: int, speed: float, similar_rate: ReplicaRate,
    evidence: Evidence = NO_EVIDENCE, speed_sigma: float = 0.0, steady_replicas: int | None = None,
) -> ReplicaRate:  # fmt: skip
    """Simulate the median of the most likely service model; the sigma is taken from another number of replicas.

    `steady_replicas` is a nearby number of replicas at which the steady rate is taken: only bursts need the exact
    number.
    """
    service, most_seen_per_s = speed_up(fit.services[0].service, speed), fit.highest_per_s * speed
    middle = _steady_rate(service, shape, steady_replicas or replicas, similar_rate.per_s)
    single = _predict_single_replica(service, shape, middle, most_seen_per_s, evidence.scale(speed), fit.spread)
    effect = _burst_effect(service, shape, replicas, (middle, single.most_seen_per_s), False)
    sigma = similar_rate.sigma if similar_rate.model_sigma is None else similar_rate.model_sigma
    model = _ModelRates(middle, single.per_s, sigma, speed_sigma)
    rate = _correct_by_load_points(model, single.evidence, single.most_seen_per_s, shape, effect.factor)
    rate = msgspec.structs.replace(rate, max_throughput_per_s=similar_rate.max_throughput_per_s)
    return rate if shape.bursts is None else msgspec.structs.replace(rate, sigma=max(rate.sigma, similar_rate.sigma))


@lru_cache(64)
def _steady_rate(service: ServiceModel, shape: FleetShape, replicas: int, near_per_s: float) -> float:
    return find_highest_rate(service, shape, replicas, near_per_s)[0]


class BurstEffect(msgspec.Struct, frozen=True):
    """Effect of bursts on a replica's steady rate.

    It is a factor, with a sigma where a short trace leaves it uncertain.
    """

    factor: float
    sigma: float = 0.0

    def widen(self, rate: ReplicaRate) -> ReplicaRate:
        return msgspec.structs.replace(rate, sigma=math.hypot(rate.sigma, self.sigma))


def _burst_effect(
    service: ServiceModel, shape: FleetShape, replicas: int, rates_per_s: tuple[float, float], with_sigma: bool
) -> BurstEffect:
    """Return the effect of bursts.

    `rates_per_s` are a replica's steady rate within the SLO and its highest observed rate.
    """
    bursts, (middle, observed) = shape.bursts, rates_per_s
    if bursts is None or min(middle, observed) <= 0:
        return BurstEffect(1.0)
    arrivals = draw_arrivals(bursts, min(replicas, _BURST_CELL) / replicas)
    if arrivals is not None:
        return replay_bursts(service, shape, replicas, middle, arrivals, with_sigma)
    if bursts.rows is None:
        return BurstEffect(_burst_factor(service, shape, bursts, replicas, min(middle, observed)))
    return BurstEffect(_fluid_factor(shape, bursts))


def _fluid_factor(shape: FleetShape, bursts: Bursts) -> float:
    limit_s = min((goal.limit_s for goal in shape.goals.time_goals), default=2.0)
    return bursts.peak_per_s / fluid_rate_per_s(bursts, float(f"{limit_s / 2:.2g}"), _allowed_late(shape))


def _allowed_late(shape: FleetShape) -> float:
    quantiles = [goal.quantile for goal in shape.goals.time_goals if goal.quantile is not None]
    return min([1 - max(quantiles, default=0.5), *([] if shape.goals.share is None else [1 - shape.goals.share])])


def replay_bursts(
    service: ServiceModel,
    shape: FleetShape,
    replicas: int,
    steady_per_s: float,
    arrivals: tuple[Arrivals, ...],
    with_sigma: bool,
) -> BurstEffect:
    """Replay the peak's requests faster or slower until this many replicas just meet the SLO."""
    bursts = shape.bursts
    assert bursts is not None
    design, steady = (
        build_design(service, shape, min(replicas, _BURST_CELL)),
        steady_per_s * replicas / bursts.peak_per_s,
    )
    if isinstance(service, TokenService):
        arrivals = arrivals[:1]

    def replay_at(faster_by: float) -> ReplayResult:
        compressed = [speed_up.compress(faster_by) for speed_up in arrivals]
        return replay(design, bursts.peak_per_s * faster_by, compressed, list_percentiles(shape), replicas)

    near = min(steady, max(MIN_LOAD * steady, steady * _fluid_factor(shape, bursts)))
    factor, _ = find_crossing(
        lambda speed_up: compute_margin(replay_at(speed_up).outcome, shape),
        (MIN_LOAD * steady, near, steady),
        _BURST_PRECISION,
    )
    if factor <= 0:
        return BurstEffect(_MIN_FACTOR)
    sigma = _short_trace_sigma(bursts.rows, replay_at, factor) if with_sigma and bursts.rows is not None else 0.0
    return BurstEffect(factor / steady, sigma)


def _short_trace_sigma(rows: TraceRows, replay_at: Callable[[float], ReplayResult], factor: float) -> float:
    """Return one sigma of the rate's logarithm where the peak hour is known only from a shorter trace.

    It is the unevenness of late requests over the parts of the trace, divided by how fast their number grows with the
    rate.
    """
    unseen = 1.0 - rows.window_s / WINDOW_S
    if unseen <= 0.01:
        return 0.0
    late_per_block = np.array(replay_at(factor).late_per_block, dtype=float)
    additional = sum(replay_at(factor * _SIGMA_STEP).late_per_block) - float(late_per_block.sum())
    if additional <= 0:
        return _MAX_TRACE_SIGMA if late_per_block.any() else 0.0
    deviation = math.sqrt(late_per_block.size) * float(late_per_block.std(ddof=1))
    return min(_MAX_TRACE_SIGMA, deviation / additional * math.log(_SIGMA_STEP) * math.sqrt(unseen))


def _burst_factor(service: ServiceModel, shape: FleetShape, bursts: Bursts, replicas: int, per_s: float) -> float:
    """Return the factor of bursts with a stated index of dispersion.

    The index is that of the traffic at its peak: its rate varies by the same share whatever the capacity of the
    replicas.
    """
    design, max_per_s = (
        build_design(service, shape, replicas),
        compute_max_throughput_per_s(service, shape.lengths) * _FULL_LOAD,
    )
    enough = count_requests(replicas, *_ROUGH_REQUESTS)
    loads = [load for load in _BURST_LOADS if load * per_s < max_per_s] + [max_per_s / per_s]
    good = [simulate_fleet(design, shape, load * per_s, enough).overall.good_share or 0.0 for load in loads]
    squared_cv = (bursts.dispersion.index - 1) / (bursts.peak_per_s * bursts.dispersion.window_s)
    return burst_factor(loads, [1 - share for share in good], _allowed_late(shape), 1 / squared_cv)


def _simulated_model(
    fitted: FittedService, shape: FleetShape, replicas: int, speed: float, speed_sigma: float
) -> ReplicaRate:
    service = speed_up(fitted.service, speed)
    guess = estimate_rate_within_slo(
        speed_up(service, 1 / shape.mean_work), shape.goals, replicas, shape.router, shape.mean_lengths
    )
    middle, sigma = find_highest_rate(service, shape, replicas, guess)
    if middle <= 0:
        return ReplicaRate(0.0, 0.0)
    squares = sigma**2
    for ends, scale in _uncertainty_ends(fitted, speed, speed_sigma):
        slow, fast = (_rough_rate(end, shape, replicas, middle) for end in ends)
        squares += (math.log(fast / slow) / 2 * scale) ** 2
    return ReplicaRate(middle, math.sqrt(squares))


def _rough_rate(service: ServiceModel, shape: FleetShape, replicas: int, near_per_s: float) -> float:
    """Return a rough rate, at least that of hardly any load.

    A model that misses the SLO even at that load means a large uncertainty, not an infinite one.
    """
    per_s, _ = find_highest_rate(service, shape, replicas, near_per_s, _ROUGH_REQUESTS, _ROUGH_PRECISION)
    return max(per_s, MIN_LOAD * compute_max_throughput_per_s(service, shape.lengths))


def _uncertainty_ends(
    fitted: FittedService, speed: float, speed_sigma: float
) -> Iterator[tuple[tuple[ServiceModel, ServiceModel], float]]:
    """Yield pairs of service models along each direction of uncertainty, and the number of steps per sigma.

    The directions are the principal ones of the logarithms of the parameters, and the speed. A step is one sigma where
    that is not too far; the effect of a smaller step would disappear in the noise of a simulation.
    """
    if speed_sigma:
        step = min(speed_sigma, _MAX_STEP)
        yield (
            (speed_up(fitted.service, speed * math.exp(-step)), speed_up(fitted.service, speed * math.exp(step))),
            speed_sigma / step,
        )
    if not fitted.parameters:
        return
    logs = _log_parameters(fitted)
    sizes, directions = np.linalg.eigh(np.array(fitted.log_covariance))
    for size, direction in zip(sizes, directions.T, strict=True):
        sigma = math.sqrt(max(float(size), 1e-12))
        share = min(1.0, _MAX_STEP / sigma)
        step_logs = direction * sigma * share
        ends = [
            speed_up(with_parameters(fitted.service, fitted.parameters, logs + sign * step_logs), speed)
            for sign in (-1.0, 1.0)
        ]
        yield (ends[0], ends[1]), 1 / share


def _log_parameters(fitted: FittedService) -> Floats:
    return np.log([getattr(fitted.service, name) for name in fitted.parameters])


def find_highest_rate(
    service: ServiceModel, shape: FleetShape, replicas: int, start_per_s: float, requests: tuple[int, int] = _REQUESTS,
    precision: float = _PRECISION,
) -> tuple[float, float]:  # fmt: skip
    """Return the highest rate per replica at which the fleet meets every goal, and its random error.

    The error is the sigma of the rate's logarithm.
    """
    max_per_s = compute_max_throughput_per_s(service, shape.lengths) * _FULL_LOAD
    design, enough = build_design(service, shape, replicas), count_requests(replicas, *requests)

    def missed_by(per_s: float) -> float:
        """Return the logarithm of the worst time over its limit, above 0 where a goal is missed."""
        return compute_margin(simulate_fleet(design, shape, per_s, enough), shape)

    near = min(max(start_per_s, MIN_LOAD * max_per_s), max_per_s)
    return find_crossing(missed_by, (MIN_LOAD * max_per_s, near, max_per_s), precision)


def build_design(service: ServiceModel, shape: FleetShape, replicas: int) -> FleetDesign:
    goals = shape.goals
    classes = shape.classes or (
        SimulatedClass(
            limit_s=goals.limit_s("latency"),
            first_token_limit_s=goals.limit_s("first_token"),
            per_token_limit_s=goals.limit_s("per_token"),
        ),
    )
    return FleetDesign((service,) * replicas, shape.router, classes, lengths=shape.lengths)


def count_requests(replicas: int, min_requests: int, per_replica: int) -> int:
    return max(min_requests, per_replica * min(replicas, CELL))


def simulate_fleet(design: FleetDesign, shape: FleetShape, per_replica_per_s: float, requests: int) -> SteadyOutcome:
    """Simulate a fleet under Poisson arrivals at this rate per replica."""
    replicas, service, cell = len(design.services), design.services[0], CELL
    seeds: tuple[int, ...] = SEEDS
    if isinstance(service, TokenService):
        cell = _TOKEN_CELLS.get(design.router, _TOKEN_CELL)
        if requests < _MIN_RESIDENCES * max_sequences_in_flight(service, shape.mean_lengths) * min(cell, replicas):
            seeds, requests = _TOKEN_SEEDS, requests * len(SEEDS) // len(_TOKEN_SEEDS)
    return simulate_steady(
        design, per_replica_per_s * replicas, requests, seeds, list_percentiles(shape), max_replicas=cell
    )


def simulate_traffic(
    service: ServiceModel, shape: FleetShape, replicas: int, per_s: float, requests: int
) -> SteadyOutcome:
    """Simulate the whole fleet at this rate of the traffic, with the traffic's bursts where they can be simulated."""
    bursts, cell = shape.bursts, min(replicas, _BURST_CELL)
    arrivals = None if bursts is None else draw_arrivals(bursts, cell / replicas * per_s / bursts.peak_per_s)
    if arrivals is None or not arrivals[0].at_s.size:
        return simulate_fleet(build_design(service, shape, replicas), shape, per_s / replicas, requests)
    return replay(build_design(service, shape, cell), per_s, arrivals[:1], list_percentiles(shape), replicas).outcome


def list_percentiles(shape: FleetShape) -> list[float]:
    """Return the percentiles that the SLO names, and those that are always shown."""
    goals_of_slo = {goal for goals in (shape.goals, *shape.class_goals) for goal in goals.time_goals}
    return sorted({100 * goal.quantile for goal in goals_of_slo if goal.quantile is not None} | {50, 95, 99})


def compute_margin(outcome: SteadyOutcome, shape: FleetShape) -> float:
    """Return the logarithm of the worst time over its limit; for a share, how far it misses its target."""
    if not shape.classes:
        return _margin(outcome, outcome.overall, shape.goals)
    pairs = zip(outcome.classes, shape.class_goals, strict=True)
    return max(_margin(outcome, class_outcome, goals) for class_outcome, goals in pairs)


def _margin(outcome: SteadyOutcome, part: ClassOutcome, goals: Goals) -> float:
    misses = [math.log(max(get_time_s(outcome, goal, part), 1e-9) / goal.limit_s) for goal in goals.time_goals]
    if goals.share is not None:
        misses.append(10 * (goals.share - (part.good_share or 0.0)))
    return max(misses, default=-1.0)


def get_time_s(outcome: SteadyOutcome, goal: Goal, class_outcome: ClassOutcome | None = None) -> float:
    """Return the time of the goal over all requests, or over those of one class."""
    class_outcome = class_outcome or outcome.overall
    times = {
        "latency": class_outcome.latency,
        "first_token": class_outcome.first_token,
        "per_token": class_outcome.per_token,
    }[goal.time]
    if times is None:
        return math.inf
    index = None if goal.quantile is None else outcome.percentiles.index(100 * goal.quantile)
    value = times.mean_s if index is None else times.percentiles_s[index]
    return math.inf if value is None else value
