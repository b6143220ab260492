"""What slows a server over time or with its load: pauses, leaks, caches, neighbors, correlated times.

Each class is one mechanism with its state. Times are seconds on the server's clock; factors multiply work or speed.
"""

from __future__ import annotations

import math

from tests.studies.law_replica import Influence, LawReplica


class PeriodicPause(Influence):
    """The whole server pauses for `pause_s`, `period_s` after its last pause, such as for a scheduled snapshot."""

    def __init__(self, period_s: float, pause_s: float) -> None:
        self._period_s, self._pause_s = period_s, pause_s
        self.next_s = period_s

    def change(self, now_s: float, replica: LawReplica) -> None:
        if self.speed:
            self.speed, self.next_s = 0.0, now_s + self._pause_s
        else:
            self.speed, self.next_s = 1.0, now_s + self._period_s


class AllocationPause(Influence):
    """A collection after every `requests` completed: `base_s`, and `per_live_s` for each request then in flight."""

    def __init__(self, requests: int, base_s: float, per_live_s: float) -> None:
        self._requests, self._base_s, self._per_live_s = requests, base_s, per_live_s
        self._left = requests

    def on_finish(self, now_s: float, replica: LawReplica) -> None:
        self._left -= 1
        if self._left <= 0 and self.speed:
            self._left = self._requests
            self.speed = 0.0
            self.next_s = now_s + self._base_s + self._per_live_s * (replica.outstanding - 1)

    def change(self, now_s: float, replica: LawReplica) -> None:
        self.speed, self.next_s = 1.0, math.inf


class LoadDependentCache(Influence):
    """Requests in flight evict each other's entries: the hit rate is `hit_share` / (1 + in flight / `size`)."""

    def __init__(self, hit_share: float, size: float, hit_work: float) -> None:
        self._hit_share, self._size, self._hit_work = hit_share, size, hit_work

    def adjust_work_s(self, now_s: float, work_s: float, replica: LawReplica) -> float:
        is_hit = replica.rng.random() < self._hit_share / (1 + replica.outstanding / self._size)
        return work_s * (self._hit_work if is_hit else 1.0)


class ExpiringCache(Influence):
    """A cache that is emptied every `period_s` and refilled by requests: it is half full after `half_requests`."""

    def __init__(self, hit_share: float, period_s: float, half_requests: float, hit_work: float) -> None:
        self._hit_share, self._half, self._hit_work = hit_share, half_requests, hit_work
        self._period_s, self._requests = period_s, 0
        self.next_s = period_s

    def change(self, now_s: float, replica: LawReplica) -> None:
        self._requests, self.next_s = 0, now_s + self._period_s

    def adjust_work_s(self, now_s: float, work_s: float, replica: LawReplica) -> float:
        self._requests += 1
        filled = self._requests / (self._requests + self._half)
        return work_s * (self._hit_work if replica.rng.random() < self._hit_share * filled else 1.0)


class RequestLeak(Influence):
    """Each request leaves something behind: work grows by `growth` per request, until the process is recycled.

    It is recycled after `requests`, and stands still for `restart_s` meanwhile.
    """

    def __init__(self, growth: float, requests: int, restart_s: float) -> None:
        self._growth, self._requests, self._restart_s = growth, requests, restart_s
        self._count = 0

    def adjust_work_s(self, now_s: float, work_s: float, replica: LawReplica) -> float:
        return work_s * (1 + self._growth * self._count)

    def on_finish(self, now_s: float, replica: LawReplica) -> None:
        self._count += 1
        if self._count >= self._requests and self.speed:
            self._count, self.speed, self.next_s = 0, 0.0, now_s + self._restart_s

    def change(self, now_s: float, replica: LawReplica) -> None:
        self.speed, self.next_s = 1.0, math.inf


class TimeLeak(Influence):
    """The server slows down by `per_minute` of its first speed each minute, and is not restarted."""

    def __init__(self, per_minute: float) -> None:
        self._per_s = per_minute / 60

    def adjust_work_s(self, now_s: float, work_s: float, replica: LawReplica) -> float:
        return work_s * (1 + self._per_s * now_s)


class CorrelatedWork(Influence):
    """The logarithm of the work follows an AR(1) process from request to request, with mean factor 1."""

    def __init__(self, correlation: float, sigma: float) -> None:
        self._correlation, self._sigma, self._level = correlation, sigma, 0.0
        self._innovation = math.sqrt(1 - correlation**2)

    def adjust_work_s(self, now_s: float, work_s: float, replica: LawReplica) -> float:
        self._level = self._correlation * self._level + self._innovation * replica.rng.gauss(0.0, 1.0)
        return work_s * math.exp(self._sigma * self._level - self._sigma**2 / 2)


class OnOffSpeed(Influence):
    """Speed 1 for an exponential time of mean `fast_s`, then `slow_speed` for one of mean `slow_s`, and so on."""

    def __init__(self, fast_s: float, slow_s: float, slow_speed: float) -> None:
        self._means_s, self._slow_speed = {1.0: fast_s, slow_speed: slow_s}, slow_speed
        self.next_s = 0.0
        self.speed = slow_speed

    def change(self, now_s: float, replica: LawReplica) -> None:
        self.speed = self._slow_speed if self.speed == 1.0 else 1.0
        self.next_s = now_s + replica.rng.expovariate(1 / self._means_s[self.speed])


class ModulatedWork(Influence):
    """Requests of a busy kind come in phases: work is multiplied by `factor` for every request that starts in one.

    Phases and the times between them are exponential. Unlike a slow server, a request keeps its work when the phase
    ends.
    """

    def __init__(self, between_s: float, phase_s: float, factor: float) -> None:
        self._between_s, self._phase_s, self._factor = between_s, phase_s, factor
        self._is_in_phase = True
        self.next_s = 0.0

    def change(self, now_s: float, replica: LawReplica) -> None:
        self._is_in_phase = not self._is_in_phase
        mean_s = self._phase_s if self._is_in_phase else self._between_s
        self.next_s = now_s + replica.rng.expovariate(1 / mean_s)

    def adjust_work_s(self, now_s: float, work_s: float, replica: LawReplica) -> float:
        return work_s * (self._factor if self._is_in_phase else 1.0)


class SlowStart(Influence):
    """After `idle_s` without a request in flight, the next requests are slow: the first takes `factor` times its work,
    and each one after it `decay` of the excess of the one before."""

    def __init__(self, idle_s: float, factor: float, decay: float) -> None:
        self._idle_s, self._factor, self._decay = idle_s, factor, decay
        self._excess = factor - 1

    def adjust_work_s(self, now_s: float, work_s: float, replica: LawReplica) -> float:
        if replica.outstanding == 1 and now_s - replica.last_completed_s >= self._idle_s:
            self._excess = self._factor - 1
        work_s *= 1 + self._excess
        self._excess *= self._decay
        return work_s


class ThermalThrottling(Influence):
    """Work heats the server and time cools it; it runs at `slow_speed` from 1 on until it has cooled to `low`.

    Temperature follows the load, as a share of `full_work_per_s`, with the time constant `constant_s`, and is at most
    `hottest` at full load.
    """

    def __init__(
        self, constant_s: float, hottest: float, low: float, slow_speed: float, full_work_per_s: float
    ) -> None:
        self._hottest, self._low, self._slow_speed = hottest, low, slow_speed
        self._every_s = constant_s / 20
        self._heat_decay = math.exp(-1 / 20)
        self._full_work_s = full_work_per_s * self._every_s
        self._temperature = self._work_s = 0.0
        self.next_s = self._every_s

    def change(self, now_s: float, replica: LawReplica) -> None:
        load = min(1.0, (replica.busy_work_s - self._work_s) / self._full_work_s)
        self._work_s = replica.busy_work_s
        self._temperature = self._heat_decay * self._temperature + (1 - self._heat_decay) * self._hottest * load
        if self._temperature >= 1:
            self.speed = self._slow_speed
        elif self._temperature <= self._low:
            self.speed = 1.0
        self.next_s = now_s + self._every_s


class InnerRetries(Influence):
    """An attempt fails with a probability that grows with the requests in flight; it is repeated after a backoff.

    The request keeps its worker meanwhile. The probability is `share` × (1 + in flight / `size`), at most 0.6; the
    backoff doubles with each attempt, of which there are at most five.
    """

    def __init__(self, share: float, size: float, backoff_s: float) -> None:
        self._share, self._size, self._backoff_s = share, size, backoff_s

    def adjust_work_s(self, now_s: float, work_s: float, replica: LawReplica) -> float:
        probability = min(0.6, self._share * (1 + replica.outstanding / self._size))
        total_s, backoff_s = work_s, self._backoff_s
        for _ in range(4):
            if replica.rng.random() >= probability:
                break
            total_s += backoff_s + work_s
            backoff_s *= 2
        return total_s


class InnerAutoscaler(Influence):
    """Workers are added one at a time, `delay_s` after more than `high` requests per worker were in flight.

    One is taken away when fewer than `low` per worker were in flight at a check; at most `more` are added.
    """

    def __init__(self, base: int, more: int, high: float, low: float, every_s: float, delay_s: float) -> None:
        self._base, self._more, self._high, self._low = base, more, high, low
        self._every_s, self._delay_checks = every_s, max(1, round(delay_s / every_s))
        self._over_checks = 0
        self.next_s = every_s

    def change(self, now_s: float, replica: LawReplica) -> None:
        per_worker = replica.outstanding / (self._base + self.workers)
        self._over_checks = self._over_checks + 1 if per_worker > self._high else 0
        if self._over_checks >= self._delay_checks and self.workers < self._more:
            self.workers += 1
            self._over_checks = 0
        elif per_worker < self._low and self.workers > 0:
            self.workers -= 1
        self.next_s = now_s + self._every_s


class WriteBehind(Influence):
    """Every `requests` completed, what they wrote is flushed: for `per_request_s` × `requests` at `slow_speed`."""

    def __init__(self, requests: int, per_request_s: float, slow_speed: float) -> None:
        self._requests, self._flush_s, self._slow_speed = requests, per_request_s * requests, slow_speed
        self._dirty = 0

    def on_finish(self, now_s: float, replica: LawReplica) -> None:
        self._dirty += 1
        if self._dirty >= self._requests and self.speed == 1.0:
            self._dirty, self.speed, self.next_s = 0, self._slow_speed, now_s + self._flush_s

    def change(self, now_s: float, replica: LawReplica) -> None:
        self.speed, self.next_s = 1.0, math.inf


class BackgroundJob(Influence):
    """A job takes `workers_taken` workers for `job_s` every `period_s`, such as a compaction or a backup."""

    def __init__(self, workers_taken: int, period_s: float, job_s: float) -> None:
        self._taken, self._period_s, self._job_s = workers_taken, period_s, job_s
        self.next_s = period_s

    def change(self, now_s: float, replica: LawReplica) -> None:
        if self.workers:
            self.workers, self.next_s = 0, now_s + self._period_s
        else:
            self.workers, self.next_s = -self._taken, now_s + self._job_s


class FrequencyGovernor(Influence):
    """The clock follows the load: from `low_speed` when idle to 1 when more than `high` requests were in flight.

    It is adjusted at each check, half of the way.
    """

    def __init__(self, low_speed: float, high: float, every_s: float) -> None:
        self._low_speed, self._high, self._every_s = low_speed, high, every_s
        self.speed = low_speed
        self.next_s = every_s

    def change(self, now_s: float, replica: LawReplica) -> None:
        load = min(1.0, replica.outstanding / self._high)
        self.speed += (self._low_speed + (1 - self._low_speed) * load - self.speed) / 2
        self.next_s = now_s + self._every_s
