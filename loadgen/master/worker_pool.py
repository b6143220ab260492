"""Workers of a master: the state of each worker, the time of its last message, and the processes of
local workers."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from typing import IO, cast

from loadgen.child import StderrTail, describe_exit, is_suspended, read_cpu_s, start_module, wait_or_kill
from loadgen.frames import encode_message_frame
from loadgen.master.rows import SAME_CLOCK, ClockModel, WorkerClock
from loadgen.records import Hello, Join, LoadWorker, Pong


class LocalWorker:
    def __init__(self, join: Join) -> None:
        self._child = start_module("loadgen.worker", "--join", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self._stdin = cast(IO[bytes], self._child.stdin)
        self.pid = self._child.pid
        self._stderr_tail = StderrTail(cast(IO[bytes], self._child.stderr))
        with contextlib.suppress(OSError):  # the process has exited already, which `exit_status` reports
            self._stdin.write(encode_message_frame(join))
            self._stdin.flush()

    def describe_exit(self) -> str | None:
        """Return how the process of the worker exited, such as "exited with code 1"; None while the
        process runs."""
        code = self._child.poll()
        return None if code is None else describe_exit(code)

    @property
    def is_suspended(self) -> bool:
        return is_suspended(self.pid)

    @property
    def cpu_s(self) -> float | None:
        return read_cpu_s(self.pid)

    @property
    def stderr_tail(self) -> str | None:
        return self._stderr_tail.text

    def close_stdin(self) -> None:
        """Close the standard input of the worker's process, which makes the process exit."""
        with contextlib.suppress(OSError):
            self._stdin.close()

    def wait_or_kill(self, timeout_s: float) -> None:
        """Wait for the worker's process to exit, and kill the process if it has not exited within
        the timeout. The calling thread is blocked meanwhile."""
        self.close_stdin()
        wait_or_kill(timeout_s, self._child)

    def kill(self) -> None:
        self._child.kill()


MAX_SILENCE_NS = 2_500_000_000
"""Maximum time in ns between two messages of a worker that is sending requests. After a longer
silence, the worker counts as lost."""
_MAX_IDLE_SILENCE_NS = 10_000_000_000
"""Maximum time in ns between two messages of a worker that is not sending requests. After a longer
silence, the worker counts as lost.

The limit is longer than `MAX_SILENCE_NS`, because loading a tokenizer blocks the interpreter of a
worker for seconds. The same limit applies to a worker that is sending requests but gets too little
CPU time. It does not apply to a local worker whose process is suspended (SIGSTOP).
"""

_PING_INTERVAL_NS = 250_000_000
_INITIAL_PING_COUNT = 8
"""Number of consecutive pings to a worker that joins, so that the initial clock offset is the best
of several measurements."""

_EXIT_GRACE_NS = 300_000_000
"""Time in ns after the exit of a local worker during which its messages are still accepted, because
a message with the reason for the exit may still arrive."""

_MIN_PAUSE_NS = 500_000_000
"""Gap between two polls of the workers, in ns, above which the master itself counts as paused. Such
a gap does not count as silence of the workers."""


class RemoteWorker:
    def __init__(
        self, client_id: str, hello: Hello, local_worker: LocalWorker | None, has_same_clock: bool, now_ns: int
    ) -> None:
        self.client_id, self.hello, self.local_worker = client_id, hello, local_worker
        self.index = -1
        self.clock = None if has_same_clock else WorkerClock()
        self.last_received_ns = now_ns
        self.lost_reason: str | None = None
        self.is_sending = False
        """True from the report StagePrepared to the report StageEnded of the worker, including the
        time before the first request."""
        self._pending_pings_ns: dict[int, None] = {}
        self._next_ping_ns = now_ns
        self._exit_observed_ns: int | None = None
        self._midpoint_cpu_s: float | None = None
        """CPU time in seconds that a local worker had used when half of `MAX_SILENCE_NS` had passed
        without a message; None if not read."""

    @property
    def load_worker(self) -> LoadWorker:
        hello = self.hello
        is_local = self.local_worker is not None
        return LoadWorker(self.index, hello.host, hello.pid, is_local, hello.capacity_per_s, hello.chunk_capacity_per_s)

    @property
    def has_clock_offset(self) -> bool:
        return self.clock is None or self.clock.measurement_count >= _INITIAL_PING_COUNT

    @property
    def round_trip_ns(self) -> int:
        return 0 if self.clock is None else self.clock.round_trip_ns

    def fit_clock_model(self) -> ClockModel:
        return SAME_CLOCK if self.clock is None else self.clock.fit_model()

    def compute_residual_ms(self, clock_model: ClockModel) -> float | None:
        return None if self.clock is None else self.clock.compute_residual_ms(clock_model)

    def start_ping_if_due(self, now_ns: int) -> bool:
        """Return True if a ping is due, and record the ping as sent. The caller must then send the
        ping immediately."""
        if now_ns < self._next_ping_ns:
            return False
        self._next_ping_ns = now_ns + _PING_INTERVAL_NS
        self._pending_pings_ns[now_ns] = None
        while len(self._pending_pings_ns) > 2 * MAX_SILENCE_NS // _PING_INTERVAL_NS:
            del self._pending_pings_ns[next(iter(self._pending_pings_ns))]
        return True

    def on_pong(self, pong: Pong, now_ns: int) -> None:
        """Handle a pong from the worker. Ignore a pong whose ping was never sent or was sent too
        long ago."""
        if pong.sent_ns not in self._pending_pings_ns:
            return
        del self._pending_pings_ns[pong.sent_ns]
        if self.clock is not None:
            self.clock.add(pong.sent_ns, pong.at_ns, now_ns)
        if not self.has_clock_offset:
            self._next_ping_ns = now_ns

    def find_loss_reason(self, now_ns: int) -> str | None:
        """Return the reason why the worker counts as lost; None if the worker is not lost."""
        exit_status = None if self.local_worker is None else self.local_worker.describe_exit()
        if exit_status is not None:
            self._exit_observed_ns = self._exit_observed_ns or now_ns
            return exit_status if now_ns - self._exit_observed_ns >= _EXIT_GRACE_NS else None
        silence_ns = now_ns - self.last_received_ns
        if silence_ns < MAX_SILENCE_NS:
            if silence_ns < MAX_SILENCE_NS // 2:
                self._midpoint_cpu_s = None
            elif self._midpoint_cpu_s is None and self.local_worker is not None:
                self._midpoint_cpu_s = self.local_worker.cpu_s
            return None
        if self.local_worker is not None and self.local_worker.is_suspended:
            return f"did not respond for {MAX_SILENCE_NS / 1e9:g} s: the worker's process is suspended"
        has_longer_limit = not self.is_sending or self._is_starved()
        limit_ns = _MAX_IDLE_SILENCE_NS if has_longer_limit else MAX_SILENCE_NS
        return None if silence_ns < limit_ns else f"did not respond for {limit_ns / 1e9:g} s"

    def _is_starved(self) -> bool:
        """Return True if the worker used a CPU core for only part of the second half of the time
        `MAX_SILENCE_NS`.

        A worker that used a CPU core all the time is not silent for lack of CPU time. A worker that
        used no CPU time is not waiting for a CPU core.
        """
        if self.local_worker is None or self._midpoint_cpu_s is None:
            return False
        cpu_s = self.local_worker.cpu_s
        return cpu_s is not None and 0 < cpu_s - self._midpoint_cpu_s < MAX_SILENCE_NS / 2e9

    def __str__(self) -> str:
        return f"{self.hello.host} (process {self.hello.pid})"


class WorkerPool:
    """Pool of the workers that have joined, in the order of their Hello messages; after
    `assign_indices`, in the order of their indices."""

    def __init__(self) -> None:
        self._workers: dict[str, RemoteWorker] = {}
        self._last_poll_ns: int | None = None

    def __iter__(self) -> Iterator[RemoteWorker]:
        return iter(self._workers.values())

    def __len__(self) -> int:
        return len(self._workers)

    def get(self, client_id: str) -> RemoteWorker | None:
        return self._workers.get(client_id)

    def add(self, worker: RemoteWorker) -> None:
        self._workers[worker.client_id] = worker

    def remove(self, worker: RemoteWorker) -> None:
        del self._workers[worker.client_id]

    @property
    def joined_count(self) -> int:
        return sum(worker.has_clock_offset for worker in self)

    @property
    def active_workers(self) -> tuple[RemoteWorker, ...]:
        return tuple(worker for worker in self if worker.lost_reason is None)

    @property
    def has_several_hosts(self) -> bool:
        return len(self.group_by_host(tuple(self))) > 1

    def group_by_host(self, workers: tuple[RemoteWorker, ...]) -> list[list[RemoteWorker]]:
        """Group workers by host. A host is identified by its name and its clock, because two
        machines may have the same name."""
        workers_by_host: dict[tuple[str, str], list[RemoteWorker]] = {}
        for worker in workers:
            workers_by_host.setdefault((worker.hello.host, worker.hello.clock), []).append(worker)
        return list(workers_by_host.values())

    def assign_indices(self) -> None:
        """Assign indices to the workers: local workers first, then ordered by host and process ID.
        The indices do not depend on the order in which the workers joined."""
        ordered_workers = sorted(
            self,
            key=lambda worker: (worker.local_worker is None, worker.hello.host, worker.hello.clock, worker.hello.pid),
        )
        self._workers = {worker.client_id: worker for worker in ordered_workers}
        for index, worker in enumerate(ordered_workers):
            worker.index = index

    def find_lost_workers(self, now_ns: int) -> list[tuple[RemoteWorker, str]]:
        """Return the active workers that now count as lost, each with the reason for the loss. Must
        be called several times per second."""
        if self._last_poll_ns is not None and (paused_ns := now_ns - self._last_poll_ns) > _MIN_PAUSE_NS:
            for worker in self:
                worker.last_received_ns = min(now_ns, worker.last_received_ns + paused_ns)
        self._last_poll_ns = now_ns
        return [
            (worker, reason)
            for worker in self.active_workers
            if (reason := worker.find_loss_reason(now_ns)) is not None
        ]
