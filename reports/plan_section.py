"""A plan as a report shows it: fleets as rows, how sure the chosen one is, and what the answer hangs on."""

from __future__ import annotations

from typing import Literal

import msgspec

from reports.quantity import Basis, Limit, Quantity

Settled = Literal["simulated", "formula", "measured"]
"""What decided a fleet's size: a simulation, a queueing formula, or the measured max rate alone."""


class PercentileRange(msgspec.Struct, frozen=True, kw_only=True):
    """10th, 50th and 90th percentile of what is believed of a number."""

    p10: float
    p50: float
    p90: float


class Knowledge(msgspec.Struct, frozen=True, kw_only=True):
    """That the capacity is not known well enough: the headline, and the measurement that tells more."""

    state: Literal["uncertain", "unknown"]
    per_instance_per_s: PercentileRange
    headline: str
    next_step: str


class ChancesRow(msgspec.Struct, frozen=True, kw_only=True):
    """P(the SLO is met at the peak) with the instances for the load, spares left out; and with one fewer or more."""

    one_fewer: float
    planned: float
    one_more: float


class OfferRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A number of one offer's instances, or why it was refused."""

    offer: str
    instances: int | None
    spare: int | None
    capacity: Quantity
    utilisation: Quantity
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
    on_front: bool = False
    refused: str | None = None
    chances: ChancesRow | None = None
    instances_needed: PercentileRange | None = None
    """To carry the peak inside the SLO, spares left out."""
    usd_per_month_needed: PercentileRange | None = None
    """Of so many instances and the spares, at prices that are not sure either."""
    settled: Settled | None = None
    price_kind: str = "on demand"
    measured_on: str | None = None
    fit_error_at_slo: float | None = None
    """Of the service model at the SLO's own percentile, as a share of the measured value."""


class FrontRow(msgspec.Struct, frozen=True, kw_only=True):
    """A fleet that no other beats in cost and latency; of one offer there may be several, of different sizes.

    `chance` is that it is so, given what is not sure of each.
    """

    offer: str
    instances: int
    usd_per_month: Quantity
    latency: Quantity
    basis: Basis
    chance: float | None = None


class RecommendationRow(msgspec.Struct, frozen=True, kw_only=True):
    offer: str
    sentence: str
    binding_constraint: str
    why: tuple[str, ...]
    would_change_it: tuple[str, ...]


class UnitCostRow(msgspec.Struct, frozen=True, kw_only=True):
    """USD per `unit` of the recommended fleet: where an instance is full, at the rate the SLO allows, and at this
    traffic's mean."""

    unit: str
    at_saturation: Quantity
    at_slo: Quantity
    at_mean: Quantity


class SwingRow(msgspec.Struct, frozen=True, kw_only=True):
    """One input at both ends of its range, all others as planned: the month's cost there, and the cheapest offer.
    A cost is None where nothing fits."""

    input: str
    low: str
    high: str
    usd_per_month_low: float | None
    usd_per_month_high: float | None
    winner_low: str | None
    winner_high: str | None


class DaySeries(msgspec.Struct, frozen=True, kw_only=True):
    """The peak day played hour by hour; a latency is None where nothing was answered."""

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
    """What one change alone would make of the month's cost; None where nothing fits."""

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


class PlanSection(msgspec.Struct, frozen=True, kw_only=True):
    """`offers` are the feasible ones by cost; `runner_up` and `cheapest_refused` name rows. What has a default came
    later, and is of the recommended fleet where it is of one."""

    peak_per_s: float
    shape: str
    growth_per_year: float
    hourly_share: tuple[float, ...]
    slo: tuple[str, ...]
    assurance: float
    redundancy: int
    latency_metric: str
    planned_on: str
    recommendation: RecommendationRow | None
    runner_up: str | None
    cheapest_refused: str | None
    offers: tuple[OfferRow, ...]
    refused: tuple[OfferRow, ...]
    notes: tuple[str, ...] = ()
    latency_limit: Limit | None = None
    """The SLO's on `latency_metric`."""
    router: str | None = None
    front: tuple[FrontRow, ...] = ()
    """By cost."""
    unit_costs: tuple[UnitCostRow, ...] = ()
    kwh_per_month: Quantity | None = None
    kg_co2e_per_month: Quantity | None = None
    swings: tuple[SwingRow, ...] = ()
    """The widest first."""
    day: DaySeries | None = None
    commitment: CommitmentRow | None = None
    savings: tuple[SavingRow, ...] = ()
    mix: MixSection | None = None
    outlook: str | None = None
    """How the fleet goes through the coming year, as a sentence."""
    break_even: tuple[str, ...] = ()
    knowledge: Knowledge | None = None
    """Where the capacity is not known well enough; None where it is."""

    @property
    def chosen(self) -> OfferRow | None:
        """The recommended fleet."""
        name = self.recommendation.offer if self.recommendation else None
        return next((row for row in self.offers if row.offer == name), None)


class SourceRow(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured, or is assumed, and what it carries inside the SLO."""

    name: str
    hardware: str
    max_rate: Quantity


class PlanReport(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="plan"):
    """A plan alone, beside no run. `offers` are all that were looked at."""

    schema: Literal[1] = 1
    tool: str
    plan: PlanSection
    sources: tuple[SourceRow, ...]
    offers: int
    offers_of_your_own: int
    oldest_price: str | None
    newest_price: str | None
    command: str
