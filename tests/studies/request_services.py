"""Truths with requests: a law outside the families that the product fits, or a service of a known family.

The laws are those of `tests.studies.laws`, the known families those of `tests.studies.request_truths`. Both are played
by the replicas of `tests.studies.event_simulator`.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable
from functools import cached_property

import numpy as np

from app.records.offers import Router
from app.records.search import SearchSpec
from tests.studies import request_truths
from tests.studies.event_simulator import ROUTERS, Replica, simulate
from tests.studies.laws import Law, draw_law
from tests.studies.measuring import Floats, SimulatedRequests, quantile

KNOWN_FAMILIES: tuple[request_truths.Family, ...] = (
    "gamma", "lognormal", "hyperexponential", "bimodal", "processor sharing", "batches",
)  # fmt: skip
RUN_TO_RUN_SIGMA = 0.02
HOUR_S = 3600.0
_REQUESTS, _LONG_TIMES, _EACH, _WARM_UP = 60_000, 2, 2_000, 0.2
_SATURATION_REQUESTS, _IDLE_REQUESTS = 3_000, 20_000
_SLACK, _BATCH_SLACK = (1.2, 3.0), (2.2, 6.0)


@dataclasses.dataclass(frozen=True)
class RequestService:
    """A service without tokens: how its replicas are made, and the work of its requests."""

    name: str
    new_replica: Callable[[int], Replica]
    draw_works_s: Callable[[int, np.random.Generator], Floats]
    outside_s: float
    pace_s: float
    """About the time between two responses at full load."""
    is_aging: bool = False
    slack: tuple[float, float] = _SLACK
    """Range of the SLO's limit, as a multiple of the same percentile of a lightly loaded server."""


@dataclasses.dataclass
class RequestTruth:
    """A service, measured on a replica that is `speed` times as fast as those in production."""

    service: RequestService
    slo: tuple[str, ...]
    router: Router
    peak_per_s: float
    saturation_per_s: float
    speed: float
    search: SearchSpec
    seed: int

    @cached_property
    def _measured(self) -> Replica:
        return self.service.new_replica(self.seed)

    def simulate_stage(self, arrivals_s: Floats, rng: np.random.Generator) -> SimulatedRequests:
        works_s = self.service.draw_works_s(arrivals_s.size, rng) / self.speed
        return _simulate(self.service, arrivals_s, works_s, lambda: self._measured, 1, "random")

    def simulate_replica(self, rate_per_s: float) -> SimulatedRequests:
        rng = np.random.default_rng([self.seed, 2])
        arrivals_s = np.cumsum(rng.exponential(1 / rate_per_s, self._count(rate_per_s)))
        works_s = self.service.draw_works_s(arrivals_s.size, rng) / self.speed
        return self._without_warm_up(
            _simulate(self.service, arrivals_s, works_s, lambda: self.service.new_replica(3), 1, "random")
        )

    def simulate_fleet(self, replicas: int, is_long: bool) -> SimulatedRequests:
        """Behind a random router each replica has Poisson arrivals of its own, and in a round robin every n-th request,
        so that one replica stands for all."""
        rng, times = np.random.default_rng([self.seed, 4]), _LONG_TIMES if is_long else 1
        simulated, gap_s = 1, replicas / self.peak_per_s
        if self.router in ("random", "round-robin"):
            every = replicas if self.router == "round-robin" else 1
            count = self._count(1 / gap_s, times)
            gaps_s = rng.standard_gamma(every, count) / every * gap_s
        else:
            simulated, count = replicas, times * max(_REQUESTS, _EACH * replicas)
            gaps_s = rng.exponential(1 / self.peak_per_s, count)
        works_s = self.service.draw_works_s(count, rng)
        seeds = itertools.count(5)
        return self._without_warm_up(
            _simulate(
                self.service, np.cumsum(gaps_s), works_s, lambda: self.service.new_replica(next(seeds)), simulated,
                self.router,
            )
        )  # fmt: skip

    def _count(self, per_s: float, times: int = 1) -> int:
        """An aging server is evaluated over an hour from its start, others over many requests."""
        return max(100, round(HOUR_S * per_s)) if self.service.is_aging else times * _REQUESTS

    def _without_warm_up(self, simulated: SimulatedRequests) -> SimulatedRequests:
        return simulated if self.service.is_aging else simulated.without_first(_WARM_UP)


def _simulate(
    service: RequestService, arrivals_s: Floats, works_s: Floats, new_replica: Callable[[], Replica], replicas: int,
    router: Router,
) -> SimulatedRequests:  # fmt: skip
    created: list[Replica] = []

    def create() -> Replica:
        created.append(new_replica())
        return created[-1]

    if router not in ROUTERS:
        raise ValueError(router)
    latencies_s = simulate(arrivals_s.tolist(), works_s.tolist(), create, replicas, router)
    is_failed = np.zeros(arrivals_s.size, bool)
    for replica in created:
        failed: set[int] = getattr(replica, "failed", set())
        is_failed[list(failed)] = True
        failed.clear()
    return SimulatedRequests(arrivals_s, np.array(latencies_s) + service.outside_s, is_failed=is_failed)


def _build_from_law(law: Law) -> RequestService:
    is_batched = any(station.max_batch > 1 for station in law.layout.stations)
    return RequestService(
        law.name, law.new_replica, law.draw_works_s, law.outside_s, law.pace_s, law.is_aging,
        _BATCH_SLACK if is_batched else _SLACK,
    )  # fmt: skip


def _build_from_family(truth: request_truths.Truth) -> RequestService:
    """Work of batches is a factor of their time, so that a faster machine divides it, too."""
    return RequestService(
        truth.family, lambda _: truth.new_replica(), truth.services_s, truth.outside_s, 1 / truth.most_per_s,
        slack=_BATCH_SLACK if truth.family == "batches" else _SLACK,
    )  # fmt: skip


def draw_law_truth(number: int, seed: int) -> RequestTruth:
    return _surround(_build_from_law(draw_law(number, seed)), [seed, number, 1])


def draw_known_truth(number: int, seed: int) -> RequestTruth:
    """Return a service of a known family; families rotate."""
    family = KNOWN_FAMILIES[number % len(KNOWN_FAMILIES)]
    for offset in itertools.count():
        truth = request_truths.draw_truth(seed, 100_000 + 100 * number + offset)
        if truth.family == family:
            return _surround(_build_from_family(truth), [seed, number, 2])
    raise AssertionError


def _surround(service: RequestService, seed: list[int]) -> RequestTruth:
    """Draw an SLO that a lightly loaded server meets, a router, a peak and a measurement. The search has the time that
    it needs, so that a plan is evaluated."""
    rng = np.random.default_rng(seed)

    def between(low: float, high: float) -> float:
        return float(math.exp(rng.uniform(math.log(low), math.log(high))))

    saturation_per_s = find_saturation_per_s(service)
    percentile, share = ("p95", 0.95) if rng.random() < 0.6 else ("p99", 0.99)
    arrivals_s = np.cumsum(rng.exponential(1 / (0.1 * saturation_per_s), _IDLE_REQUESTS))
    works_s = service.draw_works_s(_IDLE_REQUESTS, rng)
    idle = _simulate(service, arrivals_s, works_s, lambda: service.new_replica(7), 1, "random")
    limit_s = service.outside_s + (quantile(idle.times_s("latency_ms"), share) - service.outside_s) * between(
        *service.slack
    )
    routers = ROUTERS[:2] if service.is_aging else ROUTERS
    speed = math.exp(rng.normal(0.0, RUN_TO_RUN_SIGMA))
    return RequestTruth(
        service, (f"latency_ms.{percentile} < {1000 * limit_s:.6g}",), routers[int(rng.integers(0, len(routers)))],
        saturation_per_s * float(rng.uniform(0.5, 0.8)) * between(8, 25), saturation_per_s, speed,
        SearchSpec(start_per_s=saturation_per_s * float(rng.uniform(0.08, 0.3)),
                   step_duration_s=float(rng.choice([10.0, 20.0, 30.0])), max_duration_s=None),
        int(rng.integers(1 << 30)),
    )  # fmt: skip


def find_saturation_per_s(service: RequestService) -> float:
    """Return about the highest rate at which the queue of one replica does not grow, from empty.

    A flood would not find it: caches and retries depend on the requests in flight.
    """
    rng = np.random.default_rng(9)
    gaps, works_s = rng.standard_exponential(_SATURATION_REQUESTS), service.draw_works_s(_SATURATION_REQUESTS, rng)

    def is_sustained(per_s: float) -> bool:
        arrivals_s = np.cumsum(gaps / per_s)
        simulated = _simulate(service, arrivals_s, works_s, lambda: service.new_replica(8), 1, "random")
        assert simulated.is_failed is not None
        last_s = float((arrivals_s + simulated.latency_s - service.outside_s).max())
        is_late = last_s > 1.05 * float(arrivals_s[-1])
        return not is_late and float(simulated.is_failed.mean()) < 0.1

    low, high = 1 / service.pace_s, 1 / service.pace_s
    while not is_sustained(low):
        low, high = low / 2, low
    while is_sustained(high):
        low, high = high, high * 2
    for _ in range(5):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if is_sustained(middle) else (low, middle)
    return low
