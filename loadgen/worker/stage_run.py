"""One stage from the command to its last report."""

from __future__ import annotations

import gc
import threading
import time
from concurrent.futures import wait

import msgspec
import numpy as np

from loadgen.arrivals import Offsets, offsets_ns
from loadgen.frames import Reports
from loadgen.records import BATCH_ROWS, ClosedArrivals, OpenArrivals, Progress, StageEnded, StagePlan, StageStarted
from loadgen.worker.rows import record_batch
from loadgen.worker.sender import Sender
from loadgen.worker.stage import Stage
from loadgen.worker.target import Target

_LEAD_NS = 50_000_000
"""From the report that the stage starts to its start, so that the first arrivals are on time too."""

_SHIP_S = 0.05
_PROGRESS_NS = 250_000_000

_MOST_DRAWN = 50_000_000
"""Arrivals after a change of rate, so that a mistyped one does not fill the memory."""


class StageRun:
    def __init__(self, plan: StagePlan, sender: Sender, reports: Reports) -> None:
        self._plan, self._sender, self._reports = plan, sender, reports
        self._stage: Stage | None = None
        self._drain: bool | None = None
        self._rate_per_s: float | None = None
        self._changes = 0
        self._redrawing = threading.Lock()

    def stop(self, drain: bool) -> None:
        """From any thread, also before the stage has started."""
        self._sender.loop.call_soon_threadsafe(self._stop, drain)

    def change_rate(self, rate_per_s: float) -> None:
        """From the thread that reads commands, also before the stage has started."""
        self._rate_per_s = rate_per_s
        self._redraw()

    def _redraw(self) -> None:
        """The rest of the arrivals, drawn on this thread, where that holds up no send."""
        with self._redrawing:
            plan, stage, rate_per_s = self._plan, self._stage, self._rate_per_s
            if stage is None or rate_per_s is None or not isinstance(plan.arrivals, OpenArrivals):
                return
            self._rate_per_s = None
            self._changes += 1
            left_s = plan.duration_s - (time.perf_counter_ns() - stage.start_ns) / 1e9
            arrivals = msgspec.structs.replace(plan.arrivals, rates=((0.0, rate_per_s),))
            seed = int(np.random.SeedSequence([plan.seed, self._changes]).generate_state(1)[0])
            offsets = offsets_ns(arrivals, max(0.0, min(left_s, _MOST_DRAWN / rate_per_s)), 0.0, seed)
        # one gap after the change, as by any other process; else every change would be an arrival
        later = offsets[offsets > 0]
        self._sender.loop.call_soon_threadsafe(lambda: stage.change_rate(rate_per_s, later, time.perf_counter_ns()))

    def conduct(self, target: Target) -> None:
        """Send the stage and ship its rows, to the last report. Raises TargetError and WorkloadError."""
        stage = self._sender.call(self._prepare(target)).result()
        self._redraw()
        index = self._plan.index
        opened, cpu_s = target.transport.opened, time.process_time()
        self._reports.send(StageStarted(index=index, start_ns=stage.start_ns, scheduled=stage.scheduled))
        sending = self._sender.call(stage.run())
        next_progress_ns = 0
        while not wait((sending,), _SHIP_S).done:
            self._ship(stage)
            now_ns = time.perf_counter_ns()
            if now_ns >= next_progress_ns:
                next_progress_ns = now_ns + _PROGRESS_NS
                self._reports.send(_progress(index, stage, now_ns))
        sending.result()
        end_ns, cpu_s = time.perf_counter_ns(), time.process_time() - cpu_s
        self._ship(stage)
        self._reports.send(
            StageEnded(
                index=index,
                start_ns=stage.start_ns,
                end_ns=end_ns,
                scheduled=stage.scheduled,
                never_started=stage.never_started,
                cpu_s=cpu_s,
                connections_opened=target.transport.opened - opened,
                stopped_early=stage.was_stopped,
                rates=stage.rates(),
            )
        )

    def _ship(self, stage: Stage) -> None:
        while count := min(len(stage.finished), BATCH_ROWS):
            batch = record_batch(self._plan.index, [stage.finished.popleft() for _ in range(count)])
            self._reports.send_rows(batch)

    async def _prepare(self, target: Target) -> Stage:
        built = await target.prepare()
        plan = self._plan
        offsets: Offsets | None = None
        if not isinstance(plan.arrivals, ClosedArrivals):
            offsets = offsets_ns(plan.arrivals, plan.duration_s, plan.lead_in_s, plan.seed)[: plan.max_requests]
        # what lives on is not looked at again by the collections during the stage
        gc.collect()
        gc.freeze()
        start_ns = time.perf_counter_ns() + _LEAD_NS + round(plan.lead_in_s * 1e9)
        on_refused_key = target.keys.refused if target.keys else None
        stage = Stage(plan, offsets, start_ns, target.transport, built, self._sender.loop, on_refused_key)
        self._stage = stage
        if self._drain is not None:
            stage.stop(self._drain, time.perf_counter_ns())
        return stage

    def _stop(self, drain: bool) -> None:
        self._drain = drain
        if self._stage is not None:
            self._stage.stop(drain, time.perf_counter_ns())


def _progress(index: int, stage: Stage, now_ns: int) -> Progress:
    completed, failed, never_started = stage.completed, stage.failed, stage.never_started
    sent = stage.sent  # after the others, so that what is in flight is never below zero
    return Progress(
        index=index,
        at_ns=now_ns,
        intended=stage.due,
        sent=sent,
        completed=completed,
        failed=failed,
        in_flight=sent - completed - failed + never_started,
        max_lag_ms=stage.max_lag_ns / 1e6,
    )
