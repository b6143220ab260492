"""What a local run needs from the world. `app.wiring` builds the real parts, tests their own."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol

import msgspec
import numpy.typing as npt
import pyarrow as pa

from app.inference.job import VariantJob
from app.records.control import Answer, Wish
from app.records.gpu import GpuProcess
from app.records.local import Peaks
from app.records.model import BatchCost
from app.records.result import Artifact, Check, Environment, Result
from app.records.selftest import SelfTest
from app.session.local_spec import DataSpec, VariantOrder
from app.session.parts import RunningVariant, Telemetry
from app.telemetry.clock import ClockReading


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
