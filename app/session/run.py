"""One endpoint run, phase by phase. It prints nothing: everything that happens is emitted as an event."""

from __future__ import annotations

import datetime
from collections import Counter
from contextlib import ExitStack

import msgspec
import pandas as pd

from app.analysis.gpu_use import add_gpu_metrics
from app.analysis.headline import accepted_hold_indices
from app.analysis.search import SearchOutcome
from app.errors import ExitCode, MeasurementError, SizewiseError, UnavailableError, UsageError
from app.records.calibration import LoadKind
from app.records.interrupted import InterruptedRun
from app.records.result import Check, Clock, Environment, Result, Stage, Window
from app.session.connection_demand import capacity_checks, require_capacity, timeout_notes
from app.session.control import CommandPoller
from app.session.dependencies import Emit, Load, SessionDependencies
from app.session.generator_capacity import CapacityFinder, GeneratorCapacity
from app.session.interruption import Interruption
from app.session.limits import LimitMonitor
from app.session.local.standalone import measure_standalone
from app.session.machine import MachineMonitor, measure_idle_baseline
from app.session.prompt_reuse import PromptReuseMonitor
from app.session.rate_search import find_max_rate
from app.session.replay import Replay
from app.session.result import RunMeasurements, build_result, collect_notes, require_comparable_machine
from app.session.run_log import RunLog
from app.session.spec import RunSpec
from app.session.stage_sequence import resolve_stages
from app.session.stages import StageRunner
from app.session.target import TargetRunner, WaitContext, classify_load_error
from app.session.warmup import warm_up
from app.session.worker_joining import worker_join_callback
from loadgen.process import LoadError

_CALIBRATION_MESSAGES: dict[LoadKind, str] = {
    "plain": "calibrating the load generator",
    "streaming": "calibrating the load generator for streaming responses",
}


class RunOutcome(msgspec.Struct, frozen=True):
    """Result of a run with its serialized form and telemetry; the rows are in the store."""

    result: Result
    result_text: str
    telemetry: pd.DataFrame


def run(
    spec: RunSpec,
    parts: SessionDependencies,
    emit: Emit,
    interruption: Interruption,
    interrupted: InterruptedRun | None = None,
) -> RunOutcome:
    """Measure, evaluate and store one run, and close every resource that was started, however it ends.

    With `interrupted`, continue after the last stage that it measured; the result covers the whole run.

    Raises UsageError and UnavailableError before anything is measured; later failures become part of the result.
    """
    with ExitStack() as parts_running:
        return _Session(spec, parts, emit, interruption, parts_running, interrupted).execute()


class ResumeError(SizewiseError):
    """Raised when a resumed run ends before it can continue. The stored run remains interrupted as before."""

    def __init__(self, code: ExitCode | None) -> None:
        hint = "Retry with `sizewise runs resume`, or report the results so far with `sizewise report RUN --recover`."
        super().__init__("the run was not resumed", hint=hint)
        self.exit_code = code or ExitCode.INVALID


def _resumed_clock(clock: Clock, started_ns: int) -> Clock:
    """Return the clock of a resumed run, counted from its first start. The clock ratio is that of the resumed part."""
    before = datetime.timedelta(microseconds=(clock.monotonic_start_ns - started_ns) / 1e3)
    return msgspec.structs.replace(
        clock,
        monotonic_start_ns=started_ns,
        wall_start=(datetime.datetime.fromisoformat(clock.wall_start) - before).isoformat(timespec="seconds"),
        duration_s=clock.duration_s + before.total_seconds(),
    )


class _Session:
    def __init__(
        self,
        spec: RunSpec,
        parts: SessionDependencies,
        emit: Emit,
        interruption: Interruption,
        parts_running: ExitStack,
        interrupted: InterruptedRun | None,
    ) -> None:
        self._spec, self._parts = spec, parts
        self._interrupted, self._replay = interrupted, Replay(interrupted, parts.now_ns)
        self._interruption, self._parts_running = interruption, parts_running
        self._telling = RunLog(emit, parts.now_ns)
        waiting = WaitContext(parts.now_ns, parts.pause, interruption)
        self._target = TargetRunner(spec, parts, self._telling, waiting, parts_running)
        before_ns = 0 if interrupted is None else interrupted.ended_ns - interrupted.started_ns
        self._limits = LimitMonitor(spec.limits, parts.now_ns() - before_ns)
        self._practice = PromptReuseMonitor(spec, parts, self._telling, interruption)
        self._started = parts.read_clock()
        self._wall_start = parts.wall_now()
        self._local: tuple[Stage, ...] = ()
        self._machine = MachineMonitor(parts, self._telling, None if interrupted is None else parts.store.telemetry())
        self._idle: Window | None = None
        self._runner: StageRunner | None = None
        self._search: SearchOutcome | None = None
        self._steady_ns: int | None = None
        self._target_failure: str | None = None
        self._target_ended: str | None = None

    def execute(self) -> RunOutcome:
        control = CommandPoller(
            self._parts.store,
            self._interruption,
            add_note=self._telling.add_user_note,
            change_rate=self._change_rate,
            extend=self._extend,
        )
        with control:
            if self._interrupted is not None:
                self._report_resumption(self._interrupted)
            self._machine.start(self._parts_running)
            environment = self._machine.inspect()
            require_comparable_machine(self._spec, environment)
            if environment.gpus and self._spec.is_local_target:
                self._idle = measure_idle_baseline(self._telling, self._parts.now_ns, self._parts.pause)
            self._measure_model()
            if self._may_measure:
                self._target.start_built_in()
            if self._may_measure:
                self._measure(environment)
        return self._conclude(environment)

    def _report_resumption(self, interrupted: InterruptedRun) -> None:
        stages = len(interrupted.stages)
        after_s = (self._parts.now_ns() - interrupted.ended_ns) / 1e9
        text = f"after {stages} stage{'s' if stages > 1 else ''}, {after_s:,.0f} s after the last one ended"
        self._telling.emit_phase("resume", f"resuming {text}")
        hint = "The target, its caches and this machine may have changed in between."
        self._telling.add_check(Check("resumed_run", text, None, None, "WARN", hint))
        self._telling.add_note(f"The run was interrupted and resumed {text}. The interrupted stage was measured again.")

    @property
    def _may_measure(self) -> bool:
        is_invalid = any(check.verdict == "INVALID" for check in self._telling.checks)
        return not is_invalid and not self._interruption.is_requested

    def _change_rate(self, rate_per_s: float) -> str:
        if self._runner is None:
            raise UsageError("no stage is running")
        return self._runner.change_rate(rate_per_s)

    def _extend(self, by_s: float) -> str:
        if self._runner is None:
            raise UsageError("no stage is running")
        message = self._runner.extend(by_s)
        at_s = (self._parts.now_ns() - self._started.monotonic_ns) / 1e9
        self._telling.add_note(f"User action {at_s:.1f} s after the start: {message}.")
        return message

    def _measure_model(self) -> None:
        standalone = self._spec.standalone_model
        if standalone is None or self._interruption.is_requested:
            return
        self._telling.emit_phase("model", "measuring the standalone model on this machine")
        try:
            measured = measure_standalone(standalone, self._parts, self._telling, self._interruption)
        except MeasurementError as error:
            if not self._interruption.is_requested:
                self._telling.add_check(Check("standalone_model", str(error), None, None, "WARN", error.hint))
            return
        self._local = measured.stages
        if measured.provider_check.verdict == "INVALID":
            self._telling.add_check(measured.provider_check)

    def _measure(self, environment: Environment) -> None:
        try:
            load = self._parts.start_load(worker_join_callback(self._telling, self._interruption))
            self._parts_running.callback(load.close)
            self._interruption.set_stop_callback(load.stop)
            self._parts.telemetry.watch("generator", load.pid)
            ceilings = self._reach_target(load, environment)
            self._practice.on_preflight(self._target.preflight)
            self._check_capacity(load)
            self._runner = runner = self._new_runner(load, ceilings)
            if runner.may_continue and self._spec.warmup_s > 0:
                self._telling.emit_phase("warmup", "warming up until latency is stable")
                self._steady_ns = warm_up(runner, self._spec)
            self._practice.on_load_start(self._target.endpoint)
            self._run_stages(runner)
            if self._spec.search is not None:
                self._telling.emit_phase("search", "searching for the max rate within the SLO")
                timeouts = self._spec.endpoint.timeouts
                self._search = find_max_rate(
                    runner, self._spec.search, self._spec.slo, timeouts.total_s, self._replay.clock_ns
                )
            self._practice.on_load_end(self._target.endpoint)
        except LoadError as error:
            if self._runner is None and self._interruption.is_requested:
                return  # The user has stopped the run, so the first response does not matter any more.
            has_measured = self._runner is not None and bool(self._runner.facts)
            self._target_failure = classify_load_error(error, has_measured=has_measured)
            if self._target_failure is None:
                self._telling.add_check(Check("load_worker", error.message, None, None, "INVALID", error.hint))
        self._check_target_processes()

    def _reach_target(self, load: Load, environment: Environment) -> GeneratorCapacity:
        """Configure the workers for a target that has responded, and return the load generator's capacity.

        A target that starts cold is contacted after the calibration, which would otherwise delay its first response.
        """
        if not self._may_measure:
            return GeneratorCapacity()
        require_capacity(self._spec, self._target.endpoint, load, self._parts.local_limits)
        if self._target.is_cold_start:
            ceilings = self._calibrate(load, environment)
            if self._may_measure:
                self._target.send_cold_preflight(load)
            return ceilings
        self._target.send_preflight(load)
        return self._calibrate(load, environment)

    def _check_capacity(self, load: Load) -> None:
        """Check before the load that this machine has the connections, file descriptors and ports it needs."""
        report = self._target.preflight
        service_ms = None if report is None or self._target.is_cold_start else report.service_ms
        service_s = None if service_ms is None else service_ms / 1e3
        needs = (self._spec, self._target.endpoint, load, self._parts.local_limits)
        checks = capacity_checks(*needs, service_s)
        for check in checks:
            self._telling.add_check(check)
        for note in () if checks else timeout_notes(*needs):
            self._telling.add_note(note)

    def _calibrate(self, load: Load, environment: Environment) -> GeneratorCapacity:
        finder = CapacityFinder(self._parts, environment.fingerprint, self._interruption)
        ceilings = finder.find(
            load,
            self._spec.workload,
            is_forced=self._spec.recalibrate,
            on_measuring=lambda kind: self._telling.emit_phase("calibrate", _CALIBRATION_MESSAGES[kind]),
        )
        if finder.has_measured:
            load.configure(self._target.endpoint, self._spec.workload)
        return ceilings

    def _new_runner(self, load: Load, ceilings: GeneratorCapacity) -> StageRunner:
        return StageRunner(
            load,
            self._parts.store,
            self._telling.emit,
            now_ns=self._parts.now_ns,
            slo=self._spec.slo,
            seed=self._spec.seed,
            limits=self._limits,
            interruption=self._interruption,
            ceilings=ceilings,
            workload=self._spec.workload,
            replay=self._replay,
            warm_up_again=self._warm_up_again,
            target_end_reason=self._target.end_reason,
        )

    def _warm_up_again(self) -> None:
        if self._runner is not None and self._runner.may_continue and self._spec.warmup_s > 0:
            self._telling.emit_phase("warmup", "warming up again until latency is stable")
            warm_up(self._runner, self._spec)

    def _run_stages(self, runner: StageRunner) -> None:
        if self._spec.stages and runner.may_continue:
            self._report_stages()
        for order in resolve_stages(self._spec, runner, self._telling, self._parts.now_ns):
            if not runner.may_continue:
                return
            runner.run(order)

    def _report_stages(self) -> None:
        planned = self._spec.stages
        text, is_all = f"{len(planned)} stage{'' if len(planned) == 1 else 's'}", self._spec.search is None
        duration_s = sum(stage.total_duration_s for stage in planned)
        self._telling.emit_phase(
            "stages", text, stages=len(planned) if is_all else None, stages_s=duration_s if is_all else None
        )

    def _check_target_processes(self) -> None:
        """Report a process of the target that ended. Raises UnavailableError if it ended before the first stage."""
        check = self._target.end_check()
        if check is None:
            return
        if self._runner is None or not self._runner.facts:
            raise UnavailableError(f"{check.value} before the measurement", hint=check.hint)
        self._telling.add_check(check)
        self._target_ended, self._target_failure = str(check.value), None
        if self._search is not None and self._search.max_rate_per_s is None:
            self._search = msgspec.structs.replace(self._search, reason=f"{check.value} during the search")

    def _conclude(self, environment: Environment) -> RunOutcome:
        self._telling.emit_phase("report", "evaluating the SLO and writing the report")
        self._parts_running.close()
        runner = self._runner
        if runner is not None:
            runner.restore_remaining()
        elif self._interrupted is not None:
            raise ResumeError(self._interruption.code)
        telemetry = self._machine.telemetry()
        stages = runner.summarize(telemetry) if runner else ()
        if environment.gpus and self._spec.is_local_target:
            stages = tuple(add_gpu_metrics(stage, telemetry, self._idle) for stage in stages)
        hold_indices = accepted_hold_indices(stages, self._search)
        measured = RunMeasurements(
            environment=environment,
            local=self._local,
            stages=stages,
            pooled_stage=runner.pool(hold_indices, telemetry) if runner and hold_indices else None,
            search=self._search,
            checks=tuple(self._telling.checks),
            lost_gpus=self._parts.telemetry.lost_gpus,
            telemetry=telemetry,
            started=self._started,
            ended=self._parts.read_clock(),
            wall_start=self._wall_start,
            limit_reached=self._limits.limit_reached,
            target_failure=self._target_failure,
            target_ended=self._target_ended,
            interrupted=self._interruption.code,
            cold_start=self._target.cold_start(self._steady_ns) if self._target.is_cold_start else None,
            notes=collect_notes(
                self._spec.workload,
                (*self._spec.notes, *self._telling.notes, *self._practice.notes(runner.sent if runner else 0)),
                runner.token_sources if runner else Counter(),
                self._telling.user_notes,
            ),
        )
        result = self._machine.with_selftest(build_result(self._spec, measured, self._parts.store.seal()))
        if self._interrupted is not None:
            result = msgspec.structs.replace(result, clock=_resumed_clock(result.clock, self._interrupted.started_ns))
        text = self._parts.store.write_result(result)
        return RunOutcome(result, text, telemetry)
