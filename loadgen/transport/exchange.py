"""One request and what came of it.

Failures whose cause is a limit of this machine, and not the target.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

Headers = list[tuple[bytes, bytes]]


class Tokens(msgspec.Struct, gc=False):
    """What is known of the tokens of one answer; the fields are those of REQUEST_SCHEMA."""

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
    """Reads the body of one successful answer while it arrives, in memory that is bounded."""

    @property
    def tokens(self) -> Tokens:
        """May be read at any time, also after a failure."""
        ...

    @property
    def detail(self) -> str | None:
        """What was wrong, in words that hold nothing of the answer."""
        ...

    def feed(self, piece: bytes, at_ns: int, /) -> str | None:
        """Take what arrived at `at_ns`. An error class ends the exchange, and the connection with it."""
        ...


class Exchange(msgspec.Struct, gc=False):
    """Filled in by the transport, which calls `on_done` exactly once. Times are `time.perf_counter_ns`.

    `number` is the request's place among the built ones. `sent_ns` of a request whose connection could not be made is
    when that connection was asked for; it stays None when the request was given up while it waited for a free one.
    `bytes_received` counts headers too. With a `reader`, the body of an answer with status 2xx is fed to it and `body`
    stays empty.
    """

    index: int
    number: int
    intended_ns: int
    request: bytes
    on_done: Callable[[Exchange], None]
    is_head: bool = False
    reader: StreamReader | None = None
    asked_ns: int = 0
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
    """Set by the judge of an answer that was not streamed."""
    right: int | None = None
    """As in a Judgement, once the answer is judged; `error` is the judgement's too by then."""
    method: str = ""
    """Of gRPC: the method, where it is not the one that the transport was made for."""


class ResolveError(Exception):
    """The host name has no address."""


class Transport(Protocol):
    """Carries exchanges. All methods belong to the event loop's thread.

    `opened` counts connections, `sent` requests, failed connections included.
    """

    @property
    def opened(self) -> int: ...

    @property
    def sent(self) -> int: ...

    @property
    def closed_idle(self) -> int:
        """Connections that the target closed while they waited for another request."""
        ...

    async def resolve(self) -> None:
        """Look hosts up, once for all that follows. Raises ResolveError."""
        ...

    def submit(self, exchange: Exchange, /) -> None:
        """Send it as soon as can be; nothing is ever sent twice."""
        ...

    def cut(self) -> None:
        """End everything that is in flight or waits, as timed out."""
        ...

    def close(self) -> None: ...


def header_value(headers: Headers, name: bytes) -> bytes | None:
    """The first header of that name, which is given in lower case."""
    return next((value for key, value in headers if key.lower() == name), None)


LOCAL_LIMIT = "local-limit"
"""The error class of them."""

_NUMBERS = (errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM)
_TEXTS = tuple(os.strerror(number) for number in _NUMBERS)


def is_local_limit(error: BaseException | None) -> bool:
    """Whether this machine has no descriptor, local port, buffer or memory left."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _NUMBERS)


def names_local_limit(text: str) -> bool:
    """The same of a library that reports only the operating system's text."""
    return any(one in text for one in _TEXTS)


def connect_error(error: OSError) -> str:
    """The error class of a connection that could not be made."""
    return LOCAL_LIMIT if is_local_limit(error) else "connect"
