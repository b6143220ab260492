"""Convert a plan to report data. Its fleets become rows: feasible fleets by cost, then excluded
fleets."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import msgspec

from app.analysis.objectives import parse_objective
from app.records import plan as records
from app.records.estimate import Estimate
from app.records.plan import Fleet, Plan
from app.records.planning_inputs import MeasuredTarget, PlanningInputs
from app.reporting.quantities import build_check_row, build_limit, build_quantity
from reports import model
from reports.plan_section import (
    CapacityUncertainty,
    CommitmentRow,
    DaySeries,
    FrontRow,
    MixRow,
    MixSection,
    PercentileRange,
    PlanReport,
    SavingRow,
    SensitivityRow,
    SloProbabilityRow,
    SourceRow,
    UnitCostRow,
)

_NO_SATURATION = "no service model, or saturation never reached"
_NO_RATE = "no feasible fleet"


def build_plan_section(plan: Plan, sources: Sequence[SourceRow] = ()) -> model.PlanSection:
    """Build the section of a plan. `sources` are the measurements that the plan is based on,
    including the measurement of the recommended fleet."""
    front = {(fleet.offer, fleet.instances) for fleet in plan.pareto}
    by_cost = sorted(plan.offers, key=_by_cost)
    rows = [_offer_row(fleet, is_on_frontier=(fleet.offer, fleet.instances) in front) for fleet in by_cost]
    chosen = plan.recommendation.fleet if plan.recommendation else None
    return model.PlanSection(
        peak_per_s=plan.traffic.peak_per_s,
        shape=plan.traffic.shape,
        growth_per_year=plan.traffic.growth_per_year,
        hourly_share=plan.traffic.hourly_share,
        slo=plan.slo,
        slo_labels=tuple(parse_objective(text).label for text in plan.slo),
        confidence=plan.confidence,
        redundancy=plan.redundancy,
        latency_metric=plan.latency_metric,
        planned_on=plan.planned_on,
        recommendation=_recommendation(plan.recommendation),
        runner_up=plan.runner_up.offer if plan.runner_up else None,
        cheapest_rejected=plan.cheapest_rejected.offer if plan.cheapest_rejected else None,
        offers=tuple(row for row in rows if row.rejected is None),
        rejected_offers=tuple(row for row in rows if row.rejected is not None),
        notes=_notes(plan),
        latency_limit=_latency_limit(plan),
        router=plan.router,
        frontier=tuple(map(_front_row, sorted(plan.pareto, key=_by_cost))),
        unit_costs=() if chosen is None else tuple(_unit_costs(chosen)),
        kwh_per_month=_energy(chosen.kwh_per_month, "kWh/month") if chosen else None,
        kg_co2e_per_month=_energy(chosen.kg_co2e_per_month, "kg CO2e/month") if chosen else None,
        sensitivity=tuple(_sensitivity_row(sensitivity, plan.offers, chosen) for sensitivity in plan.sensitivity),
        day=_day(plan.hours),
        commitment=_commitment(plan.commitment),
        savings=tuple(map(_saving_row, plan.savings)),
        mix=_mix(plan.mix),
        forecast=_forecast_text(plan.forecast),
        break_even=plan.break_even,
        capacity_knowledge=_knowledge(plan.capacity_knowledge),
        checks=tuple(
            msgspec.structs.replace(build_check_row(check), name=check.id.replace("_", " ")) for check in plan.checks
        ),
        source=None if chosen is None else _source(chosen, sources),
    )


def _notes(plan: Plan) -> tuple[str, ...]:
    """Return the notes of a plan without those that repeat a check, since checks have their own
    rows."""
    repeated = {f"{check.verdict} {check.name}: {check.hint}" for check in plan.checks}
    return tuple(note for note in plan.notes if note not in repeated)


def _source(fleet: Fleet, sources: Sequence[SourceRow]) -> SourceRow | None:
    return next((source for source in sources if source.name == fleet.measured_on), None)


def build_source_rows(plan_inputs: PlanningInputs) -> tuple[SourceRow, ...]:
    return tuple(map(_source_row, plan_inputs.measured))


def _source_row(target: MeasuredTarget) -> SourceRow:
    description = target.hardware.description
    rate = Estimate(
        target.curve.max_rate_per_s,
        target.curve.max_rate_ci95,
        basis="assumed" if target.is_assumed else "measured",
    )
    return SourceRow(
        name=target.name,
        hardware=f"{description} (as specified)" if target.is_hardware_declared else description,
        max_rate=build_quantity(rate, "1/s"),
        validity=target.validity,
    )


def build_plan_report(plan: Plan, plan_inputs: PlanningInputs, tool: str, command: str) -> PlanReport:
    """Build the report of a plan file, which does not belong to a run."""
    prices = sorted(offer.as_of.isoformat() for offer in plan_inputs.catalog.offers)
    sources = build_source_rows(plan_inputs)
    return PlanReport(
        tool=tool,
        plan=build_plan_section(plan, sources),
        sources=sources,
        offers=len(prices),
        own_offers=sum(offer.is_customized for offer in plan_inputs.catalog.offers),
        oldest_price=prices[0] if prices else None,
        newest_price=prices[-1] if prices else None,
        command=command,
    )


def _latency_limit(plan: Plan) -> model.Limit | None:
    objectives = map(parse_objective, plan.slo)
    limits = (
        build_limit(objective)
        for objective in objectives
        if objective.level == "fail" and objective.name == plan.latency_metric
    )
    return next(limits, None)


def _recommendation(recommendation: records.Recommendation | None) -> model.RecommendationRow | None:
    if recommendation is None:
        return None
    return model.RecommendationRow(
        offer=recommendation.fleet.offer,
        sentence=recommendation.sentence,
        binding_constraint=recommendation.binding_constraint,
        why=recommendation.why,
        would_change_it=recommendation.would_change_it,
    )


def _by_cost(fleet: Fleet) -> tuple[float, float, str]:
    return (
        math.inf if fleet.usd_per_month.value is None else fleet.usd_per_month.value,
        math.inf if fleet.usd_per_hour_each is None else fleet.usd_per_hour_each,
        fleet.offer,
    )


def _offer_row(fleet: Fleet, *, is_on_frontier: bool) -> model.OfferRow:
    def number(estimate: Estimate, unit: str) -> model.Quantity:  # the row states why values are missing
        return (
            build_quantity(estimate, unit)
            if fleet.rejected is None
            else model.Quantity(None, unit, basis=estimate.basis)
        )

    return model.OfferRow(
        offer=fleet.offer,
        instances=fleet.instances,
        spare=fleet.spare_instances,
        capacity=number(fleet.capacity_per_instance_per_s, "1/s"),
        utilization_at_peak=number(fleet.utilization_at_peak, "share"),
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
        is_on_frontier=is_on_frontier,
        rejected=fleet.rejected,
        slo_probabilities=_chances(fleet.slo_probabilities),
        instances_needed=_spread(fleet.instances_needed),
        usd_per_month_needed=_spread(fleet.usd_per_month_needed),
        sizing_method=fleet.sizing_method if fleet.rejected is None else None,
        price_kind=fleet.price_kind,
        measured_on=fleet.measured_on,
        fit_error_at_slo=fleet.fit_error_at_slo,
        provider=fleet.provider,
        instance_type=fleet.instance_type,
        region=fleet.region,
        planned_rate_per_s=_planned_rate(fleet),
    )


def _planned_rate(fleet: Fleet) -> float | None:
    if fleet.planned_rate_per_replica_per_s is None or fleet.replicas_per_instance is None:
        return None
    return fleet.planned_rate_per_replica_per_s * fleet.replicas_per_instance


def _knowledge(knowledge: records.CapacityKnowledge | None) -> CapacityUncertainty | None:
    if knowledge is None or knowledge.state == "known":
        return None
    spread = knowledge.per_instance_per_s
    return CapacityUncertainty(
        state=knowledge.state,
        per_instance_per_s=PercentileRange(p10=spread.p10, p50=spread.p50, p90=spread.p90),
        headline=knowledge.headline,
        next_step=knowledge.next_step,
    )


def _chances(probabilities: records.SloProbabilities | None) -> SloProbabilityRow | None:
    if probabilities is None:
        return None
    return SloProbabilityRow(
        one_fewer=probabilities.one_fewer, planned=probabilities.planned, one_more=probabilities.one_more
    )


def _spread(spread: records.Spread | None) -> PercentileRange | None:
    return None if spread is None else PercentileRange(p10=spread.p10, p50=spread.p50, p90=spread.p90)


def _front_row(fleet: Fleet) -> FrontRow:
    return FrontRow(
        offer=fleet.offer,
        instances=fleet.instances or 0,
        usd_per_month=build_quantity(fleet.usd_per_month, "USD/month"),
        latency=build_quantity(fleet.latency_at_peak, "ms"),
        basis=fleet.basis,
        frontier_probability=fleet.frontier_probability,
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
                at_slo=_usd(costs.at_slo, fleet, _NO_RATE),
                at_mean=_usd(costs.at_mean, fleet, _NO_RATE),
            )


def _usd(value: float | None, fleet: Fleet, reason: str) -> model.Quantity:
    return model.Quantity(value, "USD", basis=fleet.basis, reason=reason if value is None else None)


def _energy(estimate: Estimate | None, unit: str) -> model.Quantity | None:
    return None if estimate is None else build_quantity(estimate, unit)


def _sensitivity_row(
    sensitivity: records.SensitivityRange, offers: Sequence[Fleet], chosen: Fleet | None
) -> SensitivityRow:
    fleets = {fleet.offer: fleet for fleet in offers}
    return SensitivityRow(
        input=sensitivity.input,
        low=sensitivity.low,
        high=sensitivity.high,
        usd_per_month_low=sensitivity.usd_per_month_low,
        usd_per_month_high=sensitivity.usd_per_month_high,
        winner_low=sensitivity.winner_low,
        winner_high=sensitivity.winner_high,
        winner_low_name=_short_name(fleets.get(sensitivity.winner_low or ""), chosen),
        winner_high_name=_short_name(fleets.get(sensitivity.winner_high or ""), chosen),
    )


def _short_name(fleet: Fleet | None, chosen: Fleet | None) -> str | None:
    if fleet is None or chosen is None:
        return None
    is_same_instance = (fleet.provider, fleet.instance_type) == (chosen.provider, chosen.instance_type)
    return fleet.region if is_same_instance else fleet.instance_type


def _day(hours: Sequence[records.Hour]) -> DaySeries | None:
    if not hours:
        return None
    return DaySeries(
        hours=tuple(hour.hour for hour in hours),
        arrivals_per_s=tuple(hour.arrivals_per_s for hour in hours),
        instances=tuple(hour.instances for hour in hours),
        p50_ms=tuple(hour.p50_ms for hour in hours),
        p95_ms=tuple(hour.p95_ms for hour in hours),
        p99_ms=tuple(hour.p99_ms for hour in hours),
        good_share=tuple(hour.good_share for hour in hours),
        usd=tuple(hour.usd for hour in hours),
    )


def _forecast_text(year: records.AnnualForecast | None) -> str | None:
    if year is None:
        return None
    base_text = f"12-month forecast: mean utilization {100 * year.mean_utilization:.0f} %"
    if year.hours_over < 1 / 60:
        return f"{base_text}; demand stays within capacity at all times."
    return (
        f"{base_text}; demand exceeds capacity for {year.hours_over:,.1f} h. This delays "
        f"{100 * year.delayed_share:.2g} % of all requests, by at most {year.worst_wait_s:,.0f} s."
    )


def _commitment(commitment: records.Commitment | None) -> CommitmentRow | None:
    if commitment is None:
        return None
    return CommitmentRow(
        reserved=commitment.reserved,
        usd_per_month=commitment.usd_per_month,
        usd_per_month_on_demand=commitment.usd_per_month_on_demand,
        sentence=commitment.sentence,
    )


def _saving_row(saving: records.Saving) -> SavingRow:
    return SavingRow(
        change=saving.change,
        basis=saving.basis,
        usd_per_month=saving.usd_per_month,
        saved_usd_per_month=saving.saved_usd_per_month,
    )


def _mix(mix: records.Mix | None) -> MixSection | None:
    if mix is None:
        return None
    return MixSection(
        parts=tuple(MixRow(offer=part.offer, instances=part.instances) for part in mix.parts),
        usd_per_month=mix.usd_per_month,
        sentence=mix.sentence,
    )
