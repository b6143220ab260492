"""One connection of gRPC and the calls on it. Messages go and come as bytes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from time import perf_counter_ns
from typing import Any, NamedTuple, Protocol

# first, since it quietens gRPC before that is loaded
from loadgen.transport.grpc_channel import Metadata, Options  # isort: skip

import grpc
import grpc.aio

from loadgen.records import Timeouts
from loadgen.transport.answers import MAX_RESPONSE_BYTES
from loadgen.transport.exchange import Exchange
from loadgen.transport.grpc_status import SUCCESS, End, end_of


class Peer(NamedTuple):
    """What all calls to one server share."""

    loop: asyncio.AbstractEventLoop
    target: str
    options: Options
    credentials: grpc.ChannelCredentials | None
    timeouts: Timeouts


_AS_IT_IS = None
"""Neither what is sent nor what comes is turned into anything else than bytes."""

OnEnd = Callable[[End, int, bytes], None]
"""Called on the loop's thread with when it ended, and the answer's message."""


class PooledChannel(Protocol):
    """`in_flight` and `was_used` belong to the pool."""

    in_flight: int
    was_used: bool

    def start(self, exchange: Exchange, method: str, metadata: Metadata, on_end: OnEnd, /) -> Callable[[], object]:
        """Send it now; what is given back cancels it."""
        ...

    def close(self) -> None: ...


class UnaryLine:
    """One message each way. The end is stamped on gRPC's own thread, so that a busy loop does not delay it."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        target, options, credentials = peer.target, peer.options, peer.credentials
        self._channel = (
            grpc.insecure_channel(target, options)
            if credentials is None
            else grpc.secure_channel(target, credentials, options)
        )
        self._calls: dict[str, grpc.UnaryUnaryMultiCallable[bytes, bytes]] = {}
        self.in_flight = 0
        self.was_used = False

    def start(self, exchange: Exchange, method: str, metadata: Metadata, on_end: OnEnd) -> Callable[[], object]:
        call = self._calls.get(method)
        if call is None:
            call = self._calls[method] = self._channel.unary_unary(method, _AS_IT_IS, _AS_IT_IS)
        loop = self._peer.loop

        def stamp(_: object) -> None:
            end_ns = perf_counter_ns()
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits for it
                loop.call_soon_threadsafe(_hand_over, future, end_ns, on_end)

        exchange.sent_ns = perf_counter_ns()
        future = call.future(exchange.request, timeout=self._peer.timeouts.total_s, metadata=metadata)
        future.add_done_callback(stamp)
        return future.cancel

    def close(self) -> None:
        self._channel.close()


def _hand_over(done: grpc.CallFuture[bytes], end_ns: int, on_end: OnEnd) -> None:
    code = done.code()
    if code is grpc.StatusCode.OK:
        on_end(SUCCESS, end_ns, done.result())
    else:
        on_end(end_of(code, done.details(), False), end_ns, b"")


class StreamLine:
    """One message out and any number back, each stamped as the loop gets it, and fed to the exchange's reader; without
    one they are the body."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        target, options, credentials = peer.target, peer.options, peer.credentials
        self._channel = (
            grpc.aio.insecure_channel(target, options)
            if credentials is None
            else grpc.aio.secure_channel(target, credentials, options)
        )
        self._calls: dict[str, grpc.aio.UnaryStreamMultiCallable[bytes, bytes]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.in_flight = 0
        self.was_used = False

    def start(self, exchange: Exchange, method: str, metadata: Metadata, on_end: OnEnd) -> Callable[[], object]:
        begin = self._calls.get(method)
        if begin is None:
            # a stream of one message and the end of it is what a single request is on the wire too
            begin = self._calls[method] = self._channel.unary_stream(method, _AS_IT_IS, _AS_IT_IS)
        exchange.sent_ns = perf_counter_ns()
        call = begin(exchange.request, timeout=self._peer.timeouts.total_s, metadata=metadata)
        self._keep(self._read(exchange, call, on_end))
        return call.cancel

    def close(self) -> None:
        self._keep(self._channel.close(None))

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._peer.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _read(self, exchange: Exchange, call: grpc.aio.UnaryStreamCall[bytes, bytes], on_end: OnEnd) -> None:
        pieces: list[bytes] = []
        try:
            end = await self._messages(exchange, call, pieces)
        except TimeoutError:
            end = End(None, "timeout", None)
        except asyncio.CancelledError:
            if not call.cancelled():  # it is this task that is cancelled, not the call
                raise
            end = End(None, "timeout", None)
        end_ns = perf_counter_ns()
        call.cancel()
        on_end(end, end_ns, b"".join(pieces))

    async def _messages(
        self, exchange: Exchange, call: grpc.aio.UnaryStreamCall[bytes, bytes], pieces: list[bytes]
    ) -> End:
        reader, idle_s = exchange.reader, self._peer.timeouts.idle_s
        has_answer = False
        try:
            while True:
                async with asyncio.timeout(idle_s):
                    message = await call.read()
                at_ns = perf_counter_ns()
                if not isinstance(message, bytes):
                    return SUCCESS
                has_answer = True
                exchange.bytes_received += len(message)
                if reader is None:
                    pieces.append(message)
                    error = "bad-payload" if exchange.bytes_received > MAX_RESPONSE_BYTES else None
                else:
                    error = reader.feed(message, at_ns)
                if error is not None:
                    return End(SUCCESS.status, error, None)
        except grpc.aio.AioRpcError as error:
            return end_of(error.code(), error.details(), has_answer)
