"""The compiled loops of one replica; `replica` tells what they mean. `ends` has one past the last index of each run."""

from __future__ import annotations

import numpy as np

from app.planning.simulation.compiled import Floats, Ints, compiled


@compiled
def replace_least(heap: Floats, value: float) -> None:
    """Puts `value` in the place of the least of a binary heap."""
    place, size = 0, heap.size
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        if child + 1 < size and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= value:
            break
        heap[place] = heap[child]
        place = child
    heap[place] = value


@compiled
def play_requests(
    arrivals_s: Floats, services_s: Floats, ends: Ints, free_s: Floats, outside_s: float, latencies_s: Floats
) -> None:
    begin = 0
    for end in ends:
        free_s[:] = -np.inf
        for index in range(begin, end):
            done_s = max(arrivals_s[index], free_s[0]) + services_s[index]
            replace_least(free_s, done_s)
            latencies_s[index] = done_s - arrivals_s[index] + outside_s
        begin = end


@compiled
def play_batches(
    arrivals_s: Floats, factors: Floats, ends: Ints, law: Floats, max_batch: int, latencies_s: Floats
) -> None:
    fixed_s, per_item_s, window_s, outside_s = law
    begin = 0
    for end in ends:
        free_s = -np.inf
        first = begin
        while first < end:
            start_s = arrivals_s[first] + window_s
            full = first + max_batch - 1
            if full < end:
                start_s = min(start_s, arrivals_s[full])
            start_s = max(start_s, free_s)
            after = first + 1
            while after < end and after - first < max_batch and arrivals_s[after] <= start_s:
                after += 1
            free_s = start_s + (fixed_s + per_item_s * (after - first)) * factors[first]
            for index in range(first, after):
                latencies_s[index] = free_s - arrivals_s[index] + outside_s
            first = after
        begin = end


@compiled
def play_tokens(
    arrivals_s: Floats,
    inputs: Ints,
    outputs: Ints,
    factors: Floats,
    ends: Ints,
    law: Floats,
    limits: Ints,
    sequences: Ints,
    first_s: Floats,
    last_s: Floats,
) -> None:
    """Decoding steps are counted in `step`; a sequence ends at a count known when its prompt is read, so a heap of
    those counts says how many equal steps come next, and they are taken as one.
    """
    step_s, per_sequence_s, per_kv_token_s, per_prompt_token_s, outside_s = law
    max_sequences, kv_tokens, chunk_tokens = limits
    last_step, who = sequences[0], sequences[1]
    begin = 0
    for end in ends:
        now_s, step = -np.inf, 0
        admitted, reading = begin, begin  # next to admit; first whose prompt is not read whole
        unread = 0  # tokens of the prompt at `reading` still to read; of those after it: all
        decoding, reserved, context = 0, 0, 0
        while reading < end or decoding > 0:
            if decoding == 0 and reading == admitted:
                now_s = max(now_s, arrivals_s[admitted])
            while (
                admitted < end
                and arrivals_s[admitted] <= now_s
                and decoding + admitted - reading < max_sequences
                and reserved + min(inputs[admitted] + outputs[admitted], kv_tokens) <= kv_tokens
            ):
                if reading == admitted:
                    unread = inputs[admitted]
                reserved += min(inputs[admitted] + outputs[admitted], kv_tokens)
                admitted += 1
            a_step_s = step_s + per_sequence_s * decoding + per_kv_token_s * context
            factor = factors[admitted - 1]
            if reading == admitted:
                steps = last_step[0] - step
                may_admit = (
                    admitted < end
                    and decoding < max_sequences
                    and reserved + min(inputs[admitted] + outputs[admitted], kv_tokens) <= kv_tokens
                )
                growth_s = per_kv_token_s * decoding
                if may_admit:
                    steps = min(steps, steps_until((arrivals_s[admitted] - now_s) / factor, a_step_s, growth_s, steps))
                now_s += factor * (steps * a_step_s + growth_s * (steps * (steps - 1) // 2))
                step += steps
                context += decoding * steps
            else:
                budget = chunk_tokens
                upto = reading
                while upto < admitted and budget >= unread:
                    budget -= unread
                    upto += 1
                    unread = inputs[upto] if upto < admitted else 0
                if upto < admitted:
                    unread -= budget
                    budget = 0
                now_s += factor * (a_step_s + per_prompt_token_s * (chunk_tokens - budget))
                step += 1
                context += decoding
                for index in range(reading, upto):
                    first_s[index] = now_s - arrivals_s[index] + outside_s
                    push_sequence(last_step, who, decoding, step + outputs[index] - 1, index)
                    decoding += 1
                    context += inputs[index] + 1
                reading = upto
            while decoding > 0 and last_step[0] <= step:
                index = who[0]
                last_s[index] = now_s - arrivals_s[index] + outside_s
                decoding -= 1
                pop_sequence(last_step, who, decoding)
                reserved -= min(inputs[index] + outputs[index], kv_tokens)
                context -= inputs[index] + outputs[index]
        begin = end


@compiled
def steps_until(wait_s: float, a_step_s: float, growth_s: float, most: int) -> int:
    """The fewest steps, at least 1 and at most `most`, that last `wait_s`; each is `growth_s` longer than the last."""
    if growth_s > 0:
        half = a_step_s - growth_s / 2
        about = (np.sqrt(half * half + 2 * growth_s * max(wait_s, 0.0)) - half) / growth_s
    else:
        about = wait_s / a_step_s if a_step_s > 0 else 1.0
    if about >= most:
        return most
    steps = max(1, int(about) - 1)
    while steps < most and steps * a_step_s + growth_s * (steps * (steps - 1) // 2) < wait_s:
        steps += 1
    return steps


@compiled
def push_sequence(last_step: Ints, who: Ints, size: int, ends_at: int, index: int) -> None:
    place = size
    while place > 0:
        parent = (place - 1) // 2
        if last_step[parent] <= ends_at:
            break
        last_step[place], who[place] = last_step[parent], who[parent]
        place = parent
    last_step[place], who[place] = ends_at, index


@compiled
def pop_sequence(last_step: Ints, who: Ints, size: int) -> None:
    """Takes the sequence that ends first; `size` is how many remain."""
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
