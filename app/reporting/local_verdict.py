"""How a local run ended, in sentences: which variant is best, and what became of the others."""

from __future__ import annotations

from app.analysis.judged_variants import NO_BEST_TEXTS
from app.analysis.variant_slo import missed_of
from app.records.result import Estimate, Objective, Result
from app.reporting.local import answering_by_variant, shown_variant, stages_by_variant
from app.reporting.local_arrivals import arrivals_of, inferences_words
from app.reporting.local_front import fastest_stage
from app.reporting.local_names import names_of
from app.reporting.quantities import quantity, stage_quantity, unit_of
from reports import formatting

_FEW = 3


def local_sentence(result: Result) -> str | None:
    """None where no local model was the target, or nothing of it was measured."""
    local = result.local
    if local is None or not any(stages_by_variant(result).values()):
        return None
    return f"{_best(result)} {_counts(result)}"


def _best(result: Result) -> str:
    local, slo = result.local, " and ".join(one.objective.text for one in result.slo if one.objective.level == "fail")
    assert local is not None
    if local.best is None:
        why = NO_BEST_TEXTS[local.best_reason] if local.best_reason else "no variant was measured to its end"
        return f"{why[:1].upper()}{why[1:]}{_nearest(result)}."
    stages = answering_by_variant(result)[local.best]
    stage = fastest_stage(stages)
    name = names_of([one.variant for one in local.variants])[local.best]
    rate = "n/a" if stage is None else formatting.value_unit(stage_quantity(stage, "throughput_per_s"))
    scenario = "" if stage is None else f" ({stage.tags['scenario']})"
    inside = f" inside {slo}" if slo else ""
    facts = next(one for one in local.variants if one.variant == local.best)
    arrivals, most = arrivals_of(facts, stages), "Most throughput"
    if arrivals is not None and arrivals.value is not None:
        rows, most = inferences_words(facts), "Most arrivals"
        rate = f"{formatting.value_unit(arrivals)} as they arrive"
        scenario = f" ({rows})" if rows else ""
    if len(local.variants) == 1:
        return f"{name} carries {rate}{scenario}{inside}."
    is_alone = len([one for one in stages_by_variant(result).values() if one]) == 1
    which = "The one that was measured" if is_alone else most
    return f"{which}{inside}: {name}, {rate}{scenario}.{_as_fast(result)}"


def _as_fast(result: Result) -> str:
    assert result.local is not None
    names = names_of([one.variant for one in result.local.variants])
    others = [names[one] for one in result.local.as_fast]
    if not others:
        return ""
    told = "; ".join(others[:_FEW]) + (f"; and {len(others) - _FEW} more" if len(others) > _FEW else "")
    return f" By their intervals as fast: {told}."


def _nearest(result: Result) -> str:
    """What the variant that came nearest missed."""
    shown, local = shown_variant(result), result.local
    if shown is None or local is None:
        return ""
    stages = stages_by_variant(result)
    missed = missed_of([one.objective for one in result.slo], answering_by_variant(result)[shown])
    told = ", ".join(f"{objective.text} {_seen(objective, estimate)}" for objective, estimate in missed)
    name = names_of([one.variant for one in local.variants])[shown]
    nearest = " came nearest, and" if sum(map(bool, stages.values())) > 1 else ""
    return f"; {name}{nearest} missed {told}" if told else ""


def _seen(objective: Objective, estimate: Estimate) -> str:
    if estimate.value is None:
        return f"(n/a: {estimate.reason or 'not measured'})"
    return f"with {formatting.value_unit(quantity(estimate, unit_of(objective.metric)))}"


def _counts(result: Result) -> str:
    assert result.local is not None
    facts = result.local.variants
    left_out = sum(one.is_left_out for one in facts)
    early = sum(one.failure is not None and not one.is_left_out for one in facts)
    whole = len(facts) - left_out - early
    parts = [f"{whole} {'variant' if whole == 1 else 'variants'} measured"]
    parts += [f"{early} ended early"] if early else []
    parts += [f"{left_out} left out"] if left_out else []
    aim = "" if result.slo or result.gates else "; no objective was set"
    return f"{', '.join(parts)}{aim}."
