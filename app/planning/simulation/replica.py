"""Latencies of one replica, given arrivals and one standard normal per request.

All random numbers are arguments, so that latencies are continuous functions of the service's
parameters, as a fit requires. Arrivals are in ascending order. Several independent simulations may
be concatenated; each begins and ends with an empty replica. `ends` holds the index after the last
request of each simulation; `None` means a single simulation.
"""

from __future__ import annotations

from typing import cast

import msgspec
import numpy as np

from app.planning.service_models.service_times import build_two_phase_table, compute_lognormal_factors, is_two_phase
from app.planning.simulation.compiled import Floats, Ints
from app.planning.simulation.replica_kernels import look_up, simulate_batches, simulate_requests, simulate_shared
from app.planning.simulation.token_kernel import TokenRequests, TokenServiceTuple, simulate_tokens
from app.records.service import BatchService, RequestService, TokenService


def simulate_request_latencies(
    arrivals_s: Floats,
    unit_normals: Floats,
    service: RequestService,
    ends: Ints | None = None,
    factors: Floats | None = None,
) -> Floats:
    """Simulate request slots with a first-come, first-served queue, or processor sharing. Return
    latencies in seconds.

    The service time of a request is the mean times its factor. `factors` are the service time
    factors of `unit_normals`; if `None`, they are computed.
    """
    latencies, ends = np.empty(arrivals_s.size), _get_ends(ends, arrivals_s)
    service_times_s = (look_up_service_factors(unit_normals, service) if factors is None else factors) * service.mean_s
    if service.is_shared:
        max_requests = int(np.diff(ends, prepend=0).max())
        heap, owners = np.empty(max_requests), np.empty(max_requests, dtype=np.int64)
        simulate_shared(arrivals_s, service_times_s, ends, service.slots, service.outside_s, heap, owners, latencies)
    else:
        simulate_requests(arrivals_s, service_times_s, ends, np.empty(service.slots), service.outside_s, latencies)
    return latencies


def simulate_batch_latencies(
    arrivals_s: Floats,
    unit_normals: Floats,
    service: BatchService,
    ends: Ints | None = None,
    factors: Floats | None = None,
) -> Floats:
    """Simulate batches of all waiting requests, up to `max_batch`. Return latencies in seconds.

    The service time factor of a batch is the factor of its first request. `factors` are the service
    time factors of `unit_normals`; if `None`, they are computed.
    """
    latencies = np.empty(arrivals_s.size)
    parameters = np.array([service.fixed_s, service.per_item_s, service.window_s, service.outside_s])
    factors = look_up_service_factors(unit_normals, service) if factors is None else factors
    simulate_batches(arrivals_s, factors, _get_ends(ends, arrivals_s), parameters, service.max_batch, latencies)
    return latencies


def simulate_token_latencies(
    arrivals_s: Floats,
    input_tokens: Ints,
    output_tokens: Ints,
    unit_normals: Floats,
    service: TokenService,
    ends: Ints | None = None,
) -> tuple[Floats, Floats]:
    """Simulate continuous batching. Return the latencies to the first and to the last token, in
    seconds.

    Requests are admitted in order, between steps, if a sequence is free and the KV cache has space
    for the entire input and output. Requests are therefore never preempted. A request too large for
    the KV cache is served on its own. Prompts are prefilled in order, `chunk_tokens` per step,
    together with decoding. The step that completes a prompt also returns the first token. The
    service time factor of a step is the factor of the last admitted request.
    """
    first_tokens_s, last_tokens_s = np.empty(arrivals_s.size), np.empty(arrivals_s.size)
    requests, kernel_service = build_kernel_input(arrivals_s, input_tokens, output_tokens, unit_normals, service)
    heap, state = np.empty((2, service.max_sequences), dtype=np.int64), np.empty(7, dtype=np.int64)
    simulate_tokens(requests, _get_ends(ends, arrivals_s), kernel_service, state, heap, first_tokens_s, last_tokens_s)
    send_times_s = arrivals_s - service.outside_s
    return first_tokens_s - send_times_s, last_tokens_s - send_times_s


def build_kernel_input(
    arrivals_s: Floats, input_tokens: Ints, output_tokens: Ints, unit_normals: Floats, service: TokenService
) -> tuple[TokenRequests, TokenService]:
    """Convert requests and the service to the input of the compiled token simulations."""
    requests = TokenRequests(
        arrivals_s,
        np.maximum(np.asarray(input_tokens, dtype=np.int64), 1),
        np.maximum(np.asarray(output_tokens, dtype=np.int64), 1),
        compute_lognormal_factors(unit_normals, service.cv),
    )
    return requests, cast(TokenService, TokenServiceTuple(*msgspec.structs.astuple(service)))


def look_up_service_factors(unit_normals: Floats, service: RequestService | BatchService) -> Floats:
    """Return the same service time factors as `service_times.compute_service_factors`, by table
    lookup.

    The lookup is faster, because a fit needs the factors of 100,000 requests thousands of times.
    """
    if not isinstance(service, RequestService) or not is_two_phase(service):
        return compute_lognormal_factors(unit_normals, service.cv)
    grid_normals, table = build_two_phase_table(service)
    factors = np.empty(unit_normals.size)
    look_up(np.ascontiguousarray(unit_normals), grid_normals[0], grid_normals[1] - grid_normals[0], table, factors)
    return factors


def _get_ends(ends: Ints | None, arrivals_s: Floats) -> Ints:
    return np.array([arrivals_s.size], dtype=np.int64) if ends is None else ends
