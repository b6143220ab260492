"""A replica's queue, and what becomes of a request: what slots, batches and tokens share."""

from __future__ import annotations

import math

from app.planning.simulation.compiled import compiled
from app.planning.simulation.histogram import bucket_of
from app.planning.simulation.state import (
    GOOD,
    HEAD,
    LATE,
    LATENCY,
    MASK,
    OWED,
    SIGMA,
    TIMED_OUT,
    WAITING,
    Fleet,
)


@compiled
def class_of(mark: int) -> int:
    return mark & 255


@compiled
def factor_of(fleet: Fleet, replica: int, normal: float) -> float:
    """The lognormal factor, of mean 1, that this replica makes of a request's normal."""
    sigma = fleet.law[replica, SIGMA]
    if sigma == 0.0:
        return 1.0
    return math.exp(sigma * normal - 0.5 * sigma * sigma)


@compiled
def push_waiting(fleet: Fleet, replica: int, arrival_s: float, normal: float, owed_s: float, mark: int) -> None:
    waiting = fleet.counts[replica, WAITING]
    place = (fleet.counts[replica, HEAD] + waiting) & fleet.knobs[MASK]
    fleet.wait_arrival_s[replica, place] = arrival_s
    fleet.wait_normal[replica, place] = normal
    fleet.wait_owed_s[replica, place] = owed_s
    fleet.wait_mark[replica, place] = mark
    fleet.counts[replica, WAITING] = waiting + 1
    fleet.reals[replica, OWED] += owed_s


@compiled
def pop_waiting(fleet: Fleet, replica: int) -> None:
    """Takes the oldest away. An empty queue begins again at place 0, which keeps it in the processor's cache."""
    head = fleet.counts[replica, HEAD]
    waiting = fleet.counts[replica, WAITING] - 1
    fleet.counts[replica, WAITING] = waiting
    if waiting == 0:
        fleet.counts[replica, HEAD] = 0
        fleet.reals[replica, OWED] = 0.0
    else:
        fleet.counts[replica, HEAD] = (head + 1) & fleet.knobs[MASK]
        fleet.reals[replica, OWED] -= fleet.wait_owed_s[replica, head]


@compiled
def expiry_s(fleet: Fleet, replica: int) -> float:
    """When the oldest that waits gives up; inf where none waits."""
    if fleet.counts[replica, WAITING] == 0:
        return math.inf
    return fleet.wait_arrival_s[replica, fleet.counts[replica, HEAD]] + fleet.timeout_s[0]


@compiled
def expire_waiting(fleet: Fleet, replica: int, until_s: float) -> None:
    while expiry_s(fleet, replica) <= until_s:
        if fleet.counts[replica, WAITING] == 0:  # until_s is inf
            break
        mark = fleet.wait_mark[replica, fleet.counts[replica, HEAD]]
        fleet.tallies[class_of(mark), TIMED_OUT] += 1
        pop_waiting(fleet, replica)


@compiled
def record_answer(fleet: Fleet, mark: int, latency_s: float) -> None:
    kind = class_of(mark)
    if latency_s <= fleet.classes[kind, 2]:
        fleet.tallies[kind, GOOD] += 1
    else:
        fleet.tallies[kind, LATE] += 1
    fleet.sums_s[kind, LATENCY] += latency_s
    fleet.histograms[kind, LATENCY, bucket_of(latency_s)] += 1
