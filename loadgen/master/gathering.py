"""Which workers make up a crew: those started here, and those of other machines."""

from __future__ import annotations

import socket

from loadgen.child import HINT_STOPPED
from loadgen.machine import clock_id
from loadgen.master.crew import SILENCE_NS, Crew, LocalWorker, Member
from loadgen.records import WIRE, Failed, Gather, Hello


class Gathering:
    """Of this process's own host and clock. `address` is where workers join."""

    def __init__(self, gather: Gather, address: str, local_workers: tuple[LocalWorker, ...], now_ns: int) -> None:
        self._gather, self.address, self._local_workers = gather, address, local_workers
        self._until_ns = now_ns + round(gather.wait_s * 1e9)
        self.expected = gather.local + gather.remote
        self.has_remote = gather.remote > 0
        self._stopped_since_ns: dict[int, int] = {}
        """By process id, of local workers that are stopped (SIGSTOP)."""

    def member_of(self, client: str, hello: Hello, crew: Crew, now_ns: int) -> Member | str:
        """Who said Hello, or why it cannot be one of the crew."""
        worker = f"the worker at {hello.host} (process {hello.pid})"
        if hello.wire != WIRE:
            return f"{worker} is of another version of Sizewise: its messages are of version {hello.wire}, not {WIRE}"
        is_same_clock = hello.clock == clock_id()
        local = self._local(hello.pid) if is_same_clock and hello.host == socket.gethostname() else None
        if local is not None and any(member.local is local for member in crew):
            return f"{worker} has joined already"
        if local is None and sum(member.local is None for member in crew) >= self._gather.remote:
            return f"{worker} is one more than were expected"
        return Member(client, hello, local, is_same_clock, now_ns)

    def is_complete(self, crew: Crew) -> bool:
        return crew.joined == self.expected

    def failure(self, crew: Crew, now_ns: int) -> Failed | None:
        """Why it will never be complete."""
        for local in self._local_workers:
            ending = local.ending()
            if ending is not None:
                return Failed(f"a load worker of this machine {ending} before all had joined", hint=local.last_words)
            if not local.is_stopped:
                self._stopped_since_ns.pop(local.pid, None)
            elif now_ns - self._stopped_since_ns.setdefault(local.pid, now_ns) >= SILENCE_NS:
                return Failed(f"process {local.pid}, a load worker of this machine, is stopped", hint=HINT_STOPPED)
        if now_ns < self._until_ns:
            return None
        workers = "1 worker" if self.expected == 1 else f"{self.expected} workers"
        return Failed(
            f"only {crew.joined} of {workers} joined at {self.address} within {self._gather.wait_s:g} s",
            hint=f"Start `sizewise worker --master {self.address}` on the other machines, with the same token."
            if self.has_remote
            else None,
        )

    def _local(self, pid: int) -> LocalWorker | None:
        return next((local for local in self._local_workers if local.pid == pid), None)
