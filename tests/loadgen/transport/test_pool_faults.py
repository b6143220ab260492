"""Each network fault ends a request with its error class, at most a second after its timeout."""

import asyncio
import socket
from time import perf_counter
from typing import cast

import pytest

from loadgen.records import Endpoint, Timeouts
from loadgen.reference.script import ReplyMode
from loadgen.reference.scripted import Reply, Script, ScriptedServer, Stream
from loadgen.transport.exchange import Exchange
from tests.fakes.faulty_proxy import FaultyProxy, Toxics
from tests.fakes.http_client import HttpClient, PieceRecorder, RunHttpClient

pytestmark = pytest.mark.timing

TOTAL_S = 0.3
TIMEOUTS = Timeouts(connect_s=0.3, idle_s=0.2, total_s=TOTAL_S)
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENTS = Stream(
    pieces=((0, HEAD), (0.01, b"7\r\ndata: \xe2\r\n"), (0.02, b"4\r\n\x82\xac\n\n\r\n"), (0.03, b"0\r\n\r\n"))
)
BODY = b"x" * 300


async def send_within_deadline(client: HttpClient, reader: PieceRecorder | None = None) -> Exchange:
    start_s = perf_counter()
    exchange = await client.request(reader=reader)
    assert perf_counter() - start_s < TOTAL_S + 1
    return exchange


FAULTS = {
    "none": (Toxics(), None),
    "latency": (Toxics(latency_s=0.05), None),
    "latency beyond the deadline": (Toxics(latency_s=0.6), "timeout"),
    "jitter": (Toxics(latency_s=0.01, jitter_s=0.05, seed=1), None),
    "reset before the answer": (Toxics(reset_after=0), "send"),
    "reset in the head": (Toxics(reset_after=10), "truncated"),
    "reset in the body": (Toxics(reset_after=100), "truncated"),
    "slow close": (Toxics(slow_close_s=5), None),
    "slices": (Toxics(slice_bytes=1), None),
    "slices, then reset": (Toxics(slice_bytes=1, reset_after=45), "truncated"),
    "narrow": (Toxics(bytes_per_s=4_000, slice_bytes=20), None),
    "too narrow": (Toxics(bytes_per_s=100, slice_bytes=10), "timeout"),
    "half open": (Toxics(is_half_open=True), "timeout"),
}


@pytest.mark.parametrize(("toxics", "error"), FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("mode", ["whole", "chunked"])
def test_each_fault_ends_request_in_time_with_error_class(
    run_http_client: RunHttpClient, toxics: Toxics, error: str | None, mode: ReplyMode
) -> None:
    async def send_requests(client: HttpClient) -> None:
        for _ in range(times):
            exchange = await send_within_deadline(client)
            assert exchange.error == error
            assert exchange.body == (BODY if error is None else b"")
        assert client.transport.sent_count == times

    times = 1 if error == "timeout" else 2

    with (
        ScriptedServer(Script(Reply(body=BODY, mode=mode))) as server,
        FaultyProxy(server.port, toxics) as proxy,
    ):
        run_http_client(Endpoint((proxy.url,), timeouts=TIMEOUTS), send_requests)
        assert len(server.requests) == (0 if toxics.is_half_open else times)
        assert proxy.connections == (1 if error is None else times)


@pytest.mark.parametrize(("slow_close_s", "error"), [(0.1, None), (5, "timeout")])
def test_response_until_close_waits_for_close_of_connection(
    run_http_client: RunHttpClient, slow_close_s: float, error: str | None
) -> None:
    async def send_requests(client: HttpClient) -> None:
        assert (await send_within_deadline(client)).error == error

    with (
        ScriptedServer(Script(Reply(mode="until-close"))) as server,
        FaultyProxy(server.port, Toxics(slow_close_s=slow_close_s)) as proxy,
    ):
        run_http_client(Endpoint((proxy.url,), timeouts=TIMEOUTS), send_requests)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_half_open_connection_ends_at_active_timeout(run_http_client: RunHttpClient, scheme: str) -> None:
    async def send_requests(client: HttpClient) -> None:
        exchange = await send_within_deadline(client)
        assert (exchange.error, exchange.detail) == expected

    expected = ("timeout", None) if scheme == "http" else ("connect", "no connection was established within 0.3 s")
    with FaultyProxy(1, Toxics(is_half_open=True)) as proxy:
        run_http_client(Endpoint((f"{scheme}://127.0.0.1:{proxy.port}",), timeouts=TIMEOUTS), send_requests)


@pytest.mark.parametrize("slice_bytes", [None, 1, 2, 3])
def test_stream_is_read_completely_for_any_split(run_http_client: RunHttpClient, slice_bytes: int | None) -> None:
    reader = PieceRecorder()

    async def send_requests(client: HttpClient) -> None:
        exchange = await send_within_deadline(client, reader)
        assert (exchange.error, exchange.body) == (None, b"")

    with (
        ScriptedServer(Script(EVENTS)) as server,
        FaultyProxy(server.port, Toxics(slice_bytes=slice_bytes)) as proxy,
    ):
        run_http_client(Endpoint((proxy.url,), timeouts=TIMEOUTS), send_requests)
    assert b"".join(reader.pieces) == b"data: \xe2\x82\xac\n\n"


@pytest.mark.parametrize(
    ("stream", "error"),
    [
        (Stream(pieces=EVENTS.pieces[:3], end="reset"), "truncated"),
        (Stream(pieces=EVENTS.pieces[:3], end="close"), "truncated"),
        (Stream(pieces=EVENTS.pieces[:3], end="open"), "timeout"),
        (Stream(pieces=EVENTS.pieces[:3], end="repeat"), "timeout"),
        (Stream(pieces=((0, HEAD[:30]),), end="open"), "timeout"),
        (Stream(pieces=((0, HEAD), (0.01, b"nonsense\r\n")), end="open"), "bad-payload"),
        (Stream(pieces=((0, b"HTTP/1.0 200 OK\r\n\r\n"), (0.01, b"data: x\n\n")), end="close"), None),
    ],
    ids=["reset", "close", "open", "repeat", "half a head", "no chunks", "HTTP/1.0"],
)
def test_faulty_stream_ends_in_time_with_error_class(
    run_http_client: RunHttpClient, stream: Stream, error: str | None
) -> None:
    async def send_requests(client: HttpClient) -> None:
        reader = PieceRecorder()
        exchange = await send_within_deadline(client, reader)
        assert (exchange.error, exchange.body) == (error, b"")
        assert (len(reader.pieces) > 0) == (len(stream.pieces) > 2 or error is None)

    with ScriptedServer(Script(stream)) as server:
        run_http_client(Endpoint((server.url,), timeouts=TIMEOUTS), send_requests)


def test_endless_stream_ends_at_total_timeout(run_http_client: RunHttpClient) -> None:
    async def send_requests(client: HttpClient) -> None:
        reader = PieceRecorder()
        exchange = await send_within_deadline(client, reader)
        assert exchange.sent_ns is not None
        assert exchange.end_ns is not None
        assert TOTAL_S <= (exchange.end_ns - exchange.sent_ns) / 1e9 < TOTAL_S + 0.5
        assert (exchange.error, exchange.status) == ("timeout", 200)
        assert len(reader.pieces) > 10

    endless = Stream(pieces=((0, HEAD), (0.005, b"3\r\nabc\r\n")), end="repeat", period_s=0.005)
    with ScriptedServer(Script(endless)) as server:
        run_http_client(Endpoint((server.url,), timeouts=TIMEOUTS), send_requests)


@pytest.mark.parametrize("rejects", [False, True])
def test_response_of_256_mib_without_newline_is_read_in_small_pieces(
    run_http_client: RunHttpClient, rejects: bool
) -> None:
    size, max_piece_bytes = 256 * 2**20, 2**20

    class Counting(PieceRecorder):
        count = longest = 0

        def feed(self, piece: bytes, at_ns: int) -> str | None:
            self.count += len(piece)
            self.longest = max(self.longest, len(piece))
            return "bad-payload" if rejects and self.count > max_piece_bytes else None

    async def send_requests(client: HttpClient) -> None:
        reader = Counting()
        exchange = await client.request(reader=reader)
        assert exchange.error == ("bad-payload" if rejects else None)
        assert reader.longest <= max_piece_bytes
        assert (reader.count <= 2 * max_piece_bytes) if rejects else (reader.count == size)

    async def serve(client: HttpClient) -> None:
        server = await asyncio.get_running_loop().create_server(lambda: Flood(size), "127.0.0.1", port)
        await send_requests(client)
        server.close()

    port = free_port()
    run_http_client(Endpoint((f"http://127.0.0.1:{port}",)), serve)


class Flood(asyncio.Protocol):
    """Responds with `size` bytes, no faster than they are read."""

    def __init__(self, size: int) -> None:
        self._left = size

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass of it
        self._may_write = True

    def data_received(self, data: bytes) -> None:
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % self._left)
        self.resume_writing()

    def pause_writing(self) -> None:
        self._may_write = False

    def resume_writing(self) -> None:
        self._may_write = True
        while self._may_write and self._left and not self._transport.is_closing():
            piece = bytes(min(2**20, self._left))
            self._left -= len(piece)
            self._transport.write(piece)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port
