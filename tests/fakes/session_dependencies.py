"""Dependencies of a session in virtual time: a scripted load, a real run directory, no processes."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Collection

import pyarrow as pa

from app.analysis.generator_checks import MachineLimits
from app.inference.job import VariantJob
from app.records.calibration import Calibration, CalibrationStep, LoadKind, MeasuredCapacity
from app.records.gpu import GpuProcess
from app.records.result import Check, Environment
from app.records.selftest import SelfTest
from app.records.telemetry import TELEMETRY_SCHEMA, Samples
from app.session.dependencies import NullServer, RunningVariant, ServedEndpoint, SessionDependencies, StartedServer
from app.session.spec import StartSpec
from app.storage.run_directory import RunWriter
from app.telemetry.clock import ClockReading
from app.telemetry.processes import CoreUsage
from loadgen.records import Endpoint
from tests.fakes.clock import FakeClock
from tests.fakes.load import ScriptedLoad

NOON = datetime.datetime(2026, 1, 2, 12, tzinfo=datetime.UTC)
_PER_S: dict[LoadKind, float] = {"plain": 20_000.0, "streaming": 40_000.0}
CALIBRATION = Calibration(
    capacities=tuple(
        MeasuredCapacity(kind, workers, per_s, (CalibrationStep(per_s, per_s, 0.05, 1.0, 0.0, 0.6, True),))
        for kind, per_s in _PER_S.items()
        for workers in (1, 2)
    ),
    measured_at=NOON.isoformat(),
    fingerprint="f",
    pacing="fake",
    event_loop="fake",
)
ENVIRONMENT = Environment(
    host="bench",
    os="Linux",
    python="3.11",
    cpu_model="a CPU",
    cpu_architecture="x86_64",
    physical_cores=2,
    logical_cores=2,
    memory_gib=8.0,
    cpu_governor=None,
    cpu_limit_cores=None,
    gpus=(),
    nvidia_driver=None,
    onnxruntime="1.0",
    providers=("cpu",),
    packages={},
    clock_resolution_ns=30,
    fingerprint="f",
)


class SteadyTelemetry:
    """Ten equal readings per second from start to close, reported at the close."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.watched: dict[str, int] = {}
        self.is_closed = False
        self.lost_gpus: tuple[int, ...] = ()
        self.gpu_processes: tuple[GpuProcess, ...] = ()

    def start(self, sink: Callable[[pa.RecordBatch], None]) -> None:
        self._sink, self._started_ns = sink, self._clock.now_ns

    def watch(self, source: str, pid: int) -> None:
        self.watched[source] = pid

    def close(self) -> None:
        if self.is_closed:
            return
        self.is_closed = True
        rows = [
            {"at_ns": at_ns, "source": "host", "metric": "host_cpu_percent", "value": 50.0}
            for at_ns in range(self._started_ns, self._clock.now_ns, 100_000_000)
        ]
        if rows:
            self._sink(pa.RecordBatch.from_pylist(rows, schema=TELEMETRY_SCHEMA))


class FakeServer:
    """Ready `ready_after_s` after its start, or never if `None`; it ends when `end` is called."""

    pid = 777

    def __init__(self, clock: FakeClock, *, ready_after_s: float | None = 0.5, said: tuple[str, ...] = ()) -> None:
        self._clock, self._ready_after_s, self._said = clock, ready_after_s, said
        self._ending: str | None = None
        self.started_ns = clock.now_ns
        self.is_stopped = False

    def is_ready(self) -> bool:
        elapsed_s = (self._clock.now_ns - self.started_ns) / 1e9
        return self._ready_after_s is not None and elapsed_s >= self._ready_after_s

    def end(self, how: str) -> None:
        self._ending = how

    def end_reason(self) -> str | None:
        return self._ending

    def last_lines(self) -> tuple[str, ...]:
        return self._said

    def stop(self) -> None:
        self.is_stopped = True

    def kill(self) -> None:
        self.is_stopped = True


_NO_LIMITS = MachineLimits()


def no_null_server(kind: LoadKind) -> NullServer:
    raise AssertionError(f"a calibration is stored: nothing is to be calibrated, and not {kind}")


def fake_dependencies(
    clock: FakeClock,
    load: ScriptedLoad,
    store: RunWriter,
    *,
    telemetry: SteadyTelemetry | None = None,
    checks: tuple[Check, ...] = (),
    start_endpoint: Callable[[], ServedEndpoint] | None = None,
    start_load_generator: Callable[[], ScriptedLoad] | None = None,
    start_alone: Callable[[VariantJob], RunningVariant] | None = None,
    start_server: Callable[[StartSpec], StartedServer] | None = None,
    read_metrics: Callable[[Endpoint], tuple[Samples | None, ...]] = lambda _: (),
    read_clock: Callable[[], ClockReading] | None = None,
    wall_now: Callable[[], datetime.datetime] = lambda: NOON,
    calibration: Calibration | None = CALIBRATION,
    start_null_server: Callable[[LoadKind], NullServer] = no_null_server,
    store_calibration: Callable[[Calibration], object] = lambda _: None,
    read_core_use: Callable[[Collection[int]], CoreUsage | None] = lambda _: None,
    load_selftest: Callable[[str], SelfTest | None] = lambda _: None,
    local_limits: MachineLimits = _NO_LIMITS,
) -> SessionDependencies:
    return SessionDependencies(
        inspect_machine=lambda: (ENVIRONMENT, checks),
        start_load_generator=lambda _: load if start_load_generator is None else start_load_generator(),
        start_null_server=start_null_server,
        start_endpoint=start_endpoint,
        start_standalone_model=start_alone,
        telemetry=telemetry or SteadyTelemetry(clock),
        store=store,
        load_calibration=lambda _fingerprint, _now: calibration,
        store_calibration=store_calibration,
        read_core_use=read_core_use,
        read_clock=read_clock or (lambda: ClockReading(clock.now_ns, 10**18 + clock.now_ns, clock.now_ns)),
        now_ns=clock,
        wall_now=wall_now,
        start_server=start_server,
        pause=clock.advance,
        read_metrics=read_metrics,
        load_selftest=load_selftest,
        local_limits=local_limits,
    )
