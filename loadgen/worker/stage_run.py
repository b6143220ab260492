"""Run one stage in a load worker, from the command RunStage to the report StageEnded."""

from __future__ import annotations

import gc
import threading
import time
from collections import Counter, deque
from concurrent.futures import wait

from loadgen.frames import ReportSink
from loadgen.machine import subtract_cpu_wait_s
from loadgen.protocols.prepared import CheckOutput, PreparedWorkload
from loadgen.records import (
    BATCH_ROWS,
    ChangeRate,
    ClosedArrivals,
    ExtendStage,
    FirstError,
    OutputCount,
    Progress,
    RoundTrips,
    RunStage,
    StageEnded,
    StagePrepared,
    StageStarted,
)
from loadgen.transport.exchange import Exchange
from loadgen.transport.round_trips import measure_round_trips
from loadgen.worker.rows import build_record_batch
from loadgen.worker.sender import Sender
from loadgen.worker.stage import SendingStage, describe_first_errors
from loadgen.worker.target import SendingTarget
from loadgen.worker.traffic import Schedule

_SEND_ROWS_INTERVAL_S = 0.05
_CHECKED_BATCH_ROWS = 50
"""Maximum number of responses whose content is checked before progress is reported: a check takes up
to some ms."""
_PROGRESS_INTERVAL_NS = 250_000_000


class StageRun:
    """Run of one stage. `run` is called on a separate thread. The command reader may call the other
    methods at any time."""

    def __init__(self, command: RunStage, sender: Sender, listener: ReportSink) -> None:
        self._plan, self._share = command.plan, command.share
        self._sender, self._listener = sender, listener
        self._schedule: Schedule | None = None
        self._stage: SendingStage | None = None
        self._start_ns: int | None = None
        self._start_event = threading.Event()
        self.is_sending = False
        self._stop_drain: bool | None = None
        self._pending_changes: deque[tuple[int, ChangeRate | ExtendStage]] = deque()
        """Rate changes and extensions that have not been applied yet, each with its sequence
        number."""
        self._change_count = 0
        self._check_output: CheckOutput | None = None
        self._outputs: Counter[OutputCount] = Counter()
        self._first_rejected_exchange: Exchange | None = None
        """First exchange whose response failed the check of its content."""
        self._change_lock = threading.Lock()

    @property
    def index(self) -> int:
        return self._plan.index

    def start(self, start_ns: int) -> None:
        """Set the start time of the measurement window in ns, and start the stage. Arrivals that
        are already due are sent late."""
        self._start_ns = start_ns
        self._start_event.set()

    def stop(self, drain: bool) -> None:
        """Stop the stage. A stage that has not started ends as soon as it is prepared, even without
        a call of `start`."""
        self._sender.loop.call_soon_threadsafe(self._stop, drain)
        self._start_event.set()

    def apply_change(self, change: ChangeRate | ExtendStage) -> None:
        with self._change_lock:
            self._change_count += 1
            self._pending_changes.append((self._change_count, change))
        self._apply_changes()

    def _apply_changes(self) -> None:
        """Apply the pending rate changes and extensions. The new arrivals are drawn on the calling
        thread, so that the sending thread is not delayed."""
        with self._change_lock:
            while self._pending_changes and (stage := self._stage) is not None:
                change_number, change = self._pending_changes.popleft()
                if isinstance(change, ChangeRate):
                    self._change_rate(stage, change, change_number)
                else:
                    self._extend(stage, change.duration_s, change_number)

    def _change_rate(self, stage: SendingStage, change: ChangeRate, change_number: int) -> None:
        if self._schedule is None:
            return
        at_ns, rate_per_s = max(change.at_ns, stage.lead_in_start_ns), change.rate_per_s
        later_offsets = self._schedule.change_rate(rate_per_s, at_ns - stage.start_ns, change_number)
        if later_offsets is not None:
            self._sender.loop.call_soon_threadsafe(
                lambda: stage.change_rate(rate_per_s, later_offsets, at_ns, time.perf_counter_ns())
            )

    def _extend(self, stage: SendingStage, duration_s: float, change_number: int) -> None:
        later_offsets = None if self._schedule is None else self._schedule.extend(duration_s, change_number)
        self._sender.loop.call_soon_threadsafe(stage.extend, duration_s, later_offsets)

    def run(self, target: SendingTarget) -> None:
        """Prepare the stage, wait for `start` or `stop`, run the stage, and send its rows and
        reports. Raises TargetError or WorkloadError if the stage cannot be prepared."""
        prepared_workload = self._sender.call(target.prepare(self._share)).result()
        if not isinstance(self._plan.load.arrivals, ClosedArrivals):
            self._schedule = Schedule(self._plan, self._share)
        # Exclude the existing objects from garbage collections during the stage.
        gc.collect()
        gc.freeze()
        self._listener.send(StagePrepared(self.index))
        self._start_event.wait()
        self.is_sending = True
        stage = self._sender.call(self._create_stage(target, prepared_workload)).result()
        self._apply_changes()
        opened_count_before, cpu_before_s = target.transport.opened_count, time.process_time()
        cpu_wait_before_s = self._sender.read_cpu_wait_s()
        self._listener.send(StageStarted(index=self.index, start_ns=stage.start_ns, scheduled=stage.scheduled_count))
        self._check_output = prepared_workload.check_output
        self._send_requests(stage, target)
        self.is_sending = False
        end_ns, cpu_s = time.perf_counter_ns(), time.process_time() - cpu_before_s
        cpu_wait_s = subtract_cpu_wait_s(cpu_wait_before_s, self._sender.read_cpu_wait_s())
        self._send_rows(stage)
        round_trips = self._sender.call(_measure_round_trips(target)).result()
        self._listener.send(
            StageEnded(
                index=self.index,
                start_ns=stage.start_ns,
                end_ns=end_ns,
                scheduled=stage.scheduled_count,
                never_started=stage.never_started_count,
                cpu_s=cpu_s,
                connections_opened=target.transport.opened_count - opened_count_before,
                stopped_early=stage.was_stopped,
                rates=stage.get_executed_rates(),
                cpu_wait_s=cpu_wait_s,
                first_errors=self._describe_first_errors(stage),
                duration_s=stage.duration_s,
                live_sessions=stage.live_sessions,
                outputs=None if self._check_output is None else dict(self._outputs),
                round_trips=round_trips,
            )
        )

    def _send_requests(self, stage: SendingStage, target: SendingTarget) -> None:
        memory_limit = target.create_memory_limit()
        stage_future = self._sender.call(stage.run())
        next_progress_ns = 0
        while not wait((stage_future,), self._get_wait_s(stage)).done:
            self._send_rows(stage, max_batches=1 if self._check_output is not None else None)
            if memory_limit is not None and memory_limit.is_exceeded:
                self._sender.loop.call_soon_threadsafe(target.shed_load)
            now_ns = time.perf_counter_ns()
            if now_ns >= next_progress_ns:
                next_progress_ns = now_ns + _PROGRESS_INTERVAL_NS
                self._listener.send(self._build_progress(stage, now_ns))
        stage_future.result()

    def _get_wait_s(self, stage: SendingStage) -> float:
        """Return how long to wait for further rows: not at all while responses wait for their
        check."""
        return 0.0 if self._check_output is not None and stage.finished_exchanges else _SEND_ROWS_INTERVAL_S

    def _send_rows(self, stage: SendingStage, max_batches: int | None = None) -> None:
        """Send the rows of all finished requests, or of at most `max_batches` batches, because
        checks of their content may take longer than the responses."""
        max_rows = BATCH_ROWS if self._check_output is None else _CHECKED_BATCH_ROWS
        batch_count = 0
        while count := min(len(stage.finished_exchanges), max_rows):
            if batch_count == max_batches:
                return
            batch_count += 1
            exchanges = [stage.finished_exchanges.popleft() for _ in range(count)]
            if self._check_output is not None:
                self._check_outputs(self._check_output, exchanges)
            batch = build_record_batch(
                self.index,
                exchanges,
                stage.max_output_tokens,
                worker_index=self._share.index,
                class_indices=stage.class_indices,
            )
            self._listener.send_rows(batch)

    def _check_outputs(self, check: CheckOutput, exchanges: list[Exchange]) -> None:
        """Check the content of successful responses, and count what they contain."""
        outputs = [check(exchange) if exchange.error is None else None for exchange in exchanges]
        for exchange, output in zip(exchanges, outputs, strict=True):
            exchange.body = b""
            if output is not None and output.is_valid is False:
                exchange.error, exchange.detail = "bad-output", output.detail
                self._first_rejected_exchange = self._first_rejected_exchange or exchange
        examined = [output for output in outputs if output is not None]
        counts: dict[OutputCount, int] = {
            "responses": len(examined),
            "calling_responses": sum(output.tool_calls > 0 for output in examined),
            "tool_calls": sum(output.tool_calls for output in examined),
            "checked": sum(output.is_valid is not None for output in examined),
            "valid": sum(output.is_valid is True for output in examined),
        }
        self._outputs.update(counts)

    def _describe_first_errors(self, stage: SendingStage) -> tuple[FirstError, ...]:
        errors = describe_first_errors(tuple(stage.first_failed_exchanges))
        rejected = self._first_rejected_exchange
        if rejected is None or any(error.error == rejected.error for error in errors):
            return errors
        return (*errors, *describe_first_errors([rejected]))

    def _build_progress(self, stage: SendingStage, now_ns: int) -> Progress:
        rejected_count = self._outputs["checked"] - self._outputs["valid"]
        completed_count, failed_count, never_started_count = (
            stage.completed_count - rejected_count,
            stage.failed_count + rejected_count,
            stage.never_started_count,
        )
        # Read after the other counts, so that the number in flight is never negative.
        sent_count = stage.sent_count
        return Progress(
            index=self.index,
            at_ns=now_ns,
            due=stage.due_count,
            sent=sent_count,
            completed=completed_count,
            failed=failed_count,
            in_flight=sent_count - completed_count - failed_count + never_started_count,
            max_lag_ms=stage.max_lag_ns / 1e6,
            first_errors=self._describe_first_errors(stage),
        )

    async def _create_stage(self, target: SendingTarget, prepared_workload: PreparedWorkload) -> SendingStage:
        now_ns = time.perf_counter_ns()
        start_ns = now_ns if self._start_ns is None else self._start_ns  # None: stopped before it was started
        offsets = None if self._schedule is None else self._schedule.own_offsets
        on_rejected_key = target.api_keys.on_unauthorized if target.api_keys else None
        stage = SendingStage(
            self._plan,
            self._share,
            offsets,
            start_ns,
            target.transport,
            prepared_workload,
            self._sender.loop,
            on_rejected_key,
            target.trace_key,
        )
        self._stage = stage
        if self._stop_drain is not None:
            stage.stop(self._stop_drain, now_ns)
        return stage

    def _stop(self, drain: bool) -> None:
        self._stop_drain = drain
        if self._stage is not None:
            self._stage.stop(drain, time.perf_counter_ns())


async def _measure_round_trips(target: SendingTarget) -> RoundTrips | None:
    return measure_round_trips(target.transport.list_descriptors())
