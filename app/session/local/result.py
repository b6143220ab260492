"""Build the result of a local run from the measured variants: verdict, best variant, objectives
and exit code.

The bottleneck of each variant is derived from its call durations, the cost of an inference, the
peak rates of the processor, and the fitted batch latency model."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence

import msgspec
import pandas as pd

from app import __version__
from app.analysis.gating import build_exit, build_invalid_cause, find_causes
from app.analysis.gpu_use import MetricSamples, check_throttling, compute_gpu_metrics
from app.analysis.local.accuracy import check_chance_accuracy, compute_accuracy
from app.analysis.local.batch_model import BatchPoint, fit_batch_model
from app.analysis.local.call_stages import summarize_calls
from app.analysis.local.generation import check_drift
from app.analysis.local.generation_roofline import locate_test, select_data_type
from app.analysis.local.perplexity import estimate_text_quality
from app.analysis.local.roofline import CallDurations, find_bottleneck
from app.analysis.local.variants import (
    NO_VARIANT_CAUSE,
    VariantResult,
    evaluate_variant_gate,
    evaluate_variant_objective,
    find_best_variant,
    find_equally_fast_variants,
    find_nearest_variant,
    mark_variant_headlines,
)
from app.analysis.stages import compute_telemetry_metrics, read_metric_samples
from app.analysis.validity import (
    check_telemetry,
    check_upper_limit,
    check_wall_clock,
    combine_stage_checks,
    compute_verdict,
)
from app.errors import ExitCode
from app.inference.providers import NVIDIA_PROVIDERS
from app.records.calls import CallStage
from app.records.estimate import Estimate, Variant
from app.records.generation import DecoderCosts, TextQuality
from app.records.local import Accuracy, BatchModel, Bottleneck, LocalResult, VariantData
from app.records.result import Artifact, Cause, Check, Environment, Result, Stage, Tool, Verdict, Window
from app.records.telemetry_sources import name_gpu_source
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
    variant_stages_by_key: dict[tuple[object, ...], list[tuple[Variant, Stage]]] = {}
    for stage in stages:
        if stage.variant is not None and stage.tags["scenario"] == _SINGLE_STREAM:
            variant_stages_by_key.setdefault(build_key_without_batch(stage.variant), []).append((stage.variant, stage))
    return tuple(
        fit_batch_model(
            [BatchPoint(variant.batch, _get_median_or_mean(stage, "execute_ms")) for variant, stage in group],
            min((variant for variant, _ in group), key=lambda variant: variant.batch),
        )
        for group in variant_stages_by_key.values()
        if len({variant.batch for variant, _ in group}) > 1
    )


def find_variant_bottleneck(
    variant_spec: VariantSpec,
    model_path: str | None,
    variant_data: VariantData,
    stages: Sequence[Stage],
    batch_models: Sequence[BatchModel],
    dependencies: LocalDependencies,
    environment: Environment,
) -> Bottleneck | None:
    """Return the bottleneck of a variant; `None` if the variant has no valid single-stream stage.
    `model_path` is the model file that was run."""
    single_stream_stage = next((stage for stage in stages if stage.tags["scenario"] == _SINGLE_STREAM), None)
    if single_stream_stage is None or model_path is None or single_stream_stage.verdict.status == "INVALID":
        return None
    cost = dependencies.compute_cost(model_path, variant_data.variant.batch, variant_spec.settings.axes)
    batch_model = next(
        (
            model
            for model in batch_models
            if build_key_without_batch(model.variant) == build_key_without_batch(variant_data.variant)
        ),
        None,
    )
    peaks = dependencies.find_peaks(variant_spec, environment, variant_data.size_bytes or 0, None)
    node_count = sum(placement.nodes for placement in variant_data.placements) or None
    return find_bottleneck(_build_call_durations(single_stream_stage), cost, peaks, batch_model, node_count)


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
    estimates = stage.metrics.get(metric, {})
    median = estimates.get("p50", Estimate(None))
    return median if median.value is not None else estimates.get("mean", Estimate(None))


_MIN_COSINE_SIMILARITY = 0.999
_SCALING_SCENARIOS = ("multi-stream", "offline")


class LocalMeasurements(msgspec.Struct, frozen=True, kw_only=True):
    """All measurements of a local run before evaluation. `idle_window` is the time window in which
    the GPUs were idle; `None` if the idle power was not measured."""

    environment: Environment
    variants: tuple[MeasuredVariant, ...]
    reference: Scores | None
    checks: tuple[Check, ...]
    lost_gpus: tuple[int, ...]
    telemetry: pd.DataFrame
    idle_window: Window | None
    start_clock: ClockReading
    end_clock: ClockReading
    wall_start: datetime.datetime
    stop_reason: str | None
    interruption_code: ExitCode | None
    notes: tuple[str, ...] = ()


def build_local_result(
    spec: LocalSpec, dependencies: LocalDependencies, measurements: LocalMeasurements, artifacts: tuple[Artifact, ...]
) -> Result:
    """Build the result of a local run, which may have been interrupted or aborted.

    `dependencies` provides the stored rows, and describes models and processors."""
    samples = read_metric_samples(measurements.telemetry)
    variants = tuple(
        _evaluate_variant(dependencies, measurements, samples, variant) for variant in measurements.variants
    )
    stages = tuple(stage for variant in variants for stage in variant.stages)
    batch_models = fit_batch_models(stages)
    variants = tuple(_add_scaling_efficiency(variant, variants) for variant in variants)
    variants = tuple(_add_drift_check(variant) for variant in variants)
    variants = tuple(
        _add_bottleneck(variant, variant_result, batch_models, dependencies, measurements)
        for variant, variant_result in zip(measurements.variants, variants, strict=True)
    )
    stages = tuple(stage for variant in variants for stage in variant.stages)
    validity = (*measurements.checks, *_build_checks(spec, measurements, variants))
    verdict = compute_verdict(validity)
    best_variant, best_reason = find_best_variant(variants, spec.slo)
    headline_variant = best_variant or find_nearest_variant(variants, spec.slo)
    evaluated_stages = () if headline_variant is None else headline_variant.get_headline_stages(spec.slo)
    slo = tuple(evaluate_variant_objective(objective, evaluated_stages) for objective in spec.slo)
    gates = tuple(evaluate_variant_gate(gate, evaluated_stages, stages) for gate in spec.gates)
    invalid_verdict = compute_verdict([check for check in validity if check.verdict == "INVALID"])
    has_missed_slo = best_reason == "missed" and "slo" in spec.gating.kinds
    causes = _build_causes(
        measurements, invalid_verdict, find_causes((*slo, *gates), spec.gating), has_missed_slo=has_missed_slo
    )
    result = Result(
        tool=Tool("sizewise", __version__),
        run_id=spec.run_id,
        name=spec.name,
        profile_hash=spec.profile_hash,
        target=spec.target,
        environment=measurements.environment,
        clock=build_clock(measurements.start_clock, measurements.end_clock, measurements.wall_start),
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
        notes=tuple(dict.fromkeys((*measurements.notes, *_build_variant_notes(variants)))),
        workload_hash=spec.workload_hash,
        artifacts=artifacts,
        exit=build_exit(causes),
    )
    return compare_with_baseline(result, spec.baseline, spec.gating)


def _evaluate_variant(
    dependencies: LocalDependencies,
    measurements: LocalMeasurements,
    samples: Mapping[str, MetricSamples],
    measured_variant: MeasuredVariant,
) -> VariantResult:
    """Evaluate a measured variant: summarize its stages with telemetry metrics, and compute its
    accuracy relative to the reference."""
    accuracy = None
    if measured_variant.scores is not None:
        is_comparable = (
            measurements.reference is not None and measurements.reference.metric == measured_variant.scores.metric
        )
        reference_values = (
            measurements.reference.values if is_comparable and measurements.reference is not None else None
        )
        accuracy = compute_accuracy(measured_variant.scores.values, reference_values, measured_variant.scores.metric)
        # The accuracy retained by a model relative to itself is exactly 1, so there is no test.
        if measured_variant.is_reference:
            retained = Estimate(1.0, (1.0, 1.0), n=accuracy.value.n)
            accuracy = msgspec.structs.replace(accuracy, change=None, retained=retained, p_value=None, test=None)
    quality = _estimate_quality(measurements, measured_variant)
    stages = []
    for position, stage_data in enumerate(measured_variant.call_stages):
        stage = summarize_calls(dependencies.store.stage_calls(stage_data.index), stage_data, measured_variant.checks)
        stage = _add_telemetry(stage, stage_data, measurements, samples)
        if position == 0:
            metrics = {
                **stage.metrics,
                **_build_cold_start_metrics(measured_variant.data),
                **_build_accuracy_metrics(accuracy),
                **_build_quality_metrics(quality),
            }
            stage = msgspec.structs.replace(stage, metrics=metrics)
        stages.append(stage)
    language_model = measured_variant.data.language_model
    if language_model is not None:
        language_model = msgspec.structs.replace(
            language_model, quality=quality, consistency=measured_variant.consistency
        )
    data = msgspec.structs.replace(measured_variant.data, accuracy=accuracy, language_model=language_model)
    return VariantResult(data, tuple(stages))


def _estimate_quality(measurements: LocalMeasurements, measured_variant: MeasuredVariant) -> TextQuality | None:
    """Return the quality of a language model on the text of the profile, relative to the first
    variant that predicted it; `None` if this variant did not."""
    all_scores = [variant.text_scores for variant in measurements.variants if variant.text_scores is not None]
    if measured_variant.text_scores is None:
        return None
    reference = None if measured_variant.text_scores is all_scores[0] else all_scores[0]
    return estimate_text_quality(measured_variant.text_scores, reference)


def _build_quality_metrics(quality: TextQuality | None) -> dict[str, dict[str, Estimate]]:
    if quality is None:
        return {}
    estimates = {
        "perplexity": quality.perplexity,
        "perplexity_ratio": quality.perplexity_ratio,
        "token_agreement": quality.token_agreement,
        "kl_mean": quality.kl_mean,
    }
    return {name: {"value": estimate} for name, estimate in estimates.items() if estimate is not None}


def _add_scaling_efficiency(variant_result: VariantResult, variants: Sequence[VariantResult]) -> VariantResult:
    """Add the scaling efficiency to the stages of a variant with several devices: throughput /
    (number of devices × throughput of the first device alone)."""
    variant = variant_result.data.variant
    if len(variant.devices) < 2:
        return variant_result
    single_device_variant = msgspec.structs.replace(variant, devices=variant.devices[:1])
    single_device_result = next(
        (candidate for candidate in variants if candidate.data.variant == single_device_variant), None
    )
    if single_device_result is None:
        return variant_result
    return msgspec.structs.replace(
        variant_result,
        stages=tuple(_add_stage_efficiency(stage, single_device_result.stages) for stage in variant_result.stages),
    )


def _add_stage_efficiency(stage: Stage, single_device_stages: Sequence[Stage]) -> Stage:
    assert stage.variant is not None
    single_device_stage = next((candidate for candidate in single_device_stages if candidate.tags == stage.tags), None)
    if stage.tags["scenario"] not in _SCALING_SCENARIOS or single_device_stage is None:
        return stage
    total_throughput, single_device_throughput = (
        measured_stage.metrics["throughput_per_s"]["value"].value for measured_stage in (stage, single_device_stage)
    )
    if not total_throughput or not single_device_throughput:
        return stage
    efficiency = {"value": Estimate(total_throughput / (len(stage.variant.devices) * single_device_throughput))}
    return msgspec.structs.replace(stage, metrics={**stage.metrics, "scaling_efficiency": efficiency})


def _add_drift_check(variant_result: VariantResult) -> VariantResult:
    """Add a check of the drift to each stage that repeats an earlier stage of the variant."""
    first_stages = {stage.name: stage for stage in variant_result.stages if stage.repeat == 1}
    return msgspec.structs.replace(
        variant_result,
        stages=tuple(
            stage if stage.repeat == 1 else _add_check(stage, check_drift(first_stages[stage.name], stage))
            for stage in variant_result.stages
        ),
    )


def _add_check(stage: Stage, check: Check) -> Stage:
    checks = (*stage.checks, check)
    return msgspec.structs.replace(stage, checks=checks, verdict=compute_verdict(checks))


def _add_telemetry(
    stage: Stage, stage_data: CallStage, measurements: LocalMeasurements, samples: Mapping[str, MetricSamples]
) -> Stage:
    """Add the telemetry metrics within the time window of the stage. For stages on GPUs, also add
    energy metrics and a throttling check."""
    assert stage.variant is not None
    metrics = {**stage.metrics, **compute_telemetry_metrics(samples, stage.window)}
    if stage.variant.provider not in NVIDIA_PROVIDERS:
        return msgspec.structs.replace(stage, metrics=metrics)
    sources = [name_gpu_source(gpu.index) for gpu in find_gpus(stage.variant, measurements.environment.gpus)]
    inferences = stage.completed * stage.variant.batch
    metrics |= compute_gpu_metrics(
        measurements.telemetry,
        stage.window,
        measurements.idle_window,
        inferences=inferences,
        output_tokens=inferences * stage_data.test.output_tokens if stage_data.test is not None else 0,
        sources=sources,
    )
    throttling_check = check_throttling(measurements.telemetry, stage.window, sources)
    stage = msgspec.structs.replace(stage, metrics=metrics)
    return stage if throttling_check is None else _add_check(stage, throttling_check)


def _add_bottleneck(
    measured_variant: MeasuredVariant,
    variant_result: VariantResult,
    batch_models: tuple[BatchModel, ...],
    dependencies: LocalDependencies,
    measurements: LocalMeasurements,
) -> VariantResult:
    if measured_variant.decoder_costs is not None:
        return _add_generation_rooflines(
            measured_variant, measured_variant.decoder_costs, variant_result, dependencies, measurements.environment
        )
    bottleneck = find_variant_bottleneck(
        measured_variant.variant_spec,
        measured_variant.path,
        variant_result.data,
        variant_result.stages,
        batch_models,
        dependencies,
        measurements.environment,
    )
    return msgspec.structs.replace(
        variant_result, data=msgspec.structs.replace(variant_result.data, bottleneck=bottleneck)
    )


def _add_generation_rooflines(
    measured_variant: MeasuredVariant,
    costs: DecoderCosts,
    variant_result: VariantResult,
    dependencies: LocalDependencies,
    environment: Environment,
) -> VariantResult:
    """Add the shares of the peaks to each stage of a language model, and the bottlenecks of its
    first valid prefill and decode to its data."""
    variant_spec = measured_variant.variant_spec
    peaks = dependencies.find_peaks(
        variant_spec, environment, costs.weight_bytes, select_data_type(costs, variant_spec.variant.provider)
    )
    tests = {call_stage.index: call_stage.test for call_stage in measured_variant.call_stages}
    stages: list[Stage] = []
    bottlenecks: dict[str, Bottleneck] = {}
    for stage, test in zip(variant_result.stages, tests.values(), strict=True):
        assert test is not None
        rooflines = locate_test(stage, test, costs, peaks)
        metrics = {name: {"value": roofline.share} for name, roofline in rooflines.items()}
        stages.append(msgspec.structs.replace(stage, metrics={**stage.metrics, **metrics}))
        if stage.verdict.status != "INVALID":
            bottlenecks = {name: roofline.bottleneck for name, roofline in rooflines.items()} | bottlenecks
    data = variant_result.data
    prefill_bottleneck = bottlenecks.get("prefill_flops_share")
    assert data.language_model is not None
    language_model = msgspec.structs.replace(data.language_model, prefill_bottleneck=prefill_bottleneck)
    data = msgspec.structs.replace(
        data, language_model=language_model, bottleneck=bottlenecks.get("decode_bandwidth_share")
    )
    return msgspec.structs.replace(variant_result, data=data, stages=tuple(stages))


def _build_cold_start_metrics(variant_data: VariantData) -> dict[str, dict[str, Estimate]]:
    """Return the median of each cold-start time, over the cold starts without a cached optimized
    model; empty if there are none."""
    uncached_starts = [cold_start for cold_start in variant_data.cold_starts if not cold_start.is_cached]
    if not uncached_starts:
        return {}
    times_ms_by_metric = {
        "process_start_ms": [cold_start.process_ms for cold_start in uncached_starts],
        "library_load_ms": [cold_start.library_load_ms for cold_start in uncached_starts],
        "session_build_ms": [cold_start.session_build_ms for cold_start in uncached_starts],
        "first_inference_ms": [cold_start.first_inference_ms for cold_start in uncached_starts],
    }
    return {
        name: {"value": Estimate(float(pd.Series(values).median()), n=len(values))}
        for name, values in times_ms_by_metric.items()
    }


def _build_accuracy_metrics(accuracy: Accuracy | None) -> dict[str, dict[str, Estimate]]:
    if accuracy is None:
        return {}
    metrics = {"accuracy": {"value": accuracy.value}} if accuracy.metric == "top-1" else {}
    if accuracy.retained is not None:
        metrics["accuracy_retained"] = {"value": accuracy.retained}
    return metrics


def _build_checks(
    spec: LocalSpec, measurements: LocalMeasurements, variants: tuple[VariantResult, ...]
) -> tuple[Check, ...]:
    stages = [stage for variant_result in variants for stage in variant_result.get_headline_stages(spec.slo)]
    checks = [*combine_stage_checks(stages)]
    for variant_result in variants:
        if variant_result.data.failure is not None and not variant_result.data.is_excluded:
            hint = f"{variant_result.data.failure}." + (
                f" {variant_result.data.hint}" if variant_result.data.hint else ""
            )
            checks.append(Check("variant_ended", variant_result.data.variant.label, None, None, "WARN", hint))
    has_ended = measurements.interruption_code is not None or measurements.stop_reason is not None
    complete_count = sum(
        bool(variant_result.stages) and variant_result.data.failure is None for variant_result in variants
    )
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
    checks += [
        check for variant_result in variants if (check := _build_repeatability_check(variant_result.data)) is not None
    ]
    chance_accuracy = next(
        (
            measured_variant.scores.chance_accuracy
            for measured_variant in measurements.variants
            if measured_variant.scores is not None
        ),
        None,
    )
    checks += [
        check for variant_result in variants if (check := _build_consistency_check(variant_result.data)) is not None
    ]
    checks += [
        check
        for variant_result in variants
        if (check := _build_chance_check(variant_result.data, chance_accuracy)) is not None
    ]
    if stages:
        checks.append(check_telemetry(measurements.telemetry))
    clock = build_clock(measurements.start_clock, measurements.end_clock, measurements.wall_start)
    checks.append(check_wall_clock(clock, measurements.end_clock.compute_suspended_s(measurements.start_clock)))
    if measurements.lost_gpus:
        names = ", ".join(f"GPU {index}" for index in measurements.lost_gpus)
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


def _build_consistency_check(variant_data: VariantData) -> Check | None:
    """Check that a language model generates equal tokens at different batch sizes, or that rounding
    explains each difference; `None` if it was not compared."""
    consistency = None if variant_data.language_model is None else variant_data.language_model.consistency
    if consistency is None:
        return None
    unexplained = sum(not divergence.is_rounding for divergence in consistency.divergences)
    hint = (
        f"{variant_data.variant.label}: {unexplained} of {consistency.batch} prompts generate other tokens in a batch "
        f"of {consistency.batch} than alone, by more than rounding explains. Check the export of the model."
    )
    return check_upper_limit("tokens_by_batch", unexplained, unit="prompts", warn=0, hint=hint)


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
    measurements: LocalMeasurements, invalid_verdict: Verdict, gate_causes: list[Cause], *, has_missed_slo: bool
) -> list[Cause]:
    causes: list[Cause] = []
    if measurements.interruption_code is not None:
        causes.append(Cause("interrupted", measurements.interruption_code, "the user stopped the run"))
    if invalid_verdict.status == "INVALID":
        causes.append(build_invalid_cause(invalid_verdict))
    if measurements.stop_reason is not None:
        causes.append(Cause("limit", ExitCode.LIMIT, measurements.stop_reason))
    causes += gate_causes
    if (
        has_missed_slo
        and invalid_verdict.status != "INVALID"
        and all(cause.code != ExitCode.GATE_FAILED for cause in causes)
    ):
        causes.append(NO_VARIANT_CAUSE)
    return causes
