"""Result of a plan: fleets that serve the traffic within the SLO, with their costs and
uncertainty."""

from __future__ import annotations

from typing import Literal

import msgspec

from app.records.checks import Check
from app.records.estimate import Basis, Count, Estimate
from app.records.evidence import EngineName, PublishedPoint
from app.records.offers import PriceKind
from app.records.server import MeasuredServer
from app.records.traffic import Traffic

SizingMethod = Literal["simulated", "formula", "measured"]
"""Method by which a fleet was sized: by simulation, by a queueing formula (analytical estimate), or
by the measured max rate only."""


RejectedBy = Literal[
    "budget", "power", "owned", "price age", "price trust", "price", "slo", "capacity", "accelerators", "vendor",
    "region", "provider", "accelerator type", "source",
]  # fmt: skip
"""Filter that excludes an offer. Filters are sorted by how close an excluded offer is to being
feasible, closest first; the last six filters are set by the user."""
USER_FILTERS: frozenset[RejectedBy] = frozenset(
    ("accelerators", "vendor", "region", "provider", "accelerator type", "source")
)
"""Filters that the user sets to consider only some of the offers."""
RejectionId = Literal[
    "accelerator_count", "attention_heads", "measured_memory", "measured_vcpus_unknown", "memory", "no_accelerator",
    "no_language_model", "not_measured", "precision", "processor", "replica_memory_unknown", "runtime",
    "shared_accelerator", "token_time", "token_times_unknown", "unknown_figure", "unknown_precision",
    "unsupported_precision", "vcpus", "vcpus_unknown", "vendor",
]  # fmt: skip
"""ID of the reason why the capacity of an offer is unknown."""


class Spread(msgspec.Struct, frozen=True):
    """10th, 50th and 90th percentile of an uncertain value."""

    p10: float
    p50: float
    p90: float


KnowledgeState = Literal["known", "uncertain", "unknown"]
"""Certainty of the capacity per instance.

known: the P10–P90 range is narrow enough for a purchase. uncertain: P90/P10 is over 2, or the load
points cannot show the capacity for another `KnowledgeReason`. unknown: P90/P10 is over 10, and no
fleet is recommended.
"""
KnowledgeReason = Literal[
    "narrow range", "wide range", "contradictory load points", "drift", "model does not fit", "capacity not reached"
]  # fmt: skip
"""Reason for the state of knowledge.

contradictory load points: a rate missed the SLO although a much higher rate met it. drift: the
latency changed during the measurement, beyond what the loads explain. model does not fit: no
service model predicts loads that were left out of its fit. capacity not reached: every measured
rate met the SLO, so the capacity is a lower bound. There is no P(SLO met) for the first three.
"""


class NextMeasurement(msgspec.Struct, frozen=True):
    """Next stage to measure: the load on one replica that would reduce the uncertainty of the
    capacity most."""

    rate_per_s: float
    duration_s: float
    expected_ratio: float
    """Expected ratio of P90 to P10 of the capacity after the measurement."""


class CapacityKnowledge(msgspec.Struct, frozen=True):
    """Uncertainty of the capacity per instance in a plan.

    `headline` and `next_step` describe the other fields in sentences; both are empty if the state
    is "known".
    """

    state: KnowledgeState
    reason: KnowledgeReason
    per_instance_per_s: Spread
    next_measurement: NextMeasurement | None = None
    headline: str = ""
    next_step: str = ""


class ProposedMeasurement(msgspec.Struct, frozen=True, kw_only=True):
    """Measurement of an unmeasured language model that would narrow the cost interval of a fleet of the plan most.

    One replica is measured on `accelerators` accelerators, with a closed loop of each number of `clients`.
    """

    model: str
    accelerator: str
    accelerators: Count
    clients: tuple[Count, ...]
    offer: str
    """Offer whose cost interval it narrows: the recommended one, a rival whose interval overlaps with it, or the one
    that would be recommended if its capacity were known."""
    usd_per_month_needed: Spread
    """Monthly cost of the offer now, as in its fleet."""
    expected_usd_per_month_needed: Spread
    """Monthly cost after a measurement that confirms the times that the plan assumes."""
    sentence: str


class SloProbabilities(msgspec.Struct, frozen=True):
    """Probability that the SLO is met at the peak: with the planned number of instances (without
    spares), with one instance fewer, and with one instance more."""

    one_fewer: float
    planned: float
    one_more: float


class UnitCosts(msgspec.Struct, frozen=True):
    """Cost in USD per number of requests or tokens at three loads: fully loaded instances, the max
    rate within the SLO, and the mean rate of the planned traffic."""

    at_saturation: float | None
    at_slo: float | None
    at_mean: float | None


class TokenUnitCosts(msgspec.Struct, frozen=True):
    """Cost in USD per 1M input tokens, output tokens, and tokens of both kinds.

    `uncached_input` and `cached_input` split the input tokens; both are None if it is unknown how
    many of them were cached, and each is None if there are no tokens of the kind.
    """

    input: UnitCosts | None
    output: UnitCosts | None
    all: UnitCosts | None
    uncached_input: UnitCosts | None = None
    cached_input: UnitCosts | None = None


CachedShareSource = Literal["measured", "declared", "unknown"]


class ApiTokens(msgspec.Struct, frozen=True):
    """Tokens of one kind in a month of the planned traffic, their price in USD per 1M tokens, and
    their cost in USD, if an API served them."""

    tokens_per_month: float
    usd_per_1m: float
    usd_per_month: float


class ApiComparison(msgspec.Struct, frozen=True):
    """Monthly cost of an API beside the cost of the recommended fleet, and the rate at which both
    are equal.

    `break_even_per_s` is the mean rate in requests per second above which the fleet stays cheaper,
    if it is sized for each rate at the plan's confidence; None if the API is cheaper at any rate.
    `break_even_range_per_s` contains the quantiles given the uncertainty of capacity, peak and
    price. If the cached share is unknown, all input tokens count as uncached.
    """

    input: ApiTokens
    cached_input: ApiTokens
    output: ApiTokens
    usd_per_month: float
    fleet_usd_per_month: float
    fleet_range_usd_per_month: Spread | None
    cached_share: float | None
    cached_share_source: CachedShareSource
    mean_per_s: float
    tokens_per_request: float
    break_even_per_s: float | None
    break_even_range_per_s: Spread | None
    as_of: str | None = None
    """Date of the API's prices (ISO 8601); None if not stated."""


class ServedReplica(msgspec.Struct, frozen=True, kw_only=True):
    """How one replica of a language model that was not measured is served, and its mean speed in output tokens per
    second at the planned rate of the replica: that of one running sequence, and that of one accelerator.

    The replica is split across `accelerators` accelerators. `weights` is the data type of its weights.
    """

    accelerators: Count
    engine: EngineName
    weights: str
    tokens_per_s_per_user: float
    tokens_per_s_per_accelerator: float


class Fleet(msgspec.Struct, frozen=True):
    """A fleet of instances of one offer for the planned traffic. If the offer is infeasible,
    `rejected` states the reason and the numbers of instances are None."""

    offer: str
    provider: str
    instance_type: str
    region: str
    accelerator: str | None
    accelerator_count: float
    vcpus: float | None
    basis: Basis
    instances: Count | None
    spare_instances: Count | None
    replicas_per_instance: Count | None
    capacity_per_instance_per_s: Estimate
    utilization_at_peak: Estimate
    latency_at_peak: Estimate
    usd_per_hour_each: float | None
    usd_per_month: Estimate
    usd_per_1k_inferences: Estimate
    price_date: str
    price_age_days: int
    price_source: str
    risk: Count
    """Risk score from 0 to 4: the highest score of all `risk_reasons`."""
    risk_reasons: tuple[str, ...]
    rejected: str | None = None
    sizing_method: SizingMethod = "measured"
    measured_on: str | None = None
    """Name of the measurement on which the fleet is based; None if the fleet is not based on a
    measurement."""
    price_kind: PriceKind = "on-demand"
    instances_needed: Spread | None = None
    """Number of instances needed to sustain the peak within the SLO, without spares."""
    usd_per_month_needed: Spread | None = None
    """Monthly cost in USD of the needed instances plus the spares."""
    slo_probabilities: SloProbabilities | None = None
    per_1k_inferences: UnitCosts | None = None
    per_1m_tokens: TokenUnitCosts | None = None
    kwh_per_month: Estimate | None = None
    kg_co2e_per_month: Estimate | None = None
    rejected_by: RejectedBy | None = None
    rejection: RejectionId | None = None
    """ID of the reason why the capacity of the offer is unknown, which `rejected` states as text;
    None unless the offer was rejected for such a reason."""
    frontier_probability: float | None = None
    """Probability that the fleet is on the Pareto front of cost and latency, given the uncertainty
    of cost and latency of each fleet; None if not computed."""
    fit_error_at_slo: float | None = None
    """Relative error of the service model, as a fraction: the largest over the percentiles that the
    SLO limits, each taken as the median over all rates. Errors are computed on a log scale, so half
    and twice the measured value are equally wrong. None without a service model, or if no such
    percentile was measured."""
    planned_rate_per_replica_per_s: float | None = None
    """Planned rate per replica in requests per second, at which the SLO is met with the plan's
    confidence. The number of instances, `simulate` and the exported autoscalers are all based on
    this rate. None in plan files of version 0.1.0."""
    memory_gib: float | None = None
    """Memory of one instance in GiB; None if the price list does not state it."""
    is_latency_limit: bool = False
    """True if `latency_at_peak` is a one-sided limit that the latency does not exceed with a
    probability of 90 %: TTFT of a language model that was not measured on this accelerator."""
    served_replica: ServedReplica | None = None
    """How a replica serves a language model that was not measured; None for other fleets."""


class Recommendation(msgspec.Struct, frozen=True):
    fleet: Fleet
    sentence: str
    binding_constraint: str
    why: tuple[str, ...]
    would_change_it: tuple[str, ...]


class SensitivityRange(msgspec.Struct, frozen=True):
    """Sensitivity of the plan to one input: the monthly cost and the cheapest offer at the low and
    at the high end of the input's range, with all other inputs as planned."""

    input: str
    low: str
    high: str
    usd_per_month_low: float | None
    usd_per_month_high: float | None
    winner_low: str | None
    winner_high: str | None


class Hour(msgspec.Struct, frozen=True):
    """One hour of the peak day, simulated for the recommended fleet."""

    hour: Count
    arrivals_per_s: float
    instances: float
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    good_share: float | None
    usd: float


class AnnualForecast(msgspec.Struct, frozen=True):
    """12-month forecast for the recommended fleet, including growth, spikes and campaigns.

    `hours_over` is the number of hours in which the rate exceeds the planned capacity.
    `delayed_share` is the fraction of all requests that arrive while there is a backlog, and
    `worst_wait_s` the longest wait in s.
    """

    hours_over: float
    delayed_share: float
    worst_wait_s: float
    mean_utilization: float


class Commitment(msgspec.Struct, frozen=True):
    """Cost of reserving some of the instances and renting the rest on demand, compared with renting
    all instances on demand all the time."""

    reserved: Count
    usd_per_month: float
    usd_per_month_on_demand: float
    sentence: str


class Saving(msgspec.Struct, frozen=True):
    """A possible change of the plan and its effect on the monthly cost."""

    change: str
    basis: Basis
    usd_per_month: float | None
    saved_usd_per_month: float | None


class MixPart(msgspec.Struct, frozen=True):
    offer: str
    instances: Count


class Mix(msgspec.Struct, frozen=True):
    """Cheapest fleet that combines instances of several offers. A plan has no mix if a fleet of one
    offer costs the same or less."""

    parts: tuple[MixPart, ...]
    usd_per_month: float
    sentence: str


class AcceleratorResult(msgspec.Struct, frozen=True):
    """Result for an accelerator that the plan was limited to: its best feasible offer, or else the
    excluded offer that is closest to being feasible. `offer` is the offer's key in the plan; None if
    no offer has the accelerator."""

    accelerator: str
    offer: str | None


class NearestPoint(msgspec.Struct, frozen=True, kw_only=True):
    """A published point near to the planned server, and what the model of step times predicts for it: mean TTFT and
    mean TPOT in ms that the clients of a closed loop observe. `distance` from the planned server is in factors of two
    and steps of similar effect."""

    point: PublishedPoint
    predicted_ttft_ms: float
    predicted_tpot_ms: float
    distance: float


class Plan(msgspec.Struct, frozen=True):
    traffic: Traffic
    slo: tuple[str, ...]
    confidence: float
    redundancy: Count
    latency_metric: str
    """Metric that `latency_at_peak` of each fleet refers to, as `metric.aggregate`."""
    planned_on: str
    """Date of the plan (ISO 8601), relative to which the ages of prices were computed."""
    recommendation: Recommendation | None
    runner_up: Fleet | None
    cheapest_rejected: Fleet | None
    offers: tuple[Fleet, ...]
    pareto: tuple[Fleet, ...]
    notes: tuple[str, ...] = ()
    router: str | None = None
    sensitivity: tuple[SensitivityRange, ...] = ()
    """Sensitivity of the plan to each varied input, largest cost range first."""
    hours: tuple[Hour, ...] = ()
    """Hours of the peak day, simulated for the recommended fleet."""
    forecast: AnnualForecast | None = None
    commitment: Commitment | None = None
    break_even: tuple[str, ...] = ()
    """Break-even points as sentences: of owned and rented hardware, and of the fleet and an API's
    price."""
    savings: tuple[Saving, ...] = ()
    mix: Mix | None = None
    capacity_knowledge: CapacityKnowledge | None = None
    """Uncertainty of the capacity of the recommended fleet, or of the fleet that would be
    recommended if its capacity were certain."""
    checks: tuple[Check, ...] = ()
    """Warnings about the recommended fleet, as checks with ID, limit and hint."""
    max_unavailable: Count = 0
    """Number of instances that a rolling update may make unavailable at once, in addition to the
    spares for failures."""
    server: MeasuredServer | None = None
    """Measured server on which the recommended fleet is based."""
    api: ApiComparison | None = None
    """Comparison of the recommended fleet with an API that is priced per token; None without the
    API's prices or the tokens per request."""
    accelerators: tuple[AcceleratorResult, ...] = ()
    """Result for each accelerator that the plan was limited to, in the order of the limit."""
    nearest_points: tuple[NearestPoint, ...] = ()
    """Published measurements that are nearest to the recommended fleet's server, nearest first; empty unless a
    language model is planned from its shape."""
    own_points: Count = 0
    """Number of the user's own measurements by which the times of the recommended fleet are calibrated."""
    proposed_measurement: ProposedMeasurement | None = None
    """Measurement that would narrow a cost interval of the plan most; None if none narrows one by 10 % or more, and
    unless a language model is planned from its shape."""
