"""Shared code of the reference servers, which run as child processes.

The request splitter only finds where each request ends in the received bytes, and does not parse
the requests.
"""

from __future__ import annotations

import asyncio
import re
import sys
import threading
from collections.abc import Callable

from loadgen.machine import raise_descriptor_limit

_CONTENT_LENGTH_PATTERN = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class RequestSplitter:
    """Splitter of received bytes into requests. `split` returns the complete requests and buffers
    the remaining bytes.

    Load generators send the same head repeatedly. The last head is therefore cached together with
    the length of its request.
    """

    def __init__(self) -> None:
        self._incomplete_request = b""
        self._last_head = b"\0"
        self._last_length = 0

    def split(self, data: bytes) -> list[bytes]:
        if self._incomplete_request:
            data = self._incomplete_request + data
        elif len(data) == self._last_length and data.startswith(self._last_head):
            return [data]
        requests: list[bytes] = []
        while data and (length := self._find_next_length(data)) is not None and length <= len(data):
            requests.append(data[:length])
            data = data[length:]
        self._incomplete_request = data
        return requests

    def _find_next_length(self, data: bytes) -> int | None:
        head_end = data.find(b"\r\n\r\n")
        if head_end < 0:
            return None
        self._last_head = data[: head_end + 4]
        match = _CONTENT_LENGTH_PATTERN.search(self._last_head)
        self._last_length = len(self._last_head) + (int(match[1]) if match else 0)
        return self._last_length


def new_event_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:  # not available on Windows
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def serve_until_stdin_closes(create_protocol: Callable[[], asyncio.Protocol], port: int) -> None:
    """Serve on the loopback address until standard input closes, and print the port. Port 0 selects
    any free port."""
    serve(create_protocol, "127.0.0.1", port, exits_with_stdin=True)


def serve(create_protocol: Callable[[], asyncio.Protocol], host: str, port: int, *, exits_with_stdin: bool) -> None:
    """Serve on an address, and print the port. Raises OSError if the address or port cannot be
    used."""
    raise_descriptor_limit()
    loop = new_event_loop()
    server = loop.run_until_complete(loop.create_server(create_protocol, host, port, backlog=4096))
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    if exits_with_stdin:
        threading.Thread(target=_stop_at_eof, args=(loop,), daemon=True).start()
    loop.run_forever()


def _stop_at_eof(loop: asyncio.AbstractEventLoop) -> None:
    sys.stdin.buffer.read()  # blocks until standard input closes
    loop.call_soon_threadsafe(loop.stop)
