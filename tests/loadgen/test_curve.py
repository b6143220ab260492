from collections.abc import Callable, Iterator

import pytest
import zmq
from zmq.utils.monitor import recv_monitor_message

from loadgen.curve import FEWEST_CHARACTERS, guard_master, guard_worker, new_token

TOKEN = "a token for the tests"
PATIENCE_MS = 5_000
FAILED = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_AUTH


class Net:
    """Sockets that are closed together."""

    def __init__(self) -> None:
        self._context = zmq.Context()
        self._sockets: list[zmq.Socket] = []

    def socket(self, kind: int) -> zmq.Socket:
        self._sockets.append(self._context.socket(kind))
        return self._sockets[-1]

    def listening(self, token: str | None) -> zmq.Socket:
        socket = self.socket(zmq.ROUTER)
        if token is not None:
            guard_master(socket, token)
        socket.bind_to_random_port("tcp://127.0.0.1")
        return socket

    def calling(self, master: zmq.Socket, token: str | None) -> zmq.Socket:
        socket = self.socket(zmq.DEALER)
        if token is not None:
            guard_worker(socket, token)
        socket.connect(master.last_endpoint.decode())
        socket.send(b"let me in")
        return socket

    def close(self) -> None:
        self._context.destroy(linger=0)


@pytest.fixture
def net() -> Iterator[Net]:
    net = Net()
    yield net
    net.close()


def until_a_handshake_fails(socket: zmq.Socket, call: Callable[[], object]) -> None:
    with socket.get_monitor_socket(FAILED) as events:
        call()
        assert events.poll(PATIENCE_MS)
        assert recv_monitor_message(events)["event"] & FAILED
        socket.disable_monitor()


def test_who_has_the_token_is_heard_and_answered(net: Net) -> None:
    master = net.listening(TOKEN)
    worker = net.calling(master, TOKEN)
    assert master.poll(PATIENCE_MS)
    sender, text = master.recv_multipart()
    assert text == b"let me in"
    master.send_multipart([sender, b"welcome"])
    assert worker.poll(PATIENCE_MS)
    assert worker.recv() == b"welcome"


@pytest.mark.parametrize("token", [None, "another token for the tests", TOKEN[:-1], ""])
def test_who_has_not_is_dropped_before_a_byte_of_it_is_heard(net: Net, token: str | None) -> None:
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


def test_a_token_made_up_is_long_and_never_the_same() -> None:
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert min(map(len, tokens)) >= 2 * FEWEST_CHARACTERS
