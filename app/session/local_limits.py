"""What limits each variant, from its times, the model's costs, the processor's peaks, and the law of its batches."""

from __future__ import annotations

from collections.abc import Sequence

from app.analysis.batch_law import BatchPoint, fit_batch_law
from app.analysis.roofline import CallTimes, bound_of
from app.records.estimate import Estimate, Variant
from app.records.local import BatchLaw, Bound, VariantFacts
from app.records.result import Environment, Stage
from app.session.local_parts import LocalParts
from app.session.local_spec import VariantOrder

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
