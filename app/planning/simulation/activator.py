"""Activator: a replica slot of the simulated fleet that queues requests while no replica is ready.

The activator is a row of the fleet with a single service slot that is always busy. Requests wait in
its queue, may time out there, and are dropped if the queue is full. The module also sums the
latencies and ages of requests for autoscalers.
"""

from __future__ import annotations

import numpy as np

from app.planning.simulation.compiled import compiled
from app.planning.simulation.queueing import pop_waiting, push_waiting
from app.planning.simulation.routing import advance_replica, route
from app.planning.simulation.serving import estimate_request_work_s, is_full
from app.planning.simulation.state import (
    ARRIVAL,
    DECODING,
    DONE,
    DROPPED,
    HEAD,
    KIND,
    LATENCY,
    NEXT,
    NORMAL,
    PACKED_CLASS,
    PREFILL,
    PREFILL_HEAD,
    PREFILLING,
    REQUEST_INDEX,
    RUNNING,
    SLOT,
    SUM,
    TOKENS,
    WAITING,
    WIDTH,
    Fleet,
)

_MOVED_INDEX_OFFSET = 1 << 40  # offset that separates the random numbers of moved requests from those of arrivals


def make_activator(fleet: Fleet, replica: int) -> None:
    """Turn the replica, which must have a single slot, into an activator, which never serves
    requests."""
    fleet.floats[replica, DONE] = np.inf


def release_queued_requests(fleet: Fleet, activator: int, now_s: float) -> None:
    """Move all queued requests of the activator to routable replicas, oldest first. No moved
    request starts before `now_s`.
    """
    if fleet.counts[activator, WAITING]:
        _move_queued_requests(fleet, activator, now_s)


def sum_latencies_s(fleet: Fleet) -> float:
    """Return the sum of the latencies of all responses so far, in seconds."""
    return float(fleet.classes[:, SUM + LATENCY].sum())


@compiled
def sum_ages_s(fleet: Fleet, now_s: float) -> float:
    """Return the sum of the ages of the requests in flight, in seconds.

    The fleet must have been advanced to `now_s`.
    """
    total_age_s, ring_mask = 0.0, fleet.queues.shape[0] - 1
    for replica in range(fleet.floats.shape[0]):
        for step in range(fleet.counts[replica, WAITING]):
            total_age_s += now_s - fleet.queues[(fleet.counts[replica, HEAD] + step) & ring_mask, replica, ARRIVAL]
        if fleet.counts[replica, KIND] != TOKENS:
            for slot in range(fleet.counts[replica, RUNNING]):
                total_age_s += now_s - fleet.running[replica, slot, ARRIVAL]
            continue
        for slot in range(fleet.counts[replica, DECODING]):
            total_age_s += now_s - fleet.running[replica, fleet.heaps[replica, slot, SLOT], ARRIVAL]
        for step in range(fleet.counts[replica, PREFILLING]):
            slot = (fleet.counts[replica, PREFILL_HEAD] + step) % fleet.counts[replica, WIDTH]
            total_age_s += now_s - fleet.running[replica, fleet.heaps[replica, slot, PREFILL], ARRIVAL]
    return total_age_s


@compiled
def _move_queued_requests(fleet: Fleet, activator: int, now_s: float) -> None:
    advance_replica(fleet, activator, now_s)
    next_request_index = fleet.settings[REQUEST_INDEX]
    for number in range(fleet.counts[activator, WAITING]):
        head = fleet.counts[activator, HEAD]
        arrival_s, normal = fleet.queues[head, activator, ARRIVAL], fleet.queues[head, activator, NORMAL]
        packed_class = int(fleet.queues[head, activator, PACKED_CLASS])
        pop_waiting(fleet, activator)
        fleet.settings[REQUEST_INDEX] = _MOVED_INDEX_OFFSET + next_request_index + number
        replica = route(fleet, now_s)
        if fleet.floats[replica, NEXT] <= now_s:
            advance_replica(fleet, replica, now_s)
        if is_full(fleet, replica):
            fleet.tallies[packed_class & 255, DROPPED] += 1
            continue
        if fleet.counts[replica, RUNNING] == 0:
            fleet.floats[replica, DONE] = max(fleet.floats[replica, DONE], now_s)
        push_waiting(
            fleet,
            replica,
            arrival_s,
            normal,
            estimate_request_work_s(fleet, replica, normal, packed_class),
            packed_class,
        )
        advance_replica(fleet, replica, now_s)
    fleet.settings[REQUEST_INDEX] = next_request_index
