"""Data of a plan in a report: fleets as rows, the confidence in the recommended one, and the sensitivity of the
result."""

from __future__ import annotations

from typing import Literal

import msgspec

from reports.quantity import Basis, CheckRow, Limit, Quantity, Validity

SizingMethod = Literal["simulated", "formula", "measured"]
"""Method that determined a fleet's size: a simulation, a queueing formula, or only the measured max rate."""


class PercentileRange(msgspec.Struct, frozen=True, kw_only=True):
    """10th, 50th and 90th percentile of the posterior of a number."""

    p10: float
    p50: float
    p90: float


class CapacityUncertainty(msgspec.Struct, frozen=True, kw_only=True):
    """Missing knowledge of the capacity: a headline, and the next measurement that would reduce the uncertainty."""

    state: Literal["uncertain", "unknown"]
    per_instance_per_s: PercentileRange
    headline: str
    next_step: str


class SloProbabilityRow(msgspec.Struct, frozen=True, kw_only=True):
    """Probability that the SLO is met at the peak with the instances for the load, without spares, and with one fewer
    or more."""

    one_fewer: float
    planned: float
    one_more: float


class OfferRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A number of instances of one offer, or the reason why the offer was excluded."""

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
    """Number of instances that carry the peak within the SLO, without spares."""
    usd_per_month_needed: PercentileRange | None = None
    """Cost of the needed instances and the spares, including the uncertainty of prices."""
    sizing_method: SizingMethod | None = None
    price_kind: str = "on demand"
    measured_on: str | None = None
    fit_error_at_slo: float | None = None
    """Error of the service model at the SLO's percentile, as a share of the measured value."""
    provider: str = ""
    instance_type: str = ""
    region: str = ""
    planned_rate_per_s: float | None = None
    """Rate at which one instance meets the SLO with the plan's confidence; None in older plan files."""


class FrontRow(msgspec.Struct, frozen=True, kw_only=True):
    """A fleet that no other fleet beats in both cost and latency; one offer may have several, of different sizes.

    `frontier_probability` is the probability of that, given the uncertainties of each fleet.
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
    """Cost in USD per `unit` of the recommended fleet: at saturation, at the max rate within the SLO, and at the mean
    traffic."""

    unit: str
    at_saturation: Quantity
    at_slo: Quantity
    at_mean: Quantity


class SensitivityRow(msgspec.Struct, frozen=True, kw_only=True):
    """Sensitivity to one input, from one end of its range to the other with all other inputs as planned: the monthly
    cost and the cheapest offer.

    A cost is None where nothing fits.
    """

    input: str
    low: str
    high: str
    usd_per_month_low: float | None
    usd_per_month_high: float | None
    winner_low: str | None
    winner_high: str | None
    winner_low_name: str | None = None
    """Short name of that offer, for charts: the region if it is the instance of the recommended fleet, else the
    instance type."""
    winner_high_name: str | None = None


class DaySeries(msgspec.Struct, frozen=True, kw_only=True):
    """Simulation of the peak day, hour by hour; a latency is None where there were no responses."""

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
    """Effect of one change alone on the monthly cost; None where nothing fits."""

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
    """A measured or assumed capacity: the max rate within the SLO on some hardware."""

    name: str
    hardware: str
    max_rate: Quantity
    validity: Validity | None = None
    """Validity of the measurement; None if it is not known, as in another tool's results."""


class PlanSection(msgspec.Struct, frozen=True, kw_only=True):
    """A plan. `offers` are the feasible ones, ordered by cost; `runner_up` and `cheapest_rejected` name rows.

    Fields with a default were added later; they describe the recommended fleet where they describe a fleet.
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
    """Sensitivities, the largest first."""
    day: DaySeries | None = None
    commitment: CommitmentRow | None = None
    savings: tuple[SavingRow, ...] = ()
    mix: MixSection | None = None
    forecast: str | None = None
    """Forecast of the fleet over the coming year, as a sentence."""
    break_even: tuple[str, ...] = ()
    slo_labels: tuple[str, ...] = ()
    """`slo` as people read it; empty in reports of older versions."""
    capacity_knowledge: CapacityUncertainty | None = None
    """Set if the capacity is not known well enough; None otherwise."""
    checks: tuple[CheckRow, ...] = ()
    """Checks of the recommended fleet that warn."""
    source: SourceRow | None = None
    """Measurement that the recommended fleet is based on; None if there is none, or in reports of older versions."""

    @property
    def recommended_row(self) -> OfferRow | None:
        """Row of the recommended fleet."""
        name = self.recommendation.offer if self.recommendation else None
        return next((row for row in self.offers if row.offer == name), None)


class PlanReport(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="plan"):
    """A plan without a run. `offers` is the number of offers that were considered."""

    schema: Literal[2] = 2
    tool: str
    plan: PlanSection
    sources: tuple[SourceRow, ...]
    offers: int
    own_offers: int
    oldest_price: str | None
    newest_price: str | None
    command: str
