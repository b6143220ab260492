"""Latencies of one replica, given its arrivals and one standard normal per request.

All random numbers are arguments, so for the same arrivals and normals a latency is a continuous function of the
service's times, as a fit requires. Arrivals are ascending. `starts` has the first index of each of several independent
runs, concatenated, each of which begins and ends empty; without it there is one run.
"""

from __future__ import annotations

import numpy as np

from app.planning.service_models.service_times import build_two_phase_table, compute_lognormal_factors, is_two_phase
from app.planning.simulation.compiled import Floats, Ints
from app.planning.simulation.replica_kernels import look_up, simulate_batches, simulate_requests, simulate_shared
from app.planning.simulation.token_kernel import TokenParameters, TokenRequests, simulate_tokens
from app.records.service import BatchService, RequestService, TokenService


def simulate_request_latencies(
    arrivals_s: Floats,
    unit_normals: Floats,
    service: RequestService,
    starts: Ints | None = None,
    factors: Floats | None = None,
) -> Floats:
    """Simulate a queue served in order of arrival by identical `slots`, or cores shared by all requests.

    A request's time is the mean times its own factor. `factors` are those of `unit_normals`, computed here if not
    given.
    """
    latencies, ends = np.empty(arrivals_s.size), _ends(starts, arrivals_s)
    services_s = (look_up_service_factors(unit_normals, service) if factors is None else factors) * service.mean_s
    if service.is_shared:
        longest = int(np.diff(ends, prepend=0).max())
        heap, places = np.empty(longest), np.empty(longest, dtype=np.int64)
        simulate_shared(arrivals_s, services_s, ends, service.slots, service.outside_s, heap, places, latencies)
    else:
        simulate_requests(arrivals_s, services_s, ends, np.empty(service.slots), service.outside_s, latencies)
    return latencies


def simulate_batch_latencies(
    arrivals_s: Floats,
    unit_normals: Floats,
    service: BatchService,
    starts: Ints | None = None,
    factors: Floats | None = None,
) -> Floats:
    """Simulate batches of all waiting requests, up to `max_batch`; a batch's factor is that of its first request.

    `factors` are those of `unit_normals`, computed here if not given.
    """
    latencies = np.empty(arrivals_s.size)
    parameters = np.array([service.fixed_s, service.per_item_s, service.window_s, service.outside_s])
    factors = look_up_service_factors(unit_normals, service) if factors is None else factors
    simulate_batches(arrivals_s, factors, _ends(starts, arrivals_s), parameters, service.max_batch, latencies)
    return latencies


def simulate_token_latencies(
    arrivals_s: Floats,
    input_tokens: Ints,
    output_tokens: Ints,
    unit_normals: Floats,
    service: TokenService,
    starts: Ints | None = None,
) -> tuple[Floats, Floats]:
    """Simulate continuous batching and return the times to the first and the last token.

    Requests are admitted in order, between steps, when a sequence is free and the KV cache has room for the whole input
    and output, so nothing is ever preempted; one too large for the cache is served alone. Prompts are read in order,
    `chunk_tokens` per step, together with decoding; the step that completes a prompt returns its first token. The
    factor of a step is that of the request admitted last.
    """
    first_s, last_s = np.empty(arrivals_s.size), np.empty(arrivals_s.size)
    requests, parameters = build_kernel_input(arrivals_s, input_tokens, output_tokens, unit_normals, service)
    heap = np.empty((2, service.max_sequences), dtype=np.int64)
    simulate_tokens(requests, _ends(starts, arrivals_s), parameters, np.empty(7, dtype=np.int64), heap, first_s, last_s)
    since_s = arrivals_s - service.outside_s
    return first_s - since_s, last_s - since_s


def build_kernel_input(
    arrivals_s: Floats, input_tokens: Ints, output_tokens: Ints, unit_normals: Floats, service: TokenService
) -> tuple[TokenRequests, TokenParameters]:
    """Return the requests and the service's parameters as the compiled token simulations take them."""
    requests = TokenRequests(
        arrivals_s,
        np.maximum(np.asarray(input_tokens, dtype=np.int64), 1),
        np.maximum(np.asarray(output_tokens, dtype=np.int64), 1),
        compute_lognormal_factors(unit_normals, service.cv),
    )
    parameters = TokenParameters(
        service.step_s,
        service.per_sequence_s,
        service.per_kv_token_s,
        service.prefill_s_per_token,
        service.max_sequences,
        service.kv_tokens,
        service.chunk_tokens,
    )
    return requests, parameters


def look_up_service_factors(unit_normals: Floats, service: RequestService | BatchService) -> Floats:
    """Return `compute_service_factors` by a compiled table look-up.

    A fit does this some thousand times for 100,000 requests.
    """
    if not isinstance(service, RequestService) or not is_two_phase(service):
        return compute_lognormal_factors(unit_normals, service.cv)
    normals, table = build_two_phase_table(service)
    factors = np.empty(unit_normals.size)
    look_up(np.ascontiguousarray(unit_normals), normals[0], normals[1] - normals[0], table, factors)
    return factors


def _ends(starts: Ints | None, arrivals_s: Floats) -> Ints:
    if starts is None:
        return np.array([arrivals_s.size], dtype=np.int64)
    return np.append(np.asarray(starts, dtype=np.int64)[1:], arrivals_s.size)
