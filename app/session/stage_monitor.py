"""Monitor a running stage: report its progress, and end the stage if it is saturated or a limit
is reached.

Also report the first failure of each error class once per run, and count good responses and
errors several times per second."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from app.analysis.abort import RESPONSE_TIME_SAMPLE_COUNT, find_abort_reason, is_over_saturated
from app.analysis.columns import Floats, Mask
from app.analysis.objectives import select_run_objectives
from app.analysis.pooling import MAX_ERROR_CLASSES
from app.analysis.rows import StageRows, read_rows
from app.analysis.spans import SCHEDULED_START_METRICS, compute_durations_ms, find_requests_within_limits
from app.records import events
from app.records.events import ErrorReported
from app.records.result import SWEEP_TAG, ErrorSample, Objective
from app.records.stage_kinds import STAGE_KINDS
from app.session.dependencies import Emit
from app.session.limits import LimitMonitor
from app.session.rates import get_constant_rate
from app.session.reachability import ReachabilityMonitor
from app.session.spec import ResolvedStage
from loadgen.records import ClosedArrivals, FirstError, Progress, StageStarted


class FirstErrorReporter:
    """Reporter that emits the first failure of each error class once per run."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._emitted_errors: set[str] = set()

    def report(self, first_errors: Sequence[FirstError], stage: int, now_ns: int) -> tuple[ErrorSample, ...]:
        """Return the error samples of a stage, and emit the samples whose error class is new in
        this run."""
        samples = tuple(ErrorSample(error.error, error.at_ns, error.text) for error in first_errors)
        for sample in samples:
            if sample.error not in self._emitted_errors and len(self._emitted_errors) < MAX_ERROR_CLASSES:
                self._emitted_errors.add(sample.error)
                self._emit(ErrorReported(at_ns=now_ns, stage=stage, sample=sample))
        return samples


_TALLY_COLUMNS = [
    "scheduled_ns", "sent_ns", "first_byte_ns", "end_ns", "error", "first_token_ns", "first_output_ns", "last_token_ns",
    "tokens_out", "class", "input_end_ns", "first_audio_ns", "audio_s", "images",
]  # fmt: skip
_CHUNK_COLUMNS = ["chunk_ns", "chunk_tokens"]
_RECENT_ROW_COUNT = 1000
RecentMetric = Literal["send_lag_ms", "ttft_ms", "tpot_ms"]


class RowTally:
    """Running counts over the rows of a stage.

    Rows are buffered and counted together, because one count takes several ms of CPU time, almost
    independently of the number of rows."""

    def __init__(self, slo: Sequence[Objective], class_names: Sequence[str] = ()) -> None:
        self._slo, self._class_names = slo, class_names
        self._needs_scheduled_start = any(objective.metric in SCHEDULED_START_METRICS for objective in slo)
        needs_chunks = any(objective.metric == "first_message_ms" for objective in slo)
        self._columns = [*_TALLY_COLUMNS, *(_CHUNK_COLUMNS if needs_chunks else [])]
        self._batches: list[pa.RecordBatch] = []
        self._recent_durations_ms: dict[RecentMetric, Floats] = {}
        self.good_count: int | None = 0
        """Number of responses within all latency limits of the SLO; `None` if a limit depends on
        the scheduled start and the scheduled start is unknown."""
        self.error_counts = Counter[str]()
        self.output_token_count: int | None = None
        """Number of tokens of all successful responses; `None` if no response has tokens."""

    def add_rows(self, batch: pa.RecordBatch) -> None:
        if batch.num_rows:
            self._batches.append(batch.select(self._columns))

    def count_rows(self) -> None:
        if not self._batches:
            return
        rows = read_rows(pa.Table.from_batches(self._batches)).name_classes(self._class_names)
        self._batches = []
        self.error_counts.update(rows.count_errors())
        if self._needs_scheduled_start and not rows.has_all_scheduled_starts:
            self.good_count = None
        if self.good_count is not None:
            self.good_count += int(np.count_nonzero(find_requests_within_limits(rows, self._slo)))
        self._add_durations("send_lag_ms", rows, rows.was_sent)
        if rows.tokens is not None:
            self._add_durations("ttft_ms", rows, rows.is_success)
            self._add_durations("tpot_ms", rows, rows.is_success)
            token_counts = rows.tokens.tokens_out[rows.is_success]
            if not np.isnan(token_counts).all():
                self.output_token_count = (self.output_token_count or 0) + int(np.nansum(token_counts))

    def _add_durations(self, metric: RecentMetric, rows: StageRows, is_included: Mask) -> None:
        durations_ms = compute_durations_ms(rows, metric)
        if durations_ms is not None:
            known_durations_ms = durations_ms[is_included & ~np.isnan(durations_ms)]
            previous_ms = self._recent_durations_ms.get(metric, np.empty(0))
            self._recent_durations_ms[metric] = np.concatenate((previous_ms, known_durations_ms))[-_RECENT_ROW_COUNT:]

    def compute_percentiles_ms(self, metric: RecentMetric) -> tuple[float | None, float | None, float | None]:
        """Return p50, p95 and p99 of a metric over the last 1,000 requests in ms; `None` if no
        request has a value."""
        return _compute_percentiles(self._recent_durations_ms.get(metric, np.empty(0)))


def _compute_percentiles(values: Floats) -> tuple[float | None, float | None, float | None]:
    if not values.size:
        return None, None, None
    p50, p95, p99 = np.percentile(values, (50, 95, 99))
    return float(p50), float(p95), float(p99)


_LATENCY_COLUMNS = ["scheduled_ns", "sent_ns", "end_ns"]


class StageMonitor:
    """Monitor of one running stage. The `drain` callback ends the stage without canceling in-flight
    requests."""

    def __init__(
        self,
        resolved_stage: ResolvedStage,
        index: int,
        slo: tuple[Objective, ...],
        emit: Emit,
        limit_monitor: LimitMonitor,
        drain: Callable[[], None],
        has_target_ended: Callable[[], bool],
        first_error_reporter: FirstErrorReporter,
        class_names: Sequence[str] = (),
        reachability: ReachabilityMonitor | None = None,
    ) -> None:
        self._stage, self._index, self._slo, self._emit, self._limit_monitor = (
            resolved_stage,
            index,
            select_run_objectives(slo),
            emit,
            limit_monitor,
        )
        self._drain, self._is_draining, self._has_target_ended = drain, False, has_target_ended
        self._reachability = reachability or ReachabilityMonitor(0)
        self._rate_per_s = get_constant_rate(resolved_stage.arrivals)
        self.sent_by_worker = Counter[int]()
        """Number of requests sent by each worker, by worker index."""
        self.max_lag_ms = 0.0
        self.start_ns: int | None = None
        """Start of the measurement window in monotonic ns; `None` until the workers report the
        start."""
        self.is_over_saturated = False
        self._is_generator_behind = False
        self._open_request_history: list[tuple[int, int]] = []
        self._incomplete_request_history: list[tuple[int, int]] = []
        self._recent_latencies_ms: deque[float] = deque(maxlen=_RECENT_ROW_COUNT)
        self._first_latencies_ms: list[float] = []
        self._tally, self._first_error_reporter = RowTally(slo, class_names), first_error_reporter
        self.observed_errors: tuple[FirstError, ...] = ()
        """First failure of each error class in this stage, as reported so far."""

    @property
    def is_ending(self) -> bool:
        """True if the stage is ending and starts no further requests."""
        return self._is_draining or self.is_over_saturated or self._is_generator_behind

    @property
    def sent(self) -> int:
        return self.sent_by_worker.total()

    def on_started(self, report: StageStarted) -> None:
        stage, self.start_ns = self._stage, report.start_ns
        self._emit(
            events.StageStarted(
                at_ns=report.start_ns,
                index=self._index,
                name=stage.name,
                kind=stage.kind,
                repeat=stage.repeat,
                offered_per_s=self._rate_per_s,
                duration_s=stage.duration_s,
                start_ns=report.start_ns,
                concurrency=stage.arrivals.concurrency if isinstance(stage.arrivals, ClosedArrivals) else None,
                lead_in_s=stage.lead_in_s,
                requests=stage.requests,
                has_load_in_name=STAGE_KINDS[stage.kind].is_search or SWEEP_TAG in stage.tags,
            )
        )

    def add_rows(self, batch: pa.RecordBatch) -> None:
        self.sent_by_worker[batch["worker"][0].as_py() or 0] += batch.num_rows - batch["sent_ns"].null_count
        self._tally.add_rows(batch)
        self._reachability.add_rows(batch)
        successful_rows = batch.select(_LATENCY_COLUMNS).filter(batch["error"].is_null())
        starts_ns = pc.coalesce(successful_rows["scheduled_ns"], successful_rows["sent_ns"])
        latencies_ms = (
            pc.subtract(successful_rows["end_ns"], starts_ns).drop_null().to_numpy(zero_copy_only=False) / 1e6
        )
        self._recent_latencies_ms.extend(latencies_ms[-_RECENT_ROW_COUNT:])
        self._first_latencies_ms.extend(latencies_ms[: RESPONSE_TIME_SAMPLE_COUNT - len(self._first_latencies_ms)])

    def on_progress(self, progress: Progress) -> bool:
        self.max_lag_ms = progress.max_lag_ms
        if len(progress.first_errors) > len(self.observed_errors):
            self.observed_errors = progress.first_errors
            self._first_error_reporter.report(self.observed_errors, self._index, progress.at_ns)
        self._emit_snapshot(progress)
        if self._stage.ends_when_saturated and self._rate_per_s is not None:
            self._watch_backlog(progress, self._rate_per_s)
        if not self._is_draining and self._must_end(progress):
            self._is_draining = True
            self._drain()  # Canceled requests would count against the target, so in-flight requests may finish.
        return not (self.is_over_saturated or self._is_generator_behind)

    def _emit_snapshot(self, progress: Progress) -> None:
        self._tally.count_rows()
        latency_p50_ms, latency_p95_ms, latency_p99_ms = _compute_percentiles(
            np.fromiter(self._recent_latencies_ms, float)
        )
        ttft_p50_ms, ttft_p95_ms, ttft_p99_ms = self._tally.compute_percentiles_ms("ttft_ms")
        tpot_p50_ms, tpot_p95_ms, tpot_p99_ms = self._tally.compute_percentiles_ms("tpot_ms")
        self._emit(
            events.Snapshot(
                at_ns=progress.at_ns,
                stage=self._index,
                offered=progress.due,
                sent=progress.sent,
                completed=progress.completed,
                failed=progress.failed,
                in_flight=progress.in_flight,
                latency_p50_ms=latency_p50_ms,
                latency_p95_ms=latency_p95_ms,
                latency_p99_ms=latency_p99_ms,
                lag_p99_ms=self._tally.compute_percentiles_ms("send_lag_ms")[2],
                good=self._tally.good_count,
                errors=dict(self._tally.error_counts),
                ttft_p50_ms=ttft_p50_ms,
                ttft_p95_ms=ttft_p95_ms,
                ttft_p99_ms=ttft_p99_ms,
                tpot_p50_ms=tpot_p50_ms,
                tpot_p95_ms=tpot_p95_ms,
                tpot_p99_ms=tpot_p99_ms,
                output_tokens=self._tally.output_token_count,
            )
        )

    def _watch_backlog(self, progress: Progress, rate_per_s: float) -> None:
        """Detect a growing backlog.

        The backlog of the endpoint consists of requests that were sent but have no response. If
        only the backlog that includes unsent requests grows, the load generator cannot keep up: the
        stage is ended, and provides no information about the endpoint."""
        response_count = progress.completed + progress.failed
        self._open_request_history.append((progress.at_ns, progress.sent - response_count))
        self._incomplete_request_history.append((progress.at_ns, progress.due - response_count))
        response_s = float(np.percentile(self._first_latencies_ms, 95)) / 1e3 if self._first_latencies_ms else None
        self.is_over_saturated = is_over_saturated(self._open_request_history, rate_per_s, self._slo, response_s)
        self._is_generator_behind = is_over_saturated(
            self._incomplete_request_history, rate_per_s, self._slo, response_s
        )

    def _watch_abort_rule(self, progress: Progress) -> None:
        rule = self._limit_monitor.abort_when
        if rule is None or self.start_ns is None or not STAGE_KINDS[self._stage.kind].is_measured:
            return
        reason = find_abort_reason(
            rule,
            self._stage.name,
            (progress.at_ns - self.start_ns) / 1e9,
            failed=progress.failed,
            completed=progress.completed,
            recent_ms=self._recent_latencies_ms,
        )
        if reason is not None:
            self._limit_monitor.abort(reason)

    def _must_end(self, progress: Progress) -> bool:
        self._watch_abort_rule(progress)
        if self._reachability.must_stop and (loss := self._reachability.format_loss()) is not None:
            self._limit_monitor.abort(loss)
        return not self._limit_monitor.check(progress.at_ns, progress.sent) or self._has_target_ended()
