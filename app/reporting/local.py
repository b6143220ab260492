"""The local model: variants of a run of its own, or the stages that a served one was run in beside its endpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app.analysis.judged_variants import NO_BEST_TEXTS
from app.records.estimate import Variant
from app.records.local import BatchLaw
from app.records.result import Check, Result, Stage
from app.reporting.local_front import axes_of, front_places
from app.reporting.local_names import common_of, families_of, names_of
from app.reporting.local_rows import COLD_PARTS, variant_row
from app.reporting.local_scenarios import CALL_PARTS
from app.reporting.quantities import check_row, quantity, stage_quantity
from reports import local_model, model

_COLD_START = {
    "library_load_ms": "loading the inference library",
    "session_build_ms": "building the session",
    "first_inference_ms": "first inference",
}


def local_section(result: Result) -> local_model.LocalSection | None:
    """None where no local model was the target."""
    local = result.local
    if local is None:
        return None
    variants = [facts.variant for facts in local.variants]
    names, families = names_of(variants), families_of(variants)
    stages = stages_by_variant(result)
    answering = answering_by_variant(result)
    axes = axes_of(local, answering)
    places = front_places(local, answering, axes)
    slo = [one.objective for one in result.slo]
    return local_model.LocalSection(
        common=common_of(variants),
        variants=tuple(
            variant_row(
                facts,
                stages[facts.variant],
                slo,
                place,
                name=names[facts.variant],
                family=families[facts.variant],
                is_best=facts.variant == local.best,
            )
            for facts, place in zip(local.variants, places, strict=True)
        ),
        best=None if local.best is None else names[local.best],
        shown=None if (shown := shown_variant(result)) is None else names[shown],
        best_reason=None if local.best_reason is None else NO_BEST_TEXTS[local.best_reason],
        laws=tuple(_law(law, families) for law in local.batch_laws),
        axes=local_model.FrontAxes(latency=axes.latency_words, cost=axes.cost_words),
        parts=tuple(CALL_PARTS.values()),
        cold_parts=COLD_PARTS,
        usd_per_hour=local.usd_per_hour,
    )


def stages_by_variant(result: Result) -> dict[Variant, list[Stage]]:
    """Of every variant of a local run, those without a stage too."""
    variants = () if result.local is None else result.local.variants
    found: dict[Variant, list[Stage]] = {facts.variant: [] for facts in variants}
    for stage in result.stages:
        if stage.variant is not None and stage.variant in found:
            found[stage.variant].append(stage)
    return found


def answering_by_variant(result: Result) -> dict[Variant, tuple[Stage, ...]]:
    """Without the rates that a search only tried."""
    return {
        variant: tuple(stage for stage in stages if stage.in_headline)
        for variant, stages in stages_by_variant(result).items()
    }


def shown_variant(result: Result) -> Variant | None:
    """The best one; with none, that the objectives were judged on, and else the first that was measured."""
    local = result.local
    if local is None:
        return None
    if local.best is not None:
        return local.best
    by_name = {stage.name: stage.variant for stage in result.stages}
    judged = [by_name.get(one.stage) for one in (*result.slo, *result.gates) if one.stage is not None]
    measured = [stage.variant for stage in result.stages if stage.variant is not None]
    return next((one for one in (*judged, *measured) if one is not None), None)


def _law(law: BatchLaw, families: Mapping[Variant, str]) -> local_model.BatchLawRow:
    return local_model.BatchLawRow(
        family=families.get(law.variant, law.variant.label),
        t0=quantity(law.t0_ms, "ms"),
        t1=quantity(law.t1_ms, "ms"),
        r2=law.r2,
        batches=law.batches,
        reason=law.reason,
    )


def model_section(result: Result) -> model.ModelSection | None:
    """Of a model that was served, and run alone beside it."""
    stages = [stage for stage in result.stages if stage.variant is not None]
    if result.local is not None or not stages or stages[0].variant is None:
        return None
    first = stages[0]
    accuracy = stage_quantity(first, "accuracy") if "accuracy" in first.metrics else None
    return model.ModelSection(
        name=stages[0].variant.model,
        batches=tuple(_batch_row(stage) for stage in stages),
        accuracy=accuracy,
        cold_start=tuple(
            model.Named(name=label, quantity=stage_quantity(first, metric))
            for metric, label in _COLD_START.items()
            if metric in first.metrics
        ),
        proof=tuple(check_row(check) for check in _distinct(stages)),
    )


def _batch_row(stage: Stage) -> model.BatchRow:
    assert stage.variant is not None
    return model.BatchRow(
        provider=stage.variant.provider,
        precision=stage.variant.precision,
        batch=stage.variant.batch,
        threads=stage.variant.threads,
        p50=stage_quantity(stage, "service_ms", "p50"),
        p95=stage_quantity(stage, "service_ms", "p95"),
        p99=stage_quantity(stage, "service_ms", "p99"),
        throughput=stage_quantity(stage, "throughput_per_s"),
    )


def _distinct(stages: Sequence[Stage]) -> list[Check]:
    """Each variant carries the same proof; what is shown is every proof once."""
    return list(dict.fromkeys(check for stage in stages for check in stage.checks))
