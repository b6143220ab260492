"""Load workers of a run: progress messages while workers join, and the contribution of each worker
to a stage."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence

from app.records.result import WorkerData
from app.session.dependencies import LoadGenerator
from app.session.interruption import Interruption
from app.session.run_log import RunLog
from app.session.stage_monitor import StageMonitor
from loadgen.process import LoadError
from loadgen.records import Joining, LoadWorker, StageEnded, WorkerStageResult


def build_join_callback(run_log: RunLog, interruption: Interruption) -> Callable[[Joining], None]:
    """Return a callback that reports how many workers have joined.

    The callback raises LoadError if the user has requested a stop, so that the run stops waiting
    for missing workers."""
    last_message = ""

    def report_joining(joining: Joining) -> None:
        nonlocal last_message
        if interruption.is_requested:
            raise LoadError("the run was interrupted while waiting for workers")
        if (message := _format_joining(joining)) != last_message:
            last_message = message
            run_log.emit_phase("workers", message)

    return report_joining


def build_worker_data(worker_results: Sequence[WorkerStageResult]) -> tuple[WorkerData, ...]:
    """Convert the stage results of the workers to the records that the result contains."""
    return tuple(
        WorkerData(
            worker=worker_result.worker,
            host=worker_result.host,
            pid=worker_result.pid,
            cpu_s=worker_result.cpu_s,
            sent=worker_result.sent,
            max_lag_ms=worker_result.max_lag_ms,
            clock_residual_ms=worker_result.clock_residual_ms,
            lost_ns=worker_result.lost_ns,
            cpu_wait_s=worker_result.cpu_wait_s,
        )
        for worker_result in worker_results
    )


def build_lost_stage(
    index: int, monitor: StageMonitor, start_ns: int, now_ns: int, generator: LoadGenerator
) -> StageEnded:
    """Build the end report of a stage that lost all its workers, from the data that the workers had
    reported until then."""
    workers = generator.workers or (LoadWorker(0, socket.gethostname(), generator.pid, is_local=True),)
    return StageEnded(
        index=index,
        start_ns=start_ns,
        end_ns=now_ns,
        scheduled=None,
        never_started=0,
        cpu_s=0.0,
        connections_opened=0,
        stopped_early=True,
        first_errors=monitor.observed_errors,
        workers=tuple(
            WorkerStageResult(
                worker=worker.index,
                host=worker.host,
                pid=worker.pid,
                cpu_s=0.0,
                sent=monitor.sent_by_worker[worker.index],
                max_lag_ms=monitor.max_lag_ms,
                lost_ns=now_ns,
            )
            for worker in workers
        ),
    )


def _format_joining(joining: Joining) -> str:
    workers_text = "1 worker" if joining.expected == 1 else f"{joining.expected:,} workers"
    joined_count_text = "1 has" if joining.joined == 1 else f"{joining.joined:,} have"
    return f"waiting for {workers_text} at {joining.address}: {joined_count_text} joined"
