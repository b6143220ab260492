"""The master's end of a load worker's connection: a bare socket that sends what Locust's master sends, and the commands
of the test."""

from __future__ import annotations

import time
from typing import Any, TypeVar

import msgspec
import pyarrow as pa
import zmq

from loadgen.curve import secure_master_socket
from loadgen.frames import decode_report, decode_rows, encode_message
from loadgen.records import Command, Ping, Report

T = TypeVar("T", bound=Report)

TOKEN = "a token that both of them know"
_PATIENCE_S = 60.0


class BareMaster:
    """The master of one load worker. While it listens it sends a ping every 0.2 s, unless `pings` is false."""

    def __init__(self, token: str = TOKEN, port: int = 0) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        secure_master_socket(self._socket, token)
        self._socket.bind(f"tcp://127.0.0.1:{port or '*'}")
        endpoint = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self.port = int(endpoint.rpartition(":")[2])
        self._worker = b""
        self._pinged_s = 0.0
        self.pings = True
        self.kinds: list[str] = []
        self.reports: list[Report] = []
        self.batches: list[pa.RecordBatch] = []

    def __enter__(self) -> BareMaster:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._context.destroy(linger=0)

    def accept(self) -> None:
        """Wait for the load worker, and acknowledge it."""
        deadline = time.monotonic() + _PATIENCE_S
        while "client_ready" not in self.kinds:
            self.listen()
            assert time.monotonic() < deadline, "no worker came"
        self.send("ack", {"index": 0})

    def spawn(self, timestamp: float = 0.0) -> None:
        """Start the load worker's only user."""
        job: dict[str, Any] = {"timestamp": timestamp, "host": None, "stop_timeout": 0.0, "parsed_options": {}}
        self.send("spawn", job | {"user_classes_count": {"ArrivalUser": 1}})

    def send_commands(self, *commands: Command) -> None:
        for command in commands:
            self.send("command", encode_message(command))

    def send(self, kind: str, data: object) -> None:
        # as Locust's messages are; importing Locust would patch this process
        message = msgspec.msgpack.encode((kind, data, self._worker.decode()))
        self._socket.send_multipart([self._worker, message])

    def receive(self, report_type: type[T]) -> T:
        """Return the next report of the kind. Other reports, and rows, are stored."""
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            received_count = len(self.reports)
            self.listen()
            for report in self.reports[received_count:]:
                if isinstance(report, report_type):
                    return report
            assert time.monotonic() < deadline, f"no {report_type.__name__} among {self.reports}"

    def listen(self) -> None:
        """Receive the next message if one arrives within 50 ms."""
        if self.pings and self._worker and time.monotonic() - self._pinged_s > 0.2:
            self._pinged_s = time.monotonic()
            self.send_commands(Ping(time.perf_counter_ns()))
        if not self._socket.poll(50):
            return
        self._worker, *frames = self._socket.recv_multipart()
        kind, data, _ = msgspec.msgpack.decode(b"".join(frames))
        self.kinds.append(kind)
        if kind == "report":
            self.reports.append(decode_report(data))
        elif kind == "rows":
            self.batches.append(decode_rows(data))
