"""Telemetry on a steady beat, as tidy rows on the clock of the requests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import pyarrow as pa

from app.records.gpu import GpuProcess
from app.records.telemetry import TELEMETRY_SCHEMA
from app.telemetry.gpu import Gpus, open_gpus
from app.telemetry.gpu_rare import RareReader
from app.telemetry.host import HostReader
from app.telemetry.processes import ProcessReader

BATCH_NS = 1_000_000_000
HOST_NS = 100_000_000
HANG_S = 2.0
"""A GPU whose driver has not answered for so long counts as lost; `close` leaves its thread behind."""

Sink = Callable[[pa.RecordBatch], None]
Wait = Callable[[threading.Event, float], bool]
_Row = tuple[int, str, str, float | None]


def beats(interval_ns: int, now: Callable[[], int], wait: Callable[[float], bool]) -> Iterator[int]:
    """The moments to sample at, on a schedule that does not drift, until `wait` says to stop.

    A sample that took longer than an interval costs the beats it overran, and leaves the later ones where they were.
    """
    due_ns = now()
    while True:
        yield due_ns
        overran = max(0, now() - due_ns) // interval_ns
        due_ns += (overran + 1) * interval_ns
        if wait(max(0, due_ns - now()) / 1e9):
            return


class Poller(Protocol):
    """Something to be read on a beat of its own. What it cannot read is None: an exception ends all sampling."""

    interval_s: float

    def read(self, at_ns: int) -> Iterable[tuple[str, dict[str, float | None]]]:
        """Readings by metric, of one source or several."""


class Sampler:
    """Samples from `start` to `close`: GPUs each `interval_s`, the host and its processes at 10 Hz, each of `others`
    and what a GPU tells slowly at an interval of its own. Each has a thread, so who is slow delays only itself.

    The sink gets a batch about once a second and the rest at `close`, always from the host's thread. When the sink
    raises, sampling ends and `close` raises it again.
    """

    def __init__(
        self,
        *,
        interval_s: float = 0.05,
        others: Sequence[Poller] = (),
        now: Callable[[], int] = time.perf_counter_ns,
        wait: Wait = threading.Event.wait,
        gpus: Callable[[], AbstractContextManager[Gpus]] = open_gpus,
    ) -> None:
        self._interval_ns = round(interval_s * 1e9)
        self._now = now
        self._wait = wait
        self._open_gpus = gpus
        self._others = others
        self._rare: RareReader | None = None
        self._processes = ProcessReader()
        self._lock = threading.Lock()
        self._rows: list[_Row] = []
        self._lost_gpus: tuple[int, ...] = ()
        self._asking: tuple[int, int] | None = None  # a GPU, and since when it is being read
        self._failure: Exception | None = None
        self._stop = threading.Event()
        self._host_thread: threading.Thread | None = None

    @property
    def gpu_processes(self) -> tuple[GpuProcess, ...]:
        """Who computes on the GPUs, up to date to a second or two: see `foreign_processes`."""
        return () if self._rare is None else self._rare.processes

    @property
    def lost_gpus(self) -> tuple[int, ...]:
        """Indices of the GPUs that went away since `start`, or whose driver hangs; up to date to one beat."""
        asking = self._asking
        if asking is not None and self._now() - asking[1] > HANG_S * 1e9:
            return tuple(sorted({*self._lost_gpus, asking[0]}))
        return self._lost_gpus

    def watch(self, source: str, pid: int) -> None:
        """From now on, CPU of this process and its children, as `<source>_cpu_cores`, and their memory."""
        self._processes.watch(source, pid)

    def start(self, sink: Sink) -> None:
        threads = [self._begin("telemetry-gpus", self._sample_gpus)]
        threads += [self._begin(f"telemetry-other-{at}", self._poll, one) for at, one in enumerate(self._others)]
        self._host_thread = self._begin("telemetry", self._sample_host, sink, threads)

    def close(self) -> None:
        self._stop.set()
        if self._host_thread is not None:
            self._host_thread.join()
        if self._failure is not None:
            raise self._failure

    def _begin(self, name: str, sample: Callable[..., None], *arguments: object) -> threading.Thread:
        thread = threading.Thread(target=self._guard, args=(sample, *arguments), name=name, daemon=True)
        thread.start()
        return thread

    def _guard(self, sample: Callable[..., None], *arguments: object) -> None:
        try:
            sample(*arguments)
        except Exception as failure:  # a thread has no caller to raise to: `close` raises it
            self._failure = failure
            self._stop.set()

    def _beats(self, interval_ns: int) -> Iterator[int]:
        return beats(interval_ns, self._now, lambda seconds: self._wait(self._stop, seconds))

    def _sample_host(self, sink: Sink, threads: Sequence[threading.Thread]) -> None:
        beats = self._beats(HOST_NS)
        began_ns = next(beats)  # the first beat takes what the second one counts from
        host = HostReader(began_ns)
        self._processes.read(began_ns)
        ship_due_ns = began_ns + BATCH_NS
        for due_ns in beats:
            at_ns = self._now()
            for source, readings in (*host.readings(at_ns), *self._processes.readings(at_ns)):
                self._keep(at_ns, source, readings)
            if due_ns >= ship_due_ns:
                ship_due_ns = due_ns + BATCH_NS
                self._ship(sink)
        # in real time, whatever the clock: a thread that hangs would keep a test's clock from moving
        give_up = time.monotonic() + HANG_S
        for thread in threads:
            thread.join(max(0.0, give_up - time.monotonic()))
        self._ship(sink)

    def _poll(self, poller: Poller) -> None:
        for _ in self._beats(round(poller.interval_s * 1e9)):
            at_ns = self._now()
            for source, readings in poller.read(at_ns):
                self._keep(at_ns, source, readings)

    def _sample_gpus(self) -> None:
        with self._open_gpus() as gpus:
            if gpus.driver is None and not gpus.readers:
                return
            self._rare = RareReader(gpus)
            rare_thread = self._begin("telemetry-gpus-rare", self._poll, self._rare)
            for _ in self._beats(self._interval_ns):
                for reader in gpus.readers:
                    at_ns = self._now()
                    self._asking = (reader.index, at_ns)
                    self._keep(at_ns, f"gpu{reader.index}", reader.read(at_ns))
                    self._asking = None
                self._lost_gpus = tuple(reader.index for reader in gpus.readers if reader.is_lost)
            rare_thread.join()  # the driver must not be closed while it is asked; `close` does not wait for this

    def _keep(self, at_ns: int, source: str, readings: dict[str, float | None]) -> None:
        with self._lock:
            self._rows.extend((at_ns, source, metric, value) for metric, value in readings.items())

    def _ship(self, sink: Sink) -> None:
        with self._lock:
            rows, self._rows = self._rows, []
        if rows:
            columns = zip(zip(*rows, strict=True), TELEMETRY_SCHEMA, strict=True)
            arrays = [pa.array(values, field.type) for values, field in columns]
            sink(pa.RecordBatch.from_arrays(arrays, schema=TELEMETRY_SCHEMA))
