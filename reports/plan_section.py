"""Data of a plan in a report: fleets as rows, the confidence in the recommended fleet, and the
sensitivity of the result."""

from __future__ import annotations

from typing import Literal

import msgspec

from reports.quantity import Basis, CheckRow, Limit, Quantity, Validity
from reports.sections.evidence import NearestPointRow

SizingMethod = Literal["simulated", "formula", "measured"]
"""Method by which the size of a fleet was determined: a simulation, a queueing formula, or only the
measured max rate."""


class PercentileRange(msgspec.Struct, frozen=True, kw_only=True):
    """10th, 50th and 90th percentile of the posterior distribution of a quantity."""

    p10: float
    p50: float
    p90: float


class CapacityUncertainty(msgspec.Struct, frozen=True, kw_only=True):
    """Uncertainty of the capacity: a headline, and the next measurement that would reduce the
    uncertainty."""

    state: Literal["uncertain", "unknown"]
    per_instance_per_s: PercentileRange
    headline: str
    next_step: str


class SloProbabilityRow(msgspec.Struct, frozen=True, kw_only=True):
    """Probability that the SLO is met at the peak for three numbers of instances, without spares:
    the planned number, one instance fewer, and one instance more."""

    one_fewer: float
    planned: float
    one_more: float


class ServedReplicaRow(msgspec.Struct, frozen=True, kw_only=True):
    """How one replica of a language model that was not measured is served, and its mean speed in output tokens per
    second at the planned rate. `engine` is the name of the inference engine."""

    accelerators: int
    engine: str
    weights: str
    tokens_per_s_per_user: float
    tokens_per_s_per_accelerator: float


class OfferRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Fleet of one offer: the number of instances with cost and latency, or the reason why the
    offer was excluded."""

    offer: str
    instances: int | None
    spare: int | None
    capacity: Quantity
    utilization_at_peak: Quantity
    latency: Quantity
    usd_per_hour_each: float | None
    usd_per_month: Quantity
    usd_per_1k: Quantity
    basis: Basis
    price_date: str
    price_age_days: int
    price_source: str
    risk: int
    risk_reasons: tuple[str, ...] = ()
    is_on_frontier: bool = False
    rejected: str | None = None
    slo_probabilities: SloProbabilityRow | None = None
    instances_needed: PercentileRange | None = None
    """Number of instances required to sustain the peak within the SLO, without spares, as
    percentiles of the posterior distribution."""
    usd_per_month_needed: PercentileRange | None = None
    """Monthly cost in USD of the required instances and the spares, as percentiles of a
    distribution that includes the uncertainty of prices."""
    sizing_method: SizingMethod | None = None
    price_kind: str = "on-demand"
    measured_on: str | None = None
    fit_error_at_slo: float | None = None
    """Error of the service model at the SLO's percentile, as a fraction of the measured value."""
    provider: str = ""
    instance_type: str = ""
    region: str = ""
    planned_rate_per_s: float | None = None
    """Highest rate per second at which one instance meets the SLO with the confidence of the plan;
    `None` in plan files of older versions."""
    served_replica: ServedReplicaRow | None = None
    """How a replica serves a language model that was not measured; `None` for other offers."""


class ShapePlanRow(msgspec.Struct, frozen=True, kw_only=True):
    """Cheapest fleet of one accelerator type."""

    accelerator: str
    fleet: OfferRow


class ShapePlanSection(msgspec.Struct, frozen=True, kw_only=True):
    """Separate plan for a language model that the run did not measure. `statement` says that
    nothing of the run is part of this plan. `rows` has the cheapest accelerator types."""

    model: str
    statement: str
    peak_per_s: float
    input_tokens: float
    output_tokens: float
    slo_labels: tuple[str, ...]
    rows: tuple[ShapePlanRow, ...]
    notes: tuple[str, ...] = ()


class FrontRow(msgspec.Struct, frozen=True, kw_only=True):
    """Non-dominated fleet: no other fleet is at least as good in both cost and latency, and better
    in one of them. One offer may have several such fleets of different sizes.

    `frontier_probability` is the probability that the fleet is non-dominated, given the
    uncertainties of all fleets.
    """

    offer: str
    instances: int
    usd_per_month: Quantity
    latency: Quantity
    basis: Basis
    frontier_probability: float | None = None


class RecommendationRow(msgspec.Struct, frozen=True, kw_only=True):
    offer: str
    sentence: str
    binding_constraint: str
    why: tuple[str, ...]
    would_change_it: tuple[str, ...]


class UnitCostRow(msgspec.Struct, frozen=True, kw_only=True):
    """Cost in USD of the recommended fleet per `unit`: at saturation, at the max rate within the
    SLO, and at mean traffic."""

    unit: str
    at_saturation: Quantity
    at_slo: Quantity
    at_mean: Quantity


class ApiPriceRow(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of token of the planned traffic: what an API charges, and what it costs the
    recommended fleet at average traffic; `None` if unknown."""

    kind: str
    tokens_per_month: float
    api_usd_per_1m: float
    api_usd_per_month: float
    fleet_usd_per_1m: float | None


class SensitivityRow(msgspec.Struct, frozen=True, kw_only=True):
    """Monthly cost and cheapest offer at both ends of the range of one input. All other inputs are
    as planned.

    A cost is `None` if no offer meets the constraints.
    """

    input: str
    low: str
    high: str
    usd_per_month_low: float | None
    usd_per_month_high: float | None
    winner_low: str | None
    winner_high: str | None
    winner_low_name: str | None = None
    """Short name of the cheapest offer at the low end of the range, for charts. This is the region
    if the offer has the instance type of the recommended fleet, otherwise the instance type."""
    winner_high_name: str | None = None


class DaySeries(msgspec.Struct, frozen=True, kw_only=True):
    """Simulation of the peak day, by hour. Latencies are `None` in hours without responses."""

    hours: tuple[int, ...]
    arrivals_per_s: tuple[float, ...]
    instances: tuple[float, ...]
    p50_ms: tuple[float | None, ...]
    p95_ms: tuple[float | None, ...]
    p99_ms: tuple[float | None, ...]
    good_share: tuple[float | None, ...]
    usd: tuple[float, ...]


class CommitmentRow(msgspec.Struct, frozen=True, kw_only=True):
    reserved: int
    usd_per_month: float
    usd_per_month_on_demand: float
    sentence: str


class SavingRow(msgspec.Struct, frozen=True, kw_only=True):
    """Effect that a single change has on the monthly cost. The costs are `None` if no offer meets
    the constraints."""

    change: str
    basis: Basis
    usd_per_month: float | None
    saved_usd_per_month: float | None


class MixRow(msgspec.Struct, frozen=True, kw_only=True):
    offer: str
    instances: int


class MixSection(msgspec.Struct, frozen=True, kw_only=True):
    parts: tuple[MixRow, ...]
    usd_per_month: float
    sentence: str


class SourceRow(msgspec.Struct, frozen=True, kw_only=True):
    """Source of a capacity: the measured or assumed max rate within the SLO on some hardware."""

    name: str
    hardware: str
    max_rate: Quantity
    validity: Validity | None = None
    """Validity of the measurement; `None` if unknown, as for results of other tools."""


class AcceleratorRow(msgspec.Struct, frozen=True, kw_only=True):
    """Accelerator that a plan was limited to, with the name of its best row, which may be excluded;
    `None` if no offer has the accelerator."""

    accelerator: str
    offer: str | None


class PlannedModelRow(msgspec.Struct, frozen=True, kw_only=True):
    """Language model that is planned from its shape. Lengths are means in tokens.

    `active_parameters` process one token; `None` if all do. `weights`, `compute` and `kv` are the data types of
    weights, arithmetic and KV cache; several, of which each offer has one, are joined by "or".
    """

    name: str
    parameters: float
    active_parameters: float | None
    weights: str
    compute: str
    kv: str
    input_tokens: float
    output_tokens: float
    prefix_cached_share: float = 0.0
    """Share of the input tokens that a prefix cache is assumed to serve."""


class PlanSection(msgspec.Struct, frozen=True, kw_only=True):
    """Plan in a report. `offers` lists the feasible offers by cost; `runner_up` and
    `cheapest_rejected` are names of rows.

    Fields with a default were added in later versions. Fields about a fleet refer to the
    recommended fleet.
    """

    peak_per_s: float
    shape: str
    growth_per_year: float
    hourly_share: tuple[float, ...]
    slo: tuple[str, ...]
    confidence: float
    redundancy: int
    latency_metric: str
    planned_on: str
    recommendation: RecommendationRow | None
    runner_up: str | None
    cheapest_rejected: str | None
    offers: tuple[OfferRow, ...]
    rejected_offers: tuple[OfferRow, ...]
    notes: tuple[str, ...] = ()
    latency_limit: Limit | None = None
    """Limit that the SLO sets on `latency_metric`."""
    router: str | None = None
    frontier: tuple[FrontRow, ...] = ()
    """Fleets on the Pareto front, ordered by cost."""
    unit_costs: tuple[UnitCostRow, ...] = ()
    kwh_per_month: Quantity | None = None
    kg_co2e_per_month: Quantity | None = None
    sensitivity: tuple[SensitivityRow, ...] = ()
    """Sensitivity of the monthly cost to each input, largest effect first."""
    day: DaySeries | None = None
    commitment: CommitmentRow | None = None
    savings: tuple[SavingRow, ...] = ()
    mix: MixSection | None = None
    forecast: str | None = None
    """Forecast of the fleet over the next 12 months, as a sentence; `None` if there is none."""
    break_even: tuple[str, ...] = ()
    slo_labels: tuple[str, ...] = ()
    """Display texts of the objectives in `slo`; empty in reports of older versions."""
    capacity_knowledge: CapacityUncertainty | None = None
    """Uncertainty of the capacity; `None` if the capacity is known well enough."""
    checks: tuple[CheckRow, ...] = ()
    """Checks of the recommended fleet whose verdict is not VALID."""
    source: SourceRow | None = None
    """Measurement on which the recommended fleet is based; `None` if there is none, and in reports
    of older versions."""
    api_prices: tuple[ApiPriceRow, ...] = ()
    """Prices of an API beside the costs of the recommended fleet, by kind of token; empty without
    the API's prices."""
    accelerators: tuple[AcceleratorRow, ...] = ()
    """Result for each accelerator that the plan was limited to."""
    planned_model: PlannedModelRow | None = None
    """Language model that is planned from its shape; `None` for a plan from measurements only."""
    nearest_points: tuple[NearestPointRow, ...] = ()
    """Published measurements nearest to the recommended fleet's server, nearest first."""
    attributions: tuple[str, ...] = ()
    """Sentences that name who published `nearest_points`."""

    @property
    def recommended_row(self) -> OfferRow | None:
        """Row of the recommended fleet; `None` if the plan recommends no fleet."""
        name = self.recommendation.offer if self.recommendation else None
        return next((row for row in self.offers if row.offer == name), None)


class PlanReport(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="plan"):
    """Report of a plan without a run. `offers` is the number of offers that were considered."""

    schema: Literal[2] = 2
    tool: str
    plan: PlanSection
    sources: tuple[SourceRow, ...]
    offers: int
    own_offers: int
    oldest_price: str | None
    newest_price: str | None
    command: str
