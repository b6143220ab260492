"""External dependencies of a session, as protocols. `app.wiring` builds the real implementations;
tests provide their own."""

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
    ScoreText,
    TextScored,
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


class LoadGenerator(Protocol):
    """A single load worker, or the master of several load workers.

    `stop` may be called from a signal handler while `run_stage` blocks."""

    @property
    def pid(self) -> int: ...

    @property
    def pacing(self) -> str: ...

    @property
    def event_loop(self) -> str: ...

    @property
    def workers(self) -> tuple[LoadWorker, ...]:
        """Load workers of the master, ordered by index; empty for a single worker without a
        master."""

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
        """Change the arrival rate of the running open-loop stage, in requests/s. This method may be
        called from any thread."""

    def extend(self, duration_s: float) -> None:
        """Set the total duration of the running stage, in s. This method may be called from any
        thread."""

    def close(self) -> None: ...


class RunningVariant(Protocol):
    """A model variant that runs in a child process. `kill` may be called from a signal handler."""

    @property
    def pid(self) -> int: ...

    @property
    def started_ns(self) -> int: ...

    def wait_until_open(self, timeout_s: float) -> VariantOpened: ...

    def measure(self, plan: Measure, on_report: Callable[[MeasurementStarted | CallRows], None]) -> VariantMeasured: ...

    def compute_outputs(self, rows: int, timeout_s: float) -> Outputs: ...

    def score(self, timeout_s: float) -> VariantScored: ...

    def score_text(self, command: ScoreText, timeout_s: float) -> TextScored: ...

    def kill(self) -> None: ...

    def close(self) -> None: ...


class ServedEndpoint(Protocol):
    """The embedded endpoint, which the session starts if the profile requests one."""

    @property
    def pid(self) -> int: ...

    @property
    def ready(self) -> EndpointReady: ...

    def end_reason(self) -> str | None:
        """Return how the process of the endpoint ended, such as "was killed by SIGKILL"; `None`
        while the process is running."""

    def stop(self) -> object: ...


class ScriptedTarget(Protocol):
    """A server with scripted response times, which replaces the real target if the profile requests
    a scripted target."""

    @property
    def pid(self) -> int: ...

    @property
    def url(self) -> str:
        """URL of the scripted server, including the path of the protocol's base URL."""

    def end_reason(self) -> str | None:
        """Return how the process of the scripted server ended, such as "was killed by SIGKILL";
        `None` while the process is running."""

    def close(self) -> None: ...


class StartedServer(Protocol):
    """The target's inference server, started by a command from the profile.

    `stop` ends the server and all processes that the server started. It may be called
    repeatedly."""

    @property
    def pid(self) -> int: ...

    @property
    def started_ns(self) -> int:
        """Time at which the command was started, in monotonic ns."""

    def is_ready(self) -> bool:
        """Send one request to the readiness URL, which takes at most one second. Return True if the
        response has a 2xx status."""

    def end_reason(self) -> str | None:
        """Return how the start command ended, such as "exited with code 1"; `None` while the
        command is running."""

    def last_lines(self) -> tuple[str, ...]:
        """Return the last lines that the server printed, with secrets redacted."""

    def stop(self) -> None: ...

    def kill(self) -> None:
        """Kill the server immediately. This method may be called from a signal handler."""


class NullServer(Protocol):
    """A server for calibrating the load generator. It responds immediately, with an empty response
    or a stream."""

    @property
    def url(self) -> str: ...

    def cpu_s(self) -> float | None:
        """Return the CPU time that the null server has used so far, in s; `None` if it cannot be
        read."""

    def close(self) -> None: ...


class Telemetry(Protocol):
    """Telemetry sampler that runs from `start` to `close`. It calls the sink from a background
    thread."""

    def start(self, sink: Callable[[pa.RecordBatch], None]) -> None: ...

    def watch(self, source: str, pid: int) -> None: ...

    @property
    def gpu_processes(self) -> tuple[GpuProcess, ...]:
        """Processes that currently compute on the GPUs of this machine."""

    @property
    def lost_gpus(self) -> tuple[int, ...]: ...

    def close(self) -> None: ...


class Store(Protocol):
    """Storage of a run in its run directory.

    `append_telemetry` is called from the telemetry thread, `process_commands` from the control
    thread, and each of the remaining methods from the session's thread."""

    def write_environment(self, environment: Environment) -> None: ...

    def write_calibration(self, calibration: Calibration) -> None: ...

    def append_requests(self, batch: pa.RecordBatch) -> None: ...

    def stage_requests(self, stage: int, excluded_columns: Collection[str]) -> pa.Table:
        """Return the request rows of one stage, without the columns in `excluded_columns`."""

    def sync_rows(self) -> None:
        """Block until all appended rows are on disk."""

    def telemetry(self) -> pa.Table:
        """Return all telemetry samples appended so far."""

    def append_telemetry(self, batch: pa.RecordBatch) -> None: ...

    def process_commands(self, handle: Callable[[ControlCommand], ControlResponse]) -> None:
        """Execute all control commands received since the last call, in order, and write a reply to
        each."""

    def seal(self) -> tuple[Artifact, ...]: ...

    def write_result(self, result: Result) -> str: ...


class SessionDependencies(msgspec.Struct, frozen=True):
    """External dependencies of a session.

    The `start_…` functions start a resource when the session needs it, and the session closes the
    resource."""

    inspect_machine: Callable[[], tuple[Environment, tuple[Check, ...]]]
    start_load_generator: Callable[[Callable[[Joining], None]], LoadGenerator]
    """Start the load workers. The argument is a callback for progress reports while workers are
    awaited: it receives the number of workers that have joined so far."""
    start_null_server: Callable[[LoadKind], NullServer]
    start_endpoint: Callable[[], ServedEndpoint] | None
    start_standalone_model: Callable[[VariantJob], RunningVariant] | None
    """Start the model of the embedded endpoint in a child process, for a standalone measurement."""
    telemetry: Telemetry
    store: Store
    load_calibration: Callable[[str, datetime.datetime], Calibration | None]
    """Return the stored calibration of the machine with the given fingerprint; `None` if there is
    none, or if it is not recent at the given time."""
    store_calibration: Callable[[Calibration], object]
    read_clock: Callable[[], ClockReading]
    now_ns: Callable[[], int]
    wall_now: Callable[[], datetime.datetime]
    start_scripted: Callable[[], ScriptedTarget] | None = None
    start_server: Callable[[StartSpec], StartedServer] | None = None
    """Start the target's inference server.

    Raises UsageError if the command does not exist, and UnavailableError if another server already
    responds at the readiness URL."""
    require_permission: Callable[[tuple[str, ...]], None] = lambda _: None
    """Raise UsageError if the user may not send load to one of the given hosts, which are the
    targets of a user's Locust test."""
    pause: Callable[[float], None] = time.sleep
    read_core_use: Callable[[Collection[int]], CoreUsage | None] = lambda _: None
    """Return the CPU use of this machine, of this process, and of the processes with the given
    PIDs; `None` if unknown."""
    read_metrics: Callable[[Endpoint], tuple[Samples | None, ...]] = lambda _: ()
    """Return the counters of each server of the target, in the order of the target's URLs; `None`
    for a server that exports no counters. Never raises an error."""
    local_limits: MachineLimits = MachineLimits()
    load_selftest: Callable[[str], SelfTest | None] = lambda _: None
    """Return the last self-test stored for the machine with the given fingerprint; `None` if there
    is none."""


Emit = Callable[[Event], None]
