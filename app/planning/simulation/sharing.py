"""Replica with processor sharing: all requests run at once and share its cores equally.

Every running request receives the same amount of work, so the end of each is known on a clock of work per request,
whatever arrives later. No request waits, so none times out.
"""

from __future__ import annotations

import math

from app.planning.simulation.compiled import compiled, inlined
from app.planning.simulation.queueing import get_class, get_factor, pop_waiting, record_response
from app.planning.simulation.slots import pop_work, push_work
from app.planning.simulation.state import (
    ARRIVAL,
    BATCHES,
    BUSY,
    CLOCK,
    DONE,
    DONE_SUM,
    ENDS,
    HEAD,
    ITEMS,
    MARK,
    NEXT,
    NORMAL,
    OUTSIDE,
    PER_ITEM,
    WAITING,
    WIDTH,
    WORK,
    WORKING,
    Fleet,
)


@compiled
def advance_shared(fleet: Fleet, replica: int, until_s: float) -> None:
    """Advance the replica to `until_s`; requests that have arrived then start."""
    while fleet.counts[replica, WORKING] > 0:
        done_s = _next_end_s(fleet, replica)
        if done_s > until_s:
            break
        fleet.floats[replica, CLOCK], fleet.floats[replica, DONE] = fleet.in_work[replica, 0, ENDS], done_s
        since_s = done_s + fleet.floats[replica, OUTSIDE]
        mark, arrival_s = int(fleet.in_work[replica, 0, MARK]), fleet.in_work[replica, 0, ARRIVAL]
        record_response(fleet, mark, since_s - arrival_s)
        pop_work(fleet, replica)
    if fleet.counts[replica, WORKING] > 0:
        fleet.floats[replica, CLOCK] += (until_s - fleet.floats[replica, DONE]) * _speed(fleet, replica)
        fleet.floats[replica, DONE] = until_s
    while fleet.counts[replica, WAITING] > 0:
        _start(fleet, replica, until_s)
    fleet.floats[replica, NEXT] = _next_end_s(fleet, replica)


@inlined
def get_remaining_work_s(fleet: Fleet, replica: int, now_s: float) -> float:
    """Return the remaining work of all running requests, in s of one core.

    The replica's next end is not before `now_s`.
    """
    working = fleet.counts[replica, WORKING]
    if working == 0:
        return 0.0
    clock_s = fleet.floats[replica, CLOCK] + (now_s - fleet.floats[replica, DONE]) * _speed(fleet, replica)
    return float(fleet.floats[replica, DONE_SUM] - working * clock_s)


@inlined
def _speed(fleet: Fleet, replica: int) -> float:
    """Return the speed of each running request, in cores."""
    return float(min(1.0, fleet.counts[replica, WIDTH] / fleet.counts[replica, WORKING]))


@inlined
def _next_end_s(fleet: Fleet, replica: int) -> float:
    if fleet.counts[replica, WORKING] == 0:
        return float(math.inf)
    left_s = max(0.0, fleet.in_work[replica, 0, ENDS] - fleet.floats[replica, CLOCK])
    return float(fleet.floats[replica, DONE] + left_s / _speed(fleet, replica))


@inlined
def _start(fleet: Fleet, replica: int, now_s: float) -> None:
    """Start the oldest waiting request."""
    if fleet.counts[replica, WORKING] == 0:
        fleet.floats[replica, CLOCK], fleet.floats[replica, DONE] = 0.0, now_s
    head = fleet.counts[replica, HEAD]
    mark, arrival_s = int(fleet.queues[head, replica, MARK]), fleet.queues[head, replica, ARRIVAL]
    work_s = fleet.floats[replica, PER_ITEM] * fleet.classes[get_class(mark), WORK]
    work_s *= get_factor(fleet, replica, fleet.queues[head, replica, NORMAL])
    pop_waiting(fleet, replica)
    push_work(fleet, replica, fleet.floats[replica, CLOCK] + work_s, arrival_s, mark)
    fleet.counts[replica, BATCHES] += 1
    fleet.counts[replica, ITEMS] += 1
    fleet.floats[replica, BUSY] += work_s / fleet.counts[replica, WIDTH]
