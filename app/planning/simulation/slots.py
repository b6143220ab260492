"""A replica of several slots: first come, first served, one request a slot."""

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
    BATCHES,
    BUSY,
    DONE_SUM,
    HEAD,
    ITEMS,
    NEXT,
    OUTSIDE,
    PER_ITEM,
    WAITING,
    WIDTH,
    WORKING,
    Fleet,
)


@compiled
def advance_slots(fleet: Fleet, replica: int, until_s: float) -> None:
    """All that happens up to `until_s`. While any waits, every slot is taken."""
    while fleet.counts[replica, WORKING] > 0 and fleet.work_done_s[replica, 0] <= until_s:
        done_s = fleet.work_done_s[replica, 0]
        record_answer(
            fleet,
            fleet.work_mark[replica, 0],
            done_s + fleet.law[replica, OUTSIDE] - fleet.work_arrival_s[replica, 0],
        )
        _take_first(fleet, replica)
        _begin_waiting(fleet, replica, done_s)
    _begin_waiting(fleet, replica, until_s)
    expire_waiting(fleet, replica, until_s)
    next_s = expiry_s(fleet, replica)
    if fleet.counts[replica, WORKING] > 0:
        next_s = min(next_s, fleet.work_done_s[replica, 0])
    fleet.reals[replica, NEXT] = next_s


@compiled
def _begin_waiting(fleet: Fleet, replica: int, now_s: float) -> None:
    """Gives the oldest that waits and has not given up to a free slot."""
    while expiry_s(fleet, replica) < now_s:
        expire_waiting(fleet, replica, now_s)
    if fleet.counts[replica, WAITING] == 0 or fleet.counts[replica, WORKING] == fleet.limits[replica, WIDTH]:
        return
    head = fleet.counts[replica, HEAD]
    mark = fleet.wait_mark[replica, head]
    lasts_s = fleet.law[replica, PER_ITEM] * fleet.classes[class_of(mark), 1]
    lasts_s *= factor_of(fleet, replica, fleet.wait_normal[replica, head])
    arrival_s = fleet.wait_arrival_s[replica, head]
    pop_waiting(fleet, replica)
    _put(fleet, replica, now_s + lasts_s, arrival_s, mark)
    fleet.counts[replica, BATCHES] += 1
    fleet.counts[replica, ITEMS] += 1
    fleet.reals[replica, BUSY] += lasts_s / fleet.limits[replica, WIDTH]


@compiled
def _put(fleet: Fleet, replica: int, done_s: float, arrival_s: float, mark: int) -> None:
    done, place = fleet.work_done_s, fleet.counts[replica, WORKING]
    fleet.counts[replica, WORKING] = place + 1
    fleet.reals[replica, DONE_SUM] += done_s
    while place > 0:
        parent = (place - 1) // 2
        if done[replica, parent] <= done_s:
            break
        _move(fleet, replica, parent, place)
        place = parent
    done[replica, place] = done_s
    fleet.work_arrival_s[replica, place] = arrival_s
    fleet.work_mark[replica, place] = mark


@compiled
def _take_first(fleet: Fleet, replica: int) -> None:
    done, size = fleet.work_done_s, fleet.counts[replica, WORKING] - 1
    fleet.counts[replica, WORKING] = size
    fleet.reals[replica, DONE_SUM] = fleet.reals[replica, DONE_SUM] - done[replica, 0] if size > 0 else 0.0
    last_s, arrival_s, mark = done[replica, size], fleet.work_arrival_s[replica, size], fleet.work_mark[replica, size]
    place = 0
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        if child + 1 < size and done[replica, child + 1] < done[replica, child]:
            child += 1
        if done[replica, child] >= last_s:
            break
        _move(fleet, replica, child, place)
        place = child
    done[replica, place] = last_s
    fleet.work_arrival_s[replica, place] = arrival_s
    fleet.work_mark[replica, place] = mark


@compiled
def _move(fleet: Fleet, replica: int, origin: int, to: int) -> None:
    fleet.work_done_s[replica, to] = fleet.work_done_s[replica, origin]
    fleet.work_arrival_s[replica, to] = fleet.work_arrival_s[replica, origin]
    fleet.work_mark[replica, to] = fleet.work_mark[replica, origin]
