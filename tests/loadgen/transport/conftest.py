"""Asks a server through a pool, in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import uvloop

from loadgen.records import Endpoint
from loadgen.transport.address import address_of
from loadgen.transport.exchange import Exchange
from loadgen.transport.pool import ConnectionPool

GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


class Asker:
    """A pool on a running loop; `ask` ends with the exchange done, however it ended."""

    def __init__(self, pool: ConnectionPool) -> None:
        self.pool = pool

    def submit(self, request: bytes = GET, is_head: bool = False) -> asyncio.Future[Exchange]:
        done: asyncio.Future[Exchange] = asyncio.get_running_loop().create_future()
        self.pool.submit(Exchange(0, 0, request, done.set_result, is_head))
        return done

    async def ask(self, request: bytes = GET, is_head: bool = False) -> Exchange:
        return await asyncio.wait_for(self.submit(request, is_head), 10)


Talk = Callable[[Asker], Awaitable[None]]


async def _converse(endpoint: Endpoint, talk: Talk) -> None:
    pool = ConnectionPool(asyncio.get_running_loop(), address_of(endpoint.url), endpoint)
    try:
        await pool.resolve()
        await talk(Asker(pool))
    finally:
        pool.close()
        await asyncio.sleep(0)


@pytest.fixture(params=["uvloop", "asyncio"])
def converse(request: pytest.FixtureRequest) -> Callable[[Endpoint, Talk], None]:
    """Runs a test's talk with the pool of an endpoint, on each kind of loop."""

    def run(endpoint: Endpoint, talk: Talk) -> None:
        factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(_converse(endpoint, talk))

    return run
