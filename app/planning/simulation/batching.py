"""Simulated replica that serves queued requests in batches. A replica with one slot is simulated
with a batch size of 1."""

from __future__ import annotations

import math

from app.planning.simulation.compiled import compiled, inlined
from app.planning.simulation.queueing import (
    expire_waiting,
    get_class,
    get_expiry_s,
    get_service_factor,
    pop_waiting,
    record_response,
)
from app.planning.simulation.state import (
    ARRIVAL,
    BUSY,
    DONE,
    FIXED,
    HEAD,
    NEXT,
    NORMAL,
    OUTSIDE,
    PACKED_CLASS,
    PER_ITEM,
    RUNNING,
    WAITING,
    WIDTH,
    WINDOW,
    WORK,
    Fleet,
)


@compiled
def advance_batches(fleet: Fleet, replica: int, end_s: float) -> None:
    """Simulate a replica that serves batches, up to the time `end_s`.

    Batches start only before `end_s`, so that simultaneous arrivals share a batch.
    """
    while True:
        if fleet.counts[replica, RUNNING] > 0:
            done_s = fleet.floats[replica, DONE]
            if done_s > end_s:
                expire_waiting(fleet, replica, end_s)
                fleet.floats[replica, NEXT] = min(done_s, get_expiry_s(fleet, replica))
                return
            _finish_batch(fleet, replica, done_s)
        if fleet.counts[replica, WAITING] == 0:
            fleet.floats[replica, NEXT] = math.inf
            return
        start_s, expiry_s = _get_start_s(fleet, replica), get_expiry_s(fleet, replica)
        if expiry_s < start_s:
            if expiry_s > end_s:
                fleet.floats[replica, NEXT] = expiry_s
                return
            expire_waiting(fleet, replica, min(end_s, start_s))
        elif start_s < end_s:
            _start_batch(fleet, replica, start_s)
        else:
            fleet.floats[replica, NEXT] = start_s
            return


@inlined
def _get_start_s(fleet: Fleet, replica: int) -> float:
    head = fleet.counts[replica, HEAD]
    start_s = fleet.queues[head, replica, ARRIVAL] + fleet.floats[replica, WINDOW]
    max_batch = fleet.counts[replica, WIDTH]
    if fleet.counts[replica, WAITING] >= max_batch:
        start_s = min(start_s, fleet.queues[(head + max_batch - 1) & (fleet.queues.shape[0] - 1), replica, ARRIVAL])
    return float(max(start_s, fleet.floats[replica, DONE]))


@inlined
def _start_batch(fleet: Fleet, replica: int, start_s: float) -> None:
    """Start a batch with all waiting requests, up to the maximum batch size.

    All waiting requests have arrived already, since a replica is advanced before each of its
    arrivals.
    """
    max_batch = fleet.counts[replica, WIDTH]
    factor = get_service_factor(fleet, replica, fleet.queues[fleet.counts[replica, HEAD], replica, NORMAL])
    size, work = 0, 0.0
    while size < max_batch and fleet.counts[replica, WAITING] > 0:
        head = fleet.counts[replica, HEAD]
        arrival_s, packed_class = fleet.queues[head, replica, ARRIVAL], int(fleet.queues[head, replica, PACKED_CLASS])
        fleet.running[replica, size, ARRIVAL] = arrival_s
        fleet.running[replica, size, PACKED_CLASS] = packed_class
        work += fleet.classes[get_class(packed_class), WORK]
        size += 1
        pop_waiting(fleet, replica)
    duration_s = (fleet.floats[replica, FIXED] + fleet.floats[replica, PER_ITEM] * work) * factor
    fleet.counts[replica, RUNNING] = size
    fleet.floats[replica, BUSY] += duration_s
    fleet.floats[replica, DONE] = start_s + duration_s


@inlined
def _finish_batch(fleet: Fleet, replica: int, done_s: float) -> None:
    response_time_s = done_s + fleet.floats[replica, OUTSIDE]
    for slot in range(fleet.counts[replica, RUNNING]):
        record_response(
            fleet,
            int(fleet.running[replica, slot, PACKED_CLASS]),
            response_time_s - fleet.running[replica, slot, ARRIVAL],
        )
    fleet.counts[replica, RUNNING] = 0
