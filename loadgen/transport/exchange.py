"""One request and its result, and errors whose cause is a limit of this machine instead of the target."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

Headers = list[tuple[bytes, bytes]]


class Tokens(msgspec.Struct, gc=False):
    """Token counts and times of one response; the fields are those of REQUEST_SCHEMA."""

    first_token_ns: int | None = None
    first_output_ns: int | None = None
    last_token_ns: int | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    tokens_from: str | None = None
    chunk_ns: Sequence[int] | None = None
    chunk_tokens: list[int | None] | None = None
    first_event_ns: int | None = None


class StreamReader(Protocol):
    """Reads the body of one successful response while it arrives, in bounded memory."""

    @property
    def tokens(self) -> Tokens:
        """Tokens so far; may be read at any time, also after a failure."""
        ...

    @property
    def detail(self) -> str | None:
        """Description of the error, without any content of the response."""
        ...

    def feed(self, piece: bytes, at_ns: int, /) -> str | None:
        """Read what arrived at `at_ns`. An error class as the result ends the exchange and the connection."""
        ...


class Exchange(msgspec.Struct, gc=False):
    """One request, filled in by the transport, which calls `on_done` exactly once. Times are `time.perf_counter_ns`.

    `number` is the index of the request among the prepared ones. If the connection could not be made, `sent_ns` is the
    time at which it was requested; it is None if the request was given up while it waited for a free connection.
    `bytes_received` includes headers. With a `reader`, the body of a response with status 2xx is fed to it and `body`
    stays empty.
    """

    index: int
    request_index: int
    intended_ns: int
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
    """Set by the check of a response that was not streamed."""
    right: int | None = None
    """Number of correct rows, as in ResponseCheck, once the response has been checked; `error` then includes the
    check's error."""
    method: str = ""
    """The gRPC method, if it is not the one that the transport was created for."""


class ResolveError(Exception):
    """Raised when the host name has no address."""


class Transport(Protocol):
    """Sends exchanges. All methods must be called on the event loop's thread.

    `opened` counts connections and `sent` counts requests, including those whose connection failed.
    """

    @property
    def opened(self) -> int: ...

    @property
    def sent(self) -> int: ...

    @property
    def closed_idle(self) -> int:
        """Number of connections that the target closed while they were idle."""
        ...

    async def resolve(self) -> None:
        """Resolve host names, once for all connections that follow. Raises ResolveError."""
        ...

    def submit(self, exchange: Exchange, /) -> None:
        """Send the exchange as soon as possible; nothing is ever sent twice."""
        ...

    def cut(self) -> None:
        """End everything in flight or waiting as timed out."""
        ...

    def close(self) -> None: ...


def find_header(headers: Headers, name: bytes) -> bytes | None:
    """Return the first header of that name, which must be given in lower case."""
    return next((value for key, value in headers if key.lower() == name), None)


LOCAL_LIMIT = "local-limit"
"""Error class for limits of this machine."""

_LOCAL_LIMIT_ERRNOS = (errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM)
_LOCAL_LIMIT_TEXTS = tuple(os.strerror(number) for number in _LOCAL_LIMIT_ERRNOS)


def is_local_limit(error: BaseException | None) -> bool:
    """Return True if this machine has no file descriptor, local port, buffer or memory left."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _LOCAL_LIMIT_ERRNOS)


def is_local_limit_text(text: str) -> bool:
    """Return the same for a library that reports only the operating system's text."""
    return any(limit_text in text for limit_text in _LOCAL_LIMIT_TEXTS)


def classify_connect_error(error: OSError) -> str:
    """Return the error class of a connection that could not be made."""
    return LOCAL_LIMIT if is_local_limit(error) else "connect"
