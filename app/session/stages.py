"""Runs stages on the load workers: stores their rows, summarizes them, and changes a running stage on request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd
import pyarrow as pa

from app.analysis.pooling import pool_stages
from app.analysis.rows import read_rows
from app.analysis.stages import add_telemetry, summarize_rows
from app.errors import UsageError
from app.records import events
from app.records.interrupted import CompletedStage
from app.records.result import Objective, Stage, StageKind
from app.records.stage import StageData
from app.session.dependencies import Emit, Load, Store
from app.session.generator_capacity import GeneratorCapacity
from app.session.interruption import Interruption
from app.session.limits import LimitMonitor
from app.session.prompt_reuse import has_output_lengths
from app.session.rates import MAX_ARRIVALS, Rates, peak_rate, single_rate
from app.session.replay import Replay
from app.session.spec import ResolvedStage
from app.session.stage_monitor import FirstErrorReporter, StageMonitor
from app.session.worker_joining import build_lost_stage, build_worker_facts
from loadgen.process import LoadError
from loadgen.records import Arrivals, ClosedArrivals, OpenArrivals, StageEnded, StagePlan, TraceArrivals
from loadgen.workloads import LocustWorkload, OipWorkload, OpenAiWorkload, SyntheticPrompts, Workload

_CHANGEABLE: tuple[StageKind, ...] = ("steady", "varying", "spike")
"""Kinds of stage whose rate can be changed. A warm-up is not measured, and a search depends on its own rates."""

_EXTENDABLE: tuple[StageKind, ...] = ("steady", "closed")
"""Kinds of stage that can be extended. A rate curve or a trace has an end of its own."""
_MIN_LEFT_S = 1.0
"""Minimum time left, in seconds, to extend a stage: all workers must be informed before its arrivals end."""

_UNUSED_COLUMNS = ("stage", "index", "status", "bytes_received", "reused", "target", "name")
"""Columns of the request rows that no metric of a stage uses."""


@dataclass
class _Running:
    """The stage in progress. `per_s` is its highest rate so far."""

    index: int
    order: ResolvedStage
    watch: StageMonitor
    duration_s: float
    per_s: float


class StageRunner:
    """Runs stages and stores their rows.

    Holds no rows in memory: those of a stage are read back from the store when needed, and released again.
    """

    def __init__(
        self,
        load: Load,
        store: Store,
        emit: Emit,
        *,
        now_ns: Callable[[], int],
        slo: tuple[Objective, ...],
        seed: int,
        limits: LimitMonitor,
        interruption: Interruption,
        ceilings: GeneratorCapacity,
        workload: Workload,
        replay: Replay | None = None,
        warm_up_again: Callable[[], object] = lambda: None,
        target_end_reason: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._load, self._store, self._emit, self._now_ns = load, store, emit, now_ns
        self._slo, self._seed, self._limits = slo, seed, limits
        self._interruption, self._target_ending = interruption, target_end_reason
        self._ceilings, self._workload = ceilings, workload
        self._replay = replay or Replay(None, now_ns)
        self._warm_up_again, self._needs_warmup = warm_up_again, self._replay.needs_warmup
        self._running: _Running | None = None
        self._first_errors = FirstErrorReporter(emit)
        self.facts: list[StageData] = []
        self.sent = 0
        self.token_sources = Counter[str]()
        """Number of responses by the source of their token counts."""
        self.stages: list[Stage] = []
        """Summary of each stage without telemetry, in execution order."""

    @property
    def may_continue(self) -> bool:
        is_stopped = self._interruption.is_requested or self._target_ending() is not None
        return not is_stopped and self._limits.check(self._now_ns())

    def run(self, resolved_stage: ResolvedStage) -> Stage:
        """Run one stage to its end, however it ends, and store its rows.

        In a resumed run, a stage that was measured before is not run again.

        Raises LoadError if the workers fail; the requests sent until then still form a stage.
        """
        skipped, earlier = self._replay.pop_stage(resolved_stage)
        self._restore(skipped)
        if earlier is not None:
            self._restore([earlier])
            return earlier.stage
        if self._needs_warmup and resolved_stage.kind != "warmup":
            self._needs_warmup = False
            self._warm_up_again()
        index = len(self.facts)
        plan = StagePlan(
            index=index,
            name=resolved_stage.name,
            arrivals=resolved_stage.arrivals,
            duration_s=resolved_stage.duration_s,
            seed=self._seed * 1_000 + index,
            lead_in_s=resolved_stage.lead_in_s,
            drain_s=resolved_stage.drain_s,
            max_requests=self._limits.requests_left(),
        )
        watch = StageMonitor(
            resolved_stage,
            index,
            self._slo,
            self._emit,
            self._limits,
            lambda: self._load.stop(True),
            lambda: self._target_ending() is not None,
            self._first_errors,
        )

        def store_batch(batch: pa.RecordBatch) -> None:
            self._store.append_requests(batch)
            watch.add_rows(batch)
            self.token_sources.update(batch["tokens_from"].drop_null().to_pylist())

        per_s = peak_rate(resolved_stage.arrivals) if isinstance(resolved_stage.arrivals, OpenArrivals) else 0.0
        running = self._running = _Running(index, resolved_stage, watch, resolved_stage.duration_s, per_s)
        try:
            ended = self._load.run_stage(plan, store_batch, watch.on_started, watch.on_progress)
        except LoadError:
            if watch.start_ns is not None and watch.sent:
                self._finish_stage(running, build_lost_stage(index, watch, watch.start_ns, self._now_ns(), self._load))
            raise
        finally:
            self._running = None
        return self._finish_stage(running, ended)

    def _finish_stage(self, running: _Running, ended: StageEnded) -> Stage:
        index, watch = ended.index, running.watch
        lasted_s = running.duration_s if ended.duration_s is None else ended.duration_s
        facts = self._facts(running.order, ended, lasted_s, over_saturated=watch.is_over_saturated)
        self.sent += watch.sent
        self._limits.add_sent(watch.sent)
        # The limit on requests may have cut the schedule of this stage, so check it again.
        self._limits.check(self._now_ns())
        rows = read_rows(self._rows(index))
        pa.default_memory_pool().release_unused()  # Frees the memory of the table, which is as large as the rows.
        stage = summarize_rows(rows, None, facts, self._slo)
        self.facts.append(facts)
        self.stages.append(stage)
        self._store.sync_rows()
        self._emit(events.StageFinished(at_ns=self._now_ns(), index=index, data=facts, stage=stage))
        return stage

    def restore_remaining(self) -> None:
        """Add the stored stages of a resumed run that were not requested again because the session ended early."""
        self._restore(self._replay.pop_remaining())

    def _restore(self, earlier: Sequence[CompletedStage]) -> None:
        for stored in earlier:
            rows = self._store.stage_requests(stored.data.index, ())
            sent = len(rows) - rows["sent_ns"].null_count
            self.sent += sent
            self._limits.add_sent(sent)
            self.token_sources.update(rows["tokens_from"].drop_null().to_pylist())
            self.facts.append(stored.data)
            self.stages.append(stored.stage)

    def change_rate(self, rate_per_s: float) -> str:
        """Change the rate of the running stage until its end; may be called from any thread.

        Returns a sentence that confirms it. Raises UsageError if no stage with a changeable rate is running.
        """
        running = self._running
        if running is None:
            raise UsageError("no stage is running")
        index, order = running.index, running.order
        if not isinstance(order.arrivals, OpenArrivals) or order.kind not in _CHANGEABLE:
            raise UsageError(f"the rate of the current stage, {order.name}, cannot be changed")
        if rate_per_s * running.duration_s > MAX_ARRIVALS:
            raise UsageError(f"at {rate_per_s:g} req/s this stage would exceed {MAX_ARRIVALS:,} requests")
        self._load.change_rate(rate_per_s)
        running.per_s = max(running.per_s, rate_per_s)
        self._emit(events.RateChanged(at_ns=self._now_ns(), index=index, rate_per_s=rate_per_s))
        return f"stage {order.name} now runs at {rate_per_s:g} req/s"

    def extend(self, by_s: float) -> str:
        """Extend the running stage by `by_s` seconds; may be called from any thread.

        Returns a sentence that confirms it. The run's limits still apply. Raises UsageError if no extendable stage is
        running.
        """
        running, now_ns = self._running, self._now_ns()
        if running is None or running.watch.start_ns is None:
            raise UsageError("no stage is running")
        _refuse_to_extend(running.order)
        left_s = running.duration_s - (now_ns - running.watch.start_ns) / 1e9
        if left_s < _MIN_LEFT_S or running.watch.is_ending or self._interruption.is_requested:
            raise UsageError(f"the current stage, {running.order.name}, is about to end")
        duration_s = running.duration_s + by_s
        if running.per_s * duration_s > MAX_ARRIVALS:
            raise UsageError(f"with {by_s:g} s more this stage would exceed {MAX_ARRIVALS:,} requests")
        self._load.extend(duration_s)
        running.duration_s = duration_s
        self._emit(events.StageExtended(at_ns=now_ns, index=running.index, by_s=by_s, duration_s=duration_s))
        is_within = self._limits.cap_duration_s(left_s + by_s, now_ns) >= left_s + by_s
        until = "" if is_within else ", but limits.duration ends the run earlier"
        return f"stage {running.order.name} was extended by {by_s:g} s to {duration_s:g} s{until}"

    def summarize(self, telemetry: pd.DataFrame) -> tuple[Stage, ...]:
        """Return all stages with their telemetry, including readings that arrived after the stage ended."""
        return tuple(
            add_telemetry(stage, telemetry, facts, self._slo)
            for stage, facts in zip(self.stages, self.facts, strict=True)
        )

    def pool(self, indices: Sequence[int], telemetry: pd.DataFrame) -> Stage:
        """Pool stages of the same rate into one, given their indices in execution order."""
        return pool_stages(map(self._rows, indices), telemetry, [self.facts[index] for index in indices], self._slo)

    def _rows(self, index: int) -> pa.Table:
        return self._store.stage_requests(index, _UNUSED_COLUMNS)

    def _facts(self, order: ResolvedStage, ended: StageEnded, lasted_s: float, *, over_saturated: bool) -> StageData:
        arrivals, workload = order.arrivals, self._workload
        rates = (ended.rates or arrivals.rates) if isinstance(arrivals, OpenArrivals) else ()
        ceilings = self._ceilings.for_connected_workers(ended.workers)
        return StageData(
            index=ended.index,
            name=order.name,
            kind="varying" if _was_changed(arrivals, rates) and order.kind in _CHANGEABLE else order.kind,
            repeat=order.repeat,
            tags=order.tags,
            arrival_kind=_arrival_kind(arrivals, workload),
            rate_per_s=single_rate(rates),
            duration_s=lasted_s,
            extended_s=lasted_s - order.duration_s,
            start_ns=ended.start_ns,
            end_ns=ended.end_ns,
            worker_cpu_s=ended.cpu_s,
            connections_opened=ended.connections_opened,
            stopped_early=ended.stopped_early,
            generator_capacity_per_s=ceilings.per_s,
            generator_chunk_capacity_per_s=ceilings.chunks_per_s,
            is_saturated=over_saturated,
            rates=rates,
            cv=arrivals.cv if isinstance(arrivals, OpenArrivals) else 1.0,
            concurrency=arrivals.concurrency if isinstance(arrivals, ClosedArrivals) else None,
            think_s=arrivals.think_s if isinstance(arrivals, ClosedArrivals) else 0.0,
            sessions=_has_sessions(workload),
            lead_in_s=order.lead_in_s,
            rows_per_request=workload.rows_per_request if isinstance(workload, OipWorkload) else 1,
            workers=build_worker_facts(ended.workers),
            worker_cpu_wait_s=ended.cpu_wait_s,
            is_generator_capacity_lower_bound=ceilings.is_lower_bound,
            requests_output_lengths=has_output_lengths(workload),
            target_ended=self._target_ending(),
            error_samples=self._first_errors.report(ended.first_errors, ended.index, self._now_ns()),
        )


def _has_sessions(workload: Workload) -> bool:
    return (
        isinstance(workload, OpenAiWorkload)
        and isinstance(workload.prompts, SyntheticPrompts)
        and workload.prompts.turns is not None
    )


def _refuse_to_extend(order: ResolvedStage) -> None:
    """Raise UsageError if the stage determines its own end."""
    if order.kind in ("warmup", "probe", "step"):
        raise UsageError(f"the duration of the current stage, {order.name}, is set by the search")
    if order.kind not in _EXTENDABLE or isinstance(order.arrivals, TraceArrivals):
        source = "a trace" if isinstance(order.arrivals, TraceArrivals) else "a rate curve"
        raise UsageError(f"the current stage, {order.name}, replays {source} of fixed length")


def _was_changed(arrivals: Arrivals, rates: Rates) -> bool:
    """Return whether a rate was used that the order does not contain. A stage that ended early may lack some rates."""
    if not isinstance(arrivals, OpenArrivals):
        return False
    return not {rate for _, rate in rates} <= {rate for _, rate in arrivals.rates}


def _arrival_kind(
    arrivals: Arrivals, workload: Workload
) -> Literal["constant", "poisson", "gamma", "trace", "closed", "locust"]:
    if isinstance(workload, LocustWorkload):
        return "locust"
    match arrivals:
        case OpenArrivals(process=process):
            return process
        case TraceArrivals():
            return "trace"
        case ClosedArrivals():
            return "closed"
