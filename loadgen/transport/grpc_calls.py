"""Make gRPC calls on one channel, unary or streamed. Messages are sent and received as bytes."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Callable, Coroutine, Iterable
from time import perf_counter_ns
from typing import Any, NamedTuple, Protocol

# Imported first, because it silences gRPC's log before gRPC is loaded.
from loadgen.transport.grpc_channel import Metadata, Options  # isort: skip

import grpc
import grpc.aio

from loadgen.records import Timeouts
from loadgen.transport.exchange import Exchange
from loadgen.transport.grpc_status import SUCCESS, CallEnd, classify_end
from loadgen.transport.responses import MAX_RESPONSE_BYTES


class GrpcClientSettings(NamedTuple):
    """Settings for all calls to one gRPC server."""

    loop: asyncio.AbstractEventLoop
    target: str
    options: Options
    credentials: grpc.ChannelCredentials | None
    timeouts: Timeouts


_RAW_BYTES = None
"""Value for gRPC's serializers and deserializers that makes gRPC pass messages as bytes."""

OnEnd = Callable[[CallEnd, int, bytes], None]
"""Callback for the end of a call, called on the thread of the event loop. The arguments are the
end, its time in ns, and the response message."""


class PooledChannel(Protocol):
    """gRPC channel in a pool. The pool sets `in_flight_count`, the number of running calls, and
    `is_used`, which is true after the first response."""

    in_flight_count: int
    is_used: bool

    def start(self, exchange: Exchange, method: str, metadata: Metadata, on_end: OnEnd, /) -> Callable[[], object]:
        """Send the request of an exchange. Return a function that cancels the call."""
        ...

    def close(self) -> None: ...


class UnaryChannel:
    """gRPC channel for unary calls.

    The end of a call is timestamped on gRPC's thread, so that the timestamp is correct even if the
    event loop is blocked.
    """

    def __init__(self, server: GrpcClientSettings) -> None:
        self._client_settings = server
        target, options, credentials = server.target, server.options, server.credentials
        self._channel = (
            grpc.insecure_channel(target, options)
            if credentials is None
            else grpc.secure_channel(target, credentials, options)
        )
        self._multi_callable_by_method: dict[str, grpc.UnaryUnaryMultiCallable[bytes, bytes]] = {}
        self.in_flight_count = 0
        self.is_used = False

    def start(self, exchange: Exchange, method: str, metadata: Metadata, on_end: OnEnd) -> Callable[[], object]:
        multi_callable = self._multi_callable_by_method.get(method)
        if multi_callable is None:
            multi_callable = self._multi_callable_by_method[method] = self._channel.unary_unary(
                method, _RAW_BYTES, _RAW_BYTES
            )
        loop = self._client_settings.loop

        def on_done(_: object) -> None:
            end_ns = perf_counter_ns()
            with contextlib.suppress(RuntimeError):  # the event loop is closed, so the call is no longer awaited
                loop.call_soon_threadsafe(_finish_call, future, end_ns, on_end)

        exchange.sent_ns = perf_counter_ns()
        future = multi_callable.future(
            exchange.request, timeout=self._client_settings.timeouts.total_s, metadata=metadata
        )
        future.add_done_callback(on_done)
        return future.cancel

    def close(self) -> None:
        self._channel.close()


def _finish_call(future: grpc.CallFuture[bytes], end_ns: int, on_end: OnEnd) -> None:
    code = future.code()
    if code is grpc.StatusCode.OK:
        on_end(SUCCESS, end_ns, future.result())
    else:
        on_end(classify_end(code, future.details(), False), end_ns, b"")


_MESSAGE_LENGTH = struct.Struct(">I")


def frame_messages(messages: Iterable[bytes]) -> bytes:
    """Join the messages of a request stream, each preceded by its length."""
    return b"".join(part for message in messages for part in (_MESSAGE_LENGTH.pack(len(message)), message))


def split_messages(request: bytes) -> list[bytes]:
    """Split a request stream into its messages."""
    messages, position = [], 0
    while position < len(request):
        start = position + _MESSAGE_LENGTH.size
        position = start + _MESSAGE_LENGTH.unpack_from(request, position)[0]
        messages.append(request[start:position])
    return messages


class StreamChannel:
    """gRPC channel for calls with any number of response messages. A request is one message, or with
    `has_request_stream` the messages that `frame_messages` joined.

    Each response message is timestamped when the event loop receives it, and passed to the
    exchange's reader. Without a reader, the messages are joined to form the body.
    """

    def __init__(self, server: GrpcClientSettings, *, has_request_stream: bool = False) -> None:
        self._client_settings, self._has_request_stream = server, has_request_stream
        target, options, credentials = server.target, server.options, server.credentials
        self._channel = (
            grpc.aio.insecure_channel(target, options)
            if credentials is None
            else grpc.aio.secure_channel(target, credentials, options)
        )
        self._call_by_method: dict[str, Callable[..., Any]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.in_flight_count = 0
        self.is_used = False

    def start(self, exchange: Exchange, method: str, metadata: Metadata, on_end: OnEnd) -> Callable[[], object]:
        start_call = self._call_by_method.get(method)
        if start_call is None:
            # On the wire, a request stream with a single message is identical to a unary request.
            create: Callable[..., Any] = (
                self._channel.stream_stream if self._has_request_stream else self._channel.unary_stream
            )
            start_call = self._call_by_method[method] = create(method, _RAW_BYTES, _RAW_BYTES)
        messages = iter(split_messages(exchange.request)) if self._has_request_stream else exchange.request
        exchange.sent_ns = perf_counter_ns()
        call: grpc.aio.StreamStreamCall[bytes, bytes] = start_call(
            messages, timeout=self._client_settings.timeouts.total_s, metadata=metadata
        )
        self._start_task(self._read_responses(exchange, call, on_end))
        return call.cancel

    def close(self) -> None:
        self._start_task(self._channel.close(None))

    def _start_task(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = self._client_settings.loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _read_responses(
        self,
        exchange: Exchange,
        call: grpc.aio.UnaryStreamCall[bytes, bytes] | grpc.aio.StreamStreamCall[bytes, bytes],
        on_end: OnEnd,
    ) -> None:
        messages: list[bytes] = []
        try:
            end = await self._read_messages(exchange, call, messages)
        except TimeoutError:
            end = CallEnd(None, "timeout", None)
        except asyncio.CancelledError:
            if not call.cancelled():  # this task is canceled, not the call
                raise
            end = CallEnd(None, "timeout", None)
        end_ns = perf_counter_ns()
        call.cancel()
        on_end(end, end_ns, b"".join(messages))

    async def _read_messages(
        self,
        exchange: Exchange,
        call: grpc.aio.UnaryStreamCall[bytes, bytes] | grpc.aio.StreamStreamCall[bytes, bytes],
        messages: list[bytes],
    ) -> CallEnd:
        reader, idle_s = exchange.reader, self._client_settings.timeouts.idle_s
        has_response = False
        try:
            while True:
                async with asyncio.timeout(idle_s):
                    message = await call.read()
                received_ns = perf_counter_ns()
                if not isinstance(message, bytes):
                    return SUCCESS
                has_response = True
                exchange.bytes_received += len(message)
                if reader is None:
                    messages.append(message)
                    error = "bad-payload" if exchange.bytes_received > MAX_RESPONSE_BYTES else None
                else:
                    error = reader.feed(message, received_ns)
                if error is not None:
                    return CallEnd(SUCCESS.status, error, None)
        except grpc.aio.AioRpcError as error:
            return classify_end(error.code(), error.details(), has_response)
