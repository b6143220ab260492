"""The other end of a worker's line: a bare socket that says what Locust's master would, and what the test wants."""

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
    """Of one worker. It pings while it listens, every 0.2 s, unless it was told not to."""

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
        """Wait for the worker, and let it join."""
        deadline = time.monotonic() + _PATIENCE_S
        while "client_ready" not in self.kinds:
            self.listen()
            assert time.monotonic() < deadline, "no worker came"
        self.send("ack", {"index": 0})

    def spawn(self, timestamp: float = 0.0) -> None:
        """Have it start its one user."""
        job: dict[str, Any] = {"timestamp": timestamp, "host": None, "stop_timeout": 0.0, "parsed_options": {}}
        self.send("spawn", job | {"user_classes_count": {"ArrivalUser": 1}})

    def tell(self, *commands: Command) -> None:
        for command in commands:
            self.send("command", encode_message(command))

    def send(self, kind: str, data: object) -> None:
        # as Locust's messages are; importing Locust would patch this process
        message = msgspec.msgpack.encode((kind, data, self._worker.decode()))
        self._socket.send_multipart([self._worker, message])

    def received(self, wanted: type[T]) -> T:
        """The next of its kind; all else, and rows, are kept."""
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            known = len(self.reports)
            self.listen()
            for report in self.reports[known:]:
                if isinstance(report, wanted):
                    return report
            assert time.monotonic() < deadline, f"no {wanted.__name__} among {self.reports}"

    def listen(self) -> None:
        """Take the next message, if one comes soon."""
        if self.pings and self._worker and time.monotonic() - self._pinged_s > 0.2:
            self._pinged_s = time.monotonic()
            self.tell(Ping(time.perf_counter_ns()))
        if not self._socket.poll(50):
            return
        self._worker, *frames = self._socket.recv_multipart()
        kind, data, _ = msgspec.msgpack.decode(b"".join(frames))
        self.kinds.append(kind)
        if kind == "report":
            self.reports.append(decode_report(data))
        elif kind == "rows":
            self.batches.append(decode_rows(data))
