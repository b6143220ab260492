"""A plan: fleets that carry a traffic inside an SLO, what they cost, and how sure that is."""

from __future__ import annotations

from typing import Literal

import msgspec

from app.records.checks import Check
from app.records.estimate import Basis, Estimate
from app.records.offers import PriceKind
from app.records.traffic import Traffic

Settled = Literal["simulated", "formula", "measured"]
"""What decided a fleet's size: the simulation, a queueing formula (a preview), or the measured max rate alone."""


RejectedBy = Literal[
    "budget", "power", "owned", "price age", "price trust", "price", "slo", "capacity", "accelerators", "vendor",
    "region", "provider",
]  # fmt: skip
"""What keeps an offer from being planned, the nearest to fitting first: the last four are the user's own filters."""
RefusalId = Literal[
    "accelerator_count", "attention_heads", "measured_memory", "measured_vcpus_unknown", "memory", "no_accelerator",
    "no_language_model", "not_measured", "precision", "processor", "replica_memory_unknown", "runtime",
    "shared_accelerator", "token_time", "token_times_unknown", "unknown_figure", "unknown_precision",
    "unsupported_precision", "vcpus", "vcpus_unknown", "vendor",
]  # fmt: skip
"""Why the capacity of an offer is not known."""


class Spread(msgspec.Struct, frozen=True):
    """What is believed of a number before it is known: its 10th, 50th and 90th percentile."""

    p10: float
    p50: float
    p90: float


KnowledgeState = Literal["known", "uncertain", "unknown"]
"""known: the P10–P90 range of the capacity is narrow enough to buy by. uncertain: it is over 3×, or the load points
contradict each other. unknown: it is over 10×, and nothing is recommended."""
KnowledgeReason = Literal["narrow range", "wide range", "contradictory load points"]


class NextMeasurement(msgspec.Struct, frozen=True):
    """The stage that narrows the capacity most: one replica under this load for so long."""

    rate_per_s: float
    duration_s: float
    expected_ratio: float
    """P90 over P10 of the capacity afterwards."""


class CapacityKnowledge(msgspec.Struct, frozen=True):
    """How well the capacity of an instance that a plan is based on is known.

    `headline` and `next_step` say the other fields in words; they are empty where the state is "known".
    """

    state: KnowledgeState
    reason: KnowledgeReason
    per_instance_per_s: Spread
    next_measurement: NextMeasurement | None = None
    headline: str = ""
    next_step: str = ""


class Chances(msgspec.Struct, frozen=True):
    """P(the SLO is met at the peak) with the instances that carry the load, spares left out; and one fewer or more."""

    one_fewer: float
    planned: float
    one_more: float


class UnitCosts(msgspec.Struct, frozen=True):
    """USD per so many units: where an instance is full, at the rate the SLO allows, and at this traffic's mean."""

    at_saturation: float | None
    at_slo: float | None
    at_mean: float | None


class TokenUnitCosts(msgspec.Struct, frozen=True):
    """USD per 1M tokens."""

    input: UnitCosts | None
    output: UnitCosts | None
    all: UnitCosts | None


class Fleet(msgspec.Struct, frozen=True):
    """A number of one offer's instances for the planned traffic. Infeasible offers carry `rejected` and no counts."""

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
    utilisation_at_peak: Estimate
    latency_at_peak: Estimate
    usd_per_hour_each: float | None
    usd_per_month: Estimate
    usd_per_1k_inferences: Estimate
    price_date: str
    price_age_days: int
    price_source: str
    risk: int
    """0 to 4, by the worst of its `risk_reasons`."""
    risk_reasons: tuple[str, ...]
    rejected: str | None = None
    settled: Settled = "measured"
    measured_on: str | None = None
    """Whose measurement it rests on."""
    price_kind: PriceKind = "on demand"
    instances_needed: Spread | None = None
    """To carry the peak inside the SLO, spares left out."""
    usd_per_month_needed: Spread | None = None
    """Of so many instances and the spares."""
    chances: Chances | None = None
    per_1k_inferences: UnitCosts | None = None
    per_1m_tokens: TokenUnitCosts | None = None
    kwh_per_month: Estimate | None = None
    kg_co2e_per_month: Estimate | None = None
    rejected_by: RejectedBy | None = None
    refusal: RefusalId | None = None
    """Set where the capacity is not known; `rejected` is its text."""
    front_chance: float | None = None
    """That no other fleet is both cheaper and faster, given what is not sure of each."""
    fit_error_at_slo: float | None = None
    """Of the service model at the SLO's own percentile: the median over all rates of its factor to the measured value,
    minus 1. None without a service model or where that percentile was not measured."""
    planned_rate_per_replica_per_s: float | None = None
    """Rate that each replica is planned at: the SLO is met there with the plan's confidence. The plan's count of
    instances, `simulate` and the exported autoscalers all use this number. `None` in plan files of version 0.1.0."""


class Recommendation(msgspec.Struct, frozen=True):
    fleet: Fleet
    sentence: str
    binding_constraint: str
    why: tuple[str, ...]
    would_change_it: tuple[str, ...]


class Swing(msgspec.Struct, frozen=True):
    """One input at its low and its high end, all others as planned: the month's cost, and which offer wins there."""

    input: str
    low: str
    high: str
    usd_per_month_low: float | None
    usd_per_month_high: float | None
    winner_low: str | None
    winner_high: str | None


class Hour(msgspec.Struct, frozen=True):
    """One hour of the peak day played with the recommended fleet."""

    hour: int
    arrivals_per_s: float
    instances: float
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    good_share: float | None
    usd: float


class Outlook(msgspec.Struct, frozen=True):
    """The recommended fleet through the coming year, growth, spikes and campaigns in it: hours in which more comes than
    it is sure to carry, the share of requests that then wait, the longest such wait, and how full it is in the mean."""

    hours_over: float
    delayed_share: float
    worst_wait_s: float
    mean_utilisation: float


class Commitment(msgspec.Struct, frozen=True):
    """So many instances reserved and the rest as needed, instead of all of them on demand all the time."""

    reserved: int
    usd_per_month: float
    usd_per_month_on_demand: float
    sentence: str


class Saving(msgspec.Struct, frozen=True):
    """What one change would make of the month's cost."""

    change: str
    basis: Basis
    usd_per_month: float | None
    saved_usd_per_month: float | None


class MixPart(msgspec.Struct, frozen=True):
    offer: str
    instances: int


class Mix(msgspec.Struct, frozen=True):
    """A fleet of several offers; None of it where one offer alone is as cheap."""

    parts: tuple[MixPart, ...]
    usd_per_month: float
    sentence: str


class Plan(msgspec.Struct, frozen=True):
    traffic: Traffic
    slo: tuple[str, ...]
    assurance: float
    redundancy: int
    latency_metric: str
    """What `latency_at_peak` is, as `metric.aggregate`."""
    planned_on: str
    """The date prices were aged against."""
    recommendation: Recommendation | None
    runner_up: Fleet | None
    cheapest_rejected: Fleet | None
    offers: tuple[Fleet, ...]
    pareto: tuple[Fleet, ...]
    notes: tuple[str, ...] = ()
    router: str | None = None
    sensitivity: tuple[Swing, ...] = ()
    """The widest swing first."""
    day: tuple[Hour, ...] = ()
    outlook: Outlook | None = None
    commitment: Commitment | None = None
    break_even: tuple[str, ...] = ()
    """Of owned hardware against rented, and of one's own fleet against an API's price."""
    savings: tuple[Saving, ...] = ()
    mix: Mix | None = None
    knowledge: CapacityKnowledge | None = None
    """Of the recommended fleet, else of the fleet that would be recommended if its capacity were known."""
    checks: tuple[Check, ...] = ()
    """Of the recommended fleet, those that warn: each with its id, its limit and a remedy."""
