"""The plan, with its fleets as rows: feasible ones by cost, then the refused ones."""

from __future__ import annotations

import math

from app.records.result import Fleet, Plan, Recommendation
from app.reporting.quantities import quantity
from reports import model


def plan_section(plan: Plan) -> model.PlanSection:
    front = {fleet.offer for fleet in plan.pareto}
    rows = [_offer_row(fleet, on_front=fleet.offer in front) for fleet in sorted(plan.offers, key=_by_cost)]
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
        cheapest_refused=_cheapest_refused(plan),
        offers=tuple(row for row in rows if row.refused is None),
        refused=tuple(row for row in rows if row.refused is not None),
        notes=plan.notes,
    )


def _cheapest_refused(plan: Plan) -> str | None:
    return plan.cheapest_rejected.offer if plan.cheapest_rejected else None


def _recommendation(one: Recommendation | None) -> model.Recommendation | None:
    if one is None:
        return None
    return model.Recommendation(
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
    return model.OfferRow(
        offer=fleet.offer,
        instances=fleet.instances,
        spare=fleet.spare_instances,
        capacity=quantity(fleet.capacity_per_instance_per_s, "1/s"),
        utilisation=quantity(fleet.utilisation_at_peak, "share"),
        latency=quantity(fleet.latency_at_peak, "ms"),
        usd_per_hour_each=fleet.usd_per_hour_each,
        usd_per_month=quantity(fleet.usd_per_month, "USD/month"),
        usd_per_1k=quantity(fleet.usd_per_1k_inferences, "USD"),
        basis=fleet.basis,
        price_date=fleet.price_date,
        price_age_days=fleet.price_age_days,
        price_source=fleet.price_source,
        risk=fleet.risk,
        risk_reasons=fleet.risk_reasons,
        on_front=on_front,
        refused=fleet.rejected,
    )
