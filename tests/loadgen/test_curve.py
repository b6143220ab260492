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
from tests.fakes.recording_proxy import RecordingProxy

TOKEN = "a token for the tests"
TIMEOUT_MS = 5_000
FAILED = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_AUTH


def get_port(socket: zmq.Socket[bytes]) -> int:
    return int(socket.getsockopt_string(zmq.LAST_ENDPOINT).rpartition(":")[2])


class Net:
    """Sockets that are closed together."""

    def __init__(self) -> None:
        self._context = zmq.Context()
        self._sockets: list[zmq.Socket[bytes]] = []

    def socket(self, kind: int) -> zmq.Socket[bytes]:
        self._sockets.append(self._context.socket(kind))
        return self._sockets[-1]

    def listen(self, token: str | None) -> zmq.Socket[bytes]:
        socket = self.socket(zmq.ROUTER)
        if token is not None:
            secure_master_socket(socket, token)
        socket.bind_to_random_port("tcp://127.0.0.1")
        return socket

    def connect_worker(self, master: zmq.Socket[bytes], token: str | None) -> zmq.Socket[bytes]:
        socket = self.socket(zmq.DEALER)
        if token is not None:
            secure_worker_socket(socket, token)
        socket.connect(f"tcp://127.0.0.1:{get_port(master)}")
        socket.send(b"let me in")
        return socket

    def close(self) -> None:
        self._context.destroy(linger=0)


@pytest.fixture
def net() -> Iterator[Net]:
    net = Net()
    yield net
    net.close()


def wait_for_failed_handshake(socket: zmq.Socket[bytes], call: Callable[[], object]) -> None:
    with socket.get_monitor_socket(FAILED) as events:
        call()
        assert events.poll(TIMEOUT_MS)
        assert recv_monitor_message(events)["event"] & FAILED
        socket.disable_monitor()


def test_worker_with_token_exchanges_messages_with_master(net: Net) -> None:
    master = net.listen(TOKEN)
    worker = net.connect_worker(master, TOKEN)
    assert master.poll(TIMEOUT_MS)
    sender, text = master.recv_multipart()
    assert text == b"let me in"
    master.send_multipart([sender, b"welcome"])
    assert worker.poll(TIMEOUT_MS)
    assert worker.recv() == b"welcome"


@pytest.mark.parametrize("token", [None, "another token for the tests", TOKEN[:-1], ""])
def test_worker_without_token_is_rejected_before_its_data_is_read(net: Net, token: str | None) -> None:
    master = net.listen(TOKEN)
    wait_for_failed_handshake(master, lambda: net.connect_worker(master, token))
    assert not master.poll(0)
    net.connect_worker(master, TOKEN)  # the master still accepts workers
    assert master.poll(TIMEOUT_MS)
    master.recv_multipart()
    assert not master.poll(0)


@pytest.mark.parametrize("token", [None, "another token for the tests"])
def test_worker_sends_no_data_to_master_without_token(net: Net, token: str | None) -> None:
    imposter = net.listen(token)
    wait_for_failed_handshake(imposter, lambda: net.connect_worker(imposter, TOKEN))
    assert not imposter.poll(0)


def test_recorded_connection_contains_no_keys_and_no_messages(net: Net) -> None:
    """A recorded connection does not reveal the token."""
    master = net.listen(TOKEN)
    with RecordingProxy(get_port(master)) as proxy:
        worker = net.socket(zmq.DEALER)
        secure_worker_socket(worker, TOKEN)
        worker.connect(f"tcp://127.0.0.1:{proxy.port}")
        worker.send(b"let me in")
        assert master.poll(TIMEOUT_MS)
        master.send_multipart([*master.recv_multipart()[:1], b"welcome"])
        assert worker.poll(TIMEOUT_MS)
        recorded = bytes(proxy.recorded)
    assert b"CURVE" in recorded
    master_options, worker_options = SimpleNamespace(), SimpleNamespace()  # the keys of a socket cannot be read
    secure_master_socket(master_options, TOKEN)  # type: ignore[arg-type]
    secure_worker_socket(worker_options, TOKEN)  # type: ignore[arg-type]
    keys = [
        key
        for options in (master_options, worker_options)
        for key in (options.curve_publickey, options.curve_secretkey)
    ]
    assert len(set(keys)) == 4
    for secret in (b"let me in", b"welcome", TOKEN.encode(), *keys, *map(z85.decode, keys)):
        assert secret not in recorded


def test_unauthenticated_client_with_large_message_is_disconnected(net: Net) -> None:
    """ZeroMQ reads a whole message before it authenticates the sender."""
    master = net.listen(TOKEN)
    with socket.create_connection(("127.0.0.1", get_port(master))) as client:
        client.settimeout(3)  # less than the timeout of a handshake
        greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"CURVE".ljust(20, b"\0") + bytes(32)
        client.sendall(greeting + b"\x06" + (2 * MAX_FRAME_BYTES).to_bytes(8, "big"))
        while client.recv(4_096):
            """Read the greeting until the master closes the connection."""


def test_long_message_is_received_in_frames(net: Net) -> None:
    master = net.listen(TOKEN)
    worker, body = net.connect_worker(master, TOKEN), bytes(range(256)) * 5_000
    worker.send_multipart(split_into_frames(body))
    master.recv_multipart()
    assert master.poll(TIMEOUT_MS)
    _, *frames = master.recv_multipart()
    assert b"".join(frames) == body
    assert list(split_into_frames(b"short")) == [b"short"]


def test_generated_tokens_are_long_and_unique() -> None:
    tokens = {generate_token() for _ in range(100)}
    assert len(tokens) == 100
    assert min(map(len, tokens)) >= 2 * MIN_TOKEN_CHARS
