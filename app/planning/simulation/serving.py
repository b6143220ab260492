"""Arrivals into a fleet, a chunk at a time, and what may be done to it between chunks.

Nothing here keeps a request once it is answered: 1e9 arrivals take the memory of one chunk.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from app.planning.simulation.chances import share_of, word_of
from app.planning.simulation.compiled import Floats, Ints, compiled, inlined
from app.planning.simulation.queueing import factor_of, push_waiting
from app.planning.simulation.routing import LEAST_WORK, advance_replica, route
from app.planning.simulation.sequences import owed_s
from app.planning.simulation.sharing import advance_shared, work_left_s
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
    OWED,
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
    WIDTH,
    WORK,
    WORKING,
    Fleet,
)
from app.records.day import DayTotals

_NO_LENGTHS: Ints = np.empty(0, dtype=np.int64)


def serve(fleet: Fleet, arrivals_s: Floats, unit_normals: Floats, lengths: Ints = _NO_LENGTHS) -> None:
    """Arrivals ascend, within a call and from call to call; no normals at all means that nothing varies.

    `lengths` are places among the design's pairs of lengths, one for each arrival; without any they are drawn.
    """
    if 0 < unit_normals.size < arrivals_s.size:
        raise ValueError(f"{arrivals_s.size} arrivals have {unit_normals.size} normals")
    normals = unit_normals if unit_normals.size else np.zeros(1)
    _serve(fleet, arrivals_s, normals, lengths)


def settle(fleet: Fleet, now_s: float) -> None:
    """Lets everything up to `now_s` happen; replicas are otherwise brought up to date only when they are looked at."""
    _settle(fleet, now_s)


def counts_of(fleet: Fleet) -> DayTotals:
    """As of the last `settle`."""
    tallies = fleet.tallies[:, :HISTOGRAMS].sum(axis=0)
    held = int(fleet.counts[:, WAITING].sum() + fleet.counts[:, WORKING].sum())
    arrived, good, late, dropped, timed_out, failed = (int(each) for each in tallies)
    return DayTotals(arrived, good, late, dropped, timed_out, failed, held)


def outstanding_of(fleet: Fleet) -> Ints:
    """Requests each replica holds, as of the last `settle`."""
    return np.asarray(fleet.counts[:, WAITING] + fleet.counts[:, WORKING])


def set_routable(fleet: Fleet, replicas: Sequence[int]) -> None:
    """Only these get requests from now on; the others go on with what they hold. With none all arrivals are dropped."""
    fleet.knobs[ROUTABLE] = len(replicas)
    fleet.knobs[ROUTABLE_AT : ROUTABLE_AT + len(replicas)] = replicas


def fail_replica(fleet: Fleet, replica: int, now_s: float) -> None:
    """All it holds has failed, and it stands empty. Whether requests still go to it is for `set_routable` to say."""
    _fail(fleet, replica, now_s)


@compiled
def _serve(fleet: Fleet, arrivals_s: Floats, normals: Floats, lengths: Ints) -> None:
    last_normal = normals.size - 1
    for number in range(arrivals_s.size):
        now_s = arrivals_s[number]
        mark = _mark(fleet)
        if lengths.size:
            mark = (mark & 255) + (lengths[number] << 8)
        kind = mark & 255
        fleet.tallies[kind, ARRIVED] += 1
        if fleet.knobs[ROUTABLE] == 0:
            fleet.tallies[kind, DROPPED] += 1
        else:
            replica = route(fleet, now_s)
            if fleet.reals[replica, NEXT] <= now_s:
                advance_replica(fleet, replica, now_s)
            if is_full(fleet, replica):
                fleet.tallies[kind, DROPPED] += 1
            else:
                normal = normals[min(number, last_normal)]
                push_waiting(fleet, replica, now_s, normal, request_owes_s(fleet, replica, normal, mark), mark)
                _look_again(fleet, replica, now_s)
        fleet.knobs[INDEX] += 1


@inlined
def _look_again(fleet: Fleet, replica: int, now_s: float) -> None:
    """After an arrival: a busy replica has only its patience to watch; others begin when they are next looked at."""
    kind, working = fleet.counts[replica, KIND], fleet.counts[replica, WORKING]
    if kind == SLOTS and working < fleet.counts[replica, WIDTH]:
        advance_slots(fleet, replica, now_s)
    elif kind == SHARED:
        advance_shared(fleet, replica, now_s)
    elif kind == TOKENS or (kind == BATCH and working == 0):
        fleet.reals[replica, NEXT] = min(fleet.reals[replica, NEXT], now_s)
    else:
        fleet.reals[replica, NEXT] = min(fleet.reals[replica, NEXT], now_s + fleet.reals[replica, TIMEOUT])


@compiled
def _settle(fleet: Fleet, now_s: float) -> None:
    for replica in range(fleet.reals.shape[0]):
        if fleet.reals[replica, NEXT] <= now_s:
            advance_replica(fleet, replica, now_s)


@inlined
def _mark(fleet: Fleet) -> int:
    """The class of the next request, and the index of its lengths in the bits above 8."""
    mark, number = 0, fleet.knobs[INDEX]
    if fleet.classes.shape[0] > 1:
        share = share_of(word_of(np.uint64(fleet.knobs[CLASSES]), number))
        while mark < fleet.classes.shape[0] - 1 and share >= fleet.classes[mark, SHARE]:
            mark += 1
    if fleet.knobs[PAIRS] > 1:
        share = share_of(word_of(np.uint64(fleet.knobs[LENGTHS]), number))
        mark += int(share * fleet.knobs[PAIRS]) << 8
    return mark


@inlined
def is_full(fleet: Fleet, replica: int) -> bool:
    """What still finds a place in work, or in the batch that gathers, does not count as queued."""
    room, working = fleet.counts[replica, WIDTH], fleet.counts[replica, WORKING]
    if fleet.counts[replica, KIND] == BATCH:
        room = room if working == 0 else 0
    else:
        room -= working
    return bool(fleet.counts[replica, WAITING] >= fleet.knobs[QUEUE_LIMIT] + room)


@inlined
def request_owes_s(fleet: Fleet, replica: int, normal: float, mark: int) -> float:
    """What the request adds to its replica's work; 0 where no router asks."""
    if fleet.knobs[ROUTER] != LEAST_WORK:
        return 0.0
    kind, width = fleet.counts[replica, KIND], fleet.counts[replica, WIDTH]
    if kind == TOKENS:
        return owed_s(fleet, replica, mark)
    lasts_s = fleet.reals[replica, PER_ITEM] * fleet.classes[mark & 255, WORK] * factor_of(fleet, replica, normal)
    if kind == BATCH:
        return float(lasts_s + fleet.reals[replica, FIXED] / width)
    return float(lasts_s / width)


@compiled
def _fail(fleet: Fleet, replica: int, now_s: float) -> None:
    advance_replica(fleet, replica, now_s)
    ring = fleet.waits.shape[0]
    for step in range(fleet.counts[replica, WAITING]):
        mark = int(fleet.waits[(fleet.counts[replica, HEAD] + step) % ring, replica, MARK])
        fleet.tallies[mark & 255, FAILED] += 1
    width, working = fleet.counts[replica, WIDTH], fleet.counts[replica, WORKING]
    if fleet.counts[replica, KIND] == TOKENS:
        _fail_sequences(fleet, replica)
    else:
        for place in range(working):
            fleet.tallies[int(fleet.works[replica, place, MARK]) & 255, FAILED] += 1
        if fleet.counts[replica, KIND] == BATCH and working > 0:
            fleet.reals[replica, BUSY] -= fleet.reals[replica, DONE] - now_s
        elif fleet.counts[replica, KIND] == SHARED:
            fleet.reals[replica, BUSY] -= work_left_s(fleet, replica, now_s) / width
        elif working > 0:
            fleet.reals[replica, BUSY] -= (fleet.reals[replica, DONE_SUM] - working * now_s) / width
    for column in (HEAD, WAITING, WORKING, RESERVED, CONTEXT, READ_HEAD, READING, UNREAD, DECODING):
        fleet.counts[replica, column] = 0
    fleet.reals[replica, OWED] = fleet.reals[replica, DONE_SUM] = 0.0
    fleet.reals[replica, NEXT], fleet.reals[replica, DONE] = np.inf, -np.inf


@inlined
def _fail_sequences(fleet: Fleet, replica: int) -> None:
    """The free places are a stack; those not on it are in work."""
    free = fleet.counts[replica, WIDTH] - fleet.counts[replica, WORKING]
    for place in range(fleet.counts[replica, WIDTH]):
        is_free = False
        for other in range(free):
            is_free = is_free or fleet.heaps[replica, other, FREE] == place
        if not is_free:
            fleet.tallies[int(fleet.works[replica, place, MARK]) & 255, FAILED] += 1
            fleet.heaps[replica, free, FREE] = place
            free += 1
