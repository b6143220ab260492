"""What a local run needs from the world. `app.wiring` builds the real parts, tests their own.

What one run of a local model is to do: a profile with everything resolved. Made by wiring, read by
the session.
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
from app.records.control import Answer, Wish
from app.records.estimate import Variant
from app.records.gpu import GpuProcess
from app.records.local import Peaks, Precision, Scenario
from app.records.model import BatchCost
from app.records.result import Artifact, Check, Environment, Objective, Result, Target
from app.records.selftest import SelfTest
from app.session.parts import RunningVariant, Telemetry
from app.session.spec import BaselineSpec, LimitSpec
from app.telemetry.clock import ClockReading


class VariantOrder(msgspec.Struct, frozen=True, kw_only=True):
    """One variant to be measured. `model` is the user's file; `environment` makes its devices the only ones seen."""

    variant: Variant
    model: str
    precision: Precision
    settings: SessionSettings
    environment: tuple[tuple[str, str], ...] = ()


class ScenarioOrder(msgspec.Struct, frozen=True):
    """Of the server scenario there is a `rate_per_s`, or a `share` of what the variant does at the most; `finds_most`
    begins at that share and searches the highest rate inside the SLO."""

    scenario: Scenario
    rate_per_s: float | None = None
    share: float | None = None
    finds_most: bool = False


class DataSpec(msgspec.Struct, frozen=True):
    """Files of inputs. Without `rows` they are made up; without `label` nothing is scored. Of
    `calibration`, `calibration_rows` are for static quantisation: where those are labelled rows, no variant is scored
    by them (`unscored_rows`)."""

    rows: str | None = None
    label: str | None = None
    output: str | None = None
    calibration: str | None = None
    calibration_rows: int = 128
    unscored_rows: int = 0


class LocalSpec(msgspec.Struct, frozen=True, kw_only=True):
    """`variants` in the order they are measured. With `finds_best`, larger batches than one that failed the SLO are
    left out. The first model's accuracy is what that of the others is held against."""

    run_id: str
    name: str
    profile_hash: str
    target: Target
    seed: int
    variants: tuple[VariantOrder, ...]
    scenarios: tuple[ScenarioOrder, ...]
    data: DataSpec
    warmup_s: float
    at_least_s: float
    at_most_s: float
    half_width: float
    cold_starts: int
    finds_best: bool
    slo: tuple[Objective, ...]
    gates: tuple[Objective, ...]
    limits: LimitSpec
    memory_limit_bytes: int | None
    spare_memory_bytes: int | None = None
    """What a variant on the CPU may take where the profile sets no limit. Drivers of GPUs reserve more than they use,
    so that no number would be right for the others."""
    usd_per_hour: float | None = None
    price_note: str | None = None
    """When that was the price, and where it is from."""
    gating: Gating = Gating()
    notes: tuple[str, ...] = ()
    workload_hash: str | None = None
    baseline: BaselineSpec | None = None
    """What the result is compared with."""

    def memory_limit(self, provider: str) -> int | None:
        spare = self.spare_memory_bytes if provider == "cpu" else None
        return spare if self.memory_limit_bytes is None else self.memory_limit_bytes


class PreparedModel(msgspec.Struct, frozen=True):
    """The file a variant is run from: the user's own, or what was made of it. `kept_model` is where the runtime's
    optimised form may be kept; None where it keeps none."""

    path: str
    sha256: str
    size_bytes: int
    kept_model: str | None = None
    notes: tuple[str, ...] = ()


class LocalStore(Protocol):
    """The run directory. `append_telemetry` is called from the telemetry's thread, all else from the session's."""

    def write_environment(self, environment: Environment) -> None: ...

    def append_calls(self, batch: pa.RecordBatch) -> None: ...

    def stage_calls(self, stage: int) -> pa.Table: ...

    def sync_rows(self) -> None:
        """Return once every row is on the disk."""

    def append_telemetry(self, batch: pa.RecordBatch) -> None: ...

    def keep_outputs(self, name: str, outputs: npt.NDArray[Any]) -> str:
        """Writes them as an .npz for the children to read, and returns its path."""

    def obey_wishes(self, obey: Callable[[Wish], Answer]) -> None: ...

    def seal(self) -> tuple[Artifact, ...]: ...

    def write_result(self, result: Result) -> str: ...


class LocalParts(msgspec.Struct, frozen=True):
    inspect_machine: Callable[[], tuple[Environment, tuple[Check, ...]]]
    prepare_model: Callable[[VariantOrder, DataSpec], PreparedModel]
    """Makes the precision asked for, or takes it from the cache. Raises UsageError or InstrumentError."""
    start_variant: Callable[[str, VariantJob, tuple[tuple[str, str], ...]], RunningVariant]
    """`what` names it in sentences; the last is its environment."""
    cost_of: Callable[[str, int, dict[str, int]], BatchCost | None]
    """What an inference costs by a model's file, at a batch and with lengths of axes; None where it does not tell."""
    peaks_of: Callable[[VariantOrder, Environment, int], Peaks | None]
    """Of the processor that a variant runs on, with weights of so many bytes."""
    foreign_processes: Callable[[Sequence[GpuProcess], Collection[int]], tuple[GpuProcess, ...]]
    """Of processes on the GPUs, those that are none of ours nor begun by one of them."""
    gpu_memory_gib: Callable[[], dict[int, float]]
    """In use now, by GPU; empty without a driver."""
    telemetry: Telemetry
    store: LocalStore
    read_clock: Callable[[], ClockReading]
    now_ns: Callable[[], int]
    wall_now: Callable[[], datetime.datetime]
    pause: Callable[[float], None]
    load_selftest: Callable[[str], SelfTest | None] = lambda _: None
    """As Parts has it."""
