"""What a self-test needs from the world: the parts of a run, each of which can be exchanged for one that lies."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from app.records.calibration import LoadKind
from app.records.events import Event
from app.records.result import Estimate
from app.session.parts import Load, NullServer, ScriptedTarget, Store
from app.storage.run_directory import StoredRun
from app.telemetry.clock import ClockReading
from app.telemetry.core_use import CoreUse
from loadgen.reference.script import Script


class SelfTestStore(Store, Protocol):
    @property
    def directory(self) -> Path: ...

    def append_event(self, event: Event) -> None: ...

    def close(self) -> None: ...


class SelfTestParts(msgspec.Struct, frozen=True):
    fingerprint: str
    start_load: Callable[[], Load]
    start_scripted: Callable[[Script], ScriptedTarget]
    start_null_server: Callable[[LoadKind], NullServer]
    read_core_use: Callable[[Collection[int]], CoreUse | None]
    distribution: Callable[[npt.NDArray[np.float64]], dict[str, Estimate]]
    """Percentiles by name, of values in the order of time."""
    open_store: Callable[[], SelfTestStore]
    """Of a directory that whoever gave these parts takes away."""
    open_run: Callable[[Path], StoredRun]
    read_clock: Callable[[], ClockReading]
    now_ns: Callable[[], int]
    wall_now: Callable[[], datetime.datetime]
