"""The state of a simulated fleet: arrays whose size depends on the design, never on how many requests came."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from app.planning.simulation.compiled import Floats, Ints, Words
from app.planning.simulation.design import ROUTERS, FleetDesign, most_per_s
from app.planning.simulation.histogram import BUCKETS
from app.records.service import BatchService, RequestService, ServiceModel, TokenService

Marks = npt.NDArray[np.int32]

# columns of `reals`: the next moment that changes what the replica holds; when its work in hand ends, or its last
# ended; sum of such ends over its slots; work that waits, s; busy time, s; factor of its steps
NEXT, DONE, DONE_SUM, OWED, BUSY, FACTOR = range(6)
# columns of `counts`: the queue's place and size; requests in work; batches begun and the requests in them (of tokens:
# steps and sequences); steps so far; tokens reserved and in the cache; the prompts being read and what is unread
HEAD, WAITING, WORKING, BATCHES, ITEMS, STEP, RESERVED, CONTEXT, READ_HEAD, READING, UNREAD, DECODING = range(12)
# columns of `law`: of a batch, fixed and per item; of a step, fixed, per sequence, per KV token, per prompt token
FIXED, PER_ITEM, WINDOW, SIGMA, OUTSIDE, WEIGHT, PER_KV, PER_PROMPT = range(8)
# columns of `limits`
KIND, WIDTH, KV_TOKENS, CHUNK = range(4)
SLOTS, BATCH, TOKENS = range(3)
# columns of `tallies`, a row a class
ARRIVED, GOOD, LATE, DROPPED, TIMED_OUT, FAILED = range(6)
# places of `knobs`
ROUTER, ROUTABLE, TURN, INDEX, QUEUE_LIMIT, MASK, SESSIONS = range(7)
# rows of `streams`
ROUTING, CLASSES, SESSION, LENGTHS = range(4)
LATENCY, FIRST_TOKEN, PER_TOKEN = range(3)


class Fleet(NamedTuple):
    """Rows are replicas. `wait_…` is each one's ring of what waits, `work_…` what it has in hand."""

    reals: Floats
    counts: Ints
    law: Floats
    limits: Ints
    wait_arrival_s: Floats
    wait_normal: Floats
    wait_owed_s: Floats
    wait_mark: Marks  # class + 256 × index of the lengths
    work_done_s: Floats
    work_arrival_s: Floats
    work_mark: Marks
    last_step: Ints  # of tokens: a heap, and the place in `work_…` of each of it
    place: Ints
    first_s: Floats
    reading: Ints  # places in `work_…` of the prompts not yet read, in order
    free_places: Ints
    tallies: Ints
    histograms: Ints  # class, latency or first token or per token, bucket
    sums_s: Floats
    classes: Floats  # a row a class: share so far, work, and the three limits
    inputs: Ints
    outputs: Ints
    routable: Ints
    knobs: Ints
    timeout_s: Floats
    streams: Words


def new_fleet(design: FleetDesign, seed: np.random.SeedSequence) -> Fleet:
    """An empty fleet, all of it routable. Designs given one seed share routing, classes, sessions and lengths."""
    replicas, classes = len(design.services), len(design.classes)
    limits = np.array([_limits(service) for service in design.services], dtype=np.int64)
    width = int(limits[:, WIDTH].max())
    ring = 1 << (design.queue_limit + width).bit_length()
    weights = design.weights or tuple(most_per_s(service, design.lengths) for service in design.services)
    law = np.array([_law(service) for service in design.services])
    law[:, WEIGHT] = weights
    of_tokens = width if TOKENS in limits[:, KIND] else 1
    lengths = np.array(design.lengths, dtype=np.int64).reshape(-1, 2)
    reals = np.zeros((replicas, 6))
    reals[:, NEXT], reals[:, DONE] = np.inf, -np.inf
    return Fleet(
        reals=reals,
        counts=np.zeros((replicas, 12), dtype=np.int64),
        law=law,
        limits=limits,
        wait_arrival_s=np.empty((replicas, ring)),
        wait_normal=np.empty((replicas, ring)),
        wait_owed_s=np.empty((replicas, ring)),
        wait_mark=np.empty((replicas, ring), dtype=np.int32),
        work_done_s=np.empty((replicas, width)),
        work_arrival_s=np.empty((replicas, width)),
        work_mark=np.empty((replicas, width), dtype=np.int32),
        last_step=np.empty((replicas, of_tokens), dtype=np.int64),
        place=np.empty((replicas, of_tokens), dtype=np.int64),
        first_s=np.empty((replicas, of_tokens)),
        reading=np.empty((replicas, of_tokens), dtype=np.int64),
        free_places=np.tile(np.arange(of_tokens, dtype=np.int64), (replicas, 1)),
        tallies=np.zeros((classes, 6), dtype=np.int64),
        histograms=np.zeros((classes, 3 if of_tokens > 1 else 1, BUCKETS), dtype=np.int64),
        sums_s=np.zeros((classes, 3)),
        classes=_classes(design),
        inputs=np.maximum(lengths[:, 0], 1),
        outputs=np.maximum(lengths[:, 1], 1),
        routable=np.arange(replicas, dtype=np.int64),
        knobs=np.array(
            [ROUTERS.index(design.router), replicas, 0, 0, design.queue_limit, ring - 1, design.sessions],
            dtype=np.int64,
        ),
        timeout_s=np.array([design.timeout_s]),
        streams=seed.generate_state(4, np.uint64),
    )


def _classes(design: FleetDesign) -> Floats:
    shares = np.cumsum([each.share for each in design.classes])
    rows = [
        (share / shares[-1], each.work, each.limit_s, each.first_token_limit_s, each.per_token_limit_s)
        for share, each in zip(shares, design.classes, strict=True)
    ]
    return np.array(rows)


def _limits(service: ServiceModel) -> tuple[int, int, int, int]:
    match service:
        case RequestService():  # one slot is a batch of one, and faster so
            return (BATCH if service.slots == 1 else SLOTS, service.slots, 0, 0)
        case BatchService():
            return (BATCH, service.max_batch, 0, 0)
        case TokenService():
            return (TOKENS, service.max_sequences, service.kv_tokens, service.chunk_tokens)


def _law(service: ServiceModel) -> tuple[float, ...]:
    sigma, outside_s = float(np.sqrt(np.log1p(service.cv**2))), service.outside_s
    match service:
        case RequestService():
            return (0.0, service.mean_s, 0.0, sigma, outside_s, 1.0, 0.0, 0.0)
        case BatchService():
            return (service.fixed_s, service.per_item_s, service.window_s, sigma, outside_s, 1.0, 0.0, 0.0)
        case TokenService():
            return (
                service.step_s, service.per_sequence_s, 0.0, sigma, outside_s, 1.0,
                service.per_kv_token_s, service.prefill_s_per_token,
            )  # fmt: skip
