"""One replica in a closed loop: each client sends again as soon as it receives its response.

All clients send their first request at once. `unit_normals` has one standard normal per request and determines their
number. The functions return times of arrival at the replica and of the ends of its responses; a client receives its
response, and sends again, `outside_s` later, so its latency is `end − arrival + outside_s`.
"""

from __future__ import annotations

import numpy as np

from app.planning.service_models.service_times import compute_lognormal_factors, compute_service_factors
from app.planning.simulation.compiled import Floats, Ints, compiled
from app.planning.simulation.replica import build_kernel_input
from app.planning.simulation.replica_kernels import pop_end, push_end, replace_smallest
from app.planning.simulation.token_kernel import ADMITTED as NEXT
from app.planning.simulation.token_kernel import (
    DECODING,
    READING,
    TokenParameters,
    TokenRequests,
    _admit,
    _decode,
    _finish,
    _read,
)
from app.records.service import BatchService, RequestService, TokenService


def simulate_closed_requests(clients: int, unit_normals: Floats, service: RequestService) -> tuple[Floats, Floats]:
    """Simulate a replica of slots or shared cores; return arrivals and ends, in order of arrival."""
    arrivals_s, ends_s = np.empty(unit_normals.size), np.empty(unit_normals.size)
    services_s = compute_service_factors(unit_normals, service) * service.mean_s
    if service.is_shared:
        _simulate_shared(
            services_s, clients, service.slots, service.outside_s, *_ring_arrays(clients), arrivals_s, ends_s
        )
        return arrivals_s, ends_s
    _simulate_requests(services_s, np.zeros(clients), np.zeros(service.slots), service.outside_s, arrivals_s, ends_s)
    return arrivals_s, ends_s


def simulate_closed_batches(clients: int, unit_normals: Floats, service: BatchService) -> tuple[Floats, Floats]:
    """Simulate a replica of batches; return arrivals and ends, in order of arrival."""
    arrivals_s, ends_s = _known_arrivals(clients, unit_normals.size), np.empty(unit_normals.size)
    parameters = np.array([service.fixed_s, service.per_item_s, service.window_s, service.outside_s])
    _simulate_batches(
        arrivals_s, compute_lognormal_factors(unit_normals, service.cv), clients, parameters, service.max_batch, ends_s
    )
    return arrivals_s, ends_s


def simulate_closed_tokens(
    clients: int, input_tokens: Ints, output_tokens: Ints, unit_normals: Floats, service: TokenService
) -> tuple[Floats, Floats, Floats]:
    """Simulate a replica of tokens; return arrivals, first tokens and ends, in order of arrival."""
    arrivals_s = _known_arrivals(clients, unit_normals.size)
    first_s, last_s = np.empty(unit_normals.size), np.empty(unit_normals.size)
    requests, parameters = build_kernel_input(arrivals_s, input_tokens, output_tokens, unit_normals, service)
    heap = np.empty((2, service.max_sequences), dtype=np.int64)
    known_count = min(clients, unit_normals.size)
    _simulate_tokens(
        requests, known_count, parameters, service.outside_s, np.zeros(7, dtype=np.int64), heap, first_s, last_s
    )
    return arrivals_s, first_s, last_s


def _ring_arrays(size: int) -> tuple[Floats, Ints, Floats]:
    """Return arrays for the ends, the requests that they belong to, and the times at which clients send again."""
    return np.empty(size), np.empty(size, dtype=np.int64), np.zeros(size)


def _known_arrivals(clients: int, requests: int) -> Floats:
    """Return the first arrival of each client; later ones are unknown at first."""
    arrivals_s = np.full(requests, np.inf)
    arrivals_s[:clients] = 0.0
    return arrivals_s


@compiled
def _simulate_requests(
    services_s: Floats, clients_s: Floats, free_s: Floats, outside_s: float, arrivals_s: Floats, ends_s: Floats
) -> None:
    """Simulate slots. `clients_s`, when each client sends next, and `free_s`, when each slot is free, are heaps."""
    for index in range(services_s.size):
        arrivals_s[index] = clients_s[0]
        ends_s[index] = max(clients_s[0], free_s[0]) + services_s[index]
        replace_smallest(free_s, ends_s[index])
        replace_smallest(clients_s, ends_s[index] + outside_s)


@compiled
def _simulate_shared(
    services_s: Floats,
    clients: int,
    cores: int,
    outside_s: float,
    heap: Floats,
    owners: Ints,
    resend_s: Floats,
    arrivals_s: Floats,
    ends_s: Floats,
) -> None:
    """Simulate shared cores. `resend_s` is a ring: clients send again in the order of their responses."""
    size, clock_s, now_s, arrived, ended = 0, 0.0, 0.0, 0, 0
    while ended < services_s.size:
        until_s = np.inf
        if arrived < services_s.size and size < clients:
            until_s = resend_s[arrived % clients]
        if size > 0:
            done_s = now_s + (heap[0] - clock_s) * max(1.0, size / cores)
            if done_s <= until_s:
                clock_s, now_s = heap[0], done_s
                ends_s[owners[0]] = done_s
                resend_s[ended % clients] = done_s + outside_s
                pop_end(heap, owners, size)
                size -= 1
                ended += 1
                continue
        clock_s = clock_s + (until_s - now_s) / max(1.0, size / cores) if size > 0 else 0.0
        now_s = until_s
        arrivals_s[arrived] = now_s
        push_end(heap, owners, size, clock_s + services_s[arrived], arrived)
        size += 1
        arrived += 1


@compiled
def _simulate_batches(
    arrivals_s: Floats, factors: Floats, clients: int, parameters: Floats, max_batch: int, ends_s: Floats
) -> None:
    """Simulate batches.

    While no batch is in work every client's next arrival is known, and none comes before those known earlier.
    """
    fixed_s, per_item_s, window_s, outside_s = parameters
    free_s, first, known_count = 0.0, 0, min(clients, arrivals_s.size)
    while first < arrivals_s.size:
        start_s = arrivals_s[first] + window_s
        full_index = first + max_batch - 1
        if full_index < known_count:
            start_s = min(start_s, arrivals_s[full_index])
        start_s = max(start_s, free_s)
        stop = first + 1
        while stop < known_count and stop - first < max_batch and arrivals_s[stop] <= start_s:
            stop += 1
        free_s = start_s + (fixed_s + per_item_s * (stop - first)) * factors[first]
        for index in range(first, stop):
            ends_s[index] = free_s
            if known_count < arrivals_s.size:
                arrivals_s[known_count] = free_s + outside_s
                known_count += 1
        first = stop


@compiled
def _simulate_tokens(
    requests: TokenRequests,
    known_count: int,
    parameters: TokenParameters,
    outside_s: float,
    state: Ints,
    sequences: Ints,
    first_s: Floats,
    last_s: Floats,
) -> None:
    """Simulate tokens like `simulate_tokens`. As many clients send again as requests end, so arrivals are ascending."""
    end, now_s = requests.arrivals_s.size, 0.0
    while state[READING] < end or state[DECODING] > 0:
        if state[DECODING] == 0 and state[READING] == state[NEXT]:
            now_s = max(now_s, requests.arrivals_s[state[NEXT]])
        _admit(requests, end, parameters, state, now_s)
        if state[READING] == state[NEXT]:
            now_s = _decode(requests, end, parameters, state, sequences, now_s)
        else:
            now_s = _read(requests, parameters, state, sequences, now_s, first_s)
        decoding_before = state[DECODING]
        _finish(requests, parameters, state, sequences, now_s, last_s)
        for _ in range(decoding_before - state[DECODING]):
            if known_count < end:
                requests.arrivals_s[known_count] = now_s + outside_s
                known_count += 1
