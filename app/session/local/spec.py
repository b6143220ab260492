"""Specification and dependencies of a local run.

The specification is a profile with all settings resolved. `app.wiring` builds the specification and
the dependencies; tests provide their own dependencies."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol

import msgspec
import numpy.typing as npt
import pyarrow as pa

from app.analysis.gating import Gating
from app.analysis.local.roofline import DataType
from app.inference.generation.model_folder import GenerativeModel
from app.inference.job import SessionSettings, VariantJob
from app.records.control import ControlCommand, ControlResponse
from app.records.estimate import Variant
from app.records.generation import DecoderCosts
from app.records.gpu import GpuProcess
from app.records.local import GenerationTest, Peaks, Precision, Scenario
from app.records.model import BatchCost
from app.records.result import Artifact, Check, Environment, Objective, Result, Target
from app.records.selftest import SelfTest
from app.session.dependencies import RunningVariant, Telemetry
from app.session.spec import BaselineSpec, LimitSpec
from app.telemetry.clock import ClockReading


class VariantSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A model variant to measure. `model` is the path of the user's model file. `environment`
    contains the environment variables that make only the devices of the variant visible."""

    variant: Variant
    model: str
    precision: Precision
    settings: SessionSettings
    environment: tuple[tuple[str, str], ...] = ()
    is_language_model: bool = False
    """True if `model` is the folder or the GGUF file of a language model."""


class ScenarioSpec(msgspec.Struct, frozen=True):
    """A scenario to run.

    The server scenario runs at `rate_per_s` calls/s, or at the fraction `share` of the variant's
    maximum throughput. With `is_max_search`, it starts at this rate and searches for the max rate
    within the SLO."""

    scenario: Scenario
    rate_per_s: float | None = None
    share: float | None = None
    is_max_search: bool = False
    test: GenerationTest | None = None
    """Test of the generation scenario."""
    repeat: int = 1


class DataSpec(msgspec.Struct, frozen=True):
    """Input files of a local run.

    Without `rows`, inputs are generated. Without `label`, accuracy is not computed. For
    int8-static, `calibration_rows` rows of the file `calibration` are used. If the calibration rows
    are labeled rows from `rows`, `unscored_rows` is their number, and they are excluded from
    scoring."""

    rows: str | None = None
    label: str | None = None
    output: str | None = None
    calibration: str | None = None
    calibration_rows: int = 128
    unscored_rows: int = 0


class TextSpec(msgspec.Struct, frozen=True):
    """Text file; language models predict its first `max_tokens` tokens."""

    path: str
    max_tokens: int


class LocalSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Specification of a local run.

    `variants` are in measurement order. With `is_best_search`, larger batch sizes are skipped after
    a batch size has violated the SLO. The accuracy of each variant is compared with the accuracy of
    the first model."""

    run_id: str
    name: str
    profile_hash: str
    target: Target
    seed: int
    variants: tuple[VariantSpec, ...]
    scenarios: tuple[ScenarioSpec, ...]
    data: DataSpec
    text: TextSpec | None = None
    """Text that shows the quality of language models; `None` if it is not measured."""
    warmup_s: float
    min_duration_s: float
    max_duration_s: float
    half_width: float
    """Target of the relative half-width of the 95 % confidence interval of the mean service time. A
    scenario may end when the half-width is this small."""
    cold_starts: int
    is_best_search: bool
    slo: tuple[Objective, ...]
    gates: tuple[Objective, ...]
    limits: LimitSpec
    memory_limit_bytes: int | None
    default_memory_limit_bytes: int | None = None
    """Memory limit in bytes of a variant on the CPU if the profile sets none; `None` without a
    limit.

    Variants on other execution providers have no default limit: GPU drivers reserve more memory
    than they use, so no value would be correct."""
    usd_per_hour: float | None = None
    price_note: str | None = None
    """Date and source of the price; `None` without a price."""
    gating: Gating = Gating()
    notes: tuple[str, ...] = ()
    workload_hash: str | None = None
    baseline: BaselineSpec | None = None
    """Baseline with which the result is compared; `None` without a comparison."""

    def get_memory_limit_bytes(self, provider: str) -> int | None:
        default_limit_bytes = self.default_memory_limit_bytes if provider == "cpu" else None
        return default_limit_bytes if self.memory_limit_bytes is None else self.memory_limit_bytes


class PreparedModel(msgspec.Struct, frozen=True):
    """The model file that a variant runs: the user's file, or a file converted from it.

    `cached_model_path` is the path at which ONNX Runtime can cache the optimized model; `None` if
    the optimized model is not cached."""

    path: str
    sha256: str
    size_bytes: int
    cached_model_path: str | None = None
    language_model: GenerativeModel | None = None
    decoder_costs: DecoderCosts | None = None
    """Costs of a language model; `None` for other models."""
    notes: tuple[str, ...] = ()


class LocalStore(Protocol):
    """Storage of a local run in its run directory. `append_telemetry` is called from the telemetry
    thread, `process_commands` from the control thread, and each of the remaining methods from the
    session's thread."""

    def write_environment(self, environment: Environment) -> None: ...

    def append_calls(self, batch: pa.RecordBatch) -> None: ...

    def stage_calls(self, stage: int) -> pa.Table: ...

    def sync_rows(self) -> None:
        """Block until all appended rows are on disk."""

    def append_telemetry(self, batch: pa.RecordBatch) -> None: ...

    def store_outputs(self, name: str, outputs: npt.NDArray[Any]) -> str:
        """Write outputs or scores to an .npz file that child processes can read, and return its
        path."""

    def store_text_scores(self, name: str, content: bytes) -> None:
        """Write the encoded predictions on a text to a file."""

    def process_commands(self, handle: Callable[[ControlCommand], ControlResponse]) -> None: ...

    def seal(self) -> tuple[Artifact, ...]: ...

    def write_result(self, result: Result) -> str: ...


class LocalDependencies(msgspec.Struct, frozen=True):
    """External dependencies of a session that measures a local model."""

    inspect_machine: Callable[[], tuple[Environment, tuple[Check, ...]]]
    prepare_model: Callable[[VariantSpec, DataSpec], PreparedModel]
    """Convert the model of a variant to the requested precision, or return the cached conversion.
    Raises UsageError and MeasurementError."""
    start_variant: Callable[[str, VariantJob, tuple[tuple[str, str], ...]], RunningVariant]
    """Start a variant in a child process. The arguments are the display name, the job and the
    environment variables of the variant."""
    compute_cost: Callable[[str, int, dict[str, int]], BatchCost | None]
    """Return the cost of an inference, given the model file, the batch size and the axis lengths;
    `None` if the cost is unknown."""
    find_peaks: Callable[[VariantSpec, Environment, int, DataType | None], Peaks | None]
    """Return the peak rates of the processor that a variant runs on, for a model with the given
    size of weights in bytes; `None` if unknown. Without a data type, it is that of the precision of
    the variant."""
    find_foreign_processes: Callable[[Sequence[GpuProcess], Collection[int]], tuple[GpuProcess, ...]]
    """Return those of the given GPU processes that are neither in the given set of PIDs nor
    descendants of processes in this set."""
    read_gpu_memory_gib: Callable[[], dict[int, float]]
    """Return the used GPU memory in GiB, by GPU index; empty without an NVIDIA driver."""
    telemetry: Telemetry
    store: LocalStore
    read_clock: Callable[[], ClockReading]
    now_ns: Callable[[], int]
    wall_now: Callable[[], datetime.datetime]
    pause: Callable[[float], None]
    load_selftest: Callable[[str], SelfTest | None] = lambda _: None
    """Return the last self-test stored for the machine with the given fingerprint; `None` if there
    is none."""
