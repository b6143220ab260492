"""Who comes to the door of a master: let in while the crew gathers, and told to leave otherwise."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Protocol

import msgspec

from loadgen.master.crew import Crew, Member
from loadgen.master.gathering import Gathering
from loadgen.master.heard import heard_report
from loadgen.master.stage import StageListener
from loadgen.records import Command, Failed, Hello, Joining, Ping, Quit, Ready

_MOST_REFUSALS = 20
"""Sentences about those who were not let in, so that one who tries for hours fills nothing."""


class Door(Protocol):
    """Nothing here waits. `begin` has Locust start its users on those who are enlisted, and then calls `then`."""

    def tell(self, client: str, command: Command) -> None: ...

    def enlist(self, client: str) -> None: ...

    def strike(self, client: str) -> None: ...

    def begin(self, then: Callable[[], None]) -> None: ...


class Reception:
    def __init__(self, crew: Crew, gathering: Gathering, door: Door, engine: StageListener) -> None:
        self._crew, self._gathering, self._door, self._engine = crew, gathering, door, engine
        self.is_open = True
        self._told_joined = -1
        self._refusals: list[str] = []
        self._tell_joining()

    def greet(self, client: str, kind: str, body: bytes, now_ns: int) -> None:
        """Of one who is not in the crew only a Hello is listened to; raises ValueError for all else."""
        hello = heard_report(body) if kind == "report" else None
        if not isinstance(hello, Hello):
            raise ValueError("said something before Hello")
        if not self.is_open:
            self.refuse(client, f"the worker at {hello.host} (process {hello.pid}) came when all were there")
            return
        member = self._gathering.member_of(client, hello, self._crew, now_ns)
        if isinstance(member, str):
            self.refuse(client, member)
            return
        self._crew.add(member)
        self._door.enlist(client)
        self.ping(member, now_ns)
        self.count()

    def refuse(self, client: str, why: str) -> None:
        self._door.tell(client, Quit(why))
        if len(self._refusals) < _MOST_REFUSALS:
            self._refusals.append(why)
            sys.stderr.write(f"{why}\n")

    def ping(self, member: Member, now_ns: int) -> None:
        """Where it is time to."""
        if member.is_to_be_pinged(now_ns):
            self._door.tell(member.client, Ping(now_ns))

    def count(self) -> None:
        """Whether all are there by now."""
        if not self.is_open:
            return
        self._tell_joining()
        if self._gathering.is_complete(self._crew):
            self.is_open = False
            self._crew.number()
            self._door.begin(self._tell_ready)

    def let_go(self, member: Member) -> None:
        """Another may come instead."""
        self._crew.remove(member)
        self._tell_joining()

    def failure(self, now_ns: int) -> Failed | None:
        """Why not all will ever be there, and who came in vain."""
        failed = self._gathering.failure(self._crew, now_ns) if self.is_open else None
        if failed is None or not self._refusals:
            return failed
        hints = [failed.hint] if failed.hint else []
        return msgspec.structs.replace(failed, hint="\n".join([*hints, *self._refusals]))

    def _tell_joining(self) -> None:
        count = self._crew.joined
        if self._gathering.has_remote and count != self._told_joined:
            self._told_joined = count
            self._engine.send(Joining(self._gathering.address, count, self._gathering.expected))

    def _tell_ready(self) -> None:
        hellos = [member.hello for member in self._crew]
        self._engine.send(
            Ready(
                pid=os.getpid(),
                pacing=", ".join(sorted({hello.pacing for hello in hellos})),
                event_loop=", ".join(sorted({hello.event_loop for hello in hellos})),
                workers=tuple(member.load_worker for member in self._crew),
            )
        )
