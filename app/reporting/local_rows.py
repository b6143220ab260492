"""Rows of one variant of a local run: its stages and its cold starts.

Headline stages precede the rates that a search tried. Cold starts are broken down by part.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PureWindowsPath
from typing import Literal

import numpy as np

from app.analysis.local.call_stages import SEARCH_TAG
from app.analysis.local.variants import evaluate_variant_objective, find_violated_objectives_so_far
from app.analysis.rows import NOT_STARTED
from app.profiles.generation_tests import parse_generation_test
from app.records.generation import TextQuality
from app.records.local import (
    TEST_TAG,
    Accuracy,
    Bottleneck,
    Fidelity,
    VariantColdStart,
    VariantData,
)
from app.records.result import Objective, ObjectiveResult, Stage, Validity
from app.reporting.local_front import (
    FrontPosition,
    build_throughput_quantity,
    choose_time_metric,
    find_fastest_valid_stage,
    get_max_call_rate,
)
from app.reporting.quantities import build_quantity, build_stage_quantity, find_unit
from reports import formatting
from reports.local_model import (
    AccuracyRow,
    BottleneckRow,
    ColdStartRow,
    FidelityRow,
    GenerationTestRow,
    PlacementRow,
    ScenarioRow,
    SloState,
    TextQualityRow,
    VariantRow,
    VariantState,
)
from reports.model import Quantity

COLD_START_PARTS = ("process", "library load", "session creation", "first inference", "total")


def build_cold_start_rows(starts: Sequence[VariantColdStart]) -> tuple[ColdStartRow, ...]:
    """Build one row for cold starts without a cached optimized model, and one row for cold starts
    with a cached optimized model. A kind that was not measured has no row."""
    start_groups = (
        (is_cached, [start for start in starts if start.is_cached is is_cached]) for is_cached in (False, True)
    )
    return tuple(
        _build_cold_start_row(is_cached, group_starts) for is_cached, group_starts in start_groups if group_starts
    )


def _build_cold_start_row(is_cached: bool, starts: Sequence[VariantColdStart]) -> ColdStartRow:
    durations_ms = np.array(
        [
            [start.process_ms, start.library_load_ms, start.session_build_ms, start.first_inference_ms]
            for start in starts
        ]
    )
    durations_with_total_ms = np.column_stack((durations_ms, durations_ms.sum(axis=1)))
    return ColdStartRow(
        is_cached=is_cached,
        starts=len(starts),
        p50=_build_quantities(np.median(durations_with_total_ms, axis=0), len(starts)),
        worst=_build_quantities(durations_with_total_ms.max(axis=0), len(starts)),
    )


def _build_quantities(
    values_ms: np.ndarray[tuple[int, ...], np.dtype[np.float64]], start_count: int
) -> tuple[Quantity, ...]:
    return tuple(Quantity(float(value), "ms", n=start_count) for value in values_ms)


CALL_PARTS = {
    "prepare_ms": "batch preparation",
    "copy_in_ms": "copy to device",
    "execute_ms": "model execution",
    "copy_out_ms": "copy from device",
    "post_process_ms": "post-processing",
}


def build_scenario_rows(slo: Sequence[Objective], stages: Sequence[Stage]) -> tuple[ScenarioRow, ...]:
    """Build the rows of the stages: headline stages first, then the rates that a search tried, in
    ascending order."""
    stage_states = [(stage, _find_search_state(slo, stage)) for stage in stages]
    ordered_states = sorted(
        stage_states, key=lambda pair: (pair[1] is not None, (pair[1] and pair[0].scheduled_per_s) or 0.0)
    )
    return tuple(_build_scenario_row(stage, search_state) for stage, search_state in ordered_states)


def _find_search_state(slo: Sequence[Objective], stage: Stage) -> Literal["passed", "failed"] | None:
    """Return "passed" or "failed" for a stage of a search, by whether it met the SLO. Return `None`
    for a stage at the headline rate, and for stages outside a search.

    If no rate met the SLO, there is no headline rate.
    """
    if SEARCH_TAG not in stage.tags:
        return None
    meets_slo = not find_violated_objectives_so_far(slo, [stage])
    return None if stage.in_headline and meets_slo else "passed" if meets_slo else "failed"


def _build_scenario_row(stage: Stage, search_state: Literal["passed", "failed"] | None) -> ScenarioRow:
    scenario = stage.tags.get("scenario", stage.kind)
    metric = choose_time_metric(scenario)
    validity, reasons = _get_validity(stage)
    return ScenarioRow(
        stage=stage.name,
        scenario=scenario,
        rate_per_s=stage.scheduled_per_s,
        tried=search_state,
        times=formatting.format_metric_label(metric),
        p50=build_stage_quantity(stage, metric, "p50"),
        p95=build_stage_quantity(stage, metric, "p95"),
        p99=build_stage_quantity(stage, metric, "p99"),
        throughput=build_throughput_quantity(stage),
        calls=stage.completed,
        parts=tuple(_get_call_part(stage, part) for part in CALL_PARTS),
        validity=validity,
        reasons=reasons,
    )


def _get_validity(stage: Stage) -> tuple[Validity, tuple[str, ...]]:
    """Return the validity of a stage and the reasons for it.

    If arrivals never started, the stage has a warning, because these arrivals are missing in the
    call times.
    """
    not_started_count, verdict = stage.errors.get(NOT_STARTED, 0), stage.verdict
    if not not_started_count:
        return verdict.status, verdict.reasons
    reason = f"{formatting.format_count(not_started_count)} arrivals never started: the model could not keep up"
    return "WARN" if verdict.status == "VALID" else verdict.status, (*verdict.reasons, reason)


def _get_call_part(stage: Stage, metric: str) -> Quantity:
    if metric not in stage.metrics:
        reason = "included in model execution"
        return Quantity(None, "ms", reason=reason, validity=stage.verdict.status)
    return build_stage_quantity(stage, metric, "p50")


def _get_energy_metrics(stage: Stage) -> tuple[str, str]:
    """Return the names of the total energy and of the energy above idle of a stage."""
    unit = "output_token" if TEST_TAG in stage.tags else "inference"
    return f"energy_j_per_{unit}", f"energy_above_idle_j_per_{unit}"


def build_test_rows(stages: Sequence[Stage]) -> tuple[GenerationTestRow, ...]:
    """Build the rows of the tests of a language model, in the order of measurement."""
    return tuple(
        GenerationTestRow(
            stage=stage.name,
            test=stage.tags[TEST_TAG],
            depth=parse_generation_test(stage.tags[TEST_TAG]).depth,
            repeat=stage.repeat,
            rate=build_stage_quantity(stage, "tokens_per_s"),
            prefill=_find_quantity(stage, "prefill_tokens_per_s", "value"),
            decode=_find_quantity(stage, "decode_tokens_per_s", "value"),
            ttft_p50=_find_quantity(stage, "ttft_ms", "p50"),
            ttft_p99=_find_quantity(stage, "ttft_ms", "p99"),
            itl_p50=_find_quantity(stage, "itl_ms", "p50"),
            itl_p99=_find_quantity(stage, "itl_ms", "p99"),
            e2e=build_stage_quantity(stage, "service_ms", "p50"),
            repetitions=stage.completed,
            validity=stage.verdict.status,
            reasons=stage.verdict.reasons,
        )
        for stage in stages
        if TEST_TAG in stage.tags
    )


def _find_quantity(stage: Stage, metric: str, aggregate: str) -> Quantity | None:
    return build_stage_quantity(stage, metric, aggregate) if metric in stage.metrics else None


def build_variant_row(
    variant_data: VariantData,
    stages: Sequence[Stage],
    slo: Sequence[Objective],
    position: FrontPosition,
    *,
    name: str,
    family: str,
    is_best: bool,
) -> VariantRow:
    variant, headline_stages = variant_data.variant, [stage for stage in stages if stage.in_headline]
    evaluations = [evaluate_variant_objective(objective, headline_stages) for objective in slo] if stages else []
    open_evaluations = [
        evaluation
        for evaluation in evaluations
        if evaluation.outcome != "PASS" and evaluation.objective.level == "fail"
    ]
    language_model = variant_data.language_model
    return VariantRow(
        name=name,
        family=family,
        model=variant.model,
        provider=variant.provider,
        precision=_format_precision(variant_data),
        batch=variant.batch,
        streams=variant.streams,
        threads=variant.threads,
        devices=variant.devices,
        state="best" if is_best else _find_variant_state(variant_data, headline_stages),
        reason=_format_failure(variant_data),
        scenarios=build_scenario_rows(slo, [stage for stage in stages if TEST_TAG not in stage.tags]),
        tests=build_test_rows(stages),
        throughput=position.throughput,
        arrivals=get_max_call_rate(variant_data, headline_stages),
        is_arrivals_lower_bound=variant_data.is_server_rate_lower_bound,
        slo=None if not slo or not stages else _find_slo_state(open_evaluations),
        misses=tuple(map(_format_open_objective, open_evaluations)),
        latency=position.latency,
        cost=position.cost,
        energy=find_energy(headline_stages),
        is_on_frontier=position.is_on_frontier,
        accuracy=None if variant_data.accuracy is None else build_accuracy_row(variant_data.accuracy),
        fidelity=None if variant_data.fidelity is None else _build_fidelity_row(variant_data.fidelity),
        cold_starts=build_cold_start_rows(variant_data.cold_starts),
        provider_used=variant_data.provider_used,
        placements=tuple(
            PlacementRow(
                provider=placement.provider,
                operator=placement.operator,
                nodes=placement.nodes,
                is_fallback=placement.is_fallback,
            )
            for placement in variant_data.placements
        ),
        bottleneck=_build_bottleneck_row(variant_data.bottleneck, stages, "decode_bandwidth_share"),
        prefill_bottleneck=None
        if language_model is None
        else _build_bottleneck_row(language_model.prefill_bottleneck, stages, "prefill_flops_share"),
        text_quality=None
        if language_model is None or language_model.quality is None
        else _build_quality_row(language_model.quality),
        file=PureWindowsPath(variant_data.model_file).name,  # accepts both slashes; the folder is private
        sha256=variant_data.model_sha256,
        size_bytes=variant_data.size_bytes,
        peak_memory=Quantity(
            variant_data.peak_memory_gib,
            "GiB",
            reason=_get_missing_reason(variant_data.peak_memory_gib, "not measured"),
        ),
        opened_memory=None
        if language_model is None
        else _build_memory(language_model.opened_memory_bytes, "not reported by this OS"),
        kv_cache=None
        if language_model is None
        else _build_memory(language_model.kv_cache_bytes, "the size per token is unknown"),
        parameters=None if language_model is None else language_model.parameters,
    )


def _format_precision(variant_data: VariantData) -> str:
    """Format the precision of a variant. For a quantized GGUF file, which is not measured as it is
    stored, the precision includes the data type of the file."""
    precision, language_model = variant_data.variant.precision, variant_data.language_model
    source_dtype = None if language_model is None else language_model.source_dtype
    if source_dtype is None or source_dtype == "F32":
        return precision
    return f"{source_dtype} as float32" if precision == "as-is" else f"{source_dtype} to {precision}"


def _build_quality_row(quality: TextQuality) -> TextQualityRow:
    ratio, agreement, divergence = quality.perplexity_ratio, quality.token_agreement, quality.kl_mean
    return TextQualityRow(
        tokens=quality.tokens,
        perplexity=build_quantity(quality.perplexity, ""),
        ratio=None if ratio is None else build_quantity(ratio, ""),
        agreement=None if agreement is None else build_quantity(agreement, "share"),
        divergence=None if divergence is None else build_quantity(divergence, "nats"),
    )


def _build_memory(size_bytes: int | None, missing_reason: str) -> Quantity:
    memory_gib = None if size_bytes is None else size_bytes / 2**30
    return Quantity(memory_gib, "GiB", reason=_get_missing_reason(memory_gib, missing_reason))


def build_accuracy_row(accuracy: Accuracy) -> AccuracyRow:
    unit = "share" if accuracy.metric == "top-1" else ""
    return AccuracyRow(
        metric=accuracy.metric,
        value=build_quantity(accuracy.value, unit),
        reference=None if accuracy.reference is None else build_quantity(accuracy.reference, unit),
        change=None if accuracy.change is None else build_quantity(accuracy.change, unit),
        retained=None if accuracy.retained is None else build_quantity(accuracy.retained, "share"),
        p_value=accuracy.p_value,
        test=accuracy.test,
    )


def find_energy(stages: Sequence[Stage]) -> Quantity | None:
    """Return the energy per inference, or per output token of a language model, in the stage with
    the highest throughput; `None` if it was not measured."""
    fastest_stage = find_fastest_valid_stage(stages)
    if fastest_stage is None:
        return None
    metric_names = [name for name in _get_energy_metrics(fastest_stage) if name in fastest_stage.metrics]
    measured_names = [name for name in metric_names if fastest_stage.metrics[name]["value"].value is not None]
    return next((build_stage_quantity(fastest_stage, name) for name in (*measured_names, *metric_names)), None)


def _find_variant_state(variant: VariantData, stages: Sequence[Stage]) -> VariantState:
    if variant.is_excluded:
        return "skipped"
    if variant.failure is not None:
        return "ended early"
    return "INVALID" if any(stage.verdict.status == "INVALID" for stage in stages) else "measured"


def _find_slo_state(open_evaluations: Sequence[ObjectiveResult]) -> SloState:
    """Return the state of a variant from its objectives that did not pass, by the same rule as the
    verdict of the run: an objective whose interval includes the limit is inconclusive."""
    if not open_evaluations:
        return "met"
    return "missed" if any(evaluation.outcome == "FAIL" for evaluation in open_evaluations) else "inconclusive"


def _format_failure(variant: VariantData) -> str | None:
    if variant.failure is None:
        return None
    sentence = variant.failure if variant.failure.endswith(".") else f"{variant.failure}."
    return f"{sentence} {variant.hint}" if variant.hint else sentence


def _format_open_objective(evaluation: ObjectiveResult) -> str:
    """Format an objective that a variant missed or for which it is inconclusive, with the observed
    value."""
    objective, estimate = evaluation.objective, evaluation.observed
    if estimate.value is None:
        return f"{objective.label}: n/a ({estimate.reason or 'not measured'})"
    quantity = build_quantity(estimate, find_unit(objective.metric))
    if evaluation.outcome == "FAIL":
        return f"{objective.label}: {formatting.format_value_unit(quantity)}"
    reason = estimate.reason if estimate.ci95 is None else "the 95 % CI crosses the limit"
    return f"{objective.label}: {formatting.format_quantity(quantity)} ({reason})"


def _build_fidelity_row(fidelity: Fidelity) -> FidelityRow:
    missing_agreement = Quantity(None, "share", reason="the output has no class scores")
    return FidelityRow(
        rows=fidelity.rows,
        agreement=missing_agreement
        if fidelity.top1_agreement is None
        else build_quantity(fidelity.top1_agreement, "share"),
        cosine_mean=_build_optional_quantity(fidelity.cosine_mean, "", "not defined for scalar outputs"),
        cosine_min=_build_optional_quantity(fidelity.cosine_min, "", "not defined for scalar outputs"),
        max_abs=_build_optional_quantity(fidelity.max_abs, "", "no row is finite in both outputs"),
        sqnr=_build_optional_quantity(
            fidelity.sqnr_db, "dB", "infinite: the outputs are identical" if fidelity.is_equal else "not defined"
        ),
        kl_mean=_build_optional_quantity(fidelity.kl_mean, "nats", "the output has no class scores"),
        kl_p99=_build_optional_quantity(fidelity.kl_p99, "nats", "too few rows, or no class scores"),
        is_equal=fidelity.is_equal,
        not_finite=fidelity.not_finite,
    )


def _build_bottleneck_row(
    bottleneck: Bottleneck | None, stages: Sequence[Stage], share_metric: str
) -> BottleneckRow | None:
    """Build the row of a bottleneck, with the share of a peak in the test of a language model in
    which it was found: the first valid one."""
    if bottleneck is None:
        return None
    peaks = bottleneck.peaks
    stage = next(
        (stage for stage in stages if share_metric in stage.metrics and stage.verdict.status != "INVALID"), None
    )
    return BottleneckRow(
        limit=bottleneck.limit,
        sentence=bottleneck.sentence,
        flops_per_s=bottleneck.flops_per_s,
        flops_per_byte=bottleneck.flops_per_byte,
        processor=None if peaks is None else peaks.name,
        peak_flops_per_s=None if peaks is None else peaks.flops_per_s,
        peak_bytes_per_s=None if peaks is None else peaks.bytes_per_s,
        peak_basis=None if peaks is None else peaks.basis,
        peak_share=None if stage is None else build_stage_quantity(stage, share_metric),
        test=None if stage is None else stage.tags.get(TEST_TAG),
    )


def _build_optional_quantity(value: float | None, unit: str, reason: str) -> Quantity:
    return Quantity(value, unit, reason=_get_missing_reason(value, reason))


def _get_missing_reason(value: float | None, reason: str) -> str | None:
    return reason if value is None else None
