"""Explanation of the recommendation as text, built from the plan's numbers.

Includes the break-even points of owned against rented hardware, and of the fleet against the price
of an API.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from app.planning.candidates import Candidate
from app.planning.formatting import format_number, format_share, format_usd
from app.planning.options import Option, get_candidate
from app.planning.pricing.ownership import compute_break_even_volume, compute_owned_break_even_months
from app.planning.sizing import (
    HOURS_PER_MONTH,
    Demand,
    compute_confidence,
    compute_monthly_cost,
    compute_sustained_peak_per_s,
    count_instances,
)
from app.records.checks import Check
from app.records.offers import ApiPrice, CapacityCurve, PlanLimits
from app.records.plan import CapacityKnowledge
from app.records.planning_inputs import PlanningInputs
from app.records.result import Fleet, Objective, Recommendation

_MAX_STEPS = 2000


class Selection(msgspec.Struct, frozen=True):
    """Recommended fleet, the runner-up, and the cheapest excluded option."""

    best: Candidate
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
        sentence=_format_headline(selection.best, selection.fleet, checks),
        binding_constraint=_format_binding_constraint(selection.best, demand, limits, curve, slo),
        why=tuple(_format_reasons(selection, demand, limits, knowledge)),
        would_change_it=tuple(_format_change_conditions(selection.best, selection.runner_up, demand, limits)),
    )


def _format_candidate(candidate: Candidate) -> str:
    offer = candidate.offer
    return f"{candidate.instances} × {offer.provider}/{offer.instance_type} in {offer.region}"


def _format_headline(best: Candidate, fleet: Fleet, checks: Sequence[Check]) -> str:
    spares = f", {best.spares} spare" if best.spares else ", no spare"
    per_1k = fleet.usd_per_1k_inferences.value
    cost = "" if per_1k is None else f", {format_usd(per_1k)}/1k inferences"
    age_warning = "" if not checks else f". WARN: the price is {fleet.price_age_days} days old"
    return (
        f"{_format_candidate(best)} ({best.needed} for the load{spares}): "
        f"{format_usd(best.usd_per_month)}/month{cost}{age_warning}"
    )


def _format_binding_constraint(
    best: Candidate, demand: Demand, limits: PlanLimits, curve: CapacityCurve, slo: Sequence[Objective]
) -> str:
    limits_latency = [objective for objective in slo if objective.name == curve.latency_metric]
    limiting = " and ".join(objective.label for objective in limits_latency[:1] or slo)
    sized_per_s = compute_sustained_peak_per_s(1, best.capacity, demand)
    sized_text = f"one instance handles {format_number(sized_per_s)} req/s within {limiting}"
    peak = f"the peak of {format_number(demand.peak_per_s)} req/s"
    if best.needed == 1 and best.spares:
        text = f"redundancy: {sized_text}, enough for {peak}; n+{best.spares} makes it {best.instances}"
    elif best.needed == 1:
        text = f"instance size: {sized_text}, more than {peak} needs"
    else:
        text = f"peak: {sized_text} at {format_share(limits.confidence)} confidence, so {peak} needs {best.needed}"
        text += f", and n+{best.spares} makes it {best.instances}" if best.spares else ""
    budget = limits.budget_usd_per_month
    if budget is not None and compute_monthly_cost(best.instances + 1, best.usd_per_hour) > budget:
        text += f"; the budget of {format_usd(budget)}/month does not cover another instance"
    return text


def _format_reasons(
    choice: Selection, demand: Demand, limits: PlanLimits, knowledge: CapacityKnowledge | None
) -> list[str]:
    best, runner_up, rejected = choice.best, choice.runner_up, choice.cheapest_rejected
    reached = format_share(compute_confidence(best.needed, best.capacity, demand))
    subject = "One instance sustains" if best.needed == 1 else f"{best.needed} instances sustain"
    sentences = [
        f"{subject} the peak with a probability of {reached}; the target is {format_share(limits.confidence)}."
    ]
    if knowledge is not None and knowledge.state != "known":
        sentences = [knowledge.headline, knowledge.next_step, *sentences]
    if knowledge is not None and knowledge.reason == "contradictory load points":
        sentences[-1] = "The probability is unknown: load points contradict each other."
    if runner_up is None:
        sentences.append("No other instance type qualifies.")
    else:
        extra_cost = runner_up.usd_per_month - best.usd_per_month
        direction = "more" if extra_cost >= 0 else "less"
        cost = f"costs {format_usd(abs(extra_cost))}/month {direction} ({abs(extra_cost) / best.usd_per_month:.0%})"
        if extra_cost == 0:
            cost = "costs the same"
        price_note = "" if extra_cost >= 0 else f", at a less certain price from {runner_up.offer.as_of}"
        sentences.append(f"The runner-up, {_format_candidate(runner_up)}, {cost}{price_note}.")
    if rejected is not None:
        price = "" if rejected.usd_per_hour_each is None else f", at {format_usd(rejected.usd_per_hour_each)}/h each"
        sentences.append(f"The cheapest excluded option is {rejected.offer}{price}: {rejected.rejected}.")
    return sentences


def _format_change_conditions(
    best: Candidate, runner_up: Candidate | None, demand: Demand, limits: PlanLimits
) -> list[str]:
    max_peak_per_s = compute_sustained_peak_per_s(best.needed, best.capacity, demand)
    sentences = [f"A peak above {format_number(max_peak_per_s)} req/s needs one more instance."]
    if best.needed > 1:
        lower_peak_per_s = compute_sustained_peak_per_s(best.needed - 1, best.capacity, demand)
        sentences.append(f"A peak up to {format_number(lower_peak_per_s)} req/s needs one instance fewer.")
    if limits.budget_usd_per_month is not None:
        sentences.append(f"A budget below {format_usd(best.usd_per_month)}/month does not cover this fleet.")
    if runner_up is not None:
        flip = best.usd_per_month / (HOURS_PER_MONTH * runner_up.instances)
        name = f"{runner_up.offer.provider}/{runner_up.offer.instance_type} in {runner_up.offer.region}"
        if flip < runner_up.usd_per_hour:
            sentences.append(
                f"{name} becomes cheaper below {format_usd(flip)}/h; it costs {format_usd(runner_up.usd_per_hour)}/h."
            )
        peaks = [format_number(peak) for peak in _find_break_even_peaks(runner_up, best, demand) if peak is not None]
        if peaks:
            sentences.append(f"{name} becomes cheaper at a peak of {' req/s or '.join(dict.fromkeys(peaks))} req/s.")
    return sentences


def _find_break_even_peaks(
    other_candidate: Candidate, best: Candidate, demand: Demand
) -> tuple[float | None, float | None]:
    """Return the nearest peaks below and above the planned peak at which the other fleet is
    cheaper, or `None`.

    Only peaks that fully utilize the other fleet are tried, because costs are step functions and
    each step is cheapest at its end.
    """

    def is_cheaper(instances: int) -> bool:
        demand_at_peak = msgspec.structs.replace(
            demand, peak_per_s=compute_sustained_peak_per_s(instances, other_candidate.capacity, demand)
        )
        needed = count_instances(demand_at_peak, best.capacity, demand.z)
        other_instances = instances + demand.count_spares(instances) + other_candidate.spot_spares
        best_instances = needed + demand.count_spares(needed) + best.spot_spares
        return compute_monthly_cost(other_instances, other_candidate.usd_per_hour) < compute_monthly_cost(
            best_instances, best.usd_per_hour
        )

    below = range(other_candidate.needed - 1, max(0, other_candidate.needed - _MAX_STEPS), -1)
    above = range(other_candidate.needed, other_candidate.needed + _MAX_STEPS)
    sizes = (
        next((instances for instances in instance_counts if is_cheaper(instances)), None)
        for instance_counts in (below, above)
    )
    lower, higher = (
        None if size is None else compute_sustained_peak_per_s(size, other_candidate.capacity, demand) for size in sizes
    )
    return lower, higher


_SECONDS_PER_MONTH = HOURS_PER_MONTH * 3600


def explain_break_even(options: Sequence[Option], demand: Demand, plan_inputs: PlanningInputs) -> tuple[str, ...]:
    feasible = sorted(
        (get_candidate(candidate) for candidate in options if candidate.is_feasible),
        key=lambda candidate: candidate.usd_per_month,
    )
    return (*_format_owned_break_even(feasible), *_format_api_break_even(feasible[0], demand, plan_inputs))


def _format_owned_break_even(feasible: Sequence[Candidate]) -> Iterator[str]:
    rented = next((candidate for candidate in feasible if candidate.price_kind != "owned"), None)
    for owned in (candidate for candidate in feasible if candidate.offer.owned is not None):
        if rented is None or owned.offer.owned is None:
            continue
        months = compute_owned_break_even_months(owned.offer.owned, rented.usd_per_month / owned.instances)
        rented_text = f"{rented.instances} × {rented.offer.key} at {format_usd(rented.usd_per_month)}/month"
        owned_text = f"{owned.instances} × {owned.offer.key} (purchased)"
        if months is None:
            yield f"{owned_text} never pays off against {rented_text} within the hardware's lifetime."
        else:
            yield (
                f"{owned_text} pays off against {rented_text} after {format_number(months)} months (without interest)."
            )


def _format_api_break_even(best: Candidate, demand: Demand, plan_inputs: PlanningInputs) -> Iterator[str]:
    price = plan_inputs.limits.api
    if price is None:
        return
    units = _compute_units_per_month(price, demand, plan_inputs)
    if units is None:
        yield "To compare with a per-token API price, set traffic.tokens to the tokens per request."
        return
    api_usd, fleet_usd = price.usd * units, best.usd_per_month
    break_even = compute_break_even_volume(fleet_usd, price.usd)
    assert break_even is not None
    comparison = "less" if fleet_usd < api_usd else "more"
    yield (
        f"The API would cost {format_usd(api_usd)}/month at this traffic, and this fleet costs "
        f"{format_usd(fleet_usd)}/month, which is {comparison}; break-even is at {format_number(break_even / units)} "
        "of the traffic, with the same fleet."
    )


def _compute_units_per_month(price: ApiPrice, demand: Demand, plan_inputs: PlanningInputs) -> float | None:
    """Return the billing units of the API per month; `None` if the price is per token and token
    counts are unknown.

    Requests that the cache serves reach neither the API nor the fleet, so they are not counted.
    """
    requests = demand.mean_per_s * _SECONDS_PER_MONTH
    if price.per == "1k requests":
        return requests / 1e3
    tokens = plan_inputs.traffic.tokens
    share = sum(lengths.share for lengths in tokens)
    if not share:
        return None
    return requests * sum(lengths.share * (lengths.input + lengths.output) for lengths in tokens) / share / 1e6
