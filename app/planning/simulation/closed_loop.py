"""One replica under a closed loop: each of so many clients sends again as soon as it is answered.

All clients send at first at once. `unit_normals` has one standard normal a request and tells how many there are.
Given are times of arrival at the replica and of its answers' ends; a client is answered, and sends again, `outside_s`
after that, so its latency is `end − arrival + outside_s`.
"""

from __future__ import annotations

import numpy as np

from app.planning.service_models.service_times import lognormal_factors, service_factors
from app.planning.simulation.compiled import Floats, Ints, compiled
from app.planning.simulation.replica_kernels import pop_end, push_end, replace_least
from app.planning.simulation.token_kernel import ADMITTED as NEXT
from app.planning.simulation.token_kernel import (
    DECODING,
    READING,
    TokenLaw,
    TokenRequests,
    _admit,
    _decode,
    _finish,
    _read,
)
from app.records.service import BatchService, RequestService, TokenService


def closed_requests(clients: int, unit_normals: Floats, service: RequestService) -> tuple[Floats, Floats]:
    """Arrivals and ends, in order of arrival."""
    arrivals_s, ends_s = np.empty(unit_normals.size), np.empty(unit_normals.size)
    services_s = service_factors(unit_normals, service) * service.mean_s
    if service.is_shared:
        _play_shared(services_s, clients, service.slots, service.outside_s, *_heap(clients), arrivals_s, ends_s)
        return arrivals_s, ends_s
    _play_requests(services_s, np.zeros(clients), np.zeros(service.slots), service.outside_s, arrivals_s, ends_s)
    return arrivals_s, ends_s


def closed_batches(clients: int, unit_normals: Floats, service: BatchService) -> tuple[Floats, Floats]:
    """Arrivals and ends, in order of arrival."""
    arrivals_s, ends_s = _known_arrivals(clients, unit_normals.size), np.empty(unit_normals.size)
    law = np.array([service.fixed_s, service.per_item_s, service.window_s, service.outside_s])
    _play_batches(arrivals_s, lognormal_factors(unit_normals, service.cv), clients, law, service.max_batch, ends_s)
    return arrivals_s, ends_s


def closed_tokens(
    clients: int, input_tokens: Ints, output_tokens: Ints, unit_normals: Floats, service: TokenService
) -> tuple[Floats, Floats, Floats]:
    """Arrivals, first tokens and ends, in order of arrival."""
    arrivals_s = _known_arrivals(clients, unit_normals.size)
    first_s, last_s = np.empty(unit_normals.size), np.empty(unit_normals.size)
    requests = TokenRequests(
        arrivals_s,
        np.maximum(np.asarray(input_tokens, dtype=np.int64), 1),
        np.maximum(np.asarray(output_tokens, dtype=np.int64), 1),
        lognormal_factors(unit_normals, service.cv),
    )
    law = TokenLaw(
        service.step_s,
        service.per_sequence_s,
        service.per_kv_token_s,
        service.prefill_s_per_token,
        service.max_sequences,
        service.kv_tokens,
        service.chunk_tokens,
    )
    heap = np.empty((2, service.max_sequences), dtype=np.int64)
    come = min(clients, unit_normals.size)
    _play_tokens(requests, come, law, service.outside_s, np.zeros(7, dtype=np.int64), heap, first_s, last_s)
    return arrivals_s, first_s, last_s


def _heap(size: int) -> tuple[Floats, Ints, Floats]:
    """Ends, whose they are, and the times at which clients send again."""
    return np.empty(size), np.empty(size, dtype=np.int64), np.zeros(size)


def _known_arrivals(clients: int, requests: int) -> Floats:
    """The first of each client; the others are not known before they come."""
    arrivals_s = np.full(requests, np.inf)
    arrivals_s[:clients] = 0.0
    return arrivals_s


@compiled
def _play_requests(
    services_s: Floats, clients_s: Floats, free_s: Floats, outside_s: float, arrivals_s: Floats, ends_s: Floats
) -> None:
    """Both `clients_s`, when each sends next, and `free_s`, when each slot is free, are heaps."""
    for index in range(services_s.size):
        arrivals_s[index] = clients_s[0]
        ends_s[index] = max(clients_s[0], free_s[0]) + services_s[index]
        replace_least(free_s, ends_s[index])
        replace_least(clients_s, ends_s[index] + outside_s)


@compiled
def _play_shared(
    services_s: Floats,
    clients: int,
    cores: int,
    outside_s: float,
    heap: Floats,
    places: Ints,
    again_s: Floats,
    arrivals_s: Floats,
    ends_s: Floats,
) -> None:
    """`again_s` is a ring: clients send again in the order in which they were answered."""
    size, clock_s, now_s, came, ended = 0, 0.0, 0.0, 0, 0
    while ended < services_s.size:
        until_s = np.inf
        if came < services_s.size and size < clients:
            until_s = again_s[came % clients]
        if size > 0:
            done_s = now_s + (heap[0] - clock_s) * max(1.0, size / cores)
            if done_s <= until_s:
                clock_s, now_s = heap[0], done_s
                ends_s[places[0]] = done_s
                again_s[ended % clients] = done_s + outside_s
                pop_end(heap, places, size)
                size -= 1
                ended += 1
                continue
        clock_s = clock_s + (until_s - now_s) / max(1.0, size / cores) if size > 0 else 0.0
        now_s = until_s
        arrivals_s[came] = now_s
        push_end(heap, places, size, clock_s + services_s[came], came)
        size += 1
        came += 1


@compiled
def _play_batches(
    arrivals_s: Floats, factors: Floats, clients: int, law: Floats, max_batch: int, ends_s: Floats
) -> None:
    """While no batch is in work every client's next arrival is known, and none comes before those known earlier."""
    fixed_s, per_item_s, window_s, outside_s = law
    free_s, first, come = 0.0, 0, min(clients, arrivals_s.size)
    while first < arrivals_s.size:
        start_s = arrivals_s[first] + window_s
        full = first + max_batch - 1
        if full < come:
            start_s = min(start_s, arrivals_s[full])
        start_s = max(start_s, free_s)
        after = first + 1
        while after < come and after - first < max_batch and arrivals_s[after] <= start_s:
            after += 1
        free_s = start_s + (fixed_s + per_item_s * (after - first)) * factors[first]
        for index in range(first, after):
            ends_s[index] = free_s
            if come < arrivals_s.size:
                arrivals_s[come] = free_s + outside_s
                come += 1
        first = after


@compiled
def _play_tokens(
    requests: TokenRequests,
    come: int,
    law: TokenLaw,
    outside_s: float,
    hold: Ints,
    sequences: Ints,
    first_s: Floats,
    last_s: Floats,
) -> None:
    """As `play_tokens`; whatever ends lets as many come, so arrivals ascend."""
    end, now_s = requests.arrivals_s.size, 0.0
    while hold[READING] < end or hold[DECODING] > 0:
        if hold[DECODING] == 0 and hold[READING] == hold[NEXT]:
            now_s = max(now_s, requests.arrivals_s[hold[NEXT]])
        _admit(requests, end, law, hold, now_s)
        if hold[READING] == hold[NEXT]:
            now_s = _decode(requests, end, law, hold, sequences, now_s)
        else:
            now_s = _read(requests, law, hold, sequences, now_s, first_s)
        before = hold[DECODING]
        _finish(requests, law, hold, sequences, now_s, last_s)
        for _ in range(before - hold[DECODING]):
            if come < end:
                requests.arrivals_s[come] = now_s + outside_s
                come += 1
