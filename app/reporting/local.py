"""The local model: variants of a run of its own, or the stages that a served one was run in beside its endpoint.

The headline numbers of a local run: those of its best variant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from app.analysis.local.variants import NO_BEST_TEXTS, answer_of
from app.records.estimate import Variant
from app.records.local import BatchLaw, VariantFacts
from app.records.result import Check, Result, Stage
from app.reporting.local_front import (
    arrivals_of,
    axes_of,
    common_of,
    cost_of,
    families_of,
    fastest_stage,
    front_places,
    inferences_words,
    names_of,
    time_metric,
)
from app.reporting.local_rows import CALL_PARTS, COLD_PARTS, accuracy_row, energy_of, variant_row
from app.reporting.quantities import check_row, limit_of, quantity, stage_quantity
from reports import formatting, local_model, model

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


_TIMES = ("latency_ms", "service_ms")


def local_tiles(result: Result) -> tuple[model.HeadlineTile, ...]:
    """Of the variant that is best, or came nearest; empty where none was measured."""
    shown = shown_variant(result)
    if shown is None or result.local is None:
        return ()
    stages = answering_by_variant(result).get(shown, ())
    fastest = fastest_stage(stages)
    if fastest is None:
        return ()
    facts = next(one for one in result.local.variants if one.variant == shown)
    throughput = stage_quantity(fastest, "throughput_per_s")
    return (
        *_arrival_tiles(facts, stages),
        _tile(result, "Throughput", throughput, _note(result, shown, fastest), "throughput_per_s"),
        *_time_tiles(result, stages),
        *_accuracy_tiles(facts),
        *_energy_tiles(stages),
        *_cost_tiles(result, fastest),
    )


def _arrival_tiles(facts: VariantFacts, stages: Sequence[Stage]) -> list[model.HeadlineTile]:
    """Of a search for the highest rate inside the SLO."""
    most, rows = arrivals_of(facts, stages), inferences_words(facts)
    note = f"as they arrive, inside the SLO{'; ' if rows else ''}{rows}"
    return [] if most is None else [model.HeadlineTile(label="Most arrivals", quantity=most, note=note)]


def _note(result: Result, shown: Variant, stage: Stage) -> str:
    assert result.local is not None
    name = names_of([one.variant for one in result.local.variants])[shown]
    return f"{name}, {stage.tags['scenario']}"


def _time_tiles(result: Result, stages: Sequence[Stage]) -> list[model.HeadlineTile]:
    """The times that objectives are about, where they are judged; else what a call alone takes."""
    asked = [one.objective for one in result.slo if one.objective.metric in _TIMES and one.objective.aggregate]
    answers = [(one, answer_of(one, stages)[0]) for one in asked]
    told = {(stage.name, one.metric, one.aggregate or ""): stage for one, stage in answers if stage is not None}
    first = next(iter(told.values()), None) or stages[0]
    metric = next((metric for _, metric, _ in told), time_metric(first.tags["scenario"]))
    for aggregate in ("p50", "p99"):
        told.setdefault((first.name, metric, aggregate), first)
    ordered = sorted(told.items(), key=lambda pair: (pair[0][0] != first.name, pair[0][1], pair[0][2]))
    return [
        _tile(result, _label(metric, aggregate), stage_quantity(stage, metric, aggregate), _where(stage),
              metric, aggregate)
        for (_, metric, aggregate), stage in ordered
    ]  # fmt: skip


def _where(stage: Stage) -> str:
    per_s = stage.scheduled_per_s
    return stage.tags["scenario"] + ("" if per_s is None else f" at {formatting.number(per_s)}/s")


def _label(metric: str, aggregate: str) -> str:
    name = formatting.metric(metric)
    return f"{name[:1].upper()}{name[1:]} {aggregate}"


def _tile(
    result: Result, label: str, shown: model.Quantity, note: str, metric: str, aggregate: str | None = None
) -> model.HeadlineTile:
    limits = {(one.objective.metric, one.objective.aggregate): limit_of(one.objective) for one in result.slo}
    return model.HeadlineTile(label=label, quantity=shown, limit=limits.get((metric, aggregate)), note=note)


def _accuracy_tiles(facts: VariantFacts) -> list[model.HeadlineTile]:
    if facts.accuracy is None:
        return []
    row = accuracy_row(facts.accuracy)
    label = "Accuracy" if row.metric == "top-1" else row.metric.capitalize()
    tiles = [model.HeadlineTile(label=label, quantity=row.value, note="on the labelled rows")]
    if row.kept is not None:
        tiles.append(model.HeadlineTile(label="Accuracy kept", quantity=row.kept, note="of the fp32 reference's"))
    return tiles


def _energy_tiles(stages: Sequence[Stage]) -> list[model.HeadlineTile]:
    energy, fastest = energy_of(stages), fastest_stage(stages)
    if energy is None or fastest is None:
        return []
    above = stage_quantity(fastest, "energy_above_idle_j_per_inference")
    note = None if above.value is None else f"{formatting.value_unit(above)} of it above idle"
    return [model.HeadlineTile(label="Energy per inference", quantity=energy, note=note)]


def _cost_tiles(result: Result, fastest: Stage) -> list[model.HeadlineTile]:
    """The price of the hardware, and arithmetic on what was measured: as sure as that the price is of that hardware."""
    local = result.local
    if local is None or local.usd_per_hour is None:
        return []
    cost, unit = cost_of(fastest.metrics["throughput_per_s"]["value"], local.usd_per_hour)
    cost = msgspec.structs.replace(cost, basis=local.price_basis)
    dated = f" ({local.price_note})" if local.price_note else ""
    note = f"at {formatting.plain(local.usd_per_hour)} USD/h{dated}, never idle"
    shown = quantity(cost, unit or "USD", fastest.verdict.status)
    return [model.HeadlineTile(label="Cost per 1M inferences", quantity=shown, note=note)]
