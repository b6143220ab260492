"""A local run in virtual time: simulated variants and a real run directory, without processes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd

from app.analysis.objectives import parse_gate, parse_objective
from app.inference.job import (
    CallRows,
    Measure,
    MeasurementStarted,
    Outputs,
    ScoreText,
    SessionSettings,
    TextScored,
    VariantJob,
    VariantMeasured,
    VariantOpened,
    VariantScored,
)
from app.inference.parent import ChildKilledError
from app.inference.tensor_spec import TensorSpec
from app.records.calls import COLUMNS
from app.records.estimate import Variant
from app.records.events import Event
from app.records.local import Placement, Precision
from app.records.result import Target
from app.records.selftest import SelfTest
from app.session.interruption import Interruption
from app.session.local.run import run_locally
from app.session.local.spec import DataSpec, LocalDependencies, LocalSpec, PreparedModel, ScenarioSpec, VariantSpec
from app.session.run import RunOutcome
from app.session.spec import LimitSpec
from app.storage.run_directory import RunWriter, StoredRun
from app.telemetry.clock import ClockReading
from tests.fakes.clock import FakeClock
from tests.fakes.session_dependencies import ENVIRONMENT, NOON, SteadyTelemetry

WINDOW_CALLS = 250
CPU = "CPUExecutionProvider"


def order_of(batch: int = 1, *, provider: str = "cpu", precision: Precision = "as-is", streams: int = 1) -> VariantSpec:
    return VariantSpec(
        variant=Variant("m", provider, precision, batch, threads=1, streams=streams),
        model="/models/m.onnx",
        precision=precision,
        settings=SessionSettings(),
    )


def spec_of(*orders: VariantSpec, slo: tuple[str, ...] = (), gates: tuple[str, ...] = (), **more: Any) -> LocalSpec:
    plain = LocalSpec(
        run_id="r1",
        name="test",
        profile_hash="0" * 64,
        target=Target("local", (), "m", None),
        seed=7,
        variants=orders,
        scenarios=(ScenarioSpec("single-stream"),),
        data=DataSpec(),
        warmup_s=1.0,
        min_duration_s=0.5,
        max_duration_s=5.0,
        half_width=0.02,
        cold_starts=0,
        is_best_search=False,
        slo=tuple(map(parse_objective, slo)),
        gates=tuple(map(parse_gate, gates)),
        limits=LimitSpec(),
        memory_limit_bytes=None,
    )
    return msgspec.structs.replace(plain, **more)


class Script(msgspec.Struct, kw_only=True):
    """Behavior of variants, by label; the label of a reference is "the reference run of m"."""

    service_ms: Callable[[VariantJob], float] = lambda job: 1.0 + 0.5 * job.batch
    lag_ms: Callable[[Measure], float] = lambda plan: 0.0
    """How late each call of the measured part begins."""
    open_errors: Mapping[str, Exception] = {}
    measure_errors: Mapping[str, Exception] = {}
    """After the first window of the measured part."""
    provider_used: Mapping[str, str] = {}
    correct_rows: Mapping[str, int] = {}
    """Of 1,000 labelled rows, how many are; else 900."""
    on_window: Callable[[str, Measure], None] = lambda _what, _plan: None
    """Called during each scenario, once rows of the measured part were reported."""


class SimulatedVariant:
    pid = 4242

    def __init__(self, clock: FakeClock, script: Script, label: str, job: VariantJob) -> None:
        self.what, self.job = label, job
        self.started_ns = clock.now_ns
        self.is_killed = self.is_closed = False
        self._clock, self._script = clock, script

    def wait_until_open(self, timeout_s: float) -> VariantOpened:
        assert timeout_s > 0
        self._clock.advance(0.2)
        if (failure := self._script.open_errors.get(self.what)) is not None:
            raise failure
        used = self._script.provider_used.get(self.what, self.job.provider)
        return VariantOpened(
            start_ns=self.started_ns + 50_000_000,
            library_load_ms=60.0,
            session_build_ms=40.0,
            first_inference_ms=5.0,
            inputs=(TensorSpec("x", "float32", (-1, 3)),),
            outputs=(TensorSpec("y", "float32", (-1, 2)),),
            runtime_version="1.0",
            provider_used=used,
            provider_reason=None if used == self.job.provider else "it is not here",
            placements=(Placement("Gemm", CPU, 2, is_fallback=used != self.job.provider),),
        )

    def measure(self, plan: Measure, on_report: Callable[[MeasurementStarted | CallRows], None]) -> VariantMeasured:
        service_ns = round(self._script.service_ms(self.job) * 1e6)
        warm = simulated_calls(
            msgspec.structs.replace(plan, scenario="single-stream"), self._clock.now_ns, service_ns, 0.75
        )
        on_report(CallRows(warm.tobytes()))
        self._clock.now_ns = int(warm[:, -1].max())
        start_ns = self._clock.now_ns
        on_report(MeasurementStarted(start_ns=start_ns, warmup_windows=3, is_stationary=True))
        late_ns = round(self._script.lag_ms(plan) * 1e6)
        rows = simulated_calls(plan, start_ns, service_ns, plan.max_duration_s, late_ns)
        for window in np.split(rows, range(WINDOW_CALLS, len(rows), WINDOW_CALLS)):
            on_report(CallRows(window.tobytes()))
            self._clock.now_ns = max(self._clock.now_ns, int(window.max()))
            self._script.on_window(self.what, plan)
            if (failure := self._script.measure_errors.get(self.what)) is not None:
                raise failure
            if self.is_killed:
                raise ChildKilledError(f"{self.what} was killed, possibly out of memory")
        end_ns = start_ns + round(plan.max_duration_s * 1e9) if plan.scenario == "server" else self._clock.now_ns
        return VariantMeasured(end_ns=end_ns, half_width=0.001, peak_memory_bytes=2**30, fidelity=None)

    def compute_outputs(self, rows: int, timeout_s: float) -> Outputs:
        assert timeout_s > 0
        outputs = np.zeros((rows, 2), np.float32)
        return Outputs(dtype="float32", shape=outputs.shape, content=outputs.tobytes())

    def score(self, timeout_s: float) -> VariantScored:
        assert timeout_s > 0
        scores = (np.arange(1000) < self._script.correct_rows.get(self.what, 900)).astype(np.float64)
        return VariantScored(metric="top-1", scores=scores.tobytes())

    def score_text(self, command: ScoreText, timeout_s: float) -> TextScored:
        raise AssertionError("the fake is no language model")

    def kill(self) -> None:
        self.is_killed = True

    def close(self) -> None:
        self.is_closed = True


def simulated_calls(
    plan: Measure, start_ns: int, service_ns: int, seconds: float, late_ns: int = 0
) -> npt.NDArray[np.int64]:
    """Rows of calls that take `service_ns`, and one in ten 1 % longer: calls of one stream, of multi-stream queries
    with equal streams, of parallel streams, or of evenly spaced arrivals; the last ones may never be started."""
    rows = _calls_from_zero(plan, service_ns, round(seconds * 1e9), late_ns).copy()
    times = rows[:, 2:]
    times[times >= 0] += start_ns
    return rows


@functools.lru_cache(maxsize=64)
def _calls_from_zero(plan: Measure, service_ns: int, lasts_ns: int, late_ns: int) -> npt.NDArray[np.int64]:
    return np.array(list(_calls(plan, 0, service_ns, lasts_ns, late_ns)), np.int64).reshape(-1, len(COLUMNS))


def _calls(plan: Measure, start_ns: int, service_ns: int, lasts_ns: int, late_ns: int) -> Iterator[tuple[int, ...]]:
    free_ns, number = [start_ns] * plan.streams, 0
    streams = 1 if plan.scenario == "single-stream" else plan.streams
    while True:
        for stream in range(streams):
            takes_ns = service_ns + (service_ns // 100 if number % 10 == 0 else 0)
            query, due_ns = (number, -1) if plan.scenario != "multi-stream" else (number // streams, free_ns[stream])
            if plan.rate_per_s is not None:
                due_ns = start_ns + round(number / plan.rate_per_s * 1e9)
            begin_ns = max(free_ns[stream], due_ns) + late_ns
            is_over = (due_ns if plan.rate_per_s is not None else begin_ns) >= start_ns + lasts_ns
            if is_over:
                return
            if plan.rate_per_s is not None and begin_ns > start_ns + 1.5 * lasts_ns:  # its call is never started
                yield number, -1, due_ns, -1, -1, -1, -1, -1, -1
                number += 1
                continue
            done_ns = begin_ns + takes_ns
            yield query, stream, due_ns, begin_ns, begin_ns, -1, done_ns, -1, done_ns
            free_ns[stream], number = done_ns, number + 1
        if plan.scenario == "multi-stream":
            free_ns = [max(free_ns)] * plan.streams


class LocalBench:
    """`started` are the variants that `run` started, in order; `events` are all reported events."""

    def __init__(self, directory: Path, script: Script | None = None) -> None:
        self.clock = FakeClock()
        self.directory = directory
        self.script = script or Script()
        self.events: list[Event] = []
        self.started: list[SimulatedVariant] = []
        self.interruption = Interruption()
        self.telemetry = SteadyTelemetry(self.clock)
        self.cached_model_path: str | None = None
        self.selftests: dict[str, SelfTest] = {}

    def run(self, spec: LocalSpec) -> RunOutcome:
        with RunWriter(self.directory) as store:
            return run_locally(spec, self.parts(store), self.events.append, self.interruption)

    def parts(self, store: RunWriter) -> LocalDependencies:
        return LocalDependencies(
            inspect_machine=lambda: (ENVIRONMENT, ()),
            prepare_model=lambda order, _: PreparedModel(order.model, "0" * 64, 1000, self.cached_model_path),
            start_variant=self._start,
            compute_cost=lambda _path, _batch, _axes: None,
            find_peaks=lambda _order, _environment, _size, _type: None,
            read_gpu_memory_gib=dict,
            find_foreign_processes=lambda _running, _ours: (),
            telemetry=self.telemetry,
            store=store,
            read_clock=lambda: ClockReading(self.clock.now_ns, 10**18 + self.clock.now_ns, self.clock.now_ns),
            now_ns=self.clock,
            wall_now=lambda: NOON,
            pause=self.clock.advance,
            load_selftest=self.selftests.get,
        )

    def _start(self, label: str, job: VariantJob, _: tuple[tuple[str, str], ...]) -> SimulatedVariant:
        variant = SimulatedVariant(self.clock, self.script, label, job)
        self.started.append(variant)
        return variant

    @property
    def names(self) -> list[str]:
        return [variant.what for variant in self.started]

    def rows(self) -> pd.DataFrame:
        rows: pd.DataFrame = StoredRun(self.directory).calls().to_pandas()
        return rows

    def reported(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]
