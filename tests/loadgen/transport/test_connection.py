"""Connections on a simulated transport, which receives exactly the bytes and pieces of the test."""

import asyncio
import gzip
import random
import ssl
import tracemalloc
import weakref
import zlib
from collections.abc import Callable

import pytest

from loadgen.transport import connection, responses
from loadgen.transport.connection import Connection
from loadgen.transport.exchange import Exchange, StreamReader
from loadgen.transport.responses import CachedHead, HeadCache
from tests.fakes.http_client import PieceRecorder

OK = b"HTTP/1.1 200 OK\r\n"
EVENTS = OK + b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(autouse=True)
def never_long_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Disable the check of idle connections: the simulated transport has no socket, and a test may be slow."""
    monkeypatch.setattr(connection, "_LONG_IDLE_NS", 2**62)


class Wire(asyncio.Transport):
    """Replaces the transport of the event loop, and the pool."""

    def __init__(self, heads: HeadCache | None = None, received: responses.ReceivedBytes | None = None) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.done: list[Exchange] = []
        self.is_closed = False
        self.times_free = 0
        self.connection = Connection(self._free, lambda _: None, heads or HeadCache(), received_bytes=received)
        self.connection.connection_made(self)

    def send_request(self, *, is_head: bool = False, reader: StreamReader | None = None) -> None:
        assert self.connection.send(Exchange(len(self.done), 0, 0, b"ask", self.done.append, is_head, reader))

    def receive(self, *pieces: bytes) -> None:
        for piece in pieces:
            if self.is_closed:
                return
            self.connection.data_received(piece)

    def end(self) -> None:
        self.is_closed = True
        self.connection.connection_lost(None)

    def _free(self, _: Connection) -> None:
        self.times_free += 1

    # asyncio.Transport

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return self.is_closed

    def abort(self) -> None:
        self.is_closed = True


class NoHeads(HeadCache):
    def add(self, *_: object) -> None: ...


def list_outcomes(wire: Wire) -> list[object]:
    return [
        wire.is_closed,
        wire.times_free,
        *((x.status, x.error, x.headers, x.body, x.bytes_received) for x in wire.done),
    ]


def split_randomly(data: bytes, rng: random.Random) -> list[bytes]:
    if rng.random() < 0.6:
        return [data]
    cuts = sorted({rng.randrange(1, len(data)) for _ in range(rng.randint(1, 6))}) if len(data) > 1 else []
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


RESPONSES = [
    OK + b"Content-Length: 2\r\n\r\n{}",
    OK + b"Content-Length: 2\r\n\r\n[]",
    OK + b"Content-Length: 0\r\n\r\n",
    OK + b"content-length: 4\r\nX-A: b\r\nX-A: c\r\n\r\n\r\n\r\n",
    OK + b"Content-Length: 4\r\n\r\nab",
    OK + b"Content-Length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
    OK + b"Content-Length: 2\r\n\r\n{}\r\n",
    OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    OK + b"Content-Length: 2\r\nConnection: close\r\n\r\n{}",
    OK + b"Content-Length: 2\r\nContent-Encoding: gzip\r\n\r\n{}",
    OK + b"Content-Length: 2\r\nContent-Encoding: identity\r\n\r\n{}",
    OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX-Trailer: t\r\n\r\n",
    OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    OK + b"Transfer-Encoding: gzip\r\n\r\n{}",
    OK + b"\r\nuntil close",
    b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n",
    b"HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nno!",
    b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    b"HTTP/1.1 200 OK\nContent-Length: 6\n\nab\r\n\r\n",
    b"\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    b"not HTTP\r\n\r\n",
]


@pytest.mark.parametrize("seed", range(10))
def test_head_cache_does_not_change_decoded_responses(seed: int) -> None:
    rng = random.Random(seed)
    heads = HeadCache()
    for _ in range(300):  # connections share one cache
        uncached, cached = Wire(NoHeads()), Wire(heads)
        for _ in range(12):
            response, is_head = rng.choice(RESPONSES), rng.random() < 0.1
            pieces, ends = split_randomly(response, rng), rng.random() < 0.3
            for wire in (uncached, cached):
                if not wire.is_closed:
                    wire.send_request(is_head=is_head)
                    wire.receive(*pieces)
                    if wire.connection._exchange is not None and ends:
                        wire.end()
            assert list_outcomes(cached) == list_outcomes(uncached)
            if uncached.connection._exchange is not None:
                break


def test_response_with_cached_head_is_not_parsed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire()
    for _ in range(2):
        wire.send_request()
        wire.receive(RESPONSES[0])
    monkeypatch.setattr(wire.connection._response_parser, "feed", None)  # would be called
    wire.send_request()
    wire.receive(RESPONSES[1])
    assert [exchange.body for exchange in wire.done] == [b"{}", b"{}", b"[]"]
    assert wire.done[0].headers == wire.done[2].headers == [(b"Content-Length", b"2")]


def test_request_is_written_before_send_returns_and_times_are_in_order() -> None:
    wire = Wire()
    wire.send_request()
    assert wire.written == [b"ask"]
    wire.receive(OK, b"Content-Length: 1\r\n\r\n", b"x")
    (exchange,) = wire.done
    assert exchange.sent_ns is not None
    assert exchange.first_byte_ns is not None
    assert exchange.end_ns is not None
    assert exchange.sent_ns < exchange.first_byte_ns < exchange.end_ns


def test_surplus_bytes_after_response_close_connection() -> None:
    wire = Wire()
    wire.send_request()
    wire.receive(RESPONSES[0] + b"HTTP/1.1 500")
    assert (wire.done[0].error, wire.done[0].body, wire.is_closed, wire.times_free) == (None, b"{}", True, 0)


def test_client_certificate_rejection_after_handshake_is_tls_error() -> None:
    refusal = ssl.SSLError(1, "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert certificate required")
    refusal.reason = "TLSV13_ALERT_CERTIFICATE_REQUIRED"
    wire = Wire()
    wire.send_request()
    wire.connection.connection_lost(refusal)
    assert [(exchange.error, exchange.detail) for exchange in wire.done] == [
        ("tls", "the server requires a client certificate")
    ]


def test_unsolicited_bytes_close_idle_connection() -> None:
    wire = Wire()
    wire.receive(RESPONSES[0])
    assert wire.is_closed
    assert not wire.connection.send(Exchange(0, 0, 0, b"ask", wire.done.append))
    assert wire.done == []


def test_stream_reader_receives_each_read_with_its_time() -> None:
    wire, reader = Wire(), PieceRecorder()
    wire.send_request(reader=reader)
    wire.receive(EVENTS + b"3\r\nabc\r\n2\r\nde\r\n", b"1\r", b"\n", b"f\r\n0\r\n", b"\r\n")
    (exchange,) = wire.done
    assert (reader.pieces, exchange.body, exchange.error, exchange.status) == ([b"abcde", b"f"], b"", None, 200)
    assert exchange.end_ns is not None
    assert exchange.first_byte_ns == reader.at_ns[0] < reader.at_ns[1] < exchange.end_ns
    assert wire.times_free == 1


@pytest.mark.parametrize("size", range(1, 9))
def test_chunked_response_is_decoded_for_any_split(size: int) -> None:
    data = EVENTS + b"4\r\nab\r\n\r\n5;x=y\r\n\r\ncd\r\r\n0\r\n\r\n"
    wire, reader = Wire(), PieceRecorder()
    wire.send_request(reader=reader)
    wire.receive(*(data[at : at + size] for at in range(0, len(data), size)))
    assert b"".join(reader.pieces) == b"ab\r\n\r\ncd\r"
    assert (wire.done[0].error, wire.done[0].bytes_received) == (None, len(data))


def test_idle_connection_releases_its_last_reader() -> None:
    wire, reader = Wire(), PieceRecorder()
    wire.send_request(reader=reader)
    wire.receive(EVENTS + b"0\r\n\r\n")
    wire.done.clear()
    reader_ref = weakref.ref(reader)
    del reader
    assert reader_ref() is None


def test_error_response_is_stored_as_body_despite_reader() -> None:
    wire, reader = Wire(), PieceRecorder()
    wire.send_request(reader=reader)
    wire.receive(b"HTTP/1.1 429 Slow Down\r\nContent-Length: 4\r\n\r\nwait")
    assert (reader.pieces, wire.done[0].status, wire.done[0].body) == ([], 429, b"wait")


@pytest.mark.parametrize("last", [b"", b"0\r\n\r\n", b"nonsense"])
def test_reader_can_reject_response_during_read(last: bytes) -> None:
    wire, reader = Wire(), PieceRecorder(refused=b"bad", error="bad-output")
    wire.send_request(reader=reader)
    wire.receive(EVENTS + b"2\r\nok\r\n3\r\nbad\r\n4\r\nmore\r\n" + last, b"1\r\nx\r\n0\r\n\r\n")
    assert [(exchange.error, exchange.detail, exchange.status) for exchange in wire.done] == [
        ("bad-output", "as refused", 200)
    ]
    assert reader.pieces == [b"okbadmore"]
    assert wire.is_closed
    assert wire.times_free == 0
    wire.end()
    assert len(wire.done) == 1


def test_exception_in_reader_is_bad_payload_without_its_message() -> None:
    class Broken(PieceRecorder):
        def feed(self, piece: bytes, at_ns: int) -> str | None:
            raise RuntimeError("secret")

    wire = Wire()
    wire.send_request(reader=Broken())
    wire.receive(EVENTS + b"2\r\nok\r\n")
    assert [exchange.error for exchange in wire.done] == ["bad-payload"]
    assert wire.done[0].detail is not None
    assert "secret" not in wire.done[0].detail


def test_interrupted_stream_is_truncated() -> None:
    wire, reader = Wire(), PieceRecorder()
    wire.send_request(reader=reader)
    wire.receive(EVENTS + b"2\r\nok\r\n5\r\nhal")
    wire.end()
    assert (wire.done[0].error, wire.done[0].status, reader.pieces) == ("truncated", 200, [b"okhal"])


def test_streamed_response_is_not_stored_but_limited_in_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responses, "_MAX_BYTES_RECEIVED", 80 * 2**20)
    wire, reader = Wire(), CountedBytes()
    wire.send_request(reader=reader)
    wire.receive(OK + b"Content-Length: 99999999999\r\n\r\n")
    piece = bytes(2**20)
    wire.receive(*([piece] * 79))
    assert (wire.done, reader.count) == ([], 79 * 2**20)  # a stored response would have been rejected at 64 MiB
    wire.receive(piece)
    (exchange,) = wire.done
    assert (exchange.error, exchange.detail) == ("bad-payload", "the response exceeds 80 MiB")
    assert exchange.bytes_received < 80 * 2**20


class CountedBytes(PieceRecorder):
    count = 0

    def feed(self, piece: bytes, at_ns: int) -> str | None:
        self.count += len(piece)
        return None


@pytest.mark.parametrize(
    ("start", "repeated"),
    [
        (OK + b"X-Long: ", b"x"),
        (OK, b"X-Many: x\r\n"),
        (EVENTS + b"1\r\na\r\n0\r\nX-Trailer: ", b"t"),
        (EVENTS + b"1;", b"extension"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
)
def test_size_of_heads_trailers_and_chunk_extensions_is_limited(start: bytes, repeated: bytes) -> None:
    wire = Wire()
    wire.send_request(reader=PieceRecorder())
    wire.receive(start, *[repeated * (65_536 // len(repeated))] * 20)
    (exchange,) = wire.done
    assert exchange.error == "bad-payload"
    assert exchange.bytes_received < 1.2 * 2**20


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (b"\0\0\x12\x04\0\0\0\0\0", "the server uses HTTP/2, but only HTTP/1.1 is supported"),
        (b"\x15\x03\x01\0\x02\x02\x46", "the server uses TLS; use an https:// URL"),
        (b"SSH-2.0-secret\r\n", "the response is not HTTP/1.1: Expected HTTP/, RTSP/ or ICE/"),
        (RESPONSES[9], "the compressed response cannot be decompressed"),
        (
            RESPONSES[9].replace(b"gzip", b"br"),
            "the response is compressed, and neither with gzip nor with deflate",
        ),
    ],
)
def test_unreadable_response_is_described_without_its_content(data: bytes, detail: str) -> None:
    wire = Wire()
    wire.send_request()
    wire.receive(data)
    assert [(exchange.error, exchange.detail) for exchange in wire.done] == [("bad-payload", detail)]


@pytest.mark.parametrize("when", ["free", "done"])
def test_next_request_can_be_sent_from_completion_callback(when: str) -> None:
    wire = Wire()
    sent: list[Callable[[], None]] = [lambda: wire.send_request()]

    def send_once() -> None:
        if sent:
            sent.pop()()

    if when == "free":
        wire.connection._on_free = lambda _: send_once()

    def on_done(exchange: Exchange) -> None:
        wire.done.append(exchange)
        if when == "done":
            send_once()

    wire.connection.send(Exchange(0, 0, 0, b"first", on_done))
    wire.receive(RESPONSES[0], RESPONSES[1])
    assert [completed.body for completed in wire.done] == [b"{}", b"[]"]


def test_incomplete_or_special_heads_are_not_cached() -> None:
    heads = HeadCache()
    empty_head: CachedHead = heads.latest_head
    for number in (4, 11, 12, 15, 16, 24, 26, 27):
        wire = Wire(heads)
        wire.send_request()
        wire.receive(RESPONSES[number])
    assert heads.latest_head is empty_head


def test_responses_in_flight_beyond_total_limit_fail_with_local_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(responses, "MAX_RECEIVING_BYTES", 3 * 2**20)
    received = responses.ReceivedBytes()
    first, second = Wire(received=received), Wire(received=received)
    head, piece = OK + b"Content-Length: 2097152\r\n\r\n", b"x" * 2**20
    for wire in (first, second):
        wire.send_request()
        wire.receive(head + piece)
    first.receive(piece)
    assert (first.done[0].error, len(first.done[0].body)) == (None, 2**21)
    assert received.total == len(head) + 2**20, "a complete response no longer counts"
    first.send_request()
    first.receive(head + piece, b"x" * (2**20 - 1))
    assert (first.done[1].error, first.done[1].first_byte_ns is None) == ("local-limit", False)
    assert first.done[1].detail == "the responses being received exceed 3 MiB in total"
    second.end()
    assert received.total == 0


def test_streamed_pieces_do_not_count_as_stored_bytes() -> None:
    received = responses.ReceivedBytes()
    wire = Wire(received=received)
    wire.send_request(reader=PieceRecorder())
    wire.receive(EVENTS, b"4\r\n", b"data\r\n")
    initial_total = received.total
    wire.receive(*[b"4\r\n", b"data\r\n"] * 100)
    assert received.total == initial_total <= len(EVENTS)


def test_small_chunks_use_no_more_memory_than_their_size() -> None:
    wire = Wire()
    wire.send_request()
    wire.receive(EVENTS)
    chunks = b"2\r\nab\r\n" * 8_000
    tracemalloc.start()
    wire.receive(*[chunks] * 20)
    used_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used_bytes < 20 * len(chunks)


def compress_response(content: bytes, coding: str = "gzip", status: bytes = b"200 OK") -> bytes:
    body = zlib.compress(content) if coding == "deflate" else gzip.compress(content)
    head = b"HTTP/1.1 %b\r\nContent-Encoding: %b\r\nContent-Length: %d\r\n\r\n" % (status, coding.encode(), len(body))
    return head + body


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "deflate"])
def test_compressed_response_is_decompressed_each_time(coding: str) -> None:
    wire, data = Wire(), compress_response(b'{"ok": true}', coding)
    for _ in range(3):  # the head of a response is cached, its content is not
        wire.send_request()
        wire.receive(data)
    assert [(exchange.error, exchange.body, exchange.bytes_received) for exchange in wire.done] == [
        (None, b'{"ok": true}', len(data))
    ] * 3
    assert not wire.is_closed


def test_compressed_body_with_length_of_its_content_is_decompressed_each_time() -> None:
    contents = (bytes(range(64)) + b"a" * count for count in range(1, 99))
    content = next(content for content in contents if len(gzip.compress(content)) == len(content))
    wire, data = Wire(), compress_response(content)
    for _ in range(2):
        wire.send_request()
        wire.receive(data)
    assert [exchange.body for exchange in wire.done] == [content] * 2


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_compressed_stream_is_decompressed_as_it_arrives(size: int) -> None:
    stream = zlib.compressobj(wbits=31)
    pieces = [stream.compress(b"abc") + stream.flush(zlib.Z_SYNC_FLUSH), stream.compress(b"def") + stream.flush()]
    response = EVENTS.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n")
    response += b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    wire, reader = Wire(), PieceRecorder()
    wire.send_request(reader=reader)
    wire.receive(*(response[at : at + size] for at in range(0, len(response), size)))
    assert b"".join(reader.pieces) == b"abcdef"
    assert (wire.done[0].error, wire.done[0].body) == (None, b"")


@pytest.mark.parametrize("reader", [None, PieceRecorder()])
def test_truncated_or_too_large_compressed_response_is_error(
    reader: PieceRecorder | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(responses, "MAX_RESPONSE_BYTES", 100_000)
    cut = gzip.compress(b"content")[:-9]
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
    for data in (head % len(cut) + cut, compress_response(bytes(200_000))):
        wire = Wire()
        wire.send_request(reader=reader)
        wire.receive(data)
        assert [exchange.error for exchange in wire.done] == ["bad-payload"]


def test_gzip_members_and_empty_body_are_complete_responses() -> None:
    body = gzip.compress(b"first ") + gzip.compress(b"second")
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
    wire = Wire()
    for data in (head % len(body) + body, head % 0):
        wire.send_request()
        wire.receive(data)
    assert [(exchange.error, exchange.body) for exchange in wire.done] == [(None, b"first second"), (None, b"")]
