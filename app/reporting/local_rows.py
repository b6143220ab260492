"""One variant of a local run as a report shows it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PureWindowsPath

from app.analysis.variant_slo import missed_of
from app.records.estimate import Estimate
from app.records.local import Accuracy, Bound, Fidelity, VariantFacts
from app.records.result import Objective, Stage
from app.reporting.local_arrivals import arrivals_of
from app.reporting.local_cold import COLD_PARTS as COLD_PARTS
from app.reporting.local_cold import cold_rows
from app.reporting.local_front import FrontPosition, fastest_stage
from app.reporting.local_scenarios import scenario_rows
from app.reporting.quantities import quantity, stage_quantity, unit_of
from reports import formatting
from reports.local_model import (
    AccuracyRow,
    BoundRow,
    FidelityRow,
    PlacementRow,
    SloState,
    VariantRow,
    VariantState,
)
from reports.model import Quantity

_ENERGY = ("energy_j_per_inference", "energy_above_idle_j_per_inference")


def variant_row(
    facts: VariantFacts,
    stages: Sequence[Stage],
    slo: Sequence[Objective],
    place: FrontPosition,
    *,
    name: str,
    family: str,
    is_best: bool,
) -> VariantRow:
    variant, answering = facts.variant, [stage for stage in stages if stage.in_headline]
    missed = missed_of(slo, answering) if stages else ()
    return VariantRow(
        name=name,
        family=family,
        model=variant.model,
        provider=variant.provider,
        precision=variant.precision,
        batch=variant.batch,
        streams=variant.streams,
        threads=variant.threads,
        devices=variant.devices,
        state="best" if is_best else _state(facts, answering),
        why=_why(facts),
        scenarios=scenario_rows(slo, stages),
        throughput=place.throughput,
        arrivals=arrivals_of(facts, answering),
        slo=None if not slo or not stages else _slo_state([estimate for _, estimate in missed]),
        misses=tuple(_miss(objective, estimate) for objective, estimate in missed),
        latency=place.latency,
        cost=place.cost,
        energy=energy_of(answering),
        on_front=place.on_front,
        accuracy=None if facts.accuracy is None else accuracy_row(facts.accuracy),
        fidelity=None if facts.fidelity is None else _fidelity_row(facts.fidelity),
        cold_starts=cold_rows(facts.cold_starts),
        provider_used=facts.provider_used,
        placements=tuple(
            PlacementRow(provider=one.provider, operator=one.operator, nodes=one.nodes, is_stray=one.is_stray)
            for one in facts.placements
        ),
        bound=None if facts.bound is None else _bound_row(facts.bound),
        file=PureWindowsPath(facts.model_file).name,  # which takes either slash: where it lies is the user's own
        sha256=facts.model_sha256,
        size_bytes=facts.size_bytes,
        peak_memory=Quantity(facts.peak_memory_gib, "GiB", reason=_unless(facts.peak_memory_gib, "not read")),
    )


def accuracy_row(accuracy: Accuracy) -> AccuracyRow:
    unit = "share" if accuracy.metric == "top-1" else ""
    return AccuracyRow(
        metric=accuracy.metric,
        value=quantity(accuracy.value, unit),
        reference=None if accuracy.reference is None else quantity(accuracy.reference, unit),
        change=None if accuracy.change is None else quantity(accuracy.change, unit),
        kept=None if accuracy.kept is None else quantity(accuracy.kept, "share"),
        p_value=accuracy.p_value,
        test=accuracy.test,
    )


def energy_of(stages: Sequence[Stage]) -> Quantity | None:
    """Of the stage with the most throughput; None where nothing tells."""
    fastest = fastest_stage(stages)
    if fastest is None:
        return None
    known = [name for name in _ENERGY if name in fastest.metrics]
    told = [name for name in known if fastest.metrics[name]["value"].value is not None]
    return next((stage_quantity(fastest, name) for name in (*told, *known)), None)


def _state(facts: VariantFacts, stages: Sequence[Stage]) -> VariantState:
    if facts.is_left_out:
        return "left out"
    if facts.failure is not None:
        return "ended early"
    return "INVALID" if any(one.verdict.status == "INVALID" for one in stages) else "measured"


def _slo_state(missed: Sequence[Estimate]) -> SloState:
    if not missed:
        return "met"
    return "not told" if all(one.value is None for one in missed) else "missed"


def _why(facts: VariantFacts) -> str | None:
    if facts.failure is None:
        return None
    sentence = facts.failure if facts.failure.endswith(".") else f"{facts.failure}."
    return f"{sentence} {facts.hint}" if facts.hint else sentence


def _miss(objective: Objective, estimate: Estimate) -> str:
    if estimate.value is None:
        return f"{objective.text}: n/a ({estimate.reason or 'not measured'})"
    return f"{objective.text}: {formatting.value_unit(quantity(estimate, unit_of(objective.metric)))}"


def _fidelity_row(one: Fidelity) -> FidelityRow:
    no_scores = Quantity(None, "share", reason="the output is not scores of classes")
    return FidelityRow(
        rows=one.rows,
        agreement=no_scores if one.top1_agreement is None else quantity(one.top1_agreement, "share"),
        cosine_mean=_plain(one.cosine_mean, "", "single numbers have no direction"),
        cosine_least=_plain(one.cosine_least, "", "single numbers have no direction"),
        max_abs=_plain(one.max_abs, "", "no row is finite on both sides"),
        sqnr=_plain(one.sqnr_db, "dB", "infinite: the outputs are equal" if one.is_equal else "not defined"),
        kl_mean=_plain(one.kl_mean, "nats", "the output is not scores of classes"),
        kl_p99=_plain(one.kl_p99, "nats", "too few rows, or no scores of classes"),
        is_equal=one.is_equal,
        not_finite=one.not_finite,
    )


def _bound_row(bound: Bound) -> BoundRow:
    peaks = bound.peaks
    return BoundRow(
        limit=bound.limit,
        sentence=bound.sentence,
        flops_per_s=bound.flops_per_s,
        flops_per_byte=bound.flops_per_byte,
        processor=None if peaks is None else peaks.name,
        peak_flops_per_s=None if peaks is None else peaks.flops_per_s,
        peak_bytes_per_s=None if peaks is None else peaks.bytes_per_s,
        peak_basis=None if peaks is None else peaks.basis,
    )


def _plain(value: float | None, unit: str, reason: str) -> Quantity:
    return Quantity(value, unit, reason=_unless(value, reason))


def _unless(value: float | None, reason: str) -> str | None:
    return reason if value is None else None
