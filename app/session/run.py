"""One run, phase by phase. It prints nothing: whatever happens is told as an event."""

from __future__ import annotations

import math
import os
from contextlib import ExitStack

import msgspec
import pandas as pd
import pyarrow as pa

from app.analysis.objectives import samples_needed
from app.analysis.search import RateSearch, SearchOutcome
from app.analysis.validity import provider_check
from app.analysis.warmup import has_settled
from app.errors import InstrumentError
from app.records import events
from app.records.calibration import Calibration
from app.records.result import Check, Environment, Objective, Result, Stage
from app.records.telemetry import TELEMETRY_SCHEMA
from app.session.calibration import calibrate
from app.session.interruption import Interruption
from app.session.limits import LimitWatch
from app.session.local_model import local_provider_check, local_stages
from app.session.outcome import Measured, conclude, holds_of_the_answer
from app.session.parts import Emit, Load, Parts, ServedEndpoint
from app.session.preflight import failure_of_target, require_reachable
from app.session.spec import RunSpec, SearchSpec
from app.session.stages import StageOrder, StageRunner
from loadgen.process import LoadError
from loadgen.records import Endpoint, OipWorkload

_WARMUP_WINDOWS = 6
_PROBE_DRAIN_S = 3.0
_INSTRUMENT_RETRIES = 3


class RunOutcome(msgspec.Struct, frozen=True):
    result: Result
    result_text: str
    rows: pd.DataFrame
    telemetry: pd.DataFrame


def run(spec: RunSpec, parts: Parts, emit: Emit, interruption: Interruption) -> RunOutcome:
    """Measure, judge and store one run; every part that was started is closed, however it ends.

    Raises UsageError and UnavailableError before anything was measured; what goes wrong later ends in the result.
    """
    with ExitStack() as parts_running:
        return _Session(spec, parts, emit, interruption, parts_running).execute()


class _Session:
    def __init__(
        self, spec: RunSpec, parts: Parts, emit: Emit, interruption: Interruption, parts_running: ExitStack
    ) -> None:
        self._spec, self._parts, self._emit = spec, parts, emit
        self._interruption, self._parts_running = interruption, parts_running
        self._limits = LimitWatch(spec.limits, parts.now_ns())
        self._started = parts.read_clock()
        self._wall_start = parts.wall_now()
        self._checks: list[Check] = []
        self._local: tuple[Stage, ...] = ()
        self._telemetry: list[pa.RecordBatch] = []
        self._search: SearchOutcome | None = None
        self._target_failure: str | None = None

    def execute(self) -> RunOutcome:
        environment = self._inspect()
        self._start_telemetry()
        self._measure_model()
        runner: StageRunner | None = None
        if self._may_measure:
            endpoint = self._start_endpoint()
            runner = self._measure(environment, endpoint) if self._may_measure else None
        return self._conclude(environment, runner)

    @property
    def _may_measure(self) -> bool:
        is_invalid = any(check.verdict == "INVALID" for check in self._checks)
        return not is_invalid and not self._interruption.is_requested

    def _phase(self, phase: str, message: str) -> None:
        self._emit(events.PhaseChanged(at_ns=self._parts.now_ns(), phase=phase, message=message))

    def _note(self, check: Check) -> None:
        self._checks.append(check)
        self._emit(events.Checked(at_ns=self._parts.now_ns(), check=check))

    def _inspect(self) -> Environment:
        self._phase("doctor", "looking at this machine")
        environment, checks = self._parts.inspect_machine()
        self._parts.store.write_environment(environment)
        for check in checks:
            self._note(check)
        return environment

    def _start_telemetry(self) -> None:
        def keep(batch: pa.RecordBatch) -> None:
            self._telemetry.append(batch)
            self._parts.store.append_telemetry(batch)

        self._parts.telemetry.start(keep)
        self._parts.telemetry.watch("engine", os.getpid())
        self._parts_running.callback(self._close_telemetry)

    def _close_telemetry(self) -> None:
        try:
            self._parts.telemetry.close()
        except Exception as error:  # whatever befell the sampler, the requests were measured
            self._note(Check("telemetry", f"ended early: {error}", None, None, "WARN", "Utilisation is incomplete."))

    def _measure_model(self) -> None:
        if self._parts.measure_model is None or self._interruption.is_requested:
            return
        self._phase("model", "measuring the model alone on this machine")
        try:
            measurement = self._parts.measure_model()
        except InstrumentError as error:
            self._note(Check("model alone", str(error), None, None, "WARN", error.hint))
            return
        self._local = local_stages(measurement)
        check = local_provider_check(measurement)
        if check.verdict == "INVALID":
            self._note(check)

    def _start_endpoint(self) -> Endpoint:
        if self._parts.start_endpoint is None:
            return self._spec.endpoint
        self._phase("endpoint", "starting the embedded endpoint")
        served: ServedEndpoint = self._parts.start_endpoint()
        self._parts_running.callback(served.stop)
        self._parts.telemetry.watch("endpoint", served.pid)
        ready = served.ready
        if not any(check.check == "provider" for check in self._checks):
            self._note(
                provider_check(
                    ready.provider_requested, ready.provider_used, ready.nodes_elsewhere, ready.provider_reason
                )
            )
        return msgspec.structs.replace(self._spec.endpoint, urls=(ready.url,))

    def _measure(self, environment: Environment, endpoint: Endpoint) -> StageRunner | None:
        runner: StageRunner | None = None
        try:
            load = self._parts.start_load()
            self._parts_running.callback(load.close)
            self._interruption.attach(load.stop)
            self._parts.telemetry.watch("generator", load.pid)
            self._preflight(load, endpoint)
            calibration = self._calibrate(load, environment)
            load.configure(endpoint, self._spec.workload)
            runner = self._runner(load, calibration)
            self._warm_up(runner)
            self._run_stages(runner)
            if self._spec.search is not None:
                self._find_max_rate(runner, self._spec.search)
        except LoadError as error:
            self._target_failure = failure_of_target(error, has_measured=runner is not None and bool(runner.facts))
            if self._target_failure is None:
                self._note(Check("load worker", error.message, None, None, "INVALID", error.hint))
        return runner

    def _preflight(self, load: Load, endpoint: Endpoint) -> None:
        self._phase("preflight", f"sending one request to {endpoint.urls[0]}")
        load.configure(endpoint, self._spec.workload)
        require_reachable(load.preflight(), endpoint.urls[0])

    def _calibrate(self, load: Load, environment: Environment) -> Calibration:
        known = self._parts.load_calibration(environment.fingerprint, self._parts.wall_now())
        if known is None or self._spec.recalibrate:
            self._phase("calibrate", "finding the most this generator can send")
            known = calibrate(
                self._parts.start_null_server(),
                load,
                fingerprint=environment.fingerprint,
                wall_now=self._parts.wall_now,
                interruption=self._interruption,
            )
            if not self._interruption.is_requested:
                self._parts.store_calibration(known)
        if not self._interruption.is_requested:
            self._parts.store.write_calibration(known)
        return known

    def _runner(self, load: Load, calibration: Calibration) -> StageRunner:
        workload = self._spec.workload
        return StageRunner(
            load,
            self._parts.store,
            self._emit,
            now_ns=self._parts.now_ns,
            slo=self._spec.slo,
            seed=self._spec.seed,
            limits=self._limits,
            interruption=self._interruption,
            ceiling_per_s=calibration.ceiling_per_s,
            rows_per_request=workload.rows_per_request if isinstance(workload, OipWorkload) else 1,
        )

    def _warm_up(self, runner: StageRunner) -> None:
        """Equal windows at the first rate until three medians in a row agree; they stay in the facts as warm-up."""
        first_rate = self._spec.search.start_per_s if self._spec.search else self._spec.stages[0].rate_per_s
        arrivals = self._spec.search.arrivals if self._spec.search else self._spec.stages[0].arrivals
        if self._spec.warmup_s <= 0:
            return
        self._phase("warmup", "warming up until three windows agree")
        medians: list[float] = []
        for repeat in range(1, _WARMUP_WINDOWS + 1):
            if not runner.may_go_on or has_settled(medians):
                return
            order = StageOrder("warm-up", "warmup", repeat, arrivals, first_rate, self._spec.warmup_s / 3, 1.0)
            stage = runner.run(order)
            median = stage.metrics.get("service_ms", {}).get("p50")
            if median is not None and median.value is not None:
                medians.append(median.value)

    def _run_stages(self, runner: StageRunner) -> None:
        if self._spec.stages:
            self._phase("stages", f"{len(self._spec.stages)} stage(s)")
        drain_s = self._spec.endpoint.timeouts.total_s
        for stage in self._spec.stages:
            if not runner.may_go_on:
                return
            runner.run(
                StageOrder(
                    stage.name, stage.kind, stage.repeat, stage.arrivals, stage.rate_per_s, stage.duration_s, drain_s
                )
            )

    def _find_max_rate(self, runner: StageRunner, wanted: SearchSpec) -> None:
        self._phase("search", "searching the highest rate that holds the SLO")
        search = RateSearch(start_per_s=wanted.start_per_s, repeats=wanted.repeats)
        retries = _INSTRUMENT_RETRIES
        while (probe := search.next()) is not None and runner.may_go_on:
            order = StageOrder(
                name=f"{probe.kind} {probe.rate_per_s:.4g}/s",
                kind=probe.kind,
                repeat=probe.repeat,
                arrivals=wanted.arrivals,
                rate_per_s=probe.rate_per_s,
                duration_s=hold_s(wanted.hold_s, probe.rate_per_s, self._spec.slo),
                drain_s=min(_PROBE_DRAIN_S, self._spec.endpoint.timeouts.total_s),
                ends_when_saturated=True,
            )
            stage = runner.run(order)
            if not runner.may_go_on:
                break  # cut short by the user or a limit: it says nothing about the rate
            if stage.verdict.status == "INVALID" and retries > 0:
                retries -= 1  # the instrument was disturbed: the same rate again
                continue
            search.record(probe, bool(stage.held))
        self._search = search.outcome()

    def _conclude(self, environment: Environment, runner: StageRunner | None) -> RunOutcome:
        self._phase("report", "judging and storing the result")
        self._parts_running.close()
        telemetry = pa.Table.from_batches(self._telemetry, TELEMETRY_SCHEMA).to_pandas()
        stages = runner.summarise(telemetry) if runner else ()
        holds = holds_of_the_answer(stages, self._search)
        rows = pd.concat(runner.rows, ignore_index=True) if runner and runner.rows else pd.DataFrame()
        measured = Measured(
            environment=environment,
            local=self._local,
            stages=stages,
            pooled=runner.pool(holds, telemetry) if runner and holds else None,
            search=self._search,
            checks=tuple(self._checks),
            lost_gpus=self._parts.telemetry.lost_gpus,
            telemetry=telemetry,
            started=self._started,
            ended=self._parts.read_clock(),
            wall_start=self._wall_start,
            limit_reached=self._limits.reached,
            target_failure=self._target_failure,
            interrupted=self._interruption.code,
        )
        result = conclude(self._spec, measured, self._parts.store.seal())
        text = self._parts.store.write_result(result)
        return RunOutcome(result, text, rows, telemetry)


def hold_s(wanted_s: float, rate_per_s: float, slo: tuple[Objective, ...]) -> float:
    """At least what is wanted, and so long that Poisson arrivals are enough for the SLO's percentiles.

    Four standard deviations more than needed: a percentile withheld for want of samples would fail a good rate.
    """
    needed = samples_needed(slo)
    return max(wanted_s, (needed + 4 * math.sqrt(needed)) / rate_per_s)
