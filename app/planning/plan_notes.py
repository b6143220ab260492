"""Notes below a plan: its assumptions and limits, as sentences."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import get_args

from app.analysis.traces import WINDOW_S, compute_rate_per_s
from app.planning.formatting import format_number, format_service_model
from app.planning.hardware.capacity import Capacity
from app.planning.language_models.assumed_model import find_served_model
from app.planning.language_models.engines import format_flags, get_version
from app.planning.offers.candidates import find_price
from app.planning.service_models.measured import build_measured_tokens
from app.planning.sizing.instances import HOURS_PER_MONTH, Demand
from app.planning.sizing.slo_objectives import SloObjectives
from app.records.engine_presets import ENGINE_PRESETS
from app.records.offers import Catalog
from app.records.plan import Fleet, ProposedMeasurement, RejectedBy
from app.records.planning_inputs import AssumedModel, MeasuredTarget, PlanningInputs
from app.records.service import RequestService, ServiceModel
from app.records.traffic import TraceRows, TraceStatistics

_LEVEL_TOLERANCE = 0.005
_MAX_NAMED_PROVIDERS = 3


def build_plan_notes(
    plan_inputs: PlanningInputs,
    demand: Demand,
    objectives: SloObjectives,
    ranked_fleets: Sequence[Fleet],
    excluded_fleets: Sequence[Fleet],
    proposed_measurement: ProposedMeasurement | None = None,
) -> tuple[str, ...]:
    """Return the notes of a plan. `proposed_measurement` is stated unless it is None."""
    return (
        *(note for target in plan_inputs.measured for note in _format_measurement_notes(target)),
        *_format_assumption_notes(plan_inputs, ranked_fleets),
        *(() if proposed_measurement is None else (proposed_measurement.sentence,)),
        f"The monthly cost covers {HOURS_PER_MONTH} hours of every instance at the {plan_inputs.limits.price} price. "
        "Disk, network, taxes and support are not included.",
        *describe_price_coverage(plan_inputs),
        f"The cost per 1k inferences applies to today's mean rate of {format_number(demand.mean_per_s)} req/s.",
        *_format_traffic_notes(plan_inputs, demand),
        *objectives.notes,
        *_format_fleet_notes(ranked_fleets, excluded_fleets),
    )


def describe_price_coverage(plan_inputs: PlanningInputs) -> Iterator[str]:
    """Yield a note if the plan compares only some of the offers, because the others have no price of
    the requested kind."""
    price_kind = plan_inputs.limits.price
    offers = [offer for offer in plan_inputs.catalog.offers if offer.owned is None]
    priced_offers = [offer for offer in offers if find_price(offer, price_kind) is not None]
    if not priced_offers or len(priced_offers) == len(offers):
        return
    providers, all_providers = ({offer.provider for offer in group} for group in (priced_offers, offers))
    providers_text = " and ".join(sorted(providers))
    if len(providers) > _MAX_NAMED_PROVIDERS:
        providers_text = f"{len(providers)} providers"
    others_text = "" if providers == all_providers else f" {len(all_providers - providers)} providers are left out."
    yield (
        f"Only {len(priced_offers):,} of {len(offers):,} offers, of {providers_text}, have a {price_kind} price, and "
        f"only these are compared.{others_text}"
    )


def _format_measurement_notes(target: MeasuredTarget) -> Iterator[str]:
    rate_per_s = target.curve.max_rate_per_s
    rate_text = f"{format_number(rate_per_s)} req/s within the SLO"
    if rate_per_s == 0:
        rate_text = "no rate of a single replica met the SLO, but replicas with a shared queue may meet it"
    hardware_text = target.hardware.description
    if target.is_assumed:
        yield f"The capacity of {target.name} on {hardware_text} is assumed: {rate_text}."
    elif target.is_hardware_declared:
        yield (
            f"The capacity was measured on {hardware_text} (as declared): {rate_text}. The run does not report its "
            "hardware."
        )
    else:
        yield f"The capacity was measured on {hardware_text}: {rate_text}."
    yield from target.notes
    if target.no_fit_reason is not None:
        sizing_text = "Fleets are sized by this rate only, without the benefit of a shared queue"
        yield f"{sizing_text}: {target.no_fit_reason}."
    elif target.fit is not None:
        error_text = f"median error against measured percentiles {100 * target.fit.median_error:.0f} %"
        fit_text = error_text if target.fit.errors else "no measured percentiles to compare with"
        yield f"Service model: {format_service_model(target.fit.services[0].service)}; {fit_text}"


def explain_rate_limit(capacity: Capacity, target_name: str) -> str | None:
    """Return a note if the plan limits a replica to the highest observed rate although the service
    model predicts a higher rate; otherwise return `None`.
    """
    if capacity.extrapolated_per_s is None:
        return None
    observed_text, extrapolated_text = (
        format_number(rate_per_s / capacity.replicas)
        for rate_per_s in (capacity.rate_per_s, capacity.extrapolated_per_s)
    )
    scaling_text = "" if capacity.speed == 1 else ", scaled to this accelerator"
    return (
        f"A replica is planned at {observed_text} req/s, the highest rate measured on {target_name}{scaling_text}. Its "
        f"service model would sustain {extrapolated_text} req/s. Measure at higher rates to confirm; until then, the "
        "lower bound of needed instances is based on the model only."
    )


def _format_assumption_notes(plan_inputs: PlanningInputs, ranked_fleets: Sequence[Fleet]) -> Iterator[str]:
    if plan_inputs.assumed_model is not None:
        size_text = f"{plan_inputs.assumed_model.model.parameters / 1e9:.3g} billion parameters"
        yield (
            f"{plan_inputs.assumed_model.name} ({size_text}) is planned from its shape and each accelerator's data "
            "sheet if it was not measured, by a model that is fitted to published measurements of tuned servers "
            "(most of them by InferenceX; this use of them is unofficial). Intervals are those of published servers "
            "that the model was not fitted to; a server with default settings may be slower."
        )
        yield from _format_alternatives_note(plan_inputs.assumed_model)
        served_model = find_served_model(
            plan_inputs.assumed_model, ranked_fleets[0].served_replica if ranked_fleets else None
        )
        yield from _format_engine_notes(served_model, plan_inputs.catalog, ranked_fleets)
        if plan_inputs.own_evidence:
            engine_text = ENGINE_PRESETS[served_model.engine.served_name].title
            accelerators = sorted({evidence.served.accelerator for evidence in plan_inputs.own_evidence})
            yield (
                f"Your own measurements of this model on {', '.join(accelerators)} calibrate its times there, with "
                f"{engine_text} and the same data types, for any number of accelerators per replica. They are not used "
                "for other accelerators, engines and data types, to which errors hardly carry over among published "
                "servers."
            )


def _format_alternatives_note(model: AssumedModel) -> Iterator[str]:
    """Yield a note if each offer has the precision and the engine that cost least there."""
    served_models = model.served_models
    weights = dict.fromkeys(served.precision.weights for served in served_models)
    engines = dict.fromkeys(ENGINE_PRESETS[served.engine.served_name].title for served in served_models)
    if len(served_models) == 1:
        return
    what = "engine" if len(weights) == 1 else "weights" if len(engines) == 1 else "weights and engine"
    verb = "sustains" if len(weights) == 1 else "sustain"
    yield (
        f"Each offer is planned with the {what} that {verb} most on it: {' or '.join(weights)}, with "
        f"{' or '.join(engines)}."
    )
    if len(weights) > 1:
        yield "Whether the model is as accurate with each of these weights is not part of the plan. Check it first."


def _format_engine_notes(model: AssumedModel, catalog: Catalog, ranked_fleets: Sequence[Fleet]) -> Iterator[str]:
    """Yield a note with the flags of the engine that the plan names, on the accelerator of the recommended fleet."""
    accelerator = catalog.accelerators.get((ranked_fleets[0].accelerator if ranked_fleets else None) or "")
    if model.engine.name is None or accelerator is None:
        return
    preset = ENGINE_PRESETS[model.engine.name]
    flags_text = ", ".join(format_flags(model.engine, accelerator, model.precision.kv))
    yield f"Servers are assumed to run {preset.title} with the defaults of {get_version(model.engine)}: {flags_text}."


def _format_traffic_notes(plan_inputs: PlanningInputs, demand: Demand) -> Iterator[str]:
    traffic = plan_inputs.traffic
    target_names = [
        target.name
        for target in plan_inputs.measured
        if target.lengths and traffic.tokens == build_measured_tokens(target.lengths)
    ]
    if target_names:
        mean_lengths = traffic.tokens[0]
        yield (
            f"Requests are assumed to be as long as those of {target_names[0]}: on average "
            f"{format_number(mean_lengths.input)} input and {format_number(mean_lengths.output)} output tokens. "
            "Set traffic.tokens to change this."
        )
    if traffic.cache_share:
        yield f"{100 * traffic.cache_share:g} % of requests are assumed to be served from a cache."
    if traffic.prefix_cached_share:
        yield (
            f"The prefix cache of each replica is assumed to serve {100 * traffic.prefix_cached_share:.3g} % of the "
            "input tokens, in each request alike: they have no prefill, but take space in the KV cache. Whether a "
            "cache of that size keeps them depends on the traffic and on its routing, which the plan does not check."
        )
    if demand.peak_per_s > traffic.peak_per_s * (1 - traffic.cache_share) * (1 + 1e-9):
        yield f"The fleet is sized for the peak in 12 months, {format_number(demand.peak_per_s)} req/s."
    if traffic.rows is not None:
        services = [target.fit.services[0].service for target in plan_inputs.measured if target.fit is not None]
        yield from _format_trace_notes(traffic.rows, traffic.trace, demand.peak_per_s, services)
    elif traffic.dispersion.index > 1:
        index, window_s = traffic.dispersion.index, traffic.dispersion.window_s
        variation_text = f"the variance of counts over {window_s:g} s is {index:.3g} times that of a Poisson process"
        yield f"Requests arrive in bursts, and the fleet is sized for them: {variation_text}."


def _format_trace_notes(
    rows: TraceRows, statistics: TraceStatistics | None, peak_per_s: float, services: Sequence[ServiceModel]
) -> Iterator[str]:
    """Yield notes on the replay of the trace, and on the time scales of its bursts."""
    copies = peak_per_s / compute_rate_per_s(rows)
    is_whole_trace = rows.window_s < WINDOW_S
    part_text = (
        f"the whole trace ({format_number(rows.window_s / 60)} min)" if is_whole_trace else "the trace's busiest hour"
    )
    replay_text = f"The fleet is sized by replaying {part_text}"
    if abs(copies - 1) <= _LEVEL_TOLERANCE:
        yield f"{replay_text} as recorded."
    elif copies < 1:
        yield f"{replay_text}: the peak is {100 * copies:.3g} % of its level, a random part of its requests."
    else:
        yield (
            f"{replay_text}: the peak is {copies:.3g} times its level, built from independent copies with different "
            "start times. Bursts have the same length and rarely coincide."
        )
    if rows.output_tokens and any(isinstance(service, RequestService) and service.cv > 0 for service in services):
        yield "Service times vary as measured and are assumed to be longer for requests with more output tokens."
    if statistics is not None:
        scales_and_indices = ((1, statistics.index_1s), (10, statistics.index_10s), (60, statistics.index_60s))
        index_texts = [
            f"{index:.3g} times the variance over {seconds} s"
            for seconds, index in scales_and_indices
            if index is not None
        ]
        busiest_text = (
            ""
            if statistics.peak_1s_per_s is None
            else f"; its busiest second had {format_number(statistics.peak_1s_per_s)} req/s"
        )
        if index_texts:
            yield f"The trace's counts vary more than in a Poisson process ({', '.join(index_texts)}){busiest_text}."
        if statistics.prefix_hit_share is not None:
            yield (
                f"A prefix cache could serve at most {100 * statistics.prefix_hit_share:.3g} % of the trace's prompt "
                "tokens (unlimited capacity, one cache for all replicas, blocks of 16 tokens)."
            )
    if rows.sampled_share < 1:
        yield f"A random {100 * rows.sampled_share:.2g} % of the trace's requests are replayed instead of all."
    if rows.window_s < (1 - _LEVEL_TOLERANCE) * WINDOW_S:
        yield (
            "The trace is shorter than an hour, so the uncertainty about the rest of the peak hour widens the interval."
        )


def _format_fleet_notes(ranked_fleets: Sequence[Fleet], excluded_fleets: Sequence[Fleet]) -> Iterator[str]:
    if any(fleet.basis == "extrapolated" and fleet.accelerator is None for fleet in ranked_fleets):
        yield "A vCPU is a core or a hyperthread, so the range is wide. Benchmark on this instance type to narrow it."
    if any(fleet.sizing_method == "formula" for fleet in ranked_fleets):
        yield "Lower-ranked offers are sized analytically, not simulated."
    if not ranked_fleets:
        yield explain_no_fit(excluded_fleets)


def explain_no_fit(excluded_fleets: Sequence[Fleet]) -> str:
    """Return a text on why no offer is feasible: the reason of the offer closest to being feasible,
    and the most common other reasons."""
    if not excluded_fleets:
        return "No instance type qualifies: the catalog is empty."
    nearest_fleet = find_nearest_excluded(excluded_fleets)
    reasons = Counter(
        fleet.rejected for fleet in excluded_fleets if fleet.rejected != nearest_fleet.rejected
    ).most_common(3)
    other_reasons = "; ".join(f"{reason} ({count})" for reason, count in reasons)
    same_count = sum(fleet.rejected == nearest_fleet.rejected for fleet in excluded_fleets)
    same_text = f", and {same_count - 1} more" if same_count > 1 else ""
    others_text = f" Other offers are excluded for these reasons: {other_reasons}." if other_reasons else ""
    nearest_text = f"{nearest_fleet.rejected} ({nearest_fleet.offer}, the closest to qualifying{same_text})"
    return f"No instance type qualifies: {nearest_text}.{others_text}"


def find_nearest_excluded(excluded_fleets: Sequence[Fleet]) -> Fleet:
    """Return the excluded fleet that is closest to being feasible.

    Offers that the user's filters exclude come last. Among equal reasons, offers whose capacity can be
    computed come first, and then the lowest price per instance.
    """
    reason_order = get_args(RejectedBy)

    def get_rank(fleet: Fleet) -> tuple[int, bool, float]:
        position = len(reason_order) if fleet.rejected_by is None else reason_order.index(fleet.rejected_by)
        usd_per_hour = math.inf if fleet.usd_per_hour_each is None else fleet.usd_per_hour_each
        return position, fleet.rejection is not None, usd_per_hour

    return min(excluded_fleets, key=get_rank)
