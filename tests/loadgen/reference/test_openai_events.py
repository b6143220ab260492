"""Composed streams as a client reads them, byte by byte."""

import contextlib
import socket
from collections.abc import Iterator
from statistics import median
from time import perf_counter_ns

import pytest

from loadgen.reference.openai_events import (
    Generation,
    add_connection_close,
    build_chunked_stream,
    build_endless_stream,
    build_openai_stream,
    build_single_line_event,
    build_stream_until_close,
    slice_stream,
    truncate,
)
from loadgen.reference.playback import build_reply_script
from loadgen.reference.script import Reply, ReplyMode, Script, Stream
from loadgen.reference.scripted import ScriptedServer

GET = b"GET /s HTTP/1.1\r\nHost: h\r\n\r\n"
BODY = [(0.01, b"data: a\n\n"), (0.02, b"data: b\n\n")]


@contextlib.contextmanager
def open_response(reply: Reply | Stream) -> Iterator[socket.socket]:
    with (
        ScriptedServer(Script(paths={"/s": reply})) as server,
        socket.create_connection(("127.0.0.1", server.port), 5) as client,
    ):
        client.sendall(GET)
        yield client


def read_all(client: socket.socket) -> bytes:
    return b"".join(iter(lambda: client.recv(65_536), b""))


def join_pieces(stream: Stream) -> bytes:
    return b"".join(data for _, data in stream.pieces)


@pytest.mark.timing
def test_stream_pieces_are_sent_when_due() -> None:
    times = [0.05 + 0.01 * number for number in range(30)]
    with open_response(Stream(tuple((at_s, b"x") for at_s in times), end="close")) as client:
        start_ns = perf_counter_ns()
        received_s = []
        while client.recv(1):
            received_s.append((perf_counter_ns() - start_ns) / 1e9)
    late_ms = [1e3 * (read_s - due) for read_s, due in zip(received_s, times, strict=True)]
    assert min(late_ms) > -1  # the request was sent before the clock was started
    assert min(late_ms) < 20  # the server counts from when it has read the request, which takes a moment
    assert median(late_ms) - min(late_ms) < 2


def test_chunked_stream_leaves_connection_open() -> None:
    stream = build_chunked_stream(BODY)
    with open_response(stream) as client:
        expected = join_pieces(stream)
        received = b""
        while len(received) < len(expected):
            received += client.recv(65_536)
        assert received == expected
        assert received.endswith(b"\r\n\r\n9\r\ndata: a\n\n\r\n9\r\ndata: b\n\n\r\n0\r\n\r\n")
        client.sendall(GET)
        assert client.recv(15) == b"HTTP/1.1 200 Sc"


@pytest.mark.parametrize(
    "stream",
    [
        build_stream_until_close(BODY),
        add_connection_close(build_chunked_stream(BODY)),
        truncate(build_chunked_stream(BODY), 2, "close"),
    ],
)
def test_reference_server_can_close_connection_after_stream(stream: Stream) -> None:
    with open_response(stream) as client:
        assert read_all(client) == join_pieces(stream)


def test_http_1_0_and_connection_close_are_declared_in_header() -> None:
    assert join_pieces(build_stream_until_close(BODY)).startswith(b"HTTP/1.0 200 ")
    assert b"\r\nConnection: close\r\n\r\n" in join_pieces(add_connection_close(build_chunked_stream(BODY)))


def test_reference_server_can_reset_stream() -> None:
    with open_response(truncate(build_chunked_stream(BODY), 2, "reset")) as client, pytest.raises(ConnectionResetError):
        read_all(client)


@pytest.mark.parametrize("mode", ["reset", "drop"])
def test_reference_server_can_end_connection_before_response(mode: ReplyMode) -> None:
    with open_response(Reply(mode=mode)) as client:
        if mode == "reset":
            with pytest.raises(ConnectionResetError):
                read_all(client)
        else:
            assert read_all(client) == b""


def test_slow_body_is_sent_byte_by_byte() -> None:
    reply = Reply(body=b"0123456789", mode="slow-body")
    script = build_reply_script(reply, 5_000_000, is_head=False)
    assert script.pieces[0].startswith(b"HTTP/1.1 200")
    assert script.pieces[1:] == [b"%d" % digit for digit in range(10)]
    assert list(script.offsets_ns) == [1_000_000 * (5 + at) for at in range(11)]
    content = b"".join(script.pieces)
    with open_response(reply) as client:
        assert b"".join(iter(lambda: client.recv(1), content[-1:])) == content[:-1]


def test_stream_slices_are_sent_separately() -> None:
    full_stream = add_connection_close(build_chunked_stream([(0.0, "data: é\n\n".encode())]))
    stream = slice_stream(full_stream, 1, interval_s=0.002)
    assert {len(data) for _, data in stream.pieces} == {1}
    times_s = [at_s for at_s, _ in stream.pieces]
    assert times_s == pytest.approx([0.002 * at for at in range(len(join_pieces(full_stream)))])
    with open_response(stream) as client:
        assert read_all(client) == join_pieces(full_stream)


def test_endless_stream_repeats_its_last_pieces() -> None:
    with open_response(build_endless_stream(BODY, repeat_count=1, period_s=0.002)) as client:
        received = b""
        while received.count(b"data: b") < 20:
            received += client.recv(65_536)
    assert received.count(b"data: a") == 1


def test_large_event_is_received_completely() -> None:
    stream = add_connection_close(build_single_line_event(32 * 2**20))
    with open_response(stream) as client:
        assert read_all(client) == join_pieces(stream)


def test_tokens_are_scheduled_at_fixed_gaps_and_end_follows_last_token() -> None:
    pieces = build_openai_stream(Generation(tokens=3), 0.1, 0.02)
    assert [at_s for at_s, _ in pieces] == pytest.approx([0, 0.1, 0.12, 0.14, 0.14, 0.14, 0.14])
    assert [b'"content":"tok "' in event for _, event in pieces] == [False, True, True, True, False, False, False]
    paced = build_openai_stream(Generation(tokens=5, tokens_per_chunk=2, has_role_chunk=False), 1, 0.5)
    assert [at_s for at_s, _ in paced][:3] == [1, 2, 2.5]
