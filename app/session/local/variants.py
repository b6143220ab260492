"""Measures the variants one after the other, each in a process of its own: a crash costs one variant and no rows.

Cold starts are measured by opening and closing a variant repeatedly, each time in a new process.
"""

from __future__ import annotations

import itertools
import os

import msgspec

from app.analysis.local.call_stages import summarize_calls
from app.errors import SizewiseError
from app.inference.job import VariantJob
from app.records import events
from app.records.calls import CallStage
from app.records.local import VariantColdStart, VariantData
from app.records.result import Check, Stage
from app.session.interruption import Interruption
from app.session.limits import LimitMonitor
from app.session.local.references import OPEN_LIMIT_S, SCORE_LIMIT_S, ReferenceCache, Scores, decode_scores
from app.session.local.spec import LocalDependencies, LocalSpec, PreparedModel, VariantSpec
from app.session.local.variant_stages import VariantStages
from app.session.run_log import RunLog

_OPEN_LIMIT_S = 600.0


class ColdStartMeasurer:
    """Measures cold starts once per way of opening a model: batch size and streams do not affect them."""

    def __init__(
        self,
        spec: LocalSpec,
        parts: LocalDependencies,
        telling: RunLog,
        limits: LimitMonitor,
        interruption: Interruption,
    ) -> None:
        self._spec, self._parts, self._telling = spec, parts, telling
        self._limits, self._interruption = limits, interruption
        self._measured_keys: set[tuple[object, ...]] = set()

    def measure(self, variant_spec: VariantSpec, prepared: PreparedModel) -> tuple[VariantColdStart, ...]:
        """Return the cold starts of a variant; empty if an equivalent variant was measured.

        Raises the errors of opening the variant.
        """
        key = (
            prepared.path,
            variant_spec.variant.provider,
            variant_spec.settings.threads,
            variant_spec.variant.devices,
        )
        if key in self._measured_keys or self._spec.cold_starts == 0:
            return ()
        self._measured_keys.add(key)
        self._telling.emit_phase(
            "cold start", f"measuring cold starts of {variant_spec.variant.label} ({self._spec.cold_starts} times)"
        )
        starts = [self._start(variant_spec, prepared.path, None) for _ in range(self._spec.cold_starts)]
        if prepared.cached_model_path is not None:
            starts += self._start_with_cache(variant_spec, prepared.path, prepared.cached_model_path)
        return tuple(start for start in starts if start is not None)

    def _start_with_cache(self, order: VariantSpec, path: str, kept_model: str) -> list[VariantColdStart | None]:
        try:
            self._start(order, path, kept_model)  # Fills the cache if it is empty.
            return [self._start(order, path, kept_model) for _ in range(self._spec.cold_starts)]
        except SizewiseError as error:  # The model runs but cannot be cached, for example because it exceeds 2 GiB.
            if not self._interruption.is_requested:
                self._telling.add_note(f"{order.variant.label}: no cold start with a cached optimized model: {error}.")
            return []

    def _start(self, order: VariantSpec, path: str, kept_model: str | None) -> VariantColdStart | None:
        if self._interruption.is_requested or not self._limits.check(self._parts.now_ns()):
            return None
        settings = order.settings
        if kept_model is not None and order.variant.provider == "tensorrt":
            settings = msgspec.structs.replace(settings, engine_folder=kept_model)
        elif kept_model is not None:
            settings = msgspec.structs.replace(settings, cached_model_path=kept_model)
        job = VariantJob(
            model=path,
            provider=order.variant.provider,
            batch=order.variant.batch,
            settings=settings,
            memory_limit_bytes=self._spec.memory_limit(order.variant.provider),
        )
        running = self._parts.start_variant(order.variant.label, job, order.environment)
        self._interruption.set_stop_callback(lambda _: running.kill())
        try:
            opened = running.wait_until_open(self._limits.cap_duration_s(_OPEN_LIMIT_S, self._parts.now_ns()))
        finally:
            running.close()
        return VariantColdStart(
            is_cached=kept_model is not None,
            process_ms=(opened.start_ns - running.started_ns) / 1e6,
            library_load_ms=opened.library_load_ms,
            session_build_ms=opened.session_build_ms,
            first_inference_ms=opened.first_inference_ms,
        )


_MIN_CALLS = 40
"""Minimum number of calls for a confidence interval by batch means."""
_REPEATS = 2
_MAX_PROBES = 15
"""Maximum number of probes when searching for the highest rate within the SLO."""
_MEMORY_GIB = 0.05
_MEMORY_WAIT_S = 5.0
_PAUSE_S = 0.05


class MeasuredVariant(msgspec.Struct, frozen=True, kw_only=True):
    """A measured variant. `call_stages` describe rows in the store; `scored` has one score per labeled row."""

    variant_spec: VariantSpec
    facts: VariantData
    call_stages: tuple[CallStage, ...] = ()
    checks: tuple[Check, ...] = ()
    path: str | None = None
    """Path of the model file that was run."""
    scores: Scores | None = None
    is_reference: bool = False
    """Whether the variant is the unmodified first model on the CPU."""
    error: SizewiseError | None = None
    """Error that ended the variant early."""


class _VariantState(msgspec.Struct):
    """State of a variant that is kept even if it fails later."""

    stages: VariantStages
    prepared: PreparedModel | None = None
    cold: tuple[VariantColdStart, ...] = ()
    scored: Scores | None = None


class VariantRunner:
    """Measures variants. Used by the session's thread only."""

    def __init__(
        self,
        spec: LocalSpec,
        parts: LocalDependencies,
        telling: RunLog,
        limits: LimitMonitor,
        interruption: Interruption,
    ) -> None:
        self._spec, self._parts, self._telling = spec, parts, telling
        self._limits, self._interruption = limits, interruption
        self._references = ReferenceCache(spec, parts, telling, limits, interruption)
        self._cold_starts = ColdStartMeasurer(spec, parts, telling, limits, interruption)
        self.variants: list[MeasuredVariant] = []
        self._indices = itertools.count()

    @property
    def reference_scores(self) -> Scores | None:
        """Scores of the first model, which those of all variants are compared with."""
        return self._references.get_scores(self._spec.variants[0].model)

    @property
    def may_continue(self) -> bool:
        return self._limits.check(self._parts.now_ns()) and not self._interruption.is_requested

    def measure(self, order: VariantSpec) -> MeasuredVariant:
        """Measure one variant. Its errors are recorded in the result and do not end the run."""
        number = len(self.variants) + 1
        now_ns = self._parts.now_ns
        self._telling.emit(events.VariantStarted(now_ns(), number, len(self._spec.variants), order.variant))
        before_gib = self._parts.read_gpu_memory_gib()
        stages = VariantStages(self._spec, self._parts, self._telling, order, self._indices, lambda: self.may_continue)
        state = _VariantState(stages)
        failure: SizewiseError | None = None
        try:
            self._measure_stages(order, state)
        except SizewiseError as error:
            failure = error
        self._await_memory(order, before_gib)
        measured = self._finish(order, state, failure)
        self.variants.append(measured)
        self._parts.store.sync_rows()
        self._telling.emit(events.VariantFinished(now_ns(), number, measured.facts))
        return measured

    def skip(self, order: VariantSpec, reason: str) -> None:
        facts = VariantData(
            variant=order.variant,
            model_file=order.model,
            model_sha256=None,
            size_bytes=None,
            failure=reason,
            is_excluded=True,
        )
        self.variants.append(MeasuredVariant(variant_spec=order, facts=facts))

    def summarize_stages(self, measured: MeasuredVariant) -> tuple[Stage, ...]:
        """Return the stages of a variant without telemetry, which is added later."""
        return tuple(
            summarize_calls(self._parts.store.stage_calls(stage.index), stage, measured.checks)
            for stage in measured.call_stages
        )

    def _measure_stages(self, order: VariantSpec, state: _VariantState) -> None:
        state.prepared = self._parts.prepare_model(order, self._spec.data)
        reference = self._references.get(order)
        if not self.may_continue:
            return
        state.cold = self._cold_starts.measure(order, state.prepared)
        job = self.build_job(order, state.prepared, reference.outputs)
        running = self._parts.start_variant(order.variant.label, job, order.environment)
        self._interruption.set_stop_callback(lambda _: running.kill())
        try:
            if not self.may_continue:  # The stop was requested before there was a process to kill.
                return
            self._parts.telemetry.watch("model", running.pid)
            state.stages.opened_report = running.wait_until_open(
                self._limits.cap_duration_s(OPEN_LIMIT_S, self._parts.now_ns())
            )
            state.stages.run_all(running)
            self._check_other_processes(order)
            if self._spec.data.label is not None and self.may_continue:
                state.scored = decode_scores(
                    running.score(self._limits.cap_duration_s(SCORE_LIMIT_S, self._parts.now_ns()))
                )
                self._parts.store.store_outputs(f"scores-{len(self.variants) + 1}", state.scored.values)
        finally:
            running.close()

    def _check_other_processes(self, order: VariantSpec) -> None:
        """Warn if other processes compute on the GPUs while this variant runs."""
        others = self._parts.find_foreign_processes(self._parts.telemetry.gpu_processes, {os.getpid()})
        if not others:
            return
        text = ", ".join(f"process {process.pid} on GPU {process.gpu}" for process in others)
        hint = f"Other processes used the GPU while {order.variant.label} ran. Stop them, or use a dedicated GPU."
        self._telling.add_check(Check("other_processes_on_the_gpu", text, None, None, "WARN", hint))

    def build_job(self, order: VariantSpec, prepared: PreparedModel, reference: str | None) -> VariantJob:
        return VariantJob(
            model=prepared.path,
            provider=order.variant.provider,
            batch=order.variant.batch,
            settings=order.settings,
            rows=self._spec.data.rows,
            label=self._spec.data.label,
            output=self._spec.data.output,
            unscored_rows=self._spec.data.unscored_rows,
            reference=reference,
            memory_limit_bytes=self._spec.memory_limit(order.variant.provider),
        )

    def _is_reference(self, order: VariantSpec) -> bool:
        first = self._spec.variants[0].model
        return order.model == first and order.precision == "as-is" and order.variant.provider == "cpu"

    def _await_memory(self, order: VariantSpec, before_gib: dict[int, float]) -> None:
        """Wait until the variant's GPU memory is released, so that the next variant finds the same state."""
        waits = round(_MEMORY_WAIT_S / _PAUSE_S) if before_gib else 0
        for _ in range(waits):
            unreleased = self._unreleased_gpus(before_gib)
            if not unreleased:
                return
            self._parts.pause(_PAUSE_S)
        if before_gib and (unreleased := self._unreleased_gpus(before_gib)):
            names = ", ".join(f"GPU {index}" for index in unreleased)
            hint = (
                f"Memory was not released within {_MEMORY_WAIT_S:g} s after {order.variant.label}. Check for other "
                "processes."
            )
            self._telling.add_check(Check("gpu_memory_released", names, None, None, "WARN", hint))

    def _unreleased_gpus(self, before_gib: dict[int, float]) -> list[int]:
        now_gib = self._parts.read_gpu_memory_gib()
        return [index for index, was in before_gib.items() if now_gib.get(index, was) > was + _MEMORY_GIB]

    def _finish(self, order: VariantSpec, state: _VariantState, failure: SizewiseError | None) -> MeasuredVariant:
        if failure is not None and not self.may_continue:
            failure = None  # Ended on purpose by the user or by a limit.
        prepared, opened, measured = state.prepared, state.stages.opened_report, state.stages.measured
        peaks = [item.peak_memory_bytes for item in measured if item.peak_memory_bytes is not None]
        fidelities = [item.fidelity for item in measured if item.fidelity is not None]
        facts = VariantData(
            variant=order.variant,
            model_file=order.model,
            model_sha256=None if prepared is None else prepared.sha256,
            size_bytes=None if prepared is None else prepared.size_bytes,
            failure=None if failure is None else str(failure),
            hint=None if failure is None else failure.hint,
            provider_used=None if opened is None else opened.provider_used,
            placements=() if opened is None else opened.placements,
            cold_starts=state.cold,
            fidelity=fidelities[0] if fidelities else None,
            server_per_s=state.stages.server_per_s,
            peak_memory_gib=max(peaks) / 2**30 if peaks else None,
            notes=() if prepared is None or opened is None else (*prepared.notes, *opened.notes),
        )
        return MeasuredVariant(
            variant_spec=order,
            facts=facts,
            call_stages=tuple(state.stages.call_stages),
            checks=state.stages.checks,
            path=None if prepared is None else prepared.path,
            scores=state.scored,
            is_reference=self._is_reference(order),
            error=failure,
        )
