"""Controller of a master: handle commands from the engine and messages from workers, and send
commands and reports.

All functions run on the hub of gevent and do not block.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable

from loadgen.master.gathering import JoinCriteria
from loadgen.master.merging import PreflightRound, add_host_to_failure
from loadgen.master.registration import WorkerChannel, WorkerRegistration, decode_untrusted_report
from loadgen.master.stage import DistributedStage, StageListener
from loadgen.master.worker_pool import RemoteWorker, WorkerPool
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


class MasterController:
    """Controller of the workers of a master.

    `on_failed` is called when the master cannot continue, possibly several times.
    """

    def __init__(
        self,
        join_criteria: JoinCriteria,
        channel: WorkerChannel,
        engine: StageListener,
        on_failed: Callable[[Failed], None],
        now_ns: Callable[[], int],
    ) -> None:
        self._channel, self._engine, self._on_failed, self._now_ns = channel, engine, on_failed, now_ns
        self._pool = WorkerPool()
        self._registration = WorkerRegistration(self._pool, join_criteria, channel, engine)
        self._preflight: PreflightRound | None = None
        self._stage: DistributedStage | None = None
        self._unreported_losses: list[RemoteWorker] = []
        """Workers that were lost while they had no unfinished share of a stage. The next stage
        reports them."""

    def execute(self, command: Command) -> None:
        match command:
            case Configure():
                for worker in self._pool.active_workers:
                    self._send(worker, command)
            case Preflight():
                self._preflight = PreflightRound(self._pool.group_by_host(self._pool.active_workers), self._send)
            case RunStage(plan=plan):
                self._run_stage(plan)
            case StopStage() | ChangeRate() | ExtendStage():
                if self._stage is not None:
                    self._apply_to_stage(self._stage, command)
            case _:
                raise RuntimeError(f"the master cannot execute the command {type(command).__name__}")

    def _apply_to_stage(self, stage: DistributedStage, command: StopStage | ChangeRate | ExtendStage) -> None:
        match command:
            case StopStage(drain=drain):
                stage.stop(drain)
            case ChangeRate():
                stage.change_rate(command)
            case ExtendStage():
                stage.extend(command)

    def quit_workers(self) -> None:
        """Send the command Quit to all workers."""
        for worker in self._pool:
            self._send(worker, Quit())

    def on_message(self, client_id: str, kind: str, body: bytes) -> None:
        """Handle a report or rows from any client. Never raises: a client that sends an invalid
        message is evicted."""
        worker = self._pool.get(client_id)
        try:
            if worker is None:
                self._registration.on_hello(client_id, kind, body, self._now_ns())
            elif worker.lost_reason is None:
                worker.last_received_ns = self._now_ns()
                if kind == "rows":
                    self._on_rows(worker, body)
                else:
                    self._on_report(worker, decode_untrusted_report(body))
        except ValueError as error:
            self.evict(client_id, str(error))
        except Exception as error:  # anything else that an untrusted message can cause
            traceback.print_exc()
            self.evict(client_id, f"sent a message that caused {type(error).__name__}")

    def evict(self, client_id: str, reason: str) -> None:
        worker = self._pool.get(client_id)
        if worker is None:
            self._registration.reject(client_id, f"{client_id!r:.80} {reason}")
        elif worker.lost_reason is None:
            self._evict_worker(worker, reason)

    def tick(self) -> None:
        """Evict lost workers, send the pings that are due, and check whether the expected workers
        can still join.

        This method must be called about twenty times per second.
        """
        now_ns = self._now_ns()
        for worker, reason in self._pool.find_lost_workers(now_ns):
            self._evict_worker(worker, reason)
        for worker in self._pool.active_workers:
            self._registration.ping_if_due(worker, now_ns)
        failed = self._registration.find_failure(now_ns)
        if failed is not None:
            self._on_failed(failed)

    def _run_stage(self, plan: StagePlan) -> None:
        lost_workers, self._unreported_losses = self._unreported_losses, []
        self._stage = DistributedStage(
            plan, self._pool.active_workers, lost_workers, self._send, self._engine, self._now_ns
        )

    def _on_report(self, worker: RemoteWorker, report: Report) -> None:
        if isinstance(report, StagePrepared | StageEnded):
            worker.is_sending = isinstance(report, StagePrepared)
        match report:
            case Pong():
                worker.on_pong(report, self._now_ns())
                self._registration.ping_if_due(worker, self._now_ns())
                self._registration.close_if_complete()
            case Hello() if report == worker.hello:
                pass  # repeated while the worker was waiting
            case Failed():
                self._on_failed_report(worker, report)
            case PreflightDone() if self._preflight is not None:
                self._preflight.on_result(worker, report)
                self._report_preflight_if_complete()
            case StagePrepared() | StageStarted() | Progress() | StageEnded() if self._stage is not None:
                self._stage.on_report(worker, report)
                self._clear_ended_stage()
            case _:
                raise ValueError(f"sent an unexpected {type(report).__name__} report")

    def _on_rows(self, worker: RemoteWorker, body: bytes) -> None:
        if self._stage is None:
            raise ValueError("sent rows while no stage was running")
        self._stage.on_rows(worker, body)

    def _on_failed_report(self, worker: RemoteWorker, failed: Failed) -> None:
        if failed.error is None and not failed.is_workload_invalid:
            self._evict_worker(worker, f"failed: {failed.message}")
        elif self._pool.has_several_hosts:
            self._on_failed(add_host_to_failure(worker.hello.host, failed))
        else:
            self._on_failed(failed)

    def _report_preflight_if_complete(self) -> None:
        result = None if self._preflight is None else self._preflight.get_result()
        if result is not None:
            self._preflight = None
            self._engine.send(result)

    def _clear_ended_stage(self) -> None:
        if self._stage is not None and self._stage.has_ended:
            self._stage = None

    def _evict_worker(self, worker: RemoteWorker, reason: str) -> None:
        worker.lost_reason = reason
        sys.stderr.write(f"the load worker at {worker} {reason}\n")
        self._send(worker, Quit(f"{worker} {reason}"))
        self._channel.unregister(worker.client_id)
        if worker.local_worker is not None:
            worker.local_worker.kill()
        if self._registration.is_open:
            self._registration.remove(worker)
        else:
            self._continue_after_loss(worker)

    def _continue_after_loss(self, worker: RemoteWorker) -> None:
        if not self._pool.active_workers:
            self._on_failed(self._build_all_lost_failure())
            return
        if self._stage is None or not self._stage.on_worker_lost(worker):
            self._unreported_losses.append(worker)
        self._clear_ended_stage()
        if self._preflight is not None:
            self._preflight.on_worker_lost(worker)
            self._report_preflight_if_complete()

    def _build_all_lost_failure(self) -> Failed:
        count = len(self._pool)
        message = "the load worker was lost" if count == 1 else f"all {count} load workers were lost"
        return Failed(message, hint=f"{'; '.join(f'{worker} {worker.lost_reason}' for worker in self._pool)}.")

    def _send(self, worker: RemoteWorker, command: Command) -> None:
        self._channel.send(worker.client_id, command)
