"""Connections on a wire of the test's own: what arrives, and in which pieces, is exact."""

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
from tests.fakes.asker import KeptPieces

OK = b"HTTP/1.1 200 OK\r\n"
EVENTS = OK + b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(autouse=True)
def never_long_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wire has no socket that could be looked at, and a test may be slow."""
    monkeypatch.setattr(connection, "_LONG_IDLE_NS", 2**62)


class Wire(asyncio.Transport):
    """Stands in for the event loop's transport, and for the pool."""

    def __init__(self, heads: HeadCache | None = None, received: responses.ReceivedBytes | None = None) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.done: list[Exchange] = []
        self.is_closed = False
        self.times_free = 0
        self.connection = Connection(self._free, lambda _: None, heads or HeadCache(), received_bytes=received)
        self.connection.connection_made(self)

    def ask(self, *, is_head: bool = False, reader: StreamReader | None = None) -> None:
        assert self.connection.send(Exchange(len(self.done), 0, 0, b"ask", self.done.append, is_head, reader))

    def bring(self, *pieces: bytes) -> None:
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


def outcome(wire: Wire) -> list[object]:
    return [
        wire.is_closed,
        wire.times_free,
        *((x.status, x.error, x.headers, x.body, x.bytes_received) for x in wire.done),
    ]


def split(data: bytes, draw: random.Random) -> list[bytes]:
    if draw.random() < 0.6:
        return [data]
    cuts = sorted({draw.randrange(1, len(data)) for _ in range(draw.randint(1, 6))}) if len(data) > 1 else []
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


ANSWERS = [
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
def test_known_heads_change_nothing_of_what_comes_of_an_answer(seed: int) -> None:
    draw = random.Random(seed)
    heads = HeadCache()
    for _ in range(300):  # connections that share what is known
        plain, quick = Wire(NoHeads()), Wire(heads)
        for _ in range(12):
            answer, is_head = draw.choice(ANSWERS), draw.random() < 0.1
            pieces, ends = split(answer, draw), draw.random() < 0.3
            for wire in (plain, quick):
                if not wire.is_closed:
                    wire.ask(is_head=is_head)
                    wire.bring(*pieces)
                    if wire.connection._exchange is not None and ends:
                        wire.end()
            assert outcome(quick) == outcome(plain)
            if plain.connection._exchange is not None:
                break


def test_an_answer_seen_before_is_not_parsed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire()
    for _ in range(2):
        wire.ask()
        wire.bring(ANSWERS[0])
    monkeypatch.setattr(wire.connection._response_parser, "feed", None)  # would be called
    wire.ask()
    wire.bring(ANSWERS[1])
    assert [done.body for done in wire.done] == [b"{}", b"{}", b"[]"]
    assert wire.done[0].headers == wire.done[2].headers == [(b"Content-Length", b"2")]


def test_a_request_reaches_the_wire_before_send_returns_and_times_are_in_order() -> None:
    wire = Wire()
    wire.ask()
    assert wire.written == [b"ask"]
    wire.bring(OK, b"Content-Length: 1\r\n\r\n", b"x")
    (done,) = wire.done
    assert done.sent_ns is not None
    assert done.first_byte_ns is not None
    assert done.end_ns is not None
    assert done.sent_ns < done.first_byte_ns < done.end_ns


def test_what_follows_an_answer_unasked_closes_the_connection_and_not_the_next_request() -> None:
    wire = Wire()
    wire.ask()
    wire.bring(ANSWERS[0] + b"HTTP/1.1 500")
    assert (wire.done[0].error, wire.done[0].body, wire.is_closed, wire.times_free) == (None, b"{}", True, 0)


def test_a_tls_server_that_refuses_its_client_after_the_handshake_is_a_tls_error() -> None:
    refusal = ssl.SSLError(1, "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert certificate required")
    refusal.reason = "TLSV13_ALERT_CERTIFICATE_REQUIRED"
    wire = Wire()
    wire.ask()
    wire.connection.connection_lost(refusal)
    assert [(done.error, done.detail) for done in wire.done] == [("tls", "the server requires a client certificate")]


def test_bytes_that_nobody_asked_for_close_the_connection() -> None:
    wire = Wire()
    wire.bring(ANSWERS[0])
    assert wire.is_closed
    assert not wire.connection.send(Exchange(0, 0, 0, b"ask", wire.done.append))
    assert wire.done == []


def test_a_stream_is_fed_read_by_read_with_the_time_of_its_read() -> None:
    wire, reader = Wire(), KeptPieces()
    wire.ask(reader=reader)
    wire.bring(EVENTS + b"3\r\nabc\r\n2\r\nde\r\n", b"1\r", b"\n", b"f\r\n0\r\n", b"\r\n")
    (done,) = wire.done
    assert (reader.pieces, done.body, done.error, done.status) == ([b"abcde", b"f"], b"", None, 200)
    assert done.end_ns is not None
    assert done.first_byte_ns == reader.at_ns[0] < reader.at_ns[1] < done.end_ns
    assert wire.times_free == 1


@pytest.mark.parametrize("size", range(1, 9))
def test_chunks_split_anywhere_say_the_same(size: int) -> None:
    whole = EVENTS + b"4\r\nab\r\n\r\n5;x=y\r\n\r\ncd\r\r\n0\r\n\r\n"
    wire, reader = Wire(), KeptPieces()
    wire.ask(reader=reader)
    wire.bring(*(whole[at : at + size] for at in range(0, len(whole), size)))
    assert b"".join(reader.pieces) == b"ab\r\n\r\ncd\r"
    assert (wire.done[0].error, wire.done[0].bytes_received) == (None, len(whole))


def test_a_kept_connection_lets_go_of_its_last_reader() -> None:
    wire, reader = Wire(), KeptPieces()
    wire.ask(reader=reader)
    wire.bring(EVENTS + b"0\r\n\r\n")
    wire.done.clear()
    held = weakref.ref(reader)
    del reader
    assert held() is None


def test_an_answer_without_success_goes_to_the_body_though_a_reader_waits() -> None:
    wire, reader = Wire(), KeptPieces()
    wire.ask(reader=reader)
    wire.bring(b"HTTP/1.1 429 Slow Down\r\nContent-Length: 4\r\n\r\nwait")
    assert (reader.pieces, wire.done[0].status, wire.done[0].body) == ([], 429, b"wait")


@pytest.mark.parametrize("last", [b"", b"0\r\n\r\n", b"nonsense"])
def test_a_reader_can_refuse_in_the_middle_of_a_read(last: bytes) -> None:
    wire, reader = Wire(), KeptPieces(refused=b"bad", error="bad-output")
    wire.ask(reader=reader)
    wire.bring(EVENTS + b"2\r\nok\r\n3\r\nbad\r\n4\r\nmore\r\n" + last, b"1\r\nx\r\n0\r\n\r\n")
    assert [(done.error, done.detail, done.status) for done in wire.done] == [("bad-output", "as refused", 200)]
    assert reader.pieces == [b"okbadmore"]
    assert wire.is_closed
    assert wire.times_free == 0
    wire.end()
    assert len(wire.done) == 1


def test_a_reader_that_breaks_costs_its_own_request_only() -> None:
    class Broken(KeptPieces):
        def feed(self, piece: bytes, at_ns: int) -> str | None:
            raise RuntimeError("secret")

    wire = Wire()
    wire.ask(reader=Broken())
    wire.bring(EVENTS + b"2\r\nok\r\n")
    assert [done.error for done in wire.done] == ["bad-payload"]
    assert wire.done[0].detail is not None
    assert "secret" not in wire.done[0].detail


def test_a_stream_that_is_cut_off_is_truncated() -> None:
    wire, reader = Wire(), KeptPieces()
    wire.ask(reader=reader)
    wire.bring(EVENTS + b"2\r\nok\r\n5\r\nhal")
    wire.end()
    assert (wire.done[0].error, wire.done[0].status, reader.pieces) == ("truncated", 200, [b"okhal"])


def test_a_stream_is_not_kept_and_not_counted_beyond_what_a_row_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responses, "_MAX_BYTES_RECEIVED", 80 * 2**20)
    wire, reader = Wire(), CountedBytes()
    wire.ask(reader=reader)
    wire.bring(OK + b"Content-Length: 99999999999\r\n\r\n")
    piece = bytes(2**20)
    wire.bring(*([piece] * 79))
    assert (wire.done, reader.count) == ([], 79 * 2**20)  # an answer that is kept would have ended at 64 MiB
    wire.bring(piece)
    (done,) = wire.done
    assert (done.error, done.detail) == ("bad-payload", "the response exceeds 80 MiB")
    assert done.bytes_received < 80 * 2**20


class CountedBytes(KeptPieces):
    count = 0

    def feed(self, piece: bytes, at_ns: int) -> str | None:
        self.count += len(piece)
        return None


@pytest.mark.parametrize(
    ("begun", "more"),
    [
        (OK + b"X-Long: ", b"x"),
        (OK, b"X-Many: x\r\n"),
        (EVENTS + b"1\r\na\r\n0\r\nX-Trailer: ", b"t"),
        (EVENTS + b"1;", b"extension"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
)
def test_what_is_not_body_is_bounded(begun: bytes, more: bytes) -> None:
    wire = Wire()
    wire.ask(reader=KeptPieces())
    wire.bring(begun, *[more * (65_536 // len(more))] * 20)
    (done,) = wire.done
    assert done.error == "bad-payload"
    assert done.bytes_received < 1.2 * 2**20


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (b"\0\0\x12\x04\0\0\0\0\0", "the server uses HTTP/2, but only HTTP/1.1 is supported"),
        (b"\x15\x03\x01\0\x02\x02\x46", "the server uses TLS; use an https:// URL"),
        (b"SSH-2.0-secret\r\n", "the response is not HTTP/1.1: Expected HTTP/, RTSP/ or ICE/"),
        (ANSWERS[9], "the compressed response cannot be decompressed"),
        (
            ANSWERS[9].replace(b"gzip", b"br"),
            "the response is compressed, and neither with gzip nor with deflate",
        ),
    ],
)
def test_what_cannot_be_read_is_named_and_not_repeated(data: bytes, detail: str) -> None:
    wire = Wire()
    wire.ask()
    wire.bring(data)
    assert [(done.error, done.detail) for done in wire.done] == [("bad-payload", detail)]


@pytest.mark.parametrize("when", ["free", "done"])
def test_the_next_request_may_be_sent_while_the_last_is_being_ended(when: str) -> None:
    wire = Wire()
    sent: list[Callable[[], None]] = [lambda: wire.ask()]

    def once() -> None:
        if sent:
            sent.pop()()

    if when == "free":
        wire.connection._on_free = lambda _: once()

    def on_done(exchange: Exchange) -> None:
        wire.done.append(exchange)
        if when == "done":
            once()

    wire.connection.send(Exchange(0, 0, 0, b"first", on_done))
    wire.bring(ANSWERS[0], ANSWERS[1])
    assert [each.body for each in wire.done] == [b"{}", b"[]"]


def test_a_head_that_only_looks_whole_is_not_learned() -> None:
    heads = HeadCache()
    nothing: CachedHead = heads.latest_head
    for number in (4, 11, 12, 15, 16, 24, 26, 27):
        wire = Wire(heads)
        wire.ask()
        wire.bring(ANSWERS[number])
    assert heads.latest_head is nothing


def test_responses_in_flight_together_are_bounded_and_what_is_over_is_a_local_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(responses, "MAX_RECEIVING_BYTES", 3 * 2**20)
    received = responses.ReceivedBytes()
    first, second = Wire(received=received), Wire(received=received)
    head, piece = OK + b"Content-Length: 2097152\r\n\r\n", b"x" * 2**20
    for wire in (first, second):
        wire.ask()
        wire.bring(head + piece)
    first.bring(piece)
    assert (first.done[0].error, len(first.done[0].body)) == (None, 2**21)
    assert received.total == len(head) + 2**20, "what came whole counts no more"
    first.ask()
    first.bring(head + piece, b"x" * (2**20 - 1))
    assert (first.done[1].error, first.done[1].first_byte_ns is None) == ("local-limit", False)
    assert first.done[1].detail == "the responses being received exceed 3 MiB in total"
    second.end()
    assert received.total == 0


def test_streamed_pieces_are_not_counted_as_kept() -> None:
    received = responses.ReceivedBytes()
    wire = Wire(received=received)
    wire.ask(reader=KeptPieces())
    wire.bring(EVENTS, b"4\r\n", b"data\r\n")
    kept = received.total
    wire.bring(*[b"4\r\n", b"data\r\n"] * 100)
    assert received.total == kept <= len(EVENTS)


def test_chunks_of_a_few_bytes_take_no_more_memory_than_their_size() -> None:
    wire = Wire()
    wire.ask()
    wire.bring(EVENTS)
    read = b"2\r\nab\r\n" * 8_000
    tracemalloc.start()
    wire.bring(*[read] * 20)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 20 * len(read)


def compressed(content: bytes, coding: str = "gzip", status: bytes = b"200 OK") -> bytes:
    body = zlib.compress(content) if coding == "deflate" else gzip.compress(content)
    head = b"HTTP/1.1 %b\r\nContent-Encoding: %b\r\nContent-Length: %d\r\n\r\n" % (status, coding.encode(), len(body))
    return head + body


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "deflate"])
def test_a_compressed_response_is_decompressed_each_time(coding: str) -> None:
    wire, data = Wire(), compressed(b'{"ok": true}', coding)
    for _ in range(3):  # the head of a response is cached, its content is not
        wire.ask()
        wire.bring(data)
    assert [(done.error, done.body, done.bytes_received) for done in wire.done] == [
        (None, b'{"ok": true}', len(data))
    ] * 3
    assert not wire.is_closed


def test_a_compressed_body_of_the_length_of_its_content_is_decompressed_each_time() -> None:
    contents = (bytes(range(64)) + b"a" * count for count in range(1, 99))
    content = next(content for content in contents if len(gzip.compress(content)) == len(content))
    wire, data = Wire(), compressed(content)
    for _ in range(2):
        wire.ask()
        wire.bring(data)
    assert [done.body for done in wire.done] == [content] * 2


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_compressed_stream_is_decompressed_as_it_arrives(size: int) -> None:
    stream = zlib.compressobj(wbits=31)
    pieces = [stream.compress(b"abc") + stream.flush(zlib.Z_SYNC_FLUSH), stream.compress(b"def") + stream.flush()]
    whole = EVENTS.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n")
    whole += b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    wire, reader = Wire(), KeptPieces()
    wire.ask(reader=reader)
    wire.bring(*(whole[at : at + size] for at in range(0, len(whole), size)))
    assert b"".join(reader.pieces) == b"abcdef"
    assert (wire.done[0].error, wire.done[0].body) == (None, b"")


@pytest.mark.parametrize("reader", [None, KeptPieces()])
def test_a_compressed_response_that_is_cut_off_or_too_large_is_an_error(
    reader: KeptPieces | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(responses, "MAX_RESPONSE_BYTES", 100_000)
    cut = gzip.compress(b"content")[:-9]
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
    for data in (head % len(cut) + cut, compressed(bytes(200_000))):
        wire = Wire()
        wire.ask(reader=reader)
        wire.bring(data)
        assert [done.error for done in wire.done] == ["bad-payload"]


def test_members_of_gzip_and_an_empty_body_are_whole_responses() -> None:
    body = gzip.compress(b"first ") + gzip.compress(b"second")
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
    wire = Wire()
    for data in (head % len(body) + body, head % 0):
        wire.ask()
        wire.bring(data)
    assert [(done.error, done.body) for done in wire.done] == [(None, b"first second"), (None, b"")]
