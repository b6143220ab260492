"""The workers of a master: their state, and when each was last heard from.

Also the processes of the workers that the master starts itself.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from typing import IO, cast

from loadgen.child import StderrTail, describe_exit, is_stopped, read_cpu_s, start_module, terminate_within
from loadgen.frames import encode_message_frame
from loadgen.master.rows import SAME_CLOCK, ClockLine, WorkerClock
from loadgen.records import Hello, Join, LoadWorker, Pong


class LocalWorker:
    def __init__(self, join: Join) -> None:
        self._child = start_module("loadgen.worker", "--join", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self._stdin = cast(IO[bytes], self._child.stdin)
        self.pid = self._child.pid
        self._stderr_tail = StderrTail(cast(IO[bytes], self._child.stderr))
        with contextlib.suppress(OSError):  # it has exited already, which `ending` reports
            self._stdin.write(encode_message_frame(join))
            self._stdin.flush()

    def exit_status(self) -> str | None:
        """Return how the process ended; None while it runs."""
        code = self._child.poll()
        return None if code is None else describe_exit(code)

    @property
    def is_stopped(self) -> bool:
        return is_stopped(self.pid)

    @property
    def used_cpu_s(self) -> float | None:
        return read_cpu_s(self.pid)

    @property
    def stderr_tail(self) -> str | None:
        return self._stderr_tail.text

    def close_stdin(self) -> None:
        """Close its standard input, on which the worker exits by itself."""
        with contextlib.suppress(OSError):
            self._stdin.close()

    def terminate_within(self, within_s: float) -> None:
        """End the process; kill it if it has not exited within `within_s` seconds. Blocks."""
        self.close_stdin()
        terminate_within(within_s, self._child)

    def kill(self) -> None:
        self._child.kill()


MAX_SILENCE_NS = 2_500_000_000
_SILENCE_PREPARING_NS = 10_000_000_000
"""Silence limit in ns for a worker that is not sending yet.

It may be preparing, which can keep its interpreter busy, because a tokenizer is loaded in a single call. A local worker
whose process is stopped (SIGSTOP) is given up after the shorter limit even then. A sending worker gets the longer limit
only if it gets some CPU time, but too little.
"""

_PING_NS = 250_000_000
_INITIAL_PINGS = 8
"""Number of consecutive pings when a worker joins, so that its first offset is chosen from several."""

_EXIT_REASON_NS = 300_000_000
"""Time in ns for which messages of a local worker are still accepted after its process has ended: the reason for its
exit may be on its way."""

_PAUSE_NS = 500_000_000
"""A longer pause of the master in ns means that it received nothing meanwhile, so silent workers are not at fault."""


class RemoteWorker:
    def __init__(self, client: str, hello: Hello, local: LocalWorker | None, is_same_clock: bool, now_ns: int) -> None:
        self.client, self.hello, self.local = client, hello, local
        self.index = -1
        self.clock = None if is_same_clock else WorkerClock()
        self.last_received_ns = now_ns
        self.lost_reason: str | None = None
        self.is_sending = False
        """True from StagePrepared on, so already shortly before the first request."""
        self._pings_sent_ns: dict[int, None] = {}
        self._next_ping_ns = now_ns
        self._ended_ns: int | None = None
        self._used_cpu_s: float | None = None
        """CPU time of a local worker when half of the allowed silence had passed."""

    @property
    def load_worker(self) -> LoadWorker:
        hello = self.hello
        is_local = self.local is not None
        return LoadWorker(self.index, hello.host, hello.pid, is_local, hello.capacity_per_s, hello.chunk_capacity_per_s)

    @property
    def has_clock_offset(self) -> bool:
        return self.clock is None or self.clock.count >= _INITIAL_PINGS

    @property
    def round_trip_ns(self) -> int:
        return 0 if self.clock is None else self.clock.round_trip_ns

    def clock_line(self) -> ClockLine:
        return SAME_CLOCK if self.clock is None else self.clock.fit_line()

    def residual_ms(self, line: ClockLine) -> float | None:
        return None if self.clock is None else self.clock.residual_ms(line)

    def start_ping_if_due(self, now_ns: int) -> bool:
        """Return True if a ping is due, and record it as sent; the caller must send it immediately."""
        if now_ns < self._next_ping_ns:
            return False
        self._next_ping_ns = now_ns + _PING_NS
        self._pings_sent_ns[now_ns] = None
        while len(self._pings_sent_ns) > 2 * MAX_SILENCE_NS // _PING_NS:
            del self._pings_sent_ns[next(iter(self._pings_sent_ns))]
        return True

    def on_pong(self, pong: Pong, now_ns: int) -> None:
        """Handle a pong. Pongs to pings that were not sent, or were sent too long ago, are ignored."""
        if pong.sent_ns not in self._pings_sent_ns:
            return
        del self._pings_sent_ns[pong.sent_ns]
        if self.clock is not None:
            self.clock.add(pong.sent_ns, pong.at_ns, now_ns)
        if not self.has_clock_offset:
            self._next_ping_ns = now_ns

    def loss_reason(self, now_ns: int) -> str | None:
        """Return why the worker must be given up, or None."""
        ending = None if self.local is None else self.local.exit_status()
        if ending is not None:
            self._ended_ns = self._ended_ns or now_ns
            return ending if now_ns - self._ended_ns >= _EXIT_REASON_NS else None
        silent_ns = now_ns - self.last_received_ns
        if silent_ns < MAX_SILENCE_NS:
            if silent_ns < MAX_SILENCE_NS // 2:
                self._used_cpu_s = None
            elif self._used_cpu_s is None and self.local is not None:
                self._used_cpu_s = self.local.used_cpu_s
            return None
        if self.local is not None and self.local.is_stopped:
            return f"did not respond for {MAX_SILENCE_NS / 1e9:g} s: its process is suspended"
        is_patient = not self.is_sending or self._is_starved()
        silence_ns = _SILENCE_PREPARING_NS if is_patient else MAX_SILENCE_NS
        return None if silent_ns < silence_ns else f"did not respond for {silence_ns / 1e9:g} s"

    def _is_starved(self) -> bool:
        """Return True if the worker used some CPU time in the second half of the allowed silence, but less than that
        half lasted.

        A worker that used that much is not silent for lack of CPU, and one that used none is not waiting for CPU.
        """
        if self.local is None or self._used_cpu_s is None:
            return False
        now_s = self.local.used_cpu_s
        return now_s is not None and 0 < now_s - self._used_cpu_s < MAX_SILENCE_NS / 2e9

    def __str__(self) -> str:
        return f"{self.hello.host} (process {self.hello.pid})"


class WorkerPool:
    """The workers that have sent Hello, in that order, or in the order of their indices after `assign_indices` was
    called."""

    def __init__(self) -> None:
        self._workers: dict[str, RemoteWorker] = {}
        self._polled_ns: int | None = None

    def __iter__(self) -> Iterator[RemoteWorker]:
        return iter(self._workers.values())

    def __len__(self) -> int:
        return len(self._workers)

    def get(self, client: str) -> RemoteWorker | None:
        return self._workers.get(client)

    def add(self, member: RemoteWorker) -> None:
        self._workers[member.client] = member

    def remove(self, member: RemoteWorker) -> None:
        del self._workers[member.client]

    @property
    def joined_count(self) -> int:
        return sum(member.has_clock_offset for member in self)

    @property
    def active_workers(self) -> tuple[RemoteWorker, ...]:
        return tuple(member for member in self if member.lost_reason is None)

    @property
    def has_several_hosts(self) -> bool:
        return len(self.group_by_host(tuple(self))) > 1

    def group_by_host(self, members: tuple[RemoteWorker, ...]) -> list[list[RemoteWorker]]:
        """Group workers by host. A host is a name and a clock, because two machines may have the same name."""
        hosts: dict[tuple[str, str], list[RemoteWorker]] = {}
        for member in members:
            hosts.setdefault((member.hello.host, member.hello.clock), []).append(member)
        return list(hosts.values())

    def assign_indices(self) -> None:
        """Assign indices: local workers first, then by host and process, so that the order does not depend on who
        joined first."""
        ordered = sorted(
            self, key=lambda worker: (worker.local is None, worker.hello.host, worker.hello.clock, worker.hello.pid)
        )
        self._workers = {member.client: member for member in ordered}
        for index, member in enumerate(ordered):
            member.index = index

    def find_lost(self, now_ns: int) -> list[tuple[RemoteWorker, str]]:
        """Return the workers that must be given up, with the reasons. Call it several times per second."""
        if self._polled_ns is not None and (paused_ns := now_ns - self._polled_ns) > _PAUSE_NS:
            for member in self:
                member.last_received_ns = min(now_ns, member.last_received_ns + paused_ns)
        self._polled_ns = now_ns
        return [(member, why) for member in self.active_workers if (why := member.loss_reason(now_ns)) is not None]
