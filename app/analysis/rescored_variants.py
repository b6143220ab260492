"""A run of a local model judged by another SLO: its stages are what they were, which variant is best may change."""

from __future__ import annotations

from msgspec.structs import replace

from app.analysis.call_stages import IN_SEARCH
from app.analysis.judged_variants import (
    NO_VARIANT,
    Judgeable,
    as_fast_as,
    best_of,
    judge_by_answer,
    judge_gate_by_answer,
    nearest_of,
)
from app.analysis.rescoring import again
from app.analysis.variant_slo import with_headlines
from app.errors import UsageError
from app.records.result import Objective, Result


def rescore_variants(own: Result, slo: tuple[Objective, ...]) -> Result:
    """Raises UsageError where the run's own SLO decided what was measured."""
    assert own.local is not None
    if any(IN_SEARCH in stage.tags for stage in own.stages):
        raise UsageError(
            "the arrivals of this local run were searched for its own SLO, and another asks for other rates",
            hint="Run it again with that SLO in its profile.",
        )
    variants = tuple(
        Judgeable(facts, tuple(stage for stage in own.stages if stage.variant == facts.variant))
        for facts in own.local.variants
    )
    best, reason = best_of(variants, slo)
    answering = best or nearest_of(variants, slo)
    judged_on = () if answering is None else answering.answering(slo)
    local = replace(
        own.local,
        best=None if best is None else best.facts.variant,
        best_reason=reason,
        as_fast=() if best is None else as_fast_as(best, variants, slo),
    )
    judged = tuple(judge_by_answer(one, judged_on) for one in slo)
    gates = tuple(judge_gate_by_answer(one.objective, judged_on, own.stages) for one in own.gates)
    is_missed = reason == "missed" and all(one.judgement != "FAIL" for one in judged)
    more = [NO_VARIANT] if is_missed else []
    stages = with_headlines(slo, own.stages)
    return again(replace(own, local=local, stages=stages, slo=judged, gates=gates), own, slo, None, more)
