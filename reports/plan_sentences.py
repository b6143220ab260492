"""Build sentences about a plan, which the HTML page and the terminal share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from reports import formatting
from reports.evidence import BASIS_MEANINGS
from reports.plan_section import (
    ApiPriceRow,
    DaySeries,
    OfferRow,
    PercentileRange,
    PlannedModelRow,
    PlanSection,
    SavingRow,
    SensitivityRow,
    ShapePlanSection,
    UnitCostRow,
)
from reports.quantity import Basis, Quantity

_CENT_USD = 0.01
_RANGE_LABEL = "P10–P90"


def describe_planned_model(model: PlannedModelRow) -> str:
    """Describe the size and precision of a language model that is planned from its shape, and the lengths of its
    requests."""
    size_text = f"{_format_billions(model.parameters)} parameters"
    if model.active_parameters is not None:
        size_text += f", {_format_billions(model.active_parameters)} of them active per token"
    cached_text = (
        f" ({formatting.format_percent(model.prefix_cached_share)} of them cached)" if model.prefix_cached_share else ""
    )
    return (
        f"{model.name}: {size_text}; weights in {model.weights}, arithmetic in {model.compute}, KV cache in "
        f"{model.kv}; requests of {formatting.format_count(round(model.input_tokens))} input{cached_text} and "
        f"{formatting.format_count(round(model.output_tokens))} output tokens"
    )


def _format_billions(count: float) -> str:
    return f"{count / 1e9:,.3g} billion" if count < 1e12 else f"{count / 1e9:,.0f} billion"


def count_load_instances(row: OfferRow) -> int | None:
    """Return the number of instances that carry the load, without spares; `None` if unknown."""
    return None if row.instances is None else row.instances - (row.spare or 0)


def build_slo_probability_cells(row: OfferRow) -> list[tuple[str, str]]:
    """Return pairs (number of instances without spares, P(SLO met) at the peak) as text: for one
    instance fewer, for the planned number, and for one instance more."""
    count, probabilities = count_load_instances(row), row.slo_probabilities
    if count is None or probabilities is None:
        return []
    fewer_cells = (
        [(formatting.format_count(count - 1), formatting.format_probability(probabilities.one_fewer))]
        if count > 1
        else []
    )
    return [
        *fewer_cells,
        (f"{formatting.format_count(count)} (planned)", formatting.format_probability(probabilities.planned)),
        (f"{formatting.format_count(count + 1)}", formatting.format_probability(probabilities.one_more)),
    ]


def describe_fit_error(row: OfferRow) -> str | None:
    """Describe the error of the service model at the percentile on which P(SLO met) depends
    most."""
    if row.fit_error_at_slo is None:
        return None
    return f"service model error {formatting.format_percent(row.fit_error_at_slo)} at the SLO percentile"


def describe_need(row: OfferRow) -> str | None:
    """Describe how many instances are planned and how many may be needed for the load, without
    spares."""
    planned_count, needed_range = count_load_instances(row), row.instances_needed
    if planned_count is None or needed_range is None:
        return None
    range_text = _format_range(needed_range, formatting.format_plain)
    return f"{formatting.format_count(planned_count)} planned (need {_RANGE_LABEL}: {range_text})"


def format_cost(row: OfferRow) -> str:
    """Format the monthly cost of an offer, with its range from P10 to P90 if known."""
    range_text = format_cost_range(row)
    if range_text is None:
        return formatting.format_quantity(row.usd_per_month)
    return f"{formatting.format_value_unit(row.usd_per_month)} ({_RANGE_LABEL}: {range_text})"


def format_cost_range(row: OfferRow) -> str | None:
    """Format the P10 and P90 of the monthly cost of an offer; `None` if they are unknown."""
    cost_range = row.usd_per_month_needed
    return None if cost_range is None else _format_range(cost_range, formatting.format_money)


def describe_sizing(plan: PlanSection, row: OfferRow) -> str | None:
    """Describe the method by which the size of the fleet was determined; `None` if a report of an
    older version does not contain the method."""
    load_balancing_text = f", {plan.router} load balancing" if plan.router else ""
    hardware_text = f" of {row.measured_on}" if row.measured_on else ""
    if row.sizing_method == "simulated":
        return f"simulation{load_balancing_text}, service model{hardware_text}"
    if row.sizing_method == "formula":
        return f"queueing formula, not simulated{load_balancing_text}, service model{hardware_text}"
    return f"measured max rate{hardware_text} only" if row.sizing_method == "measured" else None


def list_numbers_by_basis(plan: PlanSection) -> list[tuple[Basis, str, list[str]]]:
    """Return every basis, strongest first, with its meaning and the numbers of the recommended
    fleet that have this basis."""
    return [
        (basis, meaning, [text for number_basis, text in _list_numbers_with_basis(plan) if number_basis == basis])
        for basis, meaning in BASIS_MEANINGS.items()
    ]


def _list_numbers_with_basis(plan: PlanSection) -> Iterator[tuple[Basis, str]]:
    row, source = plan.recommended_row, plan.source
    if source is not None and source.max_rate.value is not None:
        rate_text = formatting.format_value_unit(source.max_rate)
        yield source.max_rate.basis, f"max rate of {source.hardware}: {rate_text}"
    if row is not None:
        quantities_by_name = {
            "capacity per instance": row.capacity,
            f"{format_latency_name(plan)} at peak": row.latency,
            "utilization at peak": row.utilization_at_peak,
            "monthly cost": row.usd_per_month,
        }
        for name, quantity in quantities_by_name.items():
            if quantity.value is not None:
                yield quantity.basis, f"{name}: {formatting.format_value_unit(quantity)}"
    for name, monthly_quantity in (("energy", plan.kwh_per_month), ("carbon", plan.kg_co2e_per_month)):
        if monthly_quantity is not None and monthly_quantity.value is not None:
            yield monthly_quantity.basis, f"{name}: {formatting.format_value_unit(monthly_quantity)}"
    for basis, count in Counter(saving.basis for saving in plan.savings).items():
        yield basis, formatting.format_count_noun(count, "possible saving")


def describe_served_replica(row: OfferRow) -> str | None:
    """Describe how a replica is served, and its speed for one user and for one accelerator; `None` unless a language
    model that was not measured is planned."""
    replica = row.served_replica
    if replica is None:
        return None
    accelerators_text = formatting.format_count_noun(replica.accelerators, "accelerator")
    user_text, accelerator_text = (
        formatting.format_number(rate) for rate in (replica.tokens_per_s_per_user, replica.tokens_per_s_per_accelerator)
    )
    return (
        f"{accelerators_text} per replica, {replica.engine}, weights in {replica.weights}; at the planned rate "
        f"{user_text} tok/s per user and {accelerator_text} tok/s per accelerator"
    )


def format_price_kinds(rows: Sequence[OfferRow]) -> str:
    return " or ".join(dict.fromkeys(row.price_kind for row in rows))


def select_sensitive_inputs(plan: PlanSection) -> list[SensitivityRow]:
    """Return the inputs whose range changes the monthly cost or which offer is cheapest."""
    return [sensitivity for sensitivity in plan.sensitivity if _changes_result(sensitivity, plan.recommended_row)]


def describe_insensitive_inputs(plan: PlanSection) -> str | None:
    input_texts = [
        f"{sensitivity.input} ({sensitivity.low} to {sensitivity.high})"
        for sensitivity in plan.sensitivity
        if not _changes_result(sensitivity, plan.recommended_row)
    ]
    if not input_texts:
        return None
    return f"These inputs do not change the monthly cost or the cheapest offer: {', '.join(input_texts)}."


def format_sensitivity(sensitivity: SensitivityRow, recommended_row: OfferRow | None) -> str:
    """Format a sensitivity, as in
    `peak 800 req/s: $310/month; 1,200 req/s: $480/month (cheapest: aws/…)`."""
    low_text = _format_range_end(
        sensitivity.low, sensitivity.usd_per_month_low, sensitivity.winner_low, recommended_row
    )
    high_text = _format_range_end(
        sensitivity.high, sensitivity.usd_per_month_high, sensitivity.winner_high, recommended_row
    )
    return f"{sensitivity.input} {low_text}; {high_text}"


def get_other_cheapest_offer(cheapest_offer: str | None, recommended_row: OfferRow | None) -> str | None:
    return None if recommended_row is None or cheapest_offer == recommended_row.offer else cheapest_offer


def describe_peak_day(plan: PlanSection) -> str | None:
    """Describe the peak day in one sentence: arrival rate, instances, cost and highest p95
    latency."""
    day = plan.day
    if day is None:
        return None
    low_text, high_text = (
        formatting.format_number(select_extreme(day.arrivals_per_s)) for select_extreme in (min, max)
    )
    sentence = (
        f"{low_text} to {high_text} req/s on {_format_instances(day)} cost ${formatting.format_money(sum(day.usd))}/day"
    )
    hours_with_latency = [
        (p95_ms, hour) for p95_ms, hour in zip(day.p95_ms, day.hours, strict=True) if p95_ms is not None
    ]
    if not hours_with_latency:
        return f"{sentence}; there are no responses"
    max_p95_ms, hour = max(hours_with_latency, key=lambda pair: pair[0])
    limit_texts = get_peak_day_limit(plan)
    limit_note = f" (SLO on {limit_texts[0]}: {limit_texts[1]})" if limit_texts else ""
    max_p95_text = formatting.with_unit(formatting.format_number(max_p95_ms), "ms")
    return f"{sentence}; the highest p95 latency is {max_p95_text} at {hour:02}:00{limit_note}"


def get_peak_day_limit(plan: PlanSection) -> tuple[str, str] | None:
    """Return the latency percentile that the SLO limits, and the limit, both as text; `None` if the
    simulation of the peak day does not report the limited metric."""
    name, _, aggregate = plan.latency_metric.partition(".")
    if plan.latency_limit is None or name not in ("latency_ms", "service_ms"):
        return None
    return aggregate.replace("_", "."), formatting.format_limit(plan.latency_limit)


def format_latency_name(plan: PlanSection) -> str:
    """Return the display name of the plan's latency metric, such as "p95 latency"."""
    name, _, aggregate = plan.latency_metric.partition(".")
    return formatting.format_metric_label(name, aggregate)


def describe_unit_cost(row: UnitCostRow) -> str:
    costs_and_conditions = (
        (row.at_saturation, "at 100 % utilization"),
        (row.at_slo, "at max rate within SLO"),
        (row.at_mean, "at average traffic"),
    )
    cost_texts = (
        f"{formatting.format_value_unit(cost)} "
        f"{condition}{f' ({cost.reason})' if cost.value is None and cost.reason else ''}"
        for cost, condition in costs_and_conditions
    )
    return f"per {row.unit}: {', '.join(cost_texts)}"


def describe_api_price(row: ApiPriceRow) -> str:
    fleet_usd = row.fleet_usd_per_1m
    fleet_text = formatting.NOT_AVAILABLE if fleet_usd is None else f"${formatting.format_money(fleet_usd)}"
    return (
        f"per 1M {row.kind} tokens: ${formatting.format_money(row.api_usd_per_1m)} from the API, {fleet_text} on the "
        "fleet at average traffic"
    )


def describe_energy(plan: PlanSection) -> str | None:
    """Describe the energy and carbon emissions per month, or why both are unknown."""
    kwh, carbon = plan.kwh_per_month, plan.kg_co2e_per_month
    if kwh is None or carbon is None:
        return None
    if kwh.value is None and carbon.value is None:
        return f"{formatting.NOT_AVAILABLE}, {kwh.reason or 'unknown'}"
    return "; ".join(_format_named_quantity(name, quantity) for name, quantity in (("energy", kwh), ("carbon", carbon)))


def describe_savings(rows: Sequence[SavingRow]) -> str | None:
    """Describe how much each change saves on its own, or state that no change saves anything."""
    if not rows:
        return None
    if all(_is_same_cost(row.saved_usd_per_month, 0.0) for row in rows):
        return f"No savings from {', '.join(f'{row.change} ({row.basis})' for row in rows)}"
    return f"Savings: {'; '.join(map(_describe_saving, rows))}"


def _describe_saving(row: SavingRow) -> str:
    usd = row.saved_usd_per_month
    if usd is not None and usd < 0 and not _is_same_cost(usd, 0.0):
        return f"{row.change}: ${formatting.format_money(-usd)}/month more ({row.basis})"
    if usd is None or _is_same_cost(usd, 0.0):
        return f"{row.change}: {format_saving(row)} ({row.basis})"
    return f"{row.change}: ${format_saving(row)}/month ({row.basis})"


def format_saving(row: SavingRow) -> str:
    usd = row.saved_usd_per_month
    if usd is None:
        return formatting.NOT_AVAILABLE
    return "none" if _is_same_cost(usd, 0.0) else formatting.format_money(usd)


def _changes_result(sensitivity: SensitivityRow, recommended_row: OfferRow | None) -> bool:
    costs = (sensitivity.usd_per_month_low, sensitivity.usd_per_month_high)
    planned_usd = costs[0] if recommended_row is None else recommended_row.usd_per_month.value
    other_offers = {sensitivity.winner_low, sensitivity.winner_high} - (
        {recommended_row.offer} if recommended_row else set()
    )
    return bool(other_offers if recommended_row else len(other_offers) > 1) or not all(
        _is_same_cost(cost, planned_usd) for cost in costs
    )


def _is_same_cost(first_usd: float | None, second_usd: float | None) -> bool:
    """Return True if two costs are equal to the cent. The order of summation can change the last
    digits of a cost."""
    return (
        first_usd == second_usd if first_usd is None or second_usd is None else abs(first_usd - second_usd) < _CENT_USD
    )


def _format_range_end(
    label: str, usd: float | None, cheapest_offer: str | None, recommended_row: OfferRow | None
) -> str:
    if usd is None:
        return f"{label}: no offer fits"
    other_offer = get_other_cheapest_offer(cheapest_offer, recommended_row)
    return f"{label}: ${formatting.format_money(usd)}/month{f' (cheapest: {other_offer})' if other_offer else ''}"


def _format_instances(day: DaySeries) -> str:
    low, high = min(day.instances), max(day.instances)
    return f"{formatting.format_plain(low)}{f' to {formatting.format_plain(high)}' if high > low else ''} instances"


def _format_range(percentile_range: PercentileRange, format_value: Callable[[float], str]) -> str:
    low_text, high_text = format_value(percentile_range.p10), format_value(percentile_range.p90)
    return low_text if low_text == high_text else f"{low_text}–{high_text}"


def _format_named_quantity(name: str, quantity: Quantity) -> str:
    if quantity.value is None:
        return f"{name} {formatting.NOT_AVAILABLE}, {quantity.reason or 'unknown'}"
    return f"{name} {formatting.format_quantity(quantity)}, {quantity.basis}"


NO_SHAPE_OFFER = "No offer meets the traffic and the SLO."


def describe_shape_traffic(section: ShapePlanSection) -> str:
    """Return the sentence about the traffic and the SLO of the plan."""
    peak_text = formatting.with_unit(formatting.format_number(section.peak_per_s), "req/s")
    slo_text = ", ".join(map(formatting.keep_limit_together, section.slo_labels))
    return (
        f"Traffic: a peak of {peak_text} with {formatting.format_number(section.input_tokens)} input tokens and "
        f"{formatting.format_number(section.output_tokens)} output tokens per request, within {slo_text}."
    )


def format_offer(row: OfferRow) -> str:
    """Format an offer with its fleet and cost, or with the reason why it is excluded."""
    if row.rejected is not None:
        return f"{row.offer}: {row.rejected}"
    probability_text = (
        ""
        if row.slo_probabilities is None
        else f"P(SLO met) {formatting.format_probability(row.slo_probabilities.planned)}, "
    )
    cost_text = format_cost(row)
    return f"{row.instances} × {row.offer}, {cost_text}, {probability_text}{row.basis}, price {row.price_date}"


def list_accelerators(plan: PlanSection) -> list[tuple[str, str]]:
    """Return each accelerator that the plan was limited to, with its best fleet or the reason why it
    has none."""
    rows_by_offer = {row.offer: row for row in (*plan.rejected_offers, *plan.offers)}
    rows = [(result.accelerator, rows_by_offer.get(result.offer or "")) for result in plan.accelerators]
    return [(name, "the catalog has no such offer" if row is None else format_offer(row)) for name, row in rows]
