"""Locust's master behind a guarded socket. Clients without the token are ignored, and messages of
clients with the token are validated.

Locust's master starts one user on each worker and transfers the messages of Sizewise. Locust's
heartbeats are ignored: workers send them by the wall clock, so a clock adjustment during a stage
could make Locust drop or stop a worker.
"""

from __future__ import annotations

import errno
import ipaddress
import logging
import socket
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

import gevent
import msgspec
import zmq
from locust import User, runners, task
from locust.env import Environment
from locust.rpc import Message, zmqrpc
from locust.runners import MasterRunner, WorkerNode

from loadgen.curve import secure_master_socket
from loadgen.frames import encode_message
from loadgen.records import Command
from loadgen.sanitizing import format_host_port

_MAX_MESSAGE_BYTES = 256 * 2**20
"""Maximum size of a message from a worker in bytes. A batch of 500 rows of long streams has tens of
megabytes."""

_MAX_QUEUED_MESSAGES = 1_000
"""Maximum number of queued messages per worker and direction.

If the queue from a worker is full, the worker waits. If the queue to a worker is full, further
messages to the worker are dropped; a worker that does not read its messages counts as lost anyway.
"""

_MESSAGES_PER_YIELD = 32
"""Number of messages that are handled before the receiving greenlet yields to other greenlets.
Reading from a socket does not yield while further messages are available."""

_message_decoder: msgspec.msgpack.Decoder[tuple[str, msgspec.Raw, msgspec.Raw]]
_message_decoder = msgspec.msgpack.Decoder(tuple[str, msgspec.Raw, msgspec.Raw])
_body_decoder = msgspec.msgpack.Decoder(bytes)


class BindError(Exception):
    """Error that is raised when the master cannot listen at its address; the message states the
    reason."""


def resolve_host(host: str) -> str:
    """Resolve a host name to an IP address, because ZeroMQ cannot bind a socket to a name. Raises
    BindError if the name cannot be resolved."""
    try:
        return str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])
    except (OSError, UnicodeError) as error:
        raise BindError(f"{host} cannot be resolved to an IP address") from error


def is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address).is_loopback


def get_local_address(address: str) -> str:
    """Return the address at which local processes reach a server that listens at `address`: the
    loopback address if `address` stands for all interfaces, otherwise `address`."""
    ip = ipaddress.ip_address(address)
    return ("127.0.0.1" if ip.version == 4 else "::1") if ip.is_unspecified else address


class GuardedServer(zmqrpc.BaseSocket):
    """Encrypted and authenticated replacement for Locust's `Server`.

    If a message has an unknown type or cannot be decoded, the server calls
    `on_invalid_message(client_id, reason)` instead of raising an error.
    """

    def __init__(self, address: str, port: int, token: str, on_invalid_message: Callable[[str, str], None]) -> None:
        self.address = address
        super().__init__(zmq.ROUTER, ipv4_only=":" not in address)  # type: ignore[no-untyped-call]
        self._on_invalid_message = on_invalid_message
        self._received_count = 0
        self.socket.sndhwm = self.socket.rcvhwm = _MAX_QUEUED_MESSAGES
        secure_master_socket(self.socket, token)
        try:
            self.socket.bind(f"tcp://{format_host_port(address, port)}")
        except zmq.ZMQError as error:
            self.socket.close(linger=0)
            raise BindError(_describe_bind_error(error, format_host_port(address, port))) from error
        self.port = int(self.socket.getsockopt_string(zmq.LAST_ENDPOINT).rpartition(":")[2])

    def send_to_client(self, message: Message) -> None:
        """Send a message to a client without blocking. The message is dropped if the client has
        disconnected."""
        self.socket.send_multipart([message.node_id.encode(), message.serialize()], zmq.NOBLOCK)  # type: ignore[no-untyped-call]

    def recv_from_client(self) -> tuple[str, Message]:
        while True:
            self._received_count += 1
            if self._received_count % _MESSAGES_PER_YIELD == 0:
                gevent.sleep(0)
            frames = self.socket.recv_multipart()
            try:
                client_id = frames[0].decode()
            except UnicodeDecodeError:
                continue
            try:
                message = _decode_message(client_id, frames[1:])
            except (ValueError, msgspec.DecodeError, RecursionError) as error:
                self._on_invalid_message(client_id, f"sent an unreadable message ({type(error).__name__})")
                continue
            if message is not None:
                return client_id, message

    def shut_down(self, timeout_s: float) -> None:
        """Wait up to `timeout_s` seconds until queued messages have been sent, then close the
        socket."""
        context = self.socket.context
        self.socket.close(linger=round(timeout_s * 1000))
        gevent.get_hub().threadpool.apply(context.term)


def build_message(client_id: str, kind: str, data: object) -> Message:
    return Message(kind, data, client_id)  # type: ignore[no-untyped-call]


def _decode_message(client_id: str, frames: Sequence[bytes]) -> Message | None:
    """Decode a message from a worker. `client_id` is the sender according to the socket; the sender
    that the message itself states is ignored.

    Return None for unused message types of Locust, whose data is not decoded. Raises ValueError,
    msgspec.DecodeError or RecursionError for a message that no worker of Sizewise sends.
    """
    if sum(map(len, frames)) > _MAX_MESSAGE_BYTES:
        raise ValueError("the message is too long")
    kind, data, _ = _message_decoder.decode(b"".join(frames))
    match kind:
        case "client_ready" | "spawning" | "spawning_complete":
            return build_message(client_id, kind, None)
        case "report" | "rows":
            return build_message(client_id, kind, _body_decoder.decode(data))
        case "heartbeat" | "stats" | "logs" | "exception" | "quit" | "client_stopped":
            return None  # a message type of Locust that is not used
        case _:
            raise ValueError("the message type is unknown")


def _describe_bind_error(error: zmq.ZMQError, address: str) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return f"{address} is already in use"
        case errno.EADDRNOTAVAIL | errno.ENODEV:
            return f"{address} is not an address of this machine"
        case _:
            return f"the master cannot listen at {address}: {error}"


class ArrivalUser(User):
    """Locust user class that runs on each worker. The master uses only the name of the class."""

    @task
    def send_arrivals(self) -> None:
        raise NotImplementedError("a master does not send requests")


class GuardedMaster(MasterRunner):
    """Locust master runner that acknowledges every worker that connects, but registers a worker
    only when `register` is called.

    `on_message(client_id, type, body)` is called for each message of Sizewise and must not raise an
    exception. `spawn` starts a greenlet.
    """

    def __init__(
        self,
        server: GuardedServer,
        on_message: Callable[[str, str, bytes], None],
        spawn: Callable[[Callable[[], None]], object],
    ) -> None:
        self._server, self._on_message, self._spawn = server, on_message, spawn
        # Locust's warnings are not meant for the users of Sizewise.
        runners.CPU_WARNING_THRESHOLD = sys.maxsize
        logging.getLogger("locust").setLevel(logging.CRITICAL)
        original_server = zmqrpc.Server
        zmqrpc.Server = lambda *_: server  # type: ignore[assignment,misc]  # the only way to replace it
        try:
            super().__init__(Environment(user_classes=[ArrivalUser]), "", 0)
        finally:
            zmqrpc.Server = original_server  # type: ignore[misc]

    def heartbeat_worker(self) -> NoReturn:
        """Disable Locust's heartbeat check, which would drop workers and replace the guarded socket
        by an unguarded one."""
        raise gevent.GreenletExit

    def handle_message(self, client_id: str, message: Message) -> None:
        match message.type:
            case "client_ready":
                self._server.send_to_client(build_message(client_id, "ack", {"index": 0}))
            case "report" | "rows":
                self._on_message(client_id, message.type, message.data)
            case "spawning_complete" if client_id in self.clients:
                message.data = {"user_classes_count": {ArrivalUser.__name__: 1}}
                super().handle_message(client_id, message)
            case "spawning" if client_id in self.clients:
                super().handle_message(client_id, message)

    def send(self, client_id: str, command: Command) -> None:
        self._server.send_to_client(build_message(client_id, "command", encode_message(command)))

    def register(self, client_id: str) -> None:
        self.clients[client_id] = WorkerNode(client_id)

    def unregister(self, client_id: str) -> None:
        if client_id in self.clients:
            del self.clients[client_id]

    def start_users(self, on_started: Callable[[], None]) -> None:
        """Start one Locust user on each worker, and call `on_started` when all users have started,
        or after one second at the latest."""

        def start() -> None:
            self.start(user_count=len(self.clients), spawn_rate=len(self.clients))
            on_started()

        self._spawn(start)

    def shut_down(self, timeout_s: float) -> None:
        """Stop receiving messages, wait up to `timeout_s` seconds until queued messages have been
        sent, and close the socket."""
        self.greenlet.kill(block=True)
        self._server.shut_down(timeout_s)
