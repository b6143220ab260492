"""What a client sees of composed streams, down to the bytes of each read."""

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
def asked(reply: Reply | Stream) -> Iterator[socket.socket]:
    with (
        ScriptedServer(Script(paths={"/s": reply})) as server,
        socket.create_connection(("127.0.0.1", server.port), 5) as client,
    ):
        client.sendall(GET)
        yield client


def read_all(client: socket.socket) -> bytes:
    return b"".join(iter(lambda: client.recv(65_536), b""))


def bytes_of(stream: Stream) -> bytes:
    return b"".join(data for _, data in stream.pieces)


@pytest.mark.timing
def test_pieces_come_when_they_are_due() -> None:
    times = [0.05 + 0.01 * at for at in range(30)]
    with asked(Stream(tuple((at_s, b"x") for at_s in times), end="close")) as client:
        start_ns = perf_counter_ns()
        seen_s = []
        while client.recv(1):
            seen_s.append((perf_counter_ns() - start_ns) / 1e9)
    late_ms = [1e3 * (seen - due) for seen, due in zip(seen_s, times, strict=True)]
    assert min(late_ms) > -1  # the request was under way when the clock was started
    assert median(late_ms) < 2


def test_a_chunked_stream_leaves_its_connection_open() -> None:
    stream = build_chunked_stream(BODY)
    with asked(stream) as client:
        wanted = bytes_of(stream)
        got = b""
        while len(got) < len(wanted):
            got += client.recv(65_536)
        assert got == wanted
        assert got.endswith(b"\r\n\r\n9\r\ndata: a\n\n\r\n9\r\ndata: b\n\n\r\n0\r\n\r\n")
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
def test_a_stream_may_close_its_connection(stream: Stream) -> None:
    with asked(stream) as client:
        assert read_all(client) == bytes_of(stream)


def test_old_http_and_closing_say_so() -> None:
    assert bytes_of(build_stream_until_close(BODY)).startswith(b"HTTP/1.0 200 ")
    assert b"\r\nConnection: close\r\n\r\n" in bytes_of(add_connection_close(build_chunked_stream(BODY)))


def test_a_stream_may_be_reset() -> None:
    with asked(truncate(build_chunked_stream(BODY), 2, "reset")) as client, pytest.raises(ConnectionResetError):
        read_all(client)


@pytest.mark.parametrize("manner", ["reset", "drop"])
def test_a_connection_may_end_before_any_answer(manner: ReplyMode) -> None:
    with asked(Reply(mode=manner)) as client:
        if manner == "reset":
            with pytest.raises(ConnectionResetError):
                read_all(client)
        else:
            assert read_all(client) == b""


def test_a_slow_body_comes_byte_by_byte() -> None:
    reply = Reply(body=b"0123456789", mode="slow-body")
    script = build_reply_script(reply, 5_000_000, is_head=False)
    assert script.pieces[0].startswith(b"HTTP/1.1 200")
    assert script.pieces[1:] == [b"%d" % digit for digit in range(10)]
    assert list(script.offsets_ns) == [1_000_000 * (5 + at) for at in range(11)]
    whole = b"".join(script.pieces)
    with asked(reply) as client:
        assert b"".join(iter(lambda: client.recv(1), whole[-1:])) == whole[:-1]


def test_slices_are_sent_one_by_one() -> None:
    whole = add_connection_close(build_chunked_stream([(0.0, "data: é\n\n".encode())]))
    stream = slice_stream(whole, 1, interval_s=0.002)
    assert {len(data) for _, data in stream.pieces} == {1}
    times_s = [at_s for at_s, _ in stream.pieces]
    assert times_s == pytest.approx([0.002 * at for at in range(len(bytes_of(whole)))])
    with asked(stream) as client:
        assert read_all(client) == bytes_of(whole)


def test_an_endless_stream_repeats_its_end() -> None:
    with asked(build_endless_stream(BODY, repeat_count=1, period_s=0.002)) as client:
        got = b""
        while got.count(b"data: b") < 20:
            got += client.recv(65_536)
    assert got.count(b"data: a") == 1


def test_a_reader_that_does_not_read_is_waited_for() -> None:
    stream = add_connection_close(build_single_line_event(32 * 2**20))
    with asked(stream) as client:
        assert read_all(client) == bytes_of(stream)


def test_tokens_come_at_their_times_and_the_rest_with_the_last() -> None:
    pieces = build_openai_stream(Generation(tokens=3), 0.1, 0.02)
    assert [at_s for at_s, _ in pieces] == pytest.approx([0, 0.1, 0.12, 0.14, 0.14, 0.14, 0.14])
    assert [b'"content":"tok "' in event for _, event in pieces] == [False, True, True, True, False, False, False]
    paced = build_openai_stream(Generation(tokens=5, tokens_per_chunk=2, has_role_chunk=False), 1, 0.5)
    assert [at_s for at_s, _ in paced][:3] == [1, 2, 2.5]
