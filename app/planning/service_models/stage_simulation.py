"""Repeated simulation of a measured stage with a service model, at the measured rate and number of
requests.

A fit changes one parameter at a time, so intermediate results that often stay the same are cached:
service time factors, and percentiles without the time outside the queue. Stages of a language model
are simulated with a token service, in an open or a closed loop.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

import msgspec
import numpy as np

from app.analysis.columns import Floats
from app.planning.service_models.moments import SimulatedStatistics
from app.planning.service_models.service_times import is_two_phase
from app.planning.simulation.closed_loop import simulate_closed_tokens
from app.planning.simulation.compiled import Ints
from app.planning.simulation.replica import (
    look_up_service_factors,
    simulate_batch_latencies,
    simulate_request_latencies,
    simulate_token_latencies,
)
from app.records.metrics import PERCENTILES
from app.records.planning_inputs import GapDistribution
from app.records.service import BatchService, RequestService, ServiceModel, TokenService


def draw_arrivals(
    offered_per_s: float, shape: tuple[int, int], gaps: GapDistribution, rng: np.random.Generator
) -> Floats:
    """Draw arrival times in seconds, with shape simulations × requests. Arrivals have a constant
    rate if `gaps` is "even"; otherwise they are Poisson.
    """
    if gaps == "even":
        return np.broadcast_to(np.arange(1, shape[1] + 1) / offered_per_s, shape).copy()
    return np.asarray(np.cumsum(rng.exponential(1 / offered_per_s, shape), axis=1))


Value = TypeVar("Value")
MAX_CACHED_FACTORS, _MAX_CACHED_PERCENTILES = 2, 8


class LruCache(Generic[Value]):
    """LRU cache of at most `max_entries` values."""

    def __init__(self, max_entries: int) -> None:
        self._max_entries, self._values = max_entries, dict[Hashable, Value]()

    def get(self, key: Hashable, compute: Callable[[], Value]) -> Value:
        value = self._values.pop(key) if key in self._values else compute()
        self._values[key] = value
        if len(self._values) > self._max_entries:
            del self._values[next(iter(self._values))]
        return value


class StageSimulation(msgspec.Struct, frozen=True, eq=False):
    """Repeated simulation of a stage with fixed random numbers.

    `arrivals_s` and `normals` have the shape simulations × requests. The first `warm_up_requests`
    requests of each simulation fill the queue and are not counted.
    """

    arrivals_s: Floats
    normals: Floats
    warm_up_requests: int = 0
    _factor_cache: LruCache[Floats] = msgspec.field(default_factory=lambda: LruCache(MAX_CACHED_FACTORS))
    _percentile_cache: LruCache[Floats] = msgspec.field(default_factory=lambda: LruCache(_MAX_CACHED_PERCENTILES))

    @staticmethod
    def draw(
        offered_per_s: float,
        requests: int,
        simulation_count: int,
        seed: np.random.SeedSequence,
        gaps: GapDistribution = "random",
        warm_up_requests: int = 0,
    ) -> StageSimulation:
        rng, shape = np.random.default_rng(seed), (simulation_count, warm_up_requests + requests)
        arrivals_s = draw_arrivals(offered_per_s, shape, gaps, rng)
        return StageSimulation(arrivals_s, rng.standard_normal(shape), warm_up_requests)

    def simulate(self, service: ServiceModel, quantiles: Floats) -> SimulatedStatistics:
        """Simulate the stage and return the logarithms of its latency percentiles.

        A percentile p is the smallest value that at least the share p of the values does not
        exceed.
        """
        if isinstance(service, TokenService):
            raise TypeError("a token service requires TokenSimulation")
        service_without_overhead = msgspec.structs.replace(service, outside_s=0.0)
        percentiles_s = self._percentile_cache.get(
            (service_without_overhead, tuple(quantiles)),
            lambda: self._compute_percentiles(service_without_overhead, quantiles),
        )
        return SimulatedStatistics(np.log(percentiles_s + service.outside_s))

    def _compute_percentiles(self, service: RequestService | BatchService, quantiles: Floats) -> Floats:
        """Return the latency percentiles of each simulated stage in s, without the requests of the warm-up."""
        simulation_count, requests = self.arrivals_s.shape
        ends = np.arange(1, simulation_count + 1, dtype=np.int64) * requests
        arrivals_s, normals = self.arrivals_s.ravel(), self.normals.ravel()
        factors = self._factor_cache.get(get_factor_key(service), lambda: look_up_service_factors(normals, service))
        match service:
            case RequestService():
                latencies = simulate_request_latencies(arrivals_s, normals, service, ends, factors)
            case BatchService():
                latencies = simulate_batch_latencies(arrivals_s, normals, service, ends, factors)
        latencies = latencies.reshape(simulation_count, requests)[:, self.warm_up_requests :]
        return select_sorted(latencies, np.ceil(quantiles * latencies.shape[1]).astype(int) - 1)


def select_sorted(values: Floats, ranks: Ints) -> Floats:
    """Return the values with the given ranks in each sorted row. The rows are reordered in place.

    For each rank, only the part of the row above the previous rank is partitioned. This takes half
    the time of sorting, and a fifth of the time of a partition at several ranks at once.
    """
    selected_values, sorted_count = np.empty((values.shape[0], ranks.size)), 0
    for index in np.argsort(ranks):
        if ranks[index] >= sorted_count:
            values[:, sorted_count:].partition(ranks[index] - sorted_count, axis=1)
        selected_values[:, index] = values[:, ranks[index]]
        sorted_count = max(sorted_count, ranks[index] + 1)
    return selected_values


def get_factor_key(service: RequestService | BatchService) -> Hashable:
    """Return the parameters that determine the service time factors, as a cache key."""
    if isinstance(service, RequestService) and is_two_phase(service):
        return service.cv, service.slow_share, service.slow_factor
    return service.cv


RESPONSE_GAP = "between responses"
"""Name of a statistic of closed-loop stages: the mean time between responses over the whole stage.
"""


class TokenLoad(msgspec.Struct, frozen=True):
    """Load of a language model stage: a rate or a number of clients, and rows of input and output
    tokens."""

    offered_per_s: float | None
    clients: int | None
    pairs: Ints
    gaps: GapDistribution = "random"

    @property
    def input_tokens(self) -> float:
        return float(self.pairs[:, 0].mean())

    @property
    def output_tokens(self) -> float:
        return float(self.pairs[:, 1].mean())


class TokenSimulation(msgspec.Struct, frozen=True):
    """Repeated simulation of a language model stage with fixed random numbers and lengths.

    All arrays have the shape simulations × requests. Each simulation uses the sample of token
    lengths in another random order, so that simulations differ as repeated stages do.
    """

    clients: int | None
    arrivals_s: Floats
    normals: Floats
    tokens: Ints
    """Numbers of input tokens and of output tokens per request."""

    @staticmethod
    def draw(load: TokenLoad, requests: int, simulation_count: int, seed: np.random.SeedSequence) -> TokenSimulation:
        rng = np.random.default_rng(seed)
        arrivals_s = draw_arrivals(load.offered_per_s or 1.0, (simulation_count, requests), load.gaps, rng)
        row_orders = np.array([_draw_row_order(len(load.pairs), requests, rng) for _ in range(simulation_count)])
        clients = load.clients if load.offered_per_s is None else None
        normals = rng.standard_normal((simulation_count, requests))
        return TokenSimulation(clients, arrivals_s, normals, load.pairs.T[:, row_orders])

    def simulate(self, service: ServiceModel, names: Sequence[str]) -> SimulatedStatistics:
        """Simulate the stage and return the logarithms of the named statistics, such as `ttft p95`,
        `itl mean` and RESPONSE_GAP.

        With a fractional limit of sequences, which a fit may try, the results are interpolated
        between the neighboring integers.
        """
        assert isinstance(service, TokenService)
        integer_limit = math.floor(service.max_sequences)
        fraction = service.max_sequences - integer_limit
        service = msgspec.structs.replace(
            service, kv_tokens=round(service.kv_tokens), chunk_tokens=round(service.chunk_tokens)
        )
        logs = self._compute_logs(msgspec.structs.replace(service, max_sequences=max(1, integer_limit)), names)
        if fraction > 0 and integer_limit >= 1:
            logs = (1 - fraction) * logs
            logs += fraction * self._compute_logs(
                msgspec.structs.replace(service, max_sequences=integer_limit + 1), names
            )
        return SimulatedStatistics(logs)

    def _compute_logs(self, service: TokenService, names: Sequence[str]) -> Floats:
        """Return the logarithms of the named statistics of each simulated stage, with one column per name."""
        first_latencies_s, last_latencies_s, end_times_s = self._simulate_once(service)
        latencies_by_metric = {"ttft": first_latencies_s, "latency": last_latencies_s}
        outputs = self.tokens[1]
        token_gaps, has_several_tokens = np.maximum(outputs - 1, 1), outputs > 1
        decoding_s = np.where(has_several_tokens, last_latencies_s - first_latencies_s, 0.0)
        # a response with a single token has no time per output token
        latencies_by_metric["tpot"] = np.where(has_several_tokens, decoding_s / token_gaps, np.nan)
        columns = {}
        if RESPONSE_GAP in names:
            columns[RESPONSE_GAP] = end_times_s / self.normals.shape[1]
        if "itl mean" in names:
            columns["itl mean"] = decoding_s.sum(axis=1) / np.where(has_several_tokens, token_gaps, 0).sum(axis=1)
        for metric, values in latencies_by_metric.items():
            aggregates = [name.removeprefix(f"{metric} ") for name in names if name.startswith(f"{metric} ")]
            if aggregates:
                statistics = _compute_statistics(values, aggregates).T
                columns.update(zip((f"{metric} {aggregate}" for aggregate in aggregates), statistics, strict=True))
        return np.asarray(np.log(np.column_stack([columns[name] for name in names])))

    def _simulate_once(self, service: TokenService) -> tuple[Floats, Floats, Floats]:
        """Return the latencies to the first and to the last token, and the end of the last response
        of each simulation, in seconds."""
        shape = self.normals.shape
        if self.clients is None:
            ends = np.arange(1, shape[0] + 1, dtype=np.int64) * shape[1]
            inputs, outputs = self.tokens.reshape(2, -1)
            request_arrays = (self.arrivals_s.ravel(), inputs, outputs, self.normals.ravel())
            first_latencies_s, last_latencies_s = (
                latencies_s.reshape(shape) for latencies_s in simulate_token_latencies(*request_arrays, service, ends)
            )
            return first_latencies_s, last_latencies_s, (self.arrivals_s + last_latencies_s).max(axis=1)
        first_latencies_s, last_latencies_s, end_times_s = np.empty(shape), np.empty(shape), np.empty(shape[0])
        for simulation_index in range(shape[0]):
            inputs, outputs = self.tokens[:, simulation_index]
            arrivals_s, first_token_s, last_token_s = simulate_closed_tokens(
                self.clients, inputs, outputs, self.normals[simulation_index], service
            )
            send_times_s = arrivals_s - service.outside_s
            first_latencies_s[simulation_index], last_latencies_s[simulation_index], end_times_s[simulation_index] = (
                first_token_s - send_times_s,
                last_token_s - send_times_s,
                last_token_s.max(),
            )
        return first_latencies_s, last_latencies_s, end_times_s


def _draw_row_order(pair_count: int, requests: int, rng: np.random.Generator) -> Ints:
    """Draw one of `pair_count` rows for each request: all rows in random order, repeated as needed.

    Samples are sorted, so the first rows of a sample would not be representative without a random
    order.
    """
    if pair_count == 1:
        return np.zeros(requests, dtype=np.int64)
    permutations = [rng.permutation(pair_count) for _ in range(math.ceil(requests / pair_count))]
    return np.concatenate(permutations)[:requests]


def _compute_statistics(times_s: Floats, aggregates: Sequence[str]) -> Floats:
    """Return the requested aggregates (mean or percentiles) of each row, ignoring NaN, with shape
    rows × aggregates.

    A percentile p is the smallest value that at least the share p of the values does not exceed.
    """
    probabilities, is_missing = [PERCENTILES.get(aggregate, 0.5) for aggregate in aggregates], np.isnan(times_s)
    if is_missing.any():
        present_counts = times_s.shape[1] - np.count_nonzero(is_missing, axis=1)
        ranks = np.maximum(np.ceil(np.outer(present_counts, probabilities)).astype(int) - 1, 0)
        statistics = np.take_along_axis(
            np.partition(times_s, np.unique(ranks), axis=1), ranks, axis=1
        )  # NaN sorts last
    else:
        rank_list = [math.ceil(probability * times_s.shape[1]) - 1 for probability in probabilities]
        statistics = select_sorted(times_s.copy(), np.array(rank_list))
    if "mean" in aggregates:
        statistics[:, aggregates.index("mean")] = np.nanmean(times_s, axis=1)
    return statistics
