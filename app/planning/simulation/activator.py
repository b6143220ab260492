"""Activator: a place before the replicas where requests are held while none is ready; and the requests in a fleet.

The place is a row of the fleet whose replica is never free: one slot that is always busy. Requests wait there as
elsewhere, may time out, and are dropped beyond its queue.
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
    INDEX,
    KIND,
    LATENCY,
    MARK,
    NEXT,
    NORMAL,
    PLACE,
    READ,
    READ_HEAD,
    READING,
    SUM,
    TOKENS,
    WAITING,
    WIDTH,
    WORKING,
    Fleet,
)

_MOVED = 1 << 40  # offset of the random numbers of moved requests, to separate them from those of arrivals


def make_activator(fleet: Fleet, place: int) -> None:
    """Make this replica, which must have one slot, hold its requests from now on."""
    fleet.floats[place, DONE] = np.inf


def release_held(fleet: Fleet, place: int, now_s: float) -> None:
    """Move all held requests to the routable replicas, oldest first; they begin no earlier than now."""
    if fleet.counts[place, WAITING]:
        _move_held(fleet, place, now_s)


def sum_latencies_s(fleet: Fleet) -> float:
    """Return the sum of the latencies of all responses, in s."""
    return float(fleet.classes[:, SUM + LATENCY].sum())


@compiled
def sum_ages_s(fleet: Fleet, now_s: float) -> float:
    """Return the sum of the times that requests in the fleet have spent there.

    The fleet has to be advanced to `now_s`.
    """
    ages_s, mask = 0.0, fleet.queues.shape[0] - 1
    for replica in range(fleet.floats.shape[0]):
        for step in range(fleet.counts[replica, WAITING]):
            ages_s += now_s - fleet.queues[(fleet.counts[replica, HEAD] + step) & mask, replica, ARRIVAL]
        if fleet.counts[replica, KIND] != TOKENS:
            for slot in range(fleet.counts[replica, WORKING]):
                ages_s += now_s - fleet.in_work[replica, slot, ARRIVAL]
            continue
        for slot in range(fleet.counts[replica, DECODING]):
            ages_s += now_s - fleet.in_work[replica, fleet.heaps[replica, slot, PLACE], ARRIVAL]
        for step in range(fleet.counts[replica, READING]):
            slot = (fleet.counts[replica, READ_HEAD] + step) % fleet.counts[replica, WIDTH]
            ages_s += now_s - fleet.in_work[replica, fleet.heaps[replica, slot, READ], ARRIVAL]
    return ages_s


@compiled
def _move_held(fleet: Fleet, place: int, now_s: float) -> None:
    advance_replica(fleet, place, now_s)
    arrivals = fleet.settings[INDEX]
    for number in range(fleet.counts[place, WAITING]):
        head = fleet.counts[place, HEAD]
        arrival_s, normal = fleet.queues[head, place, ARRIVAL], fleet.queues[head, place, NORMAL]
        mark = int(fleet.queues[head, place, MARK])
        pop_waiting(fleet, place)
        fleet.settings[INDEX] = _MOVED + arrivals + number
        replica = route(fleet, now_s)
        if fleet.floats[replica, NEXT] <= now_s:
            advance_replica(fleet, replica, now_s)
        if is_full(fleet, replica):
            fleet.tallies[mark & 255, DROPPED] += 1
            continue
        if fleet.counts[replica, WORKING] == 0:
            fleet.floats[replica, DONE] = max(fleet.floats[replica, DONE], now_s)
        push_waiting(fleet, replica, arrival_s, normal, estimate_request_work_s(fleet, replica, normal, mark), mark)
        advance_replica(fleet, replica, now_s)
    fleet.settings[INDEX] = arrivals
