"""A transport without a network: the test defines the responses and their times."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter_ns

from loadgen.transport.exchange import Exchange


class FakeTransport:
    """`respond` completes an exchange `after_s` after its submission, or before `submit` returns if that is 0.

    With `after_s` None, nothing is completed until `abort`."""

    def __init__(self, respond: Callable[[Exchange], None] | None = None, after_s: float | None = 0.001) -> None:
        self._answer, self._after_s = respond or (lambda _: None), after_s
        self.submitted: list[Exchange] = []
        self.in_flight: dict[int, Exchange] = {}
        self.most_in_flight = 0
        self.opened_count = self.sent_count = self.closed_idle_count = 0

    def list_descriptors(self) -> list[int]:
        return []

    async def resolve(self) -> None: ...

    def submit(self, exchange: Exchange) -> None:
        self.sent_count += 1
        self.submitted.append(exchange)
        self.in_flight[exchange.index] = exchange
        self.most_in_flight = max(self.most_in_flight, len(self.in_flight))
        exchange.sent_ns = perf_counter_ns()
        if self._after_s == 0:
            self._finish(exchange)
        elif self._after_s is not None:
            asyncio.get_running_loop().call_later(self._after_s, self._finish, exchange)

    def abort(self) -> None:
        for exchange in list(self.in_flight.values()):
            del self.in_flight[exchange.index]
            exchange.error, exchange.end_ns = "timeout", perf_counter_ns()
            exchange.on_done(exchange)

    def close(self) -> None: ...

    def _finish(self, exchange: Exchange) -> None:
        if self.in_flight.pop(exchange.index, None) is None:
            return
        exchange.end_ns = perf_counter_ns()
        exchange.status = 200
        self._answer(exchange)
        if exchange.error is not None:
            exchange.status = None
        exchange.on_done(exchange)
