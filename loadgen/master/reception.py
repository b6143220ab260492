"""Who comes to the door of a master: let in while the crew gathers, and told to leave otherwise.

What workers say, as far as it can be what workers say. They are other machines' processes: nothing
is taken for granted but the token.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterable
from typing import Protocol

import msgspec

from loadgen.frames import report_of
from loadgen.master.crew import Crew, Member
from loadgen.master.gathering import Gathering
from loadgen.master.stage import StageListener
from loadgen.plain import plain_line, plain_text
from loadgen.records import (
    ERROR_CLASSES,
    MOST_OF_A_SAMPLE,
    NOT_STARTED,
    Command,
    Failed,
    FirstError,
    Hello,
    Joining,
    Ping,
    PreflightDone,
    Progress,
    Quit,
    Ready,
    Report,
    StageEnded,
)

_MOST_OF_A_REPORT = 2**20
_MOST_OF_A_NAME = 255
_MOST = 2**58
"""Of a number: nine years in nanoseconds. Some dozens of them still add up to what msgpack can say."""


def heard_report(body: bytes) -> Report:
    """With its sentences as they may be shown. Raises ValueError for what no worker says."""
    if len(body) > _MOST_OF_A_REPORT:
        raise ValueError(f"a report of {len(body)} bytes")
    try:
        report = report_of(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"no report ({type(error).__name__})") from error
    if isinstance(report, Joining | Ready):
        raise ValueError(f"said {type(report).__name__} out of turn")
    if isinstance(report, Hello) and not all(
        map(_is_name, (report.host, report.clock, report.pacing, report.event_loop))
    ):
        raise ValueError("said Hello in no words")
    if not all(map(_is_likely, _numbers(msgspec.structs.astuple(report)))):
        raise ValueError(f"said {type(report).__name__} with an impossible number")
    if isinstance(report, Failed | PreflightDone) and report.error not in (None, *ERROR_CLASSES):
        raise ValueError(f"said {type(report).__name__} of an unknown error")
    if isinstance(report, Progress | StageEnded) and not _are_first_errors(report.first_errors):
        raise ValueError(f"said {type(report).__name__} with errors that are none")
    return _readable(report)


def _readable(report: Report) -> Report:
    match report:
        case Failed(message=message, hint=hint):
            hint = None if hint is None else plain_text(hint)
            return msgspec.structs.replace(report, message=plain_text(message), hint=hint)
        case PreflightDone(detail=detail, notes=notes, hosts=hosts, headers=headers):
            notes, hosts = tuple(map(plain_text, notes)), tuple(map(plain_text, hosts))
            headers = tuple((plain_text(name), plain_text(value)) for name, value in headers)
            return msgspec.structs.replace(report, detail=plain_text(detail), notes=notes, hosts=hosts, headers=headers)
        case Progress(first_errors=told) | StageEnded(first_errors=told) if told:
            lines = tuple(msgspec.structs.replace(one, text=plain_line(one.text, MOST_OF_A_SAMPLE)) for one in told)
            return msgspec.structs.replace(report, first_errors=lines)
        case _:  # nothing else is sentences
            return report


def _are_first_errors(told: tuple[FirstError, ...]) -> bool:
    """One a class."""
    classes = {one.error for one in told}
    return len(classes) == len(told) and classes <= {*ERROR_CLASSES, NOT_STARTED}


def _is_name(text: str) -> bool:
    return 0 < len(text) <= _MOST_OF_A_NAME and text.isprintable()


def _is_likely(number: float) -> bool:
    return math.isfinite(number) and abs(number) <= _MOST


def _numbers(values: Iterable[object]) -> Iterable[float]:
    for value in values:
        if isinstance(value, int | float):
            yield value
        elif isinstance(value, tuple):
            yield from _numbers(value)
        elif isinstance(value, msgspec.Struct):
            yield from _numbers(msgspec.structs.astuple(value))


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
