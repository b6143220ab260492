"""Convert a plan to report data. Feasible fleets become rows ordered by cost, followed by the rows
of excluded fleets."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from app.analysis.objectives import format_objective, parse_objective
from app.records import plan as records
from app.records.engine_presets import ENGINE_PRESETS
from app.records.estimate import Estimate
from app.records.evidence import list_attributions
from app.records.plan import Fleet, Plan
from app.records.planning_inputs import MeasuredTarget, PlanningInputs
from app.records.result import ShapePlan
from app.reporting.evidence_rows import build_nearest_row
from app.reporting.quantities import build_check_row, build_limit, build_quantity
from reports import model
from reports.plan_section import (
    AcceleratorRow,
    ApiPriceRow,
    CapacityUncertainty,
    CommitmentRow,
    DaySeries,
    FrontRow,
    MixRow,
    MixSection,
    PercentileRange,
    PlannedModelRow,
    PlanReport,
    SavingRow,
    SensitivityRow,
    ServedReplicaRow,
    ShapePlanRow,
    ShapePlanSection,
    SloProbabilityRow,
    SourceRow,
    UnitCostRow,
)

_NO_SATURATION_REASON = "no service model, or saturation never reached"
_NO_FLEET_REASON = "no feasible fleet"


def build_plan_section(
    plan: Plan, sources: Sequence[SourceRow] = (), planned_model: PlannedModelRow | None = None
) -> model.PlanSection:
    """Build the section of a plan. `sources` are the measurements on which the plan is based,
    including the measurement for the recommended fleet. `planned_model` is planned from its shape."""
    frontier_keys = {(fleet.offer, fleet.instances) for fleet in plan.pareto}
    sorted_fleets = sorted(plan.offers, key=_get_cost_sort_key)
    rows = [
        _build_offer_row(fleet, is_on_frontier=(fleet.offer, fleet.instances) in frontier_keys)
        for fleet in sorted_fleets
    ]
    recommended_fleet = plan.recommendation.fleet if plan.recommendation else None
    return model.PlanSection(
        peak_per_s=plan.traffic.peak_per_s,
        shape=plan.traffic.shape,
        growth_per_year=plan.traffic.growth_per_year,
        hourly_share=plan.traffic.hourly_share,
        slo=plan.slo,
        slo_labels=tuple(map(format_objective, plan.slo)),
        confidence=plan.confidence,
        redundancy=plan.redundancy,
        latency_metric=plan.latency_metric,
        planned_on=plan.planned_on,
        recommendation=_build_recommendation_row(plan.recommendation),
        runner_up=plan.runner_up.offer if plan.runner_up else None,
        cheapest_rejected=plan.cheapest_rejected.offer if plan.cheapest_rejected else None,
        offers=tuple(row for row in rows if row.rejected is None),
        rejected_offers=tuple(row for row in rows if row.rejected is not None),
        notes=plan.notes,
        latency_limit=_find_latency_limit(plan),
        router=plan.router,
        frontier=tuple(map(_build_front_row, sorted(plan.pareto, key=_get_cost_sort_key))),
        unit_costs=() if recommended_fleet is None else tuple(_build_unit_costs(recommended_fleet)),
        kwh_per_month=_build_optional_quantity(recommended_fleet.kwh_per_month, "kWh/month")
        if recommended_fleet
        else None,
        kg_co2e_per_month=_build_optional_quantity(recommended_fleet.kg_co2e_per_month, "kg CO2e/month")
        if recommended_fleet
        else None,
        sensitivity=tuple(
            _build_sensitivity_row(sensitivity, plan.offers, recommended_fleet) for sensitivity in plan.sensitivity
        ),
        day=_build_day_series(plan.hours),
        commitment=_build_commitment_row(plan.commitment),
        savings=tuple(map(_build_saving_row, plan.savings)),
        mix=_build_mix_section(plan.mix),
        forecast=_format_forecast(plan.forecast),
        break_even=plan.break_even,
        api_prices=() if plan.api is None else tuple(_build_api_rows(plan.api, recommended_fleet)),
        capacity_knowledge=_build_capacity_uncertainty(plan.capacity_knowledge),
        checks=tuple(
            msgspec.structs.replace(build_check_row(check), name=check.id.replace("_", " ")) for check in plan.checks
        ),
        source=None if recommended_fleet is None else _find_source(recommended_fleet, sources),
        nearest_points=tuple(map(build_nearest_row, plan.nearest_points)),
        attributions=list_attributions(nearest.point.source for nearest in plan.nearest_points),
        accelerators=tuple(
            AcceleratorRow(accelerator=result.accelerator, offer=result.offer) for result in plan.accelerators
        ),
        planned_model=planned_model,
    )


_MAX_SHAPE_ROWS = 6


def build_shape_plan_section(shape_plan: ShapePlan) -> ShapePlanSection:
    """Build the section of the plan for a language model that the run did not measure."""
    plan, cheapest_fleets = shape_plan.plan, dict[str, Fleet]()
    for fleet in sorted(plan.offers, key=_get_cost_sort_key):
        if fleet.rejected is None and fleet.accelerator is not None:
            cheapest_fleets.setdefault(fleet.accelerator, fleet)
    tokens = plan.traffic.tokens[0]
    return ShapePlanSection(
        model=shape_plan.model,
        statement=f"{shape_plan.model} was not measured. This plan is calculated from the shape of the model and the "
        "data sheets of the accelerators. Nothing that this run measured is part of it, because a measurement on a "
        "CPU says nothing about a GPU.",
        peak_per_s=plan.traffic.peak_per_s,
        input_tokens=tokens.input,
        output_tokens=tokens.output,
        slo_labels=tuple(map(format_objective, plan.slo)),
        rows=tuple(
            ShapePlanRow(accelerator=accelerator, fleet=_build_offer_row(fleet, is_on_frontier=False))
            for accelerator, fleet in [*cheapest_fleets.items()][:_MAX_SHAPE_ROWS]
        ),
        notes=plan.notes,
    )


def _find_source(fleet: Fleet, sources: Sequence[SourceRow]) -> SourceRow | None:
    return next((source for source in sources if source.name == fleet.measured_on), None)


def build_input_section(plan: Plan, plan_inputs: PlanningInputs) -> model.PlanSection:
    """Build the section of a plan that does not belong to a run, from the plan and its inputs."""
    return build_plan_section(plan, build_source_rows(plan_inputs), _build_planned_model(plan_inputs))


def _build_planned_model(plan_inputs: PlanningInputs) -> PlannedModelRow | None:
    assumed_model, lengths = plan_inputs.assumed_model, plan_inputs.traffic.mean_token_lengths
    if assumed_model is None or lengths is None:
        return None
    return PlannedModelRow(
        name=assumed_model.name,
        parameters=assumed_model.model.parameters,
        active_parameters=assumed_model.model.active_parameters,
        weights=_join_dtypes(model.precision.weights for model in assumed_model.served_models),
        compute=_join_dtypes(model.precision.compute for model in assumed_model.served_models),
        kv=assumed_model.precision.kv,
        input_tokens=lengths[0],
        output_tokens=lengths[1],
        prefix_cached_share=plan_inputs.traffic.prefix_cached_share,
    )


def _join_dtypes(dtypes: Iterable[str]) -> str:
    return " or ".join(dict.fromkeys(dtypes))


def build_source_rows(plan_inputs: PlanningInputs) -> tuple[SourceRow, ...]:
    return tuple(map(_build_source_row, plan_inputs.measured))


def _build_source_row(target: MeasuredTarget) -> SourceRow:
    description = target.hardware.description
    max_rate = Estimate(
        target.curve.max_rate_per_s,
        target.curve.max_rate_ci95,
        basis="assumed" if target.is_assumed else "measured",
    )
    return SourceRow(
        name=target.name,
        hardware=f"{description} (as specified)" if target.is_hardware_declared else description,
        max_rate=build_quantity(max_rate, "1/s"),
        validity=target.validity,
    )


def build_plan_report(plan: Plan, plan_inputs: PlanningInputs, tool: str, command: str) -> PlanReport:
    """Build the report of a plan file, which does not belong to a run."""
    price_dates = sorted(offer.as_of.isoformat() for offer in plan_inputs.catalog.offers)
    return PlanReport(
        tool=tool,
        plan=build_input_section(plan, plan_inputs),
        sources=build_source_rows(plan_inputs),
        offers=len(price_dates),
        own_offers=sum(offer.is_customized for offer in plan_inputs.catalog.offers),
        oldest_price=price_dates[0] if price_dates else None,
        newest_price=price_dates[-1] if price_dates else None,
        command=command,
    )


def _find_latency_limit(plan: Plan) -> model.Limit | None:
    objectives = map(parse_objective, plan.slo)
    limits = (
        build_limit(objective)
        for objective in objectives
        if objective.level == "fail" and objective.name == plan.latency_metric
    )
    return next(limits, None)


def _build_recommendation_row(recommendation: records.Recommendation | None) -> model.RecommendationRow | None:
    if recommendation is None:
        return None
    return model.RecommendationRow(
        offer=recommendation.fleet.offer,
        sentence=recommendation.sentence,
        binding_constraint=recommendation.binding_constraint,
        why=recommendation.why,
        would_change_it=recommendation.would_change_it,
    )


def _get_cost_sort_key(fleet: Fleet) -> tuple[float, float, str]:
    return (
        math.inf if fleet.usd_per_month.value is None else fleet.usd_per_month.value,
        math.inf if fleet.usd_per_hour_each is None else fleet.usd_per_hour_each,
        fleet.offer,
    )


def _build_offer_row(fleet: Fleet, *, is_on_frontier: bool) -> model.OfferRow:
    def build_row_quantity(estimate: Estimate, unit: str) -> model.Quantity:  # the row states why values are missing
        return (
            build_quantity(estimate, unit)
            if fleet.rejected is None
            else model.Quantity(None, unit, basis=estimate.basis)
        )

    return model.OfferRow(
        offer=fleet.offer,
        instances=fleet.instances,
        spare=fleet.spare_instances,
        capacity=build_row_quantity(fleet.capacity_per_instance_per_s, "1/s"),
        utilization_at_peak=build_row_quantity(fleet.utilization_at_peak, "share"),
        latency=msgspec.structs.replace(
            build_row_quantity(fleet.latency_at_peak, "ms"), is_limit=fleet.is_latency_limit
        ),
        usd_per_hour_each=fleet.usd_per_hour_each,
        usd_per_month=build_row_quantity(fleet.usd_per_month, "USD/month"),
        usd_per_1k=build_row_quantity(fleet.usd_per_1k_inferences, "USD"),
        basis=fleet.basis,
        price_date=fleet.price_date,
        price_age_days=fleet.price_age_days,
        price_source=fleet.price_source,
        risk=fleet.risk,
        risk_reasons=fleet.risk_reasons,
        is_on_frontier=is_on_frontier,
        rejected=fleet.rejected,
        slo_probabilities=_build_probability_row(fleet.slo_probabilities),
        instances_needed=_build_range(fleet.instances_needed),
        usd_per_month_needed=_build_range(fleet.usd_per_month_needed),
        sizing_method=fleet.sizing_method if fleet.rejected is None else None,
        price_kind=fleet.price_kind,
        measured_on=fleet.measured_on,
        fit_error_at_slo=fleet.fit_error_at_slo,
        provider=fleet.provider,
        instance_type=fleet.instance_type,
        region=fleet.region,
        planned_rate_per_s=_compute_planned_rate(fleet),
        served_replica=_build_replica_row(fleet.served_replica),
    )


def _build_replica_row(replica: records.ServedReplica | None) -> ServedReplicaRow | None:
    if replica is None:
        return None
    return ServedReplicaRow(
        accelerators=replica.accelerators,
        engine=ENGINE_PRESETS[replica.engine].title,
        weights=replica.weights,
        tokens_per_s_per_user=replica.tokens_per_s_per_user,
        tokens_per_s_per_accelerator=replica.tokens_per_s_per_accelerator,
    )


def _compute_planned_rate(fleet: Fleet) -> float | None:
    if fleet.planned_rate_per_replica_per_s is None or fleet.replicas_per_instance is None:
        return None
    return fleet.planned_rate_per_replica_per_s * fleet.replicas_per_instance


def _build_capacity_uncertainty(knowledge: records.CapacityKnowledge | None) -> CapacityUncertainty | None:
    if knowledge is None or knowledge.state == "known":
        return None
    spread = knowledge.per_instance_per_s
    return CapacityUncertainty(
        state=knowledge.state,
        per_instance_per_s=PercentileRange(p10=spread.p10, p50=spread.p50, p90=spread.p90),
        headline=knowledge.headline,
        next_step=knowledge.next_step,
    )


def _build_probability_row(probabilities: records.SloProbabilities | None) -> SloProbabilityRow | None:
    if probabilities is None:
        return None
    return SloProbabilityRow(
        one_fewer=probabilities.one_fewer, planned=probabilities.planned, one_more=probabilities.one_more
    )


def _build_range(spread: records.Spread | None) -> PercentileRange | None:
    return None if spread is None else PercentileRange(p10=spread.p10, p50=spread.p50, p90=spread.p90)


def _build_front_row(fleet: Fleet) -> FrontRow:
    return FrontRow(
        offer=fleet.offer,
        instances=fleet.instances or 0,
        usd_per_month=build_quantity(fleet.usd_per_month, "USD/month"),
        latency=msgspec.structs.replace(build_quantity(fleet.latency_at_peak, "ms"), is_limit=fleet.is_latency_limit),
        basis=fleet.basis,
        frontier_probability=fleet.frontier_probability,
    )


def _build_unit_costs(fleet: Fleet) -> Iterator[UnitCostRow]:
    costs_by_unit = {"1k inferences": fleet.per_1k_inferences}
    if (token_costs := fleet.per_1m_tokens) is not None:
        costs_by_unit |= {
            "1M input tokens": token_costs.input,
            "1M uncached input tokens": token_costs.uncached_input,
            "1M cached input tokens": token_costs.cached_input,
            "1M output tokens": token_costs.output,
            "1M tokens": token_costs.all,
        }
    for unit, costs in costs_by_unit.items():
        if costs is not None:
            yield UnitCostRow(
                unit=unit,
                at_saturation=_build_usd_quantity(costs.at_saturation, fleet, _NO_SATURATION_REASON),
                at_slo=_build_usd_quantity(costs.at_slo, fleet, _NO_FLEET_REASON),
                at_mean=_build_usd_quantity(costs.at_mean, fleet, _NO_FLEET_REASON),
            )


def _build_api_rows(comparison: records.ApiComparison, fleet: Fleet | None) -> Iterator[ApiPriceRow]:
    """Yield one row per kind of token that the traffic has."""
    costs = None if fleet is None else fleet.per_1m_tokens
    is_share_known = comparison.cached_share is not None
    fleet_costs = (
        (None, None, None)
        if costs is None
        else (costs.uncached_input if is_share_known else costs.input, costs.cached_input, costs.output)
    )
    kinds = ("uncached input" if is_share_known else "input", "cached input", "output")
    parts = (comparison.input, comparison.cached_input, comparison.output)
    for kind, part, fleet_cost in zip(kinds, parts, fleet_costs, strict=True):
        if part.tokens_per_month > 0:
            yield ApiPriceRow(
                kind=kind,
                tokens_per_month=part.tokens_per_month,
                api_usd_per_1m=part.usd_per_1m,
                api_usd_per_month=part.usd_per_month,
                fleet_usd_per_1m=None if fleet_cost is None else fleet_cost.at_mean,
            )


def _build_usd_quantity(value: float | None, fleet: Fleet, reason: str) -> model.Quantity:
    return model.Quantity(value, "USD", basis=fleet.basis, reason=reason if value is None else None)


def _build_optional_quantity(estimate: Estimate | None, unit: str) -> model.Quantity | None:
    return None if estimate is None else build_quantity(estimate, unit)


def _build_sensitivity_row(
    sensitivity: records.SensitivityRange, offers: Sequence[Fleet], recommended_fleet: Fleet | None
) -> SensitivityRow:
    fleets_by_offer = {fleet.offer: fleet for fleet in offers}
    return SensitivityRow(
        input=sensitivity.input,
        low=sensitivity.low,
        high=sensitivity.high,
        usd_per_month_low=sensitivity.usd_per_month_low,
        usd_per_month_high=sensitivity.usd_per_month_high,
        winner_low=sensitivity.winner_low,
        winner_high=sensitivity.winner_high,
        winner_low_name=_format_short_name(fleets_by_offer.get(sensitivity.winner_low or ""), recommended_fleet),
        winner_high_name=_format_short_name(fleets_by_offer.get(sensitivity.winner_high or ""), recommended_fleet),
    )


def _format_short_name(fleet: Fleet | None, recommended_fleet: Fleet | None) -> str | None:
    if fleet is None or recommended_fleet is None:
        return None
    is_same_instance = (fleet.provider, fleet.instance_type) == (
        recommended_fleet.provider,
        recommended_fleet.instance_type,
    )
    return fleet.region if is_same_instance else f"{fleet.provider}/{fleet.instance_type}"


def _build_day_series(hours: Sequence[records.Hour]) -> DaySeries | None:
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


def _format_forecast(forecast: records.AnnualForecast | None) -> str | None:
    if forecast is None:
        return None
    base_text = f"12-month forecast: the mean utilization is {100 * forecast.mean_utilization:.0f} %"
    if forecast.hours_over < 1 / 60:
        return f"{base_text}, and demand stays within capacity at all times."
    return (
        f"{base_text}, and demand exceeds capacity for {forecast.hours_over:,.1f} h. This delays "
        f"{100 * forecast.delayed_share:.2g} % of all requests, by at most {forecast.worst_wait_s:,.0f} s."
    )


def _build_commitment_row(commitment: records.Commitment | None) -> CommitmentRow | None:
    if commitment is None:
        return None
    return CommitmentRow(
        reserved=commitment.reserved,
        usd_per_month=commitment.usd_per_month,
        usd_per_month_on_demand=commitment.usd_per_month_on_demand,
        sentence=commitment.sentence,
    )


def _build_saving_row(saving: records.Saving) -> SavingRow:
    return SavingRow(
        change=saving.change,
        basis=saving.basis,
        usd_per_month=saving.usd_per_month,
        saved_usd_per_month=saving.saved_usd_per_month,
    )


def _build_mix_section(mix: records.Mix | None) -> MixSection | None:
    if mix is None:
        return None
    return MixSection(
        parts=tuple(MixRow(offer=part.offer, instances=part.instances) for part in mix.parts),
        usd_per_month=mix.usd_per_month,
        sentence=mix.sentence,
    )
