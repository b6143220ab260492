"""Routing of requests to replicas, with one function per router.

A router chooses an index in the list of routable replicas.
"""

from __future__ import annotations

import math

import numpy as np

from app.planning.simulation.batching import advance_batches
from app.planning.simulation.compiled import compiled, inlined
from app.planning.simulation.random_words import draw_from_high_bits, draw_from_low_bits, draw_word
from app.planning.simulation.sharing import advance_shared, get_remaining_work_s
from app.planning.simulation.slots import advance_slots
from app.planning.simulation.state import (
    BATCH,
    DONE,
    DONE_SUM,
    KIND,
    NEXT,
    NEXT_REPLICA,
    REQUEST_INDEX,
    ROUTABLE,
    ROUTABLE_OFFSET,
    ROUTER,
    ROUTING,
    RUNNING,
    SESSION,
    SESSIONS,
    SHARED,
    SLOTS,
    WAITING,
    WAITING_WORK,
    WEIGHT,
    WIDTH,
    Fleet,
)
from app.planning.simulation.tokens import advance_tokens

# in the order of ROUTERS
ROUND_ROBIN, RANDOM, POWER_OF_TWO, LEAST_OUTSTANDING, LEAST_WORK, WEIGHTED, SESSION_HASH = range(7)


@inlined
def advance_replica(fleet: Fleet, replica: int, end_s: float) -> None:
    kind = fleet.counts[replica, KIND]
    if kind == BATCH:
        advance_batches(fleet, replica, end_s)
    elif kind == SLOTS:
        advance_slots(fleet, replica, end_s)
    elif kind == SHARED:
        advance_shared(fleet, replica, end_s)
    else:
        advance_tokens(fleet, replica, end_s)


@inlined
def count_outstanding(fleet: Fleet, replica: int, now_s: float) -> int:
    if fleet.floats[replica, NEXT] <= now_s:
        advance_replica(fleet, replica, now_s)
    return int(fleet.counts[replica, WAITING] + fleet.counts[replica, RUNNING])


@inlined
def get_outstanding_work_s(fleet: Fleet, replica: int, now_s: float) -> float:
    """Return the remaining work of the replica, in seconds of the entire replica.

    In a token replica, each request counts with its entire work until it ends.
    """
    if fleet.floats[replica, NEXT] <= now_s:
        advance_replica(fleet, replica, now_s)
    waiting_s, running_count = fleet.floats[replica, WAITING_WORK], fleet.counts[replica, RUNNING]
    kind = fleet.counts[replica, KIND]
    if kind == BATCH:
        return float(waiting_s + max(0.0, fleet.floats[replica, DONE] - now_s))
    if kind == SLOTS:
        return float(
            waiting_s + (fleet.floats[replica, DONE_SUM] - running_count * now_s) / fleet.counts[replica, WIDTH]
        )
    if kind == SHARED:
        return float(get_remaining_work_s(fleet, replica, now_s) / fleet.counts[replica, WIDTH])
    return float(waiting_s + fleet.floats[replica, DONE_SUM])


@inlined
def route(fleet: Fleet, now_s: float) -> int:
    """Return the index of the replica that gets the next request."""
    router, routable_count = fleet.settings[ROUTER], fleet.settings[ROUTABLE]
    if routable_count == 1:
        return int(fleet.settings[ROUTABLE_OFFSET + 0])
    if router == ROUND_ROBIN:
        return int(fleet.settings[ROUTABLE_OFFSET + _advance_round_robin(fleet, routable_count)])
    if router == RANDOM:
        return int(
            fleet.settings[
                ROUTABLE_OFFSET
                + draw_from_high_bits(
                    draw_word(np.uint64(fleet.settings[ROUTING]), fleet.settings[REQUEST_INDEX]), routable_count
                )
            ]
        )
    if router == POWER_OF_TWO:
        return _choose_by_power_of_two(fleet, routable_count, now_s)
    if router == SESSION_HASH:
        session = draw_from_high_bits(
            draw_word(np.uint64(fleet.settings[SESSION]), fleet.settings[REQUEST_INDEX]), fleet.settings[SESSIONS]
        )
        return int(
            fleet.settings[
                ROUTABLE_OFFSET
                + draw_from_high_bits(draw_word(np.uint64(fleet.settings[ROUTING]), session), routable_count)
            ]
        )
    return _choose_least_loaded(fleet, router, routable_count, now_s)


@inlined
def _advance_round_robin(fleet: Fleet, routable_count: int) -> int:
    index = fleet.settings[NEXT_REPLICA]
    if index >= routable_count:
        index = 0
    fleet.settings[NEXT_REPLICA] = index + 1
    return int(index)


@inlined
def _choose_by_power_of_two(fleet: Fleet, routable_count: int, now_s: float) -> int:
    word = draw_word(np.uint64(fleet.settings[ROUTING]), fleet.settings[REQUEST_INDEX])
    first_position = draw_from_high_bits(word, routable_count)
    second_position = first_position + 1 + draw_from_low_bits(word, routable_count - 1)
    if second_position >= routable_count:
        second_position -= routable_count
    first_replica, second_replica = (
        int(fleet.settings[ROUTABLE_OFFSET + first_position]),
        int(fleet.settings[ROUTABLE_OFFSET + second_position]),
    )
    return (
        second_replica
        if count_outstanding(fleet, second_replica, now_s) < count_outstanding(fleet, first_replica, now_s)
        else first_replica
    )


@compiled
def _choose_least_loaded(fleet: Fleet, router: int, routable_count: int, now_s: float) -> int:
    """Return the replica with the lowest load.

    Each search starts one position later than the previous search, so that equally loaded replicas
    alternate.
    """
    start_position = _advance_round_robin(fleet, routable_count)
    best_replica, lowest_load = -1, math.inf
    for step in range(routable_count):
        position = start_position + step
        replica = fleet.settings[
            ROUTABLE_OFFSET + (position - routable_count if position >= routable_count else position)
        ]
        if router == LEAST_WORK:
            load = get_outstanding_work_s(fleet, replica, now_s)
        elif router == WEIGHTED:
            load = (count_outstanding(fleet, replica, now_s) + 1) / fleet.floats[replica, WEIGHT]
        else:
            load = float(count_outstanding(fleet, replica, now_s))
        if load < lowest_load:
            best_replica, lowest_load = replica, load
    return best_replica
