"""A server with known delays and known faults: the truth that the instrument is held against.

In a test: `with ScriptedServer(Script(delay_s=0.05)) as server: ... server.url ... server.received_ns`.
By hand: `python -m loadgen.reference.scripted --delay 0.05 --log received.txt` prints its port.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, cast, get_args

import msgspec

from loadgen.reference.child import new_event_loop, serve_until_stdin_closes
from loadgen.reference.requests import RequestCutter

Manner = Literal[
    "whole", "chunked", "until-close", "close-after", "interim", "slow-head", "cut-body", "drop", "hang", "garbage"
]
"""How a reply goes out. `close-after`: whole, with Connection: close; `interim`: a 100 Continue before it; `slow-head`:
byte by byte, a millisecond each; `cut-body`: the connection closes in the middle of the body; `drop`: it closes before
any byte; `hang`: never; `garbage`: what goes out is not HTTP."""


_WITHOUT_BYTES = ("hang", "drop")
_CLOSING = ("until-close", "close-after", "cut-body", "drop")


class Reply(msgspec.Struct, frozen=True):
    status: int = 200
    body: bytes = b"{}"
    headers: tuple[tuple[str, str], ...] = ()
    manner: Manner = "whole"


class Script(msgspec.Struct, frozen=True):
    """Each reply comes `delay_s` after its request, any number at a time.

    The freeze begins `freeze_after_s` after the first request and lasts `freeze_s`: replies due during it come at its
    end. At r requests a second, r × `freeze_s` of them so wait a uniform 0 to `freeze_s` longer.
    """

    reply: Reply = Reply()
    paths: dict[str, Reply] = {}
    """Other replies, by path."""
    delay_s: float = 0.0
    freeze_after_s: float = 0.0
    freeze_s: float = 0.0


class ScriptedServer:
    """Serves `script` from a thread of its own on any free port of the loopback.

    `received_ns` (monotonic) and `requests` grow with every request; `connections` counts those accepted.
    """

    def __init__(self, script: Script, tls: ssl.SSLContext | None = None) -> None:
        self._script, self._tls = script, tls
        self._loop = new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="scripted-server")
        self._transports: set[asyncio.Transport] = set()
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
        self.connections += 1
        return _Scripted(self._script, self._receive, self._transports)

    def _receive(self, request: bytes) -> int:
        """The monotonic time the run of the script is counted from: the first request's."""
        self.received_ns.append(time.perf_counter_ns())
        self.requests.append(request)
        return self.received_ns[0]

    def _serve(self) -> None:
        server = self._loop.run_until_complete(
            self._loop.create_server(self.protocol, "127.0.0.1", 0, ssl=self._tls, backlog=4096)
        )
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        self._close_all()
        self._loop.run_until_complete(asyncio.sleep(0.01))  # lets the transports close before their loop does
        self._loop.close()

    def _close_all(self) -> None:
        for transport in list(self._transports):
            transport.abort()


class _Scripted(asyncio.Protocol):
    def __init__(self, script: Script, receive: Callable[[bytes], int], transports: set[asyncio.Transport]) -> None:
        self._script, self._receive, self._transports = script, receive, transports
        self._cut = RequestCutter().cut

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transports.add(self._transport)

    def connection_lost(self, _error: Exception | None) -> None:
        self._transports.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        for request in self._cut(data):
            first_ns = self._receive(request)
            method, path, _ = request.split(b" ", 2)
            reply = self._script.paths.get(path.decode(), self._script.reply)
            data = b"" if reply.manner in _WITHOUT_BYTES else _bytes_of(reply, is_head=method == b"HEAD")
            wait_s = _wait_s(self._script, (time.perf_counter_ns() - first_ns) / 1e9)
            asyncio.get_running_loop().call_later(wait_s, self._answer, reply.manner, data)

    def _answer(self, manner: Manner, data: bytes) -> None:
        if self._transport.is_closing():
            return
        if manner == "slow-head":
            self._dribbling = asyncio.get_running_loop().create_task(self._dribble(data))
        elif data:
            self._transport.write(data)
        if manner in _CLOSING:
            self._transport.close()

    async def _dribble(self, data: bytes) -> None:
        for at in range(len(data)):
            await asyncio.sleep(0.001)
            if self._transport.is_closing():
                return
            self._transport.write(data[at : at + 1])


def _wait_s(script: Script, received_s: float) -> float:
    """From the receipt of a request, `received_s` after the first one's, to its reply."""
    freeze_end_s = script.freeze_after_s + script.freeze_s
    due_s = received_s + script.delay_s
    if script.freeze_after_s <= due_s < freeze_end_s:
        due_s = freeze_end_s
    return due_s - received_s


def _bytes_of(reply: Reply, *, is_head: bool) -> bytes:
    if reply.manner == "garbage":
        return b"this is not HTTP\r\n\r\n"
    lines = [f"HTTP/1.1 {reply.status} Scripted", *(f"{name}: {value}" for name, value in reply.headers)]
    body = reply.body
    if reply.manner == "chunked":
        lines.append("Transfer-Encoding: chunked")
        half = len(body) // 2
        halves = [part for part in (body[:half], body[half:]) if part]
        body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in [*halves, b""])
    elif reply.manner != "until-close":
        lines.append(f"Content-Length: {len(body)}")
    if reply.manner == "close-after":
        lines.append("Connection: close")
    interim = b"HTTP/1.1 100 Continue\r\n\r\n" if reply.manner == "interim" else b""
    if reply.manner == "cut-body":
        body = body[: len(body) // 2]
    return interim + "\r\n".join([*lines, "", ""]).encode() + (b"" if is_head else body)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m loadgen.reference.scripted", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--delay", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--freeze-after", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--freeze", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--status", type=int, default=200)
    parser.add_argument("--manner", choices=get_args(Manner), default="whole")
    parser.add_argument("--log", type=Path, help="where the monotonic nanoseconds of each request received go")
    given = parser.parse_args()
    server = ScriptedServer(
        Script(
            reply=Reply(status=given.status, manner=given.manner),
            delay_s=given.delay,
            freeze_after_s=given.freeze_after,
            freeze_s=given.freeze,
        )
    )
    with contextlib.suppress(KeyboardInterrupt):
        serve_until_stdin_closes(server.protocol, given.port)
    if given.log is not None:
        given.log.write_text("".join(f"{at_ns}\n" for at_ns in server.received_ns))


if __name__ == "__main__":
    main()
