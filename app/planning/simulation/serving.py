"""Arrivals of a fleet, chunk by chunk, and the operations on it between chunks.

No request is stored after its response: 1e9 arrivals take the memory of one chunk.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from app.planning.simulation.compiled import Floats, Ints, compiled, inlined
from app.planning.simulation.queueing import get_factor, push_waiting
from app.planning.simulation.random_words import draw_word, to_unit_interval
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
    INDEX,
    KIND,
    LENGTHS,
    MARK,
    NEXT,
    PAIRS,
    PER_ITEM,
    QUEUE_LIMIT,
    READ_HEAD,
    READING,
    RESERVED,
    ROUTABLE,
    ROUTABLE_AT,
    ROUTER,
    SHARE,
    SHARED,
    SLOTS,
    TIMEOUT,
    TOKENS,
    UNREAD,
    WAITING,
    WAITING_WORK,
    WIDTH,
    WORK,
    WORKING,
    Fleet,
)
from app.records.day import DayTotals

_NO_LENGTHS: Ints = np.empty(0, dtype=np.int64)


def serve(fleet: Fleet, arrivals_s: Floats, unit_normals: Floats, lengths: Ints = _NO_LENGTHS) -> None:
    """Simulate arrivals, which are ascending within a call and between calls.

    No normals at all means that service times do not vary. `lengths` are row numbers in the design's pairs of lengths,
    one for each arrival; without any they are drawn. Raises ValueError for fewer normals than arrivals.
    """
    if 0 < unit_normals.size < arrivals_s.size:
        raise ValueError(f"{arrivals_s.size} arrivals have {unit_normals.size} normals")
    normals = unit_normals if unit_normals.size else np.zeros(1)
    _serve(fleet, arrivals_s, normals, lengths)


def advance_to(fleet: Fleet, now_s: float) -> None:
    """Advance all replicas to `now_s`; otherwise a replica is advanced only when it is accessed."""
    _advance_all(fleet, now_s)


def get_totals(fleet: Fleet) -> DayTotals:
    """Return the counts as of the last `advance_to`."""
    totals = np.empty(HISTOGRAMS + 1, dtype=np.int64)
    _sum_counts(fleet, totals)
    return DayTotals(*totals.tolist())


@compiled
def _sum_counts(fleet: Fleet, totals: Ints) -> None:
    """Write the sums of the columns of `tallies` over all classes, then the requests in flight in all replicas."""
    totals[:] = 0
    for class_index in range(fleet.tallies.shape[0]):
        for column in range(HISTOGRAMS):
            totals[column] += fleet.tallies[class_index, column]
    for replica in range(fleet.counts.shape[0]):
        totals[HISTOGRAMS] += fleet.counts[replica, WAITING] + fleet.counts[replica, WORKING]


def get_outstanding(fleet: Fleet) -> Ints:
    """Return the requests in each replica, as of the last `advance_to`."""
    return np.asarray(fleet.counts[:, WAITING] + fleet.counts[:, WORKING])


def set_routable(fleet: Fleet, replicas: Sequence[int]) -> None:
    """Route requests only to these replicas from now on; the others finish theirs.

    Without any, all arrivals are dropped.
    """
    fleet.settings[ROUTABLE] = len(replicas)
    fleet.settings[ROUTABLE_AT : ROUTABLE_AT + len(replicas)] = replicas


def fail_replica(fleet: Fleet, replica: int, now_s: float) -> None:
    """Fail all requests of the replica and empty it. Whether it gets new requests is set by `set_routable`."""
    _fail(fleet, replica, now_s)


@compiled
def _serve(fleet: Fleet, arrivals_s: Floats, normals: Floats, lengths: Ints) -> None:
    last_normal = normals.size - 1
    for number in range(arrivals_s.size):
        now_s = arrivals_s[number]
        mark = _mark(fleet)
        if lengths.size:
            mark = (mark & 255) + (lengths[number] << 8)
        class_index = mark & 255
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
                push_waiting(fleet, replica, now_s, normal, estimate_request_work_s(fleet, replica, normal, mark), mark)
                _update_after_arrival(fleet, replica, now_s)
        fleet.settings[INDEX] += 1


@inlined
def _update_after_arrival(fleet: Fleet, replica: int, now_s: float) -> None:
    """Update the replica after an arrival.

    A busy replica only has its timeout to consider; others begin when they are next accessed.
    """
    kind, working = fleet.counts[replica, KIND], fleet.counts[replica, WORKING]
    if kind == SLOTS and working < fleet.counts[replica, WIDTH]:
        advance_slots(fleet, replica, now_s)
    elif kind == SHARED:
        advance_shared(fleet, replica, now_s)
    elif kind == TOKENS or (kind == BATCH and working == 0):
        fleet.floats[replica, NEXT] = min(fleet.floats[replica, NEXT], now_s)
    else:
        fleet.floats[replica, NEXT] = min(fleet.floats[replica, NEXT], now_s + fleet.floats[replica, TIMEOUT])


@compiled
def _advance_all(fleet: Fleet, now_s: float) -> None:
    for replica in range(fleet.floats.shape[0]):
        if fleet.floats[replica, NEXT] <= now_s:
            advance_replica(fleet, replica, now_s)


@inlined
def _mark(fleet: Fleet) -> int:
    """Return the class of the next request, and the index of its lengths in the bits above 8."""
    mark, number = 0, fleet.settings[INDEX]
    if fleet.classes.shape[0] > 1:
        share = to_unit_interval(draw_word(np.uint64(fleet.settings[CLASSES]), number))
        while mark < fleet.classes.shape[0] - 1 and share >= fleet.classes[mark, SHARE]:
            mark += 1
    if fleet.settings[PAIRS] > 1:
        share = to_unit_interval(draw_word(np.uint64(fleet.settings[LENGTHS]), number))
        mark += int(share * fleet.settings[PAIRS]) << 8
    return mark


@inlined
def is_full(fleet: Fleet, replica: int) -> bool:
    """Return whether the replica's queue is full; requests that fit into work or the gathering batch are not queued."""
    free_places, working = fleet.counts[replica, WIDTH], fleet.counts[replica, WORKING]
    if fleet.counts[replica, KIND] == BATCH:
        free_places = free_places if working == 0 else 0
    else:
        free_places -= working
    return bool(fleet.counts[replica, WAITING] >= fleet.settings[QUEUE_LIMIT] + free_places)


@inlined
def estimate_request_work_s(fleet: Fleet, replica: int, normal: float, mark: int) -> float:
    """Return the work that a request adds to its replica; 0 where the router does not need it."""
    if fleet.settings[ROUTER] != LEAST_WORK:
        return 0.0
    kind, width = fleet.counts[replica, KIND], fleet.counts[replica, WIDTH]
    if kind == TOKENS:
        return estimate_work_s(fleet, replica, mark)
    duration_s = fleet.floats[replica, PER_ITEM] * fleet.classes[mark & 255, WORK] * get_factor(fleet, replica, normal)
    if kind == BATCH:
        return float(duration_s + fleet.floats[replica, FIXED] / width)
    return float(duration_s / width)


@compiled
def _fail(fleet: Fleet, replica: int, now_s: float) -> None:
    advance_replica(fleet, replica, now_s)
    ring_size = fleet.queues.shape[0]
    for step in range(fleet.counts[replica, WAITING]):
        mark = int(fleet.queues[(fleet.counts[replica, HEAD] + step) % ring_size, replica, MARK])
        fleet.tallies[mark & 255, FAILED] += 1
    width, working = fleet.counts[replica, WIDTH], fleet.counts[replica, WORKING]
    if fleet.counts[replica, KIND] == TOKENS:
        _fail_sequences(fleet, replica)
    else:
        for place in range(working):
            fleet.tallies[int(fleet.in_work[replica, place, MARK]) & 255, FAILED] += 1
        if fleet.counts[replica, KIND] == BATCH and working > 0:
            fleet.floats[replica, BUSY] -= fleet.floats[replica, DONE] - now_s
        elif fleet.counts[replica, KIND] == SHARED:
            fleet.floats[replica, BUSY] -= get_remaining_work_s(fleet, replica, now_s) / width
        elif working > 0:
            fleet.floats[replica, BUSY] -= (fleet.floats[replica, DONE_SUM] - working * now_s) / width
    for column in (HEAD, WAITING, WORKING, RESERVED, CONTEXT, READ_HEAD, READING, UNREAD, DECODING):
        fleet.counts[replica, column] = 0
    fleet.floats[replica, WAITING_WORK] = fleet.floats[replica, DONE_SUM] = 0.0
    fleet.floats[replica, NEXT], fleet.floats[replica, DONE] = np.inf, -np.inf


@inlined
def _fail_sequences(fleet: Fleet, replica: int) -> None:
    """Fail all sequences. The free places are a stack; those not on it are in work."""
    free = fleet.counts[replica, WIDTH] - fleet.counts[replica, WORKING]
    for place in range(fleet.counts[replica, WIDTH]):
        is_free = False
        for index in range(free):
            is_free = is_free or fleet.heaps[replica, index, FREE] == place
        if not is_free:
            fleet.tallies[int(fleet.in_work[replica, place, MARK]) & 255, FAILED] += 1
            fleet.heaps[replica, free, FREE] = place
            free += 1
