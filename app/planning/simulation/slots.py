"""Replica with several slots: served in order of arrival, one request per slot."""

from __future__ import annotations

from app.planning.simulation.compiled import compiled
from app.planning.simulation.queueing import (
    class_of,
    expire_waiting,
    expiry_s,
    factor_of,
    pop_waiting,
    record_answer,
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
    """Advance the replica to `until_s`. While any request waits, every slot is taken."""
    while fleet.counts[replica, WORKING] > 0 and fleet.works[replica, 0, ENDS] <= until_s:
        done_s = fleet.works[replica, 0, ENDS]
        record_answer(
            fleet,
            int(fleet.works[replica, 0, MARK]),
            done_s + fleet.reals[replica, OUTSIDE] - fleet.works[replica, 0, ARRIVAL],
        )
        take_first_work(fleet, replica)
        _start_oldest(fleet, replica, done_s)
    _start_oldest(fleet, replica, until_s)
    expire_waiting(fleet, replica, until_s)
    next_s = expiry_s(fleet, replica)
    if fleet.counts[replica, WORKING] > 0:
        next_s = min(next_s, fleet.works[replica, 0, ENDS])
    fleet.reals[replica, NEXT] = next_s


@compiled
def _start_oldest(fleet: Fleet, replica: int, now_s: float) -> None:
    """Start the oldest waiting request that has not timed out, if a slot is free."""
    while expiry_s(fleet, replica) < now_s:
        expire_waiting(fleet, replica, now_s)
    if fleet.counts[replica, WAITING] == 0 or fleet.counts[replica, WORKING] == fleet.counts[replica, WIDTH]:
        return
    head = fleet.counts[replica, HEAD]
    mark = int(fleet.waits[head, replica, MARK])
    duration_s = fleet.reals[replica, PER_ITEM] * fleet.classes[class_of(mark), WORK]
    duration_s *= factor_of(fleet, replica, fleet.waits[head, replica, NORMAL])
    arrival_s = fleet.waits[head, replica, ARRIVAL]
    pop_waiting(fleet, replica)
    put_work(fleet, replica, now_s + duration_s, arrival_s, mark)
    fleet.counts[replica, BATCHES] += 1
    fleet.counts[replica, ITEMS] += 1
    fleet.reals[replica, BUSY] += duration_s / fleet.counts[replica, WIDTH]


@compiled
def put_work(fleet: Fleet, replica: int, done_s: float, arrival_s: float, mark: int) -> None:
    works, place = fleet.works, fleet.counts[replica, WORKING]
    fleet.counts[replica, WORKING] = place + 1
    fleet.reals[replica, DONE_SUM] += done_s
    while place > 0:
        parent = (place - 1) // 2
        if works[replica, parent, ENDS] <= done_s:
            break
        _move(fleet, replica, parent, place)
        place = parent
    works[replica, place, ENDS] = done_s
    fleet.works[replica, place, ARRIVAL] = arrival_s
    fleet.works[replica, place, MARK] = mark


@compiled
def take_first_work(fleet: Fleet, replica: int) -> None:
    works, size = fleet.works, fleet.counts[replica, WORKING] - 1
    fleet.counts[replica, WORKING] = size
    fleet.reals[replica, DONE_SUM] = fleet.reals[replica, DONE_SUM] - works[replica, 0, ENDS] if size > 0 else 0.0
    last_s, arrival_s, mark = (
        works[replica, size, ENDS],
        fleet.works[replica, size, ARRIVAL],
        int(fleet.works[replica, size, MARK]),
    )
    place = 0
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        if child + 1 < size and works[replica, child + 1, ENDS] < works[replica, child, ENDS]:
            child += 1
        if works[replica, child, ENDS] >= last_s:
            break
        _move(fleet, replica, child, place)
        place = child
    works[replica, place, ENDS] = last_s
    fleet.works[replica, place, ARRIVAL] = arrival_s
    fleet.works[replica, place, MARK] = mark


@compiled
def _move(fleet: Fleet, replica: int, origin: int, to: int) -> None:
    fleet.works[replica, to, ENDS] = fleet.works[replica, origin, ENDS]
    fleet.works[replica, to, ARRIVAL] = fleet.works[replica, origin, ARRIVAL]
    fleet.works[replica, to, MARK] = int(fleet.works[replica, origin, MARK])
