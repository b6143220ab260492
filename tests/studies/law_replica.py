"""One server of a law of service, as an event simulation that shares no code with the product.

A request passes an accept queue, then the stations of the server in order, and is released. Influences change the speed
of the server, its number of workers, or the work of a request. `LawReplica` fits `tests.studies.event_simulator`, which
plays fleets of them behind a router.

    latencies_s = simulate(arrivals_s, works_s, lambda: LawReplica(layout, (), seed=1))

Time at a station is work: one second of work takes a second at speed 1, and none is done while the speed is 0.
"""

from __future__ import annotations

import dataclasses
import heapq
import math
import random
from collections import deque
from collections.abc import Sequence
from typing import Literal

Order = Literal["first in", "last in", "priority", "shared"]
_SPEED, _WINDOW, _RELEASE, _STATION = range(4)


@dataclasses.dataclass(frozen=True)
class Station:
    """Workers that serve one queue. With order "shared", all requests run at once and share the workers equally.

    `share` is the part of a request's work that is done here. A shared station loses throughput to coherence:
    n requests have 1 / (1 + `coherence` × (n − 1)) of its speed. A station with `max_batch` above 1 serves groups:
    `fixed_s` plus the longest work of the group times its size. `tail` is the index of a Pareto factor of mean 1.
    """

    workers: int = 1
    share: float = 1.0
    order: Order = "first in"
    buffer: float = math.inf
    """Requests that can wait here; the worker of a station before this one is blocked while it is full."""
    max_batch: int = 1
    window_s: float = 0.0
    fixed_s: float = 0.0
    tail: float = 0.0
    coherence: float = 0.0
    wake_s: float = 0.0
    """Work added for each request that waits when a request starts."""
    inversion: float = 0.0
    """Share by which a request without priority is slowed for each request that has a thread."""
    speed: float = 1.0
    weight: float = 0.0
    """Share of the requests that go to this station alone; 0 where all requests pass all stations."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """Stations, and what is in front of and behind them.

    `threads` requests are in the server at once, the others wait in the accept queue, where `backlog` have room; a
    request that finds none fails at once. `tick_s` is the interval at which responses are released. `parts` is the
    number of parallel parts of a request, which are served on their own and joined.
    """

    stations: tuple[Station, ...] = (Station(),)
    threads: float = math.inf
    backlog: float = math.inf
    tick_s: float = 0.0
    parts: int = 1
    priority_share: float = 0.0


class Influence:
    """What changes a server over time or with its load; one object for each server, with its state."""

    speed = 1.0
    workers = 0
    """Workers added to the first station, or taken away."""
    next_s = math.inf
    """When `change` is due; infinity if nothing is scheduled."""

    def change(self, now_s: float, replica: LawReplica) -> None:
        """Do what is due, and set `next_s` to a later time."""

    def adjust_work_s(self, now_s: float, work_s: float, replica: LawReplica) -> float:
        """Return the work of a request that starts at the first station that it visits."""
        return work_s

    def on_finish(self, now_s: float, replica: LawReplica) -> None:
        """React to a request that was completed."""


class _Job:
    __slots__ = ("entered_s", "has_priority", "parts_left", "request", "station", "works_s")

    def __init__(self, request: int, works_s: list[tuple[int, float]], has_priority: bool, parts: int) -> None:
        self.request, self.works_s, self.has_priority, self.parts_left = request, works_s, has_priority, parts
        self.station = -1
        self.entered_s = 0.0


class _StationState:
    __slots__ = ("blocked", "queue", "running", "settings", "updated_s", "urgent", "work_done_s")

    def __init__(self, settings: Station) -> None:
        self.settings = settings
        self.queue: deque[tuple[_Job, float]] = deque()
        self.urgent: deque[tuple[_Job, float]] = deque()
        self.running: list[tuple[float, int, list[_Job]]] = []
        self.blocked = 0
        """Workers whose request is done and finds no room at the next station."""
        self.work_done_s = 0.0
        """Work that a request would have received here since the beginning: requests end on this clock."""
        self.updated_s = 0.0

    @property
    def waiting(self) -> int:
        return len(self.queue) + len(self.urgent)

    def rate(self, speed: float) -> float:
        settings = self.settings
        speed *= settings.speed
        if settings.order != "shared":
            return speed
        count = len(self.running)
        if count <= 1:
            return speed
        return speed * min(1.0, settings.workers / count) / (1 + settings.coherence * (count - 1))

    def update(self, now_s: float, speed: float) -> None:
        if self.running:
            self.work_done_s += (now_s - self.updated_s) * self.rate(speed)
        self.updated_s = now_s


class LawReplica:
    """One server. `failed` has the refused requests, which complete at once."""

    def __init__(self, layout: Layout, influences: Sequence[Influence] = (), seed: int = 1) -> None:
        self.outstanding = 0
        self.failed: set[int] = set()
        self.rng = random.Random(seed)
        self.last_completed_s = 0.0
        self.busy_work_s = 0.0
        """Work that was started since the beginning."""
        self._layout, self._influences = layout, tuple(influences)
        self._stations = [_StationState(station) for station in layout.stations]
        self._accept: deque[_Job] = deque()
        self._inside = 0
        self._speed, self._workers = 1.0, layout.stations[0].workers
        self._sequence = 0
        self._blocked_before: list[deque[_Job]] = [deque() for _ in layout.stations]
        self._timers: list[tuple[float, int, int]] = []
        """Releases and ends of batch windows: time, kind, and the request or the station."""
        self._due = (math.inf, _SPEED, 0)
        self._weights = [station.weight for station in layout.stations]
        self._follow_influences(0.0)

    # --- the protocol of the fleet simulator --------------------------------------------------------------------------

    def arrive(self, now_s: float, request: int, service_s: float) -> None:
        self._catch_up(now_s)
        self.outstanding += 1
        job = _Job(request, self._route(service_s), self.rng.random() < self._layout.priority_share, self._layout.parts)
        if self._inside < self._layout.threads:
            self._inside += 1
            self._enter(now_s, job, 0)
        elif len(self._accept) < self._layout.backlog:
            self._accept.append(job)
        else:
            self.failed.add(request)
            heapq.heappush(self._timers, (now_s, _RELEASE, request))

    def next_event_s(self) -> float:
        if not self.outstanding:
            return math.inf
        due = (math.inf, _SPEED, 0)
        for number, state in enumerate(self._stations):
            if state.running and (rate := state.rate(self._speed)) > 0:
                at_s = max(state.updated_s, state.updated_s + (state.running[0][0] - state.work_done_s) / rate)
                if at_s < due[0]:
                    due = (at_s, _STATION, number)
        for number, influence in enumerate(self._influences):
            if influence.next_s < due[0]:
                due = (influence.next_s, _SPEED, number)
        if self._timers and self._timers[0][0] <= due[0]:
            due = self._timers[0]
        self._due = due
        return due[0]

    def advance(self, now_s: float) -> list[int]:
        _, kind, number = self._due
        if kind == _STATION:
            return self._finish_at(now_s, number)
        if kind == _SPEED:
            self._influences[number].change(now_s, self)
            self._follow_influences(now_s)
            return []
        heapq.heappop(self._timers)
        if kind == _WINDOW:
            self._start(now_s, number)
            return []
        return self._complete(now_s, number)

    # --- requests -----------------------------------------------------------------------------------------------------

    def _route(self, work_s: float) -> list[tuple[int, float]]:
        stations = self._layout.stations
        if self._weights[0]:
            return [(self.rng.choices(range(len(stations)), self._weights)[0], work_s)]
        return [
            (number, station.share * work_s * self._draw_tail(station.tail)) for number, station in enumerate(stations)
        ]

    def _draw_tail(self, index: float) -> float:
        return self.rng.paretovariate(index) * (index - 1) / index if index else 1.0

    def _enter(self, now_s: float, job: _Job, place: int) -> None:
        job.station, job.entered_s = place, now_s
        number, work_s = job.works_s[place]
        state = self._stations[number]
        queue = state.urgent if job.has_priority and state.settings.order == "priority" else state.queue
        if job.parts_left == 1:
            queue.append((job, work_s))
        else:
            queue.extend((job, work_s * self.rng.expovariate(1.0)) for _ in range(job.parts_left))
        if state.settings.window_s:
            heapq.heappush(self._timers, (now_s + state.settings.window_s, _WINDOW, number))
        self._start(now_s, number)

    def _start(self, now_s: float, number: int) -> None:
        """Start what waits at a station while it has workers."""
        state = self._stations[number]
        settings = state.settings
        workers = self._workers if number == 0 else settings.workers
        while state.queue or state.urgent:
            if settings.order != "shared" and len(state.running) + state.blocked >= workers:
                return
            if settings.max_batch > 1:
                is_due = now_s >= state.queue[0][0].entered_s + settings.window_s - 1e-12
                if len(state.queue) < settings.max_batch and not is_due:
                    return
                group = [state.queue.popleft() for _ in range(min(len(state.queue), settings.max_batch))]
                work_s = settings.fixed_s + len(group) * max(work_s for _, work_s in group)
                jobs = [job for job, _ in group]
            else:
                queue = state.urgent or state.queue
                job, work_s = queue.pop() if settings.order == "last in" else queue.popleft()
                jobs = [job]
                work_s += settings.wake_s * state.waiting
                if settings.inversion and not job.has_priority:
                    work_s *= 1 + settings.inversion * self._inside
            if jobs[0].station == 0:
                for influence in self._influences:
                    work_s = influence.adjust_work_s(now_s, work_s, self)
            self.busy_work_s += work_s
            state.update(now_s, self._speed)
            self._sequence += 1
            heapq.heappush(state.running, (state.work_done_s + work_s, self._sequence, jobs))
            self._unblock(now_s, number)

    def _finish_at(self, now_s: float, number: int) -> list[int]:
        state = self._stations[number]
        state.updated_s = now_s
        state.work_done_s, _, jobs = heapq.heappop(state.running)
        done: list[int] = []
        for job in jobs:
            if job.parts_left > 1:
                job.parts_left -= 1
            elif job.station + 1 == len(job.works_s):
                done.extend(self._leave(now_s, job))
            else:
                self._move_on(now_s, job, number)
        self._start(now_s, number)
        if self._blocked_before[number] and self._has_room(number):
            self._unblock(now_s, number)
        return done

    def _move_on(self, now_s: float, job: _Job, number: int) -> None:
        if self._has_room(number + 1):
            self._enter(now_s, job, job.station + 1)
        else:
            self._stations[number].blocked += 1
            self._blocked_before[number + 1].append(job)

    def _has_room(self, number: int) -> bool:
        """Return whether a request can come in to wait, or to start at once."""
        state = self._stations[number]
        is_free = len(state.running) + state.blocked < state.settings.workers
        return is_free or state.waiting < state.settings.buffer

    def _unblock(self, now_s: float, number: int) -> None:
        """Let a request that waits for room at a station come in, which frees a worker of the station before it."""
        if self._blocked_before[number]:
            job = self._blocked_before[number].popleft()
            before = self._stations[number - 1]
            before.blocked -= 1
            self._enter(now_s, job, job.station + 1)
            self._start(now_s, number - 1)

    def _leave(self, now_s: float, job: _Job) -> list[int]:
        self._inside -= 1
        for influence in self._influences:
            influence.on_finish(now_s, self)
        self._follow_influences(now_s)
        if self._accept and self._inside < self._layout.threads:
            self._inside += 1
            self._enter(now_s, self._accept.popleft(), 0)
        tick_s = self._layout.tick_s
        if tick_s:
            heapq.heappush(self._timers, (math.ceil(now_s / tick_s) * tick_s, _RELEASE, job.request))
            return []
        return self._complete(now_s, job.request)

    def _complete(self, now_s: float, request: int) -> list[int]:
        self.outstanding -= 1
        self.last_completed_s = now_s
        return [request]

    # --- influences ---------------------------------------------------------------------------------------------------

    def _catch_up(self, now_s: float) -> None:
        """Do what influences had scheduled while the server was idle."""
        for influence in self._influences:
            while influence.next_s <= now_s:
                influence.change(influence.next_s, self)
        self._follow_influences(now_s)

    def _follow_influences(self, now_s: float) -> None:
        speed, workers = 1.0, self._layout.stations[0].workers
        for influence in self._influences:
            speed *= influence.speed
            workers += influence.workers
        if speed != self._speed:
            for state in self._stations:
                state.update(now_s, self._speed)
            self._speed = speed
        if workers != self._workers:
            is_more, self._workers = workers > self._workers, workers
            if is_more:
                self._start(now_s, 0)
