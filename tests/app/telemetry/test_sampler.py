from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from app.records.metrics import METRICS
from app.records.telemetry import TELEMETRY_SCHEMA
from app.telemetry import sampler as module
from app.telemetry.gpu import Gpus
from app.telemetry.nvml_query import NvmlQueryRunner
from app.telemetry.sampler import Sampler, iterate_ticks

TICK_NS = 100_000_000
SECOND = 1_000_000_000


@dataclass
class FakeClock:
    """A clock that the host thread advances by waiting, up to `end_ns`. All other threads wait for the stop."""

    end_ns: int
    at_ns: int = 0
    is_over: threading.Event = field(default_factory=threading.Event)

    def now(self) -> int:
        return self.at_ns

    def wait(self, stop: threading.Event, seconds: float) -> bool:
        if threading.current_thread().name.startswith("telemetry-"):
            return stop.wait(30)
        due_ns = self.at_ns + round(seconds * SECOND)
        if due_ns > self.end_ns:
            self.is_over.set()
            return stop.wait(30)
        self.at_ns = due_ns
        return stop.is_set()


class Sink:
    def __init__(self) -> None:
        self.batches: list[pa.RecordBatch] = []
        self.threads: set[str] = set()

    def __call__(self, batch: pa.RecordBatch) -> None:
        self.batches.append(batch)
        self.threads.add(threading.current_thread().name)

    def rows(self, source: str) -> list[dict[str, Any]]:
        return [row for batch in self.batches for row in batch.to_pylist() if row["source"] == source]

    def moments(self, source: str, metric: str) -> list[int]:
        return [row["at_ns"] for row in self.rows(source) if row["metric"] == metric]


class FakeGpu:
    """A GPU with one metric, which is read by calling `read_power`, and without slow metrics."""

    def __init__(self, index: int, read_power: Callable[[], float | None]) -> None:
        self.index = index
        self.is_lost = False
        self.handle = None
        self.query_runner = NvmlQueryRunner()
        self.query_runner.is_lost = True
        self._read_power = read_power

    def read(self, at_ns: int) -> dict[str, float | None]:
        return {"gpu_power_w": self._read_power()}


def build_opener(*readers: FakeGpu) -> Callable[[], Any]:
    @contextmanager
    def open_them() -> Iterator[Any]:
        yield SimpleNamespace(readers=readers, driver="1", rescan=lambda: None)

    return open_them


@contextmanager
def open_no_gpus() -> Iterator[Gpus]:
    yield Gpus((), None, None)


def run_sampler(clock: FakeClock, sink: Callable[[pa.RecordBatch], None], *watched: str) -> Sampler:
    sampler = Sampler(now=clock.now, wait=clock.wait, open_gpus=open_no_gpus)
    for source in watched:
        sampler.watch(source, os.getpid())
    sampler.start(sink)
    assert clock.is_over.wait(30)
    return sampler


def count_cpu_readings(sink: Sink) -> list[int]:
    """Number of host CPU readings in each batch."""
    return [batch["metric"].to_pylist().count("host_cpu_percent") for batch in sink.batches]


def test_sampler_ticks_do_not_drift_if_samples_take_time() -> None:
    clock = FakeClock(end_ns=10 * SECOND)
    ticks = []
    for due_ns in iterate_ticks(TICK_NS, clock.now, lambda seconds: clock.wait(threading.Event(), seconds)):
        ticks.append(due_ns)
        clock.at_ns += 30_000_000
        if len(ticks) == 50:
            break
    assert ticks == [number * TICK_NS for number in range(50)]


def test_slow_sample_skips_only_missed_ticks() -> None:
    clock = FakeClock(end_ns=10 * SECOND)
    ticks = []
    for due_ns in iterate_ticks(TICK_NS, clock.now, lambda seconds: clock.wait(threading.Event(), seconds)):
        ticks.append(due_ns // 1_000_000)
        clock.at_ns += 250_000_000 if len(ticks) == 2 else 0
        if len(ticks) == 5:
            break
    assert ticks == [0, 100, 400, 500, 600]


def test_ticks_end_when_wait_is_stopped() -> None:
    assert list(iterate_ticks(TICK_NS, lambda: 0, lambda seconds: True)) == [0]


def test_telemetry_rows_are_on_ticks_and_in_metric_catalog() -> None:
    clock, sink = FakeClock(end_ns=SECOND), Sink()
    run_sampler(clock, sink, "engine").close()
    for metric in ("engine_cpu_cores", "engine_memory_gib"):
        assert sink.moments("engine", metric) == [number * TICK_NS for number in range(1, 11)]
    counts = Counter(row["metric"] for row in sink.rows("host"))
    assert (counts.pop("host_cpu_percent"), counts.pop("host_memory_gib")) == (10, 10)
    assert set(counts.values()) <= {1}, "detailed metrics are reported once per second"
    assert {row["metric"] for batch in sink.batches for row in batch.to_pylist()} <= METRICS.keys()
    assert all(batch.schema.equals(TELEMETRY_SCHEMA, check_metadata=True) for batch in sink.batches)


def test_telemetry_batches_are_sent_once_per_second_and_at_close() -> None:
    clock, sink = FakeClock(end_ns=2 * SECOND + 3 * TICK_NS), Sink()
    sampler = run_sampler(clock, sink)
    assert count_cpu_readings(sink) == [10, 10]
    sampler.close()
    assert count_cpu_readings(sink) == [10, 10, 3]
    assert sink.threads == {"telemetry"}


def test_process_can_be_watched_before_and_during_sampling() -> None:
    clock, sink = FakeClock(end_ns=SECOND), Sink()
    sampler = run_sampler(clock, sink, "engine", "generator")
    sampler.close()
    assert len(sink.moments("generator", "generator_cpu_cores")) == 10

    clock, sink = FakeClock(end_ns=2 * SECOND), Sink()
    sampler = Sampler(now=clock.now, wait=clock.wait, open_gpus=open_no_gpus)

    def watch_after_first_batch(batch: pa.RecordBatch) -> None:
        sink(batch)
        if len(sink.batches) == 1:
            sampler.watch("endpoint", os.getpid())

    sampler.watch("engine", os.getpid())
    sampler.start(watch_after_first_batch)
    assert clock.is_over.wait(30)
    sampler.close()
    assert len(sink.moments("engine", "engine_cpu_cores")) == 20
    assert len(sink.moments("endpoint", "endpoint_cpu_cores")) == 9  # the first reading is the baseline of the second


def test_blocked_gpu_does_not_delay_host_telemetry() -> None:
    clock, sink = FakeClock(end_ns=SECOND), Sink()
    is_reading, can_return = threading.Event(), threading.Event()

    def read_power() -> float:
        is_reading.set()
        assert can_return.wait(30)
        return 250.0

    sampler = Sampler(now=clock.now, wait=clock.wait, open_gpus=build_opener(FakeGpu(0, read_power)))
    sampler.start(sink)
    assert is_reading.wait(30)
    assert clock.is_over.wait(30)  # only the host thread advances the clock
    assert len(sink.moments("host", "host_cpu_percent")) == 10
    can_return.set()
    sampler.close()
    assert [row["value"] for row in sink.rows("gpu0") if row["metric"] == "gpu_power_w"] == [250.0]


def test_close_does_not_wait_for_hung_gpu_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HANG_TIMEOUT_S", 0.01)
    clock, sink, can_return = FakeClock(end_ns=SECOND), Sink(), threading.Event()
    sampler = Sampler(
        now=clock.now, wait=clock.wait, open_gpus=build_opener(FakeGpu(0, lambda: float(can_return.wait(30))))
    )
    sampler.start(sink)
    assert clock.is_over.wait(30)
    sampler.close()
    assert len(sink.moments("host", "host_cpu_percent")) == 10
    assert not any(row["metric"] == "gpu_power_w" for row in sink.rows("gpu0"))
    can_return.set()


def test_gpu_blocked_for_long_is_lost_until_read() -> None:
    clock, sink, is_reading, can_return = FakeClock(end_ns=3 * SECOND), Sink(), threading.Event(), threading.Event()

    def read_power() -> float:
        is_reading.set()
        return float(can_return.wait(30))

    def wait(stop: threading.Event, seconds: float) -> bool:
        assert is_reading.wait(30)  # else the clock is over before the GPU is read
        return clock.wait(stop, seconds)

    sampler = Sampler(now=clock.now, wait=wait, open_gpus=build_opener(FakeGpu(5, read_power)))
    sampler.start(sink)
    assert clock.is_over.wait(30)
    assert list(sampler.lost_gpus) == [5]
    can_return.set()
    sampler.close()
    assert list(sampler.lost_gpus) == []


def test_lost_gpu_is_listed_and_other_gpus_are_sampled() -> None:
    clock, sink = FakeClock(end_ns=SECOND), Sink()
    lost_gpu = FakeGpu(3, lambda: None)
    lost_gpu.is_lost = True
    sampler = Sampler(now=clock.now, wait=clock.wait, open_gpus=build_opener(FakeGpu(0, lambda: 1.0), lost_gpu))
    assert list(sampler.lost_gpus) == []
    sampler.start(sink)
    assert clock.is_over.wait(30)
    sampler.close()
    assert list(sampler.lost_gpus) == [3]
    assert {row["value"] for row in sink.rows("gpu3")} == {None}
    assert {row["value"] for row in sink.rows("gpu0") if row["metric"] == "gpu_power_w"} == {1.0}


class CountingPoller:
    """A poller with two sources that counts its readings."""

    def __init__(self, interval_s: float = 0.5) -> None:
        self.interval_s = interval_s
        self.read_at_ns: list[int] = []

    def read(self, at_ns: int) -> Iterator[tuple[str, dict[str, float | None]]]:
        self.read_at_ns.append(at_ns)
        yield "a", {"host_memory_gib": float(len(self.read_at_ns))}
        yield "b", {"host_memory_gib": None}


def test_pollers_have_own_thread_and_interval() -> None:
    sink, slow, quick = Sink(), CountingPoller(60.0), CountingPoller(0.001)
    has_ticked = threading.Event()

    def wait(stop: threading.Event, seconds: float) -> bool:
        name = threading.current_thread().name
        if name == "telemetry-other-1" and len(quick.read_at_ns) < 5:
            return seconds != pytest.approx(quick.interval_s * len(quick.read_at_ns))
        if name == "telemetry-other-1":
            has_ticked.set()
        return stop.wait(30)

    sampler = Sampler(now=lambda: 0, wait=wait, open_gpus=open_no_gpus, pollers=(slow, quick))
    sampler.start(sink)
    assert has_ticked.wait(30)
    sampler.close()
    assert len(slow.read_at_ns) == 1
    assert len(quick.read_at_ns) == 5
    assert len(sink.rows("a")) == len(sink.rows("b")) == 6
    assert {row["value"] for row in sink.rows("b")} == {None}


def test_close_raises_error_of_failed_poller() -> None:
    class FailingPoller(CountingPoller):
        def read(self, at_ns: int) -> Iterator[tuple[str, dict[str, float | None]]]:
            raise ValueError("no such page")

    sampler = Sampler(open_gpus=open_no_gpus, pollers=(FailingPoller(),))
    sampler.start(Sink())
    with pytest.raises(ValueError, match="no such page"):
        sampler.close()


def test_failed_sink_stops_sampling_and_close_raises_its_error() -> None:
    clock = FakeClock(end_ns=10 * SECOND)
    failed = threading.Event()

    def full_disk(batch: pa.RecordBatch) -> None:
        failed.set()
        raise OSError("no space left")

    sampler = Sampler(now=clock.now, wait=clock.wait, open_gpus=open_no_gpus)
    sampler.start(full_disk)
    assert failed.wait(30)
    with pytest.raises(OSError, match="no space left"):
        sampler.close()
    assert not clock.is_over.is_set()


def test_closing_sampler_that_was_not_started_succeeds() -> None:
    Sampler(open_gpus=open_no_gpus).close()
