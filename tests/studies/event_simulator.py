"""An event simulator of a fleet behind a router, written to be read: the reference for what the product plans.

It uses the standard library alone and none of the product's code. One event happens at a time, in the order of a heap;
each replica is an object with a queue. It is slow (about 100,000 requests/s), and that is the point: a reader can check
each line against the definition of the queue.

    latencies_s = simulate(arrivals_s, services_s, lambda: Slots(4), replicas=10, router="least-outstanding")
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import Literal, Protocol

Router = Literal["random", "round-robin", "least-outstanding", "power-of-two"]
ROUTERS: tuple[Router, ...] = ("random", "round-robin", "least-outstanding", "power-of-two")


class Replica(Protocol):
    """One server. Times are seconds on the fleet's clock; a request is its index in the arrays."""

    outstanding: int
    """Requests that arrived here and have not completed."""

    def arrive(self, now_s: float, request: int, service_s: float) -> None:
        """Accept a request."""

    def next_event_s(self) -> float:
        """When this replica changes by itself next; infinity when it is idle."""

    def advance(self, now_s: float) -> list[int]:
        """Do what is due at `now_s`, which is `next_event_s()`, and return the requests that completed."""


class Slots:
    """First come, first served by `slots` equal servers; a request occupies one for its own service time."""

    def __init__(self, slots: int) -> None:
        self.outstanding = 0
        self._free = slots
        self._waiting: deque[tuple[int, float]] = deque()
        self._running: list[tuple[float, int]] = []

    def arrive(self, now_s: float, request: int, service_s: float) -> None:
        self.outstanding += 1
        if self._free:
            self._free -= 1
            heapq.heappush(self._running, (now_s + service_s, request))
        else:
            self._waiting.append((request, service_s))

    def next_event_s(self) -> float:
        return self._running[0][0] if self._running else math.inf

    def advance(self, now_s: float) -> list[int]:
        _, completed = heapq.heappop(self._running)
        self.outstanding -= 1
        if self._waiting:
            request, service_s = self._waiting.popleft()
            heapq.heappush(self._running, (now_s + service_s, request))
        else:
            self._free += 1
        return [completed]


class ProcessorSharing:
    """All requests run at once and share `cores` equally; one request never runs faster than one core.

    Every running request has received the same amount of work since it arrived beside the others, so each one's finish
    is known on a clock of work per request: `_work_s` is that clock.
    """

    def __init__(self, cores: float) -> None:
        self.outstanding = 0
        self._cores = cores
        self._work_s = 0.0
        self._updated_s = 0.0
        self._running: list[tuple[float, int]] = []

    def arrive(self, now_s: float, request: int, service_s: float) -> None:
        self._run_until(now_s)
        self.outstanding += 1
        heapq.heappush(self._running, (self._work_s + service_s, request))

    def next_event_s(self) -> float:
        if not self._running:
            return math.inf
        return self._updated_s + (self._running[0][0] - self._work_s) / self._speed()

    def advance(self, now_s: float) -> list[int]:
        self._updated_s = now_s
        self._work_s, completed = heapq.heappop(self._running)
        self.outstanding -= 1
        return [completed]

    def _run_until(self, now_s: float) -> None:
        if self._running:
            self._work_s += (now_s - self._updated_s) * self._speed()
        self._updated_s = now_s

    def _speed(self) -> float:
        """Work per second that each running request receives."""
        return min(1.0, self._cores / len(self._running))


class Batches:
    """One batch at a time, of up to `max_batch` requests in order of arrival.

    A batch starts when the replica is idle and either `max_batch` requests wait or the oldest has waited `window_s`.
    A batch of b takes (fixed_s + per_item_s × b) × the service time of its first request, which is a factor here.
    """

    def __init__(self, fixed_s: float, per_item_s: float, max_batch: int, window_s: float = 0.0) -> None:
        self.outstanding = 0
        self._fixed_s, self._per_item_s = fixed_s, per_item_s
        self._max_batch, self._window_s = max_batch, window_s
        self._waiting: deque[tuple[float, int, float]] = deque()
        self._batch: list[int] = []
        self._ends_s = math.inf

    def arrive(self, now_s: float, request: int, service_s: float) -> None:
        self.outstanding += 1
        self._waiting.append((now_s, request, service_s))
        if not self._batch and len(self._waiting) >= self._max_batch:
            self._start(now_s)

    def next_event_s(self) -> float:
        if self._batch:
            return self._ends_s
        return self._waiting[0][0] + self._window_s if self._waiting else math.inf

    def advance(self, now_s: float) -> list[int]:
        completed, self._batch, self._ends_s = self._batch, [], math.inf
        self.outstanding -= len(completed)
        is_full = len(self._waiting) >= self._max_batch
        if self._waiting and (is_full or now_s >= self._waiting[0][0] + self._window_s):
            self._start(now_s)
        return completed

    def _start(self, now_s: float) -> None:
        first = self._waiting[0]
        size = min(len(self._waiting), self._max_batch)
        self._batch = [self._waiting.popleft()[1] for _ in range(size)]
        self._ends_s = now_s + (self._fixed_s + self._per_item_s * size) * first[2]


def simulate(
    arrivals_s: Sequence[float],
    services_s: Sequence[float],
    new_replica: Callable[[], Replica],
    replicas: int = 1,
    router: Router = "random",
    seed: int = 1,
) -> list[float]:
    """Latency of each request, from its arrival to its completion, in the order of arrival.

    The fleet starts empty and all requests complete. `arrivals_s` ascend; `services_s` holds the time of each request
    (of batches: the factor). Ties between replicas are broken at random.
    """
    fleet = [new_replica() for _ in range(replicas)]
    choose = _Router(router, fleet, random.Random(seed))
    latencies_s = [math.nan] * len(arrivals_s)
    events: list[tuple[float, int]] = []
    scheduled_s = [math.inf] * replicas
    """When each replica's valid event is; events in the heap that differ are outdated."""

    def schedule(number: int) -> None:
        at_s = fleet[number].next_event_s()
        if at_s != scheduled_s[number]:
            scheduled_s[number] = at_s
            if at_s < math.inf:
                heapq.heappush(events, (at_s, number))

    def run_until(end_s: float) -> None:
        while events and events[0][0] <= end_s:
            now_s, number = heapq.heappop(events)
            if now_s != scheduled_s[number]:
                continue
            scheduled_s[number] = math.inf
            for request in fleet[number].advance(now_s):
                latencies_s[request] = now_s - arrivals_s[request]
            schedule(number)

    for request, (arrival_s, service_s) in enumerate(zip(arrivals_s, services_s, strict=True)):
        run_until(arrival_s)
        number = choose()
        fleet[number].arrive(arrival_s, request, service_s)
        schedule(number)
    run_until(math.inf)
    return latencies_s


class _Router:
    """Chooses a replica for the next request."""

    def __init__(self, router: Router, fleet: Sequence[Replica], rng: random.Random) -> None:
        self._fleet, self._rng, self._turn = fleet, rng, -1
        self._choose = {
            "random": self._random,
            "round-robin": self._round_robin,
            "least-outstanding": self._least_outstanding,
            "power-of-two": self._power_of_two,
        }[router]

    def __call__(self) -> int:
        return self._choose()

    def _random(self) -> int:
        return int(self._rng.random() * len(self._fleet))

    def _round_robin(self) -> int:
        self._turn = (self._turn + 1) % len(self._fleet)
        return self._turn

    def _least_outstanding(self) -> int:
        fewest = min(replica.outstanding for replica in self._fleet)
        return self._rng.choice([n for n, replica in enumerate(self._fleet) if replica.outstanding == fewest])

    def _power_of_two(self) -> int:
        """Two different replicas at random, and the one with fewer outstanding requests."""
        if len(self._fleet) == 1:
            return 0
        first = self._random()
        second = int(self._rng.random() * (len(self._fleet) - 1))
        second += second >= first
        return second if self._fleet[second].outstanding < self._fleet[first].outstanding else first
