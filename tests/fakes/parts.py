"""Parts of a session on a clock of their own: a scripted load, a real run directory, no processes."""

from __future__ import annotations

import datetime
from collections.abc import Callable

import pyarrow as pa

from app.inference.measurement import LocalMeasurement
from app.records.calibration import Calibration, Rung
from app.records.result import Check, Environment
from app.records.telemetry import TELEMETRY_SCHEMA
from app.session.parts import Parts, ServedEndpoint, StartedServer
from app.session.spec import StartSpec
from app.storage.run_directory import RunWriter
from app.telemetry.clock import ClockReading
from tests.fakes.clock import FakeClock
from tests.fakes.load import ScriptedLoad

NOON = datetime.datetime(2026, 1, 2, 12, tzinfo=datetime.UTC)
CALIBRATION = Calibration(
    ceiling_per_s=20_000.0,
    rungs=(Rung(20_000.0, 20_000.0, 0.05, 1.0, 0.0, 0.6, True),),
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
    """Ten readings a second from start to close, always the same ones, told at the close."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.watched: dict[str, int] = {}
        self.is_closed = False
        self.lost_gpus: tuple[int, ...] = ()

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
    """Ready `ready_after_s` after its start, never when None; it leaves when `leave` says so."""

    pid = 777

    def __init__(self, clock: FakeClock, *, ready_after_s: float | None = 0.5, said: tuple[str, ...] = ()) -> None:
        self._clock, self._ready_after_s, self._said = clock, ready_after_s, said
        self._ending: str | None = None
        self.started_ns = clock.now_ns
        self.is_stopped = False

    def is_ready(self) -> bool:
        elapsed_s = (self._clock.now_ns - self.started_ns) / 1e9
        return self._ready_after_s is not None and elapsed_s >= self._ready_after_s

    def leave(self, how: str) -> None:
        self._ending = how

    def ending(self) -> str | None:
        return self._ending

    def last_lines(self) -> tuple[str, ...]:
        return self._said

    def stop(self) -> None:
        self.is_stopped = True

    def kill(self) -> None:
        self.is_stopped = True


def fake_parts(
    clock: FakeClock,
    load: ScriptedLoad,
    store: RunWriter,
    *,
    telemetry: SteadyTelemetry | None = None,
    checks: tuple[Check, ...] = (),
    start_endpoint: Callable[[], ServedEndpoint] | None = None,
    start_load: Callable[[], ScriptedLoad] | None = None,
    measure_model: Callable[[], LocalMeasurement] | None = None,
    start_server: Callable[[StartSpec], StartedServer] | None = None,
) -> Parts:
    def no_null_server() -> None:
        raise AssertionError("a calibration is stored: nothing is to be calibrated")

    return Parts(
        inspect_machine=lambda: (ENVIRONMENT, checks),
        start_load=start_load or (lambda: load),
        start_null_server=no_null_server,
        start_endpoint=start_endpoint,
        measure_model=measure_model,
        telemetry=telemetry or SteadyTelemetry(clock),
        store=store,
        load_calibration=lambda _fingerprint, _now: CALIBRATION,
        store_calibration=lambda _: None,
        read_clock=lambda: ClockReading(clock.now_ns, 10**18 + clock.now_ns, clock.now_ns),
        now_ns=clock,
        wall_now=lambda: NOON,
        start_server=start_server,
        pause=clock.advance,
    )
