"""Explanation of the recommendation as text, built from the numbers of the plan.

The text includes the break-even points of owned versus rented hardware, and of the fleet versus an
API.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec
import numpy as np

from app.analysis.columns import Floats
from app.planning.formatting import format_number, format_probability, format_share, format_usd
from app.planning.offers.candidates import Candidate
from app.planning.offers.options import Option, get_candidate
from app.planning.pricing.ownership import compute_break_even_volume, compute_owned_break_even_months
from app.planning.sizing.instances import (
    HOURS_PER_MONTH,
    Demand,
    compute_confidence,
    compute_monthly_cost,
    compute_sustained_peak_per_s,
    count_instances_for_each,
)
from app.records.checks import Check
from app.records.offers import ApiPrice, CapacityCurve, PlanLimits
from app.records.plan import CapacityKnowledge, KnowledgeReason
from app.records.planning_inputs import PlanningInputs
from app.records.result import Fleet, Objective, Recommendation

_MAX_TRIED_SIZES = 2000
Bottleneck = Literal["peak", "redundancy", "instance size"]
"""What determines the number of instances: the peak, the spares beside a single instance that
sustains the peak, or only that a fleet has at least one instance."""


class Selection(msgspec.Struct, frozen=True):
    """Recommended fleet, the runner-up, and the cheapest excluded option."""

    best_candidate: Candidate
    fleet: Fleet
    runner_up: Candidate | None
    cheapest_rejected: Fleet | None


def build_recommendation(
    selection: Selection,
    demand: Demand,
    limits: PlanLimits,
    curve: CapacityCurve,
    slo: Sequence[Objective],
    knowledge: CapacityKnowledge | None = None,
    checks: Sequence[Check] = (),
) -> Recommendation:
    return Recommendation(
        fleet=selection.fleet,
        sentence=_format_headline(selection.best_candidate, selection.fleet, checks),
        binding_constraint=_format_binding_constraint(selection.best_candidate, demand, limits, curve, slo),
        why=tuple(_format_reasons(selection, demand, limits, knowledge)),
        would_change_it=tuple(_format_change_conditions(selection.best_candidate, selection.runner_up, demand, limits)),
    )


def _format_candidate(candidate: Candidate) -> str:
    offer = candidate.offer
    return f"{candidate.instances} × {offer.provider}/{offer.instance_type} in {offer.region}"


def _format_headline(best_candidate: Candidate, fleet: Fleet, checks: Sequence[Check]) -> str:
    spares_text = f", {best_candidate.spares} spare" if best_candidate.spares else ", no spare"
    usd_per_1k = fleet.usd_per_1k_inferences.value
    cost_text = "" if usd_per_1k is None else f", {format_usd(usd_per_1k)}/1k inferences"
    is_old = any(check.id == "price_age" for check in checks)
    age_warning = "" if not is_old else f". WARN: the price is {fleet.price_age_days} days old"
    return (
        f"{_format_candidate(best_candidate)} ({best_candidate.needed_instances} for the load{spares_text}): "
        f"{format_usd(best_candidate.usd_per_month)}/month{cost_text}{age_warning}"
    )


def find_bottleneck(needed_instances: int, spares: int) -> Bottleneck:
    if needed_instances > 1:
        return "peak"
    return "redundancy" if spares else "instance size"


def _format_binding_constraint(
    best_candidate: Candidate, demand: Demand, limits: PlanLimits, curve: CapacityCurve, slo: Sequence[Objective]
) -> str:
    curve_objectives = [objective for objective in slo if objective.name == curve.latency_metric]
    objectives_text = " and ".join(objective.label for objective in curve_objectives[:1] or slo)
    sustained_per_s = compute_sustained_peak_per_s(1, best_candidate.capacity, demand)
    capacity_text = f"one instance sustains {format_number(sustained_per_s)} req/s within {objectives_text}"
    peak_text = f"the peak of {format_number(demand.peak_per_s)} req/s"
    bottleneck = find_bottleneck(best_candidate.needed_instances, best_candidate.spares)
    if bottleneck == "redundancy":
        text = (
            f"{bottleneck}: {capacity_text}, enough for {peak_text}; n+{best_candidate.spares} requires "
            f"{best_candidate.instances} instances"
        )
    elif bottleneck == "instance size":
        text = f"{bottleneck}: {capacity_text}, more than {peak_text} needs"
    else:
        confidence_text = f"{format_share(limits.confidence)} confidence"
        text = f"{bottleneck}: {capacity_text} at {confidence_text}, so {peak_text} needs "
        text += f"{best_candidate.needed_instances} instances"
        text += f", and n+{best_candidate.spares} requires {best_candidate.instances}" if best_candidate.spares else ""
    budget = limits.budget_usd_per_month
    if budget is not None and compute_monthly_cost(best_candidate.instances + 1, best_candidate.usd_per_hour) > budget:
        text += f"; the budget of {format_usd(budget)}/month does not cover another instance"
    return text


_CAUSE_BY_REASON: dict[KnowledgeReason, str] = {
    "contradictory load points": "load points contradict each other",
    "drift": "the target became slower or faster during the measurement",
    "model does not fit": "no service model predicts the latency at the SLO's percentile",
}


def _format_reasons(
    selection: Selection, demand: Demand, limits: PlanLimits, knowledge: CapacityKnowledge | None
) -> list[str]:
    best_candidate, runner_up, cheapest_rejected = (
        selection.best_candidate,
        selection.runner_up,
        selection.cheapest_rejected,
    )
    probability_text = format_probability(
        compute_confidence(best_candidate.needed_instances, best_candidate.capacity, demand)
    )
    subject = (
        "One instance sustains"
        if best_candidate.needed_instances == 1
        else f"{best_candidate.needed_instances} instances sustain"
    )
    sentences = [
        f"{subject} the peak with a probability of {probability_text}; the target is {format_share(limits.confidence)}."
    ]
    if knowledge is not None and knowledge.state != "known":
        sentences = [knowledge.headline, knowledge.next_step, *sentences]
    if knowledge is not None and (cause := _CAUSE_BY_REASON.get(knowledge.reason)) is not None:
        sentences[-1] = f"The probability is unknown: {cause}."
    if runner_up is None:
        sentences.append("No other instance type qualifies.")
    else:
        extra_cost = runner_up.usd_per_month - best_candidate.usd_per_month
        comparison = "more" if extra_cost >= 0 else "less"
        percentage = 100 * abs(extra_cost) / best_candidate.usd_per_month
        cost_text = f"costs {format_usd(abs(extra_cost))}/month {comparison} ({percentage:.0f} %)"
        if extra_cost == 0:
            cost_text = "costs the same"
        price_note = "" if extra_cost >= 0 else f", at a less certain price from {runner_up.offer.as_of}"
        sentences.append(f"The runner-up, {_format_candidate(runner_up)}, {cost_text}{price_note}.")
    if cheapest_rejected is not None:
        price_text = (
            ""
            if cheapest_rejected.usd_per_hour_each is None
            else f", at {format_usd(cheapest_rejected.usd_per_hour_each)}/h each"
        )
        sentences.append(
            f"The cheapest excluded offer is {cheapest_rejected.offer}{price_text}: {cheapest_rejected.rejected}."
        )
    return sentences


def _format_change_conditions(
    best_candidate: Candidate, runner_up: Candidate | None, demand: Demand, limits: PlanLimits
) -> list[str]:
    max_peak_per_s = compute_sustained_peak_per_s(best_candidate.needed_instances, best_candidate.capacity, demand)
    sentences = [f"A peak above {format_number(max_peak_per_s)} req/s needs one more instance."]
    if best_candidate.needed_instances > 1:
        lower_peak_per_s = compute_sustained_peak_per_s(
            best_candidate.needed_instances - 1, best_candidate.capacity, demand
        )
        sentences.append(f"A peak up to {format_number(lower_peak_per_s)} req/s needs one instance fewer.")
    if limits.budget_usd_per_month is not None:
        sentences.append(f"A budget below {format_usd(best_candidate.usd_per_month)}/month does not cover this fleet.")
    if runner_up is not None:
        break_even_usd_per_hour = best_candidate.usd_per_month / (HOURS_PER_MONTH * runner_up.instances)
        name = f"{runner_up.offer.provider}/{runner_up.offer.instance_type} in {runner_up.offer.region}"
        if break_even_usd_per_hour < runner_up.usd_per_hour:
            sentences.append(
                f"{name} becomes cheaper below {format_usd(break_even_usd_per_hour)}/h; it costs "
                f"{format_usd(runner_up.usd_per_hour)}/h."
            )
        peak_texts = [
            format_number(peak)
            for peak in _find_break_even_peaks(runner_up, best_candidate, demand)
            if peak is not None
        ]
        if peak_texts:
            sentences.append(
                f"{name} becomes cheaper at a peak of {' req/s or '.join(dict.fromkeys(peak_texts))} req/s."
            )
    return sentences


def _find_break_even_peaks(
    other_candidate: Candidate, best_candidate: Candidate, demand: Demand
) -> tuple[float | None, float | None]:
    """Return the nearest peaks in req/s, below and above the planned peak, at which the other
    candidate is cheaper than the best. Return `None` in place of a peak that does not exist.

    Costs are step functions of the peak, so only the largest peak that each number of instances
    sustains is tried.
    """

    def compute_costs(needed_instances: Floats, candidate: Candidate) -> Floats:
        spares = demand.count_spares_of_each(needed_instances) + candidate.spot_spares
        return compute_monthly_cost(needed_instances + spares, candidate.usd_per_hour)

    def find_first(needed_instances: Floats) -> float | None:
        peaks_per_s = compute_sustained_peak_per_s(needed_instances, other_candidate.capacity, demand)
        best_instances = count_instances_for_each(peaks_per_s, best_candidate.capacity, demand)
        is_cheaper = compute_costs(needed_instances, other_candidate) < compute_costs(best_instances, best_candidate)
        return float(peaks_per_s[is_cheaper.argmax()]) if is_cheaper.any() else None

    planned_size = float(other_candidate.needed_instances)
    smaller_sizes = np.arange(planned_size - 1, max(0, planned_size - _MAX_TRIED_SIZES), -1)
    larger_sizes = np.arange(planned_size, planned_size + _MAX_TRIED_SIZES)
    return find_first(smaller_sizes), find_first(larger_sizes)


_SECONDS_PER_MONTH = HOURS_PER_MONTH * 3600


def explain_break_even(options: Sequence[Option], demand: Demand, plan_inputs: PlanningInputs) -> tuple[str, ...]:
    feasible_candidates = sorted(
        (get_candidate(option) for option in options if option.is_feasible),
        key=lambda candidate: candidate.usd_per_month,
    )
    return (
        *_format_owned_break_even(feasible_candidates),
        *_format_api_break_even(feasible_candidates[0], demand, plan_inputs),
    )


def _format_owned_break_even(feasible_candidates: Sequence[Candidate]) -> Iterator[str]:
    rented_candidate = next((candidate for candidate in feasible_candidates if candidate.price_kind != "owned"), None)
    for owned_candidate in (candidate for candidate in feasible_candidates if candidate.offer.owned is not None):
        if rented_candidate is None or owned_candidate.offer.owned is None:
            continue
        months = compute_owned_break_even_months(
            owned_candidate.offer.owned, rented_candidate.usd_per_month / owned_candidate.instances
        )
        rented_text = (
            f"{rented_candidate.instances} × {rented_candidate.offer.key} at "
            f"{format_usd(rented_candidate.usd_per_month)}/month"
        )
        owned_text = f"{owned_candidate.instances} × {owned_candidate.offer.key} (owned)"
        if months is None:
            yield f"{owned_text} never pays off against {rented_text} within the hardware's lifetime."
        else:
            yield (
                f"{owned_text} pays off against {rented_text} after {format_number(months)} months (without interest)."
            )


def _format_api_break_even(best_candidate: Candidate, demand: Demand, plan_inputs: PlanningInputs) -> Iterator[str]:
    price = plan_inputs.limits.api
    if price is None:
        return
    units_per_month = _compute_units_per_month(price, demand, plan_inputs)
    if units_per_month is None:
        yield "To compare with a per-token API price, set traffic.tokens to the tokens per request."
        return
    api_usd, fleet_usd = price.usd * units_per_month, best_candidate.usd_per_month
    break_even_units = compute_break_even_volume(fleet_usd, price.usd)
    assert break_even_units is not None
    comparison = "less" if fleet_usd < api_usd else "more"
    factor_text = format_number(break_even_units / units_per_month)
    yield (
        f"The API would cost {format_usd(api_usd)}/month at this traffic, and this fleet costs "
        f"{format_usd(fleet_usd)}/month, which is {comparison}; break-even is at {factor_text} times this traffic, "
        "with the same fleet."
    )


def _compute_units_per_month(price: ApiPrice, demand: Demand, plan_inputs: PlanningInputs) -> float | None:
    """Return the billing units of the API per month; `None` if the price is per token and token
    counts are unknown.

    Cache hits are not counted, since they reach neither the API nor the fleet.
    """
    requests_per_month = demand.mean_per_s * _SECONDS_PER_MONTH
    if price.per == "1k requests":
        return requests_per_month / 1e3
    tokens = plan_inputs.traffic.tokens
    total_share = sum(lengths.share for lengths in tokens)
    if not total_share:
        return None
    return (
        requests_per_month
        * sum(lengths.share * (lengths.input + lengths.output) for lengths in tokens)
        / total_share
        / 1e6
    )
