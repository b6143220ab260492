"""A master's work: what the engine commands and workers tell, turned into what they are told and the engine hears.

All of it belongs to the hub and none of it waits.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable

from loadgen.master.crew import Crew, Member
from loadgen.master.gathering import Gathering
from loadgen.master.merging import PreflightRound, failure_from
from loadgen.master.reception import Door, Reception, heard_report
from loadgen.master.stage import StageInPlay, StageListener
from loadgen.records import (
    ChangeRate,
    Command,
    Configure,
    ExtendStage,
    Failed,
    Hello,
    Pong,
    Preflight,
    PreflightDone,
    Progress,
    Quit,
    Report,
    RunStage,
    StageEnded,
    StagePlan,
    StagePrepared,
    StageStarted,
    StopStage,
)


class Conductor:
    """`on_failed` is called when the master cannot go on, perhaps again."""

    def __init__(
        self,
        gathering: Gathering,
        door: Door,
        engine: StageListener,
        on_failed: Callable[[Failed], None],
        now_ns: Callable[[], int],
    ) -> None:
        self._door, self._engine, self._on_failed, self._now_ns = door, engine, on_failed, now_ns
        self._crew = Crew()
        self._reception = Reception(self._crew, gathering, door, engine)
        self._asking: PreflightRound | None = None
        self._stage: StageInPlay | None = None
        self._unreported: list[Member] = []
        """Lost since the last stage."""

    def obey(self, command: Command) -> None:
        match command:
            case Configure():
                for member in self._crew.survivors:
                    self._tell(member, command)
            case Preflight():
                self._asking = PreflightRound(self._crew.by_host(self._crew.survivors), self._tell)
            case RunStage(plan=plan):
                self._run(plan)
            case StopStage() | ChangeRate() | ExtendStage():
                if self._stage is not None:
                    self._obey_in(self._stage, command)
            case _:
                raise RuntimeError(f"a master was told {type(command).__name__}")

    def _obey_in(self, stage: StageInPlay, command: StopStage | ChangeRate | ExtendStage) -> None:
        match command:
            case StopStage(drain=drain):
                stage.stop(drain)
            case ChangeRate():
                stage.change_rate(command)
            case ExtendStage():
                stage.extend(command)

    def dismiss(self) -> None:
        """Tell all to leave."""
        for member in self._crew:
            self._tell(member, Quit())

    def hear(self, client: str, kind: str, body: bytes) -> None:
        """A report or rows, from anybody. Raises nothing: whoever says what cannot be understood is lost."""
        member = self._crew.get(client)
        try:
            if member is None:
                self._reception.greet(client, kind, body, self._now_ns())
            elif member.lost is None:
                member.heard_ns = self._now_ns()
                if kind == "rows":
                    self._hear_rows(member, body)
                else:
                    self._hear(member, heard_report(body))
        except ValueError as error:
            self.distrust(client, str(error))
        except Exception as error:  # what else a stranger's words can do
            traceback.print_exc()
            self.distrust(client, f"said something that led to {type(error).__name__}")

    def distrust(self, client: str, why: str) -> None:
        member = self._crew.get(client)
        if member is None:
            self._reception.refuse(client, f"{client!r:.80} {why}")
        elif member.lost is None:
            self._lose(member, why)

    def tick(self) -> None:
        """To be called some twenty times a second."""
        now_ns = self._now_ns()
        for member, why in self._crew.losses(now_ns):
            self._lose(member, why)
        for member in self._crew.survivors:
            self._reception.ping(member, now_ns)
        failed = self._reception.failure(now_ns)
        if failed is not None:
            self._on_failed(failed)

    def _run(self, plan: StagePlan) -> None:
        absent, self._unreported = self._unreported, []
        self._stage = StageInPlay(plan, self._crew.survivors, absent, self._tell, self._engine, self._now_ns)

    def _hear(self, member: Member, report: Report) -> None:
        if isinstance(report, StagePrepared | StageEnded):
            member.is_sending = isinstance(report, StagePrepared)
        match report:
            case Pong():
                member.answer(report, self._now_ns())
                self._reception.ping(member, self._now_ns())
                self._reception.count()
            case Hello() if report == member.hello:
                pass  # said again while it was waiting
            case Failed():
                self._hear_failed(member, report)
            case PreflightDone() if self._asking is not None:
                self._asking.hear(member, report)
                self._look_at_preflight()
            case StagePrepared() | StageStarted() | Progress() | StageEnded() if self._stage is not None:
                self._stage.hear(member, report)
                self._look_at_stage()
            case _:
                raise ValueError(f"said {type(report).__name__} out of turn")

    def _hear_rows(self, member: Member, body: bytes) -> None:
        if self._stage is None:
            raise ValueError("sent rows out of turn")
        self._stage.hear_rows(member, body)

    def _hear_failed(self, member: Member, failed: Failed) -> None:
        if failed.error is None and not failed.is_workload_wrong:
            self._lose(member, f"failed: {failed.message}")
        elif self._crew.has_several_hosts:
            self._on_failed(failure_from(member.hello.host, failed))
        else:
            self._on_failed(failed)

    def _look_at_preflight(self) -> None:
        outcome = None if self._asking is None else self._asking.outcome()
        if outcome is not None:
            self._asking = None
            self._engine.send(outcome)

    def _look_at_stage(self) -> None:
        if self._stage is not None and self._stage.is_over:
            self._stage = None

    def _lose(self, member: Member, why: str) -> None:
        member.lost = why
        sys.stderr.write(f"the load worker at {member} {why}\n")
        self._tell(member, Quit(f"{member} {why}"))
        self._door.strike(member.client)
        if member.local is not None:
            member.local.kill()
        if self._reception.is_open:
            self._reception.let_go(member)
        else:
            self._do_without(member)

    def _do_without(self, member: Member) -> None:
        if not self._crew.survivors:
            self._on_failed(self._all_lost())
            return
        if self._stage is None or not self._stage.lose(member):
            self._unreported.append(member)
        self._look_at_stage()
        if self._asking is not None:
            self._asking.lose(member)
            self._look_at_preflight()

    def _all_lost(self) -> Failed:
        what = "the load worker is lost" if len(self._crew) == 1 else f"all {len(self._crew)} load workers are lost"
        return Failed(what, hint=f"{'; '.join(f'{member} {member.lost}' for member in self._crew)}.")

    def _tell(self, member: Member, command: Command) -> None:
        self._door.tell(member.client, command)
