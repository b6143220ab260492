"""One variant after the other, each in a process of its own: a crash costs one of them, and no row."""

from __future__ import annotations

import os

import msgspec

from app.analysis.call_stages import fastest_per_s, summarise_calls
from app.analysis.objectives import samples_needed
from app.analysis.search import RateSearch
from app.analysis.validity import provider_check, strays_of
from app.analysis.variant_slo import missed_so_far
from app.errors import SizewiseError
from app.inference.job import Began, Calls, Job, Measure, Measured, Opened
from app.records import events
from app.records.calls import CallStage, unpacked
from app.records.estimate import Estimate, Variant
from app.records.local import ColdStartOf, Scenario, VariantFacts
from app.records.result import Check, Stage
from app.session.call_progress import CallProgress
from app.session.cold_variants import ColdStarts
from app.session.interruption import Interruption
from app.session.limits import LimitWatch
from app.session.local_parts import LocalParts, PreparedModel
from app.session.local_spec import LocalSpec, ScenarioOrder, VariantOrder
from app.session.parts import RunningVariant
from app.session.references import OPEN_LIMIT_S, SCORE_LIMIT_S, References, Scores, scores_of
from app.session.telling import Telling

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

    prepared: PreparedModel | None = None
    opened: Opened | None = None
    cold: tuple[ColdStartOf, ...] = ()
    call_stages: list[CallStage] = []
    measured: list[Measured] = []
    scored: Scores | None = None
    server_per_s: Estimate | None = None


class VariantRunner:
    """Belongs to the session's thread."""

    def __init__(
        self, spec: LocalSpec, parts: LocalParts, telling: Telling, limits: LimitWatch, interruption: Interruption
    ) -> None:
        self._spec, self._parts, self._telling = spec, parts, telling
        self._limits, self._interruption = limits, interruption
        self._references = References(spec, parts, telling, interruption)
        self._cold_starts = ColdStarts(spec, parts, telling, interruption)
        self.variants: list[MeasuredVariant] = []
        self._stages = 0

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
        found = _Found(call_stages=[], measured=[])
        failure: SizewiseError | None = None
        try:
            self._go_through(order, found)
        except SizewiseError as error:
            failure = error
        self._await_memory(order, before_gib)
        measured = self._concluded(order, found, failure)
        self.variants.append(measured)
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
            self._parts.telemetry.watch("model", running.pid)
            found.opened = running.opened(OPEN_LIMIT_S)
            for scenario in self._spec.scenarios:
                if not self.may_go_on:
                    return
                if scenario.scenario == "multi-stream" and not is_of_many(order.variant):
                    continue  # its queries would be single calls
                rate_per_s = self._rate_of(order, scenario, found)
                if scenario.scenario == "server" and rate_per_s is None:
                    self._telling.note(f"{order.variant.label}: no server scenario: nothing tells what it can do.")
                elif scenario.finds_most and rate_per_s is not None:
                    found.server_per_s = self._search(order, rate_per_s, running, found)
                else:
                    self._run_scenario(order, scenario.scenario, rate_per_s, running, found)
            self._look_for_others(order)
            if self._spec.data.label is not None and self.may_go_on:
                found.scored = scores_of(running.score(SCORE_LIMIT_S))
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
        self._telling.check(Check("other processes on the GPU", told, None, None, "WARN", hint))

    def job_of(self, order: VariantOrder, prepared: PreparedModel, reference: str | None) -> Job:
        return Job(
            model=prepared.path,
            provider=order.variant.provider,
            batch=order.variant.batch,
            streams=order.variant.streams,
            settings=order.settings,
            rows=self._spec.data.rows,
            label=self._spec.data.label,
            unscored_rows=self._spec.data.unscored_rows,
            reference=reference,
            memory_limit_bytes=self._spec.memory_limit(order.variant.provider),
        )

    def _search(
        self, order: VariantOrder, start_per_s: float, running: RunningVariant, found: _Found
    ) -> Estimate | None:
        """Each rate that is tried is a stage. One that is INVALID tells nothing of the model."""
        search = RateSearch(start_per_s, _HOLDS, _MOST_PROBES)
        while (probe := search.next()) is not None and self.may_go_on:
            stage = self._run_scenario(order, "server", probe.rate_per_s, running, found, in_search=True)
            if stage is None or stage.verdict.status == "INVALID":
                search.record_beyond(probe)
            else:
                search.record(probe, not missed_so_far(self._spec.slo, (stage,)))
        outcome = search.outcome()
        if outcome.max_rate_per_s is None:
            return Estimate(None, reason=outcome.reason)
        carried, failed = outcome.bracket
        interval = None if carried is None or failed is None else (min(carried, outcome.max_rate_per_s), failed)
        return Estimate(outcome.max_rate_per_s, interval, n=outcome.probes)

    def _run_scenario(
        self,
        order: VariantOrder,
        scenario: Scenario,
        rate_per_s: float | None,
        running: RunningVariant,
        found: _Found,
        *,
        in_search: bool = False,
    ) -> Stage | None:
        spec = self._spec
        plan = Measure(
            scenario=scenario,
            batch=order.variant.batch,
            streams=order.variant.streams,
            least_s=spec.at_least_s,
            most_s=spec.at_most_s,
            half_width=spec.half_width,
            least_calls=max(_FEWEST_CALLS, samples_needed(spec.slo)),
            warmup_most_s=spec.warmup_s,
            rate_per_s=rate_per_s,
            seed=spec.seed,
        )
        index, self._stages = self._stages, self._stages + 1
        progress = CallProgress(index, plan, order.variant, self._telling, self._parts.now_ns)
        began: Began | None = None

        def take(told: Began | Calls) -> None:
            nonlocal began
            match told:
                case Began():
                    began = told
                case Calls(packed=packed):
                    rows = unpacked(index, packed)
                    self._parts.store.append_calls(rows)
                    progress.show(rows, None if began is None else began.start_ns)

        measured: Measured | None = None
        stage: Stage | None = None
        try:
            measured = running.measure(plan, take)
            found.measured.append(measured)
        finally:
            if began is not None:
                facts = self._facts(index, order, plan, began, measured)
                facts = msgspec.structs.replace(facts, in_search=in_search)
                found.call_stages.append(facts)
                stage = summarise_calls(self._parts.store.stage_calls(index), facts, _checks(order, found.opened))
                self._telling.emit(events.CallsFinished(self._parts.now_ns(), facts, stage))
        return stage

    def _facts(
        self, index: int, order: VariantOrder, plan: Measure, began: Began, measured: Measured | None
    ) -> CallStage:
        return CallStage(
            index=index,
            variant=order.variant,
            scenario=plan.scenario,
            start_ns=began.start_ns,
            end_ns=self._parts.now_ns() if measured is None else measured.end_ns,
            warmup_windows=began.warmup_windows,
            has_settled=began.has_settled,
            half_width=None if measured is None else measured.half_width,
            wanted_half_width=plan.half_width,
            rate_per_s=plan.rate_per_s,
            stopped_early=measured is None,
        )

    def _is_reference(self, order: VariantOrder) -> bool:
        first = self._spec.variants[0].model
        return order.model == first and order.precision == "as-is" and order.variant.provider == "cpu"

    def _rate_of(self, order: VariantOrder, scenario: ScenarioOrder, found: _Found) -> float | None:
        """In calls a second."""
        if scenario.share is None:
            return scenario.rate_per_s
        stages = [summarise_calls(self._parts.store.stage_calls(one.index), one) for one in found.call_stages]
        most_per_s = fastest_per_s(stages)
        return None if most_per_s is None else scenario.share * most_per_s / order.variant.batch

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
            self._telling.check(Check("GPU memory given back", names, None, None, "WARN", hint))

    def _held(self, before_gib: dict[int, float]) -> list[int]:
        now_gib = self._parts.gpu_memory_gib()
        return [index for index, was in before_gib.items() if now_gib.get(index, was) > was + _MEMORY_GIB]

    def _concluded(self, order: VariantOrder, found: _Found, failure: SizewiseError | None) -> MeasuredVariant:
        if failure is not None and self._interruption.is_requested:
            failure = None  # it was ended on purpose
        prepared, opened = found.prepared, found.opened
        peaks = [one.peak_memory_bytes for one in found.measured if one.peak_memory_bytes is not None]
        fidelities = [one.fidelity for one in found.measured if one.fidelity is not None]
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
            server_per_s=found.server_per_s,
            peak_memory_gib=max(peaks) / 2**30 if peaks else None,
            notes=() if prepared is None or opened is None else (*prepared.notes, *opened.notes),
        )
        return MeasuredVariant(
            order=order,
            facts=facts,
            call_stages=tuple(found.call_stages),
            checks=_checks(order, opened),
            path=None if prepared is None else prepared.path,
            scored=found.scored,
            is_reference=self._is_reference(order),
            error=failure,
        )


def is_of_many(variant: Variant) -> bool:
    """Whether it makes several calls at once."""
    return variant.streams > 1 or len(variant.devices) > 1


def _checks(order: VariantOrder, opened: Opened | None) -> tuple[Check, ...]:
    """Where it really ran."""
    if opened is None:
        return ()
    strays = strays_of(opened.placements)
    return (provider_check(order.variant.provider, opened.provider_used, strays, opened.provider_reason),)
