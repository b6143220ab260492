"""Streams of calls without a model: in virtual time, or with a given duration in real time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from time import perf_counter_ns

import numpy as np
import numpy.typing as npt

from app.inference.job import Measure
from app.inference.rows import Array
from app.records.calls import COLUMNS
from app.records.local import Scenario
from tests.fakes.clock import FakeClock

Times = tuple[int, int, int, int, int, int]


def plan_of(
    scenario: Scenario,
    *,
    streams: int = 1,
    min_s: float = 0.0,
    max_s: float = 0.3,
    half_width: float = -1.0,
    min_calls: int = 1,
    max_warmup_s: float = 0.0,
    rate_per_s: float | None = None,
    batch: int = 1,
) -> Measure:
    """Without a `half_width` no interval is narrow enough, and the measurement takes `max_s`."""
    return Measure(
        scenario=scenario,
        batch=batch,
        streams=streams,
        min_duration_s=min_s,
        max_duration_s=max_s,
        half_width=half_width,
        min_calls=min_calls,
        max_warmup_s=max_warmup_s,
        rate_per_s=rate_per_s,
    )


class SimulatedCaller:
    """Advances a clock by the next of `services_ms` for each call, half of it for the preparation."""

    def __init__(self, clock: FakeClock, services_ms: Iterator[float], *, fails_at: int | None = None) -> None:
        self.outputs: Sequence[Array] = ()
        self.starts: list[int] = []
        self._clock, self._services_ms, self._fails_at = clock, services_ms, fails_at

    def call(self, start: int) -> Times:
        if len(self.starts) == self._fails_at:
            raise RuntimeError("the call failed")
        self.starts.append(start)
        self.outputs = (np.array([[start]]),)
        service_s = next(self._services_ms) / 1000
        begin_ns = self._clock.now_ns
        self._clock.advance(service_s / 2)
        prepared_ns = self._clock.now_ns
        self._clock.advance(service_s)
        return begin_ns, prepared_ns, -1, self._clock.now_ns, -1, self._clock.now_ns


class TimedCaller:
    """Each call takes `service_s` of real time. After `calls` calls, it fails."""

    def __init__(self, service_s: float, calls: int | None = None) -> None:
        self.outputs: Sequence[Array] = (np.zeros((1, 1)),)
        self.threads: set[int] = set()
        self._service_s, self._left = service_s, calls
        self._pause = threading.Event()

    def call(self, _: int) -> Times:
        self.threads.add(threading.get_ident())
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                raise RuntimeError("the call failed")
        begin_ns = perf_counter_ns()
        self._pause.wait(self._service_s)
        end_ns = perf_counter_ns()
        return begin_ns, begin_ns, -1, end_ns, -1, end_ns


class ReceivedCalls:
    """Records everything that a scenario reports, in order: rows are arrays [calls, COLUMNS]."""

    def __init__(self, on_rows: Callable[[], None] = lambda: None) -> None:
        self.warmups: list[npt.NDArray[np.int64]] = []
        self.windows: list[npt.NDArray[np.int64]] = []
        self.start_ns: int | None = None
        self.warmup_windows: int | None = None
        self.is_stationary: bool | None = None
        self._on_rows = on_rows

    def on_started(self, start_ns: int, warmup_windows: int, is_stationary: bool) -> None:
        assert self.start_ns is None, "it begins once"
        self.start_ns, self.warmup_windows, self.is_stationary = start_ns, warmup_windows, is_stationary

    def on_calls(self, packed: bytes) -> None:
        table = np.frombuffer(packed, np.int64).reshape(-1, len(COLUMNS))
        (self.warmups if self.start_ns is None else self.windows).append(table)
        self._on_rows()

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        return np.concatenate(self.windows)

    def column(self, name: str) -> npt.NDArray[np.int64]:
        return self.rows[:, COLUMNS.index(name)]
