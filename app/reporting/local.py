"""Local models in a report: the variants of a local run, or a served model that was also measured
without its server.

The module also builds the headline tiles of a local run, which show the best variant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from app.analysis.local.call_stages import find_throughput_metric, get_throughput
from app.analysis.local.variants import NO_BEST_MESSAGES, find_objective_stage
from app.records.estimate import Variant
from app.records.local import TEST_TAG, BatchModel, VariantData
from app.records.metrics import metric_label
from app.records.result import Check, Result, Stage
from app.reporting.local_front import (
    build_throughput_quantity,
    choose_axes,
    choose_time_metric,
    compute_cost,
    find_fastest_valid_stage,
    find_front_positions,
    format_common_settings,
    format_cost_label,
    format_load,
    format_max_inference_rate,
    get_max_call_rate,
    name_families,
    name_variants,
)
from app.reporting.local_rows import CALL_PARTS, COLD_START_PARTS, build_accuracy_row, build_variant_row, find_energy
from app.reporting.quantities import build_check_row, build_limit, build_quantity, build_stage_quantity
from reports import formatting, local_model, model

_COLD_START_LABELS = {
    "library_load_ms": "library load",
    "session_build_ms": "session creation",
    "first_inference_ms": "first inference",
}


def build_local_section(result: Result) -> local_model.LocalSection | None:
    """Build the section of a local run; `None` if the target is not a local model."""
    local = result.local
    if local is None:
        return None
    variants = [variant_data.variant for variant_data in local.variants]
    names, families = name_variants(variants), name_families(variants)
    stages_by_variant = group_stages_by_variant(result)
    headline_stages_by_variant = group_headline_stages_by_variant(result)
    axes = choose_axes(local, headline_stages_by_variant)
    positions = find_front_positions(local, headline_stages_by_variant, axes)
    slo = [evaluation.objective for evaluation in result.slo]
    return local_model.LocalSection(
        common=format_common_settings(variants),
        variants=tuple(
            build_variant_row(
                variant,
                stages_by_variant[variant.variant],
                slo,
                position,
                name=names[variant.variant],
                family=families[variant.variant],
                is_best=variant.variant == local.best,
            )
            for variant, position in zip(local.variants, positions, strict=True)
        ),
        best=None if local.best is None else names[local.best],
        headline_variant=None
        if (headline_variant := find_headline_variant(result)) is None
        else names[headline_variant],
        best_reason=None if local.best_reason is None else NO_BEST_MESSAGES[local.best_reason],
        batch_models=tuple(_build_batch_model_row(batch_model, families) for batch_model in local.batch_models),
        axes=local_model.FrontAxes(latency=axes.latency_text, cost=axes.cost_text),
        parts=tuple(CALL_PARTS.values()),
        cold_parts=COLD_START_PARTS,
        usd_per_hour=local.usd_per_hour,
        is_language_model=any(map(is_language_model_stage, result.stages))
        or any(variant.language_model is not None for variant in local.variants),
    )


def group_stages_by_variant(result: Result) -> dict[Variant, list[Stage]]:
    """Return the stages of each variant of a local run. The list of a variant without stages is
    empty."""
    variants = () if result.local is None else result.local.variants
    stages_by_variant: dict[Variant, list[Stage]] = {variant.variant: [] for variant in variants}
    for stage in result.stages:
        if stage.variant is not None and stage.variant in stages_by_variant:
            stages_by_variant[stage.variant].append(stage)
    return stages_by_variant


def group_headline_stages_by_variant(result: Result) -> dict[Variant, tuple[Stage, ...]]:
    """Return the headline stages of each variant. Rates that a search tried but did not select are
    excluded."""
    return {
        variant: tuple(stage for stage in stages if stage.in_headline)
        for variant, stages in group_stages_by_variant(result).items()
    }


def find_headline_variant(result: Result) -> Variant | None:
    """Return the variant to show in the headline: the best variant, or else the first variant for
    which an objective was evaluated, or else the first measured variant."""
    local = result.local
    if local is None:
        return None
    if local.best is not None:
        return local.best
    variants_by_stage = {stage.label: stage.variant for stage in result.stages}
    evaluated_variants = [
        variants_by_stage.get(evaluation.stage)
        for evaluation in (*result.slo, *result.gates)
        if evaluation.stage is not None
    ]
    measured_variants = [stage.variant for stage in result.stages if stage.variant is not None]
    return next((candidate for candidate in (*evaluated_variants, *measured_variants) if candidate is not None), None)


def _build_batch_model_row(batch_model: BatchModel, families: Mapping[Variant, str]) -> local_model.BatchModelRow:
    return local_model.BatchModelRow(
        family=families.get(batch_model.variant, batch_model.variant.label),
        t0=build_quantity(batch_model.t0_ms, "ms"),
        t1=build_quantity(batch_model.t1_ms, "ms"),
        r2=batch_model.r2,
        batches=batch_model.batches,
        reason=batch_model.reason,
    )


def build_model_section(result: Result) -> model.ModelSection | None:
    """Build the section of a served model that was also measured without its server; `None` for all
    other runs."""
    stages = [stage for stage in result.stages if stage.variant is not None]
    if result.local is not None or not stages or stages[0].variant is None:
        return None
    first_stage = stages[0]
    accuracy = build_stage_quantity(first_stage, "accuracy") if "accuracy" in first_stage.metrics else None
    return model.ModelSection(
        name=stages[0].variant.model,
        batches=tuple(_build_batch_row(stage) for stage in stages),
        accuracy=accuracy,
        cold_start=tuple(
            model.NamedQuantity(name=label, quantity=build_stage_quantity(first_stage, metric))
            for metric, label in _COLD_START_LABELS.items()
            if metric in first_stage.metrics
        ),
        proof=tuple(build_check_row(check) for check in _list_distinct_checks(stages)),
    )


def _build_batch_row(stage: Stage) -> model.BatchRow:
    assert stage.variant is not None
    return model.BatchRow(
        provider=stage.variant.provider,
        precision=stage.variant.precision,
        batch=stage.variant.batch,
        threads=stage.variant.threads,
        p50=build_stage_quantity(stage, "service_ms", "p50"),
        p95=build_stage_quantity(stage, "service_ms", "p95"),
        p99=build_stage_quantity(stage, "service_ms", "p99"),
        throughput=build_throughput_quantity(stage),
    )


def _list_distinct_checks(stages: Sequence[Stage]) -> list[Check]:
    """Return the distinct checks of the stages. Most checks are the same for all stages."""
    return list(dict.fromkeys(check for stage in stages for check in stage.checks))


_TIME_METRICS = ("latency_ms", "service_ms")


def build_local_tiles(result: Result) -> tuple[model.HeadlineTile, ...]:
    """Build the headline tiles of the variant that `find_headline_variant` returns; empty if no
    variant was measured."""
    headline_variant = find_headline_variant(result)
    if headline_variant is None or result.local is None:
        return ()
    stages = group_headline_stages_by_variant(result).get(headline_variant, ())
    fastest_stage = find_fastest_valid_stage(stages)
    if fastest_stage is None:
        return ()
    variant_data = next(row for row in result.local.variants if row.variant == headline_variant)
    if is_language_model_stage(fastest_stage):
        return (
            *_build_token_rate_tiles(result, stages),
            *_build_token_time_tiles(result, stages),
            *_build_memory_tiles(variant_data),
            *_build_energy_tiles(stages),
            *_build_cost_tiles(result, fastest_stage),
        )
    return (
        *_build_call_rate_tiles(variant_data, stages),
        _build_tile(
            result,
            "Throughput",
            build_throughput_quantity(fastest_stage),
            _format_note(result, headline_variant, fastest_stage),
            "throughput_per_s",
        ),
        *_build_time_tiles(result, stages),
        *_build_accuracy_tiles(variant_data),
        *_build_energy_tiles(stages),
        *_build_cost_tiles(result, fastest_stage),
    )


def is_language_model_stage(stage: Stage) -> bool:
    return TEST_TAG in stage.tags


def _build_token_rate_tiles(result: Result, stages: Sequence[Stage]) -> list[model.HeadlineTile]:
    """Build a tile for the decode throughput and one for the prefill throughput of a language
    model, each from the fastest test. A tile has the limit of an objective only if the objective
    was evaluated in the same test."""
    tiles = []
    for metric in ("decode_tokens_per_s", "prefill_tokens_per_s"):
        stage = find_fastest_valid_stage([stage for stage in stages if metric in stage.metrics], metric)
        if stage is None or stage.variant is None:
            continue
        tile = _build_tile(
            result,
            _capitalize(metric_label(metric)),
            build_stage_quantity(stage, metric),
            _format_note(result, stage.variant, stage),
            metric,
        )
        is_evaluated = stage.label in {
            evaluation.stage for evaluation in result.slo if evaluation.objective.metric == metric
        }
        tiles.append(tile if is_evaluated else msgspec.structs.replace(tile, limit=None))
    return tiles


def _build_token_time_tiles(result: Result, stages: Sequence[Stage]) -> list[model.HeadlineTile]:
    """Build the tiles of TTFT and ITL of a language model. Each percentile is that of the test in
    which an objective for it was evaluated, or else of the first test with this metric."""
    tiles = []
    for metric in ("ttft_ms", "itl_ms"):
        first_stage = next((stage for stage in stages if metric in stage.metrics), None)
        if first_stage is None:
            continue
        objectives_by_aggregate = {
            evaluation.objective.aggregate: evaluation.objective
            for evaluation in result.slo
            if evaluation.objective.metric == metric and evaluation.objective.aggregate
        }
        stages_by_aggregate = dict.fromkeys(("p50", "p99"), first_stage) | {
            aggregate: find_objective_stage(objective, stages)[0] or first_stage
            for aggregate, objective in objectives_by_aggregate.items()
        }
        for aggregate, stage in sorted(
            stages_by_aggregate.items(), key=lambda pair: (pair[1].name != first_stage.name, pair[0])
        ):
            label, quantity = _format_label(metric, aggregate), build_stage_quantity(stage, metric, aggregate)
            tiles.append(_build_tile(result, label, quantity, format_load(stage), metric, aggregate))
    return tiles


def _build_memory_tiles(variant_data: VariantData) -> list[model.HeadlineTile]:
    if variant_data.peak_memory_gib is None:
        return []
    quantity = model.Quantity(variant_data.peak_memory_gib, "GiB")
    return [model.HeadlineTile(label="Peak memory", quantity=quantity, note="of the process")]


def _capitalize(text: str) -> str:
    return text[:1].upper() + text[1:]


def _build_call_rate_tiles(variant_data: VariantData, stages: Sequence[Stage]) -> list[model.HeadlineTile]:
    """Build the tile of the max rate that meets the SLO; empty if no search was run."""
    max_rate, inferences_text = get_max_call_rate(variant_data, stages), format_max_inference_rate(variant_data)
    note = f"server scenario, within SLO{'; ' if inferences_text else ''}{inferences_text}"
    label = "Max rate"
    if variant_data.is_server_rate_lower_bound:
        label = "Max rate (lower bound)"
        note += "; load generator limit" if variant_data.is_server_rate_generator_limit else "; highest rate tested"
    return [] if max_rate is None else [model.HeadlineTile(label=label, quantity=max_rate, note=note)]


def _format_note(result: Result, variant: Variant, stage: Stage) -> str:
    assert result.local is not None
    name = name_variants([variant_data.variant for variant_data in result.local.variants])[variant]
    return f"{name}, {format_load(stage)}"


def _build_time_tiles(result: Result, stages: Sequence[Stage]) -> list[model.HeadlineTile]:
    """Build a tile for each latency metric with an objective, from the stage in which the objective
    was evaluated. Tiles for p50 and p99 are always included. Without objectives, they are based on
    the first stage."""
    objectives = [
        evaluation.objective
        for evaluation in result.slo
        if evaluation.objective.metric in _TIME_METRICS and evaluation.objective.aggregate
    ]
    evaluated_objectives = [(objective, find_objective_stage(objective, stages)[0]) for objective in objectives]
    stages_by_tile = {
        (stage.name, objective.metric, objective.aggregate or ""): stage
        for objective, stage in evaluated_objectives
        if stage is not None
    }
    first_stage = next(iter(stages_by_tile.values()), None) or stages[0]
    metric = next((metric for _, metric, _ in stages_by_tile), choose_time_metric(first_stage.tags["scenario"]))
    for aggregate in ("p50", "p99"):
        stages_by_tile.setdefault((first_stage.name, metric, aggregate), first_stage)
    ordered_tiles = sorted(
        stages_by_tile.items(), key=lambda pair: (pair[0][0] != first_stage.name, pair[0][1], pair[0][2])
    )
    return [
        _build_tile(
            result,
            _format_label(metric, aggregate),
            build_stage_quantity(stage, metric, aggregate),
            _format_scenario(stage),
            metric,
            aggregate,
        )
        for (_, metric, aggregate), stage in ordered_tiles
    ]


def _format_scenario(stage: Stage) -> str:
    rate_per_s = stage.scheduled_per_s
    return format_load(stage) + ("" if rate_per_s is None else f" at {formatting.format_number(rate_per_s)} calls/s")


def _format_label(metric: str, aggregate: str) -> str:
    name = formatting.format_metric_label(metric)
    return f"{aggregate} {name}"


def _build_tile(
    result: Result, label: str, quantity: model.Quantity, note: str, metric: str, aggregate: str | None = None
) -> model.HeadlineTile:
    limits = {
        (evaluation.objective.metric, evaluation.objective.aggregate): build_limit(evaluation.objective)
        for evaluation in result.slo
    }
    return model.HeadlineTile(label=label, quantity=quantity, limit=limits.get((metric, aggregate)), note=note)


def _build_accuracy_tiles(variant: VariantData) -> list[model.HeadlineTile]:
    if variant.accuracy is None:
        return []
    row = build_accuracy_row(variant.accuracy)
    label = "Accuracy" if row.metric == "top-1" else row.metric.capitalize()
    tiles = [model.HeadlineTile(label=label, quantity=row.value, note="on labeled rows")]
    if row.retained is not None:
        tiles.append(model.HeadlineTile(label="Accuracy retained", quantity=row.retained, note="relative to fp32"))
    return tiles


def _build_energy_tiles(stages: Sequence[Stage]) -> list[model.HeadlineTile]:
    energy, fastest_stage = find_energy(stages), find_fastest_valid_stage(stages)
    if energy is None or fastest_stage is None:
        return []
    unit = "output_token" if is_language_model_stage(fastest_stage) else "inference"
    energy_above_idle = build_stage_quantity(fastest_stage, f"energy_above_idle_j_per_{unit}")
    note = None if energy_above_idle.value is None else f"{formatting.format_value_unit(energy_above_idle)} above idle"
    return [model.HeadlineTile(label=f"Energy per {unit.replace('_', ' ')}", quantity=energy, note=note)]


def _build_cost_tiles(result: Result, fastest_stage: Stage) -> list[model.HeadlineTile]:
    """Build the cost tile from the measured throughput and the price of the hardware; empty without
    a price.

    The cost has the same basis as the price: "assumed" if the price may belong to other hardware.
    """
    local = result.local
    if local is None or local.usd_per_hour is None:
        return []
    cost, unit = compute_cost(get_throughput(fastest_stage), local.usd_per_hour)
    cost = msgspec.structs.replace(cost, basis=local.price_basis)
    price_note = f" ({local.price_note})" if local.price_note else ""
    note = f"at ${formatting.format_plain(local.usd_per_hour)}/h{price_note}, 100 % utilization"
    label = format_cost_label(find_throughput_metric(fastest_stage), local.usd_per_hour)
    quantity = build_quantity(cost, unit or "USD", fastest_stage.verdict.status)
    return [model.HeadlineTile(label=_capitalize(label), quantity=quantity, note=note)]
