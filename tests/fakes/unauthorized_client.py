"""A client without the token.

`python -m tests.fakes.unauthorized_client HOST PORT` sends Locust's greeting to a master, first unencrypted and then
encrypted with another token, and prints how many responses it received within a second.
"""

from __future__ import annotations

import sys

import msgspec
import zmq

from loadgen.curve import generate_token, secure_worker_socket


def greet(context: zmq.Context[zmq.Socket[bytes]], address: str, token: str | None) -> zmq.Socket[bytes]:
    socket = context.socket(zmq.DEALER)
    socket.linger = 0
    socket.identity = f"stranger {token is None}".encode()
    if token is not None:
        secure_worker_socket(socket, token)
    socket.connect(address)
    socket.send(msgspec.msgpack.encode(("client_ready", "2.44.0", "unauthorized")))
    return socket


if __name__ == "__main__":
    with zmq.Context() as context:
        place = f"tcp://{sys.argv[1]}:{sys.argv[2]}"
        poller = zmq.Poller()
        for socket in [greet(context, place, token) for token in (None, generate_token())]:
            poller.register(socket, zmq.POLLIN)
        print(len(poller.poll(1_000)))
        for socket, _ in list(poller.sockets):
            socket.close()
