import socket
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
import zmq
from zmq.utils import z85
from zmq.utils.monitor import recv_monitor_message

from loadgen.curve import (
    MAX_FRAME_BYTES,
    MIN_TOKEN_CHARS,
    generate_token,
    secure_master_socket,
    secure_worker_socket,
    split_into_frames,
)
from tests.fakes.tap import Tap

TOKEN = "a token for the tests"
PATIENCE_MS = 5_000
FAILED = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_AUTH


def port_of(socket: zmq.Socket[bytes]) -> int:
    return int(socket.getsockopt_string(zmq.LAST_ENDPOINT).rpartition(":")[2])


class Net:
    """Sockets that are closed together."""

    def __init__(self) -> None:
        self._context = zmq.Context()
        self._sockets: list[zmq.Socket[bytes]] = []

    def socket(self, kind: int) -> zmq.Socket[bytes]:
        self._sockets.append(self._context.socket(kind))
        return self._sockets[-1]

    def listening(self, token: str | None) -> zmq.Socket[bytes]:
        socket = self.socket(zmq.ROUTER)
        if token is not None:
            secure_master_socket(socket, token)
        socket.bind_to_random_port("tcp://127.0.0.1")
        return socket

    def calling(self, master: zmq.Socket[bytes], token: str | None) -> zmq.Socket[bytes]:
        socket = self.socket(zmq.DEALER)
        if token is not None:
            secure_worker_socket(socket, token)
        socket.connect(f"tcp://127.0.0.1:{port_of(master)}")
        socket.send(b"let me in")
        return socket

    def close(self) -> None:
        self._context.destroy(linger=0)


@pytest.fixture
def net() -> Iterator[Net]:
    net = Net()
    yield net
    net.close()


def until_a_handshake_fails(socket: zmq.Socket[bytes], call: Callable[[], object]) -> None:
    with socket.get_monitor_socket(FAILED) as events:
        call()
        assert events.poll(PATIENCE_MS)
        assert recv_monitor_message(events)["event"] & FAILED
        socket.disable_monitor()


def test_who_has_the_token_is_received_and_answered(net: Net) -> None:
    master = net.listening(TOKEN)
    worker = net.calling(master, TOKEN)
    assert master.poll(PATIENCE_MS)
    sender, text = master.recv_multipart()
    assert text == b"let me in"
    master.send_multipart([sender, b"welcome"])
    assert worker.poll(PATIENCE_MS)
    assert worker.recv() == b"welcome"


@pytest.mark.parametrize("token", [None, "another token for the tests", TOKEN[:-1], ""])
def test_who_has_not_is_dropped_before_a_byte_of_it_is_received(net: Net, token: str | None) -> None:
    master = net.listening(TOKEN)
    until_a_handshake_fails(master, lambda: net.calling(master, token))
    assert not master.poll(0)
    net.calling(master, TOKEN)  # which still works
    assert master.poll(PATIENCE_MS)
    master.recv_multipart()
    assert not master.poll(0)


@pytest.mark.parametrize("token", [None, "another token for the tests"])
def test_a_worker_gives_nothing_to_a_master_that_has_not_the_token(net: Net, token: str | None) -> None:
    imposter = net.listening(token)
    until_a_handshake_fails(imposter, lambda: net.calling(imposter, TOKEN))
    assert not imposter.poll(0)


def test_no_key_and_no_word_is_seen_on_the_way(net: Net) -> None:
    """Nobody who records a handshake learns what lets a client in."""
    master = net.listening(TOKEN)
    with Tap(port_of(master)) as tap:
        worker = net.socket(zmq.DEALER)
        secure_worker_socket(worker, TOKEN)
        worker.connect(f"tcp://127.0.0.1:{tap.port}")
        worker.send(b"let me in")
        assert master.poll(PATIENCE_MS)
        master.send_multipart([*master.recv_multipart()[:1], b"welcome"])
        assert worker.poll(PATIENCE_MS)
        seen = bytes(tap.seen)
    assert b"CURVE" in seen
    ours, theirs = SimpleNamespace(), SimpleNamespace()  # a socket tells nobody its keys
    secure_master_socket(ours, TOKEN)  # type: ignore[arg-type]
    secure_worker_socket(theirs, TOKEN)  # type: ignore[arg-type]
    keys = [key for one in (ours, theirs) for key in (one.curve_publickey, one.curve_secretkey)]
    assert len(set(keys)) == 4
    for word in (b"let me in", b"welcome", TOKEN.encode(), *keys, *map(z85.decode, keys)):
        assert word not in seen


def test_a_stranger_cannot_have_much_kept_for_it(net: Net) -> None:
    """Before ZeroMQ looks at who it is, a message has been taken whole."""
    master = net.listening(TOKEN)
    with socket.create_connection(("127.0.0.1", port_of(master))) as stranger:
        stranger.settimeout(3)  # before its time to say who it is were over
        greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"CURVE".ljust(20, b"\0") + bytes(32)
        stranger.sendall(greeting + b"\x06" + (2 * MAX_FRAME_BYTES).to_bytes(8, "big"))
        while stranger.recv(4_096):
            """The greeting, and then the end."""


def test_a_long_message_comes_whole(net: Net) -> None:
    master = net.listening(TOKEN)
    worker, body = net.calling(master, TOKEN), bytes(range(256)) * 5_000
    worker.send_multipart(split_into_frames(body))
    master.recv_multipart()
    assert master.poll(PATIENCE_MS)
    _, *frames = master.recv_multipart()
    assert b"".join(frames) == body
    assert list(split_into_frames(b"short")) == [b"short"]


def test_a_token_made_up_is_long_and_never_the_same() -> None:
    tokens = {generate_token() for _ in range(100)}
    assert len(tokens) == 100
    assert min(map(len, tokens)) >= 2 * MIN_TOKEN_CHARS
