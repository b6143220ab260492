"""One request and what came of it."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

Headers = list[tuple[bytes, bytes]]


class Exchange(msgspec.Struct, gc=False):
    """Filled in by the transport, which calls `on_done` exactly once. Times are `time.perf_counter_ns`.

    `sent_ns` of a request whose connection could not be made is when that connection was asked for; it stays None when
    the request was given up while it waited for a free one. `bytes_received` counts headers too.
    """

    index: int
    intended_ns: int
    request: bytes
    on_done: Callable[[Exchange], None]
    is_head: bool = False
    asked_ns: int = 0
    sent_ns: int | None = None
    first_byte_ns: int | None = None
    end_ns: int | None = None
    status: int | None = None
    error: str | None = None
    detail: str | None = None
    bytes_received: int = 0
    reused: bool = False
    headers: Headers = []
    body: bytes = b""


def header_value(headers: Headers, name: bytes) -> bytes | None:
    """The first header of that name, which is given in lower case."""
    return next((value for key, value in headers if key.lower() == name), None)
