"""Runs stages on the load worker: stores their rows, tells how they go, ends those that cannot hold."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from app.analysis.pooling import pool_stages
from app.analysis.saturation import is_over_saturated
from app.analysis.stages import summarise_stage
from app.records import events
from app.records.result import Objective, Stage, StageKind
from app.records.stage import StageFacts
from app.session.interruption import Interruption
from app.session.limits import LimitWatch
from app.session.parts import Emit, Load, Store
from loadgen.records import REQUEST_SCHEMA, OpenArrivals, Progress, StageEnded, StagePlan, StageStarted

_RECENT_ROWS = 1000


class StageOrder(msgspec.Struct, frozen=True):
    """What to run next. `drain_s`: how long answers are waited for after the last arrival."""

    name: str
    kind: StageKind
    repeat: int
    arrivals: OpenArrivals
    rate_per_s: float
    duration_s: float
    drain_s: float
    ends_when_saturated: bool = False


class StageRunner:
    """Keeps the rows of each stage it ran, so that the result can be computed again from all of them."""

    def __init__(
        self,
        load: Load,
        store: Store,
        emit: Emit,
        *,
        now_ns: Callable[[], int],
        slo: tuple[Objective, ...],
        seed: int,
        limits: LimitWatch,
        interruption: Interruption,
        ceiling_per_s: float | None,
        rows_per_request: int,
    ) -> None:
        self._load, self._store, self._emit, self._now_ns = load, store, emit, now_ns
        self._slo, self._seed, self._limits = slo, seed, limits
        self._interruption = interruption
        self._ceiling_per_s, self._rows_per_request = ceiling_per_s, rows_per_request
        self.facts: list[StageFacts] = []
        self.rows: list[pd.DataFrame] = []

    @property
    def may_go_on(self) -> bool:
        return not self._interruption.is_requested and self._limits.check(self._now_ns())

    def run(self, order: StageOrder) -> Stage:
        """Run one stage to its end, however it ends. Its rows are stored before this returns."""
        index = len(self.facts)
        plan = StagePlan(
            index=index,
            name=order.name,
            arrivals=order.arrivals,
            duration_s=order.duration_s,
            seed=self._seed * 1_000 + index,
            drain_s=order.drain_s,
            max_requests=self._limits.requests_left(),
        )
        watch = _StageWatch(order, index, self._slo, self._emit, self._limits, lambda: self._load.stop(True))

        def keep(batch: pa.RecordBatch) -> None:
            self._store.append_requests(batch)
            watch.take(batch)

        ended = self._load.run_stage(plan, keep, watch.started, watch.goes_on)
        facts = self._facts(order, ended, over_saturated=watch.is_over_saturated)
        rows = pa.Table.from_batches(watch.batches, REQUEST_SCHEMA).to_pandas()
        self._limits.add_sent(int(rows["sent_ns"].notna().sum()))
        self._limits.check(self._now_ns())  # the stage may have ended where the limit on requests cut its schedule
        self.facts.append(facts)
        self.rows.append(rows)
        stage = summarise_stage(rows, None, facts, self._slo)
        self._emit(events.StageFinished(at_ns=self._now_ns(), index=index, facts=facts, stage=stage))
        return stage

    def summarise(self, telemetry: pd.DataFrame) -> tuple[Stage, ...]:
        """Every stage again from the facts, now with the telemetry that was still on its way when it ended."""
        return tuple(
            summarise_stage(rows, telemetry, facts, self._slo)
            for rows, facts in zip(self.rows, self.facts, strict=True)
        )

    def pool(self, indices: Sequence[int], telemetry: pd.DataFrame) -> Stage:
        """Stages of one rate as one, by their places in the order run."""
        rows, facts = [self.rows[index] for index in indices], [self.facts[index] for index in indices]
        return pool_stages(rows, telemetry, facts, self._slo)

    def _facts(self, order: StageOrder, ended: StageEnded, *, over_saturated: bool) -> StageFacts:
        return StageFacts(
            index=ended.index,
            name=order.name,
            kind=order.kind,
            repeat=order.repeat,
            tags={},
            arrivals=order.arrivals.process,
            rate_per_s=order.rate_per_s,
            duration_s=order.duration_s,
            start_ns=ended.start_ns,
            end_ns=ended.end_ns,
            worker_cpu_s=ended.cpu_s,
            connections_opened=ended.connections_opened,
            stopped_early=ended.stopped_early,
            ceiling_per_s=self._ceiling_per_s,
            over_saturated=over_saturated,
            rows_per_request=self._rows_per_request,
        )


class _StageWatch:
    """Listens to one running stage."""

    def __init__(
        self,
        order: StageOrder,
        index: int,
        slo: tuple[Objective, ...],
        emit: Emit,
        limits: LimitWatch,
        drain: Callable[[], None],
    ) -> None:
        self._order, self._index, self._slo, self._emit, self._limits = order, index, slo, emit, limits
        self._drain, self._is_draining = drain, False
        self.batches: list[pa.RecordBatch] = []
        self.is_over_saturated = False
        self._in_flight: list[tuple[int, int]] = []
        self._recent: deque[float] = deque(maxlen=_RECENT_ROWS)

    def started(self, report: StageStarted) -> None:
        order = self._order
        self._emit(
            events.StageStarted(
                at_ns=report.start_ns,
                index=self._index,
                name=order.name,
                kind=order.kind,
                repeat=order.repeat,
                offered_per_s=order.rate_per_s,
                duration_s=order.duration_s,
                start_ns=report.start_ns,
            )
        )

    def take(self, batch: pa.RecordBatch) -> None:
        self.batches.append(batch)
        answered = batch.filter(batch["error"].is_null())
        latency_ms = pc.subtract(answered["end_ns"], answered["intended_ns"]).to_numpy(zero_copy_only=False) / 1e6
        self._recent.extend(latency_ms[-_RECENT_ROWS:])

    def goes_on(self, progress: Progress) -> bool:
        recent = np.fromiter(self._recent, float) if self._recent else None
        self._emit(
            events.Snapshot(
                at_ns=progress.at_ns,
                stage=self._index,
                offered=progress.intended,
                sent=progress.sent,
                completed=progress.completed,
                failed=progress.failed,
                in_flight=progress.in_flight,
                latency_p50_ms=None if recent is None else float(np.median(recent)),
                latency_p95_ms=None if recent is None else float(np.percentile(recent, 95)),
            )
        )
        if self._order.ends_when_saturated:
            self._in_flight.append((progress.at_ns, progress.intended - progress.completed - progress.failed))
            self.is_over_saturated = is_over_saturated(self._in_flight, self._order.rate_per_s, self._slo)
        if not self._limits.check(progress.at_ns, progress.sent) and not self._is_draining:
            self._is_draining = True
            self._drain()  # what is in flight is the target's to answer: cutting it would count against it
        return not self.is_over_saturated
