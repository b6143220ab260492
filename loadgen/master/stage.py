"""A stage that is distributed over the workers of a master: split into shares, started at the same
time on all workers, and reported as a single stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from loadgen.master.merging import merge_first_errors, merge_progress, merge_stage_ends, sum_counts
from loadgen.master.rows import ClockModel, rebase_rows
from loadgen.master.worker_pool import RemoteWorker
from loadgen.records import (
    ChangeRate,
    Command,
    ExtendStage,
    FirstError,
    Progress,
    Report,
    RunStage,
    StageEnded,
    StagePlan,
    StagePrepared,
    StageStarted,
    StartStage,
    StopStage,
    WorkerShare,
    WorkerStageResult,
)

_LOCAL_LEAD_NS = 50_000_000
"""Lead time in ns of a command to workers on this machine: the time from sending the command to the
time at which it takes effect."""
_NETWORK_LEAD_NS = 200_000_000
_LEAD_ROUND_TRIPS = 4
_PROGRESS_INTERVAL_NS = 250_000_000


class StageListener(Protocol):
    """Receiver of the reports and rows of the master. The methods do not block."""

    def send(self, report: Report) -> None: ...

    def send_rows(self, body: bytes) -> None: ...


class WorkerStage:
    """State and results of one worker's share of a stage."""

    def __init__(self, worker: RemoteWorker, share_index: int) -> None:
        self.worker, self.share_index = worker, share_index
        self.clock_model: ClockModel | None = None
        self.is_prepared = False
        self.started_report: StageStarted | None = None
        self.progress: Progress | None = None
        self.ended_report: StageEnded | None = None
        self._sent_count, self._max_lag_ms = 0, 0.0

    @property
    def is_running(self) -> bool:
        return self.worker.lost_reason is None and self.ended_report is None

    @property
    def first_errors(self) -> tuple[FirstError, ...]:
        """First failure of each error class that the worker has reported so far, with times on the
        master's clock."""
        last_report = self.ended_report or self.progress
        return () if last_report is None else last_report.first_errors

    def rebase_rows(self, body: bytes, stage_index: int) -> bytes:
        """Convert a worker's batch of rows to the master's clock. Raises ValueError if the batch
        does not belong to this worker's share of the stage."""
        if self.ended_report is not None:
            raise ValueError("sent rows after the end of the stage")
        self.clock_model = self.clock_model or self.worker.fit_clock_model()
        rebased_rows = rebase_rows(body, stage_index, self.share_index, self.worker.index, self.clock_model)
        self._sent_count += rebased_rows.sent_count
        self._max_lag_ms = max(self._max_lag_ms, rebased_rows.max_lag_ms or 0.0)
        return rebased_rows.body

    def summarize(self, min_lost_ns: int = 0) -> WorkerStageResult:
        """Summarize the worker's share of the stage.

        If the worker was lost, `lost_ns` in the summary is the time of the worker's last message,
        but at least `min_lost_ns`.
        """
        worker, progress = self.worker, self.progress
        return WorkerStageResult(
            worker=worker.index,
            host=worker.hello.host,
            pid=worker.hello.pid,
            cpu_s=0.0 if self.ended_report is None else self.ended_report.cpu_s,
            # Rows can include requests sent after the last progress report; the progress report
            # also counts requests that had no response yet.
            sent=max(self._sent_count, progress.sent if progress else 0),
            max_lag_ms=max(self._max_lag_ms, progress.max_lag_ms if progress else 0.0),
            clock_residual_ms=None if self.clock_model is None else worker.compute_residual_ms(self.clock_model),
            lost_ns=max(worker.last_received_ns, min_lost_ns)
            if worker.lost_reason is not None and self.ended_report is None
            else None,
            cpu_wait_s=None if self.ended_report is None else self.ended_report.cpu_wait_s,
        )


class DistributedStage:
    """A stage that all `workers` run together. `previously_lost_workers` are the workers that were
    lost between the previous stage and this stage.

    All methods run on the hub of gevent and do not block.
    """

    def __init__(
        self,
        plan: StagePlan,
        workers: Sequence[RemoteWorker],
        previously_lost_workers: Sequence[RemoteWorker],
        send: Callable[[RemoteWorker, Command], None],
        engine: StageListener,
        now_ns: Callable[[], int],
    ) -> None:
        self._plan, self._send, self._engine, self._now_ns = plan, send, engine, now_ns
        self._worker_stages = {
            worker.client_id: WorkerStage(worker, share_index) for share_index, worker in enumerate(workers)
        }
        self._lost_worker_stages = [WorkerStage(worker, 0) for worker in previously_lost_workers]
        self._start_ns: int | None = None
        self._is_stopped = self._is_start_reported = self.has_ended = False
        self._next_progress_ns = 0
        self._early_rows: list[bytes] = []
        """Batches of rows that were received before all workers had reported the start of the
        stage."""
        for worker_stage in self._worker_stages.values():
            send(worker_stage.worker, RunStage(plan, WorkerShare(worker_stage.share_index, len(workers))))

    def on_report(self, worker: RemoteWorker, report: StagePrepared | StageStarted | Progress | StageEnded) -> None:
        """Handle a worker's report. Raises ValueError if the report belongs to a different stage,
        or was sent after StageEnded."""
        worker_stage = self._worker_stages.get(worker.client_id)
        if worker_stage is None or report.index != self._plan.index or worker_stage.ended_report is not None:
            raise ValueError(f"sent an unexpected {type(report).__name__} report")
        match report:
            case StagePrepared():
                worker_stage.is_prepared = True
            case StageStarted():
                worker_stage.started_report = report
            case Progress():
                clock_model = self._get_clock_model(worker_stage)
                worker_stage.progress = msgspec.structs.replace(
                    report, first_errors=_rebase_errors(report.first_errors, clock_model)
                )
            case StageEnded():
                clock_model = worker_stage.clock_model or worker.fit_clock_model()
                worker_stage.ended_report = msgspec.structs.replace(
                    report,
                    end_ns=clock_model.to_master_ns(report.end_ns),
                    first_errors=_rebase_errors(report.first_errors, clock_model),
                )
        self._advance()

    def on_rows(self, worker: RemoteWorker, body: bytes) -> None:
        """Handle a worker's batch of rows. Raises ValueError if the batch does not belong to the
        worker's share of this stage."""
        worker_stage = self._worker_stages.get(worker.client_id)
        if worker_stage is None:
            raise ValueError("sent rows of a stage that it does not run")
        body = worker_stage.rebase_rows(body, self._plan.index)
        if self._is_start_reported:
            self._engine.send_rows(body)
        else:
            self._early_rows.append(body)

    def stop(self, drain: bool) -> None:
        self._is_stopped = True
        self._send_to_running_workers(lambda _: StopStage(drain))

    def change_rate(self, change: ChangeRate) -> None:
        """Change the rate of all workers at the same time, with enough lead time for all workers to
        receive the command."""
        at_ns = max(change.at_ns, self._now_ns() + self._compute_lead_ns())
        self._send_to_running_workers(
            lambda worker_stage: ChangeRate(change.rate_per_s, self._get_clock_model(worker_stage).to_worker_ns(at_ns))
        )

    def extend(self, extension: ExtendStage) -> None:
        """Extend the stage on all workers. The caller must leave enough time for the command to
        reach all workers before the stage ends.

        The duration in the command needs no conversion between clocks.
        """
        self._send_to_running_workers(lambda _: extension)

    def on_worker_lost(self, worker: RemoteWorker) -> bool:
        """Handle the loss of a worker during the stage. Return False if the worker has no
        unfinished share of the stage.

        The remaining workers are stopped, because the rest of the lost worker's share will not be
        sent.
        """
        worker_stage = self._worker_stages.get(worker.client_id)
        if worker_stage is None or worker_stage.ended_report is not None:
            return False
        if not self._is_stopped:
            self.stop(drain=True)
        self._advance()
        return True

    def _advance(self) -> None:
        remaining_worker_stages = [
            worker_stage for worker_stage in self._worker_stages.values() if worker_stage.worker.lost_reason is None
        ]
        if not remaining_worker_stages or self.has_ended:
            return
        if self._start_ns is None and all(
            worker_stage.is_prepared or worker_stage.ended_report for worker_stage in remaining_worker_stages
        ):
            self._start(remaining_worker_stages)
        if (
            not self._is_start_reported
            and self._start_ns is not None
            and all(
                worker_stage.started_report or worker_stage.ended_report for worker_stage in remaining_worker_stages
            )
        ):
            self._report_started(self._start_ns)
        if all(worker_stage.ended_report for worker_stage in remaining_worker_stages):
            self._end()
        elif self._is_start_reported:
            self._report_progress()

    def _start(self, remaining_worker_stages: Sequence[WorkerStage]) -> None:
        """Start all workers after the lead time. Start immediately if the stage has already been
        stopped, because stopped workers do not wait for the start."""
        lead_ns = 0 if self._is_stopped else self._compute_lead_ns() + round(self._plan.load.lead_in_s * 1e9)
        self._start_ns = self._now_ns() + lead_ns
        for worker_stage in remaining_worker_stages:
            # Use the same clock line for the whole stage, so that the times of the rows do not
            # jump.
            worker_stage.clock_model = worker_stage.clock_model or worker_stage.worker.fit_clock_model()
            if worker_stage.ended_report is None:
                self._send(
                    worker_stage.worker,
                    StartStage(self._plan.index, worker_stage.clock_model.to_worker_ns(self._start_ns)),
                )

    def _report_started(self, start_ns: int) -> None:
        self._is_start_reported = True
        self._engine.send(StageStarted(self._plan.index, start_ns, self._count_scheduled_arrivals()))
        for body in self._early_rows:
            self._engine.send_rows(body)
        self._early_rows.clear()

    def _end(self) -> None:
        self.has_ended = True
        worker_stages = list(self._worker_stages.values())
        ended_reports = [
            worker_stage.ended_report for worker_stage in worker_stages if worker_stage.ended_report is not None
        ]
        start_ns = ended_reports[0].start_ns if self._start_ns is None else self._start_ns
        lead_in_start_ns = start_ns - round(self._plan.load.lead_in_s * 1e9)
        results = (
            *(worker_stage.summarize(lead_in_start_ns) for worker_stage in worker_stages),
            *(worker_stage.summarize() for worker_stage in self._lost_worker_stages),
        )
        worker_results = sorted(results, key=lambda result: result.worker)
        first_errors = merge_first_errors(worker_stage.first_errors for worker_stage in worker_stages)
        self._engine.send(
            merge_stage_ends(
                self._plan.index,
                start_ns,
                self._count_scheduled_arrivals(),
                ended_reports,
                tuple(worker_results),
                first_errors,
            )
        )

    def _count_scheduled_arrivals(self) -> int | None:
        """Return the total number of scheduled arrivals, including those that lost workers had
        reported; None if unknown."""
        reports = (
            worker_stage.ended_report or worker_stage.started_report for worker_stage in self._worker_stages.values()
        )
        return sum_counts(report.scheduled for report in reports if report is not None)

    def _report_progress(self) -> None:
        now_ns = self._now_ns()
        progress_reports = [
            worker_stage.progress for worker_stage in self._worker_stages.values() if worker_stage.progress is not None
        ]
        if now_ns >= self._next_progress_ns and progress_reports:
            self._next_progress_ns = now_ns + _PROGRESS_INTERVAL_NS
            self._engine.send(merge_progress(self._plan.index, now_ns, progress_reports))

    def _send_to_running_workers(self, build_command: Callable[[WorkerStage], Command]) -> None:
        for worker_stage in self._worker_stages.values():
            if worker_stage.is_running:
                self._send(worker_stage.worker, build_command(worker_stage))

    def _get_clock_model(self, worker_stage: WorkerStage) -> ClockModel:
        return worker_stage.clock_model or worker_stage.worker.fit_clock_model()

    def _compute_lead_ns(self) -> int:
        workers = [worker_stage.worker for worker_stage in self._worker_stages.values() if worker_stage.is_running]
        if all(worker.clock is None for worker in workers):
            return _LOCAL_LEAD_NS
        return _NETWORK_LEAD_NS + _LEAD_ROUND_TRIPS * max(worker.round_trip_ns for worker in workers)


def _rebase_errors(first_errors: tuple[FirstError, ...], clock_model: ClockModel) -> tuple[FirstError, ...]:
    return tuple(msgspec.structs.replace(error, at_ns=clock_model.to_master_ns(error.at_ns)) for error in first_errors)
