"""A load worker with limited capacity: a queue in virtual time that sends one request after the other."""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
import pyarrow as pa

from app.session.dependencies import NullServer
from app.telemetry.processes import CoreUsage
from loadgen.arrivals import compute_offsets_ns
from loadgen.records import (
    REQUEST_SCHEMA,
    ClosedArrivals,
    Endpoint,
    LoadWorker,
    PreflightDone,
    Progress,
    StageEnded,
    StagePlan,
    StageStarted,
)
from loadgen.reference.null_streams import CHUNK_COUNT, GAP_NS, TICK_NS, encode_tick
from loadgen.workloads import OpenAiWorkload, Workload


class LimitedLoad:
    """Sends at most `per_s` requests per second, and reads at most `chunks_per_s` chunks; the rest waits. In
    `disturbed` stages every request is late; every `cut_off`-th stream is not read to its end."""

    pid = 4242
    pacing = event_loop = "fake"

    def __init__(
        self,
        per_s: float,
        chunks_per_s: float = 1e9,
        *,
        workers: tuple[LoadWorker, ...] = (),
        disturbed: tuple[int, ...] = (),
        cut_off: int = 0,
        on_stage: Callable[[], None] = lambda: None,
    ) -> None:
        self.workers = workers
        self.endpoints: list[Endpoint] = []
        self.plans: list[StagePlan] = []
        self._per_s, self._chunks_per_s, self._disturbed, self._on_stage = per_s, chunks_per_s, disturbed, on_stage
        self._streams, self._cut_off = False, cut_off

    def configure(self, endpoint: Endpoint, workload: Workload) -> None:
        self.endpoints.append(endpoint)
        self._streams = isinstance(workload, OpenAiWorkload)

    def preflight(self) -> PreflightDone:
        return PreflightDone(None, 200, "answered", 1.0)

    def run_stage(
        self,
        plan: StagePlan,
        on_rows: Callable[[pa.RecordBatch], None],
        on_started: Callable[[StageStarted], None],
        on_progress: Callable[[Progress], bool],
    ) -> StageEnded:
        self.plans.append(plan)
        self._on_stage()
        start_ns = 10**12
        assert not isinstance(plan.load.arrivals, ClosedArrivals)
        scheduled = start_ns + compute_offsets_ns(
            plan.load.arrivals, plan.load.duration_s, plan.load.lead_in_s, plan.seed
        )
        waited = self._waited(scheduled, len(self.plans) - 1)
        on_rows(_streamed(scheduled, waited, self._cut_off) if self._streams else _rows(scheduled, scheduled + waited))
        end_ns = max(int(scheduled[-1] + waited[-1]), start_ns + round(plan.load.duration_s * 1e9))
        busy_s = len(scheduled) / self._per_s
        return StageEnded(0, start_ns, end_ns, len(scheduled), 0, busy_s, 1, stopped_early=False)

    def _waited(self, scheduled: np.ndarray, stage: int) -> np.ndarray:
        if stage in self._disturbed:
            return np.full(len(scheduled), 200_000_000)
        service_s = CHUNK_COUNT / self._chunks_per_s if self._streams else 0.0
        order = np.arange(len(scheduled)) * round(max(service_s, 1 / self._per_s) * 1e9)
        waited: np.ndarray = np.maximum.accumulate(scheduled - order) + order - scheduled
        return waited

    def stop(self, drain: bool) -> None:
        raise AssertionError("not expected in a calibration")

    def change_rate(self, rate_per_s: float) -> None:
        raise AssertionError("not expected in a calibration")

    def extend(self, duration_s: float) -> None:
        raise AssertionError("not expected in a calibration")

    def close(self) -> None:
        pass


class FakeNullServer:
    """Uses `cores` of CPU. A calibration step lasts `elapsed_s`, and each query of the CPU time ends one step."""

    def __init__(self, cores: float | None = 0.3, elapsed_s: float = 0.8) -> None:
        self.url = "http://127.0.0.1:9/"
        self._cores, self._elapsed_s, self._query_count = cores, elapsed_s, 0
        self.is_closed = False

    def cpu_s(self) -> float | None:
        self._query_count += 1
        return None if self._cores is None else self._cores * self._elapsed_s * self._query_count

    def close(self) -> None:
        self.is_closed = True


def null_servers(cores: float | None = 0.3) -> tuple[list[FakeNullServer], Callable[[object], NullServer]]:
    """Returns the list of started servers, and the function that starts one."""
    started: list[FakeNullServer] = []

    def start(kind: object) -> NullServer:
        started.append(FakeNullServer(cores))
        return started[-1]

    return started, start


class FakeMachine:
    """The core use of a machine with two cores, read before and after each stage: other processes use `others` cores in
    the stages with those numbers, or in all; the own processes use half a core, and one fake null server its own
    share."""

    def __init__(self, others: float, stages: Collection[int] | None = None, *, idle: float = 0.1) -> None:
        self._others, self._stages, self._idle = others, stages, idle
        self._read = 0
        self._use = CoreUsage(at_ns=10**12, used_s=1_000.0, idle_s=500.0, own_s=20.0)
        self.pids: Collection[int] = ()

    def __call__(self, pids: Collection[int]) -> CoreUsage:
        self.pids = pids
        stage, is_after = divmod(self._read, 2)
        self._read += 1
        if is_after:
            others = self._others if self._stages is None or stage in self._stages else 0.0
            use = self._use
            self._use = CoreUsage(
                use.at_ns + 800_000_000,
                use.used_s + 0.8 * (others + 0.5 + 0.3),
                use.idle_s + 0.8 * self._idle,
                (use.own_s or 0.0) + 0.8 * 0.5,
            )
        return self._use


def unknown_core_use(pids: Collection[int]) -> None:
    """The core use of a machine that does not report it."""


def _rows(scheduled: np.ndarray, sent: np.ndarray, **columns: pa.Array) -> pa.RecordBatch:
    columns_by_name = {"scheduled_ns": pa.array(scheduled), "sent_ns": pa.array(sent), **columns}
    arrays = [columns_by_name.get(field.name, pa.nulls(len(scheduled), field.type)) for field in REQUEST_SCHEMA]
    return pa.RecordBatch.from_arrays(arrays, schema=REQUEST_SCHEMA)


def _streamed(scheduled: np.ndarray, waited: np.ndarray, cut_off: int) -> pa.RecordBatch:
    """Streams that are sent in time, with each chunk read too late by its wait; every `cut_off`-th response has no
    end."""
    ticks = scheduled // TICK_NS + 1
    chunks = (ticks * TICK_NS + waited)[:, None] + np.arange(CHUNK_COUNT) * GAP_NS
    is_cut = np.arange(1, len(ticks) + 1) % cut_off == 0 if cut_off else np.zeros(len(ticks), bool)
    reported = pa.array([encode_tick(int(tick)) for tick in ticks], pa.int32(), mask=is_cut)
    return _rows(scheduled, scheduled, tokens_in=reported, chunk_ns=pa.array(list(chunks), pa.list_(pa.int64())))
