"""What the reference servers share when they run as children.

Finds where requests end in a stream of bytes, and looks at nothing else in them.
"""

from __future__ import annotations

import asyncio
import re
import sys
import threading
from collections.abc import Callable

from loadgen.machine import raise_limit

_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class RequestCutter:
    """`cut` takes what has arrived and gives the whole requests; the beginning of the next is kept.

    Generators send the same head again and again, so the last one is remembered with the length it means.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._head = b"\0"
        self._length = 0

    def cut(self, data: bytes) -> list[bytes]:
        if self._rest:
            data = self._rest + data
        elif len(data) == self._length and data.startswith(self._head):
            return [data]
        whole: list[bytes] = []
        while data and (length := self._next_length(data)) is not None and length <= len(data):
            whole.append(data[:length])
            data = data[length:]
        self._rest = data
        return whole

    def _next_length(self, data: bytes) -> int | None:
        head_end = data.find(b"\r\n\r\n")
        if head_end < 0:
            return None
        self._head = data[: head_end + 4]
        found = _CONTENT_LENGTH.search(self._head)
        self._length = len(self._head) + (int(found[1]) if found else 0)
        return self._length


def new_event_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:  # Windows has none
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def serve_until_stdin_closes(protocol: Callable[[], asyncio.Protocol], port: int) -> None:
    """Serve on the loopback, any free port for 0, and print the port first of all."""
    raise_limit()
    loop = new_event_loop()
    server = loop.run_until_complete(loop.create_server(protocol, "127.0.0.1", port, backlog=4096))
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    threading.Thread(target=_stop_at_eof, args=(loop,), daemon=True).start()
    loop.run_forever()


def _stop_at_eof(loop: asyncio.AbstractEventLoop) -> None:
    sys.stdin.buffer.read()  # nothing is ever said
    loop.call_soon_threadsafe(loop.stop)
