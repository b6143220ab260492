"""A server with known delays and known faults: the truth that the instrument is held against.

In a test: `with ScriptedServer(Script(delay_s=0.05)) as server: ... server.url ... server.received_ns`.
As a child: `python -m loadgen.reference.scripted --delay 0.05 --log received.txt` prints its port, and leaves when its
standard input closes.
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
from loadgen.pacing import Agenda, alarm_on
from loadgen.reference.asked import request_of
from loadgen.reference.child import RequestCutter, new_event_loop, serve_until_stdin_closes
from loadgen.reference.courses import Course, ResponsePlayback, Wire, course_of_reply, course_of_stream
from loadgen.reference.faces import answer_of
from loadgen.reference.script import Manner, Reply, Script, Stream, freeze_of

__all__ = ["Manner", "Reply", "Script", "ScriptedServer", "Stream"]


class ScriptedServer:
    """Serves `script` from a thread of its own on any free port of the loopback.

    `received_ns` (monotonic) and `requests` grow with every request; `connections` counts those accepted.
    """

    def __init__(self, script: Script, tls: ssl.SSLContext | None = None, *, keeps_requests: bool = True) -> None:
        self._script, self._tls, self._keeps_requests = script, tls, keeps_requests
        self._loop = new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="scripted-server")
        self._playbook = _Playbook(script)
        self._agenda: Agenda[ResponsePlayback] | None = None
        self._hold: Callable[[int], int] | None = None
        self.transports: set[asyncio.Transport] = set()
        self.received_ns: list[int] = []
        self.requests: list[bytes] = []
        self.connections = 0
        self.port = 0

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def __enter__(self) -> ScriptedServer:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def close_connections(self) -> None:
        """Close every connection from the server's side, as a server does with idle ones."""
        self._loop.call_soon_threadsafe(self._close_all)

    def protocol(self) -> asyncio.Protocol:
        if self._agenda is None:
            self._agenda = Agenda(self._go_on, alarm_on(asyncio.get_running_loop()))
        self.connections += 1
        return _Connection(self)

    def play(self, request: bytes, wire: Wire) -> None:
        """Answer a request that has just come. Belongs to the loop's thread."""
        at_ns = time.perf_counter_ns()
        self.received_ns.append(at_ns)
        if self._keeps_requests:
            self.requests.append(request)
        if self._hold is None and self._script.freeze_s:
            self._hold = freeze_of(self._script, at_ns)
        self._go_on(at_ns, ResponsePlayback(wire, self._playbook.course(request, at_ns), at_ns, self._hold))

    def _go_on(self, _due_ns: int, play: ResponsePlayback) -> None:
        again_ns = play.go()
        if again_ns is not None and self._agenda is not None:
            self._agenda.add(again_ns, play)

    def _serve(self) -> None:
        server = self._loop.run_until_complete(
            self._loop.create_server(self.protocol, "127.0.0.1", 0, ssl=self._tls, backlog=4096)
        )
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        self._close_all()
        if self._agenda is not None:
            self._agenda.close()
        self._loop.run_until_complete(asyncio.sleep(0.01))  # lets the transports close before their loop does
        self._loop.close()

    def _close_all(self) -> None:
        for transport in list(self.transports):
            transport.abort()


class _Playbook:
    """What each request is answered with."""

    def __init__(self, script: Script) -> None:
        delay_ns = round(script.delay_s * 1e9)
        self._default = _courses(script.reply, delay_ns)
        self._by_path = {path: _courses(reply, delay_ns) for path, reply in script.paths.items()}
        self._faces = [answer_of(face) for face in script.faces]
        self._not_ready = course_of_reply(Reply(503), 0, is_head=False)
        self._ready_ns = time.perf_counter_ns() + round(script.ready_after_s * 1e9)

    def course(self, data: bytes, at_ns: int) -> Course:
        if at_ns < self._ready_ns:
            return self._not_ready
        method, _, rest = data.partition(b" ")
        is_head = method == b"HEAD"
        if self._by_path:
            courses = self._by_path.get(rest.partition(b" ")[0].decode("latin-1"))
            if courses is not None:
                return courses[is_head]
        if self._faces:
            request = request_of(data, at_ns)
            for answer in self._faces:
                course = answer(request)
                if course is not None:
                    return course
        return self._default[is_head]


def _courses(reply: Reply | Stream, delay_ns: int) -> tuple[Course, Course]:
    """To a HEAD the second."""
    if isinstance(reply, Stream):
        course = course_of_stream(reply, delay_ns)
        return course, course
    return course_of_reply(reply, delay_ns, is_head=False), course_of_reply(reply, delay_ns, is_head=True)


class _Connection(asyncio.Protocol):
    def __init__(self, server: ScriptedServer) -> None:
        self._server = server
        self._cut = RequestCutter().cut

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._wire = Wire(self._transport)
        self._server.transports.add(self._transport)

    def connection_lost(self, _error: Exception | None) -> None:
        self._server.transports.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        for request in self._cut(data):
            self._server.play(request, self._wire)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m loadgen.reference.scripted", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--script", metavar="JSON", help="a script, or the file that holds it, instead of what follows")
    parser.add_argument("--delay", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--freeze-after", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--freeze", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--status", type=int, default=200)
    parser.add_argument("--manner", choices=get_args(Manner), default="whole")
    parser.add_argument("--log", type=Path, help="where the monotonic nanoseconds of each request received go")
    given = parser.parse_args()
    try:
        server = ScriptedServer(_script(given), keeps_requests=False)
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        sys.exit(f"the script cannot be played: {error}")
    with contextlib.suppress(KeyboardInterrupt):
        serve_until_stdin_closes(server.protocol, given.port)
    if given.log is not None:
        given.log.write_text("".join(f"{at_ns}\n" for at_ns in server.received_ns))


def _script(given: argparse.Namespace) -> Script:
    if given.script is not None:
        is_text = given.script.lstrip().startswith("{")
        return decode_json(given.script if is_text else Path(given.script).read_bytes(), Script)
    return Script(
        reply=Reply(status=given.status, manner=given.manner),
        delay_s=given.delay,
        freeze_after_s=given.freeze_after,
        freeze_s=given.freeze,
    )


if __name__ == "__main__":
    main()
