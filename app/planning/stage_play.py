"""A measured stage played by a service model: the same rate and number of requests, several times over.

A fit changes one parameter at a time, so what does not depend on it is stored: service factors, and percentiles before
the time outside the queue is added.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import msgspec
import numpy as np

from app.analysis.columns import Floats
from app.planning.moments import Play
from app.planning.service_times import is_two_phase
from app.planning.simulation.compiled import Ints
from app.planning.simulation.replica import batch_latencies, latency_factors, request_latencies
from app.records.curves import Gaps
from app.records.service import BatchService, RequestService, ServiceModel, TokenService


def arrivals_of(offered_per_s: float, shape: tuple[int, int], gaps: Gaps, rng: np.random.Generator) -> Floats:
    """Plays × requests. Gaps are random unless they are known to be even."""
    if gaps == "even":
        return np.broadcast_to(np.arange(1, shape[1] + 1) / offered_per_s, shape).copy()
    return np.asarray(np.cumsum(rng.exponential(1 / offered_per_s, shape), axis=1))


Value = TypeVar("Value")
_STORED_FACTORS, _STORED_TIMES = 2, 8


class Recent(Generic[Value]):
    """The values of the latest few keys."""

    def __init__(self, most: int) -> None:
        self._most, self._values = most, dict[Hashable, Value]()

    def get(self, key: Hashable, compute: Callable[[], Value]) -> Value:
        value = self._values.pop(key) if key in self._values else compute()
        self._values[key] = value
        if len(self._values) > self._most:
            del self._values[next(iter(self._values))]
        return value


class StagePlay(msgspec.Struct, frozen=True, eq=False):
    """Unit random numbers of a stage, drawn once: plays × requests. The first `lead_in` requests of each play fill the
    queue and are not counted."""

    arrivals_s: Floats
    normals: Floats
    lead_in: int = 0
    _factors: Recent[Floats] = msgspec.field(default_factory=lambda: Recent(_STORED_FACTORS))
    _times: Recent[Floats] = msgspec.field(default_factory=lambda: Recent(_STORED_TIMES))

    @staticmethod
    def drawn(
        offered_per_s: float,
        requests: int,
        times: int,
        seed: np.random.SeedSequence,
        gaps: Gaps = "random",
        lead_in: int = 0,
    ) -> StagePlay:
        rng, shape = np.random.default_rng(seed), (times, lead_in + requests)
        arrivals_s = arrivals_of(offered_per_s, shape, gaps, rng)
        return StagePlay(arrivals_s, rng.standard_normal(shape), lead_in)

    def played(self, service: ServiceModel, quantiles: Floats) -> Play:
        """Percentiles by the smallest value that so large a share does not exceed."""
        if isinstance(service, TokenService):
            raise TypeError("a language model's stages are played by tokens")
        inside = msgspec.structs.replace(service, outside_s=0.0)
        times_s = self._times.get((inside, tuple(quantiles)), lambda: self._percentiles(inside, quantiles))
        return Play(np.log(times_s + service.outside_s))

    def _percentiles(self, service: RequestService | BatchService, quantiles: Floats) -> Floats:
        plays, requests = self.arrivals_s.shape
        starts = np.arange(plays, dtype=np.int64) * requests
        arrivals_s, normals = self.arrivals_s.ravel(), self.normals.ravel()
        factors = self._factors.get(_shape(service), lambda: latency_factors(normals, service))
        match service:
            case RequestService():
                latencies = request_latencies(arrivals_s, normals, service, starts, factors)
            case BatchService():
                latencies = batch_latencies(arrivals_s, normals, service, starts, factors)
        latencies = latencies.reshape(plays, requests)[:, self.lead_in :]
        return in_order(latencies, np.ceil(quantiles * latencies.shape[1]).astype(int) - 1)


def in_order(values: Floats, places: Ints) -> Floats:
    """Of each row the values at those places were it sorted, which reorders the rows.

    Place by place, each in what is left above the one before: half of the time of a sort, and a fifth of that of a
    partition at several places at once.
    """
    found, begin = np.empty((values.shape[0], places.size)), 0
    for at in np.argsort(places):
        if places[at] >= begin:
            values[:, begin:].partition(places[at] - begin, axis=1)
        found[:, at] = values[:, places[at]]
        begin = max(begin, places[at] + 1)
    return found


def _shape(service: RequestService | BatchService) -> Hashable:
    """Parameters of the factors."""
    if isinstance(service, RequestService) and is_two_phase(service):
        return service.cv, service.slow_share, service.slow_factor
    return service.cv
