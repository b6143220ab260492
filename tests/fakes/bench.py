"""A whole session in virtual time, and the specs that its tests start from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pandas as pd

from app.analysis.objectives import parse_objective
from app.records.events import Event
from app.records.result import Check, Target
from app.records.search import SearchSpec
from app.session.interruption import Interruption
from app.session.run import RunOutcome, run
from app.session.spec import LimitSpec, RunSpec, StageSpec
from app.storage.run_directory import RunWriter, StoredRun
from loadgen.records import Endpoint, OpenArrivals, StageLoad
from loadgen.workloads import HttpWorkload
from tests.fakes.clock import FakeClock
from tests.fakes.load import ScriptedLoad
from tests.fakes.session_dependencies import SteadyTelemetry, fake_dependencies

SERVICE_S = 0.004
"""Service time of the one server, in s: it sustains at most 250 req/s."""


def poisson(rate_per_s: float) -> OpenArrivals:
    return OpenArrivals("poisson", ((0.0, rate_per_s),))


SPEC = RunSpec(
    run_id="r1",
    name="test",
    profile_hash="0" * 64,
    target=Target("http", ("http://127.0.0.1:1/",), None, None),
    endpoint=Endpoint(("http://127.0.0.1:1/",)),
    workload=HttpWorkload(),
    seed=7,
    warmup_s=0,
    stages=(StageSpec("steady", "steady", StageLoad(poisson(100.0), 10.0)),),
    search=None,
    slo=(parse_objective("latency_ms.p95 < 50"), parse_objective("error_rate < 0.1%")),
    gates=(),
    limits=LimitSpec(),
    plan=None,
    recalibrate=False,
)
SEARCH = msgspec.structs.replace(
    SPEC, stages=(), search=SearchSpec(start_per_s=20.0, step_duration_s=30.0, max_duration_s=None)
)


class Bench:
    def __init__(self, directory: Path) -> None:
        self.clock = FakeClock()
        self.directory = directory
        self.events: list[Event] = []
        self.interruption = Interruption()
        self.telemetry = SteadyTelemetry(self.clock)

    def run(self, spec: RunSpec, load: ScriptedLoad | None = None, **parts: Any) -> RunOutcome:
        self.load = load or ScriptedLoad(self.clock, service_s=SERVICE_S)
        with RunWriter(self.directory) as store:
            built = fake_dependencies(self.clock, self.load, store, telemetry=self.telemetry, **parts)
            return run(spec, built, self.events.append, self.interruption)

    def rows(self) -> pd.DataFrame:
        rows: pd.DataFrame = StoredRun(self.directory).requests().to_pandas()
        return rows

    def reported(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


def check_of(outcome: RunOutcome, name: str) -> Check | None:
    return next((check for check in outcome.result.validity if check.id == name), None)
