"""The compiled loop of one replica of continuous batching; `replica.token_latencies` tells what it means.

How many equal steps of continuous batching fit a time, compiled; each is `growth_s` longer than the
one before.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from app.planning.simulation.compiled import Floats, Ints, compiled, inlined


@inlined
def steps_last_s(steps: int, a_step_s: float, growth_s: float) -> float:
    return steps * a_step_s + growth_s * (steps * (steps - 1) // 2)


@inlined
def whole_steps(wait_s: float, a_step_s: float, growth_s: float, most: int) -> int:
    """The most steps, up to `most`, that end within `wait_s`."""
    if steps_last_s(most, a_step_s, growth_s) <= wait_s:
        return most
    if growth_s > 0:
        half_s = a_step_s - growth_s / 2
        about = (math.sqrt(half_s * half_s + 2 * growth_s * max(wait_s, 0.0)) - half_s) / growth_s
    else:
        about = max(wait_s, 0.0) / a_step_s
    steps = min(int(about), most)
    while steps > 0 and steps_last_s(steps, a_step_s, growth_s) > wait_s:
        steps -= 1
    while steps < most and steps_last_s(steps + 1, a_step_s, growth_s) <= wait_s:
        steps += 1
    return steps


@inlined
def steps_until(wait_s: float, a_step_s: float, growth_s: float, most: int) -> int:
    """The fewest steps, at least 1 and at most `most`, that last `wait_s`."""
    steps = whole_steps(wait_s, a_step_s, growth_s, most)
    if steps < most and (steps == 0 or steps_last_s(steps, a_step_s, growth_s) < wait_s):
        steps += 1
    return steps


# places of `hold`: next to be admitted; first whose prompt is not read whole, and what is unread of it; sequences
# decoding; tokens reserved, and in the cache; steps so far
ADMITTED, READING, UNREAD, DECODING, RESERVED, CONTEXT, STEP = range(7)


class TokenRequests(NamedTuple):
    arrivals_s: Floats
    inputs: Ints
    outputs: Ints
    factors: Floats


class TokenLaw(NamedTuple):
    step_s: float
    per_sequence_s: float
    per_kv_token_s: float
    per_prompt_token_s: float
    max_sequences: int
    kv_tokens: int
    chunk_tokens: int


@compiled
def play_tokens(
    requests: TokenRequests, ends: Ints, law: TokenLaw, hold: Ints, sequences: Ints, first_s: Floats, last_s: Floats
) -> None:
    """A sequence's last step is known when its prompt is read, so a heap of these says how many equal steps come
    next, and they are taken as one. `sequences` is room for the heap: last steps, and whose they are.
    """
    begin = 0
    for end in ends:
        now_s = -np.inf
        hold[:] = 0
        hold[ADMITTED] = hold[READING] = begin
        while hold[READING] < end or hold[DECODING] > 0:
            if hold[DECODING] == 0 and hold[READING] == hold[ADMITTED]:
                now_s = max(now_s, requests.arrivals_s[hold[ADMITTED]])
            _admit(requests, end, law, hold, now_s)
            if hold[READING] == hold[ADMITTED]:
                now_s = _decode(requests, end, law, hold, sequences, now_s)
            else:
                now_s = _read(requests, law, hold, sequences, now_s, first_s)
            _finish(requests, law, hold, sequences, now_s, last_s)
        begin = end


@inlined
def _reserve(requests: TokenRequests, law: TokenLaw, index: int) -> int:
    return min(int(requests.inputs[index] + requests.outputs[index]), law.kv_tokens)


@inlined
def _fits(requests: TokenRequests, end: int, law: TokenLaw, hold: Ints) -> bool:
    """Whether the next has a place, once it has come."""
    index = hold[ADMITTED]
    if index == end or hold[DECODING] + index - hold[READING] == law.max_sequences:
        return False
    return bool(hold[RESERVED] + _reserve(requests, law, index) <= law.kv_tokens)


@inlined
def _admit(requests: TokenRequests, end: int, law: TokenLaw, hold: Ints, now_s: float) -> None:
    while _fits(requests, end, law, hold) and requests.arrivals_s[hold[ADMITTED]] <= now_s:
        index = hold[ADMITTED]
        if hold[READING] == index:
            hold[UNREAD] = requests.inputs[index]
        hold[RESERVED] += _reserve(requests, law, index)
        hold[ADMITTED] += 1


@inlined
def _a_step_s(law: TokenLaw, hold: Ints) -> float:
    return float(law.step_s + law.per_sequence_s * hold[DECODING] + law.per_kv_token_s * hold[CONTEXT])


@inlined
def _decode(requests: TokenRequests, end: int, law: TokenLaw, hold: Ints, sequences: Ints, now_s: float) -> float:
    """Takes every step up to the first that changes anything, and gives its end."""
    a_step_s, growth_s = _a_step_s(law, hold), law.per_kv_token_s * hold[DECODING]
    factor, steps = requests.factors[hold[ADMITTED] - 1], sequences[0, 0] - hold[STEP]
    if _fits(requests, end, law, hold):
        wait_s = (requests.arrivals_s[hold[ADMITTED]] - now_s) / factor
        steps = steps_until(wait_s, a_step_s, growth_s, steps)
    hold[STEP] += steps
    hold[CONTEXT] += hold[DECODING] * steps
    return float(now_s + factor * steps_last_s(steps, a_step_s, growth_s))


@inlined
def _read(requests: TokenRequests, law: TokenLaw, hold: Ints, sequences: Ints, now_s: float, first_s: Floats) -> float:
    """Takes one step, which reads prompts beside the decoding, and gives its end."""
    begin, admitted, budget = hold[READING], hold[ADMITTED], law.chunk_tokens
    upto, unread = begin, hold[UNREAD]
    while upto < admitted and budget >= unread:
        budget -= unread
        upto += 1
        unread = requests.inputs[upto] if upto < admitted else 0
    if upto < admitted:
        unread -= budget
        budget = 0
    lasts_s = _a_step_s(law, hold) + law.per_prompt_token_s * (law.chunk_tokens - budget)
    now_s += requests.factors[admitted - 1] * lasts_s
    hold[STEP] += 1
    hold[CONTEXT] += hold[DECODING]
    for index in range(begin, upto):
        first_s[index] = now_s
        _push(sequences, hold[DECODING], hold[STEP] + requests.outputs[index] - 1, index)
        hold[DECODING] += 1
        hold[CONTEXT] += requests.inputs[index] + 1
    hold[READING], hold[UNREAD] = upto, unread
    return float(now_s)


@inlined
def _finish(requests: TokenRequests, law: TokenLaw, hold: Ints, sequences: Ints, now_s: float, last_s: Floats) -> None:
    while hold[DECODING] > 0 and sequences[0, 0] <= hold[STEP]:
        index = sequences[1, 0]
        last_s[index] = now_s
        hold[DECODING] -= 1
        _pop(sequences, hold[DECODING])
        hold[RESERVED] -= _reserve(requests, law, index)
        hold[CONTEXT] -= requests.inputs[index] + requests.outputs[index]


@inlined
def _push(sequences: Ints, size: int, ends_at: int, index: int) -> None:
    last_step, who = sequences[0], sequences[1]
    place = size
    while place > 0:
        parent = (place - 1) // 2
        if last_step[parent] <= ends_at:
            break
        last_step[place], who[place] = last_step[parent], who[parent]
        place = parent
    last_step[place], who[place] = ends_at, index


@inlined
def _pop(sequences: Ints, size: int) -> None:
    """Takes the sequence that ends first; `size` is how many remain."""
    last_step, who = sequences[0], sequences[1]
    ends_at, index = last_step[size], who[size]
    place = 0
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        if child + 1 < size and last_step[child + 1] < last_step[child]:
            child += 1
        if last_step[child] >= ends_at:
            break
        last_step[place], who[place] = last_step[child], who[child]
        place = child
    last_step[place], who[place] = ends_at, index
