"""Simulations of a measured stage with a service model: the same rate and number of requests, several times.

A fit changes one parameter at a time, so intermediate results that do not depend on it are cached: service factors, and
percentiles before the time outside the queue is added. Includes stages of a language model, simulated with a token
service in an open or a closed loop.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

import msgspec
import numpy as np

from app.analysis.columns import Floats
from app.planning.service_models.moments import SimulatedTimes
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
    """Return arrival times of shape simulations × requests. Gaps are random unless they are known to be even."""
    if gaps == "even":
        return np.broadcast_to(np.arange(1, shape[1] + 1) / offered_per_s, shape).copy()
    return np.asarray(np.cumsum(rng.exponential(1 / offered_per_s, shape), axis=1))


Value = TypeVar("Value")
_STORED_FACTORS, _STORED_TIMES = 2, 8


class RecentCache(Generic[Value]):
    """Cache of the values of the most recent keys."""

    def __init__(self, max_entries: int) -> None:
        self._max_entries, self._values = max_entries, dict[Hashable, Value]()

    def get(self, key: Hashable, compute: Callable[[], Value]) -> Value:
        value = self._values.pop(key) if key in self._values else compute()
        self._values[key] = value
        if len(self._values) > self._max_entries:
            del self._values[next(iter(self._values))]
        return value


class StageSimulation(msgspec.Struct, frozen=True, eq=False):
    """Random numbers of a stage, drawn once: simulations × requests.

    The first `lead_in` requests of each simulation fill the queue and are not counted.
    """

    arrivals_s: Floats
    normals: Floats
    lead_in: int = 0
    _factors: RecentCache[Floats] = msgspec.field(default_factory=lambda: RecentCache(_STORED_FACTORS))
    _times: RecentCache[Floats] = msgspec.field(default_factory=lambda: RecentCache(_STORED_TIMES))

    @staticmethod
    def draw(
        offered_per_s: float,
        requests: int,
        simulations: int,
        seed: np.random.SeedSequence,
        gaps: GapDistribution = "random",
        lead_in: int = 0,
    ) -> StageSimulation:
        rng, shape = np.random.default_rng(seed), (simulations, lead_in + requests)
        arrivals_s = draw_arrivals(offered_per_s, shape, gaps, rng)
        return StageSimulation(arrivals_s, rng.standard_normal(shape), lead_in)

    def simulate(self, service: ServiceModel, quantiles: Floats) -> SimulatedTimes:
        """Simulate the stage and return the logarithms of its percentiles.

        A percentile is the smallest value that at least this share of the values does not exceed.
        """
        if isinstance(service, TokenService):
            raise TypeError("stages of a language model are simulated by tokens")
        inside = msgspec.structs.replace(service, outside_s=0.0)
        times_s = self._times.get((inside, tuple(quantiles)), lambda: self._percentiles(inside, quantiles))
        return SimulatedTimes(np.log(times_s + service.outside_s))

    def _percentiles(self, service: RequestService | BatchService, quantiles: Floats) -> Floats:
        plays, requests = self.arrivals_s.shape
        starts = np.arange(plays, dtype=np.int64) * requests
        arrivals_s, normals = self.arrivals_s.ravel(), self.normals.ravel()
        factors = self._factors.get(_factor_parameters(service), lambda: look_up_service_factors(normals, service))
        match service:
            case RequestService():
                latencies = simulate_request_latencies(arrivals_s, normals, service, starts, factors)
            case BatchService():
                latencies = simulate_batch_latencies(arrivals_s, normals, service, starts, factors)
        latencies = latencies.reshape(plays, requests)[:, self.lead_in :]
        return select_sorted(latencies, np.ceil(quantiles * latencies.shape[1]).astype(int) - 1)


def select_sorted(values: Floats, ranks: Ints) -> Floats:
    """Return, for each row, the values at these places in sorted order; reorders the rows.

    It partitions place by place, each in the part above the previous one, which takes half the time of a sort, and a
    fifth of that of a partition at several places at once.
    """
    values_at, sorted_until = np.empty((values.shape[0], ranks.size)), 0
    for index in np.argsort(ranks):
        if ranks[index] >= sorted_until:
            values[:, sorted_until:].partition(ranks[index] - sorted_until, axis=1)
        values_at[:, index] = values[:, ranks[index]]
        sorted_until = max(sorted_until, ranks[index] + 1)
    return values_at


def _factor_parameters(service: RequestService | BatchService) -> Hashable:
    """Return the parameters that determine the factors."""
    if isinstance(service, RequestService) and is_two_phase(service):
        return service.cv, service.slow_share, service.slow_factor
    return service.cv


RESPONSE_GAP = "between answers"
"""Time between successive responses of the whole stage, measured in a closed loop in addition to latencies."""


class TokenLoad(msgspec.Struct, frozen=True):
    """Load of a stage: a rate or a number of clients, and the requests' input and output tokens, one row each."""

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
    """Random numbers and lengths of a stage, drawn once: simulations × requests.

    Each simulation has the requests of the sample in another order, so that simulations differ as repeated stages do.
    """

    clients: int | None
    arrivals_s: Floats
    normals: Floats
    inputs: Ints
    outputs: Ints

    @staticmethod
    def draw(load: TokenLoad, requests: int, simulations: int, seed: np.random.SeedSequence) -> TokenSimulation:
        rng = np.random.default_rng(seed)
        arrivals_s = draw_arrivals(load.offered_per_s or 1.0, (simulations, requests), load.gaps, rng)
        order = np.array([_random_order(len(load.pairs), requests, rng) for _ in range(simulations)])
        clients = load.clients if load.offered_per_s is None else None
        normals = rng.standard_normal((simulations, requests))
        return TokenSimulation(clients, arrivals_s, normals, load.pairs[order, 0], load.pairs[order, 1])

    def simulate(self, service: ServiceModel, names: Sequence[str]) -> SimulatedTimes:
        """Simulate the stage. `names` are such as `ttft p95`, `itl mean` and GAP.

        A fractional limit of sequences, which a fit may try, is interpolated between the whole ones around it.
        """
        assert isinstance(service, TokenService)
        whole_limit = math.floor(service.max_sequences)
        share = service.max_sequences - whole_limit
        service = msgspec.structs.replace(
            service, kv_tokens=round(service.kv_tokens), chunk_tokens=round(service.chunk_tokens)
        )
        logs = self._logs(msgspec.structs.replace(service, max_sequences=max(1, whole_limit)), names)
        if share > 0 and whole_limit >= 1:
            logs = (1 - share) * logs
            logs += share * self._logs(msgspec.structs.replace(service, max_sequences=whole_limit + 1), names)
        return SimulatedTimes(logs)

    def _logs(self, service: TokenService, names: Sequence[str]) -> Floats:
        first_s, last_s, ended_s = self._simulate_once(service)
        times = {"ttft": first_s, "latency": last_s}
        gaps, has_several = np.maximum(self.outputs - 1, 1), self.outputs > 1
        decoding_s = np.where(has_several, last_s - first_s, 0.0)
        times["tpot"] = np.where(
            has_several, decoding_s / gaps, np.nan
        )  # a response of one token has no time per token
        columns = {}
        if RESPONSE_GAP in names:
            columns[RESPONSE_GAP] = ended_s / self.normals.shape[1]
        if "itl mean" in names:
            columns["itl mean"] = decoding_s.sum(axis=1) / np.where(has_several, gaps, 0).sum(axis=1)
        for metric, values in times.items():
            aggregates = [name.removeprefix(f"{metric} ") for name in names if name.startswith(f"{metric} ")]
            if aggregates:
                statistics = _statistics(values, aggregates).T
                columns.update(zip((f"{metric} {aggregate}" for aggregate in aggregates), statistics, strict=True))
        return np.asarray(np.log(np.column_stack([columns[name] for name in names])))

    def _simulate_once(self, service: TokenService) -> tuple[Floats, Floats, Floats]:
        """Return the times to the first and the last token, and when all requests of a simulation had completed."""
        shape = self.normals.shape
        if self.clients is None:
            starts = np.arange(shape[0], dtype=np.int64) * shape[1]
            arrays = (self.arrivals_s.ravel(), self.inputs.ravel(), self.outputs.ravel(), self.normals.ravel())
            first_s, last_s = (times.reshape(shape) for times in simulate_token_latencies(*arrays, service, starts))
            return first_s, last_s, (self.arrivals_s + last_s).max(axis=1)
        first_s, last_s, ended_s = np.empty(shape), np.empty(shape), np.empty(shape[0])
        for row in range(shape[0]):
            lengths = self.inputs[row], self.outputs[row]
            arrived_s, first_at_s, last_at_s = simulate_closed_tokens(
                self.clients, *lengths, self.normals[row], service
            )
            since_s = arrived_s - service.outside_s
            first_s[row], last_s[row], ended_s[row] = first_at_s - since_s, last_at_s - since_s, last_at_s.max()
        return first_s, last_s, ended_s


def _random_order(pairs: int, requests: int, rng: np.random.Generator) -> Ints:
    """Return the row numbers of the pairs that the requests have: all pairs in random order, repeated as needed.

    A sample is sorted, so that a part of it would not represent the whole.
    """
    permutations = [rng.permutation(pairs) for _ in range(math.ceil(requests / pairs))]
    return np.concatenate(permutations)[:requests]


def _statistics(times_s: Floats, aggregates: Sequence[str]) -> Floats:
    """Return means and percentiles of each row, without NaN: rows × aggregates.

    A percentile is the smallest value that at least this share of the values does not exceed.
    """
    shares, is_missing = [PERCENTILES.get(aggregate, 0.5) for aggregate in aggregates], np.isnan(times_s)
    if is_missing.any():
        present = times_s.shape[1] - np.count_nonzero(is_missing, axis=1)
        ranks = np.maximum(np.ceil(np.outer(present, shares)).astype(int) - 1, 0)
        statistics = np.take_along_axis(
            np.partition(times_s, np.unique(ranks), axis=1), ranks, axis=1
        )  # NaN sorts last
    else:
        ranks_of_shares = [math.ceil(share * times_s.shape[1]) - 1 for share in shares]
        statistics = np.partition(times_s, sorted(set(ranks_of_shares)), axis=1)[:, ranks_of_shares]
    if "mean" in aggregates:
        statistics[:, aggregates.index("mean")] = np.nanmean(times_s, axis=1)
    return statistics
