"""Simulation of a fleet, one chunk of arrivals at a time, and operations on the fleet between
chunks.

Requests are not stored after their response, so memory usage is independent of the number of
requests.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from app.planning.simulation.compiled import Floats, Ints, compiled, inlined
from app.planning.simulation.queueing import get_service_factor, push_waiting
from app.planning.simulation.random_words import convert_to_unit_interval, draw_word
from app.planning.simulation.routing import LEAST_WORK, advance_replica, route
from app.planning.simulation.sequences import estimate_work_s
from app.planning.simulation.sharing import advance_shared, get_remaining_work_s
from app.planning.simulation.slots import advance_slots
from app.planning.simulation.state import (
    ARRIVED,
    BATCH,
    BUSY,
    CLASSES,
    CONTEXT,
    DECODING,
    DONE,
    DONE_SUM,
    DROPPED,
    FAILED,
    FIXED,
    FREE,
    HEAD,
    HISTOGRAMS,
    KIND,
    LENGTHS,
    NEXT,
    PACKED_CLASS,
    PAIRS,
    PER_ITEM,
    PREFILL_HEAD,
    PREFILLING,
    QUEUE_LIMIT,
    REQUEST_INDEX,
    RESERVED,
    ROUTABLE,
    ROUTABLE_OFFSET,
    ROUTER,
    RUNNING,
    SHARE,
    SHARED,
    SLOTS,
    TIMEOUT,
    TOKENS,
    UNPROCESSED,
    WAITING,
    WAITING_WORK,
    WIDTH,
    WORK,
    Fleet,
)
from app.records.day import DayTotals

_NO_ROWS: Ints = np.empty(0, dtype=np.int64)
_ZERO_NORMAL: Floats = np.zeros(1)


def serve(fleet: Fleet, arrivals_s: Floats, unit_normals: Floats, rows: Ints = _NO_ROWS) -> None:
    """Simulate arrivals, which must be in ascending order within and across calls.

    If `unit_normals` is empty, service times do not vary. `rows` holds one row number per
    arrival in the design's pairs of token lengths. If `rows` is empty, the pairs are drawn.
    Raises ValueError if there are fewer normals than arrivals.
    """
    if 0 < unit_normals.size < arrivals_s.size:
        raise ValueError(f"{arrivals_s.size} arrivals have {unit_normals.size} normals")
    _serve(fleet, arrivals_s, unit_normals if unit_normals.size else _ZERO_NORMAL, rows)


def advance_to(fleet: Fleet, now_s: float) -> None:
    """Advance all replicas to `now_s`. Without this call, a replica is advanced only when it is
    accessed."""
    _advance_all(fleet, now_s)


def get_totals(fleet: Fleet) -> DayTotals:
    """Return the counts of requests in the whole fleet, as of the last call of `advance_to`."""
    totals = np.empty(HISTOGRAMS + 1, dtype=np.int64)
    _sum_counts(fleet, totals)
    return DayTotals(*totals.tolist())


@compiled
def _sum_counts(fleet: Fleet, totals: Ints) -> None:
    """Write the sums of `tallies` over all request classes to `totals`, followed by the number of
    requests in flight.
    """
    totals[:] = 0
    for class_index in range(fleet.tallies.shape[0]):
        for column in range(HISTOGRAMS):
            totals[column] += fleet.tallies[class_index, column]
    for replica in range(fleet.counts.shape[0]):
        totals[HISTOGRAMS] += fleet.counts[replica, WAITING] + fleet.counts[replica, RUNNING]


def get_outstanding_counts(fleet: Fleet) -> Ints:
    """Return the number of requests waiting or running in each replica, as of the last call of
    `advance_to`."""
    return np.asarray(fleet.counts[:, WAITING] + fleet.counts[:, RUNNING])


def set_routable_replicas(fleet: Fleet, replicas: Sequence[int]) -> None:
    """Route new requests only to `replicas`. All other replicas finish their requests.

    If `replicas` is empty, all arrivals are dropped.
    """
    fleet.settings[ROUTABLE] = len(replicas)
    fleet.settings[ROUTABLE_OFFSET : ROUTABLE_OFFSET + len(replicas)] = replicas


def fail_replica(fleet: Fleet, replica: int, now_s: float) -> None:
    """Fail all requests of the replica, so that it is empty. The replica still gets new requests,
    unless excluded by `set_routable_replicas`."""
    _fail_requests(fleet, replica, now_s)


@compiled
def _serve(fleet: Fleet, arrivals_s: Floats, normals: Floats, rows: Ints) -> None:
    last_normal = normals.size - 1
    for number in range(arrivals_s.size):
        now_s = arrivals_s[number]
        packed_class = _draw_packed_class(fleet)
        if rows.size:
            packed_class = (packed_class & 255) + (rows[number] << 8)
        class_index = packed_class & 255
        fleet.tallies[class_index, ARRIVED] += 1
        if fleet.settings[ROUTABLE] == 0:
            fleet.tallies[class_index, DROPPED] += 1
        else:
            replica = route(fleet, now_s)
            if fleet.floats[replica, NEXT] <= now_s:
                advance_replica(fleet, replica, now_s)
            if is_full(fleet, replica):
                fleet.tallies[class_index, DROPPED] += 1
            else:
                normal = normals[min(number, last_normal)]
                push_waiting(
                    fleet,
                    replica,
                    now_s,
                    normal,
                    estimate_request_work_s(fleet, replica, normal, packed_class),
                    packed_class,
                )
                _update_after_arrival(fleet, replica, now_s)
        fleet.settings[REQUEST_INDEX] += 1


@inlined
def _update_after_arrival(fleet: Fleet, replica: int, now_s: float) -> None:
    """Update the replica after an arrival.

    A replica with a free slot or shared cores starts the request at once. A token replica, or an
    idle batch replica, starts the request when the replica is next accessed. In all other cases,
    only the time of the next timeout may change.
    """
    kind, running_count = fleet.counts[replica, KIND], fleet.counts[replica, RUNNING]
    if kind == SLOTS and running_count < fleet.counts[replica, WIDTH]:
        advance_slots(fleet, replica, now_s)
    elif kind == SHARED:
        advance_shared(fleet, replica, now_s)
    elif kind == TOKENS or (kind == BATCH and running_count == 0):
        fleet.floats[replica, NEXT] = min(fleet.floats[replica, NEXT], now_s)
    else:
        fleet.floats[replica, NEXT] = min(fleet.floats[replica, NEXT], now_s + fleet.floats[replica, TIMEOUT])


@compiled
def _advance_all(fleet: Fleet, now_s: float) -> None:
    for replica in range(fleet.floats.shape[0]):
        if fleet.floats[replica, NEXT] <= now_s:
            advance_replica(fleet, replica, now_s)


@inlined
def _draw_packed_class(fleet: Fleet) -> int:
    """Draw the class and the token lengths of the next request. Return class + 256 × index of the
    pair of token lengths."""
    packed_class, number = 0, fleet.settings[REQUEST_INDEX]
    if fleet.classes.shape[0] > 1:
        uniform = convert_to_unit_interval(draw_word(np.uint64(fleet.settings[CLASSES]), number))
        while packed_class < fleet.classes.shape[0] - 1 and uniform >= fleet.classes[packed_class, SHARE]:
            packed_class += 1
    if fleet.settings[PAIRS] > 1:
        uniform = convert_to_unit_interval(draw_word(np.uint64(fleet.settings[LENGTHS]), number))
        packed_class += int(uniform * fleet.settings[PAIRS]) << 8
    return packed_class


@inlined
def is_full(fleet: Fleet, replica: int) -> bool:
    """Return whether the replica's queue is full; requests that fit into free slots or the next
    batch are not queued.
    """
    free_slots, running_count = fleet.counts[replica, WIDTH], fleet.counts[replica, RUNNING]
    if fleet.counts[replica, KIND] == BATCH:
        free_slots = free_slots if running_count == 0 else 0
    else:
        free_slots -= running_count
    return bool(fleet.counts[replica, WAITING] >= fleet.settings[QUEUE_LIMIT] + free_slots)


@inlined
def estimate_request_work_s(fleet: Fleet, replica: int, normal: float, packed_class: int) -> float:
    """Return the work in seconds that a request adds to its replica; 0 if the router does not use
    work."""
    if fleet.settings[ROUTER] != LEAST_WORK:
        return 0.0
    kind, width = fleet.counts[replica, KIND], fleet.counts[replica, WIDTH]
    if kind == TOKENS:
        return estimate_work_s(fleet, replica, packed_class)
    duration_s = (
        fleet.floats[replica, PER_ITEM]
        * fleet.classes[packed_class & 255, WORK]
        * get_service_factor(fleet, replica, normal)
    )
    if kind == BATCH:
        return float(duration_s + fleet.floats[replica, FIXED] / width)
    return float(duration_s / width)


@compiled
def _fail_requests(fleet: Fleet, replica: int, now_s: float) -> None:
    advance_replica(fleet, replica, now_s)
    ring_size = fleet.queues.shape[0]
    for step in range(fleet.counts[replica, WAITING]):
        packed_class = int(fleet.queues[(fleet.counts[replica, HEAD] + step) % ring_size, replica, PACKED_CLASS])
        fleet.tallies[packed_class & 255, FAILED] += 1
    width, running_count = fleet.counts[replica, WIDTH], fleet.counts[replica, RUNNING]
    if fleet.counts[replica, KIND] == TOKENS:
        _fail_sequences(fleet, replica)
    else:
        for slot in range(running_count):
            fleet.tallies[int(fleet.running[replica, slot, PACKED_CLASS]) & 255, FAILED] += 1
        if fleet.counts[replica, KIND] == BATCH and running_count > 0:
            fleet.floats[replica, BUSY] -= fleet.floats[replica, DONE] - now_s
        elif fleet.counts[replica, KIND] == SHARED:
            fleet.floats[replica, BUSY] -= get_remaining_work_s(fleet, replica, now_s) / width
        elif running_count > 0:
            fleet.floats[replica, BUSY] -= (fleet.floats[replica, DONE_SUM] - running_count * now_s) / width
    for column in (HEAD, WAITING, RUNNING, RESERVED, CONTEXT, PREFILL_HEAD, PREFILLING, UNPROCESSED, DECODING):
        fleet.counts[replica, column] = 0
    fleet.floats[replica, WAITING_WORK] = fleet.floats[replica, DONE_SUM] = 0.0
    fleet.floats[replica, NEXT], fleet.floats[replica, DONE] = np.inf, -np.inf


@inlined
def _fail_sequences(fleet: Fleet, replica: int) -> None:
    """Fail all sequences of the replica.

    Free sequence slots are on a stack. All slots that are not on the stack contain running
    sequences.
    """
    free_count = fleet.counts[replica, WIDTH] - fleet.counts[replica, RUNNING]
    for slot in range(fleet.counts[replica, WIDTH]):
        is_free = False
        for index in range(free_count):
            is_free = is_free or fleet.heaps[replica, index, FREE] == slot
        if not is_free:
            fleet.tallies[int(fleet.running[replica, slot, PACKED_CLASS]) & 255, FAILED] += 1
            fleet.heaps[replica, free_count, FREE] = slot
            free_count += 1
