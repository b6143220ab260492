"""Compiled loop of one replica with continuous batching, described in `replica.simulate_token_latencies`.

Includes how many equal steps fit into a time, where each is `growth_s` longer than the previous one.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from app.planning.simulation.compiled import Floats, Ints, compiled, inlined


@inlined
def compute_steps_s(steps: int, step_s: float, growth_s: float) -> float:
    return steps * step_s + growth_s * (steps * (steps - 1) // 2)


@inlined
def count_whole_steps(wait_s: float, step_s: float, growth_s: float, max_steps: int) -> int:
    """Return the most steps, at most `max_steps`, that end within `wait_s`."""
    if compute_steps_s(max_steps, step_s, growth_s) <= wait_s:
        return max_steps
    if growth_s > 0:
        half_s = step_s - growth_s / 2
        estimate = (math.sqrt(half_s * half_s + 2 * growth_s * max(wait_s, 0.0)) - half_s) / growth_s
    else:
        estimate = max(wait_s, 0.0) / step_s
    steps = min(int(estimate), max_steps)
    while steps > 0 and compute_steps_s(steps, step_s, growth_s) > wait_s:
        steps -= 1
    while steps < max_steps and compute_steps_s(steps + 1, step_s, growth_s) <= wait_s:
        steps += 1
    return steps


@inlined
def count_steps_until(wait_s: float, step_s: float, growth_s: float, max_steps: int) -> int:
    """Return the fewest steps, at least 1 and at most `max_steps`, that last `wait_s`."""
    steps = count_whole_steps(wait_s, step_s, growth_s, max_steps)
    if steps < max_steps and (steps == 0 or compute_steps_s(steps, step_s, growth_s) < wait_s):
        steps += 1
    return steps


# indices of `hold`: next to be admitted; first whose prompt is not fully read, and its unread tokens; sequences
# decoding; tokens reserved, and in the cache; steps so far
ADMITTED, READING, UNREAD, DECODING, RESERVED, CONTEXT, STEP = range(7)


class TokenRequests(NamedTuple):
    arrivals_s: Floats
    inputs: Ints
    outputs: Ints
    factors: Floats


class TokenParameters(NamedTuple):
    step_s: float
    per_sequence_s: float
    per_kv_token_s: float
    per_prompt_token_s: float
    max_sequences: int
    kv_tokens: int
    chunk_tokens: int


@compiled
def simulate_tokens(
    requests: TokenRequests,
    ends: Ints,
    parameters: TokenParameters,
    state: Ints,
    sequences: Ints,
    first_s: Floats,
    last_s: Floats,
) -> None:
    """Simulate the requests of all runs.

    A sequence's last step is known when its prompt has been read, so a heap of these determines how many equal steps
    come next, and they are simulated as one. `sequences` is space for the heap: last steps, and the requests they
    belong to.
    """
    begin = 0
    for end in ends:
        now_s = -np.inf
        state[:] = 0
        state[ADMITTED] = state[READING] = begin
        while state[READING] < end or state[DECODING] > 0:
            if state[DECODING] == 0 and state[READING] == state[ADMITTED]:
                now_s = max(now_s, requests.arrivals_s[state[ADMITTED]])
            _admit(requests, end, parameters, state, now_s)
            if state[READING] == state[ADMITTED]:
                now_s = _decode(requests, end, parameters, state, sequences, now_s)
            else:
                now_s = _read(requests, parameters, state, sequences, now_s, first_s)
            _finish(requests, parameters, state, sequences, now_s, last_s)
        begin = end


@inlined
def _reserve(requests: TokenRequests, parameters: TokenParameters, index: int) -> int:
    return min(int(requests.inputs[index] + requests.outputs[index]), parameters.kv_tokens)


@inlined
def _fits(requests: TokenRequests, end: int, parameters: TokenParameters, state: Ints) -> bool:
    """Return whether there is room for the next request, once it has arrived."""
    index = state[ADMITTED]
    if index == end or state[DECODING] + index - state[READING] == parameters.max_sequences:
        return False
    return bool(state[RESERVED] + _reserve(requests, parameters, index) <= parameters.kv_tokens)


@inlined
def _admit(requests: TokenRequests, end: int, parameters: TokenParameters, state: Ints, now_s: float) -> None:
    while _fits(requests, end, parameters, state) and requests.arrivals_s[state[ADMITTED]] <= now_s:
        index = state[ADMITTED]
        if state[READING] == index:
            state[UNREAD] = requests.inputs[index]
        state[RESERVED] += _reserve(requests, parameters, index)
        state[ADMITTED] += 1


@inlined
def _step_s(parameters: TokenParameters, state: Ints) -> float:
    return float(
        parameters.step_s + parameters.per_sequence_s * state[DECODING] + parameters.per_kv_token_s * state[CONTEXT]
    )


@inlined
def _decode(
    requests: TokenRequests, end: int, parameters: TokenParameters, state: Ints, sequences: Ints, now_s: float
) -> float:
    """Simulate every step up to the first that changes the state, and return its end."""
    step_s, growth_s = _step_s(parameters, state), parameters.per_kv_token_s * state[DECODING]
    factor, steps = requests.factors[state[ADMITTED] - 1], sequences[0, 0] - state[STEP]
    if _fits(requests, end, parameters, state):
        wait_s = (requests.arrivals_s[state[ADMITTED]] - now_s) / factor
        steps = count_steps_until(wait_s, step_s, growth_s, steps)
    state[STEP] += steps
    state[CONTEXT] += state[DECODING] * steps
    return float(now_s + factor * compute_steps_s(steps, step_s, growth_s))


@inlined
def _read(
    requests: TokenRequests, parameters: TokenParameters, state: Ints, sequences: Ints, now_s: float, first_s: Floats
) -> float:
    """Simulate one step, which processes prompts together with decoding, and return its end."""
    begin, admitted, budget = state[READING], state[ADMITTED], parameters.chunk_tokens
    stop, unread = begin, state[UNREAD]
    while stop < admitted and budget >= unread:
        budget -= unread
        stop += 1
        unread = requests.inputs[stop] if stop < admitted else 0
    if stop < admitted:
        unread -= budget
        budget = 0
    duration_s = _step_s(parameters, state) + parameters.per_prompt_token_s * (parameters.chunk_tokens - budget)
    now_s += requests.factors[admitted - 1] * duration_s
    state[STEP] += 1
    state[CONTEXT] += state[DECODING]
    for index in range(begin, stop):
        first_s[index] = now_s
        _push(sequences, state[DECODING], state[STEP] + requests.outputs[index] - 1, index)
        state[DECODING] += 1
        state[CONTEXT] += requests.inputs[index] + 1
    state[READING], state[UNREAD] = stop, unread
    return float(now_s)


@inlined
def _finish(
    requests: TokenRequests, parameters: TokenParameters, state: Ints, sequences: Ints, now_s: float, last_s: Floats
) -> None:
    while state[DECODING] > 0 and sequences[0, 0] <= state[STEP]:
        index = sequences[1, 0]
        last_s[index] = now_s
        state[DECODING] -= 1
        _pop(sequences, state[DECODING])
        state[RESERVED] -= _reserve(requests, parameters, index)
        state[CONTEXT] -= requests.inputs[index] + requests.outputs[index]


@inlined
def _push(sequences: Ints, size: int, end_step: int, index: int) -> None:
    last_step, request = sequences[0], sequences[1]
    place = size
    while place > 0:
        parent = (place - 1) // 2
        if last_step[parent] <= end_step:
            break
        last_step[place], request[place] = last_step[parent], request[parent]
        place = parent
    last_step[place], request[place] = end_step, index


@inlined
def _pop(sequences: Ints, size: int) -> None:
    """Remove the sequence that ends first; `size` is how many remain."""
    last_step, request = sequences[0], sequences[1]
    end_step, index = last_step[size], request[size]
    place = 0
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        if child + 1 < size and last_step[child + 1] < last_step[child]:
            child += 1
        if last_step[child] >= end_step:
            break
        last_step[place], request[place] = last_step[child], request[child]
        place = child
    last_step[place], request[place] = end_step, index
