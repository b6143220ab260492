"""Run the variants of a local model one after the other. It prints nothing; progress is emitted as
events."""

from __future__ import annotations

from contextlib import ExitStack

from app.analysis.local.variants import is_slo_certainly_violated
from app.errors import UnavailableError, UsageError
from app.records.result import Environment, Window
from app.session.control import CommandPoller
from app.session.dependencies import Emit
from app.session.interruption import Interruption
from app.session.limits import LimitMonitor
from app.session.local.result import LocalMeasurements, build_key_without_batch, build_local_result
from app.session.local.spec import LocalDependencies, LocalSpec, VariantSpec
from app.session.local.variants import VariantRunner
from app.session.machine import MachineMonitor, measure_idle_window
from app.session.result import require_comparable_machine
from app.session.run import RunOutcome
from app.session.run_log import RunLog


def run_locally(spec: LocalSpec, dependencies: LocalDependencies, emit: Emit, interruption: Interruption) -> RunOutcome:
    """Measure all variants, then evaluate and store the run. All started resources are closed, even
    after an error."""
    with ExitStack() as resources:
        return _LocalSession(spec, dependencies, emit, interruption, resources).execute()


class _LocalSession:
    def __init__(
        self,
        spec: LocalSpec,
        dependencies: LocalDependencies,
        emit: Emit,
        interruption: Interruption,
        resources: ExitStack,
    ) -> None:
        self._spec, self._dependencies, self._interruption, self._resources = (
            spec,
            dependencies,
            interruption,
            resources,
        )
        self._run_log = RunLog(emit, dependencies.now_ns)
        self._limit_monitor = LimitMonitor(spec.limits, dependencies.now_ns())
        self._runner = VariantRunner(spec, dependencies, self._run_log, self._limit_monitor, interruption)
        self._start_clock, self._wall_start = dependencies.read_clock(), dependencies.wall_now()
        self._machine_monitor = MachineMonitor(dependencies, self._run_log)
        self._idle_window: Window | None = None

    def execute(self) -> RunOutcome:
        command_poller = CommandPoller(
            self._dependencies.store,
            self._interruption,
            add_note=self._run_log.add_user_note,
            change_rate=_reject_rate_change,
            extend_stage=_reject_extension,
            has_requests=False,
        )
        with command_poller:
            self._machine_monitor.start(self._resources)
            environment = self._machine_monitor.inspect()
            if self._spec.baseline is not None:
                require_comparable_machine(self._spec, self._spec.baseline, environment)
            if environment.gpus:
                self._idle_window = measure_idle_window(
                    self._run_log, self._dependencies.now_ns, self._dependencies.pause
                )
            for variant_spec in self._spec.variants:
                self._measure_or_skip_variant(variant_spec)
        return self._conclude(environment)

    def _measure_or_skip_variant(self, variant_spec: VariantSpec) -> None:
        if not self._runner.may_continue:
            return
        violating_batch = self._find_violating_batch(variant_spec) if self._spec.is_best_search else None
        if violating_batch is not None:
            self._runner.skip(variant_spec, f"batch size {violating_batch} already violates the SLO")
            return
        self._runner.measure(variant_spec)

    def _find_violating_batch(self, variant_spec: VariantSpec) -> int | None:
        """Return a smaller batch size at which the same variant has already violated a latency
        objective; `None` if there is none. Larger batch sizes violate the objective as well,
        because call durations increase with the batch size."""
        latency_objectives = [
            objective
            for objective in self._spec.slo
            if objective.metric.endswith("_ms") and objective.comparator in ("<", "<=")
        ]
        for measured_variant in self._runner.variants:
            earlier_variant, variant = measured_variant.variant_spec.variant, variant_spec.variant
            is_smaller_batch = (
                build_key_without_batch(earlier_variant) == build_key_without_batch(variant)
                and earlier_variant.batch < variant.batch
            )
            if (
                is_smaller_batch
                and measured_variant.call_stages
                and is_slo_certainly_violated(latency_objectives, self._runner.summarize_stages(measured_variant))
            ):
                return earlier_variant.batch
        return None

    def _conclude(self, environment: Environment) -> RunOutcome:
        self._run_log.emit_phase("report", "evaluating the SLO and writing the report")
        self._resources.close()
        telemetry = self._machine_monitor.get_telemetry()
        self._limit_monitor.check(self._dependencies.now_ns())
        self._raise_if_nothing_ran()
        measurements = LocalMeasurements(
            reference=self._runner.reference_scores,
            environment=environment,
            variants=tuple(self._runner.variants),
            checks=tuple(self._run_log.checks),
            lost_gpus=self._dependencies.telemetry.lost_gpus,
            telemetry=telemetry,
            idle_window=self._idle_window,
            start_clock=self._start_clock,
            end_clock=self._dependencies.read_clock(),
            wall_start=self._wall_start,
            stop_reason=self._limit_monitor.stop_reason,
            interruption_code=self._interruption.code,
            notes=(
                *self._spec.notes,
                *self._run_log.notes,
                *(f"User note: {text}" for text in self._run_log.user_notes),
            ),
        )
        result_without_selftest = build_local_result(
            self._spec, self._dependencies, measurements, self._dependencies.store.seal()
        )
        result = self._machine_monitor.add_selftest(result_without_selftest)
        result_text = self._dependencies.store.write_result(result)
        return RunOutcome(result, result_text, telemetry)

    def _raise_if_nothing_ran(self) -> None:
        """Raise the first error of a variant if no variant could start because of user errors, such
        as an invalid model or a missing execution provider."""
        variants = self._runner.variants
        errors = [variant.error for variant in variants if variant.error is not None]
        are_user_errors = errors and all(isinstance(error, UsageError | UnavailableError) for error in errors)
        if are_user_errors and len(errors) == len(variants) and not any(variant.call_stages for variant in variants):
            raise errors[0]


def _reject_rate_change(_: float) -> str:
    raise UsageError("the rate of a local run cannot be changed")


def _reject_extension(_: float) -> str:
    raise UsageError("stages of a local run cannot be extended")
