"""Stages as in a real run, on servers with known timings, and the dependencies of a self-test.

Each dependency can be replaced by a faulty one to test the self-test itself.
"""

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
from app.records.result import Estimate, Stage
from app.session.dependencies import Load, NullServer, ScriptedTarget, Store
from app.session.generator_capacity import GeneratorCapacity
from app.session.interruption import Interruption
from app.session.limits import LimitMonitor
from app.session.spec import ResolvedStage
from app.session.stages import StageRunner
from app.storage.run_directory import StoredRun
from app.telemetry.clock import ClockReading
from app.telemetry.processes import CoreUse
from loadgen.records import Endpoint, OpenArrivals
from loadgen.reference.script import Script
from loadgen.workloads import HttpWorkload


class SelfTestStore(Store, Protocol):
    """Run directory of a self-test."""

    @property
    def directory(self) -> Path: ...

    def append_event(self, event: Event) -> None: ...

    def close(self) -> None: ...


class SelfTestDependencies(msgspec.Struct, frozen=True):
    """Dependencies of a self-test."""

    fingerprint: str
    start_load: Callable[[], Load]
    start_scripted: Callable[[Script], ScriptedTarget]
    start_null_server: Callable[[LoadKind], NullServer]
    read_core_use: Callable[[Collection[int]], CoreUse | None]
    estimate_percentiles: Callable[[npt.NDArray[np.float64]], dict[str, Estimate]]
    """Return estimates of percentiles by name, for values in time order."""
    open_store: Callable[[], SelfTestStore]
    """Open a run directory, which the provider of these dependencies deletes afterwards."""
    open_run: Callable[[Path], StoredRun]
    read_clock: Callable[[], ClockReading]
    now_ns: Callable[[], int]
    wall_now: Callable[[], datetime.datetime]


LEAD_IN_S = 0.5
"""Lead-in of a stage in seconds. The first requests open connections, and those of a new worker load code."""
_DRAIN_S = 5.0
_WORKLOAD = HttpWorkload()


class Bench:
    """Runs stages against servers with known timings. The rows of all stages are in the store."""

    def __init__(
        self,
        parts: SelfTestDependencies,
        load: Load,
        store: SelfTestStore,
        limits: LimitMonitor,
        interruption: Interruption,
    ) -> None:
        self._parts, self._load = parts, load
        self._runner = StageRunner(
            load,
            store,
            store.append_event,
            now_ns=parts.now_ns,
            slo=(),
            seed=1,
            limits=limits,
            interruption=interruption,
            ceilings=GeneratorCapacity(),
            workload=_WORKLOAD,
        )

    @property
    def sent(self) -> int:
        return self._runner.sent

    def measure(
        self, name: str, script: Script, rate_per_s: float, duration_s: float, *, connections: int = 2048
    ) -> Stage:
        """Run one stage with evenly spaced arrivals.

        The times of `script` count from the first request, which is sent `LEAD_IN_S` before the stage.

        Raises loadgen.process.LoadError, and InstrumentError if the server does not start.
        """
        server = self._parts.start_scripted(script)
        try:
            self._load.configure(Endpoint((server.url,), max_connections=connections), _WORKLOAD)
            order = ResolvedStage(
                name=name,
                kind="steady",
                arrivals=OpenArrivals("constant", ((0.0, rate_per_s),)),
                duration_s=duration_s,
                lead_in_s=LEAD_IN_S,
                drain_s=_DRAIN_S,
            )
            return self._runner.run(order)
        finally:
            server.close()


def metric_value(stage: Stage, metric: str, aggregate: str) -> float | None:
    """Return the measured value of a metric's aggregate, or `None`."""
    return stage.metrics[metric][aggregate].value
