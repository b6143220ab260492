"""The door of Locust's master: who has no token is not heard, and of the others nothing is believed.

Locust's master, which starts one user on each worker and carries messages.

It hears in words of ours what workers say to it, and never their heartbeats: it goes by counts, a
worker by the wall clock, and whoever misses some is dropped, or stopped, in the middle of a stage.
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

from loadgen.curve import guard_master
from loadgen.frames import message_body
from loadgen.plain import shown_place
from loadgen.records import Command

_MOST_OF_A_MESSAGE = 256 * 2**20
"""500 rows of long streams have some tens of megabytes."""

_MOST_WAITING = 1_000
"""Messages of, or to, one worker. It then waits to say more, and is told no more: one that hears nothing of so many is
lost."""

_AT_A_TIME = 32
"""Messages, before others on the hub have their turn: where there is always one more, the socket gives none."""

_message: msgspec.msgpack.Decoder[tuple[str, msgspec.Raw, msgspec.Raw]]
_message = msgspec.msgpack.Decoder(tuple[str, msgspec.Raw, msgspec.Raw])
_body = msgspec.msgpack.Decoder(bytes)


class BindError(Exception):
    """Nobody can listen at that address; the text says why."""


def numeric(host: str) -> str:
    """The address that a name stands for, as ZeroMQ binds no names. Raises BindError."""
    try:
        return str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])
    except (OSError, UnicodeError) as error:
        raise BindError(f"{host} is no address") from error


def is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address).is_loopback


def reached_at(address: str) -> str:
    """Where those of this machine reach who listens at `address`: at the loopback, where that is any address."""
    ip = ipaddress.ip_address(address)
    return ("127.0.0.1" if ip.version == 4 else "::1") if ip.is_unspecified else address


class GuardedServer(zmqrpc.BaseSocket):
    """Stands where Locust has its `Server`. A message of a type that is not ours, or that cannot be read, is told to
    `on_garbage(client, why)`; nothing is raised."""

    def __init__(self, address: str, port: int, token: str, on_garbage: Callable[[str, str], None]) -> None:
        self.address = address
        super().__init__(zmq.ROUTER, ipv4_only=":" not in address)  # type: ignore[no-untyped-call]
        self._on_garbage = on_garbage
        self._heard = 0
        self.socket.sndhwm = self.socket.rcvhwm = _MOST_WAITING
        guard_master(self.socket, token)
        try:
            self.socket.bind(f"tcp://{shown_place(address, port)}")
        except zmq.ZMQError as error:
            self.socket.close(linger=0)
            raise BindError(_why_not(error, shown_place(address, port))) from error
        self.port = int(self.socket.getsockopt_string(zmq.LAST_ENDPOINT).rpartition(":")[2])

    def send_to_client(self, message: Message) -> None:
        """Never waits: whoever is gone is told nothing."""
        self.socket.send_multipart([message.node_id.encode(), message.serialize()], zmq.NOBLOCK)  # type: ignore[no-untyped-call]

    def recv_from_client(self) -> tuple[str, Message]:
        while True:
            self._heard += 1
            if self._heard % _AT_A_TIME == 0:
                gevent.sleep(0)
            frames = self.socket.recv_multipart()
            try:
                client = frames[0].decode()
            except UnicodeDecodeError:
                continue
            try:
                message = _admitted(client, frames[1:])
            except (ValueError, msgspec.DecodeError, RecursionError) as error:
                self._on_garbage(client, f"a message that could not be read ({type(error).__name__})")
                continue
            if message is not None:
                return client, message

    def leave(self, within_s: float) -> None:
        """Give what was told so long to leave, and close."""
        context = self.socket.context
        self.socket.close(linger=round(within_s * 1000))
        gevent.get_hub().threadpool.apply(context.term)


def message_to(client: str, kind: str, data: object) -> Message:
    return Message(kind, data, client)  # type: ignore[no-untyped-call]


def _admitted(client: str, frames: Sequence[bytes]) -> Message | None:
    """With the sender whom the socket names, whoever it says it is, and nothing made of data that nobody needs. Raises
    ValueError, msgspec.DecodeError or RecursionError for what no worker says."""
    if sum(map(len, frames)) > _MOST_OF_A_MESSAGE:
        raise ValueError("too long a message")
    kind, data, _ = _message.decode(b"".join(frames))
    match kind:
        case "client_ready" | "spawning" | "spawning_complete":
            return message_to(client, kind, None)
        case "report" | "rows":
            return message_to(client, kind, _body.decode(data))
        case "heartbeat" | "stats" | "logs" | "exception" | "quit" | "client_stopped":
            return None  # Locust's, and of no use here
        case _:
            raise ValueError("no such message")


def _why_not(error: zmq.ZMQError, address: str) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return f"{address} is in use already"
        case errno.EADDRNOTAVAIL | errno.ENODEV:
            return f"{address} is no address of this machine"
        case _:
            return f"cannot listen at {address}: {error}"


class ArrivalUser(User):
    """The one that runs on each worker; here it only has the name."""

    @task
    def send_arrivals(self) -> None:
        raise NotImplementedError("a master sends nothing")


class GuardedMaster(MasterRunner):
    """Acknowledges every worker, and lists those that it is told to. `on_message(client, type, body)` gets what is not
    Locust's, and must not raise; `spawn` starts greenlets."""

    def __init__(
        self,
        server: GuardedServer,
        on_message: Callable[[str, str, bytes], None],
        spawn: Callable[[Callable[[], None]], object],
    ) -> None:
        self._guarded, self._on_message, self._spawn = server, on_message, spawn
        # what Locust finds remarkable is no word of ours
        runners.CPU_WARNING_THRESHOLD = sys.maxsize
        logging.getLogger("locust").setLevel(logging.CRITICAL)
        locusts = zmqrpc.Server
        zmqrpc.Server = lambda *_: server  # type: ignore[assignment,misc]  # no other way in
        try:
            super().__init__(Environment(user_classes=[ArrivalUser]), "", 0)
        finally:
            zmqrpc.Server = locusts  # type: ignore[misc]

    def heartbeat_worker(self) -> NoReturn:
        """It would drop workers, and the guarded socket for one that is not."""
        raise gevent.GreenletExit

    def handle_message(self, client_id: str, message: Message) -> None:
        match message.type:
            case "client_ready":
                self._guarded.send_to_client(message_to(client_id, "ack", {"index": 0}))
            case "report" | "rows":
                self._on_message(client_id, message.type, message.data)
            case "spawning_complete" if client_id in self.clients:
                message.data = {"user_classes_count": {ArrivalUser.__name__: 1}}
                super().handle_message(client_id, message)
            case "spawning" if client_id in self.clients:
                super().handle_message(client_id, message)

    def tell(self, client_id: str, command: Command) -> None:
        self._guarded.send_to_client(message_to(client_id, "command", message_body(command)))

    def enlist(self, client_id: str) -> None:
        self.clients[client_id] = WorkerNode(client_id)

    def strike(self, client_id: str) -> None:
        if client_id in self.clients:
            del self.clients[client_id]

    def begin(self, then: Callable[[], None]) -> None:
        """One user on each worker; `then` is called once all have begun, or after a second."""

        def start() -> None:
            self.start(user_count=len(self.clients), spawn_rate=len(self.clients))
            then()

        self._spawn(start)

    def leave(self, within_s: float) -> None:
        """Hear nothing more, and give what was told so long to leave."""
        self.greenlet.kill(block=True)
        self._guarded.leave(within_s)
