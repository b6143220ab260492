"""Run stages on the load workers: store the rows, summarize each stage, and execute requests to
change the running stage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa

from app.analysis.pooling import pool_stages
from app.analysis.prefix_cache import SentPart
from app.analysis.rows import StageRows, read_rows
from app.analysis.server_counters import compute_server_counters
from app.analysis.stages import add_telemetry, read_metric_samples, summarize_rows
from app.errors import UsageError
from app.records import events
from app.records.interrupted import CompletedStage
from app.records.result import (
    ArrivalKind,
    BatchSummary,
    Objective,
    OutputSummary,
    SessionOutcomeName,
    SessionSummary,
    Stage,
)
from app.records.stage import ClassShare, StageData
from app.records.stage_kinds import STAGE_KINDS
from app.records.telemetry import Samples
from app.session.dependencies import Emit, LoadGenerator, Store
from app.session.generator_capacity import GeneratorCapacity
from app.session.interruption import Interruption
from app.session.limits import LimitMonitor
from app.session.prompt_reuse import CounterReader, has_output_lengths
from app.session.rates import MAX_ARRIVALS, Rates, compute_peak_rate, get_single_rate
from app.session.reachability import ReachabilityMonitor
from app.session.replay import Replay
from app.session.spec import ResolvedStage
from app.session.stage_monitor import FirstErrorReporter, StageMonitor
from app.session.worker_joining import build_lost_stage, build_worker_data
from loadgen.process import LoadError
from loadgen.records import (
    Arrivals,
    ClosedArrivals,
    LiveSessionCounts,
    OpenArrivals,
    StageEnded,
    StagePlan,
    TraceArrivals,
)
from loadgen.workloads import (
    BatchOutcome,
    BatchWorkload,
    DatasetPrompts,
    LocustWorkload,
    MixedWorkload,
    OipWorkload,
    OpenAiWorkload,
    SessionPrompts,
    SyntheticPrompts,
    Workload,
    list_workloads,
)

if TYPE_CHECKING:
    import pandas as pd

_MIN_REMAINING_S = 1.0
"""Minimum remaining duration in s of a stage that is extended. All workers must learn of the
extension before the arrivals of the stage end."""

_UNUSED_COLUMNS = ("stage", "index", "status", "bytes_received", "reused", "target", "name")
"""Columns of the request rows that the metrics of a stage do not need."""


@dataclass
class _RunningStage:
    """State of the running stage. `max_rate_per_s` is the highest rate that the stage has used so
    far."""

    index: int
    stage: ResolvedStage
    monitor: StageMonitor
    duration_s: float
    max_rate_per_s: float
    max_requests: int | None


class StageRunner:
    """Runner of stages that stores their rows.

    No rows remain in memory: the rows of a stage are read from the store when needed, and released
    afterwards."""

    def __init__(
        self,
        generator: LoadGenerator,
        store: Store,
        emit: Emit,
        *,
        now_ns: Callable[[], int],
        slo: tuple[Objective, ...],
        seed: int,
        limit_monitor: LimitMonitor,
        interruption: Interruption,
        capacity: GeneratorCapacity,
        workload: Workload,
        replay: Replay | None = None,
        warm_up_again: Callable[[], object] = lambda: None,
        target_end_reason: Callable[[], str | None] = lambda: None,
        counter_reader: CounterReader | None = None,
        reachability: ReachabilityMonitor | None = None,
    ) -> None:
        self._generator, self._store, self._emit, self._now_ns = generator, store, emit, now_ns
        self._slo, self._seed, self._limit_monitor = slo, seed, limit_monitor
        self._interruption, self._target_end_reason = interruption, target_end_reason
        self._capacity, self._workload, self._classes = capacity, workload, compute_class_shares(workload)
        self._replay = replay or Replay(None, now_ns)
        self._warm_up_again, self._needs_warmup = warm_up_again, self._replay.needs_warmup
        self._counter_reader, self._reachability = counter_reader, reachability
        self._running_stage: _RunningStage | None = None
        self._first_error_reporter = FirstErrorReporter(emit)
        self.stage_data: list[StageData] = []
        """Data of all completed stages, in execution order."""
        self.sent_by_stage: list[SentPart] = []
        """Requests that each completed stage sent, in execution order. A stage belongs to the load
        if this process measured it: it is neither a warm-up nor restored."""
        self.token_sources = Counter[str]()
        """Number of responses by source of their token counts, such as `chunks`."""
        self.stages: list[Stage] = []
        """Results of all completed stages without telemetry metrics, in execution order."""

    @property
    def sent(self) -> int:
        return sum(part.sent for part in self.sent_by_stage)

    @property
    def may_continue(self) -> bool:
        is_stopped = self._interruption.is_requested or self._target_end_reason() is not None
        return not is_stopped and self._limit_monitor.check(self._now_ns())

    def run(self, resolved_stage: ResolvedStage) -> Stage:
        """Run one stage, store its rows, and return its results. In a resumed run, a stage that was
        measured before the interruption is returned from storage instead.

        Raises LoadError if the workers fail. The requests sent until then are still stored as a
        stage."""
        skipped_stages, completed_stage = self._replay.pop_stage(resolved_stage)
        self._restore_stages(skipped_stages)
        if completed_stage is not None:
            self._restore_stages([completed_stage])
            return completed_stage.stage
        if self._needs_warmup and STAGE_KINDS[resolved_stage.kind].is_measured:
            self._needs_warmup = False
            self._warm_up_again()
        index = len(self.stage_data)
        load = resolved_stage.load
        plan = StagePlan(
            index=index,
            name=resolved_stage.name,
            load=msgspec.structs.replace(load, max_requests=self._limit_monitor.cap_requests(load.max_requests)),
            seed=self._seed * 1_000 + index,
            drain_s=resolved_stage.drain_s,
            first_request=self._get_first_request(_get_arrival_kind(load.arrivals, self._workload)),
        )
        monitor = StageMonitor(
            resolved_stage,
            index,
            self._slo,
            self._emit,
            self._limit_monitor,
            lambda: self._generator.stop(True),
            lambda: self._target_end_reason() is not None,
            self._first_error_reporter,
            [request_class.name for request_class in self._classes],
            self._reachability,
        )

        def store_batch(batch: pa.RecordBatch) -> None:
            self._store.append_requests(batch)
            monitor.add_rows(batch)
            self.token_sources.update(batch["token_source"].drop_null().to_pylist())

        max_rate_per_s = compute_peak_rate(load.arrivals) if isinstance(load.arrivals, OpenArrivals) else 0.0
        running_stage = self._running_stage = _RunningStage(
            index, resolved_stage, monitor, load.duration_s, max_rate_per_s, plan.load.max_requests
        )
        counters_before = () if self._counter_reader is None else self._counter_reader.samples
        try:
            stage_ended = self._generator.run_stage(plan, store_batch, monitor.on_started, monitor.on_progress)
        except LoadError:
            if monitor.start_ns is not None and monitor.sent:
                self._finish_stage(
                    running_stage, build_lost_stage(index, monitor, monitor.start_ns, self._now_ns(), self._generator)
                )
            raise
        finally:
            self._running_stage = None
        return self._finish_stage(running_stage, stage_ended, counters_before)

    def _get_first_request(self, arrival_kind: ArrivalKind) -> int:
        """Return the index of the first request of the next stage. The cache of a server may contain
        the prompts of earlier stages; those of a trace belong to its arrivals."""
        return 0 if arrival_kind == "trace" else self.sent

    def _finish_stage(
        self, running_stage: _RunningStage, stage_ended: StageEnded, counters_before: Sequence[Samples | None] = ()
    ) -> Stage:
        index, monitor = stage_ended.index, running_stage.monitor
        duration_s = running_stage.duration_s if stage_ended.duration_s is None else stage_ended.duration_s
        stage_data = self._build_stage_data(
            running_stage.stage, stage_ended, duration_s, is_over_saturated=monitor.is_over_saturated
        )
        if any(counters_before) and self._counter_reader is not None:
            counters = compute_server_counters(counters_before, self._counter_reader.read())
            stage_data = msgspec.structs.replace(stage_data, server=counters)
        first_request = self._get_first_request(stage_data.arrival_kind)
        self.sent_by_stage.append(
            SentPart(first_request, monitor.sent, STAGE_KINDS[running_stage.stage.kind].is_measured)
        )
        self._limit_monitor.add_sent(monitor.sent)
        # The limit on requests may have shortened this stage, so check it again.
        self._limit_monitor.check(self._now_ns())
        rows = read_rows(self._read_rows(index))
        if (
            stage_data.kind != "batch"
            and running_stage.max_requests is not None
            and rows.scheduled_ns.size >= running_stage.max_requests
        ):
            stage_data = _end_at_last_request(stage_data, rows)
        pa.default_memory_pool().release_unused()  # Free the memory of the table, which is as large as the rows.
        stage = summarize_rows(rows, None, stage_data, self._slo)
        self.stage_data.append(stage_data)
        self.stages.append(stage)
        self._store.sync_rows()
        self._emit(events.StageFinished(at_ns=self._now_ns(), index=index, data=stage_data, stage=stage))
        return stage

    def restore_remaining_stages(self) -> None:
        """Add the remaining stored stages of a resumed run, if the resumed session ended before
        these stages."""
        self._restore_stages(self._replay.pop_remaining_stages())

    def _restore_stages(self, completed_stages: Sequence[CompletedStage]) -> None:
        for completed_stage in completed_stages:
            rows = self._store.stage_requests(completed_stage.data.index, ())
            sent = len(rows) - rows["sent_ns"].null_count
            first_request = self._get_first_request(completed_stage.data.arrival_kind)
            self.sent_by_stage.append(SentPart(first_request, sent, is_in_load=False))
            self._limit_monitor.add_sent(sent)
            self.token_sources.update(rows["token_source"].drop_null().to_pylist())
            self.stage_data.append(completed_stage.data)
            self.stages.append(completed_stage.stage)

    def change_rate(self, rate_per_s: float) -> str:
        """Change the rate of the running stage until its end, and return a confirmation message.
        This method may be called from any thread. Raises UsageError if no stage is running or its
        rate cannot be changed."""
        running_stage = self._running_stage
        if running_stage is None:
            raise UsageError("no stage is running")
        index, stage = running_stage.index, running_stage.stage
        if not isinstance(stage.load.arrivals, OpenArrivals) or not STAGE_KINDS[stage.kind].can_change_rate:
            raise UsageError(f"the rate of the current stage, {stage.name}, cannot be changed")
        if rate_per_s * running_stage.duration_s > MAX_ARRIVALS:
            raise UsageError(f"at {rate_per_s:g} req/s this stage would exceed {MAX_ARRIVALS:,} requests")
        self._generator.change_rate(rate_per_s)
        running_stage.max_rate_per_s = max(running_stage.max_rate_per_s, rate_per_s)
        self._emit(events.RateChanged(at_ns=self._now_ns(), index=index, rate_per_s=rate_per_s))
        return f"stage {stage.name} now runs at {rate_per_s:g} req/s"

    def extend_stage(self, extension_s: float) -> str:
        """Extend the running stage by `extension_s` seconds, and return a confirmation message. May
        be called from any thread.

        The limits of the run still apply. Raises UsageError if no stage is running or the stage
        cannot be extended."""
        running_stage, now_ns = self._running_stage, self._now_ns()
        if running_stage is None or running_stage.monitor.start_ns is None:
            raise UsageError("no stage is running")
        _require_extendable(running_stage.stage)
        remaining_s = running_stage.duration_s - (now_ns - running_stage.monitor.start_ns) / 1e9
        if remaining_s < _MIN_REMAINING_S or running_stage.monitor.is_ending or self._interruption.is_requested:
            raise UsageError(f"the current stage, {running_stage.stage.name}, cannot be extended: it is about to end")
        duration_s = running_stage.duration_s + extension_s
        if running_stage.max_rate_per_s * duration_s > MAX_ARRIVALS:
            raise UsageError(f"extended by {extension_s:g} s, this stage would exceed {MAX_ARRIVALS:,} requests")
        self._generator.extend(duration_s)
        running_stage.duration_s = duration_s
        self._emit(
            events.StageExtended(at_ns=now_ns, index=running_stage.index, by_s=extension_s, duration_s=duration_s)
        )
        is_within_limit = (
            self._limit_monitor.cap_duration_s(remaining_s + extension_s, now_ns) >= remaining_s + extension_s
        )
        limit_note = "" if is_within_limit else ", but limits.duration ends the run earlier"
        return f"stage {running_stage.stage.name} was extended by {extension_s:g} s to {duration_s:g} s{limit_note}"

    def summarize(self, telemetry: pd.DataFrame) -> tuple[Stage, ...]:
        """Return the results of all completed stages with telemetry metrics. `telemetry` includes
        samples that arrived after the end of a stage."""
        samples = read_metric_samples(telemetry)
        return tuple(
            add_telemetry(stage, samples, stage_data, self._slo)
            for stage, stage_data in zip(self.stages, self.stage_data, strict=True)
        )

    def pool(self, indices: Sequence[int], telemetry: pd.DataFrame) -> Stage:
        """Pool several stages into one stage. `indices` are the positions of the stages in execution
        order."""
        return pool_stages(
            map(self._read_rows, indices), telemetry, [self.stage_data[index] for index in indices], self._slo
        )

    def _read_rows(self, index: int) -> pa.Table:
        return self._store.stage_requests(index, _UNUSED_COLUMNS)

    def _build_stage_data(
        self, stage: ResolvedStage, stage_ended: StageEnded, duration_s: float, *, is_over_saturated: bool
    ) -> StageData:
        arrivals, workload = stage.load.arrivals, self._workload
        rates = (stage_ended.rates or arrivals.rates) if isinstance(arrivals, OpenArrivals) else ()
        capacity = self._capacity.scale_to_connected_workers(stage_ended.workers)
        return StageData(
            index=stage_ended.index,
            name=stage.name,
            kind="varying"
            if _has_new_rates(arrivals, rates) and STAGE_KINDS[stage.kind].can_change_rate
            else stage.kind,
            repeat=stage.repeat,
            tags=stage.tags,
            arrival_kind=_get_arrival_kind(arrivals, workload),
            rate_per_s=get_single_rate(rates),
            duration_s=duration_s,
            extended_s=0.0 if stage.kind == "batch" else duration_s - stage.load.duration_s,
            start_ns=stage_ended.start_ns,
            end_ns=stage_ended.end_ns,
            worker_cpu_s=stage_ended.cpu_s,
            connections_opened=stage_ended.connections_opened,
            stopped_early=stage_ended.stopped_early,
            generator_capacity_per_s=capacity.per_s,
            generator_chunk_capacity_per_s=capacity.chunks_per_s,
            is_saturated=is_over_saturated,
            rates=rates,
            cv=arrivals.cv if isinstance(arrivals, OpenArrivals) else 1.0,
            concurrency=arrivals.concurrency
            if isinstance(arrivals, ClosedArrivals) and stage.kind != "batch"
            else None,
            think_s=arrivals.think_s if isinstance(arrivals, ClosedArrivals) else 0.0,
            sessions=any(map(_has_sessions, list_workloads(workload))),
            lead_in_s=stage.load.lead_in_s,
            classes=self._classes,
            rows_per_request=workload.rows_per_request if isinstance(workload, OipWorkload) else 1,
            workers=build_worker_data(stage_ended.workers),
            worker_cpu_wait_s=stage_ended.cpu_wait_s,
            is_generator_capacity_lower_bound=capacity.is_lower_bound,
            requests_output_lengths=all(map(has_output_lengths, list_workloads(workload))),
            target_ended=self._target_end_reason(),
            live_sessions=_summarize_sessions(stage_ended.live_sessions),
            outputs=None if stage_ended.outputs is None else OutputSummary(**stage_ended.outputs),
            batch=None if stage_ended.batch is None else _summarize_batch(stage_ended.batch),
            round_trip_ms=None if stage_ended.round_trips is None else stage_ended.round_trips.min_ms,
            error_samples=self._first_error_reporter.report(
                stage_ended.first_errors, stage_ended.index, self._now_ns()
            ),
        )


def _end_at_last_request(stage_data: StageData, rows: StageRows) -> StageData:
    """Return the data of a stage that ended after a number of requests. An open loop offered load
    until the scheduled start of the last request. The clients of a closed loop were in use until the
    last response, so its rates are those of all requests over the time that they took."""
    last_ns = int(rows.scheduled_ns[-1]) if rows.scheduled_ns.size else stage_data.start_ns
    if stage_data.is_closed_loop and rows.end_ns.size:
        last_ns = max(last_ns, int(rows.end_ns.max()))
    duration_s = max(0, last_ns + 1 - stage_data.start_ns) / 1e9
    return msgspec.structs.replace(stage_data, duration_s=min(stage_data.duration_s, duration_s))


def _summarize_batch(batch: BatchOutcome) -> BatchSummary:
    return BatchSummary(
        status=batch.status,
        upload_s=batch.upload_s,
        job_s=batch.job_s,
        requests=sum(batch.request_counts.values()),
        **batch.request_counts,
        tokens_in=batch.tokens_in,
        tokens_out=batch.tokens_out,
        detail=batch.detail,
    )


def _summarize_sessions(counts: LiveSessionCounts | None) -> SessionSummary | None:
    if counts is None:
        return None
    outcomes: dict[SessionOutcomeName, int] = {
        "completed": counts.completed,
        "failed": counts.failed,
        "context_limit": counts.context_limit,
        "unusable_response": counts.unusable_response,
    }
    outcomes["cut_off"] = counts.started - sum(outcomes.values())
    return SessionSummary(
        outcomes=outcomes,
        built_requests=counts.built_requests,
        build_mean_us=counts.build_cpu_ns / counts.built_requests / 1e3 if counts.built_requests else None,
        build_max_us=counts.max_build_cpu_ns / 1e3 if counts.built_requests else None,
    )


def compute_class_shares(workload: Workload) -> tuple[ClassShare, ...]:
    """Return the classes of a mix with their shares of the arrivals; empty for other workloads."""
    if not isinstance(workload, MixedWorkload):
        return ()
    total_weight = sum(request_class.weight for request_class in workload.classes)
    return tuple(
        ClassShare(request_class.name, request_class.weight / total_weight) for request_class in workload.classes
    )


def _has_sessions(workload: Workload) -> bool:
    prompts = workload.prompts if isinstance(workload, OpenAiWorkload) else None
    if isinstance(prompts, SyntheticPrompts):
        return prompts.turns is not None
    return isinstance(prompts, SessionPrompts) or (isinstance(prompts, DatasetPrompts) and prompts.sessions)


def _require_extendable(stage: ResolvedStage) -> None:
    """Raise UsageError if the user cannot extend the stage."""
    if not STAGE_KINDS[stage.kind].is_configured:
        setting = "load.warmup" if stage.kind == "warmup" else "the search"
        raise UsageError(f"the current stage, {stage.name}, cannot be extended: its duration is set by {setting}")
    if stage.kind == "batch":
        raise UsageError(f"the current stage, {stage.name}, cannot be extended: it ends with its batch")
    if not STAGE_KINDS[stage.kind].can_be_extended or isinstance(stage.load.arrivals, TraceArrivals):
        reason = "replays a trace" if isinstance(stage.load.arrivals, TraceArrivals) else "follows a rate curve"
        raise UsageError(f"the current stage, {stage.name}, cannot be extended: it {reason} of fixed length")


def _has_new_rates(arrivals: Arrivals, rates: Rates) -> bool:
    """Return True if a stage used a rate that is not among its planned rates. Missing planned rates
    do not matter, because a stage may end early."""
    if not isinstance(arrivals, OpenArrivals):
        return False
    return not {rate for _, rate in rates} <= {rate for _, rate in arrivals.rates}


def _get_arrival_kind(arrivals: Arrivals, workload: Workload) -> ArrivalKind:
    if isinstance(workload, LocustWorkload):
        return "locust"
    if isinstance(workload, BatchWorkload):
        return "batch"
    match arrivals:
        case OpenArrivals(process=process):
            return process
        case TraceArrivals():
            return "trace"
        case ClosedArrivals():
            return "closed"
