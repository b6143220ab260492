"""What a session needs from the world, as small protocols. `app.wiring` builds the real ones, tests their own."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Protocol

import msgspec
import pyarrow as pa

from app.inference.measurement import LocalMeasurement
from app.records.calibration import Calibration
from app.records.events import Event
from app.records.result import Artifact, Check, Environment, Result
from app.serving.ready import EndpointReady
from app.telemetry.clock import ClockReading
from loadgen.records import Endpoint, PreflightDone, Progress, StageEnded, StagePlan, StageStarted, Workload


class Load(Protocol):
    """One load worker. `stop` may be called from a signal handler while `run_stage` blocks."""

    @property
    def pid(self) -> int: ...

    @property
    def pacing(self) -> str: ...

    @property
    def event_loop(self) -> str: ...

    def configure(self, endpoint: Endpoint, workload: Workload) -> None: ...

    def preflight(self) -> PreflightDone: ...

    def run_stage(
        self,
        plan: StagePlan,
        on_rows: Callable[[pa.RecordBatch], None],
        on_started: Callable[[StageStarted], None],
        on_progress: Callable[[Progress], bool],
    ) -> StageEnded: ...

    def stop(self, drain: bool) -> None: ...

    def close(self) -> None: ...


class ServedEndpoint(Protocol):
    """The embedded endpoint, started when the profile asks for it."""

    @property
    def pid(self) -> int: ...

    @property
    def ready(self) -> EndpointReady: ...

    def stop(self) -> object: ...


class NullServer(Protocol):
    """A server that answers at once with nothing: what the generator's ceiling is found on."""

    @property
    def url(self) -> str: ...

    def close(self) -> None: ...


class Telemetry(Protocol):
    """Samples from `start` to `close`; batches go to the sink from a thread of its own."""

    def start(self, sink: Callable[[pa.RecordBatch], None]) -> None: ...

    def watch(self, source: str, pid: int) -> None: ...

    @property
    def lost_gpus(self) -> tuple[int, ...]: ...

    def close(self) -> None: ...


class Store(Protocol):
    """The run directory. `append_telemetry` is called from the telemetry's thread, all else from the session's."""

    def write_environment(self, environment: Environment) -> None: ...

    def write_calibration(self, calibration: Calibration) -> None: ...

    def append_requests(self, batch: pa.RecordBatch) -> None: ...

    def append_telemetry(self, batch: pa.RecordBatch) -> None: ...

    def seal(self) -> tuple[Artifact, ...]: ...

    def write_result(self, result: Result) -> str: ...


class Parts(msgspec.Struct, frozen=True):
    """Functions start a thing when the session wants it; each is closed by the session."""

    inspect_machine: Callable[[], tuple[Environment, tuple[Check, ...]]]
    start_load: Callable[[], Load]
    start_null_server: Callable[[], NullServer]
    start_endpoint: Callable[[], ServedEndpoint] | None
    measure_model: Callable[[], LocalMeasurement] | None
    telemetry: Telemetry
    store: Store
    load_calibration: Callable[[str, datetime.datetime], Calibration | None]
    """The one stored for this machine's fingerprint, when it is recent."""
    store_calibration: Callable[[Calibration], object]
    read_clock: Callable[[], ClockReading]
    now_ns: Callable[[], int]
    wall_now: Callable[[], datetime.datetime]


Emit = Callable[[Event], None]
