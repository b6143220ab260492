"""A plan: fleets that serve a traffic within an SLO, their costs, and how certain these are."""

from __future__ import annotations

from typing import Literal

import msgspec

from app.records.checks import Check
from app.records.estimate import Basis, Estimate
from app.records.offers import PriceKind
from app.records.traffic import Traffic

SizingMethod = Literal["simulated", "formula", "measured"]
"""Method that decided a fleet's size: the simulation, a queueing formula (an analytical estimate), or the measured
maximum rate alone."""


RejectedBy = Literal[
    "budget", "power", "owned", "price age", "price trust", "price", "slo", "capacity", "accelerators", "vendor",
    "region", "provider",
]  # fmt: skip
"""Filter that excludes an offer, sorted by how close the offer is to fitting, closest first; the last four are the
user's own filters."""
RejectionId = Literal[
    "accelerator_count", "attention_heads", "measured_memory", "measured_vcpus_unknown", "memory", "no_accelerator",
    "no_language_model", "not_measured", "precision", "processor", "replica_memory_unknown", "runtime",
    "shared_accelerator", "token_time", "token_times_unknown", "unknown_figure", "unknown_precision",
    "unsupported_precision", "vcpus", "vcpus_unknown", "vendor",
]  # fmt: skip
"""Reason why the capacity of an offer is unknown."""


class Spread(msgspec.Struct, frozen=True):
    """Uncertainty of a number: its 10th, 50th and 90th percentile."""

    p10: float
    p50: float
    p90: float


KnowledgeState = Literal["known", "uncertain", "unknown"]
"""State of knowledge of a capacity.

known: the P10–P90 range is narrow enough for a purchase. uncertain: the range is over 3×, or the load points contradict
each other. unknown: it is over 10×, and nothing is recommended.
"""
KnowledgeReason = Literal["narrow range", "wide range", "contradictory load points"]


class NextMeasurement(msgspec.Struct, frozen=True):
    """The stage that would narrow the capacity most: one replica under this load for this time."""

    rate_per_s: float
    duration_s: float
    expected_ratio: float
    """Expected P90 over P10 of the capacity after the measurement."""


class CapacityKnowledge(msgspec.Struct, frozen=True):
    """How well the capacity of the instance on which a plan is based is known.

    `headline` and `next_step` state the other fields as text; they are empty if the state is "known".
    """

    state: KnowledgeState
    reason: KnowledgeReason
    per_instance_per_s: Spread
    next_measurement: NextMeasurement | None = None
    headline: str = ""
    next_step: str = ""


class SloProbabilities(msgspec.Struct, frozen=True):
    """Probability that the SLO is met at the peak with the planned instances without spares, with one fewer, and with
    one more."""

    one_fewer: float
    planned: float
    one_more: float


class UnitCosts(msgspec.Struct, frozen=True):
    """USD per number of units: with a fully loaded instance, at the rate that the SLO allows, and at this traffic's
    mean."""

    at_saturation: float | None
    at_slo: float | None
    at_mean: float | None


class TokenUnitCosts(msgspec.Struct, frozen=True):
    """USD per 1M tokens."""

    input: UnitCosts | None
    output: UnitCosts | None
    all: UnitCosts | None


class Fleet(msgspec.Struct, frozen=True):
    """A fleet of one offer's instances for the planned traffic. Infeasible offers set `rejected` and have no counts."""

    offer: str
    provider: str
    instance_type: str
    region: str
    accelerator: str | None
    accelerator_count: float
    vcpus: float | None
    basis: Basis
    instances: int | None
    spare_instances: int | None
    replicas_per_instance: int | None
    capacity_per_instance_per_s: Estimate
    utilization_at_peak: Estimate
    latency_at_peak: Estimate
    usd_per_hour_each: float | None
    usd_per_month: Estimate
    usd_per_1k_inferences: Estimate
    price_date: str
    price_age_days: int
    price_source: str
    risk: int
    """Risk from 0 to 4, that of the worst of its `risk_reasons`."""
    risk_reasons: tuple[str, ...]
    rejected: str | None = None
    sizing_method: SizingMethod = "measured"
    measured_on: str | None = None
    """Name of the measurement on which the fleet is based."""
    price_kind: PriceKind = "on demand"
    instances_needed: Spread | None = None
    """Instances needed to serve the peak within the SLO, without spares."""
    usd_per_month_needed: Spread | None = None
    """Monthly cost of the needed instances and the spares."""
    slo_probabilities: SloProbabilities | None = None
    per_1k_inferences: UnitCosts | None = None
    per_1m_tokens: TokenUnitCosts | None = None
    kwh_per_month: Estimate | None = None
    kg_co2e_per_month: Estimate | None = None
    rejected_by: RejectedBy | None = None
    rejection: RejectionId | None = None
    """Reason id, set if the capacity is unknown; `rejected` is its text."""
    frontier_probability: float | None = None
    """Probability that no other fleet is both cheaper and faster, given the uncertainty of each."""
    fit_error_at_slo: float | None = None
    """Error of the service model at the SLO's own percentile: the median over all rates of the ratio of fitted to
    measured value, minus 1. None without a service model or if that percentile was not measured."""
    planned_rate_per_replica_per_s: float | None = None
    """Rate at which each replica is planned: the SLO is met there with the plan's confidence. The plan's count of
    instances, `simulate` and the exported autoscalers all use this number. None in plan files of version 0.1.0."""


class Recommendation(msgspec.Struct, frozen=True):
    fleet: Fleet
    sentence: str
    binding_constraint: str
    why: tuple[str, ...]
    would_change_it: tuple[str, ...]


class SensitivityRange(msgspec.Struct, frozen=True):
    """Sensitivity of the plan to one input at its low and its high end, all others as planned: the monthly cost, and
    the cheapest offer there."""

    input: str
    low: str
    high: str
    usd_per_month_low: float | None
    usd_per_month_high: float | None
    winner_low: str | None
    winner_high: str | None


class Hour(msgspec.Struct, frozen=True):
    """One hour of the peak day, simulated with the recommended fleet."""

    hour: int
    arrivals_per_s: float
    instances: float
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    good_share: float | None
    usd: float


class AnnualForecast(msgspec.Struct, frozen=True):
    """12-month forecast for the recommended fleet, including growth, spikes and campaigns: hours in which the load
    exceeds its planned capacity, the share of requests that are then delayed, the longest such delay, and its mean
    utilization."""

    hours_over: float
    delayed_share: float
    worst_wait_s: float
    mean_utilization: float


class Commitment(msgspec.Struct, frozen=True):
    """Reserving some of the instances and renting the rest on demand, instead of all of them on demand all the time."""

    reserved: int
    usd_per_month: float
    usd_per_month_on_demand: float
    sentence: str


class Saving(msgspec.Struct, frozen=True):
    """Effect of one change on the monthly cost."""

    change: str
    basis: Basis
    usd_per_month: float | None
    saved_usd_per_month: float | None


class MixPart(msgspec.Struct, frozen=True):
    offer: str
    instances: int


class Mix(msgspec.Struct, frozen=True):
    """A fleet of several offers; the plan has None if one offer alone is as cheap."""

    parts: tuple[MixPart, ...]
    usd_per_month: float
    sentence: str


class Plan(msgspec.Struct, frozen=True):
    traffic: Traffic
    slo: tuple[str, ...]
    confidence: float
    redundancy: int
    latency_metric: str
    """Metric of `latency_at_peak`, as `metric.aggregate`."""
    planned_on: str
    """Date from which price ages were counted."""
    recommendation: Recommendation | None
    runner_up: Fleet | None
    cheapest_rejected: Fleet | None
    offers: tuple[Fleet, ...]
    pareto: tuple[Fleet, ...]
    notes: tuple[str, ...] = ()
    router: str | None = None
    sensitivity: tuple[SensitivityRange, ...] = ()
    """Sensitivities, widest range first."""
    day: tuple[Hour, ...] = ()
    forecast: AnnualForecast | None = None
    commitment: Commitment | None = None
    break_even: tuple[str, ...] = ()
    """Break-even points of owned against rented hardware, and of the fleet against an API's price."""
    savings: tuple[Saving, ...] = ()
    mix: Mix | None = None
    capacity_knowledge: CapacityKnowledge | None = None
    """Knowledge of the recommended fleet, or else of the fleet that would be recommended if its capacity were known."""
    checks: tuple[Check, ...] = ()
    """Checks of the recommended fleet that warn, each with its id, its limit and a remedy."""
