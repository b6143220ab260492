"""The line to a master: Locust's worker runner, over a socket that only who has the token can speak on."""

from __future__ import annotations

import argparse
import socket
import sys
from collections.abc import Callable
from functools import partial
from time import perf_counter_ns
from typing import Any

import gevent
import pyarrow as pa
import zmq.green as zmq
from locust import __version__, runners
from locust.env import Environment
from locust.rpc import Message, zmqrpc
from zmq.utils.monitor import parse_monitor_message

from loadgen.curve import guard_worker, in_frames
from loadgen.frames import command_of, message_body, rows_body
from loadgen.plain import shown_place
from loadgen.records import Command, Join, Ping, Pong, Report

_LINGER_MS = 2_000
_AGAIN_MS, _SELDOM_MS = 100, 1_000
"""Between attempts to connect: at first, and later on."""

_LAST_WORD_S = 0.2
"""Within it a master's word that this is the end is read, though its end was seen first."""


class NoMasterError(Exception):
    """No master of that token was found in time."""


class MasterLine:
    """`send` and `send_rows` from any thread; they wait for nothing. Commands other than pings are told to `hear`, on
    Locust's thread, and so is what cannot be read as one; `on_lost` is called there once the master has gone."""

    def __init__(
        self,
        environment: Environment,
        join: Join,
        hear: Callable[[Command | Exception], None],
        on_lost: Callable[[], None],
    ) -> None:
        """Raises NoMasterError."""
        self._hub = gevent.get_hub()
        # Locust asks the wall clock how long ago its master was heard of
        runners.MASTER_HEARTBEAT_TIMEOUT = sys.maxsize
        zmqrpc.Client = partial(_GuardedClient, join.token, on_lost)  # type: ignore[assignment,misc]  # no other way in
        self._runner = _Runner(environment, join, hear, on_lost)

    @property
    def pinged_ns(self) -> int | None:
        """When the master was last heard, on the monotonic clock; None before its first ping."""
        return self._runner.pinged_ns

    def send(self, report: Report) -> None:
        self._tell("report", message_body(report))

    def send_rows(self, batch: pa.RecordBatch) -> None:
        self._tell("rows", rows_body(batch))

    def close(self, then: Callable[[], None]) -> None:
        """Once all that was told has left, or two seconds have passed; from any thread."""
        self._hub.loop.run_callback_threadsafe(self._close, then)

    def _tell(self, kind: str, body: bytes) -> None:
        self._hub.loop.run_callback_threadsafe(self._runner.tell, kind, body)

    def _close(self, then: Callable[[], None]) -> None:
        self._runner.client.socket.context.destroy(linger=_LINGER_MS)
        then()


class _Runner(runners.WorkerRunner):
    client: _GuardedClient

    def __init__(
        self,
        environment: Environment,
        join: Join,
        hear: Callable[[Command | Exception], None],
        on_lost: Callable[[], None],
    ) -> None:
        self._join, self._hear, self._on_lost = join, hear, on_lost
        self.pinged_ns: int | None = None
        # else Locust would look for options in files and in the environment
        environment.parsed_options = argparse.Namespace(web_base_path="")
        environment.runner = self
        super().__init__(environment, join.host, join.port)

    def connect_to_master(self) -> None:
        self.register_message("command", self._obey)
        self.tell("client_ready", __version__)
        if not self.connection_event.wait(timeout=self._join.wait_s):
            raise NoMasterError(_not_found(self._join, self.client.has_reached))
        self.connected = self.client.is_joined = True

    def tell(self, kind: str, data: object) -> None:
        self.client.send(Message(kind, data, self.client_id))  # type: ignore[no-untyped-call]

    def handle_message(self, msg: Message) -> None:
        if msg.type in ("quit", "reconnect"):  # it ends, or has not understood something that it needed
            self._on_lost()
            return
        # Locust passes over what is not later than the last, by the wall clocks of its machine
        self.last_received_spawn_timestamp = -sys.maxsize
        super().handle_message(msg)

    def _obey(self, msg: Message, **_: object) -> None:
        at_ns = perf_counter_ns()
        try:
            command = command_of(msg.data)
        except Exception as error:
            self._hear(error)
            return
        if isinstance(command, Ping):
            self.pinged_ns = at_ns
            self.tell("report", message_body(Pong(command.sent_ns, at_ns)))
        else:
            self._hear(command)


class _GuardedClient(zmqrpc.Client):
    """What Locust takes for its own. All of it belongs to Locust's thread."""

    def __init__(self, token: str, on_lost: Callable[[], None], host: str, port: int, identity: str) -> None:
        is_ipv4 = _is_ipv4_only(host, port)
        zmqrpc.BaseSocket.__init__(self, zmq.DEALER, is_ipv4)  # type: ignore[no-untyped-call]
        self.has_reached = self.is_joined = False
        self._on_lost = on_lost
        self.socket.identity = identity.encode()
        self.socket.sndhwm = self.socket.rcvhwm = 0  # telling never waits, and nothing is dropped
        self.socket.linger = _LINGER_MS
        self.socket.reconnect_ivl, self.socket.reconnect_ivl_max = _AGAIN_MS, _SELDOM_MS
        guard_worker(self.socket, token)
        monitor = self.socket.get_monitor_socket(zmq.EVENT_CONNECTED | zmq.EVENT_DISCONNECTED)
        gevent.spawn(self._watch, monitor)
        try:
            self.socket.connect(f"tcp://{shown_place(host, port)}")
        except zmq.ZMQError as error:
            raise NoMasterError(f"there is no connecting to {shown_place(host, port)}: {error.strerror}") from error

    def send(self, message: Message) -> None:
        # not by Locust's own, which sleeps and tries again where this cannot fail
        self.socket.send_multipart(in_frames(message.serialize()), zmq.NOBLOCK)  # type: ignore[no-untyped-call]

    def _watch(self, monitor: zmq.Socket[bytes]) -> None:
        while True:
            event: Any = parse_monitor_message(monitor.recv_multipart())["event"]
            if event == zmq.EVENT_CONNECTED:
                self.has_reached = True
            elif self.is_joined:  # what was under way on that connection is lost, and nobody would know what
                gevent.sleep(_LAST_WORD_S)
                self._on_lost()


def _is_ipv4_only(host: str, port: int) -> bool:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:  # maybe it will be known later
        return False
    return all(family == socket.AF_INET for family, *_ in found)


def _not_found(join: Join, has_reached: bool) -> str:
    where = shown_place(join.host, join.port)
    if has_reached:
        return f"what answers at {where} is no master of this token, or is not gathering workers"
    return f"no master was found at {where} within {join.wait_s:g} s"
