"""Replica that serves all waiting requests as one batch. A replica with one slot has batches of one."""

from __future__ import annotations

import math

from app.planning.simulation.compiled import compiled, inlined
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
    DONE,
    FIXED,
    HEAD,
    ITEMS,
    MARK,
    NEXT,
    NORMAL,
    OUTSIDE,
    PER_ITEM,
    WAITING,
    WIDTH,
    WINDOW,
    WORK,
    WORKING,
    Fleet,
)


@compiled
def advance_batches(fleet: Fleet, replica: int, until_s: float) -> None:
    """Advance the replica to `until_s`.

    A batch begins only before `until_s`, so that simultaneous arrivals share a batch.
    """
    while True:
        if fleet.counts[replica, WORKING] > 0:
            done_s = fleet.reals[replica, DONE]
            if done_s > until_s:
                expire_waiting(fleet, replica, until_s)
                fleet.reals[replica, NEXT] = min(done_s, expiry_s(fleet, replica))
                return
            _finish(fleet, replica, done_s)
        if fleet.counts[replica, WAITING] == 0:
            fleet.reals[replica, NEXT] = math.inf
            return
        start_s, timeout_s = _start_s(fleet, replica), expiry_s(fleet, replica)
        if timeout_s < start_s:
            if timeout_s > until_s:
                fleet.reals[replica, NEXT] = timeout_s
                return
            expire_waiting(fleet, replica, min(until_s, start_s))
        elif start_s < until_s:
            _begin(fleet, replica, start_s)
        else:
            fleet.reals[replica, NEXT] = start_s
            return


@inlined
def _start_s(fleet: Fleet, replica: int) -> float:
    head = fleet.counts[replica, HEAD]
    start_s = fleet.waits[head, replica, ARRIVAL] + fleet.reals[replica, WINDOW]
    max_batch = fleet.counts[replica, WIDTH]
    if fleet.counts[replica, WAITING] >= max_batch:
        start_s = min(start_s, fleet.waits[(head + max_batch - 1) & (fleet.waits.shape[0] - 1), replica, ARRIVAL])
    return float(max(start_s, fleet.reals[replica, DONE]))


@inlined
def _begin(fleet: Fleet, replica: int, start_s: float) -> None:
    """Begin a batch. All waiting requests had arrived by then: a replica is advanced before an arrival joins it."""
    max_batch = fleet.counts[replica, WIDTH]
    factor = factor_of(fleet, replica, fleet.waits[fleet.counts[replica, HEAD], replica, NORMAL])
    size, work = 0, 0.0
    while size < max_batch and fleet.counts[replica, WAITING] > 0:
        head = fleet.counts[replica, HEAD]
        arrival_s, mark = fleet.waits[head, replica, ARRIVAL], int(fleet.waits[head, replica, MARK])
        fleet.works[replica, size, ARRIVAL] = arrival_s
        fleet.works[replica, size, MARK] = mark
        work += fleet.classes[class_of(mark), WORK]
        size += 1
        pop_waiting(fleet, replica)
    duration_s = (fleet.reals[replica, FIXED] + fleet.reals[replica, PER_ITEM] * work) * factor
    fleet.counts[replica, WORKING] = size
    fleet.counts[replica, BATCHES] += 1
    fleet.counts[replica, ITEMS] += size
    fleet.reals[replica, BUSY] += duration_s
    fleet.reals[replica, DONE] = start_s + duration_s


@inlined
def _finish(fleet: Fleet, replica: int, done_s: float) -> None:
    since_s = done_s + fleet.reals[replica, OUTSIDE]
    for place in range(fleet.counts[replica, WORKING]):
        record_answer(fleet, int(fleet.works[replica, place, MARK]), since_s - fleet.works[replica, place, ARRIVAL])
    fleet.counts[replica, WORKING] = 0
