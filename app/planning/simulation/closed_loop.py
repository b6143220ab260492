"""Simulation of one replica in a closed loop: each client sends its next request as soon as it
receives the response.

All clients send their first request at time 0. `unit_normals` holds a standard normal per request.
For slots and batches, it may have the shape simulations × requests; the simulations are independent
and begin with an empty replica. The functions return the times at which each request arrives
at the replica and ends there. A client receives the response `outside_s` seconds after the end, and
sends its next request at once. The latency is therefore `end − arrival + outside_s`.
"""

from __future__ import annotations

import numpy as np

from app.planning.service_models.service_times import compute_service_factors
from app.planning.simulation.compiled import Floats, Ints, compiled
from app.planning.simulation.replica import build_kernel_input
from app.planning.simulation.replica_kernels import pop_end, push_end, replace_smallest
from app.planning.simulation.token_kernel import ADMITTED as NEXT
from app.planning.simulation.token_kernel import (
    DECODING,
    PREFILLING,
    TokenRequests,
    _admit_requests,
    _decode,
    _finish_sequences,
    _prefill,
)
from app.records.service import BatchService, RequestService, TokenService


def simulate_closed_requests(
    clients: int, unit_normals: Floats, service: RequestService, factors: Floats | None = None
) -> tuple[Floats, Floats]:
    """Simulate a replica with request slots or shared cores; return arrival and end times, in order
    of arrival.

    `factors` are the service time factors of `unit_normals`; if `None`, they are computed.
    """
    arrivals_s, ends_s = np.empty(unit_normals.shape), np.empty(unit_normals.shape)
    service_times_s = (compute_service_factors(unit_normals, service) if factors is None else factors) * service.mean_s
    rows = [np.atleast_2d(values) for values in (service_times_s, arrivals_s, ends_s)]
    if service.is_shared:
        _simulate_shared(clients, service.slots, service.outside_s, *_allocate_sharing_arrays(clients), *rows)
        return arrivals_s, ends_s
    _simulate_requests(np.empty(clients), np.empty(service.slots), service.outside_s, *rows)
    return arrivals_s, ends_s


def simulate_closed_batches(
    clients: int, unit_normals: Floats, service: BatchService, factors: Floats | None = None
) -> tuple[Floats, Floats]:
    """Simulate a replica that serves batches; return arrival and end times, in order of arrival.

    `factors` are the service time factors of `unit_normals`; if `None`, they are computed.
    """
    arrivals_s, ends_s = _initialize_arrivals(clients, unit_normals.shape), np.empty(unit_normals.shape)
    parameters = np.array([service.fixed_s, service.per_item_s, service.window_s, service.outside_s])
    factors = compute_service_factors(unit_normals, service) if factors is None else factors
    rows = [np.atleast_2d(values) for values in (factors, arrivals_s, ends_s)]
    _simulate_batches(clients, parameters, service.max_batch, *rows)
    return arrivals_s, ends_s


def simulate_closed_tokens(
    clients: int, input_tokens: Ints, output_tokens: Ints, unit_normals: Floats, service: TokenService
) -> tuple[Floats, Floats, Floats]:
    """Simulate a language model replica; return arrival, first token and end times, in order of
    arrival."""
    arrivals_s = _initialize_arrivals(clients, unit_normals.shape)
    first_tokens_s, last_tokens_s = np.empty(unit_normals.size), np.empty(unit_normals.size)
    requests, kernel_service = build_kernel_input(arrivals_s, input_tokens, output_tokens, unit_normals, service)
    heap = np.empty((2, service.max_sequences), dtype=np.int64)
    scheduled_count = min(clients, unit_normals.size)
    _simulate_tokens(
        requests,
        scheduled_count,
        kernel_service,
        service.outside_s,
        np.zeros(7, dtype=np.int64),
        heap,
        first_tokens_s,
        last_tokens_s,
    )
    return arrivals_s, first_tokens_s, last_tokens_s


def _allocate_sharing_arrays(size: int) -> tuple[Floats, Ints, Floats]:
    """Allocate arrays for the end times, for the requests that end, and for the times at which
    clients send again.
    """
    return np.empty(size), np.empty(size, dtype=np.int64), np.empty(size)


def _initialize_arrivals(clients: int, shape: tuple[int, ...]) -> Floats:
    """Return the arrival times: 0 for the first request of each client, infinity for later
    requests, until the simulation determines their arrival.
    """
    arrivals_s = np.full(shape, np.inf)
    arrivals_s[..., :clients] = 0.0
    return arrivals_s


@compiled
def _simulate_requests(
    client_send_times_s: Floats,
    slot_free_times_s: Floats,
    outside_s: float,
    service_times_s: Floats,
    arrivals_s: Floats,
    ends_s: Floats,
) -> None:
    """Simulate closed loops with a replica that serves requests in slots, one per row.

    `client_send_times_s` and `slot_free_times_s` are heaps: the times at which each client sends
    its next request, and at which each slot becomes free.
    """
    for row in range(service_times_s.shape[0]):
        client_send_times_s[:] = slot_free_times_s[:] = 0.0
        for index in range(service_times_s.shape[1]):
            arrivals_s[row, index] = client_send_times_s[0]
            end_s = max(client_send_times_s[0], slot_free_times_s[0]) + service_times_s[row, index]
            ends_s[row, index] = end_s
            replace_smallest(slot_free_times_s, end_s)
            replace_smallest(client_send_times_s, end_s + outside_s)


@compiled
def _simulate_shared(
    clients: int,
    cores: int,
    outside_s: float,
    heap: Floats,
    owners: Ints,
    send_times_s: Floats,
    service_times_s: Floats,
    arrivals_s: Floats,
    ends_s: Floats,
) -> None:
    """Simulate closed loops with a replica that shares its cores among all requests, one per row.

    `send_times_s` is a ring buffer, since clients send again in the order of their responses.
    """
    requests = service_times_s.shape[1]
    for row in range(service_times_s.shape[0]):
        send_times_s[:] = 0.0
        size, clock_s, now_s, arrived_count, ended_count = 0, 0.0, 0.0, 0, 0
        while ended_count < requests:
            end_s = np.inf
            if arrived_count < requests and size < clients:
                end_s = send_times_s[arrived_count % clients]
            if size > 0:
                done_s = now_s + (heap[0] - clock_s) * max(1.0, size / cores)
                if done_s <= end_s:
                    clock_s, now_s = heap[0], done_s
                    ends_s[row, owners[0]] = done_s
                    send_times_s[ended_count % clients] = done_s + outside_s
                    pop_end(heap, owners, size)
                    size -= 1
                    ended_count += 1
                    continue
            clock_s = clock_s + (end_s - now_s) / max(1.0, size / cores) if size > 0 else 0.0
            now_s = end_s
            arrivals_s[row, arrived_count] = now_s
            push_end(heap, owners, size, clock_s + service_times_s[row, arrived_count], arrived_count)
            size += 1
            arrived_count += 1


@compiled
def _simulate_batches(
    clients: int, parameters: Floats, max_batch: int, factors: Floats, arrivals_s: Floats, ends_s: Floats
) -> None:
    """Simulate closed loops with a replica that serves batches, one per row.

    Whenever no batch is running, the next arrival of every client is known, so arrivals can be
    processed in ascending order.
    """
    fixed_s, per_item_s, window_s, outside_s = parameters
    requests = factors.shape[1]
    for row in range(factors.shape[0]):
        free_s, start, scheduled_count = 0.0, 0, min(clients, requests)
        while start < requests:
            start_s = arrivals_s[row, start] + window_s
            full_index = start + max_batch - 1
            if full_index < scheduled_count:
                start_s = min(start_s, arrivals_s[row, full_index])
            start_s = max(start_s, free_s)
            stop = start + 1
            while stop < scheduled_count and stop - start < max_batch and arrivals_s[row, stop] <= start_s:
                stop += 1
            free_s = start_s + (fixed_s + per_item_s * (stop - start)) * factors[row, start]
            for index in range(start, stop):
                ends_s[row, index] = free_s
                if scheduled_count < requests:
                    arrivals_s[row, scheduled_count] = free_s + outside_s
                    scheduled_count += 1
            start = stop


@compiled
def _simulate_tokens(
    requests: TokenRequests,
    scheduled_count: int,
    service: TokenService,
    outside_s: float,
    state: Ints,
    sequences: Ints,
    first_tokens_s: Floats,
    last_tokens_s: Floats,
) -> None:
    """Simulate a closed loop with continuous batching, as `simulate_tokens` does for an open loop.

    Each response makes a client send again, so arrivals are in ascending order.
    """
    end, now_s = requests.arrivals_s.size, 0.0
    while state[PREFILLING] < end or state[DECODING] > 0:
        if state[DECODING] == 0 and state[PREFILLING] == state[NEXT]:
            now_s = max(now_s, requests.arrivals_s[state[NEXT]])
        _admit_requests(requests, end, service, state, now_s)
        if state[PREFILLING] == state[NEXT]:
            now_s = _decode(requests, end, service, state, sequences, now_s)
        else:
            now_s = _prefill(requests, service, state, sequences, now_s, first_tokens_s)
        previous_decoding = state[DECODING]
        _finish_sequences(requests, service, state, sequences, now_s, last_tokens_s)
        for _ in range(previous_decoding - state[DECODING]):
            if scheduled_count < end:
                requests.arrivals_s[scheduled_count] = now_s + outside_s
                scheduled_count += 1
