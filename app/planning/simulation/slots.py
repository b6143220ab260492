"""Simulated replica with several slots: requests are served in order of arrival, one per slot."""

from __future__ import annotations

from app.planning.simulation.compiled import compiled
from app.planning.simulation.queueing import (
    expire_waiting,
    get_class,
    get_expiry_s,
    get_factor,
    pop_waiting,
    record_response,
)
from app.planning.simulation.state import (
    ARRIVAL,
    BATCHES,
    BUSY,
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
def advance_slots(fleet: Fleet, replica: int, until_s: float) -> None:
    """Advance the replica to `until_s`. Requests wait only while all slots are taken."""
    while fleet.counts[replica, WORKING] > 0 and fleet.in_work[replica, 0, ENDS] <= until_s:
        done_s = fleet.in_work[replica, 0, ENDS]
        record_response(
            fleet,
            int(fleet.in_work[replica, 0, MARK]),
            done_s + fleet.floats[replica, OUTSIDE] - fleet.in_work[replica, 0, ARRIVAL],
        )
        pop_work(fleet, replica)
        _start_oldest(fleet, replica, done_s)
    _start_oldest(fleet, replica, until_s)
    expire_waiting(fleet, replica, until_s)
    next_s = get_expiry_s(fleet, replica)
    if fleet.counts[replica, WORKING] > 0:
        next_s = min(next_s, fleet.in_work[replica, 0, ENDS])
    fleet.floats[replica, NEXT] = next_s


@compiled
def _start_oldest(fleet: Fleet, replica: int, now_s: float) -> None:
    """Start the oldest waiting request that has not timed out, if a slot is free."""
    while get_expiry_s(fleet, replica) < now_s:
        expire_waiting(fleet, replica, now_s)
    if fleet.counts[replica, WAITING] == 0 or fleet.counts[replica, WORKING] == fleet.counts[replica, WIDTH]:
        return
    head = fleet.counts[replica, HEAD]
    packed_class = int(fleet.queues[head, replica, MARK])
    duration_s = fleet.floats[replica, PER_ITEM] * fleet.classes[get_class(packed_class), WORK]
    duration_s *= get_factor(fleet, replica, fleet.queues[head, replica, NORMAL])
    arrival_s = fleet.queues[head, replica, ARRIVAL]
    pop_waiting(fleet, replica)
    push_work(fleet, replica, now_s + duration_s, arrival_s, packed_class)
    fleet.counts[replica, BATCHES] += 1
    fleet.counts[replica, ITEMS] += 1
    fleet.floats[replica, BUSY] += duration_s / fleet.counts[replica, WIDTH]


@compiled
def push_work(fleet: Fleet, replica: int, done_s: float, arrival_s: float, mark: int) -> None:
    running, position = fleet.in_work, fleet.counts[replica, WORKING]
    fleet.counts[replica, WORKING] = position + 1
    fleet.floats[replica, DONE_SUM] += done_s
    while position > 0:
        parent = (position - 1) // 2
        if running[replica, parent, ENDS] <= done_s:
            break
        _move(fleet, replica, parent, position)
        position = parent
    running[replica, position, ENDS] = done_s
    fleet.in_work[replica, position, ARRIVAL] = arrival_s
    fleet.in_work[replica, position, MARK] = mark


@compiled
def pop_work(fleet: Fleet, replica: int) -> None:
    running, size = fleet.in_work, fleet.counts[replica, WORKING] - 1
    fleet.counts[replica, WORKING] = size
    fleet.floats[replica, DONE_SUM] = fleet.floats[replica, DONE_SUM] - running[replica, 0, ENDS] if size > 0 else 0.0
    last_s, arrival_s, packed_class = (
        running[replica, size, ENDS],
        fleet.in_work[replica, size, ARRIVAL],
        int(fleet.in_work[replica, size, MARK]),
    )
    position = 0
    while True:
        child = 2 * position + 1
        if child >= size:
            break
        if child + 1 < size and running[replica, child + 1, ENDS] < running[replica, child, ENDS]:
            child += 1
        if running[replica, child, ENDS] >= last_s:
            break
        _move(fleet, replica, child, position)
        position = child
    running[replica, position, ENDS] = last_s
    fleet.in_work[replica, position, ARRIVAL] = arrival_s
    fleet.in_work[replica, position, MARK] = packed_class


@compiled
def _move(fleet: Fleet, replica: int, origin: int, target: int) -> None:
    fleet.in_work[replica, target, ENDS] = fleet.in_work[replica, origin, ENDS]
    fleet.in_work[replica, target, ARRIVAL] = fleet.in_work[replica, origin, ARRIVAL]
    fleet.in_work[replica, target, MARK] = int(fleet.in_work[replica, origin, MARK])
