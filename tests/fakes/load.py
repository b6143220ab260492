"""A load worker whose target is simulated in virtual time: one server, first come first served."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from loadgen.arrivals import offsets_ns
from loadgen.records import (
    REQUEST_SCHEMA,
    Endpoint,
    PreflightDone,
    Progress,
    StageEnded,
    StagePlan,
    StageStarted,
    Workload,
)
from tests.fakes.clock import FakeClock

OK = PreflightDone(error=None, status=200, detail="answered", service_ms=1.0)


class ScriptedLoad:
    """Service takes `service_s` always. `error` fails a share of the requests from stage `error_after` on.

    `on_stage` runs as each stage starts.
    """

    pid = 4242
    pacing = "fake"
    event_loop = "fake"

    def __init__(
        self,
        clock: FakeClock,
        *,
        service_s: float = 0.004,
        error: str | None = None,
        error_share: float = 1.0,
        error_after: int = 0,
        preflight: PreflightDone = OK,
        on_stage: Callable[[StagePlan], None] = lambda _: None,
    ) -> None:
        self._clock, self._service_s, self._error = clock, service_s, error
        self._error_share, self._error_after = error_share, error_after
        self._preflight, self._on_stage = preflight, on_stage
        self.plans: list[StagePlan] = []
        self.stops: list[bool] = []
        self.endpoints: list[Endpoint] = []
        self.is_closed = False

    def configure(self, endpoint: Endpoint, workload: Workload) -> None:
        self.endpoints.append(endpoint)

    def preflight(self) -> PreflightDone:
        return self._preflight

    def run_stage(
        self,
        plan: StagePlan,
        on_rows: Callable[[pa.RecordBatch], None],
        on_started: Callable[[StageStarted], None],
        on_progress: Callable[[Progress], bool],
    ) -> StageEnded:
        self.plans.append(plan)
        start_ns = self._clock.now_ns
        intended = start_ns + offsets_ns(plan)
        on_started(StageStarted(plan.index, start_ns, len(intended)))
        self._stops_before = len(self.stops)
        self._on_stage(plan)
        end = _queue(intended, round(self._service_s * 1e9))
        stopped_ns, is_drained = self._follow(plan, intended, end, on_progress)
        if stopped_ns is not None and is_drained:
            due = intended <= stopped_ns
            intended, end = intended[due], end[due]
        far_end_ns = max(start_ns + round(plan.duration_s * 1e9) if stopped_ns is None else 0, int(end[-1]))
        self._clock.now_ns = far_end_ns if stopped_ns is None or is_drained else stopped_ns
        on_rows(self._rows(plan, intended, end, self._clock.now_ns))
        return StageEnded(
            index=plan.index,
            start_ns=start_ns,
            end_ns=self._clock.now_ns,
            scheduled=len(intended),
            never_started=0,
            cpu_s=0.01,
            connections_opened=1,
            stopped_early=stopped_ns is not None,
        )

    def _follow(
        self, plan: StagePlan, intended: np.ndarray, end: np.ndarray, on_progress: Callable[[Progress], bool]
    ) -> tuple[int | None, bool]:
        """Tell progress four times a second; when the stage was stopped, if at all, and whether to drain."""
        for quarter in range(1, int(plan.duration_s * 4) + 1):
            at_ns = int(intended[0]) + quarter * 250_000_000
            due, done = int((intended <= at_ns).sum()), int((end <= at_ns).sum())
            failed = done if self._error else 0
            progress = Progress(plan.index, at_ns, due, due, done - failed, failed, due - done, 0.1)
            if not on_progress(progress):
                return at_ns, False
            if len(self.stops) > self._stops_before:
                return at_ns, self.stops[-1]
        return None, False

    def _rows(self, plan: StagePlan, intended: np.ndarray, end: np.ndarray, cut_ns: int) -> pa.RecordBatch:
        started, answered = intended <= cut_ns, end <= cut_ns
        every = round(1 / self._error_share) if plan.index >= self._error_after else len(intended) + 1
        failing = np.arange(1, len(intended) + 1) % every == 0
        if self._error is None:
            failing[:] = False
        error = np.where(answered, np.where(failing, self._error, None), "timeout")
        columns = {
            "stage": pa.array(np.full(len(intended), plan.index, np.int32)),
            "index": pa.array(np.arange(len(intended))),
            "intended_ns": pa.array(intended),
            "sent_ns": pa.array(intended + 30_000, mask=~started),
            "first_byte_ns": pa.array(end, mask=~answered),
            "end_ns": pa.array(np.minimum(end, cut_ns), mask=~started),
            "status": pa.array(np.where(failing, 500, 200).astype(np.int16), mask=~answered),
            "error": pa.array([one if begun else None for one, begun in zip(error, started, strict=True)], pa.utf8()),
            "bytes_received": pa.array(np.full(len(intended), 100, np.int32)),
            "reused": pa.array(np.ones(len(intended), bool)),
        }
        arrays = [columns.get(field.name, pa.nulls(len(intended), field.type)) for field in REQUEST_SCHEMA]
        return pa.RecordBatch.from_arrays(arrays, schema=REQUEST_SCHEMA)

    def stop(self, drain: bool) -> None:
        self.stops.append(drain)

    def close(self) -> None:
        self.is_closed = True


def _queue(intended: np.ndarray, service_ns: int) -> np.ndarray:
    """Ends of a D-service single-server queue: the k-th end is at least one service after the one before."""
    order = np.arange(len(intended)) * service_ns
    return np.maximum.accumulate(intended - order) + order + service_ns
