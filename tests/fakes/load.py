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
    """Service takes `service_s` always. `error` fails every request; `on_stage` runs as each stage starts."""

    pid = 4242
    pacing = "fake"
    event_loop = "fake"

    def __init__(
        self,
        clock: FakeClock,
        *,
        service_s: float = 0.004,
        error: str | None = None,
        preflight: PreflightDone = OK,
        on_stage: Callable[[StagePlan], None] = lambda _: None,
    ) -> None:
        self._clock, self._service_s, self._error = clock, service_s, error
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
        self._on_stage(plan)
        stops_before = len(self.stops)
        end = _queue(intended, round(self._service_s * 1e9))
        cut_ns = self._follow(plan, intended, end, on_progress, stops_before)
        far_end_ns = max(start_ns + round(plan.duration_s * 1e9), int(end[-1]))
        self._clock.now_ns = far_end_ns if cut_ns is None else cut_ns
        on_rows(self._rows(plan, intended, end, self._clock.now_ns))
        return StageEnded(
            index=plan.index,
            start_ns=start_ns,
            end_ns=self._clock.now_ns,
            scheduled=len(intended),
            never_started=int(np.count_nonzero(intended > self._clock.now_ns)),
            cpu_s=0.01,
            connections_opened=1,
            stopped_early=cut_ns is not None,
        )

    def _follow(
        self,
        plan: StagePlan,
        intended: np.ndarray,
        end: np.ndarray,
        on_progress: Callable[[Progress], bool],
        stops_before: int,
    ) -> int | None:
        """Tell progress four times a second; the moment the stage was cut, or None."""
        for quarter in range(1, int(plan.duration_s * 4) + 1):
            at_ns = int(intended[0]) + quarter * 250_000_000
            due, done = int((intended <= at_ns).sum()), int((end <= at_ns).sum())
            failed = done if self._error else 0
            progress = Progress(plan.index, at_ns, due, due, done - failed, failed, due - done, 0.1)
            if not on_progress(progress) or len(self.stops) > stops_before:
                return at_ns
        return None

    def _rows(self, plan: StagePlan, intended: np.ndarray, end: np.ndarray, cut_ns: int) -> pa.RecordBatch:
        started, answered = intended <= cut_ns, end <= cut_ns
        error = [self._error if done else "timeout" for done in answered]
        columns = {
            "stage": pa.array(np.full(len(intended), plan.index, np.int32)),
            "index": pa.array(np.arange(len(intended))),
            "intended_ns": pa.array(intended),
            "sent_ns": pa.array(intended + 30_000, mask=~started),
            "first_byte_ns": pa.array(end, mask=~answered),
            "end_ns": pa.array(np.minimum(end, cut_ns), mask=~started),
            "status": pa.array(np.full(len(intended), 500 if self._error else 200, np.int16), mask=~answered),
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
