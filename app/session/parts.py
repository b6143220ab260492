"""What a session needs from the world, as small protocols. `app.wiring` builds the real ones, tests their own."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Collection
from typing import Protocol

import msgspec
import pyarrow as pa

from app.analysis.generator_checks import MachineLimits
from app.inference.job import Began, Calls, Measure, Opened, Outputs, Scored, VariantJob, VariantMeasured
from app.records.calibration import Calibration, LoadKind
from app.records.control import Answer, Wish
from app.records.events import Event
from app.records.gpu import GpuProcess
from app.records.result import Artifact, Check, Environment, Result
from app.records.selftest import SelfTest
from app.records.telemetry import Samples
from app.serving.settings import EndpointReady
from app.session.spec import StartSpec
from app.telemetry.clock import ClockReading
from app.telemetry.processes import CoreUse
from loadgen.records import Endpoint, Joining, LoadWorker, PreflightDone, Progress, StageEnded, StagePlan, StageStarted
from loadgen.workloads import Workload


class Load(Protocol):
    """One load worker, or several behind their master. `stop` may be called from a signal handler while `run_stage`
    blocks."""

    @property
    def pid(self) -> int: ...

    @property
    def pacing(self) -> str: ...

    @property
    def event_loop(self) -> str: ...

    @property
    def workers(self) -> tuple[LoadWorker, ...]:
        """Those of a master, in their order; empty where the one worker speaks for itself."""

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
        """Of the running stage's open arrivals, from any thread."""

    def extend(self, duration_s: float) -> None:
        """The running stage, to last so long from its start; from any thread."""

    def close(self) -> None: ...


class RunningVariant(Protocol):
    """A variant in a process of its own. `kill` may be called from a signal handler."""

    @property
    def pid(self) -> int: ...

    @property
    def started_ns(self) -> int: ...

    def opened(self, within_s: float) -> Opened: ...

    def measure(self, plan: Measure, on_told: Callable[[Began | Calls], None]) -> VariantMeasured: ...

    def give_outputs(self, rows: int, within_s: float) -> Outputs: ...

    def score(self, within_s: float) -> Scored: ...

    def kill(self) -> None: ...

    def close(self) -> None: ...


class ServedEndpoint(Protocol):
    """The embedded endpoint, started when the profile asks for it."""

    @property
    def pid(self) -> int: ...

    @property
    def ready(self) -> EndpointReady: ...

    def ending(self) -> str | None:
        """How its process ended, as in "was killed by SIGKILL"; None while it runs."""

    def stop(self) -> object: ...


class ScriptedTarget(Protocol):
    """A server of known timings, started instead of a real target when the profile asks for it."""

    @property
    def pid(self) -> int: ...

    @property
    def url(self) -> str:
        """As a target's URL: with the path that its protocol's base URL has."""

    def ending(self) -> str | None:
        """How its process ended, as in "was killed by SIGKILL"; None while it runs."""

    def close(self) -> None: ...


class StartedServer(Protocol):
    """The target's own server, started by its command. `stop` ends it with all it started, and may be called again."""

    @property
    def pid(self) -> int: ...

    @property
    def started_ns(self) -> int:
        """When the command was started, monotonic."""

    def is_ready(self) -> bool:
        """Whether the readiness URL answers with 2xx; asked once, at most a second long."""

    def ending(self) -> str | None:
        """How the command ended, as in "ended with code 1"; None while it runs."""

    def last_lines(self) -> tuple[str, ...]:
        """The end of what it printed, without secrets."""

    def stop(self) -> None: ...

    def kill(self) -> None:
        """At once, from a signal handler."""


class NullServer(Protocol):
    """A server that answers at once with nothing, or streams: what the generator's ceiling is found on."""

    @property
    def url(self) -> str: ...

    def cpu_s(self) -> float | None:
        """That it has used so far; None where that cannot be read."""

    def close(self) -> None: ...


class Telemetry(Protocol):
    """Samples from `start` to `close`; batches go to the sink from a thread of its own."""

    def start(self, sink: Callable[[pa.RecordBatch], None]) -> None: ...

    def watch(self, source: str, pid: int) -> None: ...

    @property
    def gpu_processes(self) -> tuple[GpuProcess, ...]:
        """Those that compute on this machine's GPUs just now."""

    @property
    def lost_gpus(self) -> tuple[int, ...]: ...

    def close(self) -> None: ...


class Store(Protocol):
    """The run directory. `append_telemetry` is called from the telemetry's thread, `obey_wishes` from one of its own,
    all else from the session's."""

    def write_environment(self, environment: Environment) -> None: ...

    def write_calibration(self, calibration: Calibration) -> None: ...

    def append_requests(self, batch: pa.RecordBatch) -> None: ...

    def stage_requests(self, stage: int, without: Collection[str]) -> pa.Table:
        """What was appended of one stage, but for some columns."""

    def sync_rows(self) -> None:
        """Return once every row is on the disk."""

    def telemetry(self) -> pa.Table:
        """What was appended."""

    def append_telemetry(self, batch: pa.RecordBatch) -> None: ...

    def obey_wishes(self, obey: Callable[[Wish], Answer]) -> None:
        """Take what was asked of the run since the last call, in its order, and leave the answers."""

    def seal(self) -> tuple[Artifact, ...]: ...

    def write_result(self, result: Result) -> str: ...


class Parts(msgspec.Struct, frozen=True):
    """Functions start a thing when the session wants it; each is closed by the session."""

    inspect_machine: Callable[[], tuple[Environment, tuple[Check, ...]]]
    start_load: Callable[[Callable[[Joining], None]], Load]
    """Tells of workers that are waited for, and who has joined."""
    start_null_server: Callable[[LoadKind], NullServer]
    start_endpoint: Callable[[], ServedEndpoint] | None
    start_alone: Callable[[VariantJob], RunningVariant] | None
    """The model of the embedded endpoint, by itself."""
    telemetry: Telemetry
    store: Store
    load_calibration: Callable[[str, datetime.datetime], Calibration | None]
    """The one stored for this machine's fingerprint, when it is recent."""
    store_calibration: Callable[[Calibration], object]
    read_clock: Callable[[], ClockReading]
    now_ns: Callable[[], int]
    wall_now: Callable[[], datetime.datetime]
    start_scripted: Callable[[], ScriptedTarget] | None = None
    start_server: Callable[[StartSpec], StartedServer] | None = None
    """Raises UsageError for a command that does not exist, UnavailableError when something else is ready already."""
    require_permission: Callable[[tuple[str, ...]], None] = lambda _: None
    """Of the hosts that a user's Locust test names itself. Raises UsageError for one that may not be loaded."""
    pause: Callable[[float], None] = time.sleep
    read_core_use: Callable[[Collection[int]], CoreUse | None] = lambda _: None
    """Of this machine, and what this process and those of some ids use of it."""
    read_metrics: Callable[[Endpoint], tuple[Samples | None, ...]] = lambda _: ()
    """What the target's servers count, in the order of its URLs; None for one that does not tell. Never raises."""
    local_limits: MachineLimits = MachineLimits()
    load_selftest: Callable[[str], SelfTest | None] = lambda _: None
    """The last one of this machine's fingerprint."""


Emit = Callable[[Event], None]
