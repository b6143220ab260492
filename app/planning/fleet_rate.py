"""What one replica of a fleet carries inside the SLO: by playing the fleet, or by formula for a preview.

The fit leaves each parameter a little unsure. The rate is searched for at the middle, and again a sigma to either side
along each principal direction of the doubt, under the same chances. The squares of all such sigmas, of the other laws
that explain the measurement, of the speed carried over from another machine, of the search and of what differs from one
run to the next sum to that of a log-normal.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import msgspec
import numpy as np

from app.analysis.columns import Floats
from app.analysis.objectives import parse_objective
from app.analysis.token_samples import pairs_of
from app.analysis.traces import WINDOW_S, token_pairs
from app.planning.bursts import Bursts, are_bursty, burst_factor, drawn_arrivals, fluid_rate_per_s
from app.planning.demand import peak_per_s
from app.planning.formulae import LEAST_LOAD, most_in_work, rate_inside
from app.planning.goals import Goal, Goals, goals_of
from app.planning.service_models.evidence import RUN_TO_RUN_SIGMA, Z80, Evidence
from app.planning.service_models.service_laws import moved
from app.planning.service_models.service_times import faster
from app.planning.service_models.stage_effect import crossing, stage_effect
from app.planning.simulation.design import FleetDesign, SimulatedClass, most_per_s
from app.planning.simulation.replaying import Arrivals, Replayed, replay
from app.planning.simulation.steady import CELL, SteadyOutcome, simulate_steady
from app.planning.simulation.tallying import ClassOutcome
from app.records.offers import Router
from app.records.service import FittedService, ServiceFit, ServiceModel, TokenService
from app.records.traffic import Dispersion, TokenLengths, TraceRows, Traffic

SEEDS = (1, 2, 3, 4, 5)
_REQUESTS, _DOUBT_REQUESTS = (20_000, 1_500), (8_000, 300)
"""A seed, and at least so many a replica, at the middle and at the ends of a doubt. With a few hundred each, replicas
that fill one by one never come to their queues: round robin over 64 would carry 4 to 6 % more than it does."""
_TOKEN_CELLS, _TOKEN_CELL = {"random": 1, "round_robin": 6}, 8
"""Replicas of a language model that are played for all: its requests stay for seconds, and a few replicas that get many
requests each come to their queues, where many would end before."""
_TOKEN_SEEDS, _MIN_RESIDENCES = SEEDS[:2], 40
"""Where a replica's plays are not as long as so many residence times of a full batch, there are fewer and longer ones:
a queue that grows without end looks acceptable while it has just begun."""
_POOLING_DOUBT, _MOST_POOLING_DOUBT = 0.2, 0.04
"""Sigma of what a router's pooling is worth, as a share of its logarithm, and at most: load points of one replica do
not show it, and a pooled fleet runs its replicas fuller than they were measured."""
_PRECISION = 0.003
_FULL = 0.995
_DOUBT_STEP = 0.5
_DOUBT_PRECISION = 0.01
_SLOPE_STEP = 0.01
_NO_MODEL_SIGMA = 1.0
_SAME_LENGTHS = 0.02
_LEAST_SIGMA = 0.01
_NO_POOLING = 0.98
"""A fleet whose replicas each sustain less than this share of what one does by itself has a router that spreads
batches thin; the load points are then no bound from below."""
_BURST_PRECISION = 0.01
_BURST_CELL = 256
"""Replicas that are simulated under bursts: a burst of a few requests for each replica needs them all."""
_LEAST_FACTOR = 1e-3
_SIGMA_STEP, _MOST_TRACE_SIGMA = 1.1, 0.5
_BURST_LOADS = (0.5, 0.7, 0.85, 0.95, 1.0, 1.03, 1.06)


class FleetShape(msgspec.Struct, frozen=True):
    """What a fleet looks like beside its size: how requests are spread over replicas, and what they are.

    `lengths` are pairs of input and output tokens, equally likely; `classes` have their own limits.
    """

    router: Router
    goals: Goals
    classes: tuple[SimulatedClass, ...] = ()
    class_goals: tuple[Goals, ...] = ()
    """One for each class, in their order; the fleet meets all of them."""
    lengths: tuple[tuple[int, int], ...] = ((1, 1),)
    bursts: Bursts | None = None
    """What the peak's arrivals are, where they are not Poisson's."""

    @property
    def mean_work(self) -> float:
        """Of a request, beside that of one that was measured."""
        shares = sum(one.share for one in self.classes)
        return sum(one.share * one.work for one in self.classes) / shares if shares else 1.0

    @property
    def mean_lengths(self) -> tuple[float, float]:
        return _mean_lengths(self.lengths)


@lru_cache(64)
def _mean_lengths(lengths: tuple[tuple[int, int], ...]) -> tuple[float, float]:
    inputs, outputs = np.mean(np.array(lengths, dtype=float), axis=0)
    return float(inputs), float(outputs)


def shape_of(traffic: Traffic, goals: Goals, router: Router, peak: float | None = None) -> FleetShape:
    """Classes of the traffic keep their own limits; those without have the plan's.

    `peak` is the rate per second at the fleet's peak; without it, the highest of the next 12 months but for campaigns.
    """
    of_classes = tuple(
        goals_of([parse_objective(text) for text in one.slo]) if one.slo else goals for one in traffic.classes
    )
    classes = tuple(
        SimulatedClass(
            one.share, own.limit_s("latency"), one.work, own.limit_s("first_token"), own.limit_s("per_token")
        )
        for one, own in zip(traffic.classes, of_classes, strict=True)
    )
    lengths = tuple((max(1, round(one.input)), max(1, round(one.output))) for one in _evenly(traffic.tokens))
    if traffic.token_sample is not None:
        lengths = tuple((inputs, outputs) for inputs, outputs in pairs_of(traffic.token_sample).tolist())
    bursts = None
    if are_bursty(traffic.rows, traffic.dispersion):
        dispersion = traffic.dispersion if traffic.rows is None else Dispersion()
        bursts = Bursts(traffic.rows, dispersion, peak_per_s(traffic) if peak is None else peak)
    recorded = None if traffic.rows is None else token_pairs(traffic.rows)
    if recorded is not None:
        lengths = tuple((inputs, outputs) for inputs, outputs in recorded.tolist())
    return FleetShape(router, goals, classes, of_classes, lengths or ((1, 1),), bursts)


def _evenly(tokens: Sequence[TokenLengths]) -> list[TokenLengths]:
    """As many of each as its share of a hundred."""
    return [one for one in tokens for _ in range(max(1, round(100 * one.share)))] if len(tokens) > 1 else [*tokens]


class ReplicaRate(msgspec.Struct, frozen=True):
    """Requests a second of one replica inside the SLO: median and sigma of a log-normal. 0 where none is.

    `unseen_per_s` is what the law would carry beyond the most that was seen; None where that is no bound.
    `model_sigma` is the sigma before load points at the SLO narrowed it. `ceiling_per_s` is what the law can do when it
    is always busy, at the 90th percentile of what is thought of it.
    """

    per_s: float
    sigma: float
    unseen_per_s: float | None = None
    model_sigma: float | None = None
    ceiling_per_s: float = math.inf


NO_EVIDENCE = Evidence()


class _Model(msgspec.Struct, frozen=True):
    """What a service model alone gives: the rate of each replica in the fleet, that of one replica by itself under
    Poisson arrivals, as load points are measured, and the sigmas of both and of the speed carried over.
    """

    per_s: float
    alone_per_s: float
    sigma: float
    speed_sigma: float


def formula_rate(
    fit: ServiceFit, shape: FleetShape, replicas: int, speed: float, speed_sigma: float,
    evidence: Evidence = NO_EVIDENCE,
) -> ReplicaRate:  # fmt: skip
    best, goals, lengths = fit.laws[0], shape.goals, shape.mean_lengths
    service = faster(best.service, speed)
    per_s = rate_inside(faster(service, 1 / shape.mean_work), goals, replicas, shape.router, lengths)
    sigma = math.hypot(speed_sigma, _doubt_of_most(best, shape), RUN_TO_RUN_SIGMA)
    alone_per_s = rate_inside(service, goals, 1, "random", lengths) if evidence.tried else per_s
    model = _Model(per_s, alone_per_s, sigma, speed_sigma)
    factor = 1.0 if shape.bursts is None else _fluid_factor(shape, shape.bursts)
    rate = _as_measured(model, evidence.scaled(speed), fit.highest_per_s * speed, shape, factor)
    return msgspec.structs.replace(rate, ceiling_per_s=_ceiling_per_s(best, shape, speed, speed_sigma))


def _as_measured(
    model: _Model, evidence: Evidence, most_seen_per_s: float, shape: FleetShape, burst_factor: float
) -> ReplicaRate:
    """The model's rate, held to the load points: those at the SLO, and the most that was answered.

    One replica by itself is held to the load points directly. A fleet pools its replicas' queues, so its rate is the
    model's times the same correction, and not below what one replica was seen to do.
    """
    if not evidence.tried:
        return _as_seen(model.per_s, most_seen_per_s, burst_factor, model.sigma)
    own_sigma = math.sqrt(max(model.sigma**2 - model.speed_sigma**2 - RUN_TO_RUN_SIGMA**2, _LEAST_SIGMA**2))
    alone, (low, high) = evidence.belief(model.alone_per_s, own_sigma), evidence.interval
    pooling = model.per_s / model.alone_per_s if model.alone_per_s > 0 and model.per_s > 0 else 1.0
    pooled_per_s = alone.p50 * pooling
    is_bound_below = pooling > _NO_POOLING and not shape.classes
    floor_per_s = evidence.floor_per_s if is_bound_below else 0.0
    least_per_s = max(low, min(floor_per_s * math.exp(Z80 * RUN_TO_RUN_SIGMA), high)) if is_bound_below else 0.0
    per_s = max(pooled_per_s, least_per_s)
    if per_s <= 0:
        return ReplicaRate(0.0, 0.0)
    seen_per_s = min(per_s, most_seen_per_s)
    doubt = math.hypot(min(_POOLING_DOUBT * abs(math.log(pooling)), _MOST_POOLING_DOUBT), RUN_TO_RUN_SIGMA)
    to_low, to_high = (math.hypot(math.log(alone.p50 / end) / Z80, doubt) for end in (alone.p10, alone.p90))
    low_per_s, high_per_s = (pooled_per_s * math.exp(Z80 * sigma) for sigma in (-to_low, to_high))
    below = max(0.0, math.log(seen_per_s / min(seen_per_s, max(low_per_s, floor_per_s)))) / Z80
    sigma = math.hypot(max(below, RUN_TO_RUN_SIGMA), model.speed_sigma)
    unseen_per_s = None
    if per_s > most_seen_per_s:
        unseen_per_s = max(per_s, high_per_s * math.exp(-Z80 * sigma)) * burst_factor
    return ReplicaRate(seen_per_s * burst_factor, sigma, unseen_per_s, model.sigma)


def _as_seen(per_s: float, most_seen_per_s: float, burst_factor: float, sigma: float) -> ReplicaRate:
    if per_s <= most_seen_per_s:
        return ReplicaRate(per_s * burst_factor, sigma)
    return ReplicaRate(most_seen_per_s * burst_factor, sigma, per_s * burst_factor)


class _Alone(msgspec.Struct, frozen=True):
    """What a service model says of one replica by itself under Poisson arrivals, as load points are measured: its rate
    inside the SLO, the load points as if measured for long, and the most of it that was seen, all of the traffic's own
    requests."""

    per_s: float
    evidence: Evidence
    most_seen_per_s: float


def _alone(
    service: ServiceModel, shape: FleetShape, middle: float, most_seen_per_s: float, evidence: Evidence,
    fit_spread: float,
) -> _Alone:  # fmt: skip
    """Every request is alike here, so `middle`, that of the shape's own replicas, is the rate where they are too."""
    are_other = isinstance(service, TokenService) and evidence.lengths and _differ(evidence.lengths, shape.lengths)
    lengths = evidence.lengths if are_other else shape.lengths
    other_work = most_per_s(service, shape.lengths) / most_per_s(service, lengths)
    if 1.0 < other_work < 1.0 + _SAME_LENGTHS:  # as much as one sample of the same lengths differs from another
        other_work = 1.0
    if not evidence.tried:
        return _Alone(middle, evidence, most_seen_per_s * other_work)
    measured = FleetShape("random", shape.goals, lengths=lengths)
    per_s = middle
    if measured != msgspec.structs.replace(shape, bursts=None):
        guess = rate_inside(service, shape.goals, 1, "random", measured.mean_lengths)
        per_s = _steady_rate(service, measured, 1, guess)
    if per_s > 0 and evidence.stage_requests is not None:
        effect = stage_effect(service, shape.goals, lengths, evidence.stage_requests, per_s)
        evidence = evidence.of_steady(effect, per_s, fit_spread)
    return _Alone(per_s, evidence, most_seen_per_s * other_work)


def _differ(lengths: tuple[tuple[int, int], ...], others: tuple[tuple[int, int], ...]) -> bool:
    """Whether the means are not the same: those of one sample are rounded when it is scaled."""
    pairs = zip(_mean_lengths(lengths), _mean_lengths(others), strict=True)
    return any(abs(math.log(one / other)) > _SAME_LENGTHS for one, other in pairs)


def _doubt_of_most(law: FittedService, shape: FleetShape) -> float:
    """One sigma of the logarithm of the most that a replica answers, by the slopes of that."""
    if not law.parameters:
        return 0.0
    logs, slopes = _logs_of(law), []
    for way in np.eye(logs.size) * _SLOPE_STEP:
        ends = (most_per_s(moved(law.service, law.parameters, logs + sign * way), shape.lengths) for sign in (-1, 1))
        slow, fast = ends
        slopes.append(math.log(fast / slow) / (2 * _SLOPE_STEP))
    return math.sqrt(max(0.0, float(np.array(slopes) @ np.array(law.log_covariance) @ np.array(slopes))))


def _ceiling_per_s(law: FittedService, shape: FleetShape, speed: float, speed_sigma: float) -> float:
    doubt = math.hypot(_doubt_of_most(law, shape), speed_sigma)
    return most_per_s(faster(law.service, speed), shape.lengths) / shape.mean_work * math.exp(Z80 * doubt)


def simulated_rate(
    fit: ServiceFit, shape: FleetShape, replicas: int, speed: float, speed_sigma: float,
    evidence: Evidence = NO_EVIDENCE,
) -> ReplicaRate:  # fmt: skip
    """`speed` is of the measured replica's; `speed_sigma` that of its logarithm."""
    played = _played(fit.laws[0], shape, replicas, speed, speed_sigma)
    middle, evidence = played.per_s, evidence.scaled(speed)
    if middle <= 0:
        without = _Model(0.0, 0.0, _NO_MODEL_SIGMA, speed_sigma)
        return _as_measured(without, evidence, fit.highest_per_s * speed, shape, 1.0) if evidence.tried else played
    others = sum(
        law.chance * math.log(_rough_rate(faster(law.service, speed), shape, replicas, middle) / middle) ** 2
        for law in fit.laws[1:]
    )
    most_seen_per_s = fit.highest_per_s * speed
    service, sigma = faster(fit.laws[0].service, speed), math.hypot(played.sigma, math.sqrt(others), RUN_TO_RUN_SIGMA)
    alone = _alone(service, shape, middle, most_seen_per_s, evidence, fit.spread)
    effect = _burst_effect(service, shape, replicas, (middle, alone.most_seen_per_s), True)
    model = _Model(middle, alone.per_s, sigma, speed_sigma)
    rate = effect.widened(_as_measured(model, alone.evidence, alone.most_seen_per_s, shape, effect.factor))
    ceiling_per_s = max(_ceiling_per_s(law, shape, speed, speed_sigma) for law in fit.laws)
    return msgspec.structs.replace(rate, ceiling_per_s=ceiling_per_s)


def middle_rate(
    fit: ServiceFit, shape: FleetShape, replicas: int, speed: float, near: ReplicaRate,
    evidence: Evidence = NO_EVIDENCE, speed_sigma: float = 0.0, steady_replicas: int | None = None,
) -> ReplicaRate:  # fmt: skip
    """The median anew, of the likeliest law; the doubt is that of another number of replicas.

    `steady_replicas` is a nearby number at which the steady rate is taken: only bursts need the very number.
    """
    service, most_seen_per_s = faster(fit.laws[0].service, speed), fit.highest_per_s * speed
    middle = _steady_rate(service, shape, steady_replicas or replicas, near.per_s)
    alone = _alone(service, shape, middle, most_seen_per_s, evidence.scaled(speed), fit.spread)
    effect = _burst_effect(service, shape, replicas, (middle, alone.most_seen_per_s), False)
    sigma = near.sigma if near.model_sigma is None else near.model_sigma
    model = _Model(middle, alone.per_s, sigma, speed_sigma)
    rate = _as_measured(model, alone.evidence, alone.most_seen_per_s, shape, effect.factor)
    rate = msgspec.structs.replace(rate, ceiling_per_s=near.ceiling_per_s)
    return rate if shape.bursts is None else msgspec.structs.replace(rate, sigma=max(rate.sigma, near.sigma))


@lru_cache(64)
def _steady_rate(service: ServiceModel, shape: FleetShape, replicas: int, near_per_s: float) -> float:
    return highest_rate(service, shape, replicas, near_per_s)[0]


class BurstEffect(msgspec.Struct, frozen=True):
    """`factor` is what bursts leave of a replica's steady rate; `sigma` is what a short trace leaves unknown of it."""

    factor: float
    sigma: float = 0.0

    def widened(self, rate: ReplicaRate) -> ReplicaRate:
        return msgspec.structs.replace(rate, sigma=math.hypot(rate.sigma, self.sigma))


def _burst_effect(
    service: ServiceModel, shape: FleetShape, replicas: int, rates_per_s: tuple[float, float], with_sigma: bool
) -> BurstEffect:
    """`rates_per_s` of a replica are the steady one inside the SLO, and the most that was measured."""
    bursts, (middle, seen) = shape.bursts, rates_per_s
    if bursts is None or min(middle, seen) <= 0:
        return BurstEffect(1.0)
    arrivals = drawn_arrivals(bursts, min(replicas, _BURST_CELL) / replicas)
    if arrivals is not None:
        return replayed_effect(service, shape, replicas, middle, arrivals, with_sigma)
    if bursts.rows is None:
        return BurstEffect(_burst_factor(service, shape, bursts, replicas, min(middle, seen)))
    return BurstEffect(_fluid_factor(shape, bursts))


def _fluid_factor(shape: FleetShape, bursts: Bursts) -> float:
    limit_s = min((goal.limit_s for goal in shape.goals.times), default=2.0)
    return bursts.peak_per_s / fluid_rate_per_s(bursts, float(f"{limit_s / 2:.2g}"), _allowed_late(shape))


def _allowed_late(shape: FleetShape) -> float:
    quantiles = [goal.quantile for goal in shape.goals.times if goal.quantile is not None]
    return min([1 - max(quantiles, default=0.5), *([] if shape.goals.share is None else [1 - shape.goals.share])])


def replayed_effect(
    service: ServiceModel,
    shape: FleetShape,
    replicas: int,
    middle: float,
    arrivals: tuple[Arrivals, ...],
    with_sigma: bool,
) -> BurstEffect:
    """The peak's requests are replayed faster or slower until the SLO is just met by so many replicas."""
    bursts = shape.bursts
    assert bursts is not None
    design, steady = design_of(service, shape, min(replicas, _BURST_CELL)), middle * replicas / bursts.peak_per_s
    if isinstance(service, TokenService):
        arrivals = arrivals[:1]

    def at(faster_by: float) -> Replayed:
        compressed = [one.compressed(faster_by) for one in arrivals]
        return replay(design, bursts.peak_per_s * faster_by, compressed, quantiles_of(shape), replicas)

    near = min(steady, max(LEAST_LOAD * steady, steady * _fluid_factor(shape, bursts)))
    found, _ = crossing(
        lambda one: margin(at(one).outcome, shape), (LEAST_LOAD * steady, near, steady), _BURST_PRECISION
    )
    if found <= 0:
        return BurstEffect(_LEAST_FACTOR)
    sigma = _short_trace_sigma(bursts.rows, at, found) if with_sigma and bursts.rows is not None else 0.0
    return BurstEffect(found / steady, sigma)


def _short_trace_sigma(rows: TraceRows, at: Callable[[float], Replayed], found: float) -> float:
    """One sigma of the rate's logarithm, where the peak hour is known from a shorter trace.

    By how unevenly late requests fall on the parts of the trace, over how fast their number grows with the rate.
    """
    unseen = 1.0 - rows.window_s / WINDOW_S
    if unseen <= 0.01:
        return 0.0
    late = np.array(at(found).late_per_block, dtype=float)
    more = sum(at(found * _SIGMA_STEP).late_per_block) - float(late.sum())
    if more <= 0:
        return _MOST_TRACE_SIGMA if late.any() else 0.0
    deviation = math.sqrt(late.size) * float(late.std(ddof=1))
    return min(_MOST_TRACE_SIGMA, deviation / more * math.log(_SIGMA_STEP) * math.sqrt(unseen))


def _burst_factor(service: ServiceModel, shape: FleetShape, bursts: Bursts, replicas: int, per_s: float) -> float:
    """The index is that of the traffic at its peak: its rate varies by the same share whatever the replicas carry."""
    design, most = design_of(service, shape, replicas), most_per_s(service, shape.lengths) * _FULL
    enough = requests_for(replicas, *_DOUBT_REQUESTS)
    loads = [load for load in _BURST_LOADS if load * per_s < most] + [most / per_s]
    good = [play(design, shape, load * per_s, enough).overall.good_share or 0.0 for load in loads]
    squared_cv = (bursts.dispersion.index - 1) / (bursts.peak_per_s * bursts.dispersion.window_s)
    return burst_factor(loads, [1 - share for share in good], _allowed_late(shape), 1 / squared_cv)


def _played(law: FittedService, shape: FleetShape, replicas: int, speed: float, speed_sigma: float) -> ReplicaRate:
    service = faster(law.service, speed)
    guess = rate_inside(faster(service, 1 / shape.mean_work), shape.goals, replicas, shape.router, shape.mean_lengths)
    middle, sigma = highest_rate(service, shape, replicas, guess)
    if middle <= 0:
        return ReplicaRate(0.0, 0.0)
    squares = sigma**2
    for ends, scale in _ends_of_doubt(law, speed, speed_sigma):
        slow, fast = (_rough_rate(one, shape, replicas, middle) for one in ends)
        squares += (math.log(fast / slow) / 2 * scale) ** 2
    return ReplicaRate(middle, math.sqrt(squares))


def _rough_rate(service: ServiceModel, shape: FleetShape, replicas: int, near_per_s: float) -> float:
    """Hardly any load at least: what misses the SLO even so is a large doubt, and not an endless one."""
    per_s, _ = highest_rate(service, shape, replicas, near_per_s, _DOUBT_REQUESTS, _DOUBT_PRECISION)
    return max(per_s, LEAST_LOAD * most_per_s(service, shape.lengths))


def _ends_of_doubt(
    law: FittedService, speed: float, speed_sigma: float
) -> Iterator[tuple[tuple[ServiceModel, ServiceModel], float]]:
    """The law to either side along each principal direction of its parameters' logarithms, and of its speed; and how
    many such steps are one sigma.

    A step is a sigma where that is not too far: under the noise of a play a small one says nothing.
    """
    if speed_sigma:
        step = min(speed_sigma, _DOUBT_STEP)
        yield (
            (faster(law.service, speed * math.exp(-step)), faster(law.service, speed * math.exp(step))),
            speed_sigma / step,
        )
    if not law.parameters:
        return
    logs = _logs_of(law)
    sizes, directions = np.linalg.eigh(np.array(law.log_covariance))
    for size, direction in zip(sizes, directions.T, strict=True):
        sigma = math.sqrt(max(float(size), 1e-12))
        share = min(1.0, _DOUBT_STEP / sigma)
        step_logs = direction * sigma * share
        ends = [faster(moved(law.service, law.parameters, logs + way * step_logs), speed) for way in (-1.0, 1.0)]
        yield (ends[0], ends[1]), 1 / share


def _logs_of(law: FittedService) -> Floats:
    return np.log([getattr(law.service, name) for name in law.parameters])


def highest_rate(
    service: ServiceModel, shape: FleetShape, replicas: int, near_per_s: float, requests: tuple[int, int] = _REQUESTS,
    precision: float = _PRECISION,
) -> tuple[float, float]:  # fmt: skip
    """The rate of each replica at which the fleet just meets every goal, and the sigma of its logarithm by chance.

    0 where the goals are missed with hardly any load. `near_per_s` is where the search begins; `requests` are of each
    seed and of each replica, the more of both; `precision` is of the rate's logarithm.
    """
    most = most_per_s(service, shape.lengths) * _FULL
    design, enough = design_of(service, shape, replicas), requests_for(replicas, *requests)

    def missed_by(per_s: float) -> float:
        """Logarithm of the worst time over its limit: above 0 where a goal is missed."""
        return margin(play(design, shape, per_s, enough), shape)

    near = min(max(near_per_s, LEAST_LOAD * most), most)
    return crossing(missed_by, (LEAST_LOAD * most, near, most), precision)


def design_of(service: ServiceModel, shape: FleetShape, replicas: int) -> FleetDesign:
    goals = shape.goals
    classes = shape.classes or (
        SimulatedClass(
            limit_s=goals.limit_s("latency"),
            first_token_limit_s=goals.limit_s("first_token"),
            per_token_limit_s=goals.limit_s("per_token"),
        ),
    )
    return FleetDesign((service,) * replicas, shape.router, classes, lengths=shape.lengths)


def requests_for(replicas: int, least: int, each: int) -> int:
    return max(least, each * min(replicas, CELL))


def play(design: FleetDesign, shape: FleetShape, per_replica_s: float, requests: int) -> SteadyOutcome:
    """A fleet at so much a replica, of Poisson arrivals."""
    replicas, service, cell = len(design.services), design.services[0], CELL
    seeds: tuple[int, ...] = SEEDS
    if isinstance(service, TokenService):
        cell = _TOKEN_CELLS.get(design.router, _TOKEN_CELL)
        if requests < _MIN_RESIDENCES * most_in_work(service, shape.mean_lengths) * min(cell, replicas):
            seeds, requests = _TOKEN_SEEDS, requests * len(SEEDS) // len(_TOKEN_SEEDS)
    return simulate_steady(design, per_replica_s * replicas, requests, seeds, quantiles_of(shape), most_replicas=cell)


def play_traffic(service: ServiceModel, shape: FleetShape, replicas: int, per_s: float, requests: int) -> SteadyOutcome:
    """The whole fleet under this rate of the traffic, with its own bursts where they can be simulated."""
    bursts, cell = shape.bursts, min(replicas, _BURST_CELL)
    arrivals = None if bursts is None else drawn_arrivals(bursts, cell / replicas * per_s / bursts.peak_per_s)
    if arrivals is None or not arrivals[0].at_s.size:
        return play(design_of(service, shape, replicas), shape, per_s / replicas, requests)
    return replay(design_of(service, shape, cell), per_s, arrivals[:1], quantiles_of(shape), replicas).outcome


def quantiles_of(shape: FleetShape) -> list[float]:
    """Percentiles that the SLO names, and those that are always shown."""
    asked = {goal for goals in (shape.goals, *shape.class_goals) for goal in goals.times}
    return sorted({100 * goal.quantile for goal in asked if goal.quantile is not None} | {50, 95, 99})


def margin(outcome: SteadyOutcome, shape: FleetShape) -> float:
    """The logarithm of the worst time over its limit; of a share, how far it misses what was asked."""
    if not shape.classes:
        return _margin(outcome, outcome.overall, shape.goals)
    judged = zip(outcome.classes, shape.class_goals, strict=True)
    return max(_margin(outcome, of_class, goals) for of_class, goals in judged)


def _margin(outcome: SteadyOutcome, part: ClassOutcome, goals: Goals) -> float:
    misses = [math.log(max(time_of(outcome, goal, part), 1e-9) / goal.limit_s) for goal in goals.times]
    if goals.share is not None:
        misses.append(10 * (goals.share - (part.good_share or 0.0)))
    return max(misses, default=-1.0)


def time_of(outcome: SteadyOutcome, goal: Goal, part: ClassOutcome | None = None) -> float:
    """Of all requests, or of one class."""
    part = part or outcome.overall
    times = {"latency": part.latency, "first_token": part.first_token, "per_token": part.per_token}[goal.time]
    if times is None:
        return math.inf
    at = None if goal.quantile is None else outcome.percentiles.index(100 * goal.quantile)
    value = times.mean_s if at is None else times.percentiles_s[at]
    return math.inf if value is None else value
