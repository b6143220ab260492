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

BEAT_NS = 100_000_000
SECOND = 1_000_000_000


@dataclass
class Time:
    """A clock that the host's thread moves on by waiting, up to `end_ns`; all others wait for the stop."""

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
    """A GPU of one metric; `answer` is called for each reading. Of what is asked rarely it offers nothing."""

    def __init__(self, index: int, answer: Callable[[], float | None]) -> None:
        self.index = index
        self.is_lost = False
        self.handle = None
        self.query_runner = NvmlQueryRunner()
        self.query_runner.is_lost = True
        self._answer = answer

    def read(self, at_ns: int) -> dict[str, float | None]:
        return {"gpu_power_w": self._answer()}


def opener(*readers: FakeGpu) -> Callable[[], Any]:
    @contextmanager
    def open_them() -> Iterator[Any]:
        yield SimpleNamespace(readers=readers, driver="1", rescan=lambda: None)

    return open_them


@contextmanager
def no_gpus() -> Iterator[Gpus]:
    yield Gpus((), None, None)


def sample(time: Time, sink: Callable[[pa.RecordBatch], None], *watched: str) -> Sampler:
    sampler = Sampler(now=time.now, wait=time.wait, open_gpus=no_gpus)
    for source in watched:
        sampler.watch(source, os.getpid())
    sampler.start(sink)
    assert time.is_over.wait(30)
    return sampler


def cpu_readings(sink: Sink) -> list[int]:
    """In each batch."""
    return [batch["metric"].to_pylist().count("host_cpu_percent") for batch in sink.batches]


def test_beats_do_not_drift_when_samples_take_time() -> None:
    time = Time(end_ns=10 * SECOND)
    due = []
    for due_ns in iterate_ticks(BEAT_NS, time.now, lambda seconds: time.wait(threading.Event(), seconds)):
        due.append(due_ns)
        time.at_ns += 30_000_000
        if len(due) == 50:
            break
    assert due == [number * BEAT_NS for number in range(50)]


def test_a_slow_sample_costs_the_beats_it_overran_and_no_more() -> None:
    time = Time(end_ns=10 * SECOND)
    due = []
    for due_ns in iterate_ticks(BEAT_NS, time.now, lambda seconds: time.wait(threading.Event(), seconds)):
        due.append(due_ns // 1_000_000)
        time.at_ns += 250_000_000 if len(due) == 2 else 0
        if len(due) == 5:
            break
    assert due == [0, 100, 400, 500, 600]


def test_beats_end_when_reported() -> None:
    assert list(iterate_ticks(BEAT_NS, lambda: 0, lambda seconds: True)) == [0]


def test_rows_are_on_the_beat_and_in_the_catalogue() -> None:
    time, sink = Time(end_ns=SECOND), Sink()
    sample(time, sink, "engine").close()
    for metric in ("engine_cpu_cores", "engine_memory_gib"):
        assert sink.moments("engine", metric) == [number * BEAT_NS for number in range(1, 11)]
    counts = Counter(row["metric"] for row in sink.rows("host"))
    assert (counts.pop("host_cpu_percent"), counts.pop("host_memory_gib")) == (10, 10)
    assert set(counts.values()) <= {1}, "what is told in detail is told once a second"
    assert {row["metric"] for batch in sink.batches for row in batch.to_pylist()} <= METRICS.keys()
    assert all(batch.schema.equals(TELEMETRY_SCHEMA, check_metadata=True) for batch in sink.batches)


def test_batches_leave_once_a_second_and_the_rest_at_close() -> None:
    time, sink = Time(end_ns=2 * SECOND + 3 * BEAT_NS), Sink()
    sampler = sample(time, sink)
    assert cpu_readings(sink) == [10, 10]
    sampler.close()
    assert cpu_readings(sink) == [10, 10, 3]
    assert sink.threads == {"telemetry"}


def test_watching_starts_at_any_time() -> None:
    time, sink = Time(end_ns=SECOND), Sink()
    sampler = sample(time, sink, "engine", "generator")
    sampler.close()
    assert len(sink.moments("generator", "generator_cpu_cores")) == 10

    time, sink = Time(end_ns=2 * SECOND), Sink()
    sampler = Sampler(now=time.now, wait=time.wait, open_gpus=no_gpus)

    def change(batch: pa.RecordBatch) -> None:
        sink(batch)
        if len(sink.batches) == 1:
            sampler.watch("endpoint", os.getpid())

    sampler.watch("engine", os.getpid())
    sampler.start(change)
    assert time.is_over.wait(30)
    sampler.close()
    assert len(sink.moments("engine", "engine_cpu_cores")) == 20
    assert (
        len(sink.moments("endpoint", "endpoint_cpu_cores")) == 9
    )  # the first beat takes what the second one counts from


def test_a_gpu_that_does_not_answer_delays_nobody_else() -> None:
    time, sink = Time(end_ns=SECOND), Sink()
    asked, may_answer = threading.Event(), threading.Event()

    def answer() -> float:
        asked.set()
        assert may_answer.wait(30)
        return 250.0

    sampler = Sampler(now=time.now, wait=time.wait, open_gpus=opener(FakeGpu(0, answer)))
    sampler.start(sink)
    assert asked.wait(30)
    assert time.is_over.wait(30)  # only the host's thread can have come this far
    assert len(sink.moments("host", "host_cpu_percent")) == 10
    may_answer.set()
    sampler.close()
    assert [row["value"] for row in sink.rows("gpu0") if row["metric"] == "gpu_power_w"] == [250.0]


def test_close_leaves_a_hung_driver_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HANG_TIMEOUT_S", 0.01)
    time, sink, may_answer = Time(end_ns=SECOND), Sink(), threading.Event()
    sampler = Sampler(now=time.now, wait=time.wait, open_gpus=opener(FakeGpu(0, lambda: float(may_answer.wait(30)))))
    sampler.start(sink)
    assert time.is_over.wait(30)
    sampler.close()
    assert len(sink.moments("host", "host_cpu_percent")) == 10
    assert not any(row["metric"] == "gpu_power_w" for row in sink.rows("gpu0"))
    may_answer.set()


def test_a_gpu_that_has_not_answered_for_long_counts_as_lost() -> None:
    time, sink, asked, may_answer = Time(end_ns=3 * SECOND), Sink(), threading.Event(), threading.Event()

    def answer() -> float:
        asked.set()
        return float(may_answer.wait(30))

    def wait(stop: threading.Event, seconds: float) -> bool:
        assert asked.wait(30)  # else time would be over before the GPU is asked
        return time.wait(stop, seconds)

    sampler = Sampler(now=time.now, wait=wait, open_gpus=opener(FakeGpu(5, answer)))
    sampler.start(sink)
    assert time.is_over.wait(30)
    assert list(sampler.lost_gpus) == [5]
    may_answer.set()
    sampler.close()
    assert list(sampler.lost_gpus) == []


def test_a_lost_gpu_can_be_read_off_while_sampling_goes_on() -> None:
    time, sink = Time(end_ns=SECOND), Sink()
    gone = FakeGpu(3, lambda: None)
    gone.is_lost = True
    sampler = Sampler(now=time.now, wait=time.wait, open_gpus=opener(FakeGpu(0, lambda: 1.0), gone))
    assert list(sampler.lost_gpus) == []
    sampler.start(sink)
    assert time.is_over.wait(30)
    sampler.close()
    assert list(sampler.lost_gpus) == [3]
    assert {row["value"] for row in sink.rows("gpu3")} == {None}
    assert {row["value"] for row in sink.rows("gpu0") if row["metric"] == "gpu_power_w"} == {1.0}


class Count:
    """A poller of two sources, which counts its readings."""

    def __init__(self, interval_s: float = 0.5) -> None:
        self.interval_s = interval_s
        self.read_at_ns: list[int] = []

    def read(self, at_ns: int) -> Iterator[tuple[str, dict[str, float | None]]]:
        self.read_at_ns.append(at_ns)
        yield "a", {"host_memory_gib": float(len(self.read_at_ns))}
        yield "b", {"host_memory_gib": None}


def test_others_are_polled_on_a_thread_and_a_beat_of_their_own() -> None:
    sink, slow, quick = Sink(), Count(60.0), Count(0.001)
    beaten = threading.Event()

    def wait(stop: threading.Event, seconds: float) -> bool:
        name = threading.current_thread().name
        if name == "telemetry-other-1" and len(quick.read_at_ns) < 5:
            return seconds != pytest.approx(quick.interval_s * len(quick.read_at_ns))
        if name == "telemetry-other-1":
            beaten.set()
        return stop.wait(30)

    sampler = Sampler(now=lambda: 0, wait=wait, open_gpus=no_gpus, pollers=(slow, quick))
    sampler.start(sink)
    assert beaten.wait(30)
    sampler.close()
    assert len(slow.read_at_ns) == 1
    assert len(quick.read_at_ns) == 5
    assert len(sink.rows("a")) == len(sink.rows("b")) == 6
    assert {row["value"] for row in sink.rows("b")} == {None}


def test_a_poller_that_fails_ends_the_sampling_and_close_says_why() -> None:
    class Broken(Count):
        def read(self, at_ns: int) -> Iterator[tuple[str, dict[str, float | None]]]:
            raise ValueError("no such page")

    sampler = Sampler(open_gpus=no_gpus, pollers=(Broken(),))
    sampler.start(Sink())
    with pytest.raises(ValueError, match="no such page"):
        sampler.close()


def test_a_sink_that_fails_ends_the_sampling_and_close_says_why() -> None:
    time = Time(end_ns=10 * SECOND)
    failed = threading.Event()

    def full_disk(batch: pa.RecordBatch) -> None:
        failed.set()
        raise OSError("no space left")

    sampler = Sampler(now=time.now, wait=time.wait, open_gpus=no_gpus)
    sampler.start(full_disk)
    assert failed.wait(30)
    with pytest.raises(OSError, match="no space left"):
        sampler.close()
    assert not time.is_over.is_set()


def test_closing_what_never_started_is_nothing() -> None:
    Sampler(open_gpus=no_gpus).close()
