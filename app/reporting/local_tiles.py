"""The headline numbers of a local run: those of its best variant."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from app.analysis.variant_slo import answer_of
from app.records.estimate import Variant
from app.records.local import VariantFacts
from app.records.result import Result, Stage
from app.reporting.local import answering_by_variant, shown_variant
from app.reporting.local_arrivals import arrivals_of, inferences_words
from app.reporting.local_front import cost_of, fastest_stage, time_metric
from app.reporting.local_names import names_of
from app.reporting.local_rows import accuracy_row, energy_of
from app.reporting.quantities import limit_of, quantity, stage_quantity
from reports import formatting, model

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
