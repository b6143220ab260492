"""Analytical estimate, by queueing formulas, of the highest rate at which a replica meets the
objectives.

In all functions, `mean_lengths` are the mean numbers of input and output tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from scipy import special

from app.analysis.columns import Floats
from app.planning.service_models.service_times import compute_service_factors, compute_total_cv
from app.planning.sizing.slo_objectives import LatencyObjective, SloObjectives
from app.records.service import BatchService, RequestService, ServiceModel, TokenService

MIN_LOAD = 0.02
"""Lowest load to try, as a share of a replica's max throughput. If an objective is missed even at
this load, the rate is 0."""
_QUANTILES = (np.arange(1000) + 0.5) / 1000
"""Quantiles at which the distribution of service times is evaluated. The grid is fine enough for
p99.9."""
_NORMAL_QUANTILES = special.ndtri(_QUANTILES)
_BISECTION_STEPS = 40


def compute_erlang_b(servers: float, offered_load: float) -> float:
    """Return the Erlang B probability that an arrival finds all `servers` busy and is lost.

    `servers` need not be an integer.
    """
    if offered_load <= 0:
        return 0.0
    log_term = servers * math.log(offered_load) - offered_load - float(special.gammaln(servers + 1))
    return math.exp(log_term) / float(special.gammaincc(servers + 1, offered_load))


def compute_erlang_c(servers: float, offered_load: float) -> float:
    """Return the Erlang C probability that an arrival has to wait; 1 at full load and above."""
    utilization = offered_load / servers
    if utilization >= 1:
        return 1.0
    blocking_probability = compute_erlang_b(servers, offered_load)
    return blocking_probability / (1 - utilization * (1 - blocking_probability))


def estimate_rate_within_slo(
    service: ServiceModel,
    objectives: SloObjectives,
    replicas: int,
    router: str,
    mean_lengths: tuple[float, float] = (1.0, 1.0),
) -> float:
    """Return the highest request rate per replica, in req/s, at which all objectives are met; 0 if
    a objective is missed even at MIN_LOAD."""
    high_per_s = compute_max_throughput_per_s(service, mean_lengths)
    if not objectives.latency_objectives:
        return 0.95 * high_per_s
    low_per_s = MIN_LOAD * high_per_s
    if isinstance(service, TokenService):
        return _estimate_token_rate_within_slo(service, objectives, (low_per_s, high_per_s), mean_lengths)

    def is_met(rate_per_s: float) -> bool:
        return all(
            _is_met(service, objective, rate_per_s, replicas, router) for objective in objectives.latency_objectives
        )

    return _find_highest(is_met, low_per_s, high_per_s) if is_met(low_per_s) else 0.0


def _find_highest(is_met: Callable[[float], bool], low: float, high: float) -> float:
    """Return the highest value at which the objectives are met, by bisection. They are met at `low`."""
    for _ in range(_BISECTION_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if is_met(middle) else (low, middle)
    return low


def _estimate_token_rate_within_slo(
    service: TokenService,
    objectives: SloObjectives,
    rates_per_s: tuple[float, float],
    mean_lengths: tuple[float, float],
) -> float:
    """Return the highest rate of a replica with continuous batching, in req/s, at which all objectives are met; 0 if
    one is missed even at the first of the two rates.

    The rate is a growing function of the sequences in flight, by Little's law: rate = sequences / residence time. So
    the search is for the sequences, and for the rate itself only where less than one is in flight.
    """

    def is_met(sequences: float, rate_per_s: float) -> bool:
        return all(
            _estimate_token_latency_s(service, objective, sequences, rate_per_s, mean_lengths) <= objective.limit_s
            for objective in objectives.latency_objectives
        )

    def compute_rate(sequences: float) -> float:
        return sequences / _compute_residence_s(service, sequences, mean_lengths)

    lowest_per_s, highest_per_s = rates_per_s
    single_per_s = compute_rate(1.0)
    if is_met(1.0, min(single_per_s, highest_per_s)) and single_per_s < highest_per_s:
        max_sequences = compute_max_sequences_in_flight(service, mean_lengths)
        rate_per_s = compute_rate(
            _find_highest(lambda sequences: is_met(sequences, compute_rate(sequences)), 1.0, max_sequences)
        )
        return rate_per_s if rate_per_s >= lowest_per_s else 0.0
    if lowest_per_s > single_per_s or not is_met(1.0, lowest_per_s):
        return 0.0
    return _find_highest(lambda rate_per_s: is_met(1.0, rate_per_s), lowest_per_s, min(single_per_s, highest_per_s))


def meets_slo_unloaded(service: ServiceModel, objectives: SloObjectives) -> bool:
    """Return whether the objectives are met if no request waits, as in a large fleet whose replicas
    share a queue."""
    return all(
        _compute_unloaded_latency_s(service, objective) <= objective.limit_s
        for objective in objectives.latency_objectives
    )


def _compute_unloaded_latency_s(service: ServiceModel, objective: LatencyObjective) -> float:
    match service:
        case RequestService(mean_s=service_s) if objective.quantile is not None:
            service_s = float(np.quantile(_compute_lognormal_quantiles_s(service_s, service.cv), objective.quantile))
        case RequestService(mean_s=service_s):
            pass
        case BatchService():
            service_s = service.fixed_s + service.per_item_s
        case TokenService():
            service_s = service.compute_decode_step_s(1, 0)
    return service.outside_s + service_s


def depends_on_replicas(service: ServiceModel) -> bool:
    """Return whether `estimate_rate_within_slo` depends on the number of replicas.

    Estimates for batch and token service models ignore the other replicas, since each replica has
    its own queue.
    """
    return isinstance(service, RequestService)


def compute_max_throughput_per_s(service: ServiceModel, mean_lengths: tuple[float, float]) -> float:
    if isinstance(service, TokenService):
        batch_size = compute_max_sequences_in_flight(service, mean_lengths)
        return batch_size / _compute_residence_s(service, batch_size, mean_lengths)
    return service.max_throughput_per_s


def _is_met(
    service: RequestService | BatchService, objective: LatencyObjective, rate_per_s: float, replicas: int, router: str
) -> bool:
    match service:
        case RequestService():
            return _is_met_by_slots(service, objective, rate_per_s, replicas, router)
        case BatchService():
            return _estimate_batch_latency_s(service, objective.quantile, rate_per_s) <= objective.limit_s


def _is_met_by_slots(
    service: RequestService, objective: LatencyObjective, rate_per_s: float, replicas: int, router: str
) -> bool:
    """Return whether a fleet of replicas with request slots meets the objective.

    The router determines how many replicas are modeled as sharing one queue, and how regular the
    arrivals are.
    """
    pooled_replicas = replicas if router in ("least-work", "least-outstanding", "weighted") else 1
    pooled_replicas = min(2, replicas) if router == "power-of-two" else pooled_replicas
    arrival_cv2 = 1 / replicas if router == "round-robin" else 1.0
    servers, total_rate_per_s = pooled_replicas * service.slots, rate_per_s * pooled_replicas
    offered_load, limit_s = total_rate_per_s * service.mean_s, objective.limit_s - service.outside_s
    if offered_load >= servers or limit_s <= 0:
        return False
    wait_probability = compute_erlang_c(servers, offered_load)
    if service.is_shared:
        return _is_met_by_sharing(service, objective, wait_probability, servers - offered_load, limit_s)
    decay_per_s = (
        2 * (servers / service.mean_s - total_rate_per_s) / (arrival_cv2 + compute_total_cv(service) ** 2 + 1e-12)
    )
    if objective.quantile is None:
        return service.mean_s + wait_probability / decay_per_s <= limit_s
    remaining_s = limit_s - _compute_service_times_s(service)
    late_shares = np.where(
        remaining_s <= 0, 1.0, wait_probability * np.exp(-decay_per_s * np.maximum(remaining_s, 0.0))
    )
    return float(late_shares.mean()) <= 1 - objective.quantile


def _is_met_by_sharing(
    service: RequestService, objective: LatencyObjective, slowed_share: float, idle_cores: float, limit_s: float
) -> bool:
    """Return whether processor sharing meets the objective.

    `slowed_share` is the share of requests that find all cores busy, and `idle_cores` is the mean
    number of idle cores. With processor sharing, the mean slowdown does not depend on a request's
    service time, nor on the distribution of service times.
    """
    if objective.quantile is None:
        return service.mean_s * (1 + slowed_share / idle_cores) <= limit_s
    max_slowdown = limit_s / _compute_service_times_s(service)
    late_shares = np.where(
        max_slowdown <= 1, 1.0, slowed_share * np.exp(-idle_cores * np.maximum(max_slowdown - 1, 0.0))
    )
    return float(late_shares.mean()) <= 1 - objective.quantile


@lru_cache(64)
def _compute_service_times_s(service: RequestService) -> Floats:
    """Return quantiles of the service time in seconds. The result is cached, because a search needs
    it at every rate."""
    return np.asarray(service.mean_s * compute_service_factors(_NORMAL_QUANTILES, service))


def _compute_lognormal_quantiles_s(mean_s: float, cv: float) -> Floats:
    variance = math.log1p(cv * cv)
    return np.asarray(mean_s * np.exp(math.sqrt(variance) * _NORMAL_QUANTILES - variance / 2))


@lru_cache(64)
def _compute_normal_quantile(probability: float) -> float:
    return float(special.ndtri(probability))


def _estimate_batch_latency_s(service: BatchService, quantile: float | None, rate_per_s: float) -> float:
    """Return a latency quantile of a server with dynamic batching in s, or the mean if `quantile` is None; infinite
    at and above the maximum throughput. The batch size is that at which batches fill as fast as requests arrive. A
    lognormal distribution is fitted to the estimated mean and p99."""
    free_share = 1 - rate_per_s * service.per_item_s
    max_batch = service.max_batch
    batch_size = max_batch if free_share <= 0 else min(max_batch, max(1.0, rate_per_s * service.fixed_s / free_share))
    batch_size = min(max_batch, max(batch_size, rate_per_s * service.window_s))
    batch_duration_s = service.fixed_s + service.per_item_s * batch_size
    if rate_per_s >= service.max_throughput_per_s:
        return math.inf
    utilization = min(1.0, rate_per_s * batch_duration_s / batch_size)
    window_s = service.window_s if batch_size < max_batch else 0.0
    mean_s = batch_duration_s * (1 + 0.5 * utilization) + 0.5 * window_s
    p99_s = (
        2 * (service.fixed_s + service.per_item_s * min(max_batch, batch_size + 2.33 * math.sqrt(batch_size)))
        + window_s
    )
    if quantile is None:
        return service.outside_s + mean_s
    log_sigma = math.log(max(p99_s / mean_s, 1.0)) / 2.326
    return service.outside_s + mean_s * math.exp(_compute_normal_quantile(quantile) * log_sigma)


def compute_max_sequences_in_flight(service: TokenService, mean_lengths: tuple[float, float]) -> float:
    return max(1.0, min(service.max_sequences, service.kv_tokens / (mean_lengths[0] + mean_lengths[1])))


def _compute_step_s(service: TokenService, batch_size: float, mean_lengths: tuple[float, float]) -> float:
    context_tokens = batch_size * (mean_lengths[0] + mean_lengths[1] / 2)
    return service.compute_decode_step_s(batch_size, context_tokens)


def _compute_residence_s(service: TokenService, batch_size: float, mean_lengths: tuple[float, float]) -> float:
    """Return the residence time in seconds of a request in a batch of `batch_size` sequences.

    The residence time consists of the request's own decode steps, and of the prefills of requests
    that arrive in the meantime.
    """
    return (
        mean_lengths[1] * _compute_step_s(service, batch_size, mean_lengths)
        + batch_size * mean_lengths[0] * service.prefill_s_per_token
    )


def _estimate_token_latency_s(
    service: TokenService,
    objective: LatencyObjective,
    sequences: float,
    rate_per_s: float,
    mean_lengths: tuple[float, float],
) -> float:
    """Return the latency of an objective with continuous batching in s, while `sequences`, at least one, are in flight;
    infinite if these are as many as there may be. Prefills queue as in an M/M/1 queue, and lengthen the steps of all
    other requests."""
    if sequences >= compute_max_sequences_in_flight(service, mean_lengths) * (1 - 1e-6):
        return math.inf
    prefill_s = mean_lengths[0] * service.prefill_s_per_token
    prefill_load = min(0.99, rate_per_s * prefill_s)
    step_s = _compute_step_s(service, sequences, mean_lengths) / (1 - prefill_load)
    ttft_s = service.outside_s + step_s + prefill_s * (1 + prefill_load / (1 - prefill_load))
    tail_factor = 1.0 if objective.quantile is None else -math.log(1 - objective.quantile) / math.log(2)
    match objective.kind:
        case "per_token":
            return step_s
        case "first_token":
            return ttft_s + (tail_factor - 1) * prefill_s * prefill_load / (1 - prefill_load)
        case "latency":
            return ttft_s + mean_lengths[1] * step_s
