"""The surroundings of a master controller: its channel, its engine, and load workers whose messages the test sends."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from loadgen.frames import decode_rows, encode_message
from loadgen.master.controller import MasterController
from loadgen.master.gathering import JoinCriteria
from loadgen.records import REQUEST_SCHEMA, WIRE_VERSION, Command, Failed, Gather, Hello, Joining, Ping, Pong, Report
from tests.fakes.clock import FakeClock

ROUND_TRIP_NS = 1_000_000
STAGE, SHARE = 4, 1
START_NS = 400 * 86_400 * 10**9


def batch(count: int = 10, **columns: pa.Array) -> pa.RecordBatch:
    """Requests 1 ms apart, each sent late by a tenth of its number; every third was never started."""
    due = START_NS + np.arange(count) * 1_000_000
    started = np.arange(count) % 3 != 2
    known = {
        "stage": pa.array(np.full(count, STAGE, np.int32)),
        "worker": pa.array(np.full(count, SHARE, np.int16)),
        "scheduled_ns": pa.array(due),
        "sent_ns": pa.array(due + np.arange(count) * 100_000, mask=~started),
        "end_ns": pa.array(due + 900_000, mask=~started),
        "chunk_ns": pa.array([[int(at) + 5, int(at) + 7] if ok else None for at, ok in zip(due, started, strict=True)]),
        "name": pa.array(["größe"] * count),
    } | columns
    arrays = [known.get(field.name, pa.nulls(count, field.type)) for field in REQUEST_SCHEMA]
    return pa.RecordBatch.from_arrays(arrays, schema=REQUEST_SCHEMA)


class FakeChannel:
    """Starts users at once. `reported` are the commands to each client, without pings."""

    def __init__(self) -> None:
        self.reported: dict[str, list[Command]] = {}
        self.pings: dict[str, list[int]] = {}
        self.enlisted: list[str] = []

    def send(self, client: str, command: Command) -> None:
        if isinstance(command, Ping):
            self.pings.setdefault(client, []).append(command.sent_ns)
        else:
            self.reported.setdefault(client, []).append(command)

    def register(self, client: str) -> None:
        self.enlisted.append(client)

    def unregister(self, client: str) -> None:
        self.enlisted.remove(client)

    def start_users(self, on_started: Callable[[], None]) -> None:
        on_started()


class FakeEngine:
    def __init__(self) -> None:
        self.reports: list[Report] = []
        self.rows: list[bytes] = []

    def send(self, report: Report) -> None:
        self.reports.append(report)

    def send_rows(self, body: bytes) -> None:
        self.rows.append(body)

    def reports_of(self, kind: type[Report]) -> list[Report]:
        return [report for report in self.reports if isinstance(report, kind)]

    @property
    def workers_of_rows(self) -> list[int]:
        return [decode_rows(body).column("worker")[0].as_py() for body in self.rows]


class VirtualMaster:
    """A master controller that gathers remote workers in virtual time. A worker is named by its host and pid, as in
    "a1"; its clock is `ahead_ns` ahead of the master's, and it responds to all pings unless it is in `mute`."""

    def __init__(self, remote: int, wait_s: float = 60.0) -> None:
        self.clock, self.channel, self.engine = FakeClock(), FakeChannel(), FakeEngine()
        self.failures: list[Failed] = []
        self.mute: set[str] = set()
        self.ahead_ns = 0
        gathering = JoinCriteria(
            Gather(local_workers=0, remote_workers=remote, wait_s=wait_s), "10.0.0.1:5557", (), self.clock.now_ns
        )
        self.controller = MasterController(
            gathering, self.channel, self.engine, self.failures.append, lambda: self.clock.now_ns
        )

    def hello(self, client: str, wire: int = WIRE_VERSION) -> None:
        host, pid = client[0], int(client[1:])
        self.send_reports(client, Hello(wire, host, pid, f"clock of {host}", "timerfd", "uvloop"))

    def join(self, *clients: str) -> None:
        for client in clients:
            self.hello(client)
            self.answer_pings()

    def send_reports(self, client: str, *reports: Report) -> None:
        for report in reports:
            self.controller.on_message(client, "report", encode_message(report))

    def answer_pings(self) -> None:
        """Respond to pings a round trip later, until there are no more."""
        while any(pings and client not in self.mute for client, pings in self.channel.pings.items()):
            at_ns = self.clock.now_ns + ROUND_TRIP_NS // 2
            self.clock.now_ns += ROUND_TRIP_NS
            for client, pings in list(self.channel.pings.items()):
                sent, self.channel.pings[client] = list(pings), []
                if client not in self.mute:
                    for sent_ns in sent:
                        self.send_reports(client, Pong(sent_ns, at_ns + self.ahead_ns))

    def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.05)):
            self.clock.now_ns += 50_000_000
            self.controller.tick()
            self.answer_pings()

    def reported(self, client: str, kind: type[Command]) -> list[Command]:
        return [command for command in self.channel.reported.get(client, []) if isinstance(command, kind)]

    @property
    def joined(self) -> list[int]:
        return [report.joined for report in self.engine.reports if isinstance(report, Joining)]
