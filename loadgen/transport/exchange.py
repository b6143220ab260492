"""An exchange is a request with its response. The module also detects errors whose cause is a limit
of this machine instead of the target."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import msgspec

Headers = list[tuple[bytes, bytes]]

CallKind = Literal["unary", "server-stream", "client-stream"]
"""Kind of a gRPC call: one message each way, one message for any number of messages, or any number
of messages for one or more. The messages of a request to a `client-stream` call are framed by
`frame_messages`."""


class ServerDetails(msgspec.Struct, gc=False):
    """What the server reports about one response, in addition to its token counts. REQUEST_SCHEMA
    describes the fields."""

    tokens_cached: int | None = None
    tokens_reasoning: int | None = None
    tokens_accepted: int | None = None
    server_queue_ms: float | None = None
    server_prefill_ms: float | None = None
    server_decode_ms: float | None = None


class Tokens(msgspec.Struct, gc=False):
    """Token counts and token times of one response. REQUEST_SCHEMA describes the fields."""

    first_token_ns: int | None = None
    first_output_ns: int | None = None
    last_token_ns: int | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    token_source: str | None = None
    chunk_ns: Sequence[int] | None = None
    chunk_tokens: list[int | None] | None = None
    first_event_ns: int | None = None
    details: ServerDetails | None = None
    """None if the server reports no details."""


class MediaDetails(msgspec.Struct, gc=False):
    """Audio and images of one request or response. REQUEST_SCHEMA describes the fields."""

    input_end_ns: int | None = None
    first_audio_ns: int | None = None
    audio_s: float | None = None
    images: int | None = None


class StreamReader(Protocol):
    """Incremental reader of the body of one successful response. The memory that a reader uses is
    bounded."""

    @property
    def tokens(self) -> Tokens | None:
        """Token counts and token times so far; None if the API has no tokens. The value may be read
        at any time, even after an error."""
        ...

    @property
    def detail(self) -> str | None:
        """Description of the error in the response, without any content of the response; None
        without an error."""
        ...

    def feed(self, data: bytes, received_ns: int, /) -> str | None:
        """Read the next data of the body, which was received at `received_ns`. Return an error
        class to end the exchange and close the connection, otherwise None."""
        ...


class SessionTurn(msgspec.Struct, gc=False):
    """Session number of a request within the stage, and the number of its turn within the session,
    both from 0."""

    session: int
    turn: int


class Exchange(msgspec.Struct, gc=False):
    """Request and its response. The transport fills in the response and calls `on_done` exactly
    once.

    All times are on the clock of `time.perf_counter_ns`. `request_index` is the index of the
    prepared request. `sent_ns` is normally the time of the send. If no connection could be
    established, `sent_ns` is the time at which the connection was requested. If the request was
    never sent because no connection was free, `sent_ns` is None. `bytes_received` includes headers.
    If `reader` is set, the body of a 2xx response is passed to the reader, and `body` is empty.
    """

    index: int
    request_index: int
    scheduled_ns: int
    request: bytes
    on_done: Callable[[Exchange], None]
    is_head: bool = False
    reader: StreamReader | None = None
    queued_ns: int = 0
    sent_ns: int | None = None
    first_byte_ns: int | None = None
    end_ns: int | None = None
    status: int | None = None
    error: str | None = None
    detail: str | None = None
    bytes_received: int = 0
    reused: bool = False
    target: int = 0
    headers: Headers = []
    body: bytes = b""
    tokens: Tokens | None = None
    """Token counts of a response that was not streamed, set by the response check."""
    correct_rows: int | None = None
    """Number of rows whose predicted class matches the label, set after the response check; None
    without labels."""
    method: str = ""
    """gRPC method to call. If empty, the default method of the transport is called."""
    session_turn: SessionTurn | None = None
    """Session of the request; None if the workload has no sessions."""
    media: MediaDetails | None = None
    """Audio or images of a successful exchange, set by the response check; None if the API has
    neither."""

    @property
    def connection_wait_ms(self) -> float | None:
        """Time for which the request waited for a connection; None without a response, and if the
        transport does not report its first byte."""
        if self.first_byte_ns is None or self.sent_ns is None:
            return None
        return (self.sent_ns - self.queued_ns) / 1e6 if self.queued_ns else 0.0


class ResolveError(Exception):
    """Error that is raised when a host name cannot be resolved."""


class Transport(Protocol):
    """Transport of exchanges over HTTP or gRPC. All methods must be called on the thread of the
    event loop.

    `opened_count` is the number of connections that were opened. `sent_count` is the number of
    requests that were sent, including requests whose connection failed.
    """

    @property
    def opened_count(self) -> int: ...

    @property
    def sent_count(self) -> int: ...

    @property
    def closed_idle_count(self) -> int:
        """Number of connections that the target closed while they were idle."""
        ...

    def list_descriptors(self) -> list[int]:
        """Return the file descriptors of the open connections; none if they are not accessible."""
        ...

    async def resolve(self) -> None:
        """Resolve the endpoint's host names once for all later connections. Raises ResolveError if
        a name cannot be resolved."""
        ...

    def submit(self, exchange: Exchange, /) -> None:
        """Send the request of the exchange as soon as possible. A request is never sent twice."""
        ...

    def abort(self) -> None:
        """End all requests that are in flight or waiting for a connection, with the error
        `timeout`."""
        ...

    def close(self) -> None: ...


def find_header(headers: Headers, name: bytes) -> bytes | None:
    """Return the value of the first header with the given name (in lower case); None if there is no
    such header."""
    return next((value for key, value in headers if key.lower() == name), None)


LOCAL_LIMIT = "local-limit"
"""Error class of requests that failed because of a limit of the load generator's machine."""

_LOCAL_LIMIT_ERRNOS = (errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM)
_LOCAL_LIMIT_TEXTS = tuple(os.strerror(number) for number in _LOCAL_LIMIT_ERRNOS)


def is_local_limit_error(error: BaseException | None) -> bool:
    """Return True if an error means that this machine has run out of file descriptors, local ports,
    buffers or memory."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _LOCAL_LIMIT_ERRNOS)


def is_local_limit_text(text: str) -> bool:
    """Return True if a message contains the OS error text for exhausted file descriptors, local
    ports, buffers or memory."""
    return any(limit_text in text for limit_text in _LOCAL_LIMIT_TEXTS)


def classify_connect_error(error: OSError) -> str:
    """Return the error class of a failed attempt to connect: `local-limit` or `connect`."""
    return LOCAL_LIMIT if is_local_limit_error(error) else "connect"
