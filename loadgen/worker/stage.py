"""One stage on the sending thread: arrivals in, rows out."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from typing import TypeAlias

from loadgen.arrivals import Offsets
from loadgen.pacing import Pacer, alarm_on
from loadgen.protocols.built import Built, judged, tokens_of
from loadgen.records import StagePlan
from loadgen.transport.exchange import Exchange, Tokens, Transport

Row: TypeAlias = tuple[object, ...]
"""In the order of REQUEST_SCHEMA."""

_NO_TOKENS = Tokens()

_SCHEDULE_BLOCK = 4096


class Stage:
    """Counts and `rows` may be read from other threads, and rows taken from the left."""

    def __init__(
        self,
        plan: StagePlan,
        offsets: Offsets,
        start_ns: int,
        transport: Transport,
        built: Built,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._plan, self._pool = plan, transport
        self._requests, self._count = built.requests, len(built.requests)
        self._is_head, self._judge, self._new_reader = built.is_head, built.judge, built.new_reader
        self._all_started, self._all_done = asyncio.Event(), asyncio.Event()
        self._pacer = Pacer(_schedule(offsets, start_ns), self._send, self._start_draining, alarm_on(loop))
        self._sent_before = transport.sent
        self.start_ns = start_ns
        self.scheduled = len(offsets)
        self.rows: deque[Row] = deque()
        self.completed = self.failed = self.never_started = 0
        self.max_lag_ns = 0
        self.was_stopped = False

    @property
    def intended(self) -> int:
        return self._pacer.started

    @property
    def sent(self) -> int:
        return self._pool.sent - self._sent_before

    async def run(self) -> None:
        """Until the last arrival is answered, or its time to drain is over and what is left is cut."""
        self._pacer.start()
        await self._all_started.wait()
        try:
            async with asyncio.timeout(self._plan.drain_s):
                await self._all_done.wait()
        except TimeoutError:
            self._pool.cut()

    def stop(self, drain: bool) -> None:
        """Start no more arrivals; without `drain`, cut what is in flight as well."""
        self.was_stopped = self.was_stopped or not self._pacer.has_ended
        self._pacer.cancel()
        if not drain:
            self._pool.cut()

    def _send(self, index: int, intended_ns: int) -> None:
        number = index % self._count
        reader = None if self._new_reader is None else self._new_reader()
        request = self._requests[number]
        self._pool.submit(Exchange(index, number, intended_ns, request, self._done, self._is_head, reader))

    def _done(self, exchange: Exchange) -> None:
        sent_ns = exchange.sent_ns
        judgement = judged(self._judge, exchange)
        error = judgement.error
        tokens = tokens_of(exchange) or _NO_TOKENS
        if error is None:
            self.completed += 1
        else:
            self.failed += 1
        if sent_ns is None:
            self.never_started += 1
        elif (lag_ns := sent_ns - exchange.intended_ns) > self.max_lag_ns:
            self.max_lag_ns = lag_ns
        self.rows.append(
            (
                self._plan.index,
                exchange.index,
                exchange.intended_ns,
                sent_ns,
                exchange.first_byte_ns,
                exchange.end_ns,
                exchange.status,
                error,
                exchange.bytes_received,
                exchange.reused,
                judgement.right,
                exchange.target,
                None,
                tokens.first_token_ns,
                tokens.first_output_ns,
                tokens.last_token_ns,
                tokens.tokens_in,
                tokens.tokens_out,
                tokens.tokens_from,
                tokens.chunk_ns,
                tokens.chunk_tokens,
            )
        )
        if self._pacer.has_ended:
            self._check_done()

    def _start_draining(self) -> None:
        self._all_started.set()
        self._check_done()

    def _check_done(self) -> None:
        if self.completed + self.failed == self._pacer.started:
            self._all_done.set()


def _schedule(offsets: Offsets, start_ns: int) -> Iterator[int]:
    """Python integers in blocks: as one list a long stage's schedule would take five times the array's memory."""
    for block in range(0, len(offsets), _SCHEDULE_BLOCK):
        yield from (offsets[block : block + _SCHEDULE_BLOCK] + start_ns).tolist()
