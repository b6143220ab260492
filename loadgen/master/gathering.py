"""Join local workers and workers on other machines to the pool of a master."""

from __future__ import annotations

import socket

from loadgen.child import SUSPENDED_HINT
from loadgen.machine import get_clock_id
from loadgen.master.worker_pool import MAX_SILENCE_NS, LocalWorker, RemoteWorker, WorkerPool
from loadgen.records import WIRE_VERSION, Failed, Gather, Hello


class JoinCriteria:
    """Criteria for workers to join the pool, given the host and clock of the master. `address` is
    the host and port at which workers join."""

    def __init__(self, gather: Gather, address: str, local_workers: tuple[LocalWorker, ...], now_ns: int) -> None:
        self._gather, self.address, self._local_workers = gather, address, local_workers
        self._until_ns = now_ns + round(gather.wait_s * 1e9)
        self.expected = gather.local + gather.remote
        self.has_remote = gather.remote > 0
        self._stopped_since_ns: dict[int, int] = {}
        """Time in ns since which a local worker has been suspended (SIGSTOP), by process ID."""

    def check_join(self, client: str, hello: Hello, pool: WorkerPool, now_ns: int) -> RemoteWorker | str:
        """Return a worker for the sender of Hello, or the reason why the sender cannot join the
        pool."""
        sender_name = f"the worker at {hello.host} (process {hello.pid})"
        if hello.protocol_version != WIRE_VERSION:
            return (
                f"{sender_name} has another version of Sizewise: its protocol version is {hello.protocol_version}, not "
                f"{WIRE_VERSION}. Install the same version on all machines."
            )
        is_same_clock = hello.clock == get_clock_id()
        local = self._find_local(hello.pid) if is_same_clock and hello.host == socket.gethostname() else None
        if local is not None and any(worker.local is local for worker in pool):
            return f"{sender_name} has already joined"
        if local is None and sum(worker.local is None for worker in pool) >= self._gather.remote:
            return f"{sender_name} was rejected, because all expected workers have joined"
        return RemoteWorker(client, hello, local, is_same_clock, now_ns)

    def is_complete(self, pool: WorkerPool) -> bool:
        return pool.joined_count == self.expected

    def find_failure(self, pool: WorkerPool, now_ns: int) -> Failed | None:
        """Return a failure if the expected workers can no longer all join or the time limit has
        passed, otherwise None."""
        for local in self._local_workers:
            exit_status = local.describe_exit()
            if exit_status is not None:
                return Failed(
                    f"a load worker of this machine {exit_status} before all workers had joined", hint=local.stderr_tail
                )
            if not local.is_suspended:
                self._stopped_since_ns.pop(local.pid, None)
            elif now_ns - self._stopped_since_ns.setdefault(local.pid, now_ns) >= MAX_SILENCE_NS:
                return Failed(f"process {local.pid}, a load worker of this machine, is suspended", hint=SUSPENDED_HINT)
        if now_ns < self._until_ns:
            return None
        workers = "1 worker" if self.expected == 1 else f"{self.expected} workers"
        return Failed(
            f"only {pool.joined_count} of {workers} joined at {self.address} within {self._gather.wait_s:g} s",
            hint=f"Start `sizewise worker --master {self.address}` on the other machines, with the same token."
            if self.has_remote
            else None,
        )

    def _find_local(self, pid: int) -> LocalWorker | None:
        return next((local for local in self._local_workers if local.pid == pid), None)
