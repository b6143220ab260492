"""Runs stages on the load worker: stores their rows, makes their facts, changes rate and end of the one that runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd
import pyarrow as pa

from app.analysis.pooling import pool_stages
from app.analysis.rows import read_rows
from app.analysis.stages import summarise_rows, with_telemetry
from app.errors import UsageError
from app.records import events
from app.records.interrupted import MeasuredStage
from app.records.result import Objective, Stage, StageKind
from app.records.stage import StageFacts
from app.session.ceilings import Ceilings
from app.session.gathering import facts_of, lost_stage
from app.session.interruption import Interruption
from app.session.limits import LimitWatch
from app.session.parts import Emit, Load, Store
from app.session.practice import asks_lengths
from app.session.rates import MOST_ARRIVALS, Rates, highest_rate, one_rate
from app.session.replay import Replay
from app.session.spec import StageOrder
from app.session.stage_watch import FirstErrors, StageWatch
from loadgen.process import LoadError
from loadgen.records import Arrivals, ClosedArrivals, OpenArrivals, StageEnded, StagePlan, TraceArrivals
from loadgen.workloads import LocustWorkload, OipWorkload, OpenAiWorkload, SyntheticPrompts, Workload

_CHANGEABLE: tuple[StageKind, ...] = ("steady", "varying", "spike")
"""A warm-up is not measured, and a search lives on its rates being what it chose."""

_EXTENDABLE: tuple[StageKind, ...] = ("steady", "closed")
"""A curve or a trace ends where it ends."""
_LEAST_LEFT_S = 1.0
"""Of a stage that is to be extended: all workers must hear of it before its arrivals end."""

_NOT_COUNTED = ("stage", "index", "status", "bytes_received", "reused", "target", "name")
"""Columns of the rows that no number of a stage is made of."""


@dataclass
class _Running:
    """`per_s` is the highest rate so far."""

    index: int
    order: StageOrder
    watch: StageWatch
    duration_s: float
    per_s: float


class StageRunner:
    """Keeps no rows: those of a stage are read back from the store where they are asked for, and forgotten again."""

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
        ceilings: Ceilings,
        workload: Workload,
        replay: Replay | None = None,
        warm_up_again: Callable[[], object] = lambda: None,
        target_ending: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._load, self._store, self._emit, self._now_ns = load, store, emit, now_ns
        self._slo, self._seed, self._limits = slo, seed, limits
        self._interruption, self._target_ending = interruption, target_ending
        self._ceilings, self._workload = ceilings, workload
        self._replay = replay or Replay(None, now_ns)
        self._warm_up_again, self._needs_warmup = warm_up_again, self._replay.needs_warmup
        self._running: _Running | None = None
        self._first_errors = FirstErrors(emit)
        self.facts: list[StageFacts] = []
        self.sent = 0
        self.token_sources = Counter[str]()
        """Of all answers, by where their token counts come from."""
        self.stages: list[Stage] = []
        """Of each stage, its numbers without telemetry, in the order run."""

    @property
    def may_go_on(self) -> bool:
        is_stopped = self._interruption.is_requested or self._target_ending() is not None
        return not is_stopped and self._limits.check(self._now_ns())

    def run(self, order: StageOrder) -> Stage:
        """Run one stage to its end, however it ends. Its rows are stored before this returns. In a resumed run a stage
        that was measured before is not run again.

        Raises LoadError where the workers cannot go on; what they had sent by then is a stage all the same.
        """
        skipped, earlier = self._replay.take(order)
        self._restore(skipped)
        if earlier is not None:
            self._restore([earlier])
            return earlier.stage
        if self._needs_warmup and order.kind != "warmup":
            self._needs_warmup = False
            self._warm_up_again()
        index = len(self.facts)
        plan = StagePlan(
            index=index,
            name=order.name,
            arrivals=order.arrivals,
            duration_s=order.duration_s,
            seed=self._seed * 1_000 + index,
            lead_in_s=order.lead_in_s,
            drain_s=order.drain_s,
            max_requests=self._limits.requests_left(),
        )
        watch = StageWatch(
            order,
            index,
            self._slo,
            self._emit,
            self._limits,
            lambda: self._load.stop(True),
            lambda: self._target_ending() is not None,
            self._first_errors,
        )

        def keep(batch: pa.RecordBatch) -> None:
            self._store.append_requests(batch)
            watch.take(batch)
            self.token_sources.update(batch["tokens_from"].drop_null().to_pylist())

        per_s = highest_rate(order.arrivals) if isinstance(order.arrivals, OpenArrivals) else 0.0
        running = self._running = _Running(index, order, watch, order.duration_s, per_s)
        try:
            ended = self._load.run_stage(plan, keep, watch.started, watch.goes_on)
        except LoadError:
            if watch.start_ns is not None and watch.sent:
                self._keep(running, lost_stage(index, watch, watch.start_ns, self._now_ns(), self._load))
            raise
        finally:
            self._running = None
        return self._keep(running, ended)

    def _keep(self, running: _Running, ended: StageEnded) -> Stage:
        index, watch = ended.index, running.watch
        lasted_s = running.duration_s if ended.duration_s is None else ended.duration_s
        facts = self._facts(running.order, ended, lasted_s, over_saturated=watch.is_over_saturated)
        self.sent += watch.sent
        self._limits.add_sent(watch.sent)
        self._limits.check(self._now_ns())  # the stage may have ended where the limit on requests cut its schedule
        rows = read_rows(self._rows(index))
        pa.default_memory_pool().release_unused()  # the table's, as large as the rows once more
        stage = summarise_rows(rows, None, facts, self._slo)
        self.facts.append(facts)
        self.stages.append(stage)
        self._store.sync_rows()
        self._emit(events.StageFinished(at_ns=self._now_ns(), index=index, facts=facts, stage=stage))
        return stage

    def restore_rest(self) -> None:
        """Take over the stages of the resumed run that were not ordered again, since the session ends before."""
        self._restore(self._replay.rest())

    def _restore(self, earlier: Sequence[MeasuredStage]) -> None:
        for one in earlier:
            rows = self._store.stage_requests(one.facts.index, ())
            sent = len(rows) - rows["sent_ns"].null_count
            self.sent += sent
            self._limits.add_sent(sent)
            self.token_sources.update(rows["tokens_from"].drop_null().to_pylist())
            self.facts.append(one.facts)
            self.stages.append(one.stage)

    def change_rate(self, rate_per_s: float) -> str:
        """Of the running stage, to its end; from any thread. The sentence that says so; raises UsageError when no stage
        runs whose rate can be changed."""
        running = self._running
        if running is None:
            raise UsageError("no stage is running just now")
        index, order = running.index, running.order
        if not isinstance(order.arrivals, OpenArrivals) or order.kind not in _CHANGEABLE:
            raise UsageError(f"the running stage, {order.name}, has no rate of its own to change")
        if rate_per_s * running.duration_s > MOST_ARRIVALS:
            raise UsageError(f"{rate_per_s:g}/s would be more than {MOST_ARRIVALS:,} requests in this stage")
        self._load.change_rate(rate_per_s)
        running.per_s = max(running.per_s, rate_per_s)
        self._emit(events.RateChanged(at_ns=self._now_ns(), index=index, rate_per_s=rate_per_s))
        return f"stage {order.name} now runs at {rate_per_s:g}/s"

    def extend(self, by_s: float) -> str:
        """The running stage, by so much; from any thread. The sentence that says so; raises UsageError when no stage
        runs that can be made longer. The run's limits hold all the same."""
        running, now_ns = self._running, self._now_ns()
        if running is None or running.watch.start_ns is None:
            raise UsageError("no stage is running just now")
        _refuse_to_extend(running.order)
        left_s = running.duration_s - (now_ns - running.watch.start_ns) / 1e9
        if left_s < _LEAST_LEFT_S or running.watch.is_ending or self._interruption.is_requested:
            raise UsageError(f"the running stage, {running.order.name}, is about to end")
        duration_s = running.duration_s + by_s
        if running.per_s * duration_s > MOST_ARRIVALS:
            raise UsageError(f"{by_s:g} s more would be more than {MOST_ARRIVALS:,} requests in this stage")
        self._load.extend(duration_s)
        running.duration_s = duration_s
        self._emit(events.StageExtended(at_ns=now_ns, index=running.index, by_s=by_s, duration_s=duration_s))
        is_within = self._limits.within(left_s + by_s, now_ns) >= left_s + by_s
        until = "" if is_within else ", though limits.duration ends the run before"
        return f"stage {running.order.name} was extended by {by_s:g} s, to {duration_s:g} s{until}"

    def summarise(self, telemetry: pd.DataFrame) -> tuple[Stage, ...]:
        """Every stage again, now with the telemetry that was still on its way when it ended."""
        return tuple(
            with_telemetry(stage, telemetry, facts, self._slo)
            for stage, facts in zip(self.stages, self.facts, strict=True)
        )

    def pool(self, indices: Sequence[int], telemetry: pd.DataFrame) -> Stage:
        """Stages of one rate as one, by their places in the order run."""
        return pool_stages(map(self._rows, indices), telemetry, [self.facts[index] for index in indices], self._slo)

    def _rows(self, index: int) -> pa.Table:
        return self._store.stage_requests(index, _NOT_COUNTED)

    def _facts(self, order: StageOrder, ended: StageEnded, lasted_s: float, *, over_saturated: bool) -> StageFacts:
        arrivals, workload = order.arrivals, self._workload
        rates = (ended.rates or arrivals.rates) if isinstance(arrivals, OpenArrivals) else ()
        ceilings = self._ceilings.of_those_left(ended.workers)
        return StageFacts(
            index=ended.index,
            name=order.name,
            kind="varying" if _was_changed(arrivals, rates) and order.kind in _CHANGEABLE else order.kind,
            repeat=order.repeat,
            tags=order.tags,
            arrival_kind=_manner(arrivals, workload),
            rate_per_s=one_rate(rates),
            duration_s=lasted_s,
            extended_s=lasted_s - order.duration_s,
            start_ns=ended.start_ns,
            end_ns=ended.end_ns,
            worker_cpu_s=ended.cpu_s,
            connections_opened=ended.connections_opened,
            stopped_early=ended.stopped_early,
            ceiling_per_s=ceilings.per_s,
            chunk_ceiling_per_s=ceilings.chunks_per_s,
            over_saturated=over_saturated,
            rates=rates,
            cv=arrivals.cv if isinstance(arrivals, OpenArrivals) else 1.0,
            concurrency=arrivals.concurrency if isinstance(arrivals, ClosedArrivals) else None,
            think_s=arrivals.think_s if isinstance(arrivals, ClosedArrivals) else 0.0,
            sessions=_has_sessions(workload),
            lead_in_s=order.lead_in_s,
            rows_per_request=workload.rows_per_request if isinstance(workload, OipWorkload) else 1,
            workers=facts_of(ended.workers),
            worker_waited_s=ended.waited_s,
            ceiling_is_at_least=ceilings.is_at_least,
            lengths_asked=asks_lengths(workload),
            target_ended=self._target_ending(),
            error_samples=self._first_errors.take(ended.first_errors, ended.index, self._now_ns()),
        )


def _has_sessions(workload: Workload) -> bool:
    return (
        isinstance(workload, OpenAiWorkload)
        and isinstance(workload.prompts, SyntheticPrompts)
        and workload.prompts.turns is not None
    )


def _refuse_to_extend(order: StageOrder) -> None:
    """Raises UsageError for what has an end of its own."""
    if order.kind in ("warmup", "probe", "hold"):
        raise UsageError(f"the running stage, {order.name}, lasts as long as what it is to find needs")
    if order.kind not in _EXTENDABLE or isinstance(order.arrivals, TraceArrivals):
        what = "a trace" if isinstance(order.arrivals, TraceArrivals) else "a curve of rates"
        raise UsageError(f"the running stage, {order.name}, plays {what}, and that ends where it ends")


def _was_changed(arrivals: Arrivals, rates: Rates) -> bool:
    """Whether a rate was played that was not ordered; a stage stopped early lacks some that were."""
    if not isinstance(arrivals, OpenArrivals):
        return False
    return not {rate for _, rate in rates} <= {rate for _, rate in arrivals.rates}


def _manner(
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
