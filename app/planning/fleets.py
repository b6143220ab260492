"""Fleet planning: size, price and rank every offer from measurements, and simulate the leading
offers.

The result is deterministic: it depends only on the plan inputs and on seeded random numbers.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence

import msgspec

from app.analysis.accelerator_names import matches_accelerator
from app.planning.days.peak_day import simulate_peak_day
from app.planning.explanation import Selection, build_recommendation, explain_break_even
from app.planning.formatting import format_number
from app.planning.hardware.risk import check_price
from app.planning.language_models.assumed_model import describe_planned_load, describe_served_replica
from app.planning.language_models.engines import check_prompt_length
from app.planning.language_models.next_measurement import propose_measurement
from app.planning.offers.candidates import (
    Candidate,
    RejectedOffer,
    build_fleet,
    build_rejected_fleet,
    compute_ranking_cost,
    iterate_fleets,
)
from app.planning.offers.options import Option, get_candidate, list_options, select_latency_metric
from app.planning.offers.pareto import add_front_probabilities, find_pareto_front
from app.planning.plan_notes import build_plan_notes, explain_rate_limit, find_nearest_excluded
from app.planning.pricing.alternatives import plan_commitment, plan_mix
from app.planning.pricing.api_comparison import compare_with_api, describe_api_comparison
from app.planning.pricing.fleet_costs import add_costs
from app.planning.pricing.year import forecast_year
from app.planning.service_models.measured import add_measured_tokens
from app.planning.sizing.instances import Demand, build_demand
from app.planning.sizing.knowledge import SloEvidence, assess_knowledge, collect_slo_evidence
from app.planning.sizing.slo_objectives import ShouldContinue, SloObjectives, always_continue, build_slo_objectives
from app.planning.step_times.nearest import find_nearest_points
from app.planning.step_times.own_points import check_own_measurements
from app.planning.what_if.changes import plan_savings
from app.planning.what_if.sensitivity import compute_sensitivity
from app.records.checks import Check
from app.records.plan import USER_FILTERS, AcceleratorResult, CapacityKnowledge, Fleet, NearestPoint, Plan
from app.records.planning_inputs import MeasuredTarget, PlanningInputs


def plan_fleets(
    plan_inputs: PlanningInputs, *, estimate_only: bool = False, should_continue: ShouldContinue = always_continue
) -> Plan:
    """Compute the plan for the given plan inputs.

    `Plan.offers` lists the feasible fleets first, by ranking cost, then the excluded fleets with
    the reason. With `estimate_only`, the plan is computed by formulas only, in at most 200 ms.
    Otherwise the leading offers are simulated, and `should_continue` is called between simulations.
    Raises CancelledError if `should_continue` returns False.
    """
    plan_inputs = add_measured_tokens(plan_inputs)
    demand = build_demand(plan_inputs.traffic, plan_inputs.limits, plan_inputs.today)
    objectives = build_slo_objectives(plan_inputs.slo)
    options, knowledge, ranked_fleets = _evaluate_options(
        plan_inputs, demand, objectives, estimate_only, should_continue
    )
    excluded_fleets = _list_excluded_fleets(options, plan_inputs.today)
    best_option, best_fleet = ranked_fleets[0] if ranked_fleets else (None, None)
    fleets_of_other_types = [
        (option, fleet)
        for option, fleet in ranked_fleets[1:]
        if best_option and _is_different_type(option, best_option)
    ]
    runner_up, runner_up_fleet = fleets_of_other_types[0] if fleets_of_other_types else (None, None)
    cheapest_rejected = _select_cheapest_rejected(options, excluded_fleets)
    targets = (
        [best_option.target] if best_option else [option.target for option in options] or list(plan_inputs.measured)
    )
    target = targets[0]
    limits = plan_inputs.limits
    leading_knowledge = _get_leading_knowledge(best_option, options, knowledge)
    proposed_measurement = propose_measurement(
        ranked_fleets or _list_uncertain_fleets(options, knowledge, demand, plan_inputs),
        plan_inputs,
        demand,
        objectives,
    )
    is_known = leading_knowledge is None or leading_knowledge.state == "known"
    if leading_knowledge is not None and not is_known and proposed_measurement is not None:
        leading_knowledge = msgspec.structs.replace(
            leading_knowledge, next_measurement=None, next_step=proposed_measurement.sentence
        )
    plan = Plan(
        traffic=msgspec.structs.replace(plan_inputs.traffic, rows=None, token_sample=None),
        slo=tuple(objective.text for objective in plan_inputs.slo),
        confidence=limits.confidence,
        redundancy=limits.redundancy,
        max_unavailable=limits.max_unavailable,
        server=target.server,
        latency_metric=select_latency_metric(target, objectives),
        planned_on=plan_inputs.today.isoformat(),
        recommendation=None,
        runner_up=runner_up_fleet,
        cheapest_rejected=cheapest_rejected,
        offers=(*(fleet for _, fleet in ranked_fleets), *excluded_fleets),
        pareto=(),
        notes=build_plan_notes(
            plan_inputs,
            demand,
            objectives,
            [fleet for _, fleet in ranked_fleets],
            excluded_fleets,
            proposed_measurement if is_known else None,
        ),
        router=limits.router,
        capacity_knowledge=leading_knowledge,
        accelerators=_find_accelerator_results(
            limits.accelerators, [fleet for _, fleet in ranked_fleets], excluded_fleets
        ),
        own_points=target.own_points,
        nearest_points=_find_nearest_points(target, best_fleet, plan_inputs),
        proposed_measurement=proposed_measurement,
        checks=check_own_measurements([option.target for option in options]),
    )
    if best_option is None or best_fleet is None:
        return plan
    best_candidate = get_candidate(best_option)
    rate_limit_note = explain_rate_limit(best_candidate.capacity, best_option.target.name)
    checks = (
        *check_price(best_candidate.offer, plan_inputs.today),
        *_check_prompt_length(best_option.target, plan_inputs),
        *plan.checks,
    )
    selection = Selection(
        best_candidate, best_fleet, get_candidate(runner_up) if runner_up else None, cheapest_rejected
    )
    api_comparison = compare_with_api(best_candidate, best_fleet, best_option.target, demand, plan_inputs)
    return msgspec.structs.replace(
        plan,
        notes=(*plan.notes, *(() if rate_limit_note is None else (rate_limit_note,))),
        recommendation=build_recommendation(
            selection, demand, limits, target.curve, plan_inputs.slo, plan.capacity_knowledge, checks
        ),
        checks=checks,
        pareto=_build_pareto_front(options, demand, plan_inputs),
        sensitivity=compute_sensitivity(options, demand, plan_inputs, objectives),
        hours=() if estimate_only else simulate_peak_day(best_option, plan_inputs, objectives),
        forecast=None if estimate_only else forecast_year(best_candidate, demand, plan_inputs),
        commitment=plan_commitment(best_candidate, demand, plan_inputs),
        break_even=(
            *explain_break_even(options, demand, plan_inputs),
            *describe_api_comparison(api_comparison, plan_inputs),
        ),
        api=api_comparison,
        savings=plan_savings(options, best_option, demand, plan_inputs, objectives, estimate_only=estimate_only),
        mix=None if estimate_only else plan_mix(options, demand, plan_inputs),
    )


def _check_prompt_length(target: MeasuredTarget, plan_inputs: PlanningInputs) -> tuple[Check, ...]:
    """Return a warning if the engine of a replica without measurements refuses the longest prompts of the traffic."""
    accelerator = plan_inputs.catalog.accelerators.get(target.hardware.accelerator or "")
    if target.assumed_model is None or accelerator is None:
        return ()
    return check_prompt_length(target.assumed_model.engine, accelerator, plan_inputs.traffic.tokens)


def _find_nearest_points(
    target: MeasuredTarget, fleet: Fleet | None, plan_inputs: PlanningInputs
) -> tuple[NearestPoint, ...]:
    """Return the published points that are nearest to a replica of the fleet; none without an assumed model."""
    rate_per_s = None if fleet is None else fleet.planned_rate_per_replica_per_s
    load = describe_planned_load(target, rate_per_s, plan_inputs)
    return () if load is None else find_nearest_points(load, plan_inputs.catalog.accelerators)


def find_recommended_fleet(plan_inputs: PlanningInputs, *, estimate_only: bool) -> Fleet | None:
    """Return the fleet that the plan for the inputs recommends; `None` if there is none.

    Unlike `plan_fleets`, this function does not compute the rest of the plan.
    """
    plan_inputs = add_measured_tokens(plan_inputs)
    demand = build_demand(plan_inputs.traffic, plan_inputs.limits, plan_inputs.today)
    objectives = build_slo_objectives(plan_inputs.slo)
    _, _, ranked_fleets = _evaluate_options(plan_inputs, demand, objectives, estimate_only, always_continue)
    return ranked_fleets[0][1] if ranked_fleets else None


def simulate_offer(
    plan_inputs: PlanningInputs, offer_key: str, should_continue: ShouldContinue = always_continue
) -> Fleet | None:
    """Size one offer by simulation as a plan would, even if the plan does not simulate it; `None` if
    the offer is missing, excluded or cannot be simulated.

    Raises CancelledError if `should_continue` returns False.
    """
    plan_inputs = add_measured_tokens(plan_inputs)
    demand = build_demand(plan_inputs.traffic, plan_inputs.limits, plan_inputs.today)
    objectives = build_slo_objectives(plan_inputs.slo)
    options = list_options(
        plan_inputs,
        demand,
        objectives,
        estimate_only=False,
        simulated_offer=offer_key,
        should_continue=should_continue,
    )
    option = next((option for option in options if option.evaluation.offer.key == offer_key), None)
    if option is None:
        return None
    evidence_by_target = _collect_evidence([option], plan_inputs, objectives)
    option = _exclude_if_unknown(option, _assess_option(option, evidence_by_target, objectives, demand))
    if not option.is_feasible or get_candidate(option).capacity.sizing_method != "simulated":
        return None
    return _build_option_fleet(option, demand, plan_inputs, evidence_by_target[option.target.name])


def _evaluate_options(
    plan_inputs: PlanningInputs,
    demand: Demand,
    objectives: SloObjectives,
    estimate_only: bool,
    should_continue: ShouldContinue,
) -> tuple[list[Option], list[CapacityKnowledge | None], list[tuple[Option, Fleet]]]:
    """Return one option per offer, how certain the capacity of each offer is, and the feasible
    options with their fleets, best first."""
    evaluated_options = list_options(
        plan_inputs, demand, objectives, estimate_only=estimate_only, should_continue=should_continue
    )
    evidence_by_target = _collect_evidence(evaluated_options, plan_inputs, objectives)
    knowledge = [_assess_option(option, evidence_by_target, objectives, demand) for option in evaluated_options]
    options = [
        _exclude_if_unknown(option, option_knowledge)
        for option, option_knowledge in zip(evaluated_options, knowledge, strict=True)
    ]
    return options, knowledge, _rank_fleets(options, demand, plan_inputs, evidence_by_target)


def _collect_evidence(
    options: Sequence[Option], plan_inputs: PlanningInputs, objectives: SloObjectives
) -> dict[str, SloEvidence]:
    """Return the SLO evidence by target name. Evidence is collected per target, since many offers
    share a target."""
    targets = {option.target.name: option.target for option in options}
    return {name: collect_slo_evidence(target, plan_inputs.slo, objectives) for name, target in targets.items()}


def _assess_option(
    option: Option, evidence_by_target: Mapping[str, SloEvidence], objectives: SloObjectives, demand: Demand
) -> CapacityKnowledge | None:
    """Return how certain the capacity of an offer is; `None` if the offer is infeasible."""
    if not option.is_feasible:
        return None
    return assess_knowledge(get_candidate(option).capacity, evidence_by_target[option.target.name], objectives, demand)


def _exclude_if_unknown(option: Option, knowledge: CapacityKnowledge | None) -> Option:
    if knowledge is None or knowledge.state != "unknown":
        return option
    capacity_range = knowledge.per_instance_per_s
    range_text = f"{format_number(capacity_range.p10)} to {format_number(capacity_range.p90)} req/s per instance"
    reason = f"the capacity is too uncertain: {range_text}"
    return msgspec.structs.replace(option, evaluation=msgspec.structs.replace(get_candidate(option), rejected=reason))


def _get_leading_knowledge(
    best_option: Option | None, options: Sequence[Option], knowledge: Sequence[CapacityKnowledge | None]
) -> CapacityKnowledge | None:
    """Return how certain the capacity of the recommended offer is.

    Without a recommendation, the result is for the cheapest offer that is excluded because of its
    uncertain capacity; `None` if there is no such offer.
    """
    if best_option is not None:
        return next(
            option_knowledge
            for option, option_knowledge in zip(options, knowledge, strict=True)
            if option is best_option
        )
    return _find_cheapest_uncertain(options, knowledge)[1]


def _find_cheapest_uncertain(
    options: Sequence[Option], knowledge: Sequence[CapacityKnowledge | None]
) -> tuple[Option, CapacityKnowledge] | tuple[None, None]:
    """Return the cheapest option that would qualify if its capacity were known."""
    sized = [
        (option, option_knowledge)
        for option, option_knowledge in zip(options, knowledge, strict=True)
        if option_knowledge is not None
    ]
    return min(sized, key=lambda pair: get_candidate(pair[0]).usd_per_month, default=(None, None))


def _list_uncertain_fleets(
    options: Sequence[Option],
    knowledge: Sequence[CapacityKnowledge | None],
    demand: Demand,
    plan_inputs: PlanningInputs,
) -> list[tuple[Option, Fleet]]:
    """Return the fleet that would be recommended if its capacity were known; nothing if there is none."""
    option, _ = _find_cheapest_uncertain(options, knowledge)
    if option is None:
        return []
    candidate = get_candidate(option)
    fleet = build_fleet(candidate, candidate.instances, demand, option.latency_curve, plan_inputs.today)
    return [(option, msgspec.structs.replace(fleet, rejected=candidate.rejected))]


def _build_pareto_front(options: Sequence[Option], demand: Demand, plan_inputs: PlanningInputs) -> tuple[Fleet, ...]:
    """Return the Pareto front of the feasible fleets. Fleets without a latency are ignored. If some
    fleets were simulated, the others are ignored too, because an estimated and a simulated latency
    of the same fleet differ too much to be compared."""
    budget, option_fleets = plan_inputs.limits.budget_usd_per_month, []
    compared_options = [option for option in options if option.is_feasible and option.latency_curve.rates_per_s]
    simulated_options = [
        option for option in compared_options if get_candidate(option).capacity.sizing_method == "simulated"
    ]
    for option in simulated_options or compared_options:
        fleets = iterate_fleets(get_candidate(option), demand, option.latency_curve, budget, plan_inputs.today)
        option_fleets += [(option, fleet) for fleet in fleets]
    return add_front_probabilities(
        find_pareto_front(fleet for _, fleet in option_fleets), option_fleets, demand, plan_inputs.today
    )


def _rank_fleets(
    options: Sequence[Option],
    demand: Demand,
    plan_inputs: PlanningInputs,
    evidence_by_target: Mapping[str, SloEvidence],
) -> list[tuple[Option, Fleet]]:
    """Return the feasible fleets by ranking cost, then by risk, then by latency.

    For an old or low-trust price, the ranking cost is one sigma of the price's uncertainty higher,
    since the price may have risen.
    """
    fleets = [
        (option, _build_option_fleet(option, demand, plan_inputs, evidence_by_target[option.target.name]))
        for option in options
        if option.is_feasible
    ]
    unknown_latency_ms = float("inf")
    return sorted(
        fleets,
        key=lambda pair: (
            compute_ranking_cost(get_candidate(pair[0]), plan_inputs.today),
            pair[1].risk,
            unknown_latency_ms if pair[1].latency_at_peak.value is None else pair[1].latency_at_peak.value,
            pair[1].offer,
        ),
    )


def _build_option_fleet(option: Option, demand: Demand, plan_inputs: PlanningInputs, evidence: SloEvidence) -> Fleet:
    candidate = get_candidate(option)
    fleet = build_fleet(candidate, candidate.instances, demand, option.latency_curve, plan_inputs.today)
    fleet = msgspec.structs.replace(
        fleet,
        measured_on=option.target.name,
        fit_error_at_slo=evidence.fit_error,
        slo_probabilities=fleet.slo_probabilities if evidence.has_probability else None,
        served_replica=describe_served_replica(option.target, fleet.planned_rate_per_replica_per_s, plan_inputs),
    )
    return add_costs(fleet, option, demand, plan_inputs)


def _list_excluded_fleets(options: Sequence[Option], today: datetime.date) -> list[Fleet]:
    """Return the excluded fleets: first fleets with a monthly cost, by cost; then fleets without a
    monthly cost, by price per instance."""
    unknown_price_usd = float("inf")
    ranked_fleets: list[tuple[tuple[int, float], Fleet]] = []
    for evaluation in (option.evaluation for option in options):
        if isinstance(evaluation, RejectedOffer):
            price_usd = evaluation.offer.on_demand_usd_per_hour
            rank = (1, unknown_price_usd if price_usd is None else price_usd)
            ranked_fleets.append(
                (
                    rank,
                    build_rejected_fleet(
                        evaluation.offer, evaluation.reason, today, evaluation.rejected_by, evaluation.reason_id
                    ),
                )
            )
        elif evaluation.rejected is not None:
            rejected_by = evaluation.rejected_by or "capacity"
            ranked_fleets.append(
                (
                    (0, evaluation.usd_per_month),
                    build_rejected_fleet(evaluation.offer, evaluation.rejected, today, rejected_by),
                )
            )
    return [fleet for _, fleet in sorted(ranked_fleets, key=lambda pair: (pair[0], pair[1].offer))]


def _find_accelerator_results(
    names: Sequence[str], ranked_fleets: Sequence[Fleet], excluded_fleets: Sequence[Fleet]
) -> tuple[AcceleratorResult, ...]:
    """Return the offer that answers for each accelerator to which the plan is limited."""
    results = []
    for name in names:
        feasible_fleet = next((fleet for fleet in ranked_fleets if matches_accelerator(fleet.accelerator, name)), None)
        excluded = [fleet for fleet in excluded_fleets if matches_accelerator(fleet.accelerator, name)]
        fleet = feasible_fleet or (find_nearest_excluded(excluded) if excluded else None)
        results.append(AcceleratorResult(name, None if fleet is None else fleet.offer))
    return tuple(results)


def _select_cheapest_rejected(options: Sequence[Option], excluded_fleets: Sequence[Fleet]) -> Fleet | None:
    """Return the cheapest excluded fleet. If others have a known cost too, a fleet that a filter of
    the user excludes is ignored."""
    sized_offers = {option.evaluation.offer.key for option in options if isinstance(option.evaluation, Candidate)}
    unfiltered_fleets = (
        fleet for fleet in excluded_fleets if fleet.offer in sized_offers and fleet.rejected_by not in USER_FILTERS
    )
    return next(unfiltered_fleets, next(iter(excluded_fleets), None))


def _is_different_type(option: Option, best_option: Option) -> bool:
    """Return whether the option has another provider or instance type than the best option, not
    only another region."""
    offer, best_offer = option.evaluation.offer, best_option.evaluation.offer
    return (offer.provider, offer.instance_type) != (best_offer.provider, best_offer.instance_type)
