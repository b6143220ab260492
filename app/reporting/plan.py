"""The plan as report data, with its fleets as rows: feasible ones by cost, then the refused ones."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from app.analysis.objectives import parse_objective
from app.records import plan as records
from app.records.estimate import Estimate
from app.records.plan import Fleet, Plan
from app.records.plan_question import PlanQuestion
from app.reporting.quantities import limit_of, quantity
from reports import model
from reports.plan_section import (
    ChancesRow,
    CommitmentRow,
    DaySeries,
    FrontRow,
    Knowledge,
    MixRow,
    MixSection,
    PercentileRange,
    PlanReport,
    SavingRow,
    SourceRow,
    SwingRow,
    UnitCostRow,
)

_NO_SATURATION = "no service model, or never seen full"
_NO_SUCH_RATE = "no fleet carries it"


def plan_section(plan: Plan) -> model.PlanSection:
    front = {(fleet.offer, fleet.instances) for fleet in plan.pareto}
    by_cost = sorted(plan.offers, key=_by_cost)
    rows = [_offer_row(fleet, on_front=(fleet.offer, fleet.instances) in front) for fleet in by_cost]
    chosen = plan.recommendation.fleet if plan.recommendation else None
    return model.PlanSection(
        peak_per_s=plan.traffic.peak_per_s,
        shape=plan.traffic.shape,
        growth_per_year=plan.traffic.growth_per_year,
        hourly_share=plan.traffic.hourly_share,
        slo=plan.slo,
        assurance=plan.assurance,
        redundancy=plan.redundancy,
        latency_metric=plan.latency_metric,
        planned_on=plan.planned_on,
        recommendation=_recommendation(plan.recommendation),
        runner_up=plan.runner_up.offer if plan.runner_up else None,
        cheapest_refused=plan.cheapest_rejected.offer if plan.cheapest_rejected else None,
        offers=tuple(row for row in rows if row.refused is None),
        refused=tuple(row for row in rows if row.refused is not None),
        notes=plan.notes,
        latency_limit=_latency_limit(plan),
        router=plan.router,
        front=tuple(map(_front_row, sorted(plan.pareto, key=_by_cost))),
        unit_costs=() if chosen is None else tuple(_unit_costs(chosen)),
        kwh_per_month=_energy(chosen.kwh_per_month, "kWh/month") if chosen else None,
        kg_co2e_per_month=_energy(chosen.kg_co2e_per_month, "kg CO2e/month") if chosen else None,
        swings=tuple(map(_swing_row, plan.sensitivity)),
        day=_day(plan.day),
        commitment=_commitment(plan.commitment),
        savings=tuple(map(_saving_row, plan.savings)),
        mix=_mix(plan.mix),
        outlook=_outlook(plan.outlook),
        break_even=plan.break_even,
        knowledge=_knowledge(plan.knowledge),
    )


def plan_report(plan: Plan, question: PlanQuestion, tool: str, command: str) -> PlanReport:
    """A plan file's, which has no run of its own."""
    prices = sorted(offer.as_of.isoformat() for offer in question.catalogue.offers)
    return PlanReport(
        tool=tool,
        plan=plan_section(plan),
        sources=tuple(
            SourceRow(
                name=target.name,
                hardware=f"{target.hardware.description}, as was said"
                if target.is_hardware_said
                else target.hardware.description,
                max_rate=quantity(
                    Estimate(
                        target.curve.max_rate_per_s,
                        target.curve.max_rate_ci95,
                        basis="assumed" if target.is_assumed else "measured",
                    ),
                    "1/s",
                ),
            )
            for target in question.measured
        ),
        offers=len(prices),
        offers_of_your_own=sum(offer.is_yours for offer in question.catalogue.offers),
        oldest_price=prices[0] if prices else None,
        newest_price=prices[-1] if prices else None,
        command=command,
    )


def _latency_limit(plan: Plan) -> model.Limit | None:
    objectives = map(parse_objective, plan.slo)
    limits = (limit_of(one) for one in objectives if one.level == "fail" and one.name == plan.latency_metric)
    return next(limits, None)


def _recommendation(one: records.Recommendation | None) -> model.RecommendationRow | None:
    if one is None:
        return None
    return model.RecommendationRow(
        offer=one.fleet.offer,
        sentence=one.sentence,
        binding_constraint=one.binding_constraint,
        why=one.why,
        would_change_it=one.would_change_it,
    )


def _by_cost(fleet: Fleet) -> tuple[float, float, str]:
    return (
        math.inf if fleet.usd_per_month.value is None else fleet.usd_per_month.value,
        math.inf if fleet.usd_per_hour_each is None else fleet.usd_per_hour_each,
        fleet.offer,
    )


def _offer_row(fleet: Fleet, *, on_front: bool) -> model.OfferRow:
    def number(one: Estimate, unit: str) -> model.Quantity:  # why there is none is told once, by the row
        return quantity(one, unit) if fleet.rejected is None else model.Quantity(None, unit, basis=one.basis)

    return model.OfferRow(
        offer=fleet.offer,
        instances=fleet.instances,
        spare=fleet.spare_instances,
        capacity=number(fleet.capacity_per_instance_per_s, "1/s"),
        utilisation=number(fleet.utilisation_at_peak, "share"),
        latency=number(fleet.latency_at_peak, "ms"),
        usd_per_hour_each=fleet.usd_per_hour_each,
        usd_per_month=number(fleet.usd_per_month, "USD/month"),
        usd_per_1k=number(fleet.usd_per_1k_inferences, "USD"),
        basis=fleet.basis,
        price_date=fleet.price_date,
        price_age_days=fleet.price_age_days,
        price_source=fleet.price_source,
        risk=fleet.risk,
        risk_reasons=fleet.risk_reasons,
        on_front=on_front,
        refused=fleet.rejected,
        chances=_chances(fleet.chances),
        instances_needed=_spread(fleet.instances_needed),
        usd_per_month_needed=_spread(fleet.usd_per_month_needed),
        settled=fleet.settled if fleet.rejected is None else None,
        price_kind=fleet.price_kind,
        measured_on=fleet.measured_on,
        fit_error_at_slo=fleet.fit_error_at_slo,
    )


def _knowledge(known: records.CapacityKnowledge | None) -> Knowledge | None:
    if known is None or known.state == "known":
        return None
    spread = known.per_instance_per_s
    return Knowledge(
        state=known.state,
        per_instance_per_s=PercentileRange(p10=spread.p10, p50=spread.p50, p90=spread.p90),
        headline=known.headline,
        next_step=known.next_step,
    )


def _chances(one: records.Chances | None) -> ChancesRow | None:
    if one is None:
        return None
    return ChancesRow(one_fewer=one.one_fewer, planned=one.planned, one_more=one.one_more)


def _spread(one: records.Spread | None) -> PercentileRange | None:
    return None if one is None else PercentileRange(p10=one.p10, p50=one.p50, p90=one.p90)


def _front_row(fleet: Fleet) -> FrontRow:
    return FrontRow(
        offer=fleet.offer,
        instances=fleet.instances or 0,
        usd_per_month=quantity(fleet.usd_per_month, "USD/month"),
        latency=quantity(fleet.latency_at_peak, "ms"),
        basis=fleet.basis,
        chance=fleet.front_chance,
    )


def _unit_costs(fleet: Fleet) -> Iterator[UnitCostRow]:
    by_unit = {"1k inferences": fleet.per_1k_inferences}
    if (tokens := fleet.per_1m_tokens) is not None:
        by_unit |= {"1M input tokens": tokens.input, "1M output tokens": tokens.output, "1M tokens": tokens.all}
    for unit, costs in by_unit.items():
        if costs is not None:
            yield UnitCostRow(
                unit=unit,
                at_saturation=_usd(costs.at_saturation, fleet, _NO_SATURATION),
                at_slo=_usd(costs.at_slo, fleet, _NO_SUCH_RATE),
                at_mean=_usd(costs.at_mean, fleet, _NO_SUCH_RATE),
            )


def _usd(value: float | None, fleet: Fleet, why_not: str) -> model.Quantity:
    return model.Quantity(value, "USD", basis=fleet.basis, reason=why_not if value is None else None)


def _energy(one: Estimate | None, unit: str) -> model.Quantity | None:
    return None if one is None else quantity(one, unit)


def _swing_row(one: records.Swing) -> SwingRow:
    return SwingRow(
        input=one.input,
        low=one.low,
        high=one.high,
        usd_per_month_low=one.usd_per_month_low,
        usd_per_month_high=one.usd_per_month_high,
        winner_low=one.winner_low,
        winner_high=one.winner_high,
    )


def _day(hours: Sequence[records.Hour]) -> DaySeries | None:
    if not hours:
        return None
    return DaySeries(
        hours=tuple(one.hour for one in hours),
        arrivals_per_s=tuple(one.arrivals_per_s for one in hours),
        instances=tuple(one.instances for one in hours),
        p50_ms=tuple(one.p50_ms for one in hours),
        p95_ms=tuple(one.p95_ms for one in hours),
        p99_ms=tuple(one.p99_ms for one in hours),
        good_share=tuple(one.good_share for one in hours),
        usd=tuple(one.usd for one in hours),
    )


def _outlook(one: records.Outlook | None) -> str | None:
    if one is None:
        return None
    full = f"In the coming year the fleet is {100 * one.mean_utilisation:.0f} % full in the mean"
    if one.hours_over < 1 / 60:
        return f"{full}, and no minute brings more than it is sure to carry."
    return (
        f"{full}; in {one.hours_over:,.1f} hours more comes than it is sure to carry, so that "
        f"{100 * one.delayed_share:.2g} % of all requests wait for it, {one.worst_wait_s:,.0f} s at the longest."
    )


def _commitment(one: records.Commitment | None) -> CommitmentRow | None:
    if one is None:
        return None
    return CommitmentRow(
        reserved=one.reserved,
        usd_per_month=one.usd_per_month,
        usd_per_month_on_demand=one.usd_per_month_on_demand,
        sentence=one.sentence,
    )


def _saving_row(one: records.Saving) -> SavingRow:
    return SavingRow(
        change=one.change,
        basis=one.basis,
        usd_per_month=one.usd_per_month,
        saved_usd_per_month=one.saved_usd_per_month,
    )


def _mix(one: records.Mix | None) -> MixSection | None:
    if one is None:
        return None
    return MixSection(
        parts=tuple(MixRow(offer=part.offer, instances=part.instances) for part in one.parts),
        usd_per_month=one.usd_per_month,
        sentence=one.sentence,
    )
