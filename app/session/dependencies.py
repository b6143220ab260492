"""External dependencies of a session, as protocols. `app.wiring` builds the real implementations;
tests use their own."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Collection
from typing import Protocol

import msgspec
import pyarrow as pa

from app.analysis.generator_checks import MachineLimits
from app.inference.job import (
    CallRows,
    Measure,
    MeasurementStarted,
    Outputs,
    VariantJob,
    VariantMeasured,
    VariantOpened,
    VariantScored,
)
from app.records.calibration import Calibration, LoadKind
from app.records.control import ControlCommand, ControlResponse
from app.records.events import Event
from app.records.gpu import GpuProcess
from app.records.result import Artifact, Check, Environment, Result
from app.records.selftest import SelfTest
from app.records.telemetry import Samples
from app.serving.settings import EndpointReady
from app.session.spec import StartSpec
from app.telemetry.clock import ClockReading
from app.telemetry.processes import CoreUsage
from loadgen.records import Endpoint, Joining, LoadWorker, PreflightDone, Progress, StageEnded, StagePlan, StageStarted
from loadgen.workloads import Workload


class Load(Protocol):
    """A load worker, or the master of several load workers.

    `stop` may be called from a signal handler while `run_stage` blocks."""

    @property
    def pid(self) -> int: ...

    @property
    def pacing(self) -> str: ...

    @property
    def event_loop(self) -> str: ...

    @property
    def workers(self) -> tuple[LoadWorker, ...]:
        """Workers of the master, ordered by index; empty for a single worker without a master."""

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

    def change_rate(self, rate_per_s: float) -> None:
        """Change the rate of open arrivals of the running stage. May be called from any thread."""

    def extend(self, duration_s: float) -> None:
        """Set the total duration of the running stage in s. May be called from any thread."""

    def close(self) -> None: ...


class RunningVariant(Protocol):
    """A model variant that runs in a separate process. `kill` may be called from a signal
    handler."""

    @property
    def pid(self) -> int: ...

    @property
    def started_ns(self) -> int: ...

    def wait_until_open(self, timeout_s: float) -> VariantOpened: ...

    def measure(self, plan: Measure, on_report: Callable[[MeasurementStarted | CallRows], None]) -> VariantMeasured: ...

    def compute_outputs(self, rows: int, timeout_s: float) -> Outputs: ...

    def score(self, timeout_s: float) -> VariantScored: ...

    def kill(self) -> None: ...

    def close(self) -> None: ...


class ServedEndpoint(Protocol):
    """The embedded endpoint, which is started if the profile requests it."""

    @property
    def pid(self) -> int: ...

    @property
    def ready(self) -> EndpointReady: ...

    def end_reason(self) -> str | None:
        """Return how the process ended, such as "was killed by SIGKILL"; `None` while it is
        running."""

    def stop(self) -> object: ...


class ScriptedTarget(Protocol):
    """A server with scripted response times, which replaces the real target if the profile requests
    it."""

    @property
    def pid(self) -> int: ...

    @property
    def url(self) -> str:
        """URL of the target, including the path of the protocol's base URL."""

    def end_reason(self) -> str | None:
        """Return how the process ended, such as "was killed by SIGKILL"; `None` while it is
        running."""

    def close(self) -> None: ...


class StartedServer(Protocol):
    """The inference server of the target, started by a command from the profile.

    `stop` ends the server and all processes that it started, and may be called repeatedly."""

    @property
    def pid(self) -> int: ...

    @property
    def started_ns(self) -> int:
        """Start time of the command, in monotonic ns."""

    def is_ready(self) -> bool:
        """Return True if the readiness URL responds with a 2xx status. Sends one request, which
        takes at most one second."""

    def end_reason(self) -> str | None:
        """Return how the command ended, such as "ended with code 1"; `None` while it is running."""

    def last_lines(self) -> tuple[str, ...]:
        """Return the last lines of the server's output, with secrets redacted."""

    def stop(self) -> None: ...

    def kill(self) -> None:
        """Kill the server immediately. May be called from a signal handler."""


class NullServer(Protocol):
    """A server for calibrating the load generator, which responds immediately with an empty
    response or a stream."""

    @property
    def url(self) -> str: ...

    def cpu_s(self) -> float | None:
        """Return the CPU time used so far in s; `None` if it cannot be read."""

    def close(self) -> None: ...


class Telemetry(Protocol):
    """Telemetry sampler that runs from `start` to `close` and calls the sink from a background
    thread."""

    def start(self, sink: Callable[[pa.RecordBatch], None]) -> None: ...

    def watch(self, source: str, pid: int) -> None: ...

    @property
    def gpu_processes(self) -> tuple[GpuProcess, ...]:
        """Processes that currently use the GPUs of this machine for computing."""

    @property
    def lost_gpus(self) -> tuple[int, ...]: ...

    def close(self) -> None: ...


class Store(Protocol):
    """Storage of a run in its run directory.

    `append_telemetry` is called from the telemetry thread, `process_commands` from the control
    thread, and all remaining methods from the session's thread."""

    def write_environment(self, environment: Environment) -> None: ...

    def write_calibration(self, calibration: Calibration) -> None: ...

    def append_requests(self, batch: pa.RecordBatch) -> None: ...

    def stage_requests(self, stage: int, excluded_columns: Collection[str]) -> pa.Table:
        """Return the request rows of one stage, without the columns in `excluded_columns`."""

    def sync_rows(self) -> None:
        """Block until all rows are stored on disk."""

    def telemetry(self) -> pa.Table:
        """Return all telemetry appended so far."""

    def append_telemetry(self, batch: pa.RecordBatch) -> None: ...

    def process_commands(self, handle: Callable[[ControlCommand], ControlResponse]) -> None:
        """Execute the commands received since the last call, in order, and write the replies."""

    def seal(self) -> tuple[Artifact, ...]: ...

    def write_result(self, result: Result) -> str: ...


class SessionDependencies(msgspec.Struct, frozen=True):
    """Dependencies of a session.

    The functions start a resource when the session needs it; the session closes each started
    resource."""

    inspect_machine: Callable[[], tuple[Environment, tuple[Check, ...]]]
    start_load: Callable[[Callable[[Joining], None]], Load]
    """Start the load workers. The argument is a callback that is called with the workers that have
    joined so far, while further workers are awaited."""
    start_null_server: Callable[[LoadKind], NullServer]
    start_endpoint: Callable[[], ServedEndpoint] | None
    start_standalone_model: Callable[[VariantJob], RunningVariant] | None
    """Start the model of the embedded endpoint in a separate process, for a standalone
    measurement."""
    telemetry: Telemetry
    store: Store
    load_calibration: Callable[[str, datetime.datetime], Calibration | None]
    """Return the stored calibration of the machine with the given fingerprint if it is recent;
    otherwise `None`."""
    store_calibration: Callable[[Calibration], object]
    read_clock: Callable[[], ClockReading]
    now_ns: Callable[[], int]
    wall_now: Callable[[], datetime.datetime]
    start_scripted: Callable[[], ScriptedTarget] | None = None
    start_server: Callable[[StartSpec], StartedServer] | None = None
    """Start the inference server of the target.

    Raises UsageError if the command does not exist, and UnavailableError if another server is
    already ready."""
    require_permission: Callable[[tuple[str, ...]], None] = lambda _: None
    """Raise UsageError if one of the given hosts, which a user's Locust test sends load to, may not
    be loaded."""
    pause: Callable[[float], None] = time.sleep
    read_core_use: Callable[[Collection[int]], CoreUsage | None] = lambda _: None
    """Return the CPU use of this machine, of this process and of the processes with the given ids;
    `None` if unknown."""
    read_metrics: Callable[[Endpoint], tuple[Samples | None, ...]] = lambda _: ()
    """Return the counters of the target's servers, in the order of the target's URLs; `None` for a
    server that exports no counters. Never raises."""
    local_limits: MachineLimits = MachineLimits()
    load_selftest: Callable[[str], SelfTest | None] = lambda _: None
    """Return the last self-test stored for the machine with the given fingerprint; `None` if there
    is none."""


Emit = Callable[[Event], None]
