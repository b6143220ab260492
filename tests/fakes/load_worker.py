"""A simulated remote load worker: Locust's messages on a bare socket, with a clock and faults that the test
controls."""

from __future__ import annotations

import queue
import threading
import time
from typing import Any

import msgpack
import numpy as np
import pyarrow as pa
import zmq

from loadgen.arrivals import compute_offsets_ns
from loadgen.curve import secure_worker_socket, split_into_frames
from loadgen.frames import decode_command, encode_message, encode_rows
from loadgen.records import (
    REQUEST_SCHEMA,
    WIRE_VERSION,
    ClosedArrivals,
    Command,
    Hello,
    OpenArrivals,
    Ping,
    Pong,
    Preflight,
    PreflightDone,
    Progress,
    Quit,
    Report,
    RunStage,
    StageEnded,
    StagePrepared,
    StageStarted,
    StartStage,
    StopStage,
)
from tests.fakes.program import wait_until

ANSWERED = PreflightDone(None, 200, "answered", 1.0)
LATE_NS = 300_000
"""Delay of each request after its scheduled time, in ns."""


class FakeLoadWorker:
    """Its clock is `ahead_ns` ahead of the test's, and gains `drift`. It sends the rows of a stage when the stage
    starts, and ends the stage if `ends_stages` is set or when it receives a stop. `commands` are the received commands
    without pings.

    `token` None joins without CURVE. Its faults are set before it runs or while it runs."""

    def __init__(
        self,
        port: int,
        token: str | None,
        *,
        host: str = "elsewhere",
        pid: int = 1,
        clock: str = "another clock",
        ahead_ns: int = 0,
        drift: float = 0.0,
        wire: int = WIRE_VERSION,
        preflight: PreflightDone = ANSWERED,
        ends_stages: bool = True,
        floods: bool = False,
    ) -> None:
        self.hello = Hello(wire, host, pid, clock, "fake pacing", "fake loop", 1_000.0, None)
        self._port, self._token = port, token
        self._ahead_ns, self._drift, self._origin_ns = ahead_ns, drift, time.perf_counter_ns()
        self.preflight, self.ends_stages = preflight, ends_stages
        self.is_mute, self._floods = False, floods
        self.commands: list[Command] = []
        self.received: list[str] = []
        """The types of all messages that came."""
        self._id = f"fake_{host}_{pid}"
        self._stage: RunStage | None = None
        self._start_ns = 0
        self._outbox: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._is_closing = threading.Event()
        self._thread = threading.Thread(target=self._live, name=self._id)

    def __enter__(self) -> FakeLoadWorker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_closing.set()
        self._thread.join()

    def now_ns(self) -> int:
        return self.to_worker_clock(time.perf_counter_ns())

    def to_worker_clock(self, ns: int) -> int:
        return ns + self._ahead_ns + round((ns - self._origin_ns) * self._drift)

    def send_report(self, report: Report) -> None:
        self.send("report", encode_message(report))

    def send(self, kind: object, data: object) -> None:
        self.send_bytes(msgpack.packb((kind, data, self._id)))

    def send_bytes(self, message: bytes) -> None:
        self._outbox.put(message)

    def has_received(self, kind: type[Command]) -> bool:
        return any(isinstance(command, kind) for command in self.commands)

    def wait_for_command(self, kind: type[Command], within_s: float = 10.0) -> None:
        wait_until(lambda: self.has_received(kind), within_s=within_s)

    def _live(self) -> None:
        with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
            socket.linger = 0
            socket.identity = self._id.encode()
            if self._token is not None:
                secure_worker_socket(socket, self._token)
            socket.connect(f"tcp://127.0.0.1:{self._port}")
            self.send("client_ready", "2.46")
            while not self._is_closing.is_set():
                # A master that has rejected the worker receives nothing: a send would block forever.
                while not self._outbox.empty() and socket.poll(0, zmq.POLLOUT):
                    socket.send_multipart(split_into_frames(self._outbox.get()))
                for _ in range(500 if self._floods else 0):
                    socket.send(msgpack.packb(("report", b"", self._id)))
                if socket.poll(0 if self._floods else 2):
                    kind, data, _ = msgpack.unpackb(socket.recv(), strict_map_key=False)
                    self.received.append(kind)
                    self._on_message(kind, data)

    def _on_message(self, kind: str, data: Any) -> None:
        match kind:
            case "ack":
                self.send_report(self.hello)
            case "spawn":
                self.send("spawning", None)
                self.send("spawning_complete", {"user_classes_count": {"whoever": "many"}, "user_count": 1})
            case "command":
                self._execute(decode_command(data))

    def _execute(self, command: Command) -> None:
        if isinstance(command, Ping):
            if not self.is_mute:
                self.send_report(Pong(command.sent_ns, self.now_ns()))
            return
        self.commands.append(command)
        match command:
            case Preflight():
                self.send_report(self.preflight)
            case RunStage():
                self._stage = command
                self.send_report(StagePrepared(command.plan.index))
            case StartStage(start_ns=start_ns):
                self._start_ns = start_ns
                self._run_stage()
            case StopStage():
                self._end(is_stopped=True)
            case Quit():
                self._is_closing.set()
            case _:
                pass

    def _run_stage(self) -> None:
        assert self._stage is not None
        rows = self.rows()
        index = self._stage.plan.index
        self.send_report(StageStarted(index, self._start_ns, rows.num_rows))
        self.send("rows", encode_rows(rows))
        count = rows.num_rows
        self.send_report(Progress(index, self.now_ns(), count, count, count, 0, 0, LATE_NS / 1e6))
        if self.ends_stages:
            self._end()

    def rows(self, **columns: pa.Array) -> pa.RecordBatch:
        """Rows of its share of the stage, with other columns where given."""
        assert self._stage is not None
        plan, share = self._stage.plan, self._stage.share
        assert not isinstance(plan.load.arrivals, ClosedArrivals)
        offsets = compute_offsets_ns(plan.load.arrivals, plan.load.duration_s, plan.load.lead_in_s, plan.seed)[
            share.index :: share.worker_count
        ]
        scheduled, count = self._start_ns + offsets, len(offsets)
        defaults = {
            "stage": pa.array(np.full(count, plan.index, np.int32)),
            "worker": pa.array(np.full(count, share.index, np.int16)),
            "index": pa.array(share.index + share.worker_count * np.arange(count)),
            "scheduled_ns": pa.array(scheduled),
            "sent_ns": pa.array(scheduled + LATE_NS),
            "end_ns": pa.array(scheduled + 2_000_000),
            "chunk_ns": pa.array([[int(scheduled_ns) + 1_000_000] for scheduled_ns in scheduled], pa.list_(pa.int64())),
        } | columns
        arrays = [defaults.get(field.name, pa.nulls(count, field.type)) for field in REQUEST_SCHEMA]
        return pa.RecordBatch.from_arrays(arrays, schema=REQUEST_SCHEMA)

    def _end(self, is_stopped: bool = False) -> None:
        if self._stage is None:
            return
        plan, rows = self._stage.plan, self.rows().num_rows
        self._stage = None
        assert isinstance(plan.load.arrivals, OpenArrivals)
        self.send_report(
            StageEnded(
                plan.index, self._start_ns, self.now_ns(), rows, 0, 0.25, 1, is_stopped, plan.load.arrivals.rates
            )
        )
