"""The workers of a master: what is known of each, and when it was last heard of.

A worker that the master starts itself.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from typing import IO, cast

from loadgen.child import LastWords, end_within, how_it_ended, is_stopped, start_module, used_cpu_s
from loadgen.frames import message_frame
from loadgen.master.rows import SAME_CLOCK, ClockLine, WorkerClock
from loadgen.records import Hello, Join, LoadWorker, Pong


class LocalWorker:
    def __init__(self, join: Join) -> None:
        self._child = start_module("loadgen.worker", "--join", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self._stdin = cast(IO[bytes], self._child.stdin)
        self.pid = self._child.pid
        self._last_words = LastWords(cast(IO[bytes], self._child.stderr))
        with contextlib.suppress(OSError):  # it has ended already, which `ending` tells
            self._stdin.write(message_frame(join))
            self._stdin.flush()

    def ending(self) -> str | None:
        """How it ended; None while it runs."""
        code = self._child.poll()
        return None if code is None else how_it_ended(code)

    @property
    def is_stopped(self) -> bool:
        return is_stopped(self.pid)

    @property
    def used_cpu_s(self) -> float | None:
        return used_cpu_s(self.pid)

    @property
    def last_words(self) -> str | None:
        return self._last_words.text

    def let_go(self) -> None:
        """It leaves by itself when its standard input closes."""
        with contextlib.suppress(OSError):
            self._stdin.close()

    def end(self, within_s: float) -> None:
        """By force, where it has not left by then. Blocks."""
        self.let_go()
        end_within(within_s, self._child)

    def kill(self) -> None:
        self._child.kill()


SILENCE_NS = 2_500_000_000
_SILENCE_AT_REST_NS = 10_000_000_000
"""Of one that sends nothing yet: it may be making ready, which can keep its interpreter busy, as a tokenizer is read in
one go. A local one is given up after the shorter time even then, if its process is stopped (SIGSTOP). When it sends, it
has the longer one only if it gets some of the processor, but too little of it."""

_PING_NS = 250_000_000
_BURST = 8
"""Pings one after the other when a worker joins, so that its first offset is chosen among several."""

_LAST_WORDS_NS = 300_000_000
"""So long after its process has ended is a local worker still listened to: why it left may be on its way."""

_PAUSE_NS = 500_000_000
"""A master that was not running for longer heard nobody; who was silent then is not to blame."""


class Member:
    def __init__(self, client: str, hello: Hello, local: LocalWorker | None, is_same_clock: bool, now_ns: int) -> None:
        self.client, self.hello, self.local = client, hello, local
        self.index = -1
        self.clock = None if is_same_clock else WorkerClock()
        self.heard_ns = now_ns
        self.lost: str | None = None
        self.is_sending = False
        """Or about to."""
        self._pinged: dict[int, None] = {}
        self._next_ping_ns = now_ns
        self._ended_ns: int | None = None
        self._used_cpu_s: float | None = None
        """Of a local one, when half of its silence was over."""

    @property
    def load_worker(self) -> LoadWorker:
        hello = self.hello
        is_local = self.local is not None
        return LoadWorker(self.index, hello.host, hello.pid, is_local, hello.ceiling_per_s, hello.chunk_ceiling_per_s)

    @property
    def is_measured(self) -> bool:
        return self.clock is None or self.clock.count >= _BURST

    @property
    def round_trip_ns(self) -> int:
        return 0 if self.clock is None else self.clock.round_trip_ns

    def line(self) -> ClockLine:
        return SAME_CLOCK if self.clock is None else self.clock.line()

    def residual_ms(self, line: ClockLine) -> float | None:
        return None if self.clock is None else self.clock.residual_ms(line)

    def is_to_be_pinged(self, now_ns: int) -> bool:
        """Asked for each ping, which is sent at once."""
        if now_ns < self._next_ping_ns:
            return False
        self._next_ping_ns = now_ns + _PING_NS
        self._pinged[now_ns] = None
        while len(self._pinged) > 2 * SILENCE_NS // _PING_NS:
            del self._pinged[next(iter(self._pinged))]
        return True

    def answer(self, pong: Pong, now_ns: int) -> None:
        """Pongs to pings that were not sent, or long ago, are ignored."""
        if pong.sent_ns not in self._pinged:
            return
        del self._pinged[pong.sent_ns]
        if self.clock is not None:
            self.clock.add(pong.sent_ns, pong.at_ns, now_ns)
        if not self.is_measured:
            self._next_ping_ns = now_ns

    def loss(self, now_ns: int) -> str | None:
        """Why it has to be given up."""
        ending = None if self.local is None else self.local.ending()
        if ending is not None:
            self._ended_ns = self._ended_ns or now_ns
            return ending if now_ns - self._ended_ns >= _LAST_WORDS_NS else None
        silent_ns = now_ns - self.heard_ns
        if silent_ns < SILENCE_NS:
            if silent_ns < SILENCE_NS // 2:
                self._used_cpu_s = None
            elif self._used_cpu_s is None and self.local is not None:
                self._used_cpu_s = self.local.used_cpu_s
            return None
        if self.local is not None and self.local.is_stopped:
            return f"was not heard of for {SILENCE_NS / 1e9:g} s: its process is stopped"
        is_patient = not self.is_sending or self._is_starved()
        silence_ns = _SILENCE_AT_REST_NS if is_patient else SILENCE_NS
        return None if silent_ns < silence_ns else f"was not heard of for {silence_ns / 1e9:g} s"

    def _is_starved(self) -> bool:
        """Whether, since half of the bearable silence was over, it used some of the processor, but for less time than
        that half. One that has had so much is not silent for want of it, and one that used none does not wait for it.
        """
        if self.local is None or self._used_cpu_s is None:
            return False
        now_s = self.local.used_cpu_s
        return now_s is not None and 0 < now_s - self._used_cpu_s < SILENCE_NS / 2e9

    def __str__(self) -> str:
        return f"{self.hello.host} (process {self.hello.pid})"


class Crew:
    """Who has said Hello, in the order they did, and, once `number` was called, in the order of their numbers."""

    def __init__(self) -> None:
        self._members: dict[str, Member] = {}
        self._looked_ns: int | None = None

    def __iter__(self) -> Iterator[Member]:
        return iter(self._members.values())

    def __len__(self) -> int:
        return len(self._members)

    def get(self, client: str) -> Member | None:
        return self._members.get(client)

    def add(self, member: Member) -> None:
        self._members[member.client] = member

    def remove(self, member: Member) -> None:
        del self._members[member.client]

    @property
    def joined(self) -> int:
        return sum(member.is_measured for member in self)

    @property
    def survivors(self) -> tuple[Member, ...]:
        return tuple(member for member in self if member.lost is None)

    @property
    def has_several_hosts(self) -> bool:
        return len(self.by_host(tuple(self))) > 1

    def by_host(self, members: tuple[Member, ...]) -> list[list[Member]]:
        """A host is one name and one clock: two machines may have been called the same."""
        hosts: dict[tuple[str, str], list[Member]] = {}
        for member in members:
            hosts.setdefault((member.hello.host, member.hello.clock), []).append(member)
        return list(hosts.values())

    def number(self) -> None:
        """Those started here first, then by host and process: the order does not depend on who joined when."""
        ordered = sorted(self, key=lambda one: (one.local is None, one.hello.host, one.hello.clock, one.hello.pid))
        self._members = {member.client: member for member in ordered}
        for index, member in enumerate(ordered):
            member.index = index

    def losses(self, now_ns: int) -> list[tuple[Member, str]]:
        """Who has to be given up, and why. To be asked several times a second."""
        if self._looked_ns is not None and (paused_ns := now_ns - self._looked_ns) > _PAUSE_NS:
            for member in self:
                member.heard_ns = min(now_ns, member.heard_ns + paused_ns)
        self._looked_ns = now_ns
        return [(member, why) for member in self.survivors if (why := member.loss(now_ns)) is not None]
