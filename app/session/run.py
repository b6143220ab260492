"""Execute a run against an endpoint, phase by phase. It prints nothing; progress is emitted as
events."""

from __future__ import annotations

import datetime
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING

import msgspec

from app.analysis.gpu_use import add_gpu_metrics
from app.analysis.headline import find_pooled_indices
from app.analysis.search import SearchOutcome
from app.errors import ExitCode, MeasurementError, SizewiseError, UnavailableError, UsageError
from app.records.calibration import LoadKind
from app.records.interrupted import InterruptedRun
from app.records.result import Check, Clock, Environment, Result, Stage, Window
from app.session.connection_demand import check_connection_demand, require_enough_connections
from app.session.control import CommandPoller
from app.session.dependencies import Emit, LoadGenerator, SessionDependencies
from app.session.generator_capacity import CapacityFinder, GeneratorCapacity
from app.session.idle_latency import IdleLatency, measure_idle_latency
from app.session.interruption import Interruption
from app.session.limits import LimitMonitor
from app.session.local.standalone import measure_standalone
from app.session.machine import MachineMonitor, measure_idle_window
from app.session.prompt_reuse import CounterReader, PromptReuseMonitor
from app.session.rate_search import find_max_rate
from app.session.reachability import ReachabilityMonitor
from app.session.replay import Replay
from app.session.result import (
    RunMeasurements,
    build_output_notes,
    build_result,
    build_sample_notes,
    build_session_notes,
    collect_notes,
    require_comparable_machine,
)
from app.session.run_log import RunLog
from app.session.spec import RunSpec
from app.session.stage_sequence import resolve_stages
from app.session.stages import StageRunner
from app.session.target import TargetRunner, WaitContext, classify_load_error
from app.session.warmup import warm_up
from app.session.worker_joining import build_join_callback
from loadgen.process import LoadError

if TYPE_CHECKING:
    import pandas as pd

_CALIBRATION_MESSAGES: dict[LoadKind, str] = {
    "plain": "calibrating the load generator",
    "streaming": "calibrating the load generator for streaming responses",
}


class RunOutcome(msgspec.Struct, frozen=True):
    """Result of a run, the same result as serialized text, and the telemetry. The request rows are
    in the store."""

    result: Result
    result_text: str
    telemetry: pd.DataFrame


def run(
    spec: RunSpec,
    dependencies: SessionDependencies,
    emit: Emit,
    interruption: Interruption,
    interrupted_run: InterruptedRun | None = None,
) -> RunOutcome:
    """Measure, evaluate and store one run. All started resources are closed, even after an error.

    With `interrupted_run`, the run continues after the last completed stage of the interrupted run,
    and the result covers the whole run. UsageError and UnavailableError are only raised before
    anything is measured; later failures become part of the result."""
    with ExitStack() as resources:
        return _Session(spec, dependencies, emit, interruption, resources, interrupted_run).execute()


class ResumeError(SizewiseError):
    """Error that is raised if a resumed run ends before it measures anything. The stored run
    remains interrupted."""

    def __init__(self, code: ExitCode | None) -> None:
        hint = "Retry with `sizewise runs resume`, or report the results so far with `sizewise report RUN --recover`."
        super().__init__("the run was not resumed", hint=hint)
        self.exit_code = code or ExitCode.INVALID


def _build_resumed_clock(clock: Clock, started_ns: int) -> Clock:
    """Return the clock record of a resumed run, with the start and duration of the whole run. The
    ratio of wall time to monotonic time is that of the resumed part."""
    earlier_duration = datetime.timedelta(microseconds=(clock.monotonic_start_ns - started_ns) / 1e3)
    return msgspec.structs.replace(
        clock,
        monotonic_start_ns=started_ns,
        wall_start=(datetime.datetime.fromisoformat(clock.wall_start) - earlier_duration).isoformat(timespec="seconds"),
        duration_s=clock.duration_s + earlier_duration.total_seconds(),
    )


class _Session:
    def __init__(
        self,
        spec: RunSpec,
        dependencies: SessionDependencies,
        emit: Emit,
        interruption: Interruption,
        resources: ExitStack,
        interrupted_run: InterruptedRun | None,
    ) -> None:
        self._spec, self._dependencies = spec, dependencies
        self._interrupted_run, self._replay = interrupted_run, Replay(interrupted_run, dependencies.now_ns)
        self._interruption, self._resources = interruption, resources
        self._run_log = RunLog(emit, dependencies.now_ns)
        wait_context = WaitContext(dependencies.now_ns, dependencies.pause, interruption)
        self._target_runner = TargetRunner(spec, dependencies, self._run_log, wait_context, resources)
        earlier_duration_ns = 0 if interrupted_run is None else interrupted_run.ended_ns - interrupted_run.started_ns
        self._limit_monitor = LimitMonitor(spec.limits, dependencies.now_ns() - earlier_duration_ns)
        self._prompt_reuse_monitor = PromptReuseMonitor(spec, self._run_log)
        self._counter_reader = CounterReader(spec, dependencies, interruption)
        self._start_clock = dependencies.read_clock()
        self._reachability = ReachabilityMonitor(self._start_clock.monotonic_ns)
        self._wall_start = dependencies.wall_now()
        self._standalone_stages: tuple[Stage, ...] = ()
        self._machine_monitor = MachineMonitor(
            dependencies, self._run_log, None if interrupted_run is None else dependencies.store.telemetry()
        )
        self._idle_window: Window | None = None
        self._runner: StageRunner | None = None
        self._search_outcome: SearchOutcome | None = None
        self._idle_latency = IdleLatency()
        self._steady_start_ns: int | None = None
        self._target_failure: str | None = None
        self._target_ended: str | None = None

    def execute(self) -> RunOutcome:
        command_poller = CommandPoller(
            self._dependencies.store,
            self._interruption,
            add_note=self._run_log.add_user_note,
            change_rate=self._change_rate,
            extend_stage=self._extend_stage,
        )
        with command_poller:
            if self._interrupted_run is not None:
                self._report_resumption(self._interrupted_run)
            self._machine_monitor.start(self._resources)
            environment = self._machine_monitor.inspect()
            if self._spec.baseline is not None:
                require_comparable_machine(self._spec, self._spec.baseline, environment)
            if environment.gpus and self._spec.is_local_target:
                self._idle_window = measure_idle_window(
                    self._run_log, self._dependencies.now_ns, self._dependencies.pause
                )
            self._measure_model()
            if self._may_measure:
                self._target_runner.start_built_in_server()
            if self._may_measure:
                self._measure(environment)
        return self._conclude(environment)

    def _report_resumption(self, interrupted_run: InterruptedRun) -> None:
        stage_count = len(interrupted_run.stages)
        gap_s = (self._dependencies.now_ns() - interrupted_run.ended_ns) / 1e9
        text = (
            f"after {stage_count} stage{'s' if stage_count > 1 else ''}, {gap_s:,.0f} s after the end of the last stage"
        )
        self._run_log.emit_phase("resume", f"resuming {text}")
        hint = "The target, its caches and this machine may have changed in between."
        self._run_log.add_check(Check("resumed_run", text, None, None, "WARN", hint))
        self._run_log.add_note(f"The run was interrupted and resumed {text}. The interrupted stage was measured again.")

    @property
    def _may_measure(self) -> bool:
        is_invalid = any(check.verdict == "INVALID" for check in self._run_log.checks)
        return not is_invalid and not self._interruption.is_requested

    def _change_rate(self, rate_per_s: float) -> str:
        if self._runner is None:
            raise UsageError("no stage is running")
        return self._runner.change_rate(rate_per_s)

    def _extend_stage(self, extension_s: float) -> str:
        if self._runner is None:
            raise UsageError("no stage is running")
        message = self._runner.extend_stage(extension_s)
        elapsed_s = (self._dependencies.now_ns() - self._start_clock.monotonic_ns) / 1e9
        self._run_log.add_note(f"The user changed the run {elapsed_s:.1f} s after the start: {message}.")
        return message

    def _measure_model(self) -> None:
        standalone_spec = self._spec.standalone_model
        if standalone_spec is None or self._interruption.is_requested:
            return
        self._run_log.emit_phase("model", "measuring the standalone model on this machine")
        try:
            standalone_result = measure_standalone(
                standalone_spec, self._dependencies, self._run_log, self._interruption
            )
        except MeasurementError as error:
            if not self._interruption.is_requested:
                self._run_log.add_check(Check("standalone_model", str(error), None, None, "WARN", error.hint))
            return
        self._standalone_stages = standalone_result.stages
        if standalone_result.provider_check.verdict == "INVALID":
            self._run_log.add_check(standalone_result.provider_check)

    def _measure(self, environment: Environment) -> None:
        try:
            generator = self._dependencies.start_load_generator(build_join_callback(self._run_log, self._interruption))
            self._resources.callback(generator.close)
            self._interruption.set_stop_callback(generator.stop)
            self._dependencies.telemetry.watch("generator", generator.pid)
            capacity = self._reach_target(generator, environment)
            self._prompt_reuse_monitor.on_preflight(self._target_runner.preflight)
            self._check_connection_demand(generator)
            self._runner = runner = self._build_runner(generator, capacity)
            self._measure_idle_latency(runner)
            has_load = bool(self._spec.stages) or self._idle_latency.may_search
            if has_load and runner.may_continue and self._spec.warmup_s > 0:
                self._run_log.emit_phase("warmup", "warming up until latency is stable")
                self._steady_start_ns = warm_up(runner, self._spec)
            self._counter_reader.start(self._target_runner.endpoint)
            self._prompt_reuse_monitor.on_load_start(self._counter_reader.samples)
            self._run_stages(runner)
            if self._spec.search is not None and self._idle_latency.may_search:
                self._run_log.emit_phase("search", "searching for the max rate within the SLO")
                timeouts = self._spec.endpoint.timeouts
                self._search_outcome = find_max_rate(
                    runner, self._spec.search, self._spec.slo, timeouts.total_s, self._replay.read_clock_ns
                )
            self._prompt_reuse_monitor.on_load_end(self._counter_reader.samples, runner.sent_by_stage)
        except LoadError as error:
            if self._runner is None and self._interruption.is_requested:
                return  # The user stopped the run, so a failed preflight request is irrelevant.
            has_measured = self._runner is not None and bool(self._runner.stage_data)
            self._target_failure = classify_load_error(error, has_measured=has_measured)
            if self._target_failure is None:
                self._run_log.add_check(Check("load_worker", error.message, None, None, "INVALID", error.hint))
        self._check_target_processes()

    def _measure_idle_latency(self, runner: StageRunner) -> None:
        """Before a search, find out whether the endpoint can meet the SLO without load."""
        if self._spec.search is None or not runner.may_continue:
            return
        self._run_log.emit_phase("idle latency", "sending a few requests one at a time")
        self._idle_latency = measure_idle_latency(runner, self._dependencies.store, self._spec)
        if self._idle_latency.unmet is not None:
            self._run_log.add_note(self._idle_latency.unmet.format_note())

    def _reach_target(self, generator: LoadGenerator, environment: Environment) -> GeneratorCapacity:
        """Send the preflight request to the target, configure the workers for the target, and
        return the capacity of the load generator.

        For a cold start, the load generator is calibrated before the target is started, because the
        calibration would otherwise delay the first response."""
        if not self._may_measure:
            return GeneratorCapacity()
        require_enough_connections(self._spec, self._target_runner.endpoint, generator, self._dependencies.local_limits)
        if self._target_runner.is_cold_start:
            capacity = self._calibrate(generator, environment)
            if self._may_measure:
                self._target_runner.send_cold_preflight(generator)
            return capacity
        self._target_runner.send_preflight(generator)
        return self._calibrate(generator, environment)

    def _check_connection_demand(self, generator: LoadGenerator) -> None:
        """Add checks of whether this machine has enough connections, file descriptors and ports for
        the load."""
        report = self._target_runner.preflight
        service_ms = None if report is None or self._target_runner.is_cold_start else report.service_ms
        service_s = None if service_ms is None else service_ms / 1e3
        checks, notes = check_connection_demand(
            self._spec, self._target_runner.endpoint, generator, self._dependencies.local_limits, service_s
        )
        for check in checks:
            self._run_log.add_check(check)
        for note in notes:
            self._run_log.add_note(note)

    def _calibrate(self, generator: LoadGenerator, environment: Environment) -> GeneratorCapacity:
        finder = CapacityFinder(self._dependencies, environment.fingerprint, self._interruption)
        capacity = finder.find(
            generator,
            self._spec.workload,
            is_forced=self._spec.recalibrate,
            is_machine_busy=self._machine_monitor.is_busy,
            on_measuring=lambda kind: self._run_log.emit_phase("calibrate", _CALIBRATION_MESSAGES[kind]),
        )
        if finder.has_measured:
            generator.configure(self._target_runner.endpoint, self._spec.workload)
        return capacity

    def _build_runner(self, generator: LoadGenerator, capacity: GeneratorCapacity) -> StageRunner:
        return StageRunner(
            generator,
            self._dependencies.store,
            self._run_log.emit,
            now_ns=self._dependencies.now_ns,
            slo=self._spec.slo,
            seed=self._spec.seed,
            limit_monitor=self._limit_monitor,
            interruption=self._interruption,
            capacity=capacity,
            workload=self._spec.workload,
            replay=self._replay,
            warm_up_again=self._warm_up_again,
            target_end_reason=self._target_runner.end_reason,
            counter_reader=self._counter_reader,
            reachability=self._reachability,
        )

    def _warm_up_again(self) -> None:
        if self._runner is not None and self._runner.may_continue and self._spec.warmup_s > 0:
            self._run_log.emit_phase("warmup", "warming up again until latency is stable")
            warm_up(self._runner, self._spec)

    def _run_stages(self, runner: StageRunner) -> None:
        if self._spec.stages and runner.may_continue:
            self._report_stages()
        for stage in resolve_stages(self._spec, runner, self._run_log, self._dependencies.now_ns):
            if not runner.may_continue:
                return
            runner.run(stage)

    def _report_stages(self) -> None:
        planned_stages = self._spec.stages
        text, has_no_search = (
            f"{len(planned_stages)} stage{'' if len(planned_stages) == 1 else 's'}",
            self._spec.search is None,
        )
        has_known_duration = has_no_search and all(stage.load.max_requests is None for stage in planned_stages)
        duration_s = sum(stage.load.total_duration_s for stage in planned_stages)
        self._run_log.emit_phase(
            "stages",
            text,
            stages=len(planned_stages) if has_no_search else None,
            stages_s=duration_s if has_known_duration else None,
        )

    def _check_target_processes(self) -> None:
        """Add a check if a process of the target has exited. Raises UnavailableError if the process
        exited before the first stage."""
        check = self._target_runner.check_processes()
        if check is None:
            return
        if self._runner is None or not self._runner.stage_data:
            raise UnavailableError(f"{check.value} before the measurement", hint=check.hint)
        self._run_log.add_check(check)
        self._target_ended, self._target_failure = str(check.value), None
        if self._search_outcome is not None and self._search_outcome.max_rate_per_s is None:
            self._search_outcome = msgspec.structs.replace(
                self._search_outcome, reason=f"{check.value} during the search"
            )

    def _conclude(self, environment: Environment) -> RunOutcome:
        self._run_log.emit_phase("report", "evaluating the SLO and writing the report")
        self._resources.close()
        runner = self._runner
        if runner is not None:
            runner.restore_remaining_stages()
        elif self._interrupted_run is not None:
            raise ResumeError(self._interruption.code)
        telemetry = self._machine_monitor.get_telemetry()
        stages = runner.summarize(telemetry) if runner else ()
        if environment.gpus and self._spec.is_local_target:
            stages = tuple(add_gpu_metrics(stage, telemetry, self._idle_window) for stage in stages)
        pooled_indices = find_pooled_indices(stages, self._search_outcome)
        measurements = RunMeasurements(
            environment=environment,
            standalone_stages=self._standalone_stages,
            stages=stages,
            pooled_stage=runner.pool(pooled_indices, telemetry) if runner and pooled_indices else None,
            search_outcome=self._search_outcome,
            idle_latency=self._idle_latency,
            checks=tuple(self._run_log.checks),
            lost_gpus=self._dependencies.telemetry.lost_gpus,
            telemetry=telemetry,
            start_clock=self._start_clock,
            end_clock=self._dependencies.read_clock(),
            wall_start=self._wall_start,
            stop_reason=self._limit_monitor.stop_reason,
            target_failure=self._target_failure,
            target_ended=self._target_ended,
            target_loss=None if self._target_ended is not None else self._reachability.format_loss(),
            interruption_code=self._interruption.code,
            cold_start=self._target_runner.compute_cold_start(self._steady_start_ns)
            if self._target_runner.is_cold_start
            else None,
            prefix_reuse=self._prompt_reuse_monitor.prefix_reuse,
            notes=collect_notes(
                self._spec.workload,
                (
                    *self._spec.notes,
                    *self._run_log.notes,
                    *self._prompt_reuse_monitor.build_notes(runner.sent if runner else 0),
                    *build_session_notes(stages),
                    *build_output_notes(stages),
                    *build_sample_notes(stages, self._spec.slo),
                ),
                runner.token_sources if runner else Counter(),
                self._run_log.user_notes,
            ),
        )
        result = self._machine_monitor.add_selftest(
            build_result(self._spec, measurements, self._dependencies.store.seal())
        )
        if self._interrupted_run is not None:
            result = msgspec.structs.replace(
                result, clock=_build_resumed_clock(result.clock, self._interrupted_run.started_ns)
            )
        result_text = self._dependencies.store.write_result(result)
        return RunOutcome(result, result_text, telemetry)
