"""State of a simulated fleet: arrays whose size depends on the design, not on the number of
requests."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from app.planning.service_models.service_times import FLEET_SIGMA, is_two_phase
from app.planning.simulation.compiled import Floats, Ints
from app.planning.simulation.design import ROUTERS, FleetDesign, compute_max_throughput_per_s
from app.planning.simulation.histogram import BUCKET_COUNT
from app.records.service import BatchService, RequestService, ServiceModel, TokenService

# Columns of `floats`: time of the next state change; end of the current or last work (tokens: start
# of the current step); sum of these ends over slots (tokens: remaining work in s); waiting work in
# s; busy time in s; factor of the steps; then the service model (batch: fixed and per item; step:
# fixed, per sequence, per cached token and per prompt token, all experts, and the share of them that
# a token uses); timeout of waiting requests in s; and, for processor sharing, the work that each
# request has received since the replica was idle, as of DONE (the clock on which ends are measured).
NEXT, DONE, DONE_SUM, WAITING_WORK, BUSY, FACTOR = range(6)
FIXED, PER_ITEM, WINDOW, SIGMA, OUTSIDE, WEIGHT, PER_KV, PER_PROMPT, EXPERTS, EXPERT_SHARE = range(6, 16)
TIMEOUT, CLOCK = 16, 17
# Columns of `counts`: start and size of the queue; running requests; steps so far; tokens
# reserved and in the cache; start and size of the queue of prompts being prefilled, and unprocessed
# tokens of the first prompt; decoding sequences; then the limits of the service model.
HEAD, WAITING, RUNNING, STEP, RESERVED, CONTEXT, PREFILL_HEAD, PREFILLING, UNPROCESSED, DECODING = range(10)
KIND, WIDTH, KV_TOKENS, CHUNK_TOKENS = range(10, 14)
SLOTS, BATCH, TOKENS, SHARED = range(4)
# Columns of waiting and running requests; PACKED_CLASS is class + 256 ×
# index of the lengths.
ARRIVAL, PACKED_CLASS, NORMAL, WORK_S = range(4)
ENDS = 2  # end of a running request; tokens: time of the first token
# Columns of `heaps`: heap of last steps, with the slots of the sequences; queue of the slots of
# prompts being prefilled; stack of free slots.
LAST_STEP, SLOT, PREFILL, FREE = range(4)
# Columns of `classes`
SHARE, WORK, LIMIT, FIRST_LIMIT, TOKEN_LIMIT, SUM = range(6)
LATENCY, FIRST_TOKEN, PER_TOKEN = range(3)  # order of the histograms and of the sums
# Columns of `tallies`
ARRIVED, GOOD, LATE, DROPPED, TIMED_OUT, FAILED, HISTOGRAMS = range(7)
# Indices of `settings`; ROUTING, CLASSES, SESSION and LENGTHS are seeds
ROUTER, ROUTABLE, NEXT_REPLICA, REQUEST_INDEX, QUEUE_LIMIT, SESSIONS, PAIRS, PAIRS_OFFSET = range(8)
ROUTING, CLASSES, SESSION, LENGTHS, ROUTABLE_OFFSET = range(8, 13)


class Fleet(NamedTuple):
    """Arrays of a simulated fleet. Rows are replicas, except in `classes` and `tallies`, where rows
    are request classes.

    The state is packed into few arrays, because each additional array slows down every compiled
    call.
    """

    floats: Floats
    counts: Ints
    queues: Floats  # ring buffers, position first so that short queues are adjacent; the size is a power of 2
    running: Floats
    heaps: Ints
    classes: Floats
    tallies: Ints
    settings: Ints  # ends with the routable replicas and the pairs of lengths


def create_fleet(design: FleetDesign, seed: np.random.SeedSequence) -> Fleet:
    """Create an empty fleet with all replicas routable.

    Fleets with the same seed share the random numbers of routing, classes, sessions and token
    lengths.
    """
    replicas = len(design.services)
    limits_by_service = {service: _get_limits(service) for service in set(design.services)}
    limits = np.array([limits_by_service[service] for service in design.services], dtype=np.int64)
    width = int(limits[:, WIDTH - KIND].max())
    has_tokens = bool((limits[:, 0] == TOKENS).any())
    has_shared_cores = bool((limits[:, 0] == SHARED).any())
    ring_size = 1 << (design.queue_limit + width).bit_length()
    return Fleet(
        floats=_build_floats(design),
        counts=np.concatenate([np.zeros((replicas, KIND), dtype=np.int64), limits], axis=1),
        queues=np.empty((ring_size, replicas, 4)),
        running=np.empty((replicas, width + (design.queue_limit if has_shared_cores else 0), 3)),
        heaps=_build_heaps(replicas, width if has_tokens else 1),
        classes=_build_classes(design),
        tallies=np.zeros((len(design.classes), HISTOGRAMS + (3 if has_tokens else 1) * BUCKET_COUNT), dtype=np.int64),
        settings=_build_settings(design, seed),
    )


def _build_floats(design: FleetDesign) -> Floats:
    """Build the rows of `floats`. Replicas are mostly equal, so each service model is converted only
    once."""
    row_by_service = {
        service: (
            *(np.inf, -np.inf, 0.0, 0.0, 0.0, 1.0),
            *_build_service_columns(service, compute_max_throughput_per_s(service, design.lengths)),
            *(design.timeout_s, 0.0),
        )
        for service in set(design.services)
    }
    floats = np.array([row_by_service[service] for service in design.services])
    if design.weights:
        floats[:, WEIGHT] = design.weights
    return floats


def _build_heaps(replicas: int, width: int) -> Ints:
    heaps = np.zeros((replicas, width, 4), dtype=np.int64)
    heaps[:, :, FREE] = np.arange(width)
    return heaps


def _build_classes(design: FleetDesign) -> Floats:
    shares = np.cumsum([request_class.share for request_class in design.classes])
    rows = [
        (
            share,
            request_class.work,
            request_class.limit_s,
            request_class.first_token_limit_s,
            request_class.per_token_limit_s,
            0.0,
            0.0,
            0.0,
        )
        for share, request_class in zip(shares / shares[-1], design.classes, strict=True)
    ]
    return np.array(rows)


def _build_settings(design: FleetDesign, seed: np.random.SeedSequence) -> Ints:
    replicas = len(design.services)
    router = ROUTERS.index(design.router)
    lengths = _flatten_lengths(design.lengths)
    scalar_settings = [
        router,
        replicas,
        0,
        0,
        design.queue_limit,
        design.sessions,
        len(design.lengths),
        ROUTABLE_OFFSET + replicas,
    ]
    seeds = seed.generate_state(4, np.uint64).view(np.int64)
    return np.concatenate([np.array(scalar_settings, dtype=np.int64), seeds, np.arange(replicas), lengths])


@lru_cache(16)
def _flatten_lengths(lengths: tuple[tuple[int, int], ...]) -> Ints:
    """Return pairs of token lengths as a flat array. The result is cached, because a trace has many
    thousands of pairs."""
    return np.maximum(np.array(lengths, dtype=np.int64).ravel(), 1)


def _get_limits(service: ServiceModel) -> tuple[int, int, int, int]:
    match service:
        case RequestService(discipline="processor sharing"):
            return (SHARED, service.slots, 0, 0)
        case RequestService():  # a single slot is a batch size of one, which is faster to simulate
            return (BATCH if service.slots == 1 else SLOTS, service.slots, 0, 0)
        case BatchService():
            return (BATCH, service.max_batch, 0, 0)
        case TokenService():
            return (TOKENS, service.max_sequences, service.kv_tokens, service.chunk_tokens)


def _build_service_columns(service: ServiceModel, weight: float) -> tuple[float, ...]:
    """Return the service parameters for the columns FIXED to EXPERT_SHARE of `floats`."""
    sigma, outside_s = float(np.sqrt(np.log1p(service.cv**2))), service.outside_s
    if is_two_phase(service):
        sigma = FLEET_SIGMA
    match service:
        case RequestService():
            return (0.0, service.mean_s, 0.0, sigma, outside_s, weight, 0.0, 0.0, 0.0, 0.0)
        case BatchService():
            return (service.fixed_s, service.per_item_s, service.window_s, sigma, outside_s, weight, 0.0, 0.0, 0.0, 0.0)
        case TokenService():
            per_kv_token_s, prefill_s_per_token = service.per_kv_token_s, service.prefill_s_per_token
            return (
                service.step_s,
                service.per_sequence_s,
                0.0,
                sigma,
                outside_s,
                weight,
                per_kv_token_s,
                prefill_s_per_token,
                service.experts_s,
                service.expert_share,
            )
