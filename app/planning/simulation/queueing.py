"""Queue of a replica and outcomes of its requests, shared by slots, batches and tokens."""

from __future__ import annotations

import math

from app.planning.simulation.compiled import inlined
from app.planning.simulation.histogram import BUCKETS, bucket_of
from app.planning.simulation.state import (
    ARRIVAL,
    GOOD,
    HEAD,
    HISTOGRAMS,
    LATE,
    LATENCY,
    LIMIT,
    MARK,
    NORMAL,
    OWED,
    OWES,
    SIGMA,
    SUM,
    TIMED_OUT,
    TIMEOUT,
    WAITING,
    Fleet,
)


@inlined
def class_of(mark: int) -> int:
    return mark & 255


@inlined
def factor_of(fleet: Fleet, replica: int, normal: float) -> float:
    """Return the lognormal factor, of mean 1, of a request on this replica."""
    sigma = fleet.reals[replica, SIGMA]
    if sigma == 0.0:
        return 1.0
    return math.exp(sigma * normal - 0.5 * sigma * sigma)


@inlined
def push_waiting(fleet: Fleet, replica: int, arrival_s: float, normal: float, owed_s: float, mark: int) -> None:
    waiting = fleet.counts[replica, WAITING]
    place = (fleet.counts[replica, HEAD] + waiting) & (fleet.waits.shape[0] - 1)
    fleet.waits[place, replica, ARRIVAL] = arrival_s
    fleet.waits[place, replica, NORMAL] = normal
    fleet.waits[place, replica, OWES] = owed_s
    fleet.waits[place, replica, MARK] = mark
    fleet.counts[replica, WAITING] = waiting + 1
    fleet.reals[replica, OWED] += owed_s


@inlined
def pop_waiting(fleet: Fleet, replica: int) -> None:
    """Remove the oldest request. An empty queue starts again at place 0, which keeps it in the processor's cache."""
    head = fleet.counts[replica, HEAD]
    waiting = fleet.counts[replica, WAITING] - 1
    fleet.counts[replica, WAITING] = waiting
    if waiting == 0:
        fleet.counts[replica, HEAD] = 0
        fleet.reals[replica, OWED] = 0.0
    else:
        fleet.counts[replica, HEAD] = (head + 1) & (fleet.waits.shape[0] - 1)
        fleet.reals[replica, OWED] -= fleet.waits[head, replica, OWES]


@inlined
def expiry_s(fleet: Fleet, replica: int) -> float:
    """Return when the oldest waiting request times out; inf where none waits."""
    if fleet.counts[replica, WAITING] == 0:
        return math.inf
    return float(fleet.waits[fleet.counts[replica, HEAD], replica, ARRIVAL] + fleet.reals[replica, TIMEOUT])


@inlined
def expire_waiting(fleet: Fleet, replica: int, until_s: float) -> None:
    while expiry_s(fleet, replica) <= until_s:
        if fleet.counts[replica, WAITING] == 0:  # until_s is inf
            break
        mark = int(fleet.waits[fleet.counts[replica, HEAD], replica, MARK])
        fleet.tallies[class_of(mark), TIMED_OUT] += 1
        pop_waiting(fleet, replica)


@inlined
def record_answer(fleet: Fleet, mark: int, latency_s: float) -> None:
    class_index = class_of(mark)
    if latency_s <= fleet.classes[class_index, LIMIT]:
        fleet.tallies[class_index, GOOD] += 1
    else:
        fleet.tallies[class_index, LATE] += 1
    fleet.classes[class_index, SUM + LATENCY] += latency_s
    fleet.tallies[class_index, HISTOGRAMS + LATENCY * BUCKETS + bucket_of(latency_s)] += 1
