"""Queue of a replica and outcomes of its requests, shared by slot, batch and token replicas."""

from __future__ import annotations

import math

from app.planning.simulation.compiled import inlined
from app.planning.simulation.histogram import BUCKET_COUNT, find_bucket
from app.planning.simulation.state import (
    ARRIVAL,
    GOOD,
    HEAD,
    HISTOGRAMS,
    LATE,
    LATENCY,
    LIMIT,
    NORMAL,
    PACKED_CLASS,
    SIGMA,
    SUM,
    TIMED_OUT,
    TIMEOUT,
    WAITING,
    WAITING_WORK,
    WORK_S,
    Fleet,
)


@inlined
def get_class(packed_class: int) -> int:
    return packed_class & 255


@inlined
def get_service_factor(fleet: Fleet, replica: int, normal: float) -> float:
    """Return the service time factor of a request on this replica, from a lognormal distribution
    with mean 1."""
    sigma = fleet.floats[replica, SIGMA]
    if sigma == 0.0:
        return 1.0
    return math.exp(sigma * normal - 0.5 * sigma * sigma)


@inlined
def push_waiting(fleet: Fleet, replica: int, arrival_s: float, normal: float, work_s: float, packed_class: int) -> None:
    waiting_count = fleet.counts[replica, WAITING]
    index = (fleet.counts[replica, HEAD] + waiting_count) & (fleet.queues.shape[0] - 1)
    fleet.queues[index, replica, ARRIVAL] = arrival_s
    fleet.queues[index, replica, NORMAL] = normal
    fleet.queues[index, replica, WORK_S] = work_s
    fleet.queues[index, replica, PACKED_CLASS] = packed_class
    fleet.counts[replica, WAITING] = waiting_count + 1
    fleet.floats[replica, WAITING_WORK] += work_s


@inlined
def pop_waiting(fleet: Fleet, replica: int) -> None:
    """Remove the oldest waiting request from the queue. An empty queue restarts at index 0, so that
    its entries stay in the CPU cache."""
    head = fleet.counts[replica, HEAD]
    waiting_count = fleet.counts[replica, WAITING] - 1
    fleet.counts[replica, WAITING] = waiting_count
    if waiting_count == 0:
        fleet.counts[replica, HEAD] = 0
        fleet.floats[replica, WAITING_WORK] = 0.0
    else:
        fleet.counts[replica, HEAD] = (head + 1) & (fleet.queues.shape[0] - 1)
        fleet.floats[replica, WAITING_WORK] -= fleet.queues[head, replica, WORK_S]


@inlined
def get_expiry_s(fleet: Fleet, replica: int) -> float:
    """Return the time at which the oldest waiting request times out; infinity if no request is
    waiting."""
    if fleet.counts[replica, WAITING] == 0:
        return math.inf
    return float(fleet.queues[fleet.counts[replica, HEAD], replica, ARRIVAL] + fleet.floats[replica, TIMEOUT])


@inlined
def expire_waiting(fleet: Fleet, replica: int, end_s: float) -> None:
    while get_expiry_s(fleet, replica) <= end_s:
        if fleet.counts[replica, WAITING] == 0:  # end_s is inf
            break
        packed_class = int(fleet.queues[fleet.counts[replica, HEAD], replica, PACKED_CLASS])
        fleet.tallies[get_class(packed_class), TIMED_OUT] += 1
        pop_waiting(fleet, replica)


@inlined
def record_response(fleet: Fleet, packed_class: int, latency_s: float) -> None:
    class_index = get_class(packed_class)
    if latency_s <= fleet.classes[class_index, LIMIT]:
        fleet.tallies[class_index, GOOD] += 1
    else:
        fleet.tallies[class_index, LATE] += 1
    fleet.classes[class_index, SUM + LATENCY] += latency_s
    fleet.tallies[class_index, HISTOGRAMS + LATENCY * BUCKET_COUNT + find_bucket(latency_s)] += 1
