"""A load worker whose target stops responding, and may recover; rows are reported four times a second."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pyarrow as pa

from loadgen.arrivals import compute_offsets_ns
from loadgen.records import ClosedArrivals, FirstError, Progress, StageEnded, StagePlan, StageStarted
from tests.fakes.clock import FakeClock
from tests.fakes.load import ScriptedLoad


class DyingLoad(ScriptedLoad):
    """Requests take 4 ms, and are sent `lag_s` too late. From `dies_after_s` to `returns_after_s` after the start of
    the first open-loop stage they fail with `error` and `status`."""

    def __init__(
        self,
        clock: FakeClock,
        *,
        dies_after_s: float,
        returns_after_s: float = math.inf,
        lag_s: float = 0.0,
        error: str = "connect",
        status: int | None = None,
    ) -> None:
        super().__init__(clock)
        self._dies_s, self._returns_s, self._lag_ns = dies_after_s, returns_after_s, round(lag_s * 1e9)
        self._failure, self._status, self._first_ns = error, status, 0

    def run_stage(
        self,
        plan: StagePlan,
        on_rows: Callable[[pa.RecordBatch], None],
        on_started: Callable[[StageStarted], None],
        on_progress: Callable[[Progress], bool],
    ) -> StageEnded:
        if isinstance(plan.load.arrivals, ClosedArrivals):
            return super().run_stage(plan, on_rows, on_started, on_progress)
        self.plans.append(plan)
        start_ns = self._clock.now_ns
        self._first_ns = self._first_ns or start_ns
        scheduled = start_ns + compute_offsets_ns(plan.load.arrivals, plan.load.duration_s, 0.0, plan.seed)
        on_started(StageStarted(plan.index, start_ns, len(scheduled)))
        stops_before, sent, failed = len(self.stops), 0, 0
        end_ns = start_ns + round(plan.load.duration_s * 1e9)
        for at_ns in range(start_ns + 250_000_000, end_ns + 1, 250_000_000):
            part = scheduled[(scheduled > at_ns - 250_000_000) & (scheduled <= at_ns)]
            failed += self._report(plan, part, on_rows)
            sent += len(part)
            self._clock.now_ns = at_ns
            errors = (FirstError(self._failure, at_ns, f"seen {self._failure}"),) if failed else ()
            on_progress(Progress(plan.index, at_ns, sent, sent, sent - failed, failed, 0, 0.1, first_errors=errors))
            if len(self.stops) > stops_before:
                break
        return StageEnded(
            index=plan.index,
            start_ns=start_ns,
            end_ns=self._clock.now_ns,
            scheduled=len(scheduled),
            never_started=0,
            cpu_s=0.01,
            connections_opened=1,
            stopped_early=self._clock.now_ns < end_ns,
            rates=plan.load.arrivals.rates if hasattr(plan.load.arrivals, "rates") else (),
        )

    def _report(self, plan: StagePlan, scheduled: np.ndarray, on_rows: Callable[[pa.RecordBatch], None]) -> int:
        """Report the rows of some requests, and return the number of failures."""
        if not len(scheduled):
            return 0
        batch = self._rows(plan, scheduled, scheduled + self._lag_ns + 4_000_000, 2**62)
        elapsed_s = (scheduled - self._first_ns) / 1e9
        failing = (elapsed_s >= self._dies_s) & (elapsed_s < self._returns_s)
        columns = {
            "sent_ns": pa.array(scheduled + self._lag_ns + 30_000),
            "status": pa.array(
                np.full(len(scheduled), self._status or 200, np.int16), mask=failing & (not self._status)
            ),
            "error": pa.array([self._failure if is_failing else None for is_failing in failing], pa.utf8()),
        }
        for name, column in columns.items():
            place = batch.schema.get_field_index(name)
            batch = batch.set_column(place, batch.schema.field(place), column)
        on_rows(batch)
        return int(failing.sum())
