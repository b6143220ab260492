"""Assessment of how certain the capacity behind a plan is, and which measurement would reduce the
uncertainty most."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

import msgspec

from app.analysis.sample_size import count_needed_samples
from app.planning.formatting import format_number
from app.planning.hardware.capacity import Capacity
from app.planning.service_models.discrepancy import (
    MAX_DISCREPANCY,
    compute_discrepancy,
    estimate_drift,
    select_errors,
)
from app.planning.service_models.evidence import Evidence, collect_evidence
from app.planning.sizing.instances import Demand, estimate_instance_range
from app.planning.sizing.model_error import Z80
from app.planning.sizing.slo_objectives import SloObjectives
from app.records.plan import CapacityKnowledge, KnowledgeReason, KnowledgeState, NextMeasurement, Spread
from app.records.planning_inputs import MeasuredTarget
from app.records.result import Objective
from app.records.service import ServiceFit

UNCERTAIN_RATIO, UNKNOWN_RATIO = 2.0, 10.0
"""Ratios of P90 to P10 of the capacity above which the capacity counts as uncertain or unknown."""
_CONTRADICTION_RATIO = 1.25
"""Ratio of the highest rate that met the SLO to the lowest rate that missed it, above which the
load points contradict each other more than random variation can explain.
"""
_MAX_FIT_ERROR = 0.5
_MAX_NARROW_RATIO = 1.5
"""Ratio of the lowest rate that missed the SLO to the highest rate that met the SLO, up to which
the fit error of the service model hardly matters.
"""
_MIN_DURATION_S, _MIN_REQUESTS = 30.0, 2000
_MIN_EXPECTED_RATIO = 1.1
_NOTE_BY_REASON: dict[KnowledgeReason, str] = {
    "contradictory load points": "; the load points contradict each other",
    "drift": "; the target became slower or faster during the measurement, and may continue to do so",
    "model does not fit": "; no service model predicts the latency at the SLO's percentile",
    "capacity not reached": "; every measured rate met the SLO, so the capacity is a lower bound and the plan an upper "
    "bound of the need",
}


class SloEvidence(msgspec.Struct, frozen=True):
    """Evidence from the load points of one target on the rates at which the target meets the SLO.

    `fit_error` is the relative error of the service model at the percentiles of the SLO, or `None`
    if unknown. `limitation` is the reason why the capacity cannot be known from these load points,
    however narrow its range is; `None` if there is none.
    """

    target: str
    evidence: Evidence
    fit_error: float | None
    limitation: KnowledgeReason | None

    @property
    def has_probability(self) -> bool:
        """False if a P(SLO met) would be meaningless. A capacity that was never reached has one:
        the measured rates are a lower bound."""
        return self.limitation in (None, "capacity not reached")


def collect_slo_evidence(target: MeasuredTarget, slo: Sequence[Objective], objectives: SloObjectives) -> SloEvidence:
    evidence = collect_evidence(target, slo)
    fit_error = None if target.fit is None else compute_fit_error_at_slo(target.fit, objectives)
    return SloEvidence(target.name, evidence, fit_error, _find_limitation(target, evidence, objectives))


def assess_knowledge(
    capacity: Capacity, slo_evidence: SloEvidence, objectives: SloObjectives, demand: Demand
) -> CapacityKnowledge:
    """Assess how certain the capacity of one instance of an offer is.

    The proposed next measurement is for a single replica on the measured hardware. A capacity with
    a wide range still counts as known if the range does not change the number of instances, and so
    does a capacity that was never reached if one instance is enough.
    """
    low, high = capacity.compute_quantile_per_s(-Z80), capacity.compute_upper_quantile_per_s(Z80)
    capacity_range, instance_range = Spread(low, capacity.rate_per_s, high), estimate_instance_range(capacity, demand)
    uncertainty_ratio = min(high / low, instance_range.p90 / instance_range.p10)
    limitation = slo_evidence.limitation
    if limitation == "capacity not reached" and instance_range.p90 <= 1:
        limitation = None
    state: KnowledgeState = "known"
    if uncertainty_ratio > UNKNOWN_RATIO:
        state = "unknown"
    elif uncertainty_ratio > UNCERTAIN_RATIO or limitation is not None:
        state = "uncertain"
    if state == "known":
        return CapacityKnowledge(state, "narrow range", capacity_range)
    reason: KnowledgeReason = limitation or "wide range"
    measurement = _propose_measurement(capacity_range, capacity, slo_evidence, objectives)
    headline, next_step = (
        _format_headline(capacity_range, instance_range, reason),
        _format_next_step(measurement, slo_evidence.target),
    )
    return CapacityKnowledge(state, reason, capacity_range, measurement, headline, next_step)


def compute_fit_error_at_slo(fit: ServiceFit, objectives: SloObjectives) -> float | None:
    """Return the largest relative error of the service model over the latency objectives of the
    SLO; `None` if unknown.

    Errors are computed on a log scale, so half and twice the measured value are equal errors.
    """
    log_errors = [
        [abs(math.log(error.fitted_s / error.measured_s)) for error in select_errors(fit, objective)]
        for objective in objectives.latency_objectives
    ]
    return max((math.expm1(median(errors)) for errors in log_errors if errors), default=None)


def _find_limitation(target: MeasuredTarget, evidence: Evidence, objectives: SloObjectives) -> KnowledgeReason | None:
    """Return why the load points do not support a probability or a number of instances; `None` if
    they do."""
    fit_error = None if target.fit is None else compute_fit_error_at_slo(target.fit, objectives)
    if _is_contradictory(evidence, fit_error):
        return "contradictory load points"
    if target.fit is not None:
        drift = estimate_drift(target.fit, objectives, target.load_points)
        if drift is not None and drift.is_significant:
            return "drift"
        reference_per_s = evidence.highest_met_per_s or target.fit.highest_per_s
        if (
            compute_discrepancy(target.fit, objectives, reference_per_s) > MAX_DISCREPANCY
            or math.log1p(fit_error or 0.0) > MAX_DISCREPANCY
        ):
            return "model does not fit"
    if evidence.tested_rates and math.isinf(evidence.lowest_missed_per_s):
        return "capacity not reached"
    return None


def _is_contradictory(evidence: Evidence, fit_error: float | None) -> bool:
    """Return whether the load points contradict each other.

    A contradiction exists if a rate that met the SLO is well above a rate that missed the SLO. It
    also exists if the service model fits badly and the measured rates leave a wide range for the
    capacity.
    """
    if evidence.is_contradictory:
        return evidence.highest_met_per_s > _CONTRADICTION_RATIO * evidence.lowest_missed_per_s
    low, high = evidence.interval
    return fit_error is not None and fit_error > _MAX_FIT_ERROR and not high <= _MAX_NARROW_RATIO * low


def _propose_measurement(
    capacity_range: Spread, capacity: Capacity, slo_evidence: SloEvidence, objectives: SloObjectives
) -> NextMeasurement:
    """Return the measurement that narrows the range of the capacity most.

    The proposed rate is the geometric mean of the ends of the range, since the outcome at this rate
    halves the range. If load points contradict each other, the proposed rate is between the
    contradictory rates, with three times as many requests.
    """
    evidence = slo_evidence.evidence
    rate_per_s = math.sqrt(capacity_range.p10 * capacity_range.p90) / (capacity.replicas * capacity.speed)
    quantiles = [objective.quantile for objective in objectives.latency_objectives if objective.quantile is not None]
    request_count = max([_MIN_REQUESTS, *(10 * count_needed_samples(quantile) for quantile in quantiles)])
    if slo_evidence.limitation == "contradictory load points" and evidence.is_contradictory:
        rate_per_s, request_count = (
            math.sqrt(evidence.lowest_missed_per_s * evidence.highest_met_per_s),
            3 * request_count,
        )
    duration_s = max(_MIN_DURATION_S, 10.0 * math.ceil(request_count / rate_per_s / 10))
    return NextMeasurement(
        rate_per_s, duration_s, max(_MIN_EXPECTED_RATIO, math.sqrt(capacity_range.p90 / capacity_range.p10))
    )


def _format_headline(capacity_range: Spread, instance_range: Spread, reason: KnowledgeReason) -> str:
    range_text = (
        f"{format_number(capacity_range.p10)} to {format_number(capacity_range.p90)} req/s per instance (P10–P90)"
    )
    if instance_range.p10 < instance_range.p90:
        range_text += f", so {instance_range.p10:,.0f} to {instance_range.p90:,.0f} instances may be needed"
    return f"The capacity is too uncertain: {range_text}{_NOTE_BY_REASON.get(reason, '')}."


def _format_next_step(measurement: NextMeasurement, target: str) -> str:
    minutes = measurement.duration_s / 60
    duration_text = f"{measurement.duration_s:.0f} s" if minutes < 3 else f"{minutes:.0f} min"
    return (
        f"Next, measure one replica of {target} at {format_number(measurement.rate_per_s)} req/s for "
        f"{duration_text}. This narrows the range (P90/P10) to a factor of about {measurement.expected_ratio:.2g}."
    )
