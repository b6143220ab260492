"""Whether the capacity that a plan is based on is known well enough, and which measurement would tell more."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

import msgspec

from app.analysis.sample_size import needed_samples
from app.planning.capacity import Capacity
from app.planning.goals import Goal, Goals
from app.planning.service_models.evidence import Z80, Evidence, evidence_of
from app.planning.sizing import Demand, needed_spread
from app.planning.wording import amount
from app.records.plan import CapacityKnowledge, KnowledgeReason, KnowledgeState, NextMeasurement, Spread
from app.records.plan_question import MeasuredTarget
from app.records.result import Objective
from app.records.service import ServiceFit

UNCERTAIN_RATIO, UNKNOWN_RATIO = 2.0, 10.0
"""P90 over P10 of the capacity."""
_CONTRADICTION = 1.25
"""The highest rate that met the SLO over the lowest that missed it: beyond this it is not chance."""
_MAX_FIT_ERROR = 0.5
_OPEN_INTERVAL = 1.5
"""Where rates that met and missed the SLO leave less than this, an error of the service model matters little."""
_MIN_DURATION_S, _MIN_REQUESTS = 30.0, 2000
_BEST_RATIO = 1.1
_NAMES = {"latency": "", "first_token": "ttft ", "per_token": "tpot "}


class SloEvidence(msgspec.Struct, frozen=True):
    """What the load points of one target say of the SLO. `fit_error` is that of the service model there."""

    target: str
    evidence: Evidence
    fit_error: float | None
    is_contradictory: bool


def slo_evidence(target: MeasuredTarget, slo: Sequence[Objective], goals: Goals) -> SloEvidence:
    evidence = evidence_of(target, slo)
    fit_error = None if target.fit is None else fit_error_at_slo(target.fit, goals)
    return SloEvidence(target.name, evidence, fit_error, _contradicts(evidence, fit_error))


def knowledge_of(capacity: Capacity, found: SloEvidence, goals: Goals, demand: Demand) -> CapacityKnowledge:
    """Of one instance of an offer; the next measurement is of one replica on the measured hardware.

    A wide range of the capacity that does not change how many instances are needed is known well enough.
    """
    low, high = capacity.quantile_per_s(-Z80), capacity.most_per_s(Z80)
    spread, needed = Spread(low, capacity.per_s, high), needed_spread(capacity, demand)
    ratio = min(high / low, needed.p90 / needed.p10)
    state: KnowledgeState = "known"
    if ratio > UNKNOWN_RATIO:
        state = "unknown"
    elif ratio > UNCERTAIN_RATIO or found.is_contradictory:
        state = "uncertain"
    if state == "known":
        return CapacityKnowledge(state, "narrow range", spread)
    reason: KnowledgeReason = "contradictory load points" if found.is_contradictory else "wide range"
    measurement = _next_measurement(spread, capacity, found, goals)
    headline, next_step = _headline(spread, needed, reason), _next_step(measurement, found.target)
    return CapacityKnowledge(state, reason, spread, measurement, headline, next_step)


def fit_error_at_slo(fit: ServiceFit, goals: Goals) -> float | None:
    """The worst over the SLO's percentiles; a model that says half and one that says twice as much are as wrong."""
    errors = [error for goal in goals.times if (error := _error_at(fit, goal)) is not None]
    return max(errors, default=None)


def _error_at(fit: ServiceFit, goal: Goal) -> float | None:
    aggregate = "mean" if goal.quantile is None else f"p{100 * goal.quantile:g}"
    names = {f"{_NAMES[goal.time]}{aggregate}", f"latency {aggregate}" if goal.time == "latency" else ""}
    found = [abs(math.log(error.fitted_s / error.measured_s)) for error in fit.errors if error.aggregate in names]
    return math.expm1(median(found)) if found else None


def _contradicts(evidence: Evidence, fit_error: float | None) -> bool:
    """Rates that met the SLO lie well above others that missed it, or no service model explains what was measured and
    the rates leave the capacity open."""
    if evidence.is_contradictory:
        return evidence.highest_met > _CONTRADICTION * evidence.lowest_missed
    low, high = evidence.interval
    return fit_error is not None and fit_error > _MAX_FIT_ERROR and not high <= _OPEN_INTERVAL * low


def _next_measurement(spread: Spread, capacity: Capacity, found: SloEvidence, goals: Goals) -> NextMeasurement:
    """At the middle of what is believed, since meeting or missing the SLO there halves the range; at the rates that
    contradict each other, they themselves once more and three times as long."""
    evidence = found.evidence
    rate = math.sqrt(spread.p10 * spread.p90) / (capacity.replicas * capacity.speed)
    quantiles = [goal.quantile for goal in goals.times if goal.quantile is not None]
    requests = max([_MIN_REQUESTS, *(10 * needed_samples(quantile) for quantile in quantiles)])
    if found.is_contradictory and evidence.is_contradictory:
        rate, requests = math.sqrt(evidence.lowest_missed * evidence.highest_met), 3 * requests
    duration_s = max(_MIN_DURATION_S, 10.0 * math.ceil(requests / rate / 10))
    return NextMeasurement(rate, duration_s, max(_BEST_RATIO, math.sqrt(spread.p90 / spread.p10)))


def _headline(spread: Spread, needed: Spread, reason: KnowledgeReason) -> str:
    between = f"{amount(spread.p10)} to {amount(spread.p90)}/s per instance (P10–P90), so {needed.p10:,.0f} to "
    between += f"{needed.p90:,.0f} instances may be needed"
    why = "; the load points contradict each other" if reason == "contradictory load points" else ""
    return f"Capacity is not known well enough: {between}{why}."


def _next_step(measurement: NextMeasurement, target: str) -> str:
    minutes = measurement.duration_s / 60
    how_long = f"{measurement.duration_s:.0f} s" if minutes < 3 else f"{minutes:.0f} min"
    return (
        f"Measure one replica of {target} at {amount(measurement.rate_per_s)}/s for {how_long} next: the range "
        f"narrows to about {measurement.expected_ratio:.2g}×."
    )
