"""Routing of requests to replicas, with one function per router.

Routers choose an index in the list of routable replicas.
"""

from __future__ import annotations

import math

import numpy as np

from app.planning.simulation.batching import advance_batches
from app.planning.simulation.compiled import compiled, inlined
from app.planning.simulation.random_words import draw_high_below, draw_low_below, draw_word
from app.planning.simulation.sharing import advance_shared, get_remaining_work_s
from app.planning.simulation.slots import advance_slots
from app.planning.simulation.state import (
    BATCH,
    DONE,
    DONE_SUM,
    INDEX,
    KIND,
    NEXT,
    NEXT_REPLICA,
    ROUTABLE,
    ROUTABLE_AT,
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


@compiled
def advance_replica(fleet: Fleet, replica: int, until_s: float) -> None:
    kind = fleet.counts[replica, KIND]
    if kind == BATCH:
        advance_batches(fleet, replica, until_s)
    elif kind == SLOTS:
        advance_slots(fleet, replica, until_s)
    elif kind == SHARED:
        advance_shared(fleet, replica, until_s)
    else:
        advance_tokens(fleet, replica, until_s)


@inlined
def count_outstanding(fleet: Fleet, replica: int, now_s: float) -> int:
    if fleet.floats[replica, NEXT] <= now_s:
        advance_replica(fleet, replica, now_s)
    return int(fleet.counts[replica, WAITING] + fleet.counts[replica, RUNNING])


@inlined
def get_work_ahead_s(fleet: Fleet, replica: int, now_s: float) -> float:
    """Return the remaining work of the replica, in seconds of the entire replica.

    A token request counts in full until it ends.
    """
    if fleet.floats[replica, NEXT] <= now_s:
        advance_replica(fleet, replica, now_s)
    waiting_s, working = fleet.floats[replica, WAITING_WORK], fleet.counts[replica, RUNNING]
    kind = fleet.counts[replica, KIND]
    if kind == BATCH:
        return float(waiting_s + max(0.0, fleet.floats[replica, DONE] - now_s))
    if kind == SLOTS:
        return float(waiting_s + (fleet.floats[replica, DONE_SUM] - working * now_s) / fleet.counts[replica, WIDTH])
    if kind == SHARED:
        return float(get_remaining_work_s(fleet, replica, now_s) / fleet.counts[replica, WIDTH])
    return float(waiting_s + fleet.floats[replica, DONE_SUM])


@compiled
def route(fleet: Fleet, now_s: float) -> int:
    """Return the index of the replica that gets the next request."""
    router, choices = fleet.settings[ROUTER], fleet.settings[ROUTABLE]
    if choices == 1:
        return int(fleet.settings[ROUTABLE_AT + 0])
    if router == ROUND_ROBIN:
        return int(fleet.settings[ROUTABLE_AT + _advance_turn(fleet, choices)])
    if router == RANDOM:
        return int(
            fleet.settings[
                ROUTABLE_AT
                + draw_high_below(draw_word(np.uint64(fleet.settings[ROUTING]), fleet.settings[INDEX]), choices)
            ]
        )
    if router == POWER_OF_TWO:
        return _choose_of_two(fleet, choices, now_s)
    if router == SESSION_HASH:
        session = draw_high_below(
            draw_word(np.uint64(fleet.settings[SESSION]), fleet.settings[INDEX]), fleet.settings[SESSIONS]
        )
        return int(
            fleet.settings[
                ROUTABLE_AT + draw_high_below(draw_word(np.uint64(fleet.settings[ROUTING]), session), choices)
            ]
        )
    return _choose_least_loaded(fleet, router, choices, now_s)


@inlined
def _advance_turn(fleet: Fleet, choices: int) -> int:
    index = fleet.settings[NEXT_REPLICA]
    if index >= choices:
        index = 0
    fleet.settings[NEXT_REPLICA] = index + 1
    return int(index)


@inlined
def _choose_of_two(fleet: Fleet, choices: int, now_s: float) -> int:
    word = draw_word(np.uint64(fleet.settings[ROUTING]), fleet.settings[INDEX])
    first_choice = draw_high_below(word, choices)
    second_choice = first_choice + 1 + draw_low_below(word, choices - 1)
    if second_choice >= choices:
        second_choice -= choices
    first, second = int(fleet.settings[ROUTABLE_AT + first_choice]), int(fleet.settings[ROUTABLE_AT + second_choice])
    return second if count_outstanding(fleet, second, now_s) < count_outstanding(fleet, first, now_s) else first


@compiled
def _choose_least_loaded(fleet: Fleet, router: int, choices: int, now_s: float) -> int:
    """Return the replica with the lowest load.

    Each search starts one position later than the previous one, so that equally loaded replicas
    alternate.
    """
    begin = _advance_turn(fleet, choices)
    best, lowest_load = -1, math.inf
    for step in range(choices):
        position = begin + step
        replica = fleet.settings[ROUTABLE_AT + (position - choices if position >= choices else position)]
        if router == LEAST_WORK:
            load = get_work_ahead_s(fleet, replica, now_s)
        elif router == WEIGHTED:
            load = (count_outstanding(fleet, replica, now_s) + 1) / fleet.floats[replica, WEIGHT]
        else:
            load = float(count_outstanding(fleet, replica, now_s))
        if load < lowest_load:
            best, lowest_load = replica, load
    return best
