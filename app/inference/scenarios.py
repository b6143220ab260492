"""Run MLPerf scenarios: decide when each call starts, on which thread, and when a scenario ends.

Each call becomes a row with the columns of `app.records.calls`. Rows are reported window by window,
so that a crash loses at most one window."""

from __future__ import annotations

import itertools
import threading
import time
from array import array
from collections.abc import Callable, Sequence
from time import perf_counter_ns
from typing import Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from app.analysis.warmup import is_stable
from app.errors import UsageError
from app.inference.callers import (
    COLUMN_COUNT,
    Caller,
    Table,
    build_unstarted_calls,
    compute_service_times_ms,
    concatenate_tables,
    read_new_rows,
    view_as_table,
)
from app.inference.job import Measure
from app.inference.sampling import OutputSampler
from loadgen.arrivals import compute_offsets_ns
from loadgen.records import OpenArrivals

WINDOW_NS = 250_000_000
_MIN_CALLS = 3
"""Minimum number of calls per warm-up window, regardless of the duration of the calls."""
_BUSY_WAIT_NS = 150_000
"""Time in ns before the scheduled start of a call at which the thread stops sleeping and starts to
busy-wait. It exceeds the usual wake-up delay of a thread."""
_CHECK_GROWTH = 1.25
_REQUIRED_NARROW_CHECKS = 2
"""Number of consecutive checks in which the confidence interval must be narrow enough to end a
stage.

The confidence interval is checked whenever the number of calls has grown by the factor
`_CHECK_GROWTH`. A single check would end too many stages early."""
_MAX_DRAIN_SHARE = 0.5
"""Maximum time for draining the backlog after the server scenario, as a fraction of the requested
duration."""


class ScenarioEnd(msgspec.Struct, frozen=True):
    """End of a scenario. `half_width` is the relative half-width of the 95 % confidence interval of
    the mean service time; `None` if there were too few calls for an estimate."""

    end_ns: int
    half_width: float | None


class ScenarioListener(Protocol):
    """Listener that receives the reports of a scenario on the thread that runs the scenario."""

    def on_started(self, start_ns: int, warmup_windows: int, is_stationary: bool) -> None: ...

    def on_calls(self, packed: bytes) -> None: ...


def run_scenario(
    command: Measure,
    callers: Sequence[Caller],
    starts: Sequence[int],
    listener: ScenarioListener,
    sampler: OutputSampler,
    now_ns: Callable[[], int] = perf_counter_ns,
) -> ScenarioEnd:
    """Run one scenario to its end.

    `callers` has one entry per stream. `starts` are the first rows of the batches, which the calls
    use in turn. `now_ns` is the clock of the callers' timestamps. Raises the error of a call that
    fails."""
    stage = _Stage(command, callers, starts, listener, sampler, now_ns)
    stage.warm_up()
    match command.scenario:
        case "single-stream":
            return stage.run_single_stream()
        case "multi-stream":
            return stage.run_multi_stream()
        case "offline":
            return stage.run_offline()
        case "server":
            return stage.run_server()
        case "generation":
            raise UsageError("the generation scenario is only for language models")


class _Stage:
    def __init__(
        self,
        command: Measure,
        callers: Sequence[Caller],
        starts: Sequence[int],
        listener: ScenarioListener,
        sampler: OutputSampler,
        now_ns: Callable[[], int],
    ) -> None:
        # Import scipy here, outside the cold start and the measured windows.
        from app.analysis.estimates import estimate_mean

        self._estimate_mean = estimate_mean
        self._command, self._callers, self._listener, self._sampler = command, callers, listener, sampler
        self._starts, self._start_count, self._now_ns = starts, len(starts), now_ns
        self._service_times_ms: list[npt.NDArray[np.float64]] = []
        self._next_check_call_count, self._narrow_check_count = 0.0, 0
        self._started_indices: set[int] = set()
        """Indices of the arrivals of the server scenario whose calls were started."""

    def warm_up(self) -> None:
        medians: list[float] = []
        deadline_ns = self._now_ns() + round(self._command.max_warmup_s * 1e9)
        indices = itertools.count()
        while self._now_ns() < deadline_ns and not is_stable(medians):
            rows = array("q")
            window_end_ns = self._now_ns() + WINDOW_NS
            while len(rows) < _MIN_CALLS * COLUMN_COUNT or self._now_ns() < window_end_ns:
                call_index = next(indices)
                stream = call_index % len(self._callers)
                call = self._callers[stream].call
                rows.extend((call_index, stream, -1, *call(self._starts[call_index % self._start_count])))
                if self._now_ns() > deadline_ns:
                    break
            table = view_as_table(rows)
            medians.append(float(np.median(compute_service_times_ms(table))))
            self._listener.on_calls(table.tobytes())
        self._warmup_windows, self._is_stationary = len(medians), is_stable(medians)

    def _report_start(self, start_ns: int) -> None:
        self._listener.on_started(start_ns, self._warmup_windows, self._is_stationary)

    def run_single_stream(self) -> ScenarioEnd:
        """Run calls one after another on this thread, so that no other thread contends for the
        interpreter. The time between windows is not measured."""
        call, starts, start_count, sampler = self._callers[0].call, self._starts, self._start_count, self._sampler
        index, next_sample = 0, sampler.next_index
        start_ns = self._now_ns()
        self._report_start(start_ns)
        while True:
            rows = array("q")
            extend = rows.extend
            window_end_ns = self._now_ns() + WINDOW_NS
            while True:
                timestamps = call(starts[index % start_count])
                extend((index, 0, -1, *timestamps))
                if index == next_sample:
                    next_sample = sampler.add(index, starts[index % start_count], self._callers[0].outputs)
                index += 1
                if timestamps[5] >= window_end_ns:
                    break
            self._record_window(view_as_table(rows))
            if self._must_end(start_ns):
                return ScenarioEnd(timestamps[5], self._compute_half_width())

    def run_offline(self) -> ScenarioEnd:
        """Run one thread per stream. Each thread starts its next call as soon as its previous call
        has ended. With a single stream, run the calls on this thread."""
        if len(self._callers) == 1:
            return self.run_single_stream()
        indices = itertools.count()
        stop = threading.Event()

        def run_calls(stream: int, rows: array[int]) -> None:
            caller = self._callers[stream]
            while not stop.is_set():
                call_index = next(indices)
                start = self._starts[call_index % self._start_count]
                rows.extend((call_index, stream, -1, *caller.call(start)))
                if call_index >= self._sampler.next_index:
                    self._sampler.add(call_index, start, caller.outputs)

        return self._run_threads(run_calls, stop)

    def run_multi_stream(self) -> ScenarioEnd:
        """Run queries, each with one concurrent call per stream. The next query starts when all
        calls of the current query have ended."""
        stop, has_ended = threading.Event(), threading.Event()
        current_query = [0, -1]

        def begin_query() -> None:
            if stop.is_set():  # Stop all streams at the same query, so that each has the same number of calls.
                has_ended.set()
            current_query[0], current_query[1] = self._now_ns(), current_query[1] + 1

        barrier = threading.Barrier(len(self._callers), action=begin_query)

        def wait_for_query() -> bool:
            barrier.wait()
            return not has_ended.is_set()

        def run_calls(stream: int, rows: array[int]) -> None:
            caller, streams = self._callers[stream], len(self._callers)
            try:
                while wait_for_query():
                    scheduled_ns, query_index = current_query
                    start = self._starts[(query_index * streams + stream) % self._start_count]
                    rows.extend((query_index, stream, scheduled_ns, *caller.call(start)))
                    if stream == 0 and query_index >= self._sampler.next_index:
                        self._sampler.add(query_index, start, caller.outputs)
            except threading.BrokenBarrierError:  # A call of another stream failed.
                return
            finally:
                barrier.abort()  # Release all streams if this one failed.

        return self._run_threads(run_calls, stop)

    def run_server(self) -> ScenarioEnd:
        """Run one call per Poisson arrival, in order, each on the first stream that is free."""
        command = self._command
        assert command.rate_per_s is not None
        arrival_process = OpenArrivals("poisson", ((0.0, command.rate_per_s),), 1.0)
        offsets_ns: list[int] = compute_offsets_ns(arrival_process, command.max_duration_s, 0.0, command.seed).tolist()
        start_ns = self._now_ns() + 10_000_000
        deadline_ns = start_ns + round(command.max_duration_s * (1 + _MAX_DRAIN_SHARE) * 1e9)
        self._report_start(start_ns)
        indices = itertools.count()
        stop = threading.Event()

        def run_calls(stream: int, rows: array[int]) -> None:
            caller = self._callers[stream]
            while not stop.is_set():
                arrival_index = next(indices)
                if arrival_index >= len(offsets_ns) or self._now_ns() > deadline_ns:
                    return
                scheduled_ns = start_ns + offsets_ns[arrival_index]
                self._wait_until(scheduled_ns)
                start = self._starts[arrival_index % self._start_count]
                rows.extend((arrival_index, stream, scheduled_ns, *caller.call(start)))
                if arrival_index >= self._sampler.next_index:
                    self._sampler.add(arrival_index, start, caller.outputs)

        self._run_threads(run_calls, stop, is_over=lambda: self._now_ns() > deadline_ns)
        unstarted_indices = [
            arrival_index for arrival_index in range(len(offsets_ns)) if arrival_index not in self._started_indices
        ]
        self._listener.on_calls(
            build_unstarted_calls(
                unstarted_indices, [start_ns + offsets_ns[arrival_index] for arrival_index in unstarted_indices]
            ).tobytes()
        )
        return ScenarioEnd(start_ns + round(command.max_duration_s * 1e9), self._compute_half_width())

    def _wait_until(self, scheduled_ns: int) -> None:
        """Sleep until shortly before `scheduled_ns`, and then busy-wait, because threads wake up
        late."""
        if (wait_ns := scheduled_ns - _BUSY_WAIT_NS - self._now_ns()) > 0:
            time.sleep(wait_ns / 1e9)
        while self._now_ns() < scheduled_ns:
            pass

    def _run_threads(
        self,
        run_calls: Callable[[int, array[int]], None],
        stop: threading.Event,
        is_over: Callable[[], bool] | None = None,
    ) -> ScenarioEnd:
        """Run `run_calls` on one thread per stream until the scenario must end. In the meantime,
        the calling thread reports the new rows."""
        rows = [array("q") for _ in self._callers]
        failures: list[BaseException] = []

        def run_stream(stream: int) -> None:
            try:
                run_calls(stream, rows[stream])
            except BaseException as failure:  # The calling thread raises the error again.
                failures.append(failure)
            finally:
                if failures:
                    stop.set()

        threads = [
            threading.Thread(target=run_stream, args=(stream,), name=f"stream {stream}", daemon=True)
            for stream in range(len(self._callers))
        ]
        start_ns = self._now_ns()
        if is_over is None:
            self._report_start(start_ns)
        for thread in threads:
            thread.start()
        reported_lengths = [0] * len(rows)
        while any(thread.is_alive() for thread in threads) and not stop.is_set():
            stop.wait(WINDOW_NS / 1e9)
            self._record_window(
                concatenate_tables(
                    [read_new_rows(stream_rows, reported_lengths, stream) for stream, stream_rows in enumerate(rows)]
                )
            )
            if self._must_end(start_ns) if is_over is None else is_over():
                break
        end_ns = self._now_ns()
        stop.set()
        for thread in threads:
            thread.join()
        self._record_window(
            concatenate_tables(
                [read_new_rows(stream_rows, reported_lengths, stream) for stream, stream_rows in enumerate(rows)]
            )
        )
        if failures:
            raise failures[0]
        return ScenarioEnd(end_ns, self._compute_half_width())

    def _record_window(self, table: Table) -> None:
        if len(table):
            self._service_times_ms.append(compute_service_times_ms(table))
            if self._command.scenario == "server":
                self._started_indices.update(table[:, 0].tolist())
            self._listener.on_calls(table.tobytes())

    def _must_end(self, start_ns: int) -> bool:
        elapsed_s = (self._now_ns() - start_ns) / 1e9
        if elapsed_s >= self._command.max_duration_s:
            return True
        if elapsed_s < self._command.min_duration_s or sum(map(len, self._service_times_ms)) < self._command.min_calls:
            return False
        call_count = sum(map(len, self._service_times_ms))
        if call_count < self._next_check_call_count:
            return False
        self._next_check_call_count = call_count * _CHECK_GROWTH
        half_width = self._compute_half_width()
        is_narrow = half_width is not None and half_width <= self._command.half_width
        self._narrow_check_count = self._narrow_check_count + 1 if is_narrow else 0
        return self._narrow_check_count >= _REQUIRED_NARROW_CHECKS

    def _compute_half_width(self) -> float | None:
        estimate = self._estimate_mean(np.concatenate(self._service_times_ms)) if self._service_times_ms else None
        if estimate is None or estimate.ci95 is None or not estimate.value:
            return None
        return (estimate.ci95[1] - estimate.value) / estimate.value
