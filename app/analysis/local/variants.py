"""Which variants are worth looking at: no other is as fast, as cheap and as accurate, and better in one of these.

Which stage of a variant answers an objective, and whether the variant meets it.

Which variant is best: the one that carries most of those that met every objective; and what it says
of each.

A run of a local model judged by another SLO: its stages are what they were, which variant is best
may change.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from app.analysis.answering import marked
from app.analysis.gating import judge_gate, tagged
from app.analysis.local.call_stages import IN_SEARCH, fastest
from app.analysis.objectives import find_estimate, is_met, judge
from app.analysis.rescoring import again
from app.analysis.rows import NOT_STARTED
from app.errors import ExitCode, UsageError
from app.records.estimate import Estimate, Variant
from app.records.local import NoBestReason, VariantFacts
from app.records.metrics import PERCENTILES
from app.records.result import Cause, Judged, Objective, Result, Stage

_DUE = ("latency_ms", "send_lag_ms")
_BY_LATENCY = ("server", "multi-stream", "single-stream", "offline")
_BY_TIME = ("single-stream", "multi-stream", "server", "offline")
_BY_THROUGHPUT = ("offline", "multi-stream", "single-stream", "server")


def answer_of(objective: Objective, stages: Sequence[Stage]) -> tuple[Stage | None, Estimate]:
    """In the scenario that the metric is most of: latency in that of arrivals, the time of a call in that of one after
    another, throughput in that without a pause. Of several rates of arrivals, at the one where it is worst."""
    order = _BY_LATENCY if objective.metric in _DUE else _BY_TIME
    order = _BY_THROUGHPUT if objective.metric == "throughput_per_s" else order
    telling = [stage for stage in stages if objective.metric in stage.metrics]
    if not telling:
        return None, Estimate(None, reason=f"{objective.metric} was not measured")
    scenario = min((stage.tags["scenario"] for stage in telling), key=order.index)
    wants_low = objective.comparator in ("<", "<=")

    def badness(stage: Stage) -> float:
        value = find_estimate(stage, objective).value
        return math.inf if value is None else value if wants_low else -value

    stage = max((one for one in telling if one.tags["scenario"] == scenario), key=badness)
    return stage, find_estimate(stage, objective)


def missed_of(slo: Sequence[Objective], stages: Sequence[Stage]) -> tuple[tuple[Objective, Estimate], ...]:
    """The objectives that a variant misses by its point estimates in these stages, or has none for; those that only
    warn are left out."""
    answers = [(objective, answer_of(objective, stages)[1]) for objective in slo if objective.level == "fail"]
    return tuple((objective, estimate) for objective, estimate in answers if not is_met(objective, estimate))


def missed_so_far(slo: Sequence[Objective], stages: Sequence[Stage]) -> tuple[tuple[Objective, Estimate], ...]:
    """Before the run is over: what only the whole of it tells, as accuracy and readings of the machine, is no miss."""
    return missed_of([one for one in slo if any(one.metric in stage.metrics for stage in stages)], stages)


def is_beyond(slo: Sequence[Objective], stages: Sequence[Stage]) -> bool:
    """Whether an objective is missed for certain: not for want of a value, unless that is endless."""
    answering = headline_of_variant(slo, stages)
    for objective in slo:
        stage, estimate = answer_of(objective, answering)
        is_known = estimate.value is not None or (stage is not None and is_endless(objective, stage))
        if objective.level == "fail" and is_known and not is_met(objective, estimate):
            return True
    return False


def is_endless(objective: Objective, stage: Stage) -> bool:
    """Whether so many arrivals were never begun that this latency has no end."""
    never = stage.errors.get(NOT_STARTED, 0)
    beyond = 1 - PERCENTILES.get(objective.aggregate or "max", 1.0)
    return objective.metric == "latency_ms" and never > beyond * (never + stage.completed)


def headline_of_variant(slo: Sequence[Objective], stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """Of a search, the highest rate that held whenever it was tried: the others are its steps. All, where none did."""
    binding = [objective for objective in slo if objective.level == "fail"]

    def has_held(stage: Stage) -> bool:
        told = [one for one in binding if one.metric in stage.metrics]
        return all(is_met(one, find_estimate(stage, one)) for one in told)

    searched = [stage for stage in stages if IN_SEARCH in stage.tags]
    failed = {stage.scheduled_per_s for stage in searched if not has_held(stage)}
    held = [stage for stage in searched if stage.scheduled_per_s not in failed]
    highest = max((stage.scheduled_per_s or 0.0 for stage in held), default=0.0)
    left_out = [stage for stage in searched if held and stage.scheduled_per_s != highest]
    return tuple(stage for stage in stages if stage not in left_out)


def with_headlines(slo: Sequence[Objective], stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """The stages of all variants, with those that each variant's headline is based on marked."""
    variants = dict.fromkeys(stage.variant for stage in stages)
    chosen = [
        stage
        for variant in variants
        for stage in headline_of_variant(slo, [one for one in stages if one.variant == variant])
    ]
    return marked(stages, chosen)


NO_BEST_TEXTS: dict[NoBestReason, str] = {
    "not_trusted": "no variant was measured whose numbers can be relied on",
    "open": "no variant could be shown to meet every objective",
    "missed": "no variant met every objective",
    "cut_short": "the engine ended before it had judged the run",
}
NO_VARIANT = Cause("no_variant", ExitCode.GATE_FAILED, NO_BEST_TEXTS["missed"])


class Judgeable(msgspec.Struct, frozen=True):
    """A variant with its stages, whole."""

    facts: VariantFacts
    stages: tuple[Stage, ...]

    def answering(self, slo: Sequence[Objective]) -> tuple[Stage, ...]:
        """Without the rates of a search that failed."""
        return headline_of_variant(slo, self.stages)

    def misses(self, slo: Sequence[Objective]) -> tuple[tuple[Objective, Estimate], ...]:
        return missed_of(slo, self.answering(slo))

    def is_trusted(self, slo: Sequence[Objective]) -> bool:
        """Whether it was measured to its end, and nothing makes it INVALID."""
        is_valid = all(stage.verdict.status != "INVALID" for stage in self.answering(slo))
        return bool(self.stages) and is_valid and self.facts.failure is None


def best_of(variants: Sequence[Judgeable], slo: Sequence[Objective]) -> tuple[Judgeable | None, NoBestReason | None]:
    """The variant with the most throughput of those that met every objective, by point estimates; with none, why."""
    trusted = [one for one in variants if one.is_trusted(slo)]
    if not trusted:
        return None, "not_trusted"
    meeting = [one for one in trusted if not one.misses(slo)]
    if not meeting:
        is_open = any(not is_beyond(slo, one.stages) for one in trusted)
        return None, "open" if is_open else "missed"
    return max(meeting, key=lambda one: _carried(one).value or 0.0), None


def _carried(one: Judgeable) -> Estimate:
    """Inferences a second: as they arrive, where that was searched, else the most."""
    searched, batch = one.facts.server_per_s, one.facts.variant.batch
    if searched is None or searched.value is None:
        return fastest(one.stages)
    interval = None if searched.ci95 is None else (searched.ci95[0] * batch, searched.ci95[1] * batch)
    return Estimate(searched.value * batch, interval)


def as_fast_as(best: Judgeable, variants: Sequence[Judgeable], slo: Sequence[Objective]) -> tuple[Variant, ...]:
    """Of the others that met every objective, those whose interval reaches into the best's."""
    least = (_carried(best).ci95 or (math.inf, math.inf))[0]
    others = [one for one in variants if one is not best and one.is_trusted(slo) and not one.misses(slo)]
    return tuple(one.facts.variant for one in others if (_carried(one).ci95 or (0.0, 0.0))[1] >= least)


def nearest_of(variants: Sequence[Judgeable], slo: Sequence[Objective]) -> Judgeable | None:
    """The one that missed the fewest objectives, and of those the fastest."""

    def badness(one: Judgeable) -> tuple[int, float]:
        return len(one.misses(slo)), -(_carried(one).value or 0.0)

    return min((one for one in variants if one.stages), key=badness, default=None)


def judge_by_answer(objective: Objective, stages: Sequence[Stage]) -> Judged:
    """In the stage of a variant that answers it."""
    stage, estimate = answer_of(objective, stages)
    judged = msgspec.structs.replace(judge(objective, estimate), stage=None if stage is None else stage.name)
    is_over = stage is not None and is_endless(objective, stage) and objective.comparator in ("<", "<=")
    return msgspec.structs.replace(judged, judgement="FAIL") if is_over else judged


def judge_gate_by_answer(gate: Objective, judged_on: Sequence[Stage], stages: Sequence[Stage]) -> Judged:
    """Of the answering variant, or of those that the gate's tags choose."""
    if gate.is_change or (gate.tags and not (chosen := tagged(stages, gate.tags))):
        return judge_gate(gate, judged_on, stages, {})
    return judge_by_answer(gate, chosen if gate.tags else judged_on)


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


class VariantPoint(msgspec.Struct, frozen=True, kw_only=True):
    """`latency_ms` is one percentile, and `cost` in one unit, for all points that are compared; None is not known."""

    latency_ms: float | None
    rows_per_s: float | None
    cost: float | None
    accuracy: float | None
    """A share, better high."""


def usd_per_million_rows(rows_per_s: float, usd_per_hour: float) -> float:
    """Of a machine that is never idle."""
    return usd_per_hour / 3600 / rows_per_s * 1e6


def machine_s_per_thousand_rows(rows_per_s: float) -> float:
    """The cost where the machine has no price."""
    return 1e3 / rows_per_s


def front_of(points: Sequence[VariantPoint]) -> tuple[int, ...]:
    """The indexes of the points that none dominates, in order; of points alike all stand.

    Points without a latency or a cost take no part. An accuracy that is not known beats none that is: such a point may
    be dominated by one that is as fast and as cheap, and dominates only its like.
    """
    known = {index: _place(point) for index, point in enumerate(points)}
    placed = {index: place for index, place in known.items() if place is not None}
    return tuple(
        index for index, place in placed.items() if not any(_dominates(other, place) for other in placed.values())
    )


def _place(point: VariantPoint) -> tuple[float, float, float] | None:
    """Each part better low."""
    if point.latency_ms is None or point.cost is None:
        return None
    return point.latency_ms, point.cost, float("inf") if point.accuracy is None else -point.accuracy


def _dominates(one: tuple[float, float, float], other: tuple[float, float, float]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))
