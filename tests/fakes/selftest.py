"""Dependencies of a self-test in virtual time: servers that follow their script or do not, and a load that reports the
truth or does not."""

from __future__ import annotations

import datetime
import functools
import hashlib
import heapq
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from msgspec.structs import replace

from app.analysis.estimates import compute_distribution
from app.records.result import Estimate
from app.session.selftest.bench import SelfTestDependencies
from app.storage.run_directory import RunWriter, StoredRun
from app.telemetry.clock import ClockReading
from loadgen.arrivals import compute_offsets_ns
from loadgen.records import (
    REQUEST_SCHEMA,
    Endpoint,
    LoadWorker,
    OpenArrivals,
    PreflightDone,
    Progress,
    StageEnded,
    StagePlan,
    StageStarted,
)
from loadgen.reference.script import Script
from loadgen.workloads import Workload
from tests.fakes.clock import FakeClock
from tests.fakes.generator import null_servers

NOON = datetime.datetime(2026, 1, 2, 12, tzinfo=datetime.UTC)
_NULL = Script()


class FakeServer:
    pid = 777
    url = "http://127.0.0.1:9/"

    def __init__(self, script: Script) -> None:
        self.script = script
        self.is_closed = False

    def end_reason(self) -> str | None:
        return None

    def close(self) -> None:
        self.is_closed = True


class Servers:
    """The last started server receives the load; `change_script` returns the script that it really follows."""

    def __init__(self, change_script: Callable[[Script], Script] = lambda script: script) -> None:
        self._lie = change_script
        self.started: list[FakeServer] = []

    def start(self, script: Script) -> FakeServer:
        self.started.append(FakeServer(self._lie(script)))
        return self.started[-1]

    @property
    def current_script(self) -> Script:
        return next((server.script for server in self.started if not server.is_closed), _NULL)


class QueueingLoad:
    """Each connection has one request at a time; a request without a free connection waits for one. The load sends at
    most `per_s`.

    With `omits`, a late request is reported as scheduled when it was sent. `loses` responses are not reported."""

    pid = 4242
    pacing = event_loop = "fake"
    workers: tuple[LoadWorker, ...] = ()

    def __init__(
        self, clock: FakeClock, servers: Servers, *, per_s: float = 8_000.0, omits: bool = False, loses: int = 0
    ) -> None:
        self._clock, self._servers, self._gap_ns = clock, servers, round(1e9 / per_s)
        self._omits, self._loses = omits, loses
        self.is_closed = False

    def configure(self, endpoint: Endpoint, workload: Workload) -> None:
        self._connections = endpoint.max_connections

    def preflight(self) -> PreflightDone:
        raise AssertionError("not expected in a self-test")

    def run_stage(
        self,
        plan: StagePlan,
        on_rows: Callable[[pa.RecordBatch], None],
        on_started: Callable[[StageStarted], None],
        on_progress: Callable[[Progress], bool],
    ) -> StageEnded:
        assert isinstance(plan.load.arrivals, OpenArrivals)
        start_ns = self._clock.now_ns + round(plan.load.lead_in_s * 1e9)
        scheduled = start_ns + compute_offsets_ns(
            plan.load.arrivals, plan.load.duration_s, plan.load.lead_in_s, plan.seed
        )
        sent, end = self._played(scheduled)
        on_started(StageStarted(plan.index, start_ns, len(scheduled)))
        reported = slice(0, -self._loses or None)
        for at in range(0, len(scheduled), 500):
            part = slice(at, at + 500)
            on_rows(
                _rows(
                    plan.index,
                    (sent if self._omits else scheduled)[part][reported],
                    sent[part][reported],
                    end[part][reported],
                )
            )
        end_ns = max(int(end.max()), start_ns + round(plan.load.duration_s * 1e9))
        self._clock.now_ns = end_ns
        return StageEnded(plan.index, start_ns, end_ns, len(scheduled), 0, 0.1, 1, stopped_early=False)

    def _played(self, scheduled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        script, start_ns = self._servers.current_script, int(scheduled[0])
        freeze_ns = round(script.freeze_after_s * 1e9)
        thaw_ns = freeze_ns + round(script.freeze_s * 1e9)
        sent, end = _queue(
            (scheduled - start_ns).tobytes(),
            self._gap_ns, round(script.delay_s * 1e9), freeze_ns, thaw_ns, self._connections,
        )  # fmt: skip
        return start_ns + sent, start_ns + end

    def stop(self, drain: bool) -> None:
        raise AssertionError("not expected in a self-test")

    def change_rate(self, rate_per_s: float) -> None:
        raise AssertionError("not expected in a self-test")

    def extend(self, duration_s: float) -> None:
        raise AssertionError("not expected in a self-test")

    def close(self) -> None:
        self.is_closed = True


@functools.lru_cache(maxsize=64)
def _queue(
    due: bytes, gap_ns: int, delay_ns: int, freeze_ns: int, thaw_ns: int, connections: int
) -> tuple[np.ndarray, np.ndarray]:
    """Times at which requests are sent and answered, relative to the first scheduled time: every self-test simulates
    the same ones."""
    free, before = [0] * connections, -gap_ns
    sent: list[int] = []
    end: list[int] = []
    for due_ns in np.frombuffer(due, np.int64).tolist():
        before = max(due_ns, free[0], before + gap_ns)
        end_ns = before + delay_ns
        end_ns = thaw_ns if freeze_ns <= end_ns < thaw_ns else end_ns
        heapq.heapreplace(free, end_ns)
        sent.append(before)
        end.append(end_ns)
    return np.array(sent), np.array(end)


def _rows(stage: int, scheduled: np.ndarray, sent: np.ndarray, end: np.ndarray) -> pa.RecordBatch:
    columns_by_name = {
        "stage": pa.array(np.full(len(scheduled), stage, np.int32)),
        "scheduled_ns": pa.array(scheduled),
        "sent_ns": pa.array(sent),
        "first_byte_ns": pa.array(end),
        "end_ns": pa.array(end),
    }
    arrays = [columns_by_name.get(field.name, pa.nulls(len(scheduled), field.type)) for field in REQUEST_SCHEMA]
    return pa.RecordBatch.from_arrays(arrays, schema=REQUEST_SCHEMA)


class TickingClock(FakeClock):
    """Each reading advances the clock by a microsecond."""

    def __call__(self) -> int:
        self.now_ns += 1_000
        return self.now_ns


_estimated: dict[bytes, dict[str, Estimate]] = {}


def _estimate_once(values: np.ndarray) -> dict[str, Estimate]:
    """Every self-test draws the same thousands of samples, whose percentiles take most of its time."""
    key = hashlib.sha256(values.tobytes()).digest()
    if key not in _estimated:
        _estimated[key] = compute_distribution(values)
    return _estimated[key]


def selftest_dependencies(folder: Path, *, servers: Servers | None = None, **changed: Any) -> SelfTestDependencies:
    """Dependencies that report the truth, except those in `changed`."""
    clock, servers = TickingClock(), servers or Servers()
    ours = {name: changed.pop(name) for name in ("per_s", "omits", "loses") if name in changed}
    parts = SelfTestDependencies(
        fingerprint="f",
        start_load_generator=lambda: QueueingLoad(clock, servers, **ours),
        start_scripted=servers.start,
        start_null_server=null_servers()[1],
        read_core_use=lambda _: None,
        estimate_percentiles=_estimate_once,
        open_store=lambda: RunWriter(folder / "run"),
        open_run=StoredRun,
        read_clock=lambda: ClockReading(clock.now_ns, 10**18 + clock.now_ns, clock.now_ns),
        now_ns=clock,
        wall_now=lambda: NOON,
    )
    return replace(parts, **changed)
