"""Specification and dependencies of a run of a local model.

The specification is a profile with all settings resolved. `app.wiring` builds both; tests use their
own dependencies.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol

import msgspec
import numpy.typing as npt
import pyarrow as pa

from app.analysis.gating import Gating
from app.inference.job import SessionSettings, VariantJob
from app.records.control import ControlCommand, ControlResponse
from app.records.estimate import Variant
from app.records.gpu import GpuProcess
from app.records.local import Peaks, Precision, Scenario
from app.records.model import BatchCost
from app.records.result import Artifact, Check, Environment, Objective, Result, Target
from app.records.selftest import SelfTest
from app.session.dependencies import RunningVariant, Telemetry
from app.session.spec import BaselineSpec, LimitSpec
from app.telemetry.clock import ClockReading


class VariantSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A model variant to measure. `model` is the path of the user's model file; `environment`
    contains environment variables that restrict the visible devices to those of the variant."""

    variant: Variant
    model: str
    precision: Precision
    settings: SessionSettings
    environment: tuple[tuple[str, str], ...] = ()


class ScenarioSpec(msgspec.Struct, frozen=True):
    """A scenario to run.

    The server scenario has either a `rate_per_s`, or a `share` of the variant's maximum throughput.
    With `is_max_search`, it starts at that share and searches for the max rate within the SLO."""

    scenario: Scenario
    rate_per_s: float | None = None
    share: float | None = None
    is_max_search: bool = False


class DataSpec(msgspec.Struct, frozen=True):
    """Input files of a local run.

    Without `rows`, inputs are generated; without `label`, accuracy is not computed.
    `calibration_rows` rows of `calibration` are used for static quantization. If these are labeled
    rows of the data, they are excluded from scoring (`unscored_rows`)."""

    rows: str | None = None
    label: str | None = None
    output: str | None = None
    calibration: str | None = None
    calibration_rows: int = 128
    unscored_rows: int = 0


class LocalSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Specification of a local run.

    `variants` are in measurement order. With `is_best_search`, larger batch sizes are skipped
    after a batch size has violated the SLO. Accuracies are compared with that of the first
    model."""

    run_id: str
    name: str
    profile_hash: str
    target: Target
    seed: int
    variants: tuple[VariantSpec, ...]
    scenarios: tuple[ScenarioSpec, ...]
    data: DataSpec
    warmup_s: float
    min_duration_s: float
    max_duration_s: float
    half_width: float
    """Relative half-width of the 95 % confidence interval of the mean at which a scenario may
    end."""
    cold_starts: int
    is_best_search: bool
    slo: tuple[Objective, ...]
    gates: tuple[Objective, ...]
    limits: LimitSpec
    memory_limit_bytes: int | None
    default_memory_limit_bytes: int | None = None
    """Memory limit of a CPU variant if the profile sets none.

    Other providers have no default: GPU drivers reserve more memory than they use, so no value
    would be correct."""
    usd_per_hour: float | None = None
    price_note: str | None = None
    """Date and source of the price."""
    gating: Gating = Gating()
    notes: tuple[str, ...] = ()
    workload_hash: str | None = None
    baseline: BaselineSpec | None = None
    """Baseline with which the result is compared."""

    def get_memory_limit_bytes(self, provider: str) -> int | None:
        default_limit_bytes = self.default_memory_limit_bytes if provider == "cpu" else None
        return default_limit_bytes if self.memory_limit_bytes is None else self.memory_limit_bytes


class PreparedModel(msgspec.Struct, frozen=True):
    """The model file of a variant: the user's file, or a file derived from it.

    `cached_model_path` is the path at which the runtime can cache the optimized model; `None` if
    the runtime does not cache it.
    """

    path: str
    sha256: str
    size_bytes: int
    cached_model_path: str | None = None
    notes: tuple[str, ...] = ()


class LocalStore(Protocol):
    """Storage of a local run in its run directory. `append_telemetry` is called from the telemetry
    thread, `process_commands` from the control thread, and all remaining methods from the session's
    thread."""

    def write_environment(self, environment: Environment) -> None: ...

    def append_calls(self, batch: pa.RecordBatch) -> None: ...

    def stage_calls(self, stage: int) -> pa.Table: ...

    def sync_rows(self) -> None:
        """Block until all rows are stored on disk."""

    def append_telemetry(self, batch: pa.RecordBatch) -> None: ...

    def store_outputs(self, name: str, outputs: npt.NDArray[Any]) -> str:
        """Write outputs to an .npz file, which child processes read, and return its path."""

    def process_commands(self, handle: Callable[[ControlCommand], ControlResponse]) -> None: ...

    def seal(self) -> tuple[Artifact, ...]: ...

    def write_result(self, result: Result) -> str: ...


class LocalDependencies(msgspec.Struct, frozen=True):
    """Dependencies of a session that measures a local model."""

    inspect_machine: Callable[[], tuple[Environment, tuple[Check, ...]]]
    prepare_model: Callable[[VariantSpec, DataSpec], PreparedModel]
    """Convert the model to the requested precision, or return the cached file. Raises UsageError
    and MeasurementError."""
    start_variant: Callable[[str, VariantJob, tuple[tuple[str, str], ...]], RunningVariant]
    """Start a variant in a child process. The arguments are its display name, its job, and its
    environment variables."""
    compute_cost: Callable[[str, int, dict[str, int]], BatchCost | None]
    """Return the cost of an inference for a model file, batch size and axis lengths; `None` if it
    is unknown."""
    find_peaks: Callable[[VariantSpec, Environment, int], Peaks | None]
    """Return the peak rates of the processor that a variant runs on, for weights of the given size
    in bytes; `None` if unknown."""
    find_foreign_processes: Callable[[Sequence[GpuProcess], Collection[int]], tuple[GpuProcess, ...]]
    """Return the GPU processes that were started neither by Sizewise nor by one of its child
    processes."""
    read_gpu_memory_gib: Callable[[], dict[int, float]]
    """Return the GPU memory in use in GiB, by GPU index; empty without a driver."""
    telemetry: Telemetry
    store: LocalStore
    read_clock: Callable[[], ClockReading]
    now_ns: Callable[[], int]
    wall_now: Callable[[], datetime.datetime]
    pause: Callable[[float], None]
    load_selftest: Callable[[str], SelfTest | None] = lambda _: None
    """Return the last self-test stored for the machine with the given fingerprint; `None` if there
    is none."""
