"""MLPerf's scenarios as loops around calls: what is started when, by which thread, and when there has been enough.

Every call is kept as a row of `app.records.calls`. Rows are told window by window, so that a crash costs one window.
"""

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

from app.analysis.warmup import has_settled
from app.inference.callers import WIDTH, Caller, Table, joined, never_begun, service_ms, table_of, told_since
from app.inference.job import Measure
from app.inference.sampling import KeptOutputs
from loadgen.arrivals import offsets_ns
from loadgen.records import OpenArrivals

WINDOW_NS = 250_000_000
_FEWEST_CALLS = 3
"""In a warm-up window, however slow they are."""
_AWAKE_NS = 150_000
"""Before a call is due: more than it usually takes to wake up."""
_GROWTH = 1.25
_LOOKS = 2
"""The interval is looked at whenever the calls have grown so much, and has to be narrow so many times in a row: the
first look that happens to be narrow would end too many stages."""
_OVERTIME = 0.5
"""How much longer than asked a server's backlog is worked at."""


class Ended(msgspec.Struct, frozen=True):
    """`half_width` is None where there were too few calls to tell."""

    end_ns: int
    half_width: float | None


class Told(Protocol):
    """Told from the thread that the scenario was run by."""

    def began(self, start_ns: int, warmup_windows: int, has_settled: bool) -> None: ...

    def calls(self, packed: bytes) -> None: ...


def run_scenario(
    plan: Measure,
    callers: Sequence[Caller],
    starts: Sequence[int],
    told: Told,
    kept: KeptOutputs,
    now_ns: Callable[[], int] = perf_counter_ns,
) -> Ended:
    """`callers` are one a stream; `starts` the rows that calls begin at, in turn; `now_ns` is the clock of their times.

    Raises what a call raises.
    """
    stage = _Stage(plan, callers, starts, told, kept, now_ns)
    stage.warm_up()
    match plan.scenario:
        case "single-stream":
            return stage.one_after_another()
        case "multi-stream":
            return stage.by_queries()
        case "offline":
            return stage.as_fast_as_it_goes()
        case "server":
            return stage.as_they_arrive()


class _Stage:
    def __init__(
        self,
        plan: Measure,
        callers: Sequence[Caller],
        starts: Sequence[int],
        told: Told,
        kept: KeptOutputs,
        now_ns: Callable[[], int],
    ) -> None:
        from app.analysis.estimates import mean  # scipy: no cold start is to wait for it, and no measured window

        self._mean = mean
        self._plan, self._callers, self._told, self._kept = plan, callers, told, kept
        self._starts, self._count, self._now_ns = starts, len(starts), now_ns
        self._times_ms: list[npt.NDArray[np.float64]] = []
        self._look_again_at, self._narrow_looks = 0.0, 0
        self._begun: set[int] = set()
        """Numbers of the queries, or arrivals, that were begun."""

    def warm_up(self) -> None:
        medians: list[float] = []
        deadline_ns = self._now_ns() + round(self._plan.warmup_most_s * 1e9)
        index = itertools.count()
        while self._now_ns() < deadline_ns and not has_settled(medians):
            rows = array("q")
            until_ns = self._now_ns() + WINDOW_NS
            while len(rows) < _FEWEST_CALLS * WIDTH or self._now_ns() < until_ns:
                number = next(index)
                stream = number % len(self._callers)
                call = self._callers[stream].call
                rows.extend((number, stream, -1, *call(self._starts[number % self._count])))
                if self._now_ns() > deadline_ns:
                    break
            table = table_of(rows)
            medians.append(float(np.median(service_ms(table))))
            self._told.calls(table.tobytes())
        self._windows, self._has_settled = len(medians), has_settled(medians)

    def _begin(self, start_ns: int) -> None:
        self._told.began(start_ns, self._windows, self._has_settled)

    def one_after_another(self) -> Ended:
        """In this thread, which nothing else wants the interpreter from. Between windows nothing is timed."""
        call, starts, count, kept = self._callers[0].call, self._starts, self._count, self._kept
        index, next_kept = 0, kept.next
        start_ns = self._now_ns()
        self._begin(start_ns)
        while True:
            rows = array("q")
            extend = rows.extend
            until_ns = self._now_ns() + WINDOW_NS
            while True:
                times = call(starts[index % count])
                extend((index, 0, -1, *times))
                if index == next_kept:
                    next_kept = kept.keep(index, starts[index % count], self._callers[0].outputs)
                index += 1
                if times[5] >= until_ns:
                    break
            self._heed(table_of(rows))
            if self._is_enough(start_ns):
                return Ended(times[5], self._half_width())

    def as_fast_as_it_goes(self) -> Ended:
        """A thread a stream, each with its next call as soon as the last one ended."""
        if len(self._callers) == 1:
            return self.one_after_another()
        numbers = itertools.count()
        stop = threading.Event()

        def work(stream: int, rows: array[int]) -> None:
            caller = self._callers[stream]
            while not stop.is_set():
                number = next(numbers)
                at = self._starts[number % self._count]
                rows.extend((number, stream, -1, *caller.call(at)))
                if number >= self._kept.next:
                    self._kept.keep(number, at, caller.outputs)

        return self._threaded(work, stop)

    def by_queries(self) -> Ended:
        """A query is one call on every stream at once; the next begins when the last of them has ended."""
        stop, is_over = threading.Event(), threading.Event()
        due = [0, -1]

        def begin_query() -> None:
            if stop.is_set():  # for all streams at the same query, so that none is of fewer calls
                is_over.set()
            due[0], due[1] = self._now_ns(), due[1] + 1

        together = threading.Barrier(len(self._callers), action=begin_query)

        def next_query() -> bool:
            together.wait()
            return not is_over.is_set()

        def work(stream: int, rows: array[int]) -> None:
            caller, streams = self._callers[stream], len(self._callers)
            try:
                while next_query():
                    intended_ns, query = due
                    at = self._starts[(query * streams + stream) % self._count]
                    rows.extend((query, stream, intended_ns, *caller.call(at)))
                    if stream == 0 and query >= self._kept.next:
                        self._kept.keep(query, at, caller.outputs)
            except threading.BrokenBarrierError:  # a call of another stream has failed
                return
            finally:
                together.abort()  # nobody is to wait for a stream that failed

        return self._threaded(work, stop)

    def as_they_arrive(self) -> Ended:
        """Poisson arrivals, in their order, each by the stream that is free first."""
        plan = self._plan
        assert plan.rate_per_s is not None
        process = OpenArrivals("poisson", ((0.0, plan.rate_per_s),), 1.0)
        offsets: list[int] = offsets_ns(process, plan.most_s, 0.0, plan.seed).tolist()
        start_ns = self._now_ns() + 10_000_000
        deadline_ns = start_ns + round(plan.most_s * (1 + _OVERTIME) * 1e9)
        self._begin(start_ns)
        numbers = itertools.count()
        stop = threading.Event()

        def work(stream: int, rows: array[int]) -> None:
            caller = self._callers[stream]
            while not stop.is_set():
                number = next(numbers)
                if number >= len(offsets) or self._now_ns() > deadline_ns:
                    return
                intended_ns = start_ns + offsets[number]
                self._await(intended_ns)
                at = self._starts[number % self._count]
                rows.extend((number, stream, intended_ns, *caller.call(at)))
                if number >= self._kept.next:
                    self._kept.keep(number, at, caller.outputs)

        self._threaded(work, stop, is_over=lambda: self._now_ns() > deadline_ns)
        never = [number for number in range(len(offsets)) if number not in self._begun]
        self._told.calls(never_begun(never, [start_ns + offsets[number] for number in never]).tobytes())
        return Ended(start_ns + round(plan.most_s * 1e9), self._half_width())

    def _await(self, due_ns: int) -> None:
        """Asleep until shortly before, for a thread wakes late; then awake."""
        if (wait_ns := due_ns - _AWAKE_NS - self._now_ns()) > 0:
            time.sleep(wait_ns / 1e9)
        while self._now_ns() < due_ns:
            pass

    def _threaded(
        self,
        work: Callable[[int, array[int]], None],
        stop: threading.Event,
        is_over: Callable[[], bool] | None = None,
    ) -> Ended:
        """`work` on a thread a stream until there is enough; its rows are told meanwhile, from this thread."""
        rows = [array("q") for _ in self._callers]
        failures: list[BaseException] = []

        def guarded(stream: int) -> None:
            try:
                work(stream, rows[stream])
            except BaseException as failure:  # a thread has no caller to raise to: this one's raises it
                failures.append(failure)
            finally:
                if failures:
                    stop.set()

        threads = [
            threading.Thread(target=guarded, args=(stream,), name=f"stream {stream}", daemon=True)
            for stream in range(len(self._callers))
        ]
        start_ns = self._now_ns()
        if is_over is None:
            self._begin(start_ns)
        for thread in threads:
            thread.start()
        told = [0] * len(rows)
        while any(thread.is_alive() for thread in threads) and not stop.is_set():
            stop.wait(WINDOW_NS / 1e9)
            self._heed(joined([told_since(one, told, stream) for stream, one in enumerate(rows)]))
            if self._is_enough(start_ns) if is_over is None else is_over():
                break
        end_ns = self._now_ns()
        stop.set()
        for thread in threads:
            thread.join()
        self._heed(joined([told_since(one, told, stream) for stream, one in enumerate(rows)]))
        if failures:
            raise failures[0]
        return Ended(end_ns, self._half_width())

    def _heed(self, table: Table) -> None:
        if len(table):
            self._times_ms.append(service_ms(table))
            if self._plan.scenario == "server":
                self._begun.update(table[:, 0].tolist())
            self._told.calls(table.tobytes())

    def _is_enough(self, start_ns: int) -> bool:
        passed_s = (self._now_ns() - start_ns) / 1e9
        if passed_s >= self._plan.most_s:
            return True
        if passed_s < self._plan.least_s or sum(map(len, self._times_ms)) < self._plan.least_calls:
            return False
        calls = sum(map(len, self._times_ms))
        if calls < self._look_again_at:
            return False
        self._look_again_at = calls * _GROWTH
        half_width = self._half_width()
        is_narrow = half_width is not None and half_width <= self._plan.half_width
        self._narrow_looks = self._narrow_looks + 1 if is_narrow else 0
        return self._narrow_looks >= _LOOKS

    def _half_width(self) -> float | None:
        found = self._mean(np.concatenate(self._times_ms)) if self._times_ms else None
        if found is None or found.ci95 is None or not found.value:
            return None
        return (found.ci95[1] - found.ci95[0]) / 2 / found.value
