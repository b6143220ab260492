"""Telemetry on a steady beat, as tidy rows on the clock of the requests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pyarrow as pa

from app.records.telemetry import TELEMETRY_SCHEMA
from app.telemetry.gpu import Gpus, open_gpus
from app.telemetry.host import HostReader
from app.telemetry.processes import ProcessReader

BATCH_NS = 1_000_000_000
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


class Sampler:
    """Samples from `start` to `close`. The host and the GPUs have a thread each, so a slow driver delays only itself.

    The sink gets a batch about once a second and the rest at `close`, always from the host's thread. When the sink
    raises, sampling ends and `close` raises it again.
    """

    def __init__(
        self,
        *,
        interval_s: float = 0.1,
        now: Callable[[], int] = time.perf_counter_ns,
        wait: Wait = threading.Event.wait,
        gpus: Callable[[], AbstractContextManager[Gpus]] = open_gpus,
    ) -> None:
        self._interval_ns = round(interval_s * 1e9)
        self._now = now
        self._wait = wait
        self._open_gpus = gpus
        self._processes = ProcessReader()
        self._lock = threading.Lock()
        self._rows: list[_Row] = []
        self._lost_gpus: tuple[int, ...] = ()
        self._asking: tuple[int, int] | None = None  # a GPU, and since when it is being read
        self._failure: Exception | None = None
        self._stop = threading.Event()
        self._host_thread: threading.Thread | None = None

    @property
    def lost_gpus(self) -> tuple[int, ...]:
        """Indices of the GPUs that went away since `start`, or whose driver hangs; up to date to one beat."""
        asking = self._asking
        if asking is not None and self._now() - asking[1] > HANG_S * 1e9:
            return tuple(sorted({*self._lost_gpus, asking[0]}))
        return self._lost_gpus

    def watch(self, source: str, pid: int) -> None:
        """From now on, CPU of this process and its children, as `<source>_cpu_cores`."""
        self._processes.watch(source, pid)

    def start(self, sink: Sink) -> None:
        gpu_thread = threading.Thread(target=self._guard, args=(self._sample_gpus,), name="telemetry-gpus", daemon=True)
        self._host_thread = threading.Thread(
            target=self._guard, args=(self._sample_host, sink, gpu_thread), name="telemetry", daemon=True
        )
        gpu_thread.start()
        self._host_thread.start()

    def close(self) -> None:
        self._stop.set()
        if self._host_thread is not None:
            self._host_thread.join()
        if self._failure is not None:
            raise self._failure

    def _guard(self, sample: Callable[..., None], *arguments: object) -> None:
        try:
            sample(*arguments)
        except Exception as failure:  # a thread has no caller to raise to: `close` raises it
            self._failure = failure
            self._stop.set()

    def _beats(self) -> Iterator[int]:
        return beats(self._interval_ns, self._now, lambda seconds: self._wait(self._stop, seconds))

    def _sample_host(self, sink: Sink, gpu_thread: threading.Thread) -> None:
        beats = self._beats()
        began_ns = next(beats)  # the first beat takes what the second one counts from
        host = HostReader(began_ns)
        self._processes.read(began_ns)
        ship_due_ns = began_ns + BATCH_NS
        for due_ns in beats:
            at_ns = self._now()
            self._keep(at_ns, "host", host.read(at_ns))
            for source, cores in self._processes.read(at_ns).items():
                self._keep(at_ns, source, {f"{source}_cpu_cores": cores})
            if due_ns >= ship_due_ns:
                ship_due_ns = due_ns + BATCH_NS
                self._ship(sink)
        gpu_thread.join(HANG_S)
        self._ship(sink)

    def _sample_gpus(self) -> None:
        with self._open_gpus() as gpus:
            if not gpus.readers:
                return
            for _ in self._beats():
                for reader in gpus.readers:
                    at_ns = self._now()
                    self._asking = (reader.index, at_ns)
                    self._keep(at_ns, f"gpu{reader.index}", reader.read(at_ns))
                    self._asking = None
                self._lost_gpus = tuple(reader.index for reader in gpus.readers if reader.is_lost)

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
