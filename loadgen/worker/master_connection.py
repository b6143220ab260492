"""Connection of a worker to a master: Locust's worker runner, over a socket that both sides
authenticate with the master's token."""

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

from loadgen.curve import secure_worker_socket, split_into_frames
from loadgen.frames import decode_command, encode_message, encode_rows
from loadgen.records import Command, Join, Ping, Pong, Report
from loadgen.sanitizing import format_host_port

_LINGER_MS = 2_000
_MIN_RECONNECT_MS, _MAX_RECONNECT_MS = 100, 1_000
"""Minimum and maximum interval in ms between attempts to connect to the master. The interval grows
with each attempt."""

_LAST_COMMAND_TIMEOUT_S = 0.2
"""Time in seconds for which the worker waits for a last command of the master after the connection
has been lost."""


class NoMasterError(Exception):
    """Error that is raised when the worker finds no master with its token within the time limit."""


class MasterConnection:
    """Connection of a worker to a master. `send` and `send_rows` do not block and may be called
    from any thread.

    The callbacks are called on Locust's thread. `on_command` receives each command except pings, or
    an exception for a message that cannot be decoded. `on_lost` is called when the connection to
    the master is lost.
    """

    def __init__(
        self,
        environment: Environment,
        join: Join,
        on_command: Callable[[Command | Exception], None],
        on_lost: Callable[[], None],
    ) -> None:
        """Connect to the master. Raises NoMasterError if no master with the token is found within
        the time limit."""
        self._hub = gevent.get_hub()
        # Locust compares the wall clock with the last message of its master.
        runners.MASTER_HEARTBEAT_TIMEOUT = sys.maxsize
        # Replacing the class is the only way to replace Locust's client.
        zmqrpc.Client = partial(_GuardedClient, join.token, on_lost)  # type: ignore[assignment,misc]
        self._runner = _Runner(environment, join, on_command, on_lost)

    @property
    def last_ping_ns(self) -> int | None:
        """Time in ns (monotonic clock) at which the last ping of the master was received; None
        before the first ping."""
        return self._runner.last_ping_ns

    def send(self, report: Report) -> None:
        self._send("report", encode_message(report))

    def send_rows(self, batch: pa.RecordBatch) -> None:
        self._send("rows", encode_rows(batch))

    def close(self, on_closed: Callable[[], None]) -> None:
        """Send all queued messages within two seconds, close the connection, and then call
        `on_closed`. This method may be called from any thread."""
        self._hub.loop.run_callback_threadsafe(self._close, on_closed)

    def _send(self, kind: str, body: bytes) -> None:
        self._hub.loop.run_callback_threadsafe(self._runner.send_to_master, kind, body)

    def _close(self, on_closed: Callable[[], None]) -> None:
        self._runner.client.socket.context.destroy(linger=_LINGER_MS)
        on_closed()


class _Runner(runners.WorkerRunner):
    client: _GuardedClient

    def __init__(
        self,
        environment: Environment,
        join: Join,
        on_command: Callable[[Command | Exception], None],
        on_lost: Callable[[], None],
    ) -> None:
        self._join, self._on_command, self._on_lost = join, on_command, on_lost
        self.last_ping_ns: int | None = None
        # Without parsed options, Locust would read options from files and from the environment.
        environment.parsed_options = argparse.Namespace(web_base_path="")
        environment.runner = self
        super().__init__(environment, join.host, join.port)

    def connect_to_master(self) -> None:
        self.register_message("command", self._on_command_message)
        self.send_to_master("client_ready", __version__)
        if not self.connection_event.wait(timeout=self._join.wait_s):
            raise NoMasterError(_format_no_master_error(self._join, self.client.has_connected))
        self.connected = self.client.is_joined = True

    def send_to_master(self, kind: str, data: object) -> None:
        self.client.send(Message(kind, data, self.client_id))  # type: ignore[no-untyped-call]

    def handle_message(self, msg: Message) -> None:
        if msg.type in ("quit", "reconnect"):  # the master ends, or could not decode a required message
            self._on_lost()
            return
        # Locust ignores messages whose wall-clock time is not later than that of the previous
        # message.
        self.last_received_spawn_timestamp = -sys.maxsize
        super().handle_message(msg)

    def _on_command_message(self, msg: Message, **_: object) -> None:
        at_ns = perf_counter_ns()
        try:
            command = decode_command(msg.data)
        except Exception as error:
            self._on_command(error)
            return
        if isinstance(command, Ping):
            self.last_ping_ns = at_ns
            self.send_to_master("report", encode_message(Pong(command.sent_ns, at_ns)))
        else:
            self._on_command(command)


class _GuardedClient(zmqrpc.Client):
    """Encrypted and authenticated replacement for Locust's client. All methods must be called on
    Locust's thread."""

    def __init__(self, token: str, on_lost: Callable[[], None], host: str, port: int, identity: str) -> None:
        is_ipv4_only = _is_ipv4_only(host, port)
        zmqrpc.BaseSocket.__init__(self, zmq.DEALER, is_ipv4_only)  # type: ignore[no-untyped-call]
        self.has_connected = self.is_joined = False
        self._on_lost = on_lost
        self.socket.identity = identity.encode()
        self.socket.sndhwm = self.socket.rcvhwm = 0  # sending never blocks, and nothing is dropped
        self.socket.linger = _LINGER_MS
        self.socket.reconnect_ivl, self.socket.reconnect_ivl_max = _MIN_RECONNECT_MS, _MAX_RECONNECT_MS
        secure_worker_socket(self.socket, token)
        monitor = self.socket.get_monitor_socket(zmq.EVENT_CONNECTED | zmq.EVENT_DISCONNECTED)
        gevent.spawn(self._monitor_connection, monitor)
        try:
            self.socket.connect(f"tcp://{format_host_port(host, port)}")
        except zmq.ZMQError as error:
            raise NoMasterError(
                f"this worker cannot connect to {format_host_port(host, port)}: {error.strerror}"
            ) from error

    def send(self, message: Message) -> None:
        # Do not call Locust's method, which sleeps and retries; this call cannot fail temporarily.
        self.socket.send_multipart(split_into_frames(message.serialize()), zmq.NOBLOCK)  # type: ignore[no-untyped-call]

    def _monitor_connection(self, monitor: zmq.Socket[bytes]) -> None:
        while True:
            event: Any = parse_monitor_message(monitor.recv_multipart())["event"]
            if event == zmq.EVENT_CONNECTED:
                self.has_connected = True
            elif self.is_joined:  # messages in transit were lost, and it is unknown which
                gevent.sleep(_LAST_COMMAND_TIMEOUT_S)
                self._on_lost()


def _is_ipv4_only(host: str, port: int) -> bool:
    try:
        address_infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:  # the name may become resolvable later
        return False
    return all(family == socket.AF_INET for family, *_ in address_infos)


def _format_no_master_error(join: Join, has_connected: bool) -> str:
    address = format_host_port(join.host, join.port)
    if has_connected:
        return f"the process at {address} is not a master with the same token, or it accepts no more workers"
    return f"no master was found at {address} within {join.wait_s:g} s"
