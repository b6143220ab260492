"""One variant after the other, each in a process of its own: a crash costs one of them, and no row.

How cold the start of a variant is: opened again and again, each time in a new process, and closed.
"""

from __future__ import annotations

import itertools
import os

import msgspec

from app.analysis.local.call_stages import summarise_calls
from app.errors import SizewiseError
from app.inference.job import VariantJob
from app.records import events
from app.records.calls import CallStage
from app.records.local import ColdStartOf, VariantFacts
from app.records.result import Check, Stage
from app.session.interruption import Interruption
from app.session.limits import LimitWatch
from app.session.local.references import OPEN_LIMIT_S, SCORE_LIMIT_S, References, Scores, scores_of
from app.session.local.spec import LocalParts, LocalSpec, PreparedModel, VariantOrder
from app.session.local.variant_stages import VariantStages
from app.session.telling import Telling

_OPEN_LIMIT_S = 600.0


class ColdStarts:
    """Found once for variants that are opened in the same way: batch and streams do not matter to it."""

    def __init__(
        self, spec: LocalSpec, parts: LocalParts, telling: Telling, limits: LimitWatch, interruption: Interruption
    ) -> None:
        self._spec, self._parts, self._telling = spec, parts, telling
        self._limits, self._interruption = limits, interruption
        self._known: set[tuple[object, ...]] = set()

    def of(self, order: VariantOrder, prepared: PreparedModel) -> tuple[ColdStartOf, ...]:
        """Empty where another variant has told it. Raises what opening it raises."""
        key = (prepared.path, order.variant.provider, order.settings.threads, order.variant.devices)
        if key in self._known or self._spec.cold_starts == 0:
            return ()
        self._known.add(key)
        self._telling.phase("cold start", f"starting {order.variant.label} anew, {self._spec.cold_starts} times")
        found = [self._start(order, prepared.path, None) for _ in range(self._spec.cold_starts)]
        if prepared.kept_model is not None:
            found += self._with_kept(order, prepared.path, prepared.kept_model)
        return tuple(one for one in found if one is not None)

    def _with_kept(self, order: VariantOrder, path: str, kept_model: str) -> list[ColdStartOf | None]:
        try:
            self._start(order, path, kept_model)  # keeps it, where it is not kept yet
            return [self._start(order, path, kept_model) for _ in range(self._spec.cold_starts)]
        except SizewiseError as error:  # it runs, and cannot be kept: of more than 2 GiB, say
            if not self._interruption.is_requested:
                self._telling.note(f"{order.variant.label}: no start with the optimised model kept: {error}.")
            return []

    def _start(self, order: VariantOrder, path: str, kept_model: str | None) -> ColdStartOf | None:
        if self._interruption.is_requested or not self._limits.check(self._parts.now_ns()):
            return None
        settings = order.settings
        if kept_model is not None and order.variant.provider == "tensorrt":
            settings = msgspec.structs.replace(settings, engine_folder=kept_model)
        elif kept_model is not None:
            settings = msgspec.structs.replace(settings, kept_model=kept_model)
        job = VariantJob(
            model=path,
            provider=order.variant.provider,
            batch=order.variant.batch,
            settings=settings,
            memory_limit_bytes=self._spec.memory_limit(order.variant.provider),
        )
        running = self._parts.start_variant(order.variant.label, job, order.environment)
        self._interruption.attach(lambda _: running.kill())
        try:
            opened = running.opened(self._limits.within(_OPEN_LIMIT_S, self._parts.now_ns()))
        finally:
            running.close()
        return ColdStartOf(
            is_cached=kept_model is not None,
            process_ms=(opened.begun_ns - running.started_ns) / 1e6,
            library_load_ms=opened.library_load_ms,
            session_build_ms=opened.session_build_ms,
            first_inference_ms=opened.first_inference_ms,
        )


_FEWEST_CALLS = 40
"""For an interval by batch means."""
_HOLDS = 2
_MOST_PROBES = 15
"""Of the search for the most arrivals inside the SLO."""
_MEMORY_GIB = 0.05
_MEMORY_WAIT_S = 5.0
_PAUSE_S = 0.05


class MeasuredVariant(msgspec.Struct, frozen=True, kw_only=True):
    """`call_stages` belong to the rows in the store; `scores` are one a labelled row."""

    order: VariantOrder
    facts: VariantFacts
    call_stages: tuple[CallStage, ...] = ()
    checks: tuple[Check, ...] = ()
    path: str | None = None
    """Of the file that was run."""
    scored: Scores | None = None
    is_reference: bool = False
    """The first model as it is, on the CPU."""
    error: SizewiseError | None = None
    """What ended it early."""


class _Found(msgspec.Struct):
    """What is known of a variant so far, whatever befalls it next."""

    stages: VariantStages
    prepared: PreparedModel | None = None
    cold: tuple[ColdStartOf, ...] = ()
    scored: Scores | None = None


class VariantRunner:
    """Belongs to the session's thread."""

    def __init__(
        self, spec: LocalSpec, parts: LocalParts, telling: Telling, limits: LimitWatch, interruption: Interruption
    ) -> None:
        self._spec, self._parts, self._telling = spec, parts, telling
        self._limits, self._interruption = limits, interruption
        self._references = References(spec, parts, telling, limits, interruption)
        self._cold_starts = ColdStarts(spec, parts, telling, limits, interruption)
        self.variants: list[MeasuredVariant] = []
        self._indices = itertools.count()

    @property
    def reference_scores(self) -> Scores | None:
        """Of the first model, which those of all variants are held against."""
        return self._references.scores_of(self._spec.variants[0].model)

    @property
    def may_go_on(self) -> bool:
        return self._limits.check(self._parts.now_ns()) and not self._interruption.is_requested

    def measure(self, order: VariantOrder) -> MeasuredVariant:
        """It goes wrong in no way that would end the run."""
        number = len(self.variants) + 1
        now_ns = self._parts.now_ns
        self._telling.emit(events.VariantStarted(now_ns(), number, len(self._spec.variants), order.variant))
        before_gib = self._parts.gpu_memory_gib()
        stages = VariantStages(self._spec, self._parts, self._telling, order, self._indices, lambda: self.may_go_on)
        found = _Found(stages)
        failure: SizewiseError | None = None
        try:
            self._go_through(order, found)
        except SizewiseError as error:
            failure = error
        self._await_memory(order, before_gib)
        measured = self._concluded(order, found, failure)
        self.variants.append(measured)
        self._parts.store.sync_rows()
        self._telling.emit(events.VariantFinished(now_ns(), number, measured.facts))
        return measured

    def leave_out(self, order: VariantOrder, why: str) -> None:
        facts = VariantFacts(
            variant=order.variant,
            model_file=order.model,
            model_sha256=None,
            size_bytes=None,
            failure=why,
            is_left_out=True,
        )
        self.variants.append(MeasuredVariant(order=order, facts=facts))

    def stages_of(self, measured: MeasuredVariant) -> tuple[Stage, ...]:
        """Without what is read of the machine, which comes later."""
        return tuple(
            summarise_calls(self._parts.store.stage_calls(one.index), one, measured.checks)
            for one in measured.call_stages
        )

    def _go_through(self, order: VariantOrder, found: _Found) -> None:
        found.prepared = self._parts.prepare_model(order, self._spec.data)
        reference = self._references.of(order)
        if not self.may_go_on:
            return
        found.cold = self._cold_starts.of(order, found.prepared)
        job = self.job_of(order, found.prepared, reference.outputs)
        running = self._parts.start_variant(order.variant.label, job, order.environment)
        self._interruption.attach(lambda _: running.kill())
        try:
            if not self.may_go_on:  # asked for before there was anything to kill
                return
            self._parts.telemetry.watch("model", running.pid)
            found.stages.opened = running.opened(self._limits.within(OPEN_LIMIT_S, self._parts.now_ns()))
            found.stages.run_all(running)
            self._look_for_others(order)
            if self._spec.data.label is not None and self.may_go_on:
                found.scored = scores_of(running.score(self._limits.within(SCORE_LIMIT_S, self._parts.now_ns())))
                self._parts.store.keep_outputs(f"scores-{len(self.variants) + 1}", found.scored.values)
        finally:
            running.close()

    def _look_for_others(self, order: VariantOrder) -> None:
        """Who else computes on the GPUs while this variant does."""
        others = self._parts.foreign_processes(self._parts.telemetry.gpu_processes, {os.getpid()})
        if not others:
            return
        told = ", ".join(f"process {one.pid} on GPU {one.gpu}" for one in others)
        hint = f"While {order.variant.label} ran, others computed there: end them, or measure on a GPU of your own."
        self._telling.check(Check("other_processes_on_the_gpu", told, None, None, "WARN", hint))

    def job_of(self, order: VariantOrder, prepared: PreparedModel, reference: str | None) -> VariantJob:
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

    def _is_reference(self, order: VariantOrder) -> bool:
        first = self._spec.variants[0].model
        return order.model == first and order.precision == "as-is" and order.variant.provider == "cpu"

    def _await_memory(self, order: VariantOrder, before_gib: dict[int, float]) -> None:
        """The next variant is to find the GPUs as this one did."""
        waits = round(_MEMORY_WAIT_S / _PAUSE_S) if before_gib else 0
        for _ in range(waits):
            held = self._held(before_gib)
            if not held:
                return
            self._parts.pause(_PAUSE_S)
        if before_gib and (held := self._held(before_gib)):
            names = ", ".join(f"GPU {index}" for index in held)
            hint = f"After {order.variant.label} memory was not back in {_MEMORY_WAIT_S:g} s: look for others there."
            self._telling.check(Check("gpu_memory_given_back", names, None, None, "WARN", hint))

    def _held(self, before_gib: dict[int, float]) -> list[int]:
        now_gib = self._parts.gpu_memory_gib()
        return [index for index, was in before_gib.items() if now_gib.get(index, was) > was + _MEMORY_GIB]

    def _concluded(self, order: VariantOrder, found: _Found, failure: SizewiseError | None) -> MeasuredVariant:
        if failure is not None and not self.may_go_on:
            failure = None  # it was ended on purpose, by the user or by a limit
        prepared, opened, measured = found.prepared, found.stages.opened, found.stages.measured
        peaks = [one.peak_memory_bytes for one in measured if one.peak_memory_bytes is not None]
        fidelities = [one.fidelity for one in measured if one.fidelity is not None]
        facts = VariantFacts(
            variant=order.variant,
            model_file=order.model,
            model_sha256=None if prepared is None else prepared.sha256,
            size_bytes=None if prepared is None else prepared.size_bytes,
            failure=None if failure is None else str(failure),
            hint=None if failure is None else failure.hint,
            provider_used=None if opened is None else opened.provider_used,
            placements=() if opened is None else opened.placements,
            cold_starts=found.cold,
            fidelity=fidelities[0] if fidelities else None,
            server_per_s=found.stages.server_per_s,
            peak_memory_gib=max(peaks) / 2**30 if peaks else None,
            notes=() if prepared is None or opened is None else (*prepared.notes, *opened.notes),
        )
        return MeasuredVariant(
            order=order,
            facts=facts,
            call_stages=tuple(found.stages.call_stages),
            checks=found.stages.checks,
            path=None if prepared is None else prepared.path,
            scored=found.scored,
            is_reference=self._is_reference(order),
            error=failure,
        )
