"""State of a simulated fleet: arrays whose size depends on the design, never on the number of requests."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from app.planning.service_models.service_times import FLEET_SIGMA, is_two_phase
from app.planning.simulation.compiled import Floats, Ints
from app.planning.simulation.design import ROUTERS, FleetDesign, compute_max_throughput_per_s
from app.planning.simulation.histogram import BUCKETS
from app.records.service import BatchService, RequestService, ServiceModel, TokenService

# Columns of `floats`: next time at which the replica's state changes; when its work ends or its last work ended
# (tokens: when its step began); the sum of such ends over slots (tokens: work in progress, s); waiting work, s; busy
# time, s; the factor of its steps; then its service model (batch: fixed and per item; step: fixed, per sequence, per
# token in the cache and per token of prompt); the timeout of waiting requests; and for processor sharing the work that
# each request has received since the replica was idle, as of DONE (ends are on this clock).
NEXT, DONE, DONE_SUM, WAITING_WORK, BUSY, FACTOR = range(6)
FIXED, PER_ITEM, WINDOW, SIGMA, OUTSIDE, WEIGHT, PER_KV, PER_PROMPT, TIMEOUT, CLOCK = range(6, 16)
# Columns of `counts`: the queue's place and size; requests in work; batches and the requests in them (tokens: steps and
# sequences); steps so far; tokens reserved and in the cache; prompts being read, and the unread tokens of the first;
# sequences decoding; then its limits.
HEAD, WAITING, WORKING, BATCHES, ITEMS, STEP, RESERVED, CONTEXT, READ_HEAD, READING, UNREAD, DECODING = range(12)
KIND, WIDTH, KV_TOKENS, CHUNK_TOKENS = range(12, 16)
SLOTS, BATCH, TOKENS, SHARED = range(4)
# Columns of waiting and running requests; a mark is the class + 256 × the index of the lengths.
ARRIVAL, MARK, NORMAL, WORK_S = range(4)
ENDS = 2  # tokens: when the first token was returned
# Columns of `heaps`: a heap of last steps with the places in `works`; the places being read, in order; a stack of free
# places.
LAST_STEP, PLACE, READ, FREE = range(4)
# Columns of `classes`
SHARE, WORK, LIMIT, FIRST_LIMIT, TOKEN_LIMIT, SUM = range(6)
LATENCY, FIRST_TOKEN, PER_TOKEN = range(3)  # also the order of the histograms and of the sums
# Columns of `tallies`
ARRIVED, GOOD, LATE, DROPPED, TIMED_OUT, FAILED, HISTOGRAMS = range(7)
# Places of `settings`; the last four are seeds
ROUTER, ROUTABLE, TURN, INDEX, QUEUE_LIMIT, SESSIONS, PAIRS, PAIRS_AT = range(8)
ROUTING, CLASSES, SESSION, LENGTHS, ROUTABLE_AT = range(8, 13)


class Fleet(NamedTuple):
    """Arrays of a fleet. Rows are replicas, except in `classes` and `tallies`, where they are classes.

    There are few arrays, since each makes every call slower.
    """

    floats: Floats
    counts: Ints
    queues: Floats  # rings of a size that is a power of 2; by place first, so that short queues are adjacent in memory
    in_work: Floats
    heaps: Ints
    classes: Floats
    tallies: Ints
    settings: Ints  # at the end: the routable replicas, then the pairs of lengths


def create_fleet(design: FleetDesign, seed: np.random.SeedSequence) -> Fleet:
    """Create an empty fleet with all replicas routable.

    Designs with one seed share routing, classes, sessions and lengths.
    """
    replicas = len(design.services)
    limits = np.array([_limits(service) for service in design.services], dtype=np.int64)
    width = int(limits[:, WIDTH - KIND].max())
    with_tokens = bool((limits[:, 0] == TOKENS).any())
    is_shared = bool((limits[:, 0] == SHARED).any())
    ring = 1 << (design.queue_limit + width).bit_length()
    return Fleet(
        floats=_reals(design),
        counts=np.concatenate([np.zeros((replicas, KIND), dtype=np.int64), limits], axis=1),
        queues=np.empty((ring, replicas, 4)),
        in_work=np.empty((replicas, width + (design.queue_limit if is_shared else 0), 3)),
        heaps=_heaps(replicas, width if with_tokens else 1),
        classes=_classes(design),
        tallies=np.zeros((len(design.classes), HISTOGRAMS + (3 if with_tokens else 1) * BUCKETS), dtype=np.int64),
        settings=_knobs(design, seed),
    )


def _reals(design: FleetDesign) -> Floats:
    weights = design.weights or tuple(
        compute_max_throughput_per_s(service, design.lengths) for service in design.services
    )
    rows = [
        (np.inf, -np.inf, 0.0, 0.0, 0.0, 1.0, *_service_columns(service, weight), design.timeout_s, 0.0)
        for service, weight in zip(design.services, weights, strict=True)
    ]
    return np.array(rows)


def _heaps(replicas: int, width: int) -> Ints:
    heaps = np.zeros((replicas, width, 4), dtype=np.int64)
    heaps[:, :, FREE] = np.arange(width)
    return heaps


def _classes(design: FleetDesign) -> Floats:
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


def _knobs(design: FleetDesign, seed: np.random.SeedSequence) -> Ints:
    replicas = len(design.services)
    router = ROUTERS.index(design.router)
    lengths = _flat_lengths(design.lengths)
    head = [router, replicas, 0, 0, design.queue_limit, design.sessions, len(design.lengths), ROUTABLE_AT + replicas]
    seeds = seed.generate_state(4, np.uint64).view(np.int64)
    return np.concatenate([np.array(head, dtype=np.int64), seeds, np.arange(replicas), lengths])


@lru_cache(16)
def _flat_lengths(lengths: tuple[tuple[int, int], ...]) -> Ints:
    """Return the lengths flattened; cached, since a trace has many thousands."""
    return np.maximum(np.array(lengths, dtype=np.int64).ravel(), 1)


def _limits(service: ServiceModel) -> tuple[int, int, int, int]:
    match service:
        case RequestService(discipline="processor sharing"):
            return (SHARED, service.slots, 0, 0)
        case RequestService():  # one slot is a batch of one, which is faster to simulate
            return (BATCH if service.slots == 1 else SLOTS, service.slots, 0, 0)
        case BatchService():
            return (BATCH, service.max_batch, 0, 0)
        case TokenService():
            return (TOKENS, service.max_sequences, service.kv_tokens, service.chunk_tokens)


def _service_columns(service: ServiceModel, weight: float) -> tuple[float, ...]:
    """Return the columns from FIXED to PER_PROMPT."""
    sigma, outside_s = float(np.sqrt(np.log1p(service.cv**2))), service.outside_s
    if is_two_phase(service):
        sigma = FLEET_SIGMA
    match service:
        case RequestService():
            return (0.0, service.mean_s, 0.0, sigma, outside_s, weight, 0.0, 0.0)
        case BatchService():
            return (service.fixed_s, service.per_item_s, service.window_s, sigma, outside_s, weight, 0.0, 0.0)
        case TokenService():
            kv_token_s, prompt_token_s = service.per_kv_token_s, service.prefill_s_per_token
            return (service.step_s, service.per_sequence_s, 0.0, sigma, outside_s, weight, kv_token_s, prompt_token_s)
