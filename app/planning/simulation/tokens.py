"""A replica of continuous batching: prompts are read in pieces beside the decoding; nothing is preempted."""

from __future__ import annotations

import math

from app.planning.simulation.compiled import compiled
from app.planning.simulation.queueing import expire_waiting, expiry_s, factor_of, pop_waiting
from app.planning.simulation.sequences import (
    begin_reading,
    finish_sequences,
    read_prompts,
    reserve_of,
    unread_tokens,
)
from app.planning.simulation.state import (
    ARRIVAL,
    BATCHES,
    BUSY,
    CONTEXT,
    DECODING,
    DONE,
    FACTOR,
    FIXED,
    HEAD,
    ITEMS,
    KV_TOKENS,
    LAST_STEP,
    MARK,
    NEXT,
    NORMAL,
    PER_ITEM,
    PER_KV,
    PER_PROMPT,
    READ_A_STEP,
    READING,
    RESERVED,
    STEP,
    WAITING,
    WIDTH,
    WORKING,
    Fleet,
)
from app.planning.simulation.token_kernel import steps_last_s, steps_until, whole_steps


@compiled
def advance_tokens(fleet: Fleet, replica: int, until_s: float) -> None:
    """Every step that ends by `until_s`. `DONE` is then where the step under way began, which is taken later."""
    while True:
        if fleet.counts[replica, WORKING] == 0:
            if fleet.counts[replica, WAITING] == 0:
                break
            arrival_s = fleet.waits[fleet.counts[replica, HEAD], replica, ARRIVAL]
            fleet.reals[replica, DONE] = max(fleet.reals[replica, DONE], arrival_s)
        if fleet.reals[replica, DONE] > until_s:
            break
        expire_waiting(fleet, replica, fleet.reals[replica, DONE])
        _admit(fleet, replica)
        if fleet.counts[replica, WORKING] == 0:  # all that had come gave up
            continue
        if fleet.counts[replica, READING] > 0:
            took = _read(fleet, replica, until_s)
        else:
            took = _decode(fleet, replica, until_s)
        if not took:
            break
        finish_sequences(fleet, replica)
    expire_waiting(fleet, replica, until_s)
    fleet.reals[replica, NEXT] = min(_next_end_s(fleet, replica), expiry_s(fleet, replica))


@compiled
def _fits(fleet: Fleet, replica: int) -> bool:
    """Whether the oldest that waits has a place."""
    if fleet.counts[replica, WAITING] == 0 or fleet.counts[replica, WORKING] == fleet.counts[replica, WIDTH]:
        return False
    needs = reserve_of(fleet, replica, int(fleet.waits[fleet.counts[replica, HEAD], replica, MARK]))
    return bool(fleet.counts[replica, RESERVED] + needs <= fleet.counts[replica, KV_TOKENS])


@compiled
def _admit(fleet: Fleet, replica: int) -> None:
    while _fits(fleet, replica):
        head = fleet.counts[replica, HEAD]
        arrival_s = fleet.waits[head, replica, ARRIVAL]
        if arrival_s > fleet.reals[replica, DONE]:
            return
        fleet.reals[replica, FACTOR] = factor_of(fleet, replica, fleet.waits[head, replica, NORMAL])
        begin_reading(fleet, replica, arrival_s, int(fleet.waits[head, replica, MARK]))
        pop_waiting(fleet, replica)


@compiled
def _a_step_s(fleet: Fleet, replica: int) -> float:
    """Of a step that reads no prompt, before its factor."""
    return float(
        fleet.reals[replica, FIXED]
        + fleet.reals[replica, PER_ITEM] * fleet.counts[replica, DECODING]
        + fleet.reals[replica, PER_KV] * fleet.counts[replica, CONTEXT]
    )


@compiled
def _read(fleet: Fleet, replica: int, until_s: float) -> bool:
    """Takes a step that reads prompts too, if it ends in time."""
    tokens = unread_tokens(fleet, replica, fleet.counts[replica, READ_A_STEP])
    lasts_s = _a_step_s(fleet, replica) + fleet.reals[replica, PER_PROMPT] * tokens
    lasts_s *= fleet.reals[replica, FACTOR]
    if fleet.reals[replica, DONE] + lasts_s > until_s:
        return False
    _count(fleet, replica, 1, lasts_s)
    read_prompts(fleet, replica, tokens)
    return True


@compiled
def _decode(fleet: Fleet, replica: int, until_s: float) -> bool:
    """Takes as many equal steps as come before anything changes, and end in time."""
    now_s, factor = fleet.reals[replica, DONE], fleet.reals[replica, FACTOR]
    a_step_s = _a_step_s(fleet, replica)
    growth_s = fleet.reals[replica, PER_KV] * fleet.counts[replica, DECODING]
    steps = fleet.heaps[replica, 0, LAST_STEP] - fleet.counts[replica, STEP]
    change_s = expiry_s(fleet, replica)
    if _fits(fleet, replica):
        change_s = fleet.waits[fleet.counts[replica, HEAD], replica, ARRIVAL]
    if change_s < math.inf:
        steps = steps_until((change_s - now_s) / factor, a_step_s, growth_s, steps)
    if until_s < math.inf:
        steps = whole_steps((until_s - now_s) / factor, a_step_s, growth_s, steps)
    if steps == 0:
        return False
    _count(fleet, replica, steps, factor * steps_last_s(steps, a_step_s, growth_s))
    return True


@compiled
def _count(fleet: Fleet, replica: int, steps: int, lasts_s: float) -> None:
    fleet.reals[replica, DONE] += lasts_s
    fleet.reals[replica, BUSY] += lasts_s
    fleet.counts[replica, BATCHES] += steps
    fleet.counts[replica, ITEMS] += steps * fleet.counts[replica, WORKING]
    fleet.counts[replica, STEP] += steps
    fleet.counts[replica, CONTEXT] += steps * fleet.counts[replica, DECODING]


@compiled
def _next_end_s(fleet: Fleet, replica: int) -> float:
    """No request ends before this."""
    if fleet.counts[replica, WORKING] == 0:
        if fleet.counts[replica, WAITING] == 0:
            return math.inf
        return float(fleet.waits[fleet.counts[replica, HEAD], replica, ARRIVAL])
    steps = 1
    if fleet.counts[replica, READING] == 0 and not _fits(fleet, replica):
        steps = fleet.heaps[replica, 0, LAST_STEP] - fleet.counts[replica, STEP]
    growth_s = fleet.reals[replica, PER_KV] * fleet.counts[replica, DECODING]
    lasts_s = steps_last_s(steps, _a_step_s(fleet, replica), growth_s)
    return float(fleet.reals[replica, DONE] + fleet.reals[replica, FACTOR] * lasts_s)
