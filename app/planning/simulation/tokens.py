"""Simulated replica with continuous batching, which processes prompts in chunks together with
decoding, without preemption.
"""

from __future__ import annotations

import math

from app.planning.simulation.compiled import compiled
from app.planning.simulation.queueing import expire_waiting, get_expiry_s, get_service_factor, pop_waiting
from app.planning.simulation.sequences import (
    begin_prefill,
    count_reserved_tokens,
    count_unprocessed_tokens,
    finish_sequences,
    process_prompts,
)
from app.planning.simulation.state import (
    ARRIVAL,
    BUSY,
    CHUNK_TOKENS,
    CONTEXT,
    DECODING,
    DONE,
    EXPERT_SHARE,
    EXPERTS,
    FACTOR,
    FIXED,
    HEAD,
    KV_TOKENS,
    LAST_STEP,
    NEXT,
    NORMAL,
    PACKED_CLASS,
    PER_ITEM,
    PER_KV,
    PER_PROMPT,
    PREFILLING,
    RESERVED,
    RUNNING,
    STEP,
    WAITING,
    WIDTH,
    Fleet,
)
from app.planning.simulation.token_kernel import (
    compute_experts_s,
    compute_steps_s,
    count_steps_until,
    count_whole_steps,
)


@compiled
def advance_tokens(fleet: Fleet, replica: int, end_s: float) -> None:
    """Simulate every step of a language model replica that ends by the time `end_s`.

    Afterwards, `DONE` is the start of the first step that was not simulated.
    """
    while True:
        if fleet.counts[replica, RUNNING] == 0:
            if fleet.counts[replica, WAITING] == 0:
                break
            arrival_s = fleet.queues[fleet.counts[replica, HEAD], replica, ARRIVAL]
            fleet.floats[replica, DONE] = max(fleet.floats[replica, DONE], arrival_s)
        if fleet.floats[replica, DONE] > end_s:
            break
        expire_waiting(fleet, replica, fleet.floats[replica, DONE])
        _admit_requests(fleet, replica)
        if fleet.counts[replica, RUNNING] == 0:  # all requests that have arrived have timed out
            continue
        if fleet.counts[replica, PREFILLING] > 0:
            has_stepped = _prefill(fleet, replica, end_s)
        else:
            has_stepped = _decode(fleet, replica, end_s)
        if not has_stepped:
            break
        finish_sequences(fleet, replica)
    expire_waiting(fleet, replica, end_s)
    fleet.floats[replica, NEXT] = min(_compute_earliest_end_s(fleet, replica), get_expiry_s(fleet, replica))


@compiled
def _fits_oldest_request(fleet: Fleet, replica: int) -> bool:
    """Return whether the oldest waiting request can be admitted: a sequence slot is free and the KV
    cache has enough space."""
    if fleet.counts[replica, WAITING] == 0 or fleet.counts[replica, RUNNING] == fleet.counts[replica, WIDTH]:
        return False
    needed_tokens = count_reserved_tokens(
        fleet, replica, int(fleet.queues[fleet.counts[replica, HEAD], replica, PACKED_CLASS])
    )
    return bool(fleet.counts[replica, RESERVED] + needed_tokens <= fleet.counts[replica, KV_TOKENS])


@compiled
def _admit_requests(fleet: Fleet, replica: int) -> None:
    while _fits_oldest_request(fleet, replica):
        head = fleet.counts[replica, HEAD]
        arrival_s = fleet.queues[head, replica, ARRIVAL]
        if arrival_s > fleet.floats[replica, DONE]:
            return
        fleet.floats[replica, FACTOR] = get_service_factor(fleet, replica, fleet.queues[head, replica, NORMAL])
        begin_prefill(fleet, replica, arrival_s, int(fleet.queues[head, replica, PACKED_CLASS]))
        pop_waiting(fleet, replica)


@compiled
def _compute_step_s(fleet: Fleet, replica: int, prompt_tokens: int) -> float:
    """Return the duration in seconds of a step without the arithmetic of its `prompt_tokens`, before
    multiplication by the service time factor."""
    tokens = fleet.counts[replica, DECODING] + prompt_tokens
    return float(
        fleet.floats[replica, FIXED]
        + fleet.floats[replica, PER_ITEM] * fleet.counts[replica, DECODING]
        + fleet.floats[replica, PER_KV] * fleet.counts[replica, CONTEXT]
        + compute_experts_s(fleet.floats[replica, EXPERTS], fleet.floats[replica, EXPERT_SHARE], tokens)
    )


@compiled
def _prefill(fleet: Fleet, replica: int, end_s: float) -> bool:
    """Simulate a step that also processes prompts, if the step ends by `end_s`. Return whether the
    step was simulated."""
    tokens = count_unprocessed_tokens(fleet, replica, fleet.counts[replica, CHUNK_TOKENS])
    duration_s = _compute_step_s(fleet, replica, tokens) + fleet.floats[replica, PER_PROMPT] * tokens
    duration_s *= fleet.floats[replica, FACTOR]
    if fleet.floats[replica, DONE] + duration_s > end_s:
        return False
    _record_steps(fleet, replica, 1, duration_s)
    process_prompts(fleet, replica, tokens)
    return True


@compiled
def _decode(fleet: Fleet, replica: int, end_s: float) -> bool:
    """Simulate all decode steps that end by `end_s` and come before the next change of the batch.
    Return whether any step was simulated."""
    now_s, factor = fleet.floats[replica, DONE], fleet.floats[replica, FACTOR]
    step_s = _compute_step_s(fleet, replica, 0)
    growth_s = fleet.floats[replica, PER_KV] * fleet.counts[replica, DECODING]
    steps = fleet.heaps[replica, 0, LAST_STEP] - fleet.counts[replica, STEP]
    change_s = get_expiry_s(fleet, replica)
    if _fits_oldest_request(fleet, replica):
        change_s = fleet.queues[fleet.counts[replica, HEAD], replica, ARRIVAL]
    if change_s < math.inf:
        steps = count_steps_until((change_s - now_s) / factor, step_s, growth_s, steps)
    if end_s < math.inf:
        steps = count_whole_steps((end_s - now_s) / factor, step_s, growth_s, steps)
    if steps == 0:
        return False
    _record_steps(fleet, replica, steps, factor * compute_steps_s(steps, step_s, growth_s))
    return True


@compiled
def _record_steps(fleet: Fleet, replica: int, steps: int, duration_s: float) -> None:
    fleet.floats[replica, DONE] += duration_s
    fleet.floats[replica, BUSY] += duration_s
    fleet.counts[replica, STEP] += steps
    fleet.counts[replica, CONTEXT] += steps * fleet.counts[replica, DECODING]


@compiled
def _compute_earliest_end_s(fleet: Fleet, replica: int) -> float:
    """Return a lower bound of the time at which the next request ends."""
    if fleet.counts[replica, RUNNING] == 0:
        if fleet.counts[replica, WAITING] == 0:
            return math.inf
        return float(fleet.queues[fleet.counts[replica, HEAD], replica, ARRIVAL])
    steps = 1
    if fleet.counts[replica, PREFILLING] == 0 and not _fits_oldest_request(fleet, replica):
        steps = fleet.heaps[replica, 0, LAST_STEP] - fleet.counts[replica, STEP]
    growth_s = fleet.floats[replica, PER_KV] * fleet.counts[replica, DECODING]
    duration_s = compute_steps_s(steps, _compute_step_s(fleet, replica, 0), growth_s)
    return float(fleet.floats[replica, DONE] + fleet.floats[replica, FACTOR] * duration_s)
