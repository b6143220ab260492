"""A hundred laws of service outside the families that the product fits.

Laws 0 to 59 are fixed: two settings of each of thirty mechanisms, drawn from the number of the law alone. Laws 60 to 79
are new settings of mechanisms that are drawn, and laws 80 to 99 combine two mechanisms; both are drawn from the seed of
the study. `draw_law` returns a law, whose server is played by `tests.studies.law_replica`.

A mechanism is a function from a plain server (workers that serve one queue, times from a gamma distribution) to one
that differs from it. Its times are relative to `pace_s`, the time between two responses at full load, so that a cycle
has as many requests whether the server is fast or slow.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from tests.studies import influences
from tests.studies.law_replica import Influence, LawReplica, Layout, Station

LAWS, FIXED_LAWS, SETTINGS_EACH, REDRAWN_LAWS = 100, 60, 2, 20
Floats = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Law:
    """`mean_s` and `cv` describe the work of a request; `layout` and `influences` what becomes of it.

    With `is_aging`, the server at the end of an hour differs from that at its beginning.
    """

    mechanisms: tuple[str, ...]
    mean_s: float
    cv: float
    workers: int
    outside_s: float
    layout: Layout
    influences: tuple[Callable[[], Influence], ...] = ()
    is_aging: bool = False

    @property
    def name(self) -> str:
        return " + ".join(self.mechanisms)

    @property
    def pace_s(self) -> float:
        return self.mean_s / self.workers

    def new_replica(self, seed: int) -> LawReplica:
        return LawReplica(self.layout, [create() for create in self.influences], seed)

    def draw_works_s(self, count: int, rng: np.random.Generator) -> Floats:
        return rng.gamma(1 / self.cv**2, self.mean_s * self.cv**2, count)


@dataclasses.dataclass(frozen=True)
class Draw:
    """Values drawn from a seed."""

    rng: np.random.Generator

    def between(self, low: float, high: float) -> float:
        """Log-uniform."""
        return float(math.exp(self.rng.uniform(math.log(low), math.log(high))))

    def uniform(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def integer(self, low: int, high: int) -> int:
        """From `low` to `high`, both included."""
        return int(self.rng.integers(low, high + 1))


Mechanism = Callable[[Law, Draw], Law]


def _influenced(law: Law, create: Callable[[], Influence], **changes: object) -> Law:
    return dataclasses.replace(law, influences=(*law.influences, create), **changes)  # type: ignore[arg-type]


def _with_stations(law: Law, *stations: Station, **changes: object) -> Law:
    return dataclasses.replace(law, layout=dataclasses.replace(law.layout, stations=stations, **changes))  # type: ignore[arg-type]


# --- pauses and slow phases -------------------------------------------------------------------------------------------


def pauses_by_the_clock(law: Law, draw: Draw) -> Law:
    period_s = law.pace_s * draw.between(150, 2_000)
    return _influenced(law, partial(influences.PeriodicPause, period_s, period_s * draw.uniform(0.01, 0.06)))


def pauses_by_allocation(law: Law, draw: Draw) -> Law:
    requests = round(draw.between(100, 1_500))
    base_s, live_s = law.pace_s * requests * draw.uniform(0.01, 0.04), law.pace_s * draw.uniform(0.2, 2.0)
    return _influenced(law, partial(influences.AllocationPause, requests, base_s, live_s))


def write_behind_flushes(law: Law, draw: Draw) -> Law:
    requests, slow_speed = round(draw.between(100, 2_000)), draw.uniform(0.3, 0.7)
    return _influenced(
        law, partial(influences.WriteBehind, requests, law.pace_s * draw.uniform(0.08, 0.25), slow_speed)
    )


def background_job(law: Law, draw: Draw) -> Law:
    law = _resized(law, max(2, law.workers))
    period_s = law.pace_s * draw.between(300, 3_000)
    job = partial(
        influences.BackgroundJob, max(1, law.workers // 2), period_s, period_s * draw.uniform(0.05, 0.25)
    )  # half of the workers
    return _influenced(law, job)


def noisy_neighbor(law: Law, draw: Draw) -> Law:
    slow_s = law.pace_s * draw.between(30, 600)
    create = partial(influences.OnOffSpeed, slow_s * draw.uniform(3, 12), slow_s, draw.uniform(0.4, 0.75))
    return _influenced(law, create)


def thermal_throttling(law: Law, draw: Draw) -> Law:
    create = partial(
        influences.ThermalThrottling, draw.uniform(30, 240), draw.uniform(1.2, 1.8), draw.uniform(0.7, 0.9),
        draw.uniform(0.6, 0.85), law.workers,
    )  # fmt: skip
    return _influenced(_slowed(law, draw), create, is_aging=True)


def frequency_governor(law: Law, draw: Draw) -> Law:
    create = partial(
        influences.FrequencyGovernor, draw.uniform(0.4, 0.75), draw.uniform(0.7, 1.5) * law.workers,
        law.mean_s * draw.between(2, 30),
    )  # fmt: skip
    return _influenced(law, create)


# --- times that depend on what was before -----------------------------------------------------------------------------


def leak_by_request(law: Law, draw: Draw) -> Law:
    requests = round(draw.between(400, 4_000))
    create = partial(
        influences.RequestLeak, draw.uniform(0.3, 1.0) / requests, requests, law.pace_s * draw.between(5, 60)
    )
    return _influenced(law, create)


def leak_by_minute(law: Law, draw: Draw) -> Law:
    return _influenced(_slowed(law, draw), partial(influences.TimeLeak, draw.between(0.003, 0.02)), is_aging=True)


def correlated_times(law: Law, draw: Draw) -> Law:
    create = partial(influences.CorrelatedWork, 1 - draw.between(0.002, 0.1), draw.uniform(0.25, 0.6))
    return _influenced(law, create)


def modulated_times(law: Law, draw: Draw) -> Law:
    phase_s = law.pace_s * draw.between(30, 500)
    create = partial(influences.ModulatedWork, phase_s * draw.uniform(3, 10), phase_s, draw.uniform(1.4, 2.5))
    return _influenced(law, create)


def slow_start_after_idle(law: Law, draw: Draw) -> Law:
    create = partial(
        influences.SlowStart, law.mean_s * draw.between(0.3, 3), draw.uniform(2, 5), draw.uniform(0.2, 0.8)
    )
    return _influenced(law, create)


def cache_that_shrinks_with_load(law: Law, draw: Draw) -> Law:
    create = partial(
        influences.LoadDependentCache,
        draw.uniform(0.5, 0.95),
        law.workers * draw.between(1, 8),
        draw.uniform(0.02, 0.2),
    )
    return _influenced(law, create)


def cache_that_expires(law: Law, draw: Draw) -> Law:
    requests = draw.between(500, 5_000)
    create = partial(
        influences.ExpiringCache, draw.uniform(0.4, 0.8), law.pace_s * requests, requests * draw.uniform(0.02, 0.1),
        draw.uniform(0.02, 0.2),
    )  # fmt: skip
    return _influenced(law, create)


def retries_inside(law: Law, draw: Draw) -> Law:
    create = partial(
        influences.InnerRetries, draw.uniform(0.01, 0.06), law.workers * draw.between(1, 6),
        law.mean_s * draw.between(0.3, 3),
    )  # fmt: skip
    return _influenced(law, create)


def inner_autoscaler(law: Law, draw: Draw) -> Law:
    law = _resized(law, max(2, law.workers))
    more = draw.integer(1, law.workers)
    base, every_s = law.workers, law.mean_s * draw.between(2, 20)
    create = partial(
        influences.InnerAutoscaler, base, more, draw.uniform(1.2, 2.5), draw.uniform(0.3, 0.6), every_s,
        every_s * draw.integer(1, 8),
    )  # fmt: skip
    return _influenced(law, create)


# --- other layouts than one queue -------------------------------------------------------------------------------------


def pipeline_of_two(law: Law, draw: Draw) -> Law:
    first = draw.uniform(0.3, 0.7)
    return _with_stations(
        law, Station(law.workers, first),
        Station(max(1, round(law.workers * draw.uniform(0.6, 1.5))), 1 - first, buffer=draw.integer(0, 6)),
    )  # fmt: skip


def pipeline_of_three(law: Law, draw: Draw) -> Law:
    cuts = sorted((draw.uniform(0.15, 0.5), draw.uniform(0.5, 0.85)))
    shares = (cuts[0], cuts[1] - cuts[0], 1 - cuts[1])
    stations = [
        Station(max(1, law.workers + draw.integer(-1, 1)), share, buffer=draw.integer(0, 8) if number else math.inf)
        for number, share in enumerate(shares)
    ]
    return _with_stations(law, *stations)


def lock_for_part_of_the_service(law: Law, draw: Draw) -> Law:
    """Workers keep their request while they wait for the lock."""
    law = _resized(law, max(3, law.workers))
    locked = draw.uniform(0.3, 1.2) / law.workers
    return _with_stations(law, Station(512, 1 - locked), Station(1, locked), threads=law.workers)


def heavy_tailed_lock(law: Law, draw: Draw) -> Law:
    law = _resized(law, max(3, law.workers))
    locked = draw.uniform(0.2, 0.6) / law.workers
    return _with_stations(
        law, Station(512, 1 - locked), Station(1, locked, tail=draw.uniform(1.8, 2.6)), threads=law.workers
    )


def convoy_at_a_lock(law: Law, draw: Draw) -> Law:
    law = _resized(law, max(4, law.workers))
    locked = draw.uniform(0.3, 0.8) / law.workers
    wake_s = law.mean_s * locked * draw.uniform(0.02, 0.2)
    return _with_stations(
        law, Station(512, 1 - locked), Station(1, locked, wake_s=wake_s), threads=law.workers * draw.integer(1, 4)
    )


def priority_inversion(law: Law, draw: Draw) -> Law:
    """Requests without priority hold the lock, and are slowed by all that run beside them."""
    law = _resized(law, max(3, law.workers))
    locked = draw.uniform(0.2, 0.6) / law.workers
    lock = Station(1, locked, order="priority", inversion=draw.uniform(0.02, 0.12))
    return _with_stations(
        law, Station(512, 1 - locked), lock, threads=2 * law.workers, priority_share=draw.uniform(0.2, 0.7)
    )


def last_come_first_served(law: Law, draw: Draw) -> Law:
    return _with_stations(law, Station(law.workers, order="last in"))


def connection_limit(law: Law, draw: Draw) -> Law:
    """Shared cores behind a limit of connections; what is above it waits in the backlog of the socket."""
    threads = max(2, round(law.workers * draw.between(1.3, 6)))
    return _with_stations(law, Station(law.workers, order="shared"), threads=threads)


def coherence_losses(law: Law, draw: Draw) -> Law:
    """Shared cores whose total throughput falls with each further request in flight."""
    threads = law.workers * draw.integer(4, 24)
    return _with_stations(
        law, Station(law.workers, order="shared", coherence=draw.between(0.005, 0.06)), threads=threads
    )


def padded_batches(law: Law, draw: Draw) -> Law:
    """Several batches at once, each as long as its longest member times its size."""
    executors, size = draw.integer(1, 3), 2 ** draw.integer(2, 4)
    item_s = law.mean_s / size
    law = dataclasses.replace(law, workers=executors * 2, mean_s=item_s, cv=draw.uniform(0.4, 1.0))
    station = Station(
        executors, max_batch=size, window_s=item_s * draw.between(2, 20), fixed_s=item_s * draw.between(2, 10)
    )
    return _with_stations(law, station)


def ticking_responses(law: Law, draw: Draw) -> Law:
    layout = dataclasses.replace(law.layout, tick_s=law.mean_s * draw.between(0.2, 2))
    return dataclasses.replace(law, layout=layout)


def two_classes_of_workers(law: Law, draw: Draw) -> Law:
    """Backends of two speeds behind one address, which chooses at random."""
    count = max(2, law.workers)
    slow = max(1, round(count * draw.uniform(0.2, 0.5)))
    slow_speed = draw.uniform(0.4, 0.8)
    stations = [Station(1, weight=1.0, speed=slow_speed if number < slow else 1.0) for number in range(count)]
    return _with_stations(_resized(law, count), *stations)


def hot_shards(law: Law, draw: Draw) -> Law:
    """Requests belong to shards of unequal popularity."""
    count, slope = max(3, law.workers), draw.uniform(0.3, 0.9)
    stations = [Station(1, weight=(number + 1) ** -slope) for number in range(count)]
    return _with_stations(_resized(law, count), *stations)


def fork_and_join(law: Law, draw: Draw) -> Law:
    parts = draw.integer(2, 6)
    layout = dataclasses.replace(law.layout, parts=parts)
    return dataclasses.replace(law, layout=layout, mean_s=law.mean_s / parts, workers=law.workers)


def admission_with_a_queue_limit(law: Law, draw: Draw) -> Law:
    layout = dataclasses.replace(law.layout, threads=law.workers, backlog=law.workers * draw.integer(2, 12))
    return dataclasses.replace(law, layout=layout)


# --- draws ------------------------------------------------------------------------------------------------------------

LAYOUTS: tuple[Mechanism, ...] = (
    pipeline_of_two, pipeline_of_three, lock_for_part_of_the_service, heavy_tailed_lock, convoy_at_a_lock,
    priority_inversion, last_come_first_served, connection_limit, coherence_losses, padded_batches, ticking_responses,
    two_classes_of_workers, hot_shards, fork_and_join, admission_with_a_queue_limit,
)  # fmt: skip
INFLUENCES: tuple[Mechanism, ...] = (
    pauses_by_the_clock, pauses_by_allocation, write_behind_flushes, background_job, noisy_neighbor, thermal_throttling,
    leak_by_request, leak_by_minute, correlated_times, modulated_times, slow_start_after_idle,
    cache_that_shrinks_with_load, cache_that_expires, retries_inside, inner_autoscaler,
)  # fmt: skip
FIXED_MECHANISMS = (*INFLUENCES, *LAYOUTS)
REDRAWN_MECHANISMS = (*FIXED_MECHANISMS, frequency_governor)
assert len(FIXED_MECHANISMS) * SETTINGS_EACH == FIXED_LAWS
_NOT_UNDER_AN_INFLUENCE_OF_WORKERS = (background_job, inner_autoscaler)


def _plain(draw: Draw) -> Law:
    workers = draw.integer(1, 6)
    mean_s = draw.between(0.012, 0.15)
    return Law(
        (), mean_s, draw.uniform(0.1, 1.1), workers, mean_s * draw.between(0.02, 0.5), Layout((Station(workers),))
    )


def _resized(law: Law, workers: int) -> Law:
    """Return the law with another number of workers, and so with another pace."""
    stations = (dataclasses.replace(law.layout.stations[0], workers=workers), *law.layout.stations[1:])
    return dataclasses.replace(law, workers=workers, layout=dataclasses.replace(law.layout, stations=stations))


def _slowed(law: Law, draw: Draw) -> Law:
    """Return the law with longer times, so that an hour has at most some 70,000 requests."""
    factor = max(1.0, 0.05 * draw.uniform(1, 3) / law.pace_s)
    return dataclasses.replace(law, mean_s=law.mean_s * factor, outside_s=law.outside_s * factor)


def _built(mechanisms: Sequence[Mechanism], draw: Draw) -> Law:
    law = _plain(draw)
    for mechanism in mechanisms:
        law = mechanism(law, draw)
    return dataclasses.replace(law, mechanisms=tuple(one.__name__.replace("_", " ") for one in mechanisms))


def _combined(draw: Draw) -> tuple[Mechanism, ...]:
    """Two mechanisms: a layout and an influence, or two influences."""
    second = INFLUENCES[draw.integer(0, len(INFLUENCES) - 1)]
    if draw.rng.random() < 0.3:
        others = [one for one in INFLUENCES if one is not second]
        return others[draw.integer(0, len(others) - 1)], second
    layouts = LAYOUTS if second not in _NOT_UNDER_AN_INFLUENCE_OF_WORKERS else (ticking_responses,)
    return layouts[draw.integer(0, len(layouts) - 1)], second


def draw_law(number: int, seed: int) -> Law:
    """Return law `number` of a study with this seed. Laws below FIXED_LAWS do not depend on the seed."""
    if number < FIXED_LAWS:
        return _built([FIXED_MECHANISMS[number // SETTINGS_EACH]], Draw(np.random.default_rng([20_261_202, number])))
    draw = Draw(np.random.default_rng([seed, number, 7]))
    if number < FIXED_LAWS + REDRAWN_LAWS:
        return _built([REDRAWN_MECHANISMS[draw.integer(0, len(REDRAWN_MECHANISMS) - 1)]], draw)
    return _built(_combined(draw), draw)
