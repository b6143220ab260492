from __future__ import annotations

import random

import pytest

from app.inference.generation.decoder_shape import PagedCache
from app.serving.batching import QueueFullError
from app.serving.generation.scheduling import BatchLimits, ScheduledRequest, Scheduler


def build_limits(*, blocks: int | None = 10, max_batch: int = 4) -> BatchLimits:
    cache = None if blocks is None else PagedCache(block_tokens=16, blocks=blocks)
    return BatchLimits(max_batch=max_batch, max_length=160, cache=cache)


def add(scheduler: Scheduler, *lengths: int, start: int = 0) -> None:
    for request_id, length in enumerate(lengths, start):
        scheduler.add(ScheduledRequest(request_id, length, request_id))


def admit(scheduler: Scheduler) -> list[int]:
    return [request.id for request in scheduler.admit()]


def test_requests_are_admitted_while_their_blocks_fit() -> None:
    scheduler = Scheduler(build_limits(), queue_limit=10)
    add(scheduler, 65, 64, 17, 1)  # 5, 4, 2 and 1 blocks
    assert admit(scheduler) == [0, 1], "the small request does not overtake the one before it"
    scheduler.finish(1)
    assert admit(scheduler) == [2, 3]
    assert (scheduler.running_count, scheduler.waiting_count) == (3, 0)


def test_number_of_running_requests_is_bounded_by_max_batch() -> None:
    scheduler = Scheduler(build_limits(max_batch=2), queue_limit=10)
    add(scheduler, 1, 1, 1)
    assert admit(scheduler) == [0, 1]
    scheduler.finish(0)
    assert admit(scheduler) == [2]


def test_static_batch_starts_after_the_previous_batch_ends() -> None:
    scheduler = Scheduler(build_limits(blocks=None, max_batch=2), queue_limit=10)
    add(scheduler, 1000, 1000, 1000)
    assert admit(scheduler) == [0, 1]
    scheduler.finish(0)
    assert admit(scheduler) == []
    scheduler.finish(1)
    assert admit(scheduler) == [2]


def test_request_beyond_the_queue_limit_is_rejected() -> None:
    scheduler = Scheduler(build_limits(max_batch=1), queue_limit=2)
    add(scheduler, 1, 1)
    with pytest.raises(QueueFullError):
        add(scheduler, 1, start=2)
    assert admit(scheduler) == [0]
    add(scheduler, 1, start=2)


def test_withdrawn_request_does_not_start() -> None:
    scheduler = Scheduler(build_limits(max_batch=1), queue_limit=9)
    add(scheduler, 1, 1, 1)
    assert admit(scheduler) == [0]
    assert scheduler.withdraw(1)
    assert not scheduler.withdraw(0), "the request is running"
    scheduler.finish(0)
    assert admit(scheduler) == [2]


def test_random_requests_are_admitted_once_in_order_within_the_cache() -> None:
    rng = random.Random(5)
    scheduler = Scheduler(build_limits(), queue_limit=500)
    lengths = [rng.randint(1, 160) for _ in range(500)]
    add(scheduler, *lengths)
    running: list[int] = []
    order: list[int] = []
    while len(order) < 500 or running:
        new = admit(scheduler)
        running, order = running + new, order + new
        assert sum(-(-lengths[request_id] // 16) for request_id in running) <= 10
        scheduler.finish(running.pop(rng.randrange(len(running))))
    assert order == list(range(500))
