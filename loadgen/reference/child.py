"""What the reference servers share when they run as children."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable

from loadgen.descriptors import raise_limit


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
