"""One stage from the command to its last report."""

from __future__ import annotations

import gc
import time
from concurrent.futures import wait

from loadgen.arrivals import offsets_ns
from loadgen.records import ClosedArrivals, Progress, StageEnded, StagePlan, StageStarted
from loadgen.worker.reports import Reports
from loadgen.worker.sender import Sender
from loadgen.worker.stage import Stage
from loadgen.worker.target import Target

_LEAD_NS = 50_000_000
"""From the report that the stage starts to its start, so that the first arrivals are on time too."""

_SHIP_S = 0.05
_PROGRESS_NS = 250_000_000


class StageRun:
    def __init__(self, plan: StagePlan, sender: Sender, reports: Reports) -> None:
        self._plan, self._sender, self._reports = plan, sender, reports
        self._stage: Stage | None = None
        self._drain: bool | None = None

    def stop(self, drain: bool) -> None:
        """From any thread, also before the stage has started."""
        self._sender.loop.call_soon_threadsafe(self._stop, drain)

    def conduct(self, target: Target) -> None:
        """Send the stage and ship its rows, to the last report. Raises TargetError and WorkloadError."""
        stage = self._sender.call(self._prepare(target)).result()
        opened, cpu_s = target.transport.opened, time.process_time()
        self._reports.send(StageStarted(index=self._plan.index, start_ns=stage.start_ns, scheduled=stage.scheduled))
        sending = self._sender.call(stage.run())
        next_progress_ns = stage.start_ns
        while not wait((sending,), _SHIP_S).done:
            self._reports.send_rows(stage.rows)
            now_ns = time.perf_counter_ns()
            if now_ns >= next_progress_ns:
                next_progress_ns = now_ns + _PROGRESS_NS
                self._reports.send(_progress(self._plan.index, stage, now_ns))
        sending.result()
        end_ns, cpu_s = time.perf_counter_ns(), time.process_time() - cpu_s
        self._reports.send_rows(stage.rows)
        self._reports.send(
            StageEnded(
                index=self._plan.index,
                start_ns=stage.start_ns,
                end_ns=end_ns,
                scheduled=stage.scheduled,
                never_started=stage.never_started,
                cpu_s=cpu_s,
                connections_opened=target.transport.opened - opened,
                stopped_early=stage.was_stopped,
            )
        )

    async def _prepare(self, target: Target) -> Stage:
        built = await target.prepare()
        plan = self._plan
        assert not isinstance(plan.arrivals, ClosedArrivals)
        offsets = offsets_ns(plan.arrivals, plan.duration_s, plan.lead_in_s, plan.seed)[: plan.max_requests]
        # what lives on is not looked at again by the collections during the stage
        gc.collect()
        gc.freeze()
        start_ns = time.perf_counter_ns() + _LEAD_NS + round(plan.lead_in_s * 1e9)
        stage = self._stage = Stage(self._plan, offsets, start_ns, target.transport, built, self._sender.loop)
        if self._drain is not None:
            stage.stop(self._drain)
        return stage

    def _stop(self, drain: bool) -> None:
        self._drain = drain
        if self._stage is not None:
            self._stage.stop(drain)


def _progress(index: int, stage: Stage, now_ns: int) -> Progress:
    completed, failed, never_started = stage.completed, stage.failed, stage.never_started
    sent = stage.sent  # after the others, so that what is in flight is never below zero
    return Progress(
        index=index,
        at_ns=now_ns,
        intended=stage.intended,
        sent=sent,
        completed=completed,
        failed=failed,
        in_flight=sent - completed - failed + never_started,
        max_lag_ms=stage.max_lag_ns / 1e6,
    )
