"""From what was measured of each variant to the result: verdict, the best of them, objectives, exit code.

What limits each variant, from its times, the model's costs, the processor's peaks, and the law of
its batches.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence

import msgspec
import pandas as pd

from app import __version__
from app.analysis.gating import causes_of, exit_of, invalid_cause
from app.analysis.gpu_use import gpu_use, throttling_check
from app.analysis.local.accuracy import accuracy_of, chance_check
from app.analysis.local.batch_law import BatchPoint, fit_batch_law
from app.analysis.local.call_stages import summarise_calls
from app.analysis.local.roofline import CallTimes, bound_of
from app.analysis.local.variants import (
    NO_VARIANT,
    Judgeable,
    as_fast_as,
    best_of,
    judge_by_answer,
    judge_gate_by_answer,
    nearest_of,
    with_headlines,
)
from app.analysis.stages import telemetry_metrics
from app.analysis.validity import clock_check, run_checks, telemetry_check, verdict_of
from app.errors import ExitCode
from app.inference.providers import NVIDIA
from app.records.estimate import Estimate, Variant
from app.records.local import Accuracy, BatchLaw, Bound, LocalResult, VariantFacts
from app.records.result import Artifact, Cause, Check, Environment, Result, Stage, Tool, Verdict, Window
from app.session.local.references import Scores
from app.session.local.spec import LocalParts, LocalSpec, VariantOrder
from app.session.local.variants import MeasuredVariant
from app.session.machine import gpus_of
from app.session.outcome import clock_of, held_against
from app.telemetry.clock import ClockReading

_ALONE = "single-stream"


def batch_laws_of(stages: Sequence[Stage]) -> tuple[BatchLaw, ...]:
    """Of variants that differ in their batch alone, where there are several, by their times of one call at a time."""
    groups: dict[tuple[object, ...], list[tuple[Variant, Stage]]] = {}
    for stage in stages:
        if stage.variant is not None and stage.tags["scenario"] == _ALONE:
            groups.setdefault(without_batch(stage.variant), []).append((stage.variant, stage))
    return tuple(
        fit_batch_law(
            [BatchPoint(variant.batch, _estimate(stage, "execute_ms")) for variant, stage in group],
            min((variant for variant, _ in group), key=lambda one: one.batch),
        )
        for group in groups.values()
        if len({variant.batch for variant, _ in group}) > 1
    )


def bound_of_variant(
    order: VariantOrder,
    path: str | None,
    facts: VariantFacts,
    stages: Sequence[Stage],
    laws: Sequence[BatchLaw],
    parts: LocalParts,
    environment: Environment,
) -> Bound | None:
    """`path` is of the file that was run. None where the variant was not timed with one call at a time."""
    alone = next((stage for stage in stages if stage.tags["scenario"] == _ALONE), None)
    if alone is None or path is None or alone.verdict.status == "INVALID":
        return None
    cost = parts.cost_of(path, facts.variant.batch, order.settings.axes)
    law = next((one for one in laws if without_batch(one.variant) == without_batch(facts.variant)), None)
    peaks = parts.peaks_of(order, environment, facts.size_bytes or 0)
    nodes = sum(one.nodes for one in facts.placements) or None
    return bound_of(_times(alone), cost, peaks, law, nodes)


def without_batch(variant: Variant) -> tuple[object, ...]:
    """What variants that differ in their batch alone have in common."""
    return variant.model, variant.provider, variant.precision, variant.threads, variant.streams, variant.devices


def _times(stage: Stage) -> CallTimes:
    return CallTimes(
        execute_ms=_estimate(stage, "execute_ms").value,
        prepare_ms=_estimate(stage, "prepare_ms").value,
        copy_in_ms=_estimate(stage, "copy_in_ms").value,
        copy_out_ms=_estimate(stage, "copy_out_ms").value,
        post_ms=_estimate(stage, "post_process_ms").value,
    )


def _estimate(stage: Stage, metric: str) -> Estimate:
    """Its median; the mean where there were too few calls for one."""
    found = stage.metrics.get(metric, {})
    median = found.get("p50", Estimate(None))
    return median if median.value is not None else found.get("mean", Estimate(None))


_ALIKE = 0.999
_SCALING = ("multi-stream", "offline")


class MeasuredLocally(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a local run found out, before it is judged. `idle`: when the GPUs had nothing to do."""

    environment: Environment
    variants: tuple[MeasuredVariant, ...]
    reference: Scores | None
    checks: tuple[Check, ...]
    lost_gpus: tuple[int, ...]
    telemetry: pd.DataFrame
    idle: Window | None
    started: ClockReading
    ended: ClockReading
    wall_start: datetime.datetime
    limit_reached: str | None
    interrupted: ExitCode | None
    notes: tuple[str, ...] = ()


def conclude_locally(
    spec: LocalSpec, parts: LocalParts, measured: MeasuredLocally, artifacts: tuple[Artifact, ...]
) -> Result:
    """The result of a local run, however it ended. `parts` read rows back, and what models and processors are."""
    variants = tuple(_whole(parts, measured, one) for one in measured.variants)
    stages = tuple(stage for one in variants for stage in one.stages)
    laws = batch_laws_of(stages)
    variants = tuple(_with_scaling(one, variants) for one in variants)
    stages = tuple(stage for one in variants for stage in one.stages)
    variants = tuple(
        _with_bound(one, two, laws, parts, measured) for one, two in zip(measured.variants, variants, strict=True)
    )
    validity = (*measured.checks, *_checks(spec, measured, variants))
    verdict = verdict_of(validity)
    best, reason = best_of(variants, spec.slo)
    answering = best or nearest_of(variants, spec.slo)
    judged_on = () if answering is None else answering.answering(spec.slo)
    slo = tuple(judge_by_answer(objective, judged_on) for objective in spec.slo)
    gates = tuple(judge_gate_by_answer(gate, judged_on, stages) for gate in spec.gates)
    spoilt = verdict_of([check for check in validity if check.verdict == "INVALID"])
    is_missed = reason == "missed" and "slo" in spec.gating.kinds
    causes = _causes(measured, spoilt, causes_of((*slo, *gates), spec.gating), is_missed=is_missed)
    result = Result(
        tool=Tool("sizewise", __version__),
        run_id=spec.run_id,
        name=spec.name,
        profile_hash=spec.profile_hash,
        target=spec.target,
        environment=measured.environment,
        clock=clock_of(measured.started, measured.ended, measured.wall_start),
        verdict=verdict,
        validity=validity,
        stages=with_headlines(spec.slo, stages),
        max_rate=None,
        slo=slo,
        gates=gates,
        plan=None,
        local=LocalResult(
            variants=tuple(one.facts for one in variants),
            batch_laws=laws,
            best=None if best is None else best.facts.variant,
            best_reason=reason,
            as_fast=() if best is None else as_fast_as(best, variants, spec.slo),
            usd_per_hour=spec.usd_per_hour,
            price_note=spec.price_note,
            price_basis="measured" if spec.usd_per_hour is None else "assumed",
        ),
        notes=tuple(dict.fromkeys((*measured.notes, *_variant_notes(variants)))),
        workload_hash=spec.workload_hash,
        artifacts=artifacts,
        exit=exit_of(causes),
    )
    return held_against(result, spec.baseline, spec.gating)


def _whole(parts: LocalParts, measured: MeasuredLocally, one: MeasuredVariant) -> Judgeable:
    """With the accuracy beside the reference's, and with what was read of the machine."""
    accuracy = None
    if one.scored is not None:
        is_same = measured.reference is not None and measured.reference.metric == one.scored.metric
        beside = measured.reference.values if is_same and measured.reference is not None else None
        accuracy = accuracy_of(one.scored.values, beside, one.scored.metric)
        if one.is_reference:  # what it keeps of itself is no matter of chance
            kept = Estimate(1.0, (1.0, 1.0), n=accuracy.value.n)
            accuracy = msgspec.structs.replace(accuracy, change=None, kept=kept, p_value=None, test=None)
    stages = []
    for number, facts in enumerate(one.call_stages):
        stage = summarise_calls(parts.store.stage_calls(facts.index), facts, one.checks)
        stage = _with_telemetry(stage, measured)
        if number == 0:
            metrics = {**stage.metrics, **_cold(one.facts), **_accuracy_metrics(accuracy)}
            stage = msgspec.structs.replace(stage, metrics=metrics)
        stages.append(stage)
    return Judgeable(msgspec.structs.replace(one.facts, accuracy=accuracy), tuple(stages))


def _with_scaling(one: Judgeable, variants: Sequence[Judgeable]) -> Judgeable:
    """Of several devices at once: their throughput, of so many times that of the first one alone."""
    variant = one.facts.variant
    if len(variant.devices) < 2:
        return one
    single = msgspec.structs.replace(variant, devices=variant.devices[:1])
    alone = next((other for other in variants if other.facts.variant == single), None)
    if alone is None:
        return one
    return msgspec.structs.replace(one, stages=tuple(_scaled(stage, alone.stages) for stage in one.stages))


def _scaled(stage: Stage, alone: Sequence[Stage]) -> Stage:
    assert stage.variant is not None
    same = next((other for other in alone if other.tags == stage.tags), None)
    if stage.tags["scenario"] not in _SCALING or same is None:
        return stage
    many, first = (found.metrics["throughput_per_s"]["value"].value for found in (stage, same))
    if not many or not first:
        return stage
    efficiency = {"value": Estimate(many / (len(stage.variant.devices) * first))}
    return msgspec.structs.replace(stage, metrics={**stage.metrics, "scaling_efficiency": efficiency})


def _with_telemetry(stage: Stage, measured: MeasuredLocally) -> Stage:
    """With the readings of its window; of what ran on GPUs, with their energy and whether they were held back."""
    assert stage.variant is not None
    metrics = {**stage.metrics, **telemetry_metrics(measured.telemetry, stage.window)}
    if stage.variant.provider not in NVIDIA:
        return msgspec.structs.replace(stage, metrics=metrics)
    sources = [f"gpu{gpu.index}" for gpu in gpus_of(stage.variant, measured.environment.gpus)]
    inferences = stage.completed * stage.variant.batch
    metrics |= gpu_use(measured.telemetry, stage.window, measured.idle, inferences=inferences, sources=sources)
    held_back = throttling_check(measured.telemetry, stage.window, sources)
    checks = stage.checks if held_back is None else (*stage.checks, held_back)
    return msgspec.structs.replace(stage, metrics=metrics, checks=checks, verdict=verdict_of(checks))


def _with_bound(
    one: MeasuredVariant, whole: Judgeable, laws: tuple[BatchLaw, ...], parts: LocalParts, measured: MeasuredLocally
) -> Judgeable:
    bound = bound_of_variant(one.order, one.path, whole.facts, whole.stages, laws, parts, measured.environment)
    return msgspec.structs.replace(whole, facts=msgspec.structs.replace(whole.facts, bound=bound))


def _cold(facts: VariantFacts) -> dict[str, dict[str, Estimate]]:
    """The medians of the cold starts without anything kept."""
    anew = [one for one in facts.cold_starts if not one.is_cached]
    if not anew:
        return {}
    parts = {
        "process_start_ms": [one.process_ms for one in anew],
        "library_load_ms": [one.library_load_ms for one in anew],
        "session_build_ms": [one.session_build_ms for one in anew],
        "first_inference_ms": [one.first_inference_ms for one in anew],
    }
    return {
        name: {"value": Estimate(float(pd.Series(values).median()), n=len(values))} for name, values in parts.items()
    }


def _accuracy_metrics(accuracy: Accuracy | None) -> dict[str, dict[str, Estimate]]:
    if accuracy is None:
        return {}
    metrics = {"accuracy": {"value": accuracy.value}} if accuracy.metric == "top-1" else {}
    if accuracy.kept is not None:
        metrics["accuracy_kept"] = {"value": accuracy.kept}
    return metrics


def _checks(spec: LocalSpec, measured: MeasuredLocally, variants: tuple[Judgeable, ...]) -> tuple[Check, ...]:
    stages = [stage for one in variants for stage in one.answering(spec.slo)]
    checks = [*run_checks(stages)]
    for one in variants:
        if one.facts.failure is not None and not one.facts.is_left_out:
            told = f"{one.facts.failure}." + (f" {one.facts.hint}" if one.facts.hint else "")
            checks.append(Check("variant_ended", one.facts.variant.label, None, None, "WARN", told))
    was_ended = measured.interrupted is not None or measured.limit_reached is not None
    whole = sum(bool(one.stages) and one.facts.failure is None for one in variants)
    if variants and not whole and not was_ended:
        checks.append(Check("variants", 0, 1, "measured", "INVALID", "Not one variant was measured to its end."))
    checks += [check for one in variants if (check := _same_outputs(one.facts)) is not None]
    chance = next((one.scored.chance for one in measured.variants if one.scored is not None), None)
    checks += [check for one in variants if (check := _above_chance(one.facts, chance)) is not None]
    if stages:
        checks.append(telemetry_check(measured.telemetry))
    clock = clock_of(measured.started, measured.ended, measured.wall_start)
    checks.append(clock_check(clock, measured.ended.suspended_since(measured.started)))
    if measured.lost_gpus:
        names = ", ".join(f"GPU {index}" for index in measured.lost_gpus)
        hint = "Look at the driver's log (dmesg); the measurement stands on a card that went away."
        checks.append(Check("gpu_lost", names, None, None, "INVALID", hint))
    return tuple(checks)


def _above_chance(facts: VariantFacts, chance: float | None) -> Check | None:
    """None where there is nothing to warn of."""
    if facts.accuracy is None or facts.accuracy.metric != "top-1":
        return None
    check = chance_check(facts.accuracy.value, chance, f"{facts.variant.label}: ")
    return check if check is not None and check.verdict != "VALID" else None


def _same_outputs(facts: VariantFacts) -> Check | None:
    """A model as it is, on the CPU, against itself: None where it answers alike, or is not one."""
    is_itself = facts.variant.provider == "cpu" and facts.variant.precision == "as-is"
    least = None if facts.fidelity is None else facts.fidelity.cosine_least
    if not is_itself or least is None or least >= _ALIKE:
        return None
    hint = f"{facts.variant.model} answers the same rows otherwise each time: what its variants keep cannot be told."
    return Check("same_outputs", least, _ALIKE, "cosine", "WARN", hint)


def _variant_notes(variants: Sequence[Judgeable]) -> Iterator[str]:
    """Each once, with the variants it is of where it is not of all."""
    told: dict[str, list[str]] = {}
    variants = [one for one in variants if not one.facts.is_left_out]
    for one in variants:
        for note in one.facts.notes:
            told.setdefault(note, []).append(one.facts.variant.label)
    for note, labels in told.items():
        whose = "" if len(labels) == len(variants) else f"{labels[0]}{', and others' if len(labels) > 1 else ''}: "
        yield f"{whose}{note}"


def _causes(measured: MeasuredLocally, verdict: Verdict, judged: list[Cause], *, is_missed: bool) -> list[Cause]:
    causes: list[Cause] = []
    if measured.interrupted is not None:
        causes.append(Cause("interrupted", measured.interrupted, "stopped by the user"))
    if verdict.status == "INVALID":
        causes.append(invalid_cause(verdict))
    if measured.limit_reached is not None:
        causes.append(Cause("limit", ExitCode.LIMIT, measured.limit_reached))
    causes += judged
    if is_missed and verdict.status != "INVALID" and all(cause.code != ExitCode.GATE_FAILED for cause in causes):
        causes.append(NO_VARIANT)
    return causes
