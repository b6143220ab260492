"""Compiled simulation loops of one replica, as described in `replica`.

Several simulations may be concatenated; `ends` holds the index after the last request of each
simulation.
"""

from __future__ import annotations

import numpy as np

from app.planning.simulation.compiled import Floats, Ints, compiled, inlined


@inlined
def replace_smallest(heap: Floats, value: float) -> None:
    """Replace the smallest element of a binary heap with `value`."""
    position, size = 0, heap.size
    while True:
        child = 2 * position + 1
        if child >= size:
            break
        if child + 1 < size and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= value:
            break
        heap[position] = heap[child]
        position = child
    heap[position] = value


@compiled
def simulate_requests(
    arrivals_s: Floats,
    service_times_s: Floats,
    ends: Ints,
    slot_free_times_s: Floats,
    outside_s: float,
    latencies_s: Floats,
) -> None:
    begin = 0
    for end in ends:
        slot_free_times_s[:] = -np.inf
        for index in range(begin, end):
            done_s = max(arrivals_s[index], slot_free_times_s[0]) + service_times_s[index]
            replace_smallest(slot_free_times_s, done_s)
            latencies_s[index] = done_s - arrivals_s[index] + outside_s
        begin = end


@inlined
def push_end(heap: Floats, owners: Ints, size: int, end_s: float, owner: int) -> None:
    """Push an end time and its request onto a binary heap of `size` entries."""
    position = size
    while position > 0 and heap[(position - 1) // 2] > end_s:
        heap[position], owners[position] = heap[(position - 1) // 2], owners[(position - 1) // 2]
        position = (position - 1) // 2
    heap[position], owners[position] = end_s, owner


@inlined
def pop_end(heap: Floats, owners: Ints, size: int) -> None:
    """Pop the smallest entry from a binary heap of `size` entries."""
    last, owner, position = heap[size - 1], owners[size - 1], 0
    while True:
        child = 2 * position + 1
        if child >= size - 1:
            break
        if child + 1 < size - 1 and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= last:
            break
        heap[position], owners[position] = heap[child], owners[child]
        position = child
    heap[position], owners[position] = last, owner


@compiled
def simulate_shared(
    arrivals_s: Floats,
    service_times_s: Floats,
    ends: Ints,
    cores: int,
    outside_s: float,
    heap: Floats,
    owners: Ints,
    latencies_s: Floats,
) -> None:
    """Simulate a replica that shares its cores among all requests, and write the latencies.

    `heap` is memory for the ends of the running requests, on a clock of the work that each request
    has received. The heap has at least as many entries as the largest simulation has requests.
    """
    begin = 0
    for end in ends:
        size, clock_s, now_s = 0, 0.0, 0.0
        for index in range(begin, end + 1):
            end_s = arrivals_s[index] if index < end else np.inf
            while size > 0:
                done_s = now_s + (heap[0] - clock_s) * max(1.0, size / cores)
                if done_s > end_s:
                    break
                clock_s, now_s = heap[0], done_s
                latencies_s[owners[0]] = done_s - arrivals_s[owners[0]] + outside_s
                pop_end(heap, owners, size)
                size -= 1
            if index < end:
                clock_s = clock_s + (end_s - now_s) / max(1.0, size / cores) if size > 0 else 0.0
                now_s = end_s
                push_end(heap, owners, size, clock_s + service_times_s[index], index)
                size += 1
        begin = end


@compiled
def simulate_batches(
    arrivals_s: Floats, factors: Floats, ends: Ints, parameters: Floats, max_batch: int, latencies_s: Floats
) -> None:
    fixed_s, per_item_s, window_s, outside_s = parameters
    begin = 0
    for end in ends:
        free_s = -np.inf
        start = begin
        while start < end:
            start_s = arrivals_s[start] + window_s
            full_index = start + max_batch - 1
            if full_index < end:
                start_s = min(start_s, arrivals_s[full_index])
            start_s = max(start_s, free_s)
            stop = start + 1
            while stop < end and stop - start < max_batch and arrivals_s[stop] <= start_s:
                stop += 1
            free_s = start_s + (fixed_s + per_item_s * (stop - start)) * factors[start]
            for index in range(start, stop):
                latencies_s[index] = free_s - arrivals_s[index] + outside_s
            start = stop
        begin = end


@compiled
def look_up(positions: Floats, first: float, step: float, table: Floats, values: Floats) -> None:
    """Interpolate linearly in a table with evenly spaced arguments. Beyond either end, return the
    value at that end."""
    last_index = table.size - 1
    for index in range(positions.size):
        table_position = min(max((positions[index] - first) / step, 0.0), last_index - 1e-9)
        lower_index = int(table_position)
        values[index] = table[lower_index] + (table[lower_index + 1] - table[lower_index]) * (
            table_position - lower_index
        )
