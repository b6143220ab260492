"""One stage of a master: shared out, started at one moment, and told as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from loadgen.master.crew import Member
from loadgen.master.merging import earliest, merged_end, merged_progress, summed
from loadgen.master.rows import ClockLine, passed_rows
from loadgen.records import (
    ChangeRate,
    Command,
    ExtendStage,
    FirstError,
    Progress,
    Report,
    RunStage,
    Share,
    StageEnded,
    StagePlan,
    StagePrepared,
    StageStarted,
    StartStage,
    StopStage,
    WorkerPart,
)

_LEAD_NS = 50_000_000
"""From what is told to the moment that it is told of, between processes of one machine …"""
_LEAD_OVER_A_NETWORK_NS = 200_000_000
_LEAD_ROUND_TRIPS = 4
_PROGRESS_NS = 250_000_000


class StageListener(Protocol):
    """Whoever the master works for; told without waiting."""

    def send(self, report: Report) -> None: ...

    def send_rows(self, body: bytes) -> None: ...


class WorkerStage:
    """What one worker did of a stage."""

    def __init__(self, member: Member, share: int) -> None:
        self.member, self.share = member, share
        self.line: ClockLine | None = None
        self.is_prepared = False
        self.started: StageStarted | None = None
        self.progress: Progress | None = None
        self.ended: StageEnded | None = None
        self._sent, self._max_lag_ms = 0, 0.0

    @property
    def is_awaited(self) -> bool:
        return self.member.lost is None and self.ended is None

    @property
    def first_errors(self) -> tuple[FirstError, ...]:
        """On the master's clock, as far as they were told."""
        last = self.ended or self.progress
        return () if last is None else last.first_errors

    def pass_rows(self, body: bytes, stage: int) -> bytes:
        """Raises ValueError for what is not this worker's part of the stage."""
        if self.ended is not None:
            raise ValueError("sent rows out of turn")
        self.line = self.line or self.member.line()
        passed = passed_rows(body, stage, self.share, self.member.index, self.line)
        self._sent += passed.sent
        self._max_lag_ms = max(self._max_lag_ms, passed.max_lag_ms or 0.0)
        return passed.body

    def told(self, since_ns: int = 0) -> WorkerPart:
        """One that was lost in the stage was so `since_ns` at the earliest, though it was last heard of before."""
        member, progress = self.member, self.progress
        return WorkerPart(
            worker=member.index,
            host=member.hello.host,
            pid=member.hello.pid,
            cpu_s=0.0 if self.ended is None else self.ended.cpu_s,
            # what was sent shortly before the last word is only in its rows, what was not answered then only told
            sent=max(self._sent, progress.sent if progress else 0),
            max_lag_ms=max(self._max_lag_ms, progress.max_lag_ms if progress else 0.0),
            clock_residual_ms=None if self.line is None else member.residual_ms(self.line),
            lost_ns=max(member.heard_ns, since_ns) if member.lost is not None and self.ended is None else None,
            waited_s=None if self.ended is None else self.ended.waited_s,
        )


class StageInPlay:
    """`crew` shares the stage; `absent` were lost since the one before. Belongs to the hub, and never waits."""

    def __init__(
        self,
        plan: StagePlan,
        crew: Sequence[Member],
        absent: Sequence[Member],
        tell: Callable[[Member, Command], None],
        engine: StageListener,
        now_ns: Callable[[], int],
    ) -> None:
        self._plan, self._tell, self._engine, self._now_ns = plan, tell, engine, now_ns
        self._parts = {member.client: WorkerStage(member, share) for share, member in enumerate(crew)}
        self._absent = [WorkerStage(member, 0) for member in absent]
        self._start_ns: int | None = None
        self._is_stopped = self._is_told = self.is_over = False
        self._next_progress_ns = 0
        self._early: list[bytes] = []
        """Rows of workers that were quicker to start than the others were to tell that they had."""
        for part in self._parts.values():
            tell(part.member, RunStage(plan, Share(part.share, len(crew))))

    def hear(self, member: Member, report: StagePrepared | StageStarted | Progress | StageEnded) -> None:
        """Raises ValueError for what is not of this stage, or not its turn."""
        part = self._parts.get(member.client)
        if part is None or report.index != self._plan.index or part.ended is not None:
            raise ValueError(f"said {type(report).__name__} out of turn")
        match report:
            case StagePrepared():
                part.is_prepared = True
            case StageStarted():
                part.started = report
            case Progress():
                line = self._line(part)
                part.progress = msgspec.structs.replace(report, first_errors=_moved(report.first_errors, line))
            case StageEnded():
                line = part.line or member.line()
                part.ended = msgspec.structs.replace(
                    report,
                    end_ns=line.master_ns(report.end_ns),
                    first_errors=_moved(report.first_errors, line),
                )
        self._go_on()

    def hear_rows(self, member: Member, body: bytes) -> None:
        """Raises ValueError, as `hear` does."""
        part = self._parts.get(member.client)
        if part is None:
            raise ValueError("sent rows out of turn")
        body = part.pass_rows(body, self._plan.index)
        if self._is_told:
            self._engine.send_rows(body)
        else:
            self._early.append(body)

    def stop(self, drain: bool) -> None:
        self._is_stopped = True
        self._tell_awaited(lambda _: StopStage(drain))

    def change_rate(self, change: ChangeRate) -> None:
        """All change at one moment, once it can have been told to all."""
        at_ns = max(change.at_ns, self._now_ns() + self._lead_ns())
        self._tell_awaited(lambda part: ChangeRate(change.rate_per_s, self._line(part).worker_ns(at_ns)))

    def extend(self, extension: ExtendStage) -> None:
        """A duration is the same on all clocks; whoever asks leaves time for telling it."""
        self._tell_awaited(lambda _: extension)

    def lose(self, member: Member) -> bool:
        """What it had yet to send, nobody will: the others stop. False where it had no more to do in this stage."""
        part = self._parts.get(member.client)
        if part is None or part.ended is not None:
            return False
        if not self._is_stopped:
            self.stop(drain=True)
        self._go_on()
        return True

    def _go_on(self) -> None:
        left = [part for part in self._parts.values() if part.member.lost is None]
        if not left or self.is_over:
            return
        if self._start_ns is None and all(part.is_prepared or part.ended for part in left):
            self._start(left)
        if not self._is_told and self._start_ns is not None and all(part.started or part.ended for part in left):
            self._tell_started(self._start_ns)
        if all(part.ended for part in left):
            self._end()
        elif self._is_told:
            self._tell_progress()

    def _start(self, left: Sequence[WorkerStage]) -> None:
        """At once when it was stopped before: those who heard of that wait for nothing."""
        lead_ns = 0 if self._is_stopped else self._lead_ns() + round(self._plan.lead_in_s * 1e9)
        self._start_ns = self._now_ns() + lead_ns
        for part in left:
            part.line = part.line or part.member.line()  # one for the whole stage: its rows must not jump
            if part.ended is None:
                self._tell(part.member, StartStage(self._plan.index, part.line.worker_ns(self._start_ns)))

    def _tell_started(self, start_ns: int) -> None:
        self._is_told = True
        self._engine.send(StageStarted(self._plan.index, start_ns, self._scheduled()))
        for body in self._early:
            self._engine.send_rows(body)
        self._early.clear()

    def _end(self) -> None:
        self.is_over = True
        parts = list(self._parts.values())
        ends = [part.ended for part in parts if part.ended is not None]
        start_ns = ends[0].start_ns if self._start_ns is None else self._start_ns
        begin_ns = start_ns - round(self._plan.lead_in_s * 1e9)
        of_all = (*(part.told(begin_ns) for part in parts), *(part.told() for part in self._absent))
        told = sorted(of_all, key=lambda part: part.worker)
        first = earliest(part.first_errors for part in parts)
        self._engine.send(merged_end(self._plan.index, start_ns, self._scheduled(), ends, tuple(told), first))

    def _scheduled(self) -> int | None:
        """With what a lost worker was to send, if it told."""
        told = (part.ended or part.started for part in self._parts.values())
        return summed(one.scheduled for one in told if one is not None)

    def _tell_progress(self) -> None:
        now_ns = self._now_ns()
        latest = [part.progress for part in self._parts.values() if part.progress is not None]
        if now_ns >= self._next_progress_ns and latest:
            self._next_progress_ns = now_ns + _PROGRESS_NS
            self._engine.send(merged_progress(self._plan.index, now_ns, latest))

    def _tell_awaited(self, command: Callable[[WorkerStage], Command]) -> None:
        for part in self._parts.values():
            if part.is_awaited:
                self._tell(part.member, command(part))

    def _line(self, part: WorkerStage) -> ClockLine:
        return part.line or part.member.line()

    def _lead_ns(self) -> int:
        members = [part.member for part in self._parts.values() if part.is_awaited]
        if all(member.clock is None for member in members):
            return _LEAD_NS
        return _LEAD_OVER_A_NETWORK_NS + _LEAD_ROUND_TRIPS * max(member.round_trip_ns for member in members)


def _moved(told: tuple[FirstError, ...], line: ClockLine) -> tuple[FirstError, ...]:
    return tuple(msgspec.structs.replace(one, at_ns=line.master_ns(one.at_ns)) for one in told)
