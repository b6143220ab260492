"""Run stages as in a real run, but against servers with scripted response times. Also define the
dependencies of a self-test.

Each dependency can be replaced by a faulty implementation, to test the self-test itself."""

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
from app.session.dependencies import LoadGenerator, NullServer, ScriptedTarget, Store
from app.session.generator_capacity import GeneratorCapacity
from app.session.interruption import Interruption
from app.session.limits import LimitMonitor
from app.session.spec import ResolvedStage
from app.session.stages import StageRunner
from app.storage.run_directory import StoredRun
from app.telemetry.clock import ClockReading
from app.telemetry.processes import CoreUsage
from loadgen.records import Endpoint, OpenArrivals, StageLoad
from loadgen.reference.script import Script
from loadgen.workloads import HttpWorkload


class SelfTestStore(Store, Protocol):
    """Storage of a self-test in a run directory."""

    @property
    def directory(self) -> Path: ...

    def append_event(self, event: Event) -> None: ...

    def close(self) -> None: ...


class SelfTestDependencies(msgspec.Struct, frozen=True):
    """External dependencies of a self-test."""

    fingerprint: str
    start_load_generator: Callable[[], LoadGenerator]
    start_scripted: Callable[[Script], ScriptedTarget]
    start_null_server: Callable[[LoadKind], NullServer]
    read_core_use: Callable[[Collection[int]], CoreUsage | None]
    estimate_percentiles: Callable[[npt.NDArray[np.float64]], dict[str, Estimate]]
    """Return the estimate of each percentile by name, given values in chronological order."""
    open_store: Callable[[], SelfTestStore]
    """Create a run directory that is deleted after the self-test, and return its store."""
    open_run: Callable[[Path], StoredRun]
    read_clock: Callable[[], ClockReading]
    now_ns: Callable[[], int]
    wall_now: Callable[[], datetime.datetime]


LEAD_IN_S = 0.5
"""Duration of the lead-in of a stage in s. During the lead-in, the first requests open connections
and new workers load code."""
_MAX_DRAIN_S = 5.0
_WORKLOAD = HttpWorkload()


class SelfTestBench:
    """Runner of stages against servers with scripted response times. The request rows of all stages
    are in the store."""

    def __init__(
        self,
        dependencies: SelfTestDependencies,
        generator: LoadGenerator,
        store: SelfTestStore,
        limit_monitor: LimitMonitor,
        interruption: Interruption,
    ) -> None:
        self._dependencies, self._generator = dependencies, generator
        self._runner = StageRunner(
            generator,
            store,
            store.append_event,
            now_ns=dependencies.now_ns,
            slo=(),
            seed=1,
            limit_monitor=limit_monitor,
            interruption=interruption,
            capacity=GeneratorCapacity(),
            workload=_WORKLOAD,
        )

    @property
    def sent(self) -> int:
        return self._runner.sent

    def measure(
        self, name: str, script: Script, rate_per_s: float, duration_s: float, *, connections: int = 2048
    ) -> Stage:
        """Run one stage with evenly spaced arrivals against a scripted server, and return its
        results.

        Times in `script` are measured from the first request, which is sent `LEAD_IN_S` before the
        measurement window. Raises loadgen.process.LoadError if the workers fail, and
        MeasurementError if the server does not start."""
        server = self._dependencies.start_scripted(script)
        try:
            self._generator.configure(Endpoint((server.url,), max_connections=connections), _WORKLOAD)
            stage = ResolvedStage(
                name=name,
                kind="steady",
                load=StageLoad(OpenArrivals("constant", ((0.0, rate_per_s),)), duration_s, lead_in_s=LEAD_IN_S),
                drain_s=_MAX_DRAIN_S,
            )
            return self._runner.run(stage)
        finally:
            server.close()


def get_metric_value(stage: Stage, metric: str, aggregate: str) -> float | None:
    """Return the value of one aggregate of a metric; `None` if the value is withheld."""
    return stage.metrics[metric][aggregate].value
