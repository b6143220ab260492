"""Which stage of a variant answers an objective, and whether the variant meets it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from app.analysis.answering import marked
from app.analysis.call_stages import IN_SEARCH
from app.analysis.objectives import find_estimate, is_met
from app.analysis.rows import NOT_STARTED
from app.records.estimate import Estimate
from app.records.metrics import PERCENTILES
from app.records.result import Objective, Stage

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
