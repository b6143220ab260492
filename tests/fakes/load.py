"""A load worker whose target is simulated in virtual time: one server, first come, first served."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa

from loadgen.arrivals import compute_offsets_ns
from loadgen.records import (
    REQUEST_SCHEMA,
    ClosedArrivals,
    Endpoint,
    FirstError,
    LiveSessionCounts,
    LoadWorker,
    OpenArrivals,
    OutputCount,
    PreflightDone,
    Progress,
    StageEnded,
    StagePlan,
    StageStarted,
)
from loadgen.workloads import Workload
from tests.fakes.clock import FakeClock

OK = PreflightDone(error=None, status=200, detail="answered", service_ms=1.0)


class ScriptedLoad:
    """The service time is always `service_s`. `error` fails a share of the requests from stage `error_after` on.

    `preflights` are reported in order, the last one repeatedly. With `tokens`, a response is a stream of that many
    tokens, evenly spaced over its service time and counted by `token_source`. `on_plan` runs before the requests of a
    stage are simulated, and may change `service_s`. `on_stage` runs when a stage starts, `on_progress` with each
    progress report. With `right_share`, each request belongs to one labelled row, and that share of the responses is
    correct."""

    pid = 4242
    pacing = "fake"
    event_loop = "fake"
    workers: tuple[LoadWorker, ...] = ()

    def __init__(
        self,
        clock: FakeClock,
        *,
        service_s: float = 0.004,
        error: str | None = None,
        error_share: float = 1.0,
        error_after: int = 0,
        preflights: Sequence[PreflightDone] = (OK,),
        tokens: int = 0,
        token_source: str = "server",
        is_locust: bool = False,
        right_share: float | None = None,
        classes: int = 0,
        on_stage: Callable[[StagePlan], None] = lambda _: None,
        on_progress: Callable[[Progress], None] = lambda _: None,
    ) -> None:
        self._clock, self.service_s, self._error = clock, service_s, error
        self.on_plan: Callable[[StagePlan], None] = lambda _: None
        self._error_share, self._error_after = error_share, error_after
        self._preflights, self._on_stage, self._on_progress = list(preflights), on_stage, on_progress
        self._tokens, self._token_source, self._is_locust = tokens, token_source, is_locust
        self._right_share, self._classes = right_share, classes
        self._changed: float | None = None
        self._first_errors: tuple[FirstError, ...] = ()
        self.plans: list[StagePlan] = []
        self.stops: list[bool] = []
        self.extended: list[float] = []
        self.endpoints: list[Endpoint] = []
        self.preflight_count = 0
        self.is_closed = False
        self.live_sessions: LiveSessionCounts | None = None
        self.outputs: dict[OutputCount, int] | None = None

    @property
    def _service_ns(self) -> int:
        return round(self.service_s * 1e9)

    def configure(self, endpoint: Endpoint, workload: Workload) -> None:
        self.endpoints.append(endpoint)

    def preflight(self) -> PreflightDone:
        self.preflight_count += 1
        return self._preflights.pop(0) if len(self._preflights) > 1 else self._preflights[0]

    def run_stage(
        self,
        plan: StagePlan,
        on_rows: Callable[[pa.RecordBatch], None],
        on_started: Callable[[StageStarted], None],
        on_progress: Callable[[Progress], bool],
    ) -> StageEnded:
        self.plans.append(plan)
        self.on_plan(plan)
        self._changed = None
        self._first_errors = ()
        start_ns = self._clock.now_ns + round(plan.load.lead_in_s * 1e9)
        times, end = self._requests(plan, start_ns)
        scheduled = None if isinstance(plan.load.arrivals, ClosedArrivals) else len(times)
        on_started(StageStarted(plan.index, start_ns, scheduled))
        self._stops_before = len(self.stops)
        self._on_stage(plan)
        stopped_ns, is_drained = self._follow(plan, times, end, on_progress)
        if stopped_ns is not None and is_drained:
            due = times <= stopped_ns
            times, end = times[due], end[due]
        is_cut = plan.load.max_requests is not None and len(times) >= plan.load.max_requests
        planned_end_ns = 0 if is_cut or stopped_ns is not None else start_ns + round(plan.load.duration_s * 1e9)
        far_end_ns = max(planned_end_ns, int(end[-1]))
        self._clock.now_ns = far_end_ns if stopped_ns is None or is_drained else stopped_ns
        on_rows(self._rows(plan, times, end, self._clock.now_ns))
        return StageEnded(
            index=plan.index,
            start_ns=start_ns,
            end_ns=self._clock.now_ns,
            scheduled=scheduled,
            never_started=0,
            cpu_s=0.01,
            connections_opened=1,
            stopped_early=stopped_ns is not None,
            rates=self._rates_played(plan),
            first_errors=self._first_errors,
            live_sessions=self.live_sessions,
            outputs=self.outputs,
        )

    def _requests(self, plan: StagePlan, start_ns: int) -> tuple[np.ndarray, np.ndarray]:
        """Scheduled times and response times of the requests."""
        arrivals = plan.load.arrivals
        if isinstance(arrivals, ClosedArrivals):
            ends_ns = start_ns + round(plan.load.duration_s * 1e9)
            times, end = _closed(arrivals, self._clock.now_ns, ends_ns, self._service_ns, plan.seed)
            return times[: plan.load.max_requests], end[: plan.load.max_requests]
        offsets = compute_offsets_ns(arrivals, plan.load.duration_s, plan.load.lead_in_s, plan.seed)[
            : plan.load.max_requests
        ]
        return start_ns + offsets, _queue(start_ns + offsets, self._service_ns)

    def _rates_played(self, plan: StagePlan) -> tuple[tuple[float, float], ...]:
        """A change of the rate is reported in the curve, and does not affect the simulated requests."""
        if not isinstance(plan.load.arrivals, OpenArrivals):
            return ()
        if self._changed is None:
            return plan.load.arrivals.rates
        half_s = plan.load.duration_s / 2
        return (*plan.load.arrivals.rates, (half_s, plan.load.arrivals.rates[-1][1]), (half_s, self._changed))

    def _follow(
        self, plan: StagePlan, scheduled: np.ndarray, end: np.ndarray, on_progress: Callable[[Progress], bool]
    ) -> tuple[int | None, bool]:
        """Report progress four times a second. Returns when the stage was stopped, if it was, and whether to drain."""
        duration_s = plan.load.lead_in_s + plan.load.duration_s
        if plan.load.max_requests is not None and len(end) >= plan.load.max_requests:
            duration_s = min(duration_s, (int(end[-1]) - int(scheduled[0])) / 1e9)
        times_ns = int(scheduled[0]) + 250_000_000 * np.arange(1, int(duration_s * 4) + 1)
        counts = (np.searchsorted(times, times_ns, side="right").tolist() for times in (scheduled, end))
        for at_ns, due, completed in zip(times_ns.tolist(), *counts, strict=True):
            is_failing = self._error is not None and plan.index >= self._error_after
            failed = round(completed * self._error_share) if is_failing else 0
            first_errors = (FirstError(self._error or "", at_ns, f"seen {self._error}"),) if failed else ()
            progress = Progress(
                plan.index, at_ns, due, due, completed - failed, failed, due - completed, 0.1, first_errors=first_errors
            )
            self._first_errors = self._first_errors or first_errors
            self._on_progress(progress)
            if not on_progress(progress):
                return at_ns, False
            if len(self.stops) > self._stops_before:
                return at_ns, self.stops[-1]
        return None, False

    def _rows(self, plan: StagePlan, scheduled: np.ndarray, end: np.ndarray, cut_ns: int) -> pa.RecordBatch:
        started, answered = scheduled <= cut_ns, end <= cut_ns
        failed_counts = np.floor(np.arange(len(scheduled) + 1) * self._error_share + 1e-9)
        failing = np.diff(failed_counts) > 0
        if self._error is None or plan.index < self._error_after:
            failing[:] = False
        error = np.full(len(scheduled), self._error, object)
        error[~failing] = None
        error[~answered] = "timeout"
        unknown = np.full(len(scheduled), self._is_locust)
        columns = {
            "stage": pa.array(np.full(len(scheduled), plan.index, np.int32)),
            "index": pa.array(np.arange(len(scheduled))),
            "scheduled_ns": pa.array(scheduled, mask=unknown),
            "sent_ns": pa.array(scheduled + 30_000, mask=~started),
            "first_byte_ns": pa.array(end, mask=~answered | unknown),
            "end_ns": pa.array(np.minimum(end, cut_ns), mask=~started),
            "status": pa.array(np.where(failing, 500, 200).astype(np.int16), mask=~answered),
            "error": pa.array(
                [error_code if begun else None for error_code, begun in zip(error, started, strict=True)], pa.utf8()
            ),
            "bytes_received": pa.array(np.full(len(scheduled), 100, np.int32)),
            "reused": pa.array(np.ones(len(scheduled), bool)),
            **self._labelled(answered & ~failing),
            **({"class": pa.array(np.arange(len(scheduled)) % self._classes, pa.int16())} if self._classes else {}),
            **(self._stream(end, answered & ~failing) if self._tokens else {}),
        }
        arrays = [columns.get(field.name, pa.nulls(len(scheduled), field.type)) for field in REQUEST_SCHEMA]
        return pa.RecordBatch.from_arrays(arrays, schema=REQUEST_SCHEMA)

    def _labelled(self, succeeded: np.ndarray) -> dict[str, pa.Array]:
        if self._right_share is None:
            return {}
        is_right = np.arange(len(succeeded)) < self._right_share * len(succeeded)
        return {"correct_rows": pa.array(is_right.astype(np.int32), mask=~succeeded)}

    def _stream(self, end: np.ndarray, succeeded: np.ndarray) -> dict[str, pa.Array]:
        gaps_ns = np.arange(self._tokens)[::-1] * (self._service_ns // (self._tokens + 1))
        chunks = [list(at - gaps_ns) if good else None for at, good in zip(end, succeeded, strict=True)]
        first = pa.array(end - gaps_ns[0], mask=~succeeded)
        return {
            "first_token_ns": first,
            "first_output_ns": first,
            "last_token_ns": pa.array(end, mask=~succeeded),
            "tokens_out": pa.array(np.full(len(end), self._tokens, np.int32), mask=~succeeded),
            "token_source": pa.array([self._token_source if good else None for good in succeeded], pa.utf8()),
            "chunk_ns": pa.array(chunks, pa.list_(pa.int64())),
        }

    def stop(self, drain: bool) -> None:
        self.stops.append(drain)

    def change_rate(self, rate_per_s: float) -> None:
        self._changed = rate_per_s

    def extend(self, duration_s: float) -> None:
        self.extended.append(duration_s)

    def close(self) -> None:
        self.is_closed = True


def _queue(scheduled: np.ndarray, service_ns: int) -> np.ndarray:
    """Ends of a single-server queue with constant service: the k-th end is at least one service time after the previous
    one."""
    order = np.arange(len(scheduled)) * service_ns
    return np.maximum.accumulate(scheduled - order) + order + service_ns


def _closed(
    clients: ClosedArrivals, start_ns: int, end_ns: int, service_ns: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Closed loop: a client's next request follows the response to its last one, after a think time."""
    rng = np.random.default_rng(seed)
    waiting = [start_ns] * clients.concurrency
    scheduled, ends, free_ns = [], [], start_ns
    while (due_ns := min(waiting)) < end_ns:
        free_ns = max(free_ns, due_ns) + service_ns
        scheduled.append(due_ns)
        ends.append(free_ns)
        think_ns = round(rng.exponential(clients.think_s) * 1e9) if clients.think_s else 0
        waiting[waiting.index(due_ns)] = free_ns + think_ns
    return np.array(scheduled), np.array(ends)
