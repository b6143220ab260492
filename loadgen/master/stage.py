"""One stage distributed over the workers of a master: split, started at one moment, and reported as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from loadgen.master.merging import earliest_errors, merge_progress, merge_stage_ends, sum_known
from loadgen.master.rows import ClockLine, rebase_rows
from loadgen.master.worker_pool import RemoteWorker
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
    WorkerStageResult,
)

_LEAD_NS = 50_000_000
"""Lead time in ns between sending a start or change and the moment it applies to, between processes of one machine."""
_LEAD_OVER_A_NETWORK_NS = 200_000_000
_LEAD_ROUND_TRIPS = 4
_PROGRESS_NS = 250_000_000


class StageListener(Protocol):
    """Receives the reports and rows of the master, without blocking."""

    def send(self, report: Report) -> None: ...

    def send_rows(self, body: bytes) -> None: ...


class WorkerStage:
    """State and results of one worker in a stage."""

    def __init__(self, member: RemoteWorker, share: int) -> None:
        self.worker, self.share = member, share
        self.clock_line: ClockLine | None = None
        self.is_prepared = False
        self.started: StageStarted | None = None
        self.progress: Progress | None = None
        self.ended: StageEnded | None = None
        self._sent, self._max_lag_ms = 0, 0.0

    @property
    def is_awaited(self) -> bool:
        return self.worker.lost_reason is None and self.ended is None

    @property
    def first_errors(self) -> tuple[FirstError, ...]:
        """First errors reported so far, on the master's clock."""
        last = self.ended or self.progress
        return () if last is None else last.first_errors

    def rebase_rows(self, body: bytes, stage: int) -> bytes:
        """Convert a batch of rows for the engine. Raises ValueError if it is not this worker's part of the stage."""
        if self.ended is not None:
            raise ValueError("sent rows at the wrong time")
        self.clock_line = self.clock_line or self.worker.clock_line()
        passed = rebase_rows(body, stage, self.share, self.worker.index, self.clock_line)
        self._sent += passed.sent
        self._max_lag_ms = max(self._max_lag_ms, passed.max_lag_ms or 0.0)
        return passed.body

    def summarize(self, since_ns: int = 0) -> WorkerStageResult:
        """Summarize the worker's part. A worker lost in the stage is lost since `since_ns` at the earliest, even if it
        was last heard from before."""
        member, progress = self.worker, self.progress
        return WorkerStageResult(
            worker=member.index,
            host=member.hello.host,
            pid=member.hello.pid,
            cpu_s=0.0 if self.ended is None else self.ended.cpu_s,
            # The rows alone contain what was sent shortly before the last progress; the progress alone contains
            # requests without a response by then.
            sent=max(self._sent, progress.sent if progress else 0),
            max_lag_ms=max(self._max_lag_ms, progress.max_lag_ms if progress else 0.0),
            clock_residual_ms=None if self.clock_line is None else member.residual_ms(self.clock_line),
            lost_ns=max(member.last_received_ns, since_ns)
            if member.lost_reason is not None and self.ended is None
            else None,
            cpu_wait_s=None if self.ended is None else self.ended.cpu_wait_s,
        )


class DistributedStage:
    """A stage shared by the workers in `workers`; those in `lost_before` were lost since the previous stage.

    Everything runs on the hub and nothing blocks.
    """

    def __init__(
        self,
        plan: StagePlan,
        workers: Sequence[RemoteWorker],
        lost_before: Sequence[RemoteWorker],
        send: Callable[[RemoteWorker, Command], None],
        engine: StageListener,
        now_ns: Callable[[], int],
    ) -> None:
        self._plan, self._send, self._engine, self._now_ns = plan, send, engine, now_ns
        self._worker_stages = {member.client: WorkerStage(member, share) for share, member in enumerate(workers)}
        self._absent = [WorkerStage(member, 0) for member in lost_before]
        self._start_ns: int | None = None
        self._is_stopped = self._is_start_reported = self.is_over = False
        self._next_progress_ns = 0
        self._early_rows: list[bytes] = []
        """Rows of workers that started before the others had reported their start."""
        for worker_stage in self._worker_stages.values():
            send(worker_stage.worker, RunStage(plan, Share(worker_stage.share, len(workers))))

    def on_report(self, member: RemoteWorker, report: StagePrepared | StageStarted | Progress | StageEnded) -> None:
        """Handle a report. Raises ValueError if it is not of this stage, or out of order."""
        worker_stage = self._worker_stages.get(member.client)
        if worker_stage is None or report.index != self._plan.index or worker_stage.ended is not None:
            raise ValueError(f"sent {type(report).__name__} at the wrong time")
        match report:
            case StagePrepared():
                worker_stage.is_prepared = True
            case StageStarted():
                worker_stage.started = report
            case Progress():
                line = self._clock_line(worker_stage)
                worker_stage.progress = msgspec.structs.replace(
                    report, first_errors=_rebased(report.first_errors, line)
                )
            case StageEnded():
                line = worker_stage.clock_line or member.clock_line()
                worker_stage.ended = msgspec.structs.replace(
                    report,
                    end_ns=line.to_master_ns(report.end_ns),
                    first_errors=_rebased(report.first_errors, line),
                )
        self._advance()

    def on_rows(self, member: RemoteWorker, body: bytes) -> None:
        """Handle rows. Raises ValueError in the same cases as `on_report`."""
        worker_stage = self._worker_stages.get(member.client)
        if worker_stage is None:
            raise ValueError("sent rows at the wrong time")
        body = worker_stage.rebase_rows(body, self._plan.index)
        if self._is_start_reported:
            self._engine.send_rows(body)
        else:
            self._early_rows.append(body)

    def stop(self, drain: bool) -> None:
        self._is_stopped = True
        self._send_to_awaited(lambda _: StopStage(drain))

    def change_rate(self, change: ChangeRate) -> None:
        """Change the rate of all workers at one moment, late enough for all to have received the command."""
        at_ns = max(change.at_ns, self._now_ns() + self._lead_ns())
        self._send_to_awaited(
            lambda worker_stage: ChangeRate(change.rate_per_s, self._clock_line(worker_stage).to_worker_ns(at_ns))
        )

    def extend(self, extension: ExtendStage) -> None:
        """Extend the stage. A duration is the same on all clocks; the caller allows time for the command to arrive."""
        self._send_to_awaited(lambda _: extension)

    def on_worker_lost(self, member: RemoteWorker) -> bool:
        """Handle the loss of a worker: nobody sends the rest of its share, so the others stop. Return False if it had
        nothing left to do in this stage."""
        worker_stage = self._worker_stages.get(member.client)
        if worker_stage is None or worker_stage.ended is not None:
            return False
        if not self._is_stopped:
            self.stop(drain=True)
        self._advance()
        return True

    def _advance(self) -> None:
        remaining = [
            worker_stage for worker_stage in self._worker_stages.values() if worker_stage.worker.lost_reason is None
        ]
        if not remaining or self.is_over:
            return
        if self._start_ns is None and all(worker_stage.is_prepared or worker_stage.ended for worker_stage in remaining):
            self._start(remaining)
        if (
            not self._is_start_reported
            and self._start_ns is not None
            and all(worker_stage.started or worker_stage.ended for worker_stage in remaining)
        ):
            self._report_started(self._start_ns)
        if all(worker_stage.ended for worker_stage in remaining):
            self._end()
        elif self._is_start_reported:
            self._report_progress()

    def _start(self, remaining: Sequence[WorkerStage]) -> None:
        """Start all workers; immediately if the stage was stopped before, because stopped workers do not wait."""
        lead_ns = 0 if self._is_stopped else self._lead_ns() + round(self._plan.lead_in_s * 1e9)
        self._start_ns = self._now_ns() + lead_ns
        for worker_stage in remaining:
            # one line for the whole stage, so that its rows do not jump
            worker_stage.clock_line = worker_stage.clock_line or worker_stage.worker.clock_line()
            if worker_stage.ended is None:
                self._send(
                    worker_stage.worker,
                    StartStage(self._plan.index, worker_stage.clock_line.to_worker_ns(self._start_ns)),
                )

    def _report_started(self, start_ns: int) -> None:
        self._is_start_reported = True
        self._engine.send(StageStarted(self._plan.index, start_ns, self._scheduled()))
        for body in self._early_rows:
            self._engine.send_rows(body)
        self._early_rows.clear()

    def _end(self) -> None:
        self.is_over = True
        worker_stages = list(self._worker_stages.values())
        ends = [worker_stage.ended for worker_stage in worker_stages if worker_stage.ended is not None]
        start_ns = ends[0].start_ns if self._start_ns is None else self._start_ns
        begin_ns = start_ns - round(self._plan.lead_in_s * 1e9)
        all_parts = (
            *(worker_stage.summarize(begin_ns) for worker_stage in worker_stages),
            *(worker_stage.summarize() for worker_stage in self._absent),
        )
        worker_parts = sorted(all_parts, key=lambda part: part.worker)
        first_errors = earliest_errors(worker_stage.first_errors for worker_stage in worker_stages)
        self._engine.send(
            merge_stage_ends(self._plan.index, start_ns, self._scheduled(), ends, tuple(worker_parts), first_errors)
        )

    def _scheduled(self) -> int | None:
        """Return the total of scheduled arrivals, including those of a lost worker if it had reported them."""
        reports = (worker_stage.ended or worker_stage.started for worker_stage in self._worker_stages.values())
        return sum_known(report.scheduled for report in reports if report is not None)

    def _report_progress(self) -> None:
        now_ns = self._now_ns()
        latest = [
            worker_stage.progress for worker_stage in self._worker_stages.values() if worker_stage.progress is not None
        ]
        if now_ns >= self._next_progress_ns and latest:
            self._next_progress_ns = now_ns + _PROGRESS_NS
            self._engine.send(merge_progress(self._plan.index, now_ns, latest))

    def _send_to_awaited(self, command: Callable[[WorkerStage], Command]) -> None:
        for worker_stage in self._worker_stages.values():
            if worker_stage.is_awaited:
                self._send(worker_stage.worker, command(worker_stage))

    def _clock_line(self, worker_stage: WorkerStage) -> ClockLine:
        return worker_stage.clock_line or worker_stage.worker.clock_line()

    def _lead_ns(self) -> int:
        members = [worker_stage.worker for worker_stage in self._worker_stages.values() if worker_stage.is_awaited]
        if all(member.clock is None for member in members):
            return _LEAD_NS
        return _LEAD_OVER_A_NETWORK_NS + _LEAD_ROUND_TRIPS * max(member.round_trip_ns for member in members)


def _rebased(first_errors: tuple[FirstError, ...], line: ClockLine) -> tuple[FirstError, ...]:
    return tuple(msgspec.structs.replace(error, at_ns=line.to_master_ns(error.at_ns)) for error in first_errors)
