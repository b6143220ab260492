"""Decide which workers may join the pool of a master, and whether the expected workers can join."""

from __future__ import annotations

import socket

from loadgen.child import SUSPENDED_HINT
from loadgen.machine import get_clock_id
from loadgen.master.worker_pool import MAX_SILENCE_NS, LocalWorker, RemoteWorker, WorkerPool
from loadgen.records import WIRE_VERSION, Failed, Gather, Hello


class JoinCriteria:
    """Criteria for workers to join the pool of a master: the expected number of workers on this
    machine and on other machines, and the time limit.

    `address` is the host and port at which workers join.
    """

    def __init__(self, gather: Gather, address: str, local_workers: tuple[LocalWorker, ...], now_ns: int) -> None:
        self._gather, self.address, self._local_workers = gather, address, local_workers
        self._deadline_ns = now_ns + round(gather.wait_s * 1e9)
        self.expected_count = gather.local_workers + gather.remote_workers
        self.has_remote_workers = gather.remote_workers > 0
        self._suspended_since_ns: dict[int, int] = {}
        """Time in ns at which a local worker was first found to be suspended (SIGSTOP), by process
        ID."""

    def check_join(self, client_id: str, hello: Hello, pool: WorkerPool, now_ns: int) -> RemoteWorker | str:
        """Return a worker for the sender of a Hello message, or the reason why the sender cannot
        join the pool."""
        sender_name = f"the worker at {hello.host} (process {hello.pid})"
        if hello.protocol_version != WIRE_VERSION:
            return (
                f"{sender_name} has another version of Sizewise: its protocol version is {hello.protocol_version}, not "
                f"{WIRE_VERSION}. Install the same version on all machines."
            )
        has_same_clock = hello.clock == get_clock_id()
        local_worker = (
            self._find_local_worker(hello.pid) if has_same_clock and hello.host == socket.gethostname() else None
        )
        if local_worker is not None and any(worker.local_worker is local_worker for worker in pool):
            return f"{sender_name} has already joined"
        if local_worker is None and sum(worker.local_worker is None for worker in pool) >= self._gather.remote_workers:
            return f"{sender_name} was rejected, because all expected workers have joined"
        return RemoteWorker(client_id, hello, local_worker, has_same_clock, now_ns)

    def is_complete(self, pool: WorkerPool) -> bool:
        return pool.joined_count == self.expected_count

    def find_failure(self, pool: WorkerPool, now_ns: int) -> Failed | None:
        """Return a failure if an expected worker can no longer join or the time limit has passed,
        otherwise None."""
        for local_worker in self._local_workers:
            exit_status = local_worker.describe_exit()
            if exit_status is not None:
                return Failed(
                    f"a load worker on this machine {exit_status} before all workers had joined",
                    hint=local_worker.stderr_tail,
                )
            if not local_worker.is_suspended:
                self._suspended_since_ns.pop(local_worker.pid, None)
            elif now_ns - self._suspended_since_ns.setdefault(local_worker.pid, now_ns) >= MAX_SILENCE_NS:
                return Failed(
                    f"process {local_worker.pid}, a load worker on this machine, is suspended", hint=SUSPENDED_HINT
                )
        if now_ns < self._deadline_ns:
            return None
        workers_text = "1 worker" if self.expected_count == 1 else f"{self.expected_count} workers"
        return Failed(
            f"only {pool.joined_count} of {workers_text} joined at {self.address} within {self._gather.wait_s:g} s",
            hint=f"Start `sizewise worker --master {self.address}` on the other machines, with the same token."
            if self.has_remote_workers
            else None,
        )

    def _find_local_worker(self, pid: int) -> LocalWorker | None:
        return next((local_worker for local_worker in self._local_workers if local_worker.pid == pid), None)
