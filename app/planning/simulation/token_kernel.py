"""Compiled loop of a replica with continuous batching, as described in
`replica.simulate_token_latencies`.

The module also computes how many decode steps fit into a time span. Each decode step is `growth_s`
longer than the previous step.
"""

from __future__ import annotations

import collections
import math
from typing import NamedTuple

import numpy as np

from app.planning.simulation.compiled import Floats, Ints, compiled, inlined
from app.records.service import TokenService


@inlined
def compute_steps_s(steps: int, step_s: float, growth_s: float) -> float:
    return steps * step_s + growth_s * (steps * (steps - 1) // 2)


@inlined
def count_whole_steps(duration_s: float, step_s: float, growth_s: float, max_steps: int) -> int:
    """Return the maximum number of steps, up to `max_steps`, that end within `duration_s`
    seconds."""
    if compute_steps_s(max_steps, step_s, growth_s) <= duration_s:
        return max_steps
    if growth_s > 0:
        half_s = step_s - growth_s / 2
        estimated_steps = (math.sqrt(half_s * half_s + 2 * growth_s * max(duration_s, 0.0)) - half_s) / growth_s
    else:
        estimated_steps = max(duration_s, 0.0) / step_s
    steps = min(int(estimated_steps), max_steps)
    while steps > 0 and compute_steps_s(steps, step_s, growth_s) > duration_s:
        steps -= 1
    while steps < max_steps and compute_steps_s(steps + 1, step_s, growth_s) <= duration_s:
        steps += 1
    return steps


@inlined
def count_steps_until(duration_s: float, step_s: float, growth_s: float, max_steps: int) -> int:
    """Return the minimum number of steps, from 1 to `max_steps`, that last at least `duration_s`
    seconds."""
    steps = count_whole_steps(duration_s, step_s, growth_s, max_steps)
    if steps < max_steps and (steps == 0 or compute_steps_s(steps, step_s, growth_s) < duration_s):
        steps += 1
    return steps


# indices of `state`: next request to admit; first request whose prompt is not completely processed,
# and its unprocessed tokens; decoding sequences; tokens reserved, and tokens in the cache; steps so
# far
ADMITTED, PREFILLING, UNPROCESSED, DECODING, RESERVED, CONTEXT, STEP = range(7)


class TokenRequests(NamedTuple):
    """Requests of a simulation: arrival times, input and output tokens, and service time factors,
    one element per request.
    """

    arrivals_s: Floats
    inputs: Ints
    outputs: Ints
    factors: Floats


TokenServiceTuple = collections.namedtuple("TokenServiceTuple", TokenService.__struct_fields__)  # type: ignore[misc]
"""Fields of a `TokenService` as a tuple that numba can compile.

Functions declare the parameter as `TokenService`, so that mypy checks the fields they read.
"""


@compiled
def simulate_tokens(
    requests: TokenRequests,
    ends: Ints,
    service: TokenService,
    state: Ints,
    sequences: Ints,
    first_tokens_s: Floats,
    last_tokens_s: Floats,
) -> None:
    """Simulate the requests of all concatenated simulations, and write the times of the first and
    last tokens.

    The last step of a sequence is known as soon as its prompt is prefilled. A heap of last steps
    therefore shows how many decode steps follow before the batch changes, and these steps are
    simulated at once. `sequences` is memory for the heap: last steps and their requests. `state` is
    memory for the counters.
    """
    begin = 0
    for end in ends:
        now_s = -np.inf
        state[:] = 0
        state[ADMITTED] = state[PREFILLING] = begin
        while state[PREFILLING] < end or state[DECODING] > 0:
            if state[DECODING] == 0 and state[PREFILLING] == state[ADMITTED]:
                now_s = max(now_s, requests.arrivals_s[state[ADMITTED]])
            _admit_requests(requests, end, service, state, now_s)
            if state[PREFILLING] == state[ADMITTED]:
                now_s = _decode(requests, end, service, state, sequences, now_s)
            else:
                now_s = _prefill(requests, service, state, sequences, now_s, first_tokens_s)
            _finish_sequences(requests, service, state, sequences, now_s, last_tokens_s)
        begin = end


@inlined
def _count_reserved(requests: TokenRequests, service: TokenService, index: int) -> int:
    return min(int(requests.inputs[index] + requests.outputs[index]), service.kv_tokens)


@inlined
def _fits_next_request(requests: TokenRequests, end: int, service: TokenService, state: Ints) -> bool:
    """Return whether a sequence slot and enough KV cache space are free for the next request. The
    request may not have arrived yet."""
    index = state[ADMITTED]
    if index == end or state[DECODING] + index - state[PREFILLING] == service.max_sequences:
        return False
    return bool(state[RESERVED] + _count_reserved(requests, service, index) <= service.kv_tokens)


@inlined
def _admit_requests(requests: TokenRequests, end: int, service: TokenService, state: Ints, now_s: float) -> None:
    while _fits_next_request(requests, end, service, state) and requests.arrivals_s[state[ADMITTED]] <= now_s:
        index = state[ADMITTED]
        if state[PREFILLING] == index:
            state[UNPROCESSED] = requests.inputs[index]
        state[RESERVED] += _count_reserved(requests, service, index)
        state[ADMITTED] += 1


@inlined
def compute_experts_s(experts_s: float, expert_share: float, tokens: int) -> float:
    """Return the time to read the experts to which a step over `tokens` tokens routes any."""
    return experts_s * (1.0 - (1.0 - expert_share) ** tokens) if experts_s > 0 else 0.0


@inlined
def _compute_step_s(service: TokenService, state: Ints, prompt_tokens: int) -> float:
    step_s = service.step_s + service.per_sequence_s * state[DECODING] + service.per_kv_token_s * state[CONTEXT]
    tokens = state[DECODING] + prompt_tokens
    return float(step_s + compute_experts_s(service.experts_s, service.expert_share, tokens))


@inlined
def _decode(
    requests: TokenRequests, end: int, service: TokenService, state: Ints, sequences: Ints, now_s: float
) -> float:
    """Simulate decode steps up to the next change of the batch. Return the end of the last step in
    seconds."""
    step_s, growth_s = _compute_step_s(service, state, 0), service.per_kv_token_s * state[DECODING]
    factor, steps = requests.factors[state[ADMITTED] - 1], sequences[0, 0] - state[STEP]
    if _fits_next_request(requests, end, service, state):
        wait_s = (requests.arrivals_s[state[ADMITTED]] - now_s) / factor
        steps = count_steps_until(wait_s, step_s, growth_s, steps)
    state[STEP] += steps
    state[CONTEXT] += state[DECODING] * steps
    return float(now_s + factor * compute_steps_s(steps, step_s, growth_s))


@inlined
def _prefill(
    requests: TokenRequests, service: TokenService, state: Ints, sequences: Ints, now_s: float, first_tokens_s: Floats
) -> float:
    """Simulate a step that processes prompts together with decoding. Return the end of the step in
    seconds."""
    begin, admitted, remaining_tokens = state[PREFILLING], state[ADMITTED], service.chunk_tokens
    stop, unprocessed = begin, state[UNPROCESSED]
    while stop < admitted and remaining_tokens >= unprocessed:
        remaining_tokens -= unprocessed
        stop += 1
        unprocessed = requests.inputs[stop] if stop < admitted else 0
    if stop < admitted:
        unprocessed -= remaining_tokens
        remaining_tokens = 0
    prompt_tokens = service.chunk_tokens - remaining_tokens
    duration_s = _compute_step_s(service, state, prompt_tokens) + service.prefill_s_per_token * prompt_tokens
    now_s += requests.factors[admitted - 1] * duration_s
    state[STEP] += 1
    state[CONTEXT] += state[DECODING]
    for index in range(begin, stop):
        first_tokens_s[index] = now_s
        _push_sequence(sequences, state[DECODING], state[STEP] + requests.outputs[index] - 1, index)
        state[DECODING] += 1
        state[CONTEXT] += requests.inputs[index] + 1
    state[PREFILLING], state[UNPROCESSED] = stop, unprocessed
    return float(now_s)


@inlined
def _finish_sequences(
    requests: TokenRequests, service: TokenService, state: Ints, sequences: Ints, now_s: float, last_tokens_s: Floats
) -> None:
    while state[DECODING] > 0 and sequences[0, 0] <= state[STEP]:
        index = sequences[1, 0]
        last_tokens_s[index] = now_s
        state[DECODING] -= 1
        _pop_sequence(sequences, state[DECODING])
        state[RESERVED] -= _count_reserved(requests, service, index)
        state[CONTEXT] -= requests.inputs[index] + requests.outputs[index]


@inlined
def _push_sequence(sequences: Ints, size: int, last_step: int, index: int) -> None:
    last_steps, request_indices = sequences[0], sequences[1]
    position = size
    while position > 0:
        parent = (position - 1) // 2
        if last_steps[parent] <= last_step:
            break
        last_steps[position], request_indices[position] = last_steps[parent], request_indices[parent]
        position = parent
    last_steps[position], request_indices[position] = last_step, index


@inlined
def _pop_sequence(sequences: Ints, size: int) -> None:
    """Remove the sequence that ends first from the heap. `size` is the number of sequences that
    remain."""
    last_steps, request_indices = sequences[0], sequences[1]
    last_step, index = last_steps[size], request_indices[size]
    position = 0
    while True:
        child = 2 * position + 1
        if child >= size:
            break
        if child + 1 < size and last_steps[child + 1] < last_steps[child]:
            child += 1
        if last_steps[child] >= last_step:
            break
        last_steps[position], request_indices[position] = last_steps[child], request_indices[child]
        position = child
    last_steps[position], request_indices[position] = last_step, index
