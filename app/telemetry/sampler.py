"""Sample telemetry at fixed intervals, as tidy rows with timestamps on the same monotonic clock as
the requests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import pyarrow as pa

from app.records.gpu import GpuProcess
from app.records.telemetry import TELEMETRY_SCHEMA
from app.records.telemetry_sources import name_gpu_source
from app.telemetry.gpu import Gpus, open_gpus
from app.telemetry.gpu_slow import SlowGpuReader
from app.telemetry.host import HostReader
from app.telemetry.processes import ProcessReader

BATCH_INTERVAL_NS = 1_000_000_000
HOST_INTERVAL_NS = 100_000_000
HANG_TIMEOUT_S = 2.0
"""Time in seconds without a response from the driver after which a GPU counts as lost. It is also
the maximum time for which `close` waits for the sampling threads."""

Sink = Callable[[pa.RecordBatch], None]
Wait = Callable[[threading.Event, float], bool]
_Row = tuple[int, str, str, float | None]


def iterate_ticks(interval_ns: int, now: Callable[[], int], wait: Callable[[float], bool]) -> Iterator[int]:
    """Yield the sampling times in ns, on a schedule without drift, until `wait` returns True.

    If a sample takes longer than an interval, the missed sampling times are skipped, and later
    sampling times are not shifted."""
    due_ns = now()
    while True:
        yield due_ns
        missed_ticks = max(0, now() - due_ns) // interval_ns
        due_ns += (missed_ticks + 1) * interval_ns
        if wait(max(0, due_ns - now()) / 1e9):
            return


class Poller(Protocol):
    """A telemetry source with its own sampling interval `interval_s` in s. `read` must return None
    for values that cannot be read, because an exception ends all sampling."""

    interval_s: float

    def read(self, at_ns: int) -> Iterable[tuple[str, dict[str, float | None]]]:
        """Return the readings of one or more sources: pairs of a source and its values by
        metric."""


class Sampler:
    """Sampler of telemetry from `start` to `close`.

    GPUs are sampled every `interval_s`, the host and the processes at 10 Hz, and each of `pollers`
    and the slow GPU metrics at their own intervals. These groups are sampled by separate threads,
    so that a slow source does not delay others.

    The sink receives a batch about once per second and the remaining rows at `close`, always on the
    thread that samples the host. If the sink or a source raises an exception, sampling ends and
    `close` raises the exception again."""

    def __init__(
        self,
        *,
        interval_s: float = 0.05,
        pollers: Sequence[Poller] = (),
        now: Callable[[], int] = time.perf_counter_ns,
        wait: Wait = threading.Event.wait,
        open_gpus: Callable[[], AbstractContextManager[Gpus]] = open_gpus,
    ) -> None:
        self._gpu_interval_ns = round(interval_s * 1e9)
        self._now = now
        self._wait = wait
        self._open_gpus = open_gpus
        self._pollers = pollers
        self._slow_reader: SlowGpuReader | None = None
        self._process_reader = ProcessReader()
        self._lock = threading.Lock()
        self._rows: list[_Row] = []
        self._lost_gpus: tuple[int, ...] = ()
        self._current_read: tuple[int, int] | None = None  # index of the GPU being read, and the start time in ns
        self._failure: Exception | None = None
        self._stop_event = threading.Event()
        self._host_thread: threading.Thread | None = None

    @property
    def gpu_processes(self) -> tuple[GpuProcess, ...]:
        """Processes that compute on the GPUs, according to a reading that may be up to two seconds
        old."""
        return () if self._slow_reader is None else self._slow_reader.processes

    @property
    def lost_gpus(self) -> tuple[int, ...]:
        """Indices of the GPUs that were lost since `start` or whose driver hangs. The indices may
        be up to one sampling interval old."""
        current_read = self._current_read
        if current_read is not None and self._now() - current_read[1] > HANG_TIMEOUT_S * 1e9:
            return tuple(sorted({*self._lost_gpus, current_read[0]}))
        return self._lost_gpus

    def watch(self, source: str, pid: int) -> None:
        """Start sampling a process and its descendants: their CPU usage as `<source>_cpu_cores`,
        and their memory as `<source>_memory_gib`."""
        self._process_reader.watch(source, pid)

    def start(self, sink: Sink) -> None:
        threads = [self._start_thread("telemetry-gpus", self._sample_gpus)]
        threads += [
            self._start_thread(f"telemetry-other-{index}", self._poll, poller)
            for index, poller in enumerate(self._pollers)
        ]
        self._host_thread = self._start_thread("telemetry", self._sample_host, sink, threads)

    def close(self) -> None:
        self._stop_event.set()
        if self._host_thread is not None:
            self._host_thread.join()
        if self._failure is not None:
            raise self._failure

    def _start_thread(self, name: str, sample: Callable[..., None], *arguments: object) -> threading.Thread:
        thread = threading.Thread(target=self._run_guarded, args=(sample, *arguments), name=name, daemon=True)
        thread.start()
        return thread

    def _run_guarded(self, sample: Callable[..., None], *arguments: object) -> None:
        try:
            sample(*arguments)
        except Exception as failure:  # `close` raises it, because a thread has no caller
            self._failure = failure
            self._stop_event.set()

    def _iterate_ticks(self, interval_ns: int) -> Iterator[int]:
        return iterate_ticks(interval_ns, self._now, lambda seconds: self._wait(self._stop_event, seconds))

    def _sample_host(self, sink: Sink, threads: Sequence[threading.Thread]) -> None:
        host_ticks = self._iterate_ticks(HOST_INTERVAL_NS)
        start_ns = next(host_ticks)  # the first tick is the reference for the second
        host_reader = HostReader(start_ns)
        self._process_reader.read(start_ns)
        flush_due_ns = start_ns + BATCH_INTERVAL_NS
        for due_ns in host_ticks:
            at_ns = self._now()
            for source, readings in (
                *host_reader.iterate_readings(at_ns),
                *self._process_reader.iterate_readings(at_ns),
            ):
                self._add_rows(at_ns, source, readings)
            if due_ns >= flush_due_ns:
                flush_due_ns = due_ns + BATCH_INTERVAL_NS
                self._flush(sink)
        # Use real time instead of `now`: a hanging thread would stop the simulated clock of a test.
        deadline_s = time.monotonic() + HANG_TIMEOUT_S
        for thread in threads:
            thread.join(max(0.0, deadline_s - time.monotonic()))
        self._flush(sink)

    def _poll(self, poller: Poller) -> None:
        for _ in self._iterate_ticks(round(poller.interval_s * 1e9)):
            at_ns = self._now()
            for source, readings in poller.read(at_ns):
                self._add_rows(at_ns, source, readings)

    def _sample_gpus(self) -> None:
        with self._open_gpus() as gpus:
            if gpus.driver is None and not gpus.readers:
                return
            self._slow_reader = SlowGpuReader(gpus)
            slow_thread = self._start_thread("telemetry-gpus-slow", self._poll, self._slow_reader)
            for _ in self._iterate_ticks(self._gpu_interval_ns):
                for reader in gpus.readers:
                    at_ns = self._now()
                    self._current_read = (reader.index, at_ns)
                    self._add_rows(at_ns, name_gpu_source(reader.index), reader.read(at_ns))
                    self._current_read = None
                self._lost_gpus = tuple(reader.index for reader in gpus.readers if reader.is_lost)
            slow_thread.join()  # the driver must not be closed during a query; `close` does not wait for this thread

    def _add_rows(self, at_ns: int, source: str, readings: dict[str, float | None]) -> None:
        with self._lock:
            self._rows.extend((at_ns, source, metric, value) for metric, value in readings.items())

    def _flush(self, sink: Sink) -> None:
        with self._lock:
            rows, self._rows = self._rows, []
        if rows:
            columns = zip(zip(*rows, strict=True), TELEMETRY_SCHEMA, strict=True)
            arrays = [pa.array(values, field.type) for values, field in columns]
            sink(pa.RecordBatch.from_arrays(arrays, schema=TELEMETRY_SCHEMA))
