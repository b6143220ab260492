"""One run of a local model, variant by variant. It prints nothing: everything that happens is emitted as an event."""

from __future__ import annotations

from contextlib import ExitStack

from app.analysis.local.variants import is_certainly_missed
from app.errors import UnavailableError, UsageError
from app.records.result import Environment, Window
from app.session.control import CommandPoller
from app.session.dependencies import Emit
from app.session.interruption import Interruption
from app.session.limits import LimitMonitor
from app.session.local.result import LocalMeasurements, build_local_result, key_without_batch
from app.session.local.spec import LocalDependencies, LocalSpec, VariantSpec
from app.session.local.variants import VariantRunner
from app.session.machine import MachineMonitor, measure_idle_baseline
from app.session.result import require_comparable_machine
from app.session.run import RunOutcome
from app.session.run_log import RunLog


def run_locally(spec: LocalSpec, parts: LocalDependencies, emit: Emit, interruption: Interruption) -> RunOutcome:
    """Measure every variant, evaluate and store one run, and close every resource that was started, however it ends."""
    with ExitStack() as running:
        return _LocalSession(spec, parts, emit, interruption, running).execute()


class _LocalSession:
    def __init__(
        self, spec: LocalSpec, parts: LocalDependencies, emit: Emit, interruption: Interruption, running: ExitStack
    ) -> None:
        self._spec, self._parts, self._interruption, self._running = spec, parts, interruption, running
        self._telling = RunLog(emit, parts.now_ns)
        self._limits = LimitMonitor(spec.limits, parts.now_ns())
        self._runner = VariantRunner(spec, parts, self._telling, self._limits, interruption)
        self._started, self._wall_start = parts.read_clock(), parts.wall_now()
        self._machine = MachineMonitor(parts, self._telling)
        self._idle: Window | None = None

    def execute(self) -> RunOutcome:
        control = CommandPoller(
            self._parts.store,
            self._interruption,
            add_note=self._telling.add_user_note,
            change_rate=_refuse_rate_change,
            extend=_refuse_extension,
        )
        with control:
            self._machine.start(self._running)
            environment = self._machine.inspect()
            require_comparable_machine(self._spec, environment)
            if environment.gpus:
                self._idle = measure_idle_baseline(self._telling, self._parts.now_ns, self._parts.pause)
            for order in self._spec.variants:
                self._measure_or_skip(order)
        return self._conclude(environment)

    def _measure_or_skip(self, order: VariantSpec) -> None:
        if not self._runner.may_continue:
            return
        slower = self._slower_batch(order) if self._spec.is_best_search else None
        if slower is not None:
            self._runner.skip(order, f"batch {slower} already misses the SLO")
            return
        self._runner.measure(order)

    def _slower_batch(self, order: VariantSpec) -> int | None:
        """Return a smaller batch size of the same variant that already missed the SLO: times grow with the batch
        size.
        """
        time_objectives = [
            objective
            for objective in self._spec.slo
            if objective.metric.endswith("_ms") and objective.comparator in ("<", "<=")
        ]
        for done in self._runner.variants:
            earlier, current = done.variant_spec.variant, order.variant
            is_smaller = key_without_batch(earlier) == key_without_batch(current) and earlier.batch < current.batch
            if (
                is_smaller
                and done.call_stages
                and is_certainly_missed(time_objectives, self._runner.summarize_stages(done))
            ):
                return earlier.batch
        return None

    def _conclude(self, environment: Environment) -> RunOutcome:
        self._telling.emit_phase("report", "evaluating the SLO and writing the report")
        self._running.close()
        telemetry = self._machine.telemetry()
        self._limits.check(self._parts.now_ns())
        self._raise_if_nothing_ran()
        measured = LocalMeasurements(
            reference=self._runner.reference_scores,
            environment=environment,
            variants=tuple(self._runner.variants),
            checks=tuple(self._telling.checks),
            lost_gpus=self._parts.telemetry.lost_gpus,
            telemetry=telemetry,
            idle=self._idle,
            started=self._started,
            ended=self._parts.read_clock(),
            wall_start=self._wall_start,
            limit_reached=self._limits.limit_reached,
            interrupted=self._interruption.code,
            notes=(*self._spec.notes, *self._telling.notes, *(f"Note: {text}" for text in self._telling.user_notes)),
        )
        concluded = build_local_result(self._spec, self._parts, measured, self._parts.store.seal())
        result = self._machine.with_selftest(concluded)
        text = self._parts.store.write_result(result)
        return RunOutcome(result, text, telemetry)

    def _raise_if_nothing_ran(self) -> None:
        """Raise the first error if user errors kept every variant from starting, such as an invalid model or a missing
        provider.
        """
        variants = self._runner.variants
        errors = [variant.error for variant in variants if variant.error is not None]
        are_user_errors = errors and all(isinstance(error, UsageError | UnavailableError) for error in errors)
        if are_user_errors and len(errors) == len(variants) and not any(variant.call_stages for variant in variants):
            raise errors[0]


def _refuse_rate_change(_: float) -> str:
    raise UsageError("the rate of a local run cannot be changed")


def _refuse_extension(_: float) -> str:
    raise UsageError("stages of a local run cannot be extended")
