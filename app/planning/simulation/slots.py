"""Simulated replica with several slots, which serves requests in order of arrival, one per slot."""

from __future__ import annotations

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
def advance_slots(fleet: Fleet, replica: int, end_s: float) -> None:
    """Simulate a replica with slots, up to the time `end_s`. Requests wait only while all slots are
    in use."""
    while fleet.counts[replica, RUNNING] > 0 and fleet.running[replica, 0, ENDS] <= end_s:
        done_s = fleet.running[replica, 0, ENDS]
        record_response(
            fleet,
            int(fleet.running[replica, 0, PACKED_CLASS]),
            done_s + fleet.floats[replica, OUTSIDE] - fleet.running[replica, 0, ARRIVAL],
        )
        pop_running(fleet, replica)
        _start_oldest(fleet, replica, done_s)
    _start_oldest(fleet, replica, end_s)
    expire_waiting(fleet, replica, end_s)
    next_s = get_expiry_s(fleet, replica)
    if fleet.counts[replica, RUNNING] > 0:
        next_s = min(next_s, fleet.running[replica, 0, ENDS])
    fleet.floats[replica, NEXT] = next_s


@inlined
def _start_oldest(fleet: Fleet, replica: int, now_s: float) -> None:
    """Start the oldest waiting request that has not timed out, if a slot is free."""
    while get_expiry_s(fleet, replica) < now_s:
        expire_waiting(fleet, replica, now_s)
    if fleet.counts[replica, WAITING] == 0 or fleet.counts[replica, RUNNING] == fleet.counts[replica, WIDTH]:
        return
    head = fleet.counts[replica, HEAD]
    packed_class = int(fleet.queues[head, replica, PACKED_CLASS])
    duration_s = fleet.floats[replica, PER_ITEM] * fleet.classes[get_class(packed_class), WORK]
    duration_s *= get_service_factor(fleet, replica, fleet.queues[head, replica, NORMAL])
    arrival_s = fleet.queues[head, replica, ARRIVAL]
    pop_waiting(fleet, replica)
    push_running(fleet, replica, now_s + duration_s, arrival_s, packed_class)
    fleet.floats[replica, BUSY] += duration_s / fleet.counts[replica, WIDTH]


@inlined
def push_running(fleet: Fleet, replica: int, done_s: float, arrival_s: float, packed_class: int) -> None:
    running, position = fleet.running, fleet.counts[replica, RUNNING]
    fleet.counts[replica, RUNNING] = position + 1
    fleet.floats[replica, DONE_SUM] += done_s
    while position > 0:
        parent = (position - 1) // 2
        if running[replica, parent, ENDS] <= done_s:
            break
        _move_request(fleet, replica, parent, position)
        position = parent
    running[replica, position, ENDS] = done_s
    fleet.running[replica, position, ARRIVAL] = arrival_s
    fleet.running[replica, position, PACKED_CLASS] = packed_class


@inlined
def pop_running(fleet: Fleet, replica: int) -> None:
    running, size = fleet.running, fleet.counts[replica, RUNNING] - 1
    fleet.counts[replica, RUNNING] = size
    fleet.floats[replica, DONE_SUM] = fleet.floats[replica, DONE_SUM] - running[replica, 0, ENDS] if size > 0 else 0.0
    last_s, arrival_s, packed_class = (
        running[replica, size, ENDS],
        fleet.running[replica, size, ARRIVAL],
        int(fleet.running[replica, size, PACKED_CLASS]),
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
        _move_request(fleet, replica, child, position)
        position = child
    running[replica, position, ENDS] = last_s
    fleet.running[replica, position, ARRIVAL] = arrival_s
    fleet.running[replica, position, PACKED_CLASS] = packed_class


@inlined
def _move_request(fleet: Fleet, replica: int, origin: int, target: int) -> None:
    fleet.running[replica, target, ENDS] = fleet.running[replica, origin, ENDS]
    fleet.running[replica, target, ARRIVAL] = fleet.running[replica, origin, ARRIVAL]
    fleet.running[replica, target, PACKED_CLASS] = int(fleet.running[replica, origin, PACKED_CLASS])
