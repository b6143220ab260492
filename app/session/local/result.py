"""Builds the result of a local run from the measured variants: verdict, best variant, objectives
and exit code.

The bottleneck of each variant is derived from its call durations, the cost of an inference, the
peak rates of the processor, and the fitted batch latency model."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence

import msgspec
import pandas as pd

from app import __version__
from app.analysis.gating import build_exit, build_invalid_cause, find_causes
from app.analysis.gpu_use import check_throttling, compute_gpu_metrics
from app.analysis.local.accuracy import check_chance_accuracy, compute_accuracy
from app.analysis.local.batch_model import BatchPoint, fit_batch_model
from app.analysis.local.call_stages import summarize_calls
from app.analysis.local.roofline import CallDurations, find_bottleneck
from app.analysis.local.variants import (
    NO_VARIANT,
    VariantResult,
    evaluate_variant_gate,
    evaluate_variant_objective,
    find_best_variant,
    find_equally_fast_variants,
    find_nearest_variant,
    mark_variant_headlines,
)
from app.analysis.stages import compute_telemetry_metrics
from app.analysis.validity import check_telemetry, check_wall_clock, combine_stage_checks, compute_verdict
from app.errors import ExitCode
from app.inference.providers import NVIDIA_PROVIDERS
from app.records.estimate import Estimate, Variant
from app.records.local import Accuracy, BatchModel, Bottleneck, LocalResult, VariantData
from app.records.result import Artifact, Cause, Check, Environment, Result, Stage, Tool, Verdict, Window
from app.session.local.references import Scores
from app.session.local.spec import LocalDependencies, LocalSpec, VariantSpec
from app.session.local.variants import MeasuredVariant
from app.session.machine import find_gpus
from app.session.result import build_clock, compare_with_baseline
from app.telemetry.clock import ClockReading

_SINGLE_STREAM = "single-stream"


def fit_batch_models(stages: Sequence[Stage]) -> tuple[BatchModel, ...]:
    """Fit a batch latency model to the single-stream stages of each group of variants that differ
    only in batch size."""
    variants_by_key: dict[tuple[object, ...], list[tuple[Variant, Stage]]] = {}
    for stage in stages:
        if stage.variant is not None and stage.tags["scenario"] == _SINGLE_STREAM:
            variants_by_key.setdefault(build_key_without_batch(stage.variant), []).append((stage.variant, stage))
    return tuple(
        fit_batch_model(
            [BatchPoint(variant.batch, _get_median_or_mean(stage, "execute_ms")) for variant, stage in group],
            min((variant for variant, _ in group), key=lambda variant: variant.batch),
        )
        for group in variants_by_key.values()
        if len({variant.batch for variant, _ in group}) > 1
    )


def find_variant_bottleneck(
    variant_spec: VariantSpec,
    path: str | None,
    variant_data: VariantData,
    stages: Sequence[Stage],
    batch_models: Sequence[BatchModel],
    dependencies: LocalDependencies,
    environment: Environment,
) -> Bottleneck | None:
    """Return the bottleneck of a variant; `None` if the variant has no valid single-stream stage.
    `path` is the model file that was run."""
    single_stream = next((stage for stage in stages if stage.tags["scenario"] == _SINGLE_STREAM), None)
    if single_stream is None or path is None or single_stream.verdict.status == "INVALID":
        return None
    cost = dependencies.compute_cost(path, variant_data.variant.batch, variant_spec.settings.axes)
    batch_model = next(
        (
            model
            for model in batch_models
            if build_key_without_batch(model.variant) == build_key_without_batch(variant_data.variant)
        ),
        None,
    )
    peaks = dependencies.find_peaks(variant_spec, environment, variant_data.size_bytes or 0)
    nodes = sum(placement.nodes for placement in variant_data.placements) or None
    return find_bottleneck(_build_call_durations(single_stream), cost, peaks, batch_model, nodes)


def build_key_without_batch(variant: Variant) -> tuple[object, ...]:
    """Return a key that is equal for variants that differ only in batch size."""
    return variant.model, variant.provider, variant.precision, variant.threads, variant.streams, variant.devices


def _build_call_durations(stage: Stage) -> CallDurations:
    return CallDurations(
        execute_ms=_get_median_or_mean(stage, "execute_ms").value,
        prepare_ms=_get_median_or_mean(stage, "prepare_ms").value,
        copy_in_ms=_get_median_or_mean(stage, "copy_in_ms").value,
        copy_out_ms=_get_median_or_mean(stage, "copy_out_ms").value,
        post_ms=_get_median_or_mean(stage, "post_process_ms").value,
    )


def _get_median_or_mean(stage: Stage, metric: str) -> Estimate:
    """Return the median of a metric of a stage, or the mean if there were too few calls for a
    median."""
    aggregates = stage.metrics.get(metric, {})
    median = aggregates.get("p50", Estimate(None))
    return median if median.value is not None else aggregates.get("mean", Estimate(None))


_MIN_COSINE_SIMILARITY = 0.999
_SCALING_SCENARIOS = ("multi-stream", "offline")


class LocalMeasurements(msgspec.Struct, frozen=True, kw_only=True):
    """All measurements of a local run before evaluation. `idle` is the time window in which the
    GPUs were idle; `None` if the idle power was not measured."""

    environment: Environment
    variants: tuple[MeasuredVariant, ...]
    reference: Scores | None
    checks: tuple[Check, ...]
    lost_gpus: tuple[int, ...]
    telemetry: pd.DataFrame
    idle: Window | None
    start_clock: ClockReading
    end_clock: ClockReading
    wall_start: datetime.datetime
    limit_reached: str | None
    interruption_code: ExitCode | None
    notes: tuple[str, ...] = ()


def build_local_result(
    spec: LocalSpec, dependencies: LocalDependencies, measured: LocalMeasurements, artifacts: tuple[Artifact, ...]
) -> Result:
    """Build the result of a local run, which may have been interrupted or aborted.

    `dependencies` provides the stored rows, and describes models and processors."""
    variants = tuple(_evaluate_variant(dependencies, measured, variant) for variant in measured.variants)
    stages = tuple(stage for variant in variants for stage in variant.stages)
    batch_models = fit_batch_models(stages)
    variants = tuple(_add_scaling(variant, variants) for variant in variants)
    stages = tuple(stage for variant in variants for stage in variant.stages)
    variants = tuple(
        _add_bottleneck(variant, variant_result, batch_models, dependencies, measured)
        for variant, variant_result in zip(measured.variants, variants, strict=True)
    )
    validity = (*measured.checks, *_build_checks(spec, measured, variants))
    verdict = compute_verdict(validity)
    best_variant, best_reason = find_best_variant(variants, spec.slo)
    headline_variant = best_variant or find_nearest_variant(variants, spec.slo)
    evaluated_stages = () if headline_variant is None else headline_variant.get_headline_stages(spec.slo)
    slo = tuple(evaluate_variant_objective(objective, evaluated_stages) for objective in spec.slo)
    gates = tuple(evaluate_variant_gate(gate, evaluated_stages, stages) for gate in spec.gates)
    invalid_verdict = compute_verdict([check for check in validity if check.verdict == "INVALID"])
    has_missed_slo = best_reason == "missed" and "slo" in spec.gating.kinds
    causes = _build_causes(
        measured, invalid_verdict, find_causes((*slo, *gates), spec.gating), has_missed_slo=has_missed_slo
    )
    result = Result(
        tool=Tool("sizewise", __version__),
        run_id=spec.run_id,
        name=spec.name,
        profile_hash=spec.profile_hash,
        target=spec.target,
        environment=measured.environment,
        clock=build_clock(measured.start_clock, measured.end_clock, measured.wall_start),
        verdict=verdict,
        validity=validity,
        stages=mark_variant_headlines(spec.slo, stages),
        max_rate=None,
        slo=slo,
        gates=gates,
        plan=None,
        local=LocalResult(
            variants=tuple(variant.data for variant in variants),
            batch_models=batch_models,
            best=None if best_variant is None else best_variant.data.variant,
            best_reason=best_reason,
            equally_fast=() if best_variant is None else find_equally_fast_variants(best_variant, variants, spec.slo),
            usd_per_hour=spec.usd_per_hour,
            price_note=spec.price_note,
            price_basis="measured" if spec.usd_per_hour is None else "assumed",
        ),
        notes=tuple(dict.fromkeys((*measured.notes, *_build_variant_notes(variants)))),
        workload_hash=spec.workload_hash,
        artifacts=artifacts,
        exit=build_exit(causes),
    )
    return compare_with_baseline(result, spec.baseline, spec.gating)


def _evaluate_variant(
    dependencies: LocalDependencies, measured: LocalMeasurements, measured_variant: MeasuredVariant
) -> VariantResult:
    """Evaluate a measured variant: summarize its stages with telemetry metrics, and compute its
    accuracy relative to the reference."""
    accuracy = None
    if measured_variant.scores is not None:
        is_comparable = measured.reference is not None and measured.reference.metric == measured_variant.scores.metric
        reference_values = measured.reference.values if is_comparable and measured.reference is not None else None
        accuracy = compute_accuracy(measured_variant.scores.values, reference_values, measured_variant.scores.metric)
        # The accuracy retained by a model relative to itself is exactly 1, so there is no test.
        if measured_variant.is_reference:
            retained = Estimate(1.0, (1.0, 1.0), n=accuracy.value.n)
            accuracy = msgspec.structs.replace(accuracy, change=None, retained=retained, p_value=None, test=None)
    stages = []
    for position, stage_data in enumerate(measured_variant.call_stages):
        stage = summarize_calls(dependencies.store.stage_calls(stage_data.index), stage_data, measured_variant.checks)
        stage = _add_telemetry(stage, measured)
        if position == 0:
            metrics = {
                **stage.metrics,
                **_build_cold_start_metrics(measured_variant.data),
                **_build_accuracy_metrics(accuracy),
            }
            stage = msgspec.structs.replace(stage, metrics=metrics)
        stages.append(stage)
    return VariantResult(msgspec.structs.replace(measured_variant.data, accuracy=accuracy), tuple(stages))


def _add_scaling(result: VariantResult, variants: Sequence[VariantResult]) -> VariantResult:
    """Add the scaling efficiency to the stages of a variant with several devices: throughput /
    (number of devices × throughput of the first device alone)."""
    variant = result.data.variant
    if len(variant.devices) < 2:
        return result
    single_device_variant = msgspec.structs.replace(variant, devices=variant.devices[:1])
    single_result = next((candidate for candidate in variants if candidate.data.variant == single_device_variant), None)
    if single_result is None:
        return result
    return msgspec.structs.replace(
        result, stages=tuple(_add_efficiency(stage, single_result.stages) for stage in result.stages)
    )


def _add_efficiency(stage: Stage, single_stages: Sequence[Stage]) -> Stage:
    assert stage.variant is not None
    single_stage = next((candidate for candidate in single_stages if candidate.tags == stage.tags), None)
    if stage.tags["scenario"] not in _SCALING_SCENARIOS or single_stage is None:
        return stage
    total_throughput, single_throughput = (
        measured_stage.metrics["throughput_per_s"]["value"].value for measured_stage in (stage, single_stage)
    )
    if not total_throughput or not single_throughput:
        return stage
    efficiency = {"value": Estimate(total_throughput / (len(stage.variant.devices) * single_throughput))}
    return msgspec.structs.replace(stage, metrics={**stage.metrics, "scaling_efficiency": efficiency})


def _add_telemetry(stage: Stage, measured: LocalMeasurements) -> Stage:
    """Add the telemetry metrics within the time window of the stage. For stages on GPUs, also add
    energy metrics and a throttling check."""
    assert stage.variant is not None
    metrics = {**stage.metrics, **compute_telemetry_metrics(measured.telemetry, stage.window)}
    if stage.variant.provider not in NVIDIA_PROVIDERS:
        return msgspec.structs.replace(stage, metrics=metrics)
    sources = [f"gpu{gpu.index}" for gpu in find_gpus(stage.variant, measured.environment.gpus)]
    inferences = stage.completed * stage.variant.batch
    metrics |= compute_gpu_metrics(
        measured.telemetry, stage.window, measured.idle, inferences=inferences, sources=sources
    )
    throttling = check_throttling(measured.telemetry, stage.window, sources)
    checks = stage.checks if throttling is None else (*stage.checks, throttling)
    return msgspec.structs.replace(stage, metrics=metrics, checks=checks, verdict=compute_verdict(checks))


def _add_bottleneck(
    measured_variant: MeasuredVariant,
    result: VariantResult,
    batch_models: tuple[BatchModel, ...],
    dependencies: LocalDependencies,
    measured: LocalMeasurements,
) -> VariantResult:
    bottleneck = find_variant_bottleneck(
        measured_variant.variant_spec,
        measured_variant.path,
        result.data,
        result.stages,
        batch_models,
        dependencies,
        measured.environment,
    )
    return msgspec.structs.replace(result, data=msgspec.structs.replace(result.data, bottleneck=bottleneck))


def _build_cold_start_metrics(variant_data: VariantData) -> dict[str, dict[str, Estimate]]:
    """Return the median of each cold-start time, over the cold starts without a cached optimized
    model; empty if there are none."""
    uncached_starts = [start for start in variant_data.cold_starts if not start.is_cached]
    if not uncached_starts:
        return {}
    times_ms = {
        "process_start_ms": [start.process_ms for start in uncached_starts],
        "library_load_ms": [start.library_load_ms for start in uncached_starts],
        "session_build_ms": [start.session_build_ms for start in uncached_starts],
        "first_inference_ms": [start.first_inference_ms for start in uncached_starts],
    }
    return {
        name: {"value": Estimate(float(pd.Series(values).median()), n=len(values))} for name, values in times_ms.items()
    }


def _build_accuracy_metrics(accuracy: Accuracy | None) -> dict[str, dict[str, Estimate]]:
    if accuracy is None:
        return {}
    metrics = {"accuracy": {"value": accuracy.value}} if accuracy.metric == "top-1" else {}
    if accuracy.retained is not None:
        metrics["accuracy_retained"] = {"value": accuracy.retained}
    return metrics


def _build_checks(
    spec: LocalSpec, measured: LocalMeasurements, variants: tuple[VariantResult, ...]
) -> tuple[Check, ...]:
    stages = [stage for result in variants for stage in result.get_headline_stages(spec.slo)]
    checks = [*combine_stage_checks(stages)]
    for result in variants:
        if result.data.failure is not None and not result.data.is_excluded:
            hint = f"{result.data.failure}." + (f" {result.data.hint}" if result.data.hint else "")
            checks.append(Check("variant_ended", result.data.variant.label, None, None, "WARN", hint))
    has_ended = measured.interruption_code is not None or measured.limit_reached is not None
    complete_count = sum(bool(result.stages) and result.data.failure is None for result in variants)
    if variants and not complete_count and not has_ended:
        checks.append(
            Check(
                "variants",
                0,
                1,
                "measured",
                "INVALID",
                "No variant was measured completely. See why each variant ended.",
            )
        )
    checks += [check for result in variants if (check := _build_repeatability_check(result.data)) is not None]
    chance_accuracy = next(
        (result.scores.chance_accuracy for result in measured.variants if result.scores is not None), None
    )
    checks += [check for result in variants if (check := _build_chance_check(result.data, chance_accuracy)) is not None]
    if stages:
        checks.append(check_telemetry(measured.telemetry))
    clock = build_clock(measured.start_clock, measured.end_clock, measured.wall_start)
    checks.append(check_wall_clock(clock, measured.end_clock.compute_suspended_s(measured.start_clock)))
    if measured.lost_gpus:
        names = ", ".join(f"GPU {index}" for index in measured.lost_gpus)
        hint = "A GPU disappeared during the measurement. Check the driver log (dmesg)."
        checks.append(Check("gpu_lost", names, None, None, "INVALID", hint))
    return tuple(checks)


def _build_chance_check(variant_data: VariantData, chance_accuracy: float | None) -> Check | None:
    """Return a warning if the accuracy of a variant is not clearly above chance; otherwise
    `None`."""
    if variant_data.accuracy is None or variant_data.accuracy.metric != "top-1":
        return None
    check = check_chance_accuracy(variant_data.accuracy.value, chance_accuracy, f"{variant_data.variant.label}: ")
    return check if check is not None and check.verdict != "VALID" else None


def _build_repeatability_check(variant_data: VariantData) -> Check | None:
    """Return a warning if the outputs of the unmodified model on the CPU differ from the reference
    outputs; otherwise, and for all other variants, return `None`."""
    is_unmodified = variant_data.variant.provider == "cpu" and variant_data.variant.precision == "as-is"
    min_cosine = None if variant_data.fidelity is None else variant_data.fidelity.cosine_min
    if not is_unmodified or min_cosine is None or min_cosine >= _MIN_COSINE_SIMILARITY:
        return None
    model = variant_data.variant.model
    hint = f"{model} is not deterministic, so the accuracy retained by its variants cannot be determined."
    return Check("same_outputs", min_cosine, _MIN_COSINE_SIMILARITY, "cosine", "WARN", hint)


def _build_variant_notes(variants: Sequence[VariantResult]) -> Iterator[str]:
    """Yield the notes of all variants without duplicates. A note that does not apply to all
    variants is prefixed with the label of the first variant that has it."""
    labels_by_note: dict[str, list[str]] = {}
    variants = [variant for variant in variants if not variant.data.is_excluded]
    for variant in variants:
        for note in variant.data.notes:
            labels_by_note.setdefault(note, []).append(variant.data.variant.label)
    for note, labels in labels_by_note.items():
        prefix = "" if len(labels) == len(variants) else f"{labels[0]}{', and others' if len(labels) > 1 else ''}: "
        yield f"{prefix}{note}"


def _build_causes(
    measured: LocalMeasurements, verdict: Verdict, gate_causes: list[Cause], *, has_missed_slo: bool
) -> list[Cause]:
    causes: list[Cause] = []
    if measured.interruption_code is not None:
        causes.append(Cause("interrupted", measured.interruption_code, "stopped by the user"))
    if verdict.status == "INVALID":
        causes.append(build_invalid_cause(verdict))
    if measured.limit_reached is not None:
        causes.append(Cause("limit", ExitCode.LIMIT, measured.limit_reached))
    causes += gate_causes
    if has_missed_slo and verdict.status != "INVALID" and all(cause.code != ExitCode.GATE_FAILED for cause in causes):
        causes.append(NO_VARIANT)
    return causes
