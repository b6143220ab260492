"""Run a mock server with known delays and faults, against which the load generator is verified.

In a test, use `with ScriptedServer(Script(delay_s=0.05)) as server`, `server.url` and
`server.received_ns`. As a child process, run
`python -m loadgen.reference.scripted --delay 0.05 --log received.txt`. The process prints its port,
and exits when standard input closes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ssl
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast, get_args

import msgspec

from loadgen.decoding import decode_json
from loadgen.pacing import TimerQueue, get_timer_factory
from loadgen.reference.child import RequestSplitter, new_event_loop, serve_until_stdin_closes
from loadgen.reference.mock_protocols import build_handler
from loadgen.reference.playback import (
    ResponsePlayback,
    ResponseScript,
    SocketWriter,
    build_reply_script,
    build_stream_script,
)
from loadgen.reference.requests import parse_request
from loadgen.reference.script import Reply, ReplyMode, Script, Stream, build_freeze

__all__ = ["Reply", "ReplyMode", "Script", "ScriptedServer", "Stream"]


class ScriptedServer:
    """Mock server that executes `script` on a separate thread, on a free port of the loopback
    address.

    `received_ns` has the times (monotonic clock) at which requests were received. `requests` has
    the bytes of each request, unless `stores_requests` is false. `connection_count` is the number
    of accepted connections.
    """

    def __init__(self, script: Script, tls: ssl.SSLContext | None = None, *, stores_requests: bool = True) -> None:
        self._script, self._tls, self._stores_requests = script, tls, stores_requests
        self._loop = new_event_loop()
        self._ready_event = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="scripted-server")
        self._response_selector = _ResponseSelector(script)
        self._timer_queue: TimerQueue[ResponsePlayback] | None = None
        self._postpone_during_freeze: Callable[[int], int] | None = None
        self.transports: set[asyncio.Transport] = set()
        self.received_ns: list[int] = []
        self.requests: list[bytes] = []
        self.connection_count = 0
        self.port = 0

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def __enter__(self) -> ScriptedServer:
        self._thread.start()
        self._ready_event.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def close_connections(self) -> None:
        """Close every connection, as servers do with idle connections."""
        self._loop.call_soon_threadsafe(self._close_all)

    def create_protocol(self) -> asyncio.Protocol:
        if self._timer_queue is None:
            self._timer_queue = TimerQueue(self._continue_playback, get_timer_factory(asyncio.get_running_loop()))
        self.connection_count += 1
        return _Connection(self)

    def respond(self, request: bytes, writer: SocketWriter) -> None:
        """Respond to a request that has just been received. This method must be called on the
        thread of the event loop."""
        at_ns = time.perf_counter_ns()
        self.received_ns.append(at_ns)
        if self._stores_requests:
            self.requests.append(request)
        if self._postpone_during_freeze is None and self._script.freeze_s:
            self._postpone_during_freeze = build_freeze(self._script, at_ns)
        self._continue_playback(
            at_ns,
            ResponsePlayback(
                writer, self._response_selector.select(request, at_ns), at_ns, self._postpone_during_freeze
            ),
        )

    def _continue_playback(self, _due_ns: int, playback: ResponsePlayback) -> None:
        next_ns = playback.send_due_pieces()
        if next_ns is not None and self._timer_queue is not None:
            self._timer_queue.add(next_ns, playback)

    def _serve(self) -> None:
        server = self._loop.run_until_complete(
            self._loop.create_server(self.create_protocol, "127.0.0.1", 0, ssl=self._tls, backlog=4096)
        )
        self.port = server.sockets[0].getsockname()[1]
        self._ready_event.set()
        self._loop.run_forever()
        server.close()
        self._close_all()
        if self._timer_queue is not None:
            self._timer_queue.close()
        self._loop.run_until_complete(asyncio.sleep(0.01))  # close the transports before the event loop
        self._loop.close()

    def _close_all(self) -> None:
        for transport in list(self.transports):
            transport.abort()


class _ResponseSelector:
    """Selector of the response script for each request, by path and mock protocol."""

    def __init__(self, script: Script) -> None:
        delay_ns = round(script.delay_s * 1e9)
        self._default_scripts = _build_response_scripts(script.reply, delay_ns)
        self._scripts_by_path = {path: _build_response_scripts(reply, delay_ns) for path, reply in script.paths.items()}
        self._handlers = [build_handler(mock) for mock in script.protocols]
        self._not_ready_script = build_reply_script(Reply(503), 0, is_head=False)
        self._ready_ns = time.perf_counter_ns() + round(script.ready_after_s * 1e9)

    def select(self, data: bytes, at_ns: int) -> ResponseScript:
        if at_ns < self._ready_ns:
            return self._not_ready_script
        method, _, rest = data.partition(b" ")
        is_head = method == b"HEAD"
        if self._scripts_by_path:
            scripts = self._scripts_by_path.get(rest.partition(b" ")[0].decode("latin-1"))
            if scripts is not None:
                return scripts[is_head]
        if self._handlers:
            request = parse_request(data, at_ns)
            for handle in self._handlers:
                script = handle(request)
                if script is not None:
                    return script
        return self._default_scripts[is_head]


def _build_response_scripts(reply: Reply | Stream, delay_ns: int) -> tuple[ResponseScript, ResponseScript]:
    """Return two response scripts for a reply: the script for all methods except HEAD, and the
    script for HEAD."""
    if isinstance(reply, Stream):
        script = build_stream_script(reply, delay_ns)
        return script, script
    return build_reply_script(reply, delay_ns, is_head=False), build_reply_script(reply, delay_ns, is_head=True)


class _Connection(asyncio.Protocol):
    def __init__(self, server: ScriptedServer) -> None:
        self._server = server
        self._split_requests = RequestSplitter().split

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._writer = SocketWriter(self._transport)
        self._server.transports.add(self._transport)

    def connection_lost(self, _error: Exception | None) -> None:
        self._server.transports.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        for request in self._split_requests(data):
            self._server.respond(request, self._writer)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m loadgen.reference.scripted", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument(
        "--script",
        metavar="JSON",
        help="script as JSON, or path of a JSON file; replaces the other options except --port and --log",
    )
    parser.add_argument("--delay", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--freeze-after", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--freeze", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--status", type=int, default=200)
    parser.add_argument("--mode", choices=get_args(ReplyMode), default="whole")
    parser.add_argument("--log", type=Path, help="output file for the receive times of requests, in ns (monotonic)")
    options = parser.parse_args()
    try:
        server = ScriptedServer(_parse_script(options), stores_requests=False)
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        sys.exit(f"the script cannot be used: {error}")
    with contextlib.suppress(KeyboardInterrupt):
        serve_until_stdin_closes(server.create_protocol, options.port)
    if options.log is not None:
        options.log.write_text("".join(f"{at_ns}\n" for at_ns in server.received_ns))


def _parse_script(options: argparse.Namespace) -> Script:
    if options.script is not None:
        is_json = options.script.lstrip().startswith("{")
        return decode_json(options.script if is_json else Path(options.script).read_bytes(), Script)
    return Script(
        reply=Reply(status=options.status, mode=options.mode),
        delay_s=options.delay,
        freeze_after_s=options.freeze_after,
        freeze_s=options.freeze,
    )


if __name__ == "__main__":
    main()
