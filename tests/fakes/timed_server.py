"""A server whose only work is waiting: `python -m tests.fakes.timed_server SERVICE...` prints its port.

`batches FIXED_S PER_ROW_S MAX_ROWS DELAY_S`: one batch at a time, assembled as the product's own endpoint does.

`two-speeds SLOTS QUICK_S SLOW_S SLOW_SHARE SEED`: `SLOTS` requests at a time, each quick or slow at random.

The process ends when its standard input is closed."""

from __future__ import annotations

import asyncio
import heapq
import random
import sys
from collections.abc import Callable, Sequence
from time import perf_counter_ns
from typing import cast

from app.serving.batching import Batcher, BatchQueue, BatchResult, QueuedRequest
from loadgen.pacing import TimerQueue, get_timer_factory
from loadgen.reference.child import RequestSplitter, serve_until_stdin_closes
from loadgen.reference.null import REPLY

Reply = Callable[[], None]
Later = Callable[[float, Callable[[], None]], None]
"""Calls the function after a number of seconds."""
_QUEUE_LIMIT = 100_000


def batches(fixed_s: float, per_row_s: float, max_rows: int, delay_s: float, later: Later) -> Callable[[Reply], None]:
    def submit(batch: list[QueuedRequest], done: Callable[[Sequence[BatchResult]], None]) -> None:
        later(fixed_s + per_row_s * len(batch), lambda: done([()] * len(batch)))

    batcher = Batcher(
        BatchQueue(max_rows, round(delay_s * 1e9), _QUEUE_LIMIT), submit, now_ns=perf_counter_ns, call_later=later
    )

    def take(reply: Reply) -> None:
        batcher.submit({}, 1, "alike").add_done_callback(lambda _: reply())

    return take


def two_speeds(
    slots: int, quick_s: float, slow_s: float, slow_share: float, seed: int, later: Later
) -> Callable[[Reply], None]:
    free_ns, chances = [0] * slots, random.Random(seed)

    def take(reply: Reply) -> None:
        now_ns = perf_counter_ns()
        lasts_s = slow_s if chances.random() < slow_share else quick_s
        done_ns = max(now_ns, free_ns[0]) + round(lasts_s * 1e9)
        heapq.heapreplace(free_ns, done_ns)
        later((done_ns - now_ns) / 1e9, reply)

    return take


class TimedServer:
    """Makes a protocol for each connection; all of them share the loop that they are made on."""

    def __init__(self, service: Sequence[str]) -> None:
        self._service = service
        self._take: Callable[[Reply], None] | None = None

    def __call__(self) -> asyncio.Protocol:
        if self._take is None:
            self._take = self._opened(asyncio.get_running_loop())
        return _Connection(self._take)

    def _opened(self, loop: asyncio.AbstractEventLoop) -> Callable[[Reply], None]:
        timer_queue: TimerQueue[Callable[[], None]] = TimerQueue(lambda _, call: call(), get_timer_factory(loop))

        def later(wait_s: float, call: Callable[[], None]) -> None:
            timer_queue.add(perf_counter_ns() + round(wait_s * 1e9), call)

        kind, *numbers = self._service
        if kind == "batches":
            fixed_s, per_row_s, max_rows, delay_s = numbers
            return batches(float(fixed_s), float(per_row_s), int(max_rows), float(delay_s), later)
        slots, quick_s, slow_s, slow_share, seed = numbers
        return two_speeds(int(slots), float(quick_s), float(slow_s), float(slow_share), int(seed), later)


class _Connection(asyncio.Protocol):
    def __init__(self, take: Callable[[Reply], None]) -> None:
        self._take = take
        self._cut = RequestSplitter().split

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        for _ in self._cut(data):
            self._take(self._reply)

    def _reply(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(REPLY)


if __name__ == "__main__":
    serve_until_stdin_closes(TimedServer(sys.argv[1:]), 0)
