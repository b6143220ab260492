"""Simulated replica with processor sharing: all requests run at once and share the cores equally.

All running requests receive work at the same rate. On a clock of work per request, the end of each
request is therefore known, regardless of later arrivals. No request waits, so no request times out.
"""

from __future__ import annotations

import math

from app.planning.simulation.compiled import compiled, inlined
from app.planning.simulation.queueing import get_class, get_service_factor, pop_waiting, record_response
from app.planning.simulation.slots import pop_running, push_running
from app.planning.simulation.state import (
    ARRIVAL,
    BUSY,
    CLOCK,
    DONE,
    DONE_SUM,
    ENDS,
    HEAD,
    NEXT,
    NORMAL,
    OUTSIDE,
    PACKED_CLASS,
    PER_ITEM,
    RUNNING,
    WAITING,
    WIDTH,
    WORK,
    Fleet,
)


@compiled
def advance_shared(fleet: Fleet, replica: int, end_s: float) -> None:
    """Simulate a replica with processor sharing up to the time `end_s`, including the start of
    requests that arrived before."""
    while fleet.counts[replica, RUNNING] > 0:
        done_s = _compute_next_end_s(fleet, replica)
        if done_s > end_s:
            break
        fleet.floats[replica, CLOCK], fleet.floats[replica, DONE] = fleet.running[replica, 0, ENDS], done_s
        response_time_s = done_s + fleet.floats[replica, OUTSIDE]
        packed_class, arrival_s = int(fleet.running[replica, 0, PACKED_CLASS]), fleet.running[replica, 0, ARRIVAL]
        record_response(fleet, packed_class, response_time_s - arrival_s)
        pop_running(fleet, replica)
    if fleet.counts[replica, RUNNING] > 0:
        fleet.floats[replica, CLOCK] += (end_s - fleet.floats[replica, DONE]) * _compute_cores_per_request(
            fleet, replica
        )
        fleet.floats[replica, DONE] = end_s
    while fleet.counts[replica, WAITING] > 0:
        _start_oldest(fleet, replica, end_s)
    fleet.floats[replica, NEXT] = _compute_next_end_s(fleet, replica)


@inlined
def get_remaining_work_s(fleet: Fleet, replica: int, now_s: float) -> float:
    """Return the remaining work of all running requests, in seconds of one core.

    The result is valid only if no request ends between the last update of the replica and `now_s`.
    """
    running_count = fleet.counts[replica, RUNNING]
    if running_count == 0:
        return 0.0
    clock_s = fleet.floats[replica, CLOCK] + (now_s - fleet.floats[replica, DONE]) * _compute_cores_per_request(
        fleet, replica
    )
    return float(fleet.floats[replica, DONE_SUM] - running_count * clock_s)


@inlined
def _compute_cores_per_request(fleet: Fleet, replica: int) -> float:
    """Return the number of cores per running request; at most 1."""
    return float(min(1.0, fleet.counts[replica, WIDTH] / fleet.counts[replica, RUNNING]))


@inlined
def _compute_next_end_s(fleet: Fleet, replica: int) -> float:
    if fleet.counts[replica, RUNNING] == 0:
        return float(math.inf)
    remaining_s = max(0.0, fleet.running[replica, 0, ENDS] - fleet.floats[replica, CLOCK])
    return float(fleet.floats[replica, DONE] + remaining_s / _compute_cores_per_request(fleet, replica))


@inlined
def _start_oldest(fleet: Fleet, replica: int, now_s: float) -> None:
    """Start the oldest waiting request; its end is known on the clock of work per request."""
    if fleet.counts[replica, RUNNING] == 0:
        fleet.floats[replica, CLOCK], fleet.floats[replica, DONE] = 0.0, now_s
    head = fleet.counts[replica, HEAD]
    packed_class, arrival_s = int(fleet.queues[head, replica, PACKED_CLASS]), fleet.queues[head, replica, ARRIVAL]
    work_s = fleet.floats[replica, PER_ITEM] * fleet.classes[get_class(packed_class), WORK]
    work_s *= get_service_factor(fleet, replica, fleet.queues[head, replica, NORMAL])
    pop_waiting(fleet, replica)
    push_running(fleet, replica, fleet.floats[replica, CLOCK] + work_s, arrival_s, packed_class)
    fleet.floats[replica, BUSY] += work_s / fleet.counts[replica, WIDTH]
