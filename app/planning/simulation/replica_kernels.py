"""The compiled loops of one replica; `replica` tells what they mean. `ends` has one past the last index of each run."""

from __future__ import annotations

import numpy as np

from app.planning.simulation.compiled import Floats, Ints, compiled, inlined


@inlined
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


@inlined
def push_end(heap: Floats, places: Ints, size: int, end: float, place: int) -> None:
    """Adds an end and whose it is to a binary heap of `size` of them."""
    at = size
    while at > 0 and heap[(at - 1) // 2] > end:
        heap[at], places[at] = heap[(at - 1) // 2], places[(at - 1) // 2]
        at = (at - 1) // 2
    heap[at], places[at] = end, place


@inlined
def pop_end(heap: Floats, places: Ints, size: int) -> None:
    """Removes the least of a binary heap of `size`."""
    last, place, at = heap[size - 1], places[size - 1], 0
    while True:
        child = 2 * at + 1
        if child >= size - 1:
            break
        if child + 1 < size - 1 and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= last:
            break
        heap[at], places[at] = heap[child], places[child]
        at = child
    heap[at], places[at] = last, place


@compiled
def play_shared(
    arrivals_s: Floats,
    services_s: Floats,
    ends: Ints,
    cores: int,
    outside_s: float,
    heap: Floats,
    places: Ints,
    latencies_s: Floats,
) -> None:
    """Processor sharing: `heap` holds the ends on the clock of work that each running request has received, and is as
    long as a run."""
    begin = 0
    for end in ends:
        size, clock_s, now_s = 0, 0.0, 0.0
        for index in range(begin, end + 1):
            until_s = arrivals_s[index] if index < end else np.inf
            while size > 0:
                done_s = now_s + (heap[0] - clock_s) * max(1.0, size / cores)
                if done_s > until_s:
                    break
                clock_s, now_s = heap[0], done_s
                latencies_s[places[0]] = done_s - arrivals_s[places[0]] + outside_s
                pop_end(heap, places, size)
                size -= 1
            if index < end:
                clock_s = clock_s + (until_s - now_s) / max(1.0, size / cores) if size > 0 else 0.0
                now_s = until_s
                push_end(heap, places, size, clock_s + services_s[index], index)
                size += 1
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
def look_up(at: Floats, first: float, step: float, table: Floats, found: Floats) -> None:
    """Between evenly spaced values, by straight lines; the ends hold beyond them."""
    last = table.size - 1
    for index in range(at.size):
        place = min(max((at[index] - first) / step, 0.0), last - 1e-9)
        below = int(place)
        found[index] = table[below] + (table[below + 1] - table[below]) * (place - below)
