"""Savings by hypothetical changes of the model, its server or its traffic, for each change
separately.

A saving is the difference in cost before and after a change of the capacity or of the traffic. The
module also computes the cost or saving of a warm pool, assuming autoscaled instances.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import get_args

import msgspec
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from app.analysis.columns import Floats
from app.planning.formatting import format_number
from app.planning.offers.candidates import Candidate
from app.planning.offers.options import Option, get_candidate, list_options
from app.planning.service_models.service_times import speed_up
from app.planning.sizing.demand import compute_year_rates_per_s
from app.planning.sizing.instances import HOURS_PER_MONTH, Demand, compute_sustained_peak_per_s, count_instances_at_rate
from app.planning.sizing.slo_objectives import SloObjectives
from app.records.dtypes import BYTES_PER_VALUE
from app.records.engine_presets import ENGINE_PRESETS
from app.records.estimate import Basis
from app.records.evidence import EngineName
from app.records.plan import Saving
from app.records.planning_inputs import Alternatives, AssumedModel, PlanningInputs
from app.records.service import BatchService


class WhatIfChange(msgspec.Struct, frozen=True):
    """Hypothetical change of the model, its server or its traffic.

    `capacity_factor` multiplies the capacity of one replica, and `traffic_factor` the requests that
    reach the fleet. `reason` states the source of the factors.
    """

    name: str
    basis: Basis
    reason: str
    capacity_factor: float = 1.0
    traffic_factor: float = 1.0
    extra_usd_per_month: float = 0.0
    """Monthly cost in USD of the change itself, for example of a cache or a warm pool."""


class FleetSize(msgspec.Struct, frozen=True):
    """Number of replicas and monthly cost in USD of a fleet. Both values are `None` if no offer is
    feasible."""

    replicas: int | None
    usd_per_month: float | None


class WhatIfSaving(msgspec.Struct, frozen=True):
    """Saving by one change, in USD per month; negative if the change increases the cost.

    `share` is the saving relative to the cost before the change. Both values are `None` if no fleet
    is feasible before or after the change.
    """

    change: WhatIfChange
    changed_size: FleetSize
    usd_per_month: float | None
    share: float | None


SizeFleet = Callable[[WhatIfChange], FleetSize]
"""Function that sizes the fleet under a change. The cost of the fleet excludes the change's
`extra_usd_per_month`."""
NO_CHANGE = WhatIfChange("as is", "measured", "no change")


def compute_savings(changes: Iterable[WhatIfChange], size_fleet: SizeFleet) -> tuple[WhatIfSaving, ...]:
    """Compute the saving by each change separately. The largest saving comes first; unknown savings
    come last."""
    baseline_size = size_fleet(NO_CHANGE)
    savings = [_compute_saving(change, baseline_size, size_fleet(change)) for change in changes]
    return tuple(
        sorted(
            savings, key=lambda saving: (saving.usd_per_month is None, -(saving.usd_per_month or 0), saving.change.name)
        )
    )


def build_variant_change(
    name: str, rate_per_s: float, baseline_rate_per_s: float, basis: Basis = "measured"
) -> WhatIfChange:
    """Build the change to a variant (precision, batching window or smaller model) that sustains
    `rate_per_s`.

    The capacity changes by the factor `rate_per_s / baseline_rate_per_s`.
    """
    factor = rate_per_s / baseline_rate_per_s
    return WhatIfChange(name, basis, f"{factor:.2f} × the current max rate within SLO, {basis}", capacity_factor=factor)


def build_cache_change(hit_rate: float, basis: Basis = "assumed", usd_per_month: float = 0.0) -> WhatIfChange:
    """Build the change that adds a cache with the given hit rate. Cache hits do not reach the
    fleet."""
    reason = f"{100 * hit_rate:.0f} % of the requests are served from a cache, {basis}"
    return WhatIfChange("caching", basis, reason, traffic_factor=1 - hit_rate, extra_usd_per_month=usd_per_month)


def _compute_saving(change: WhatIfChange, baseline_size: FleetSize, changed_size: FleetSize) -> WhatIfSaving:
    if changed_size.usd_per_month is not None:
        changed_size = msgspec.structs.replace(
            changed_size, usd_per_month=changed_size.usd_per_month + change.extra_usd_per_month
        )
    if baseline_size.usd_per_month is None or changed_size.usd_per_month is None:
        return WhatIfSaving(change, changed_size, None, None)
    saving_usd = baseline_size.usd_per_month - changed_size.usd_per_month
    return WhatIfSaving(
        change,
        changed_size,
        saving_usd,
        saving_usd / baseline_size.usd_per_month if baseline_size.usd_per_month else None,
    )


COLD_START_MINUTES, WARM_START_MINUTES = 5, 1
"""Assumed duration in minutes of a cold start and of a warm start, from the request for an instance
until the instance can serve.

A cold start provisions a node and loads the model; a warm start does neither.
"""


def compute_warm_pool_saving(
    best_candidate: Candidate, demand: Demand, plan_inputs: PlanningInputs
) -> Iterator[Saving]:
    """Yield the saving by a warm pool compared with autoscaling from cold starts; yield nothing for
    owned hardware.

    In both cases, instances are requested early enough that they are ready when the traffic needs
    them.
    """
    usd_per_hour = best_candidate.offer.on_demand_usd_per_hour
    if usd_per_hour is None or best_candidate.price_kind == "owned":
        return
    rates_per_s = compute_year_rates_per_s(plan_inputs.traffic, plan_inputs.today)
    needed_counts = np.maximum(
        np.ceil(rates_per_s / compute_sustained_peak_per_s(1, best_candidate.capacity, demand) - 1e-9), 1.0
    )
    cold_counts, warm_counts = (
        _compute_max_ahead(needed_counts, minutes) for minutes in (COLD_START_MINUTES, WARM_START_MINUTES)
    )
    pool_size = max(1.0, float((cold_counts - needed_counts).max()))
    usd_per_month_each = HOURS_PER_MONTH * usd_per_hour
    cold_usd, pool_usd = (
        float(cold_counts.mean()) * usd_per_month_each,
        (float(warm_counts.mean()) + pool_size) * usd_per_month_each,
    )
    instances_text = "1 instance" if pool_size == 1 else f"{pool_size:.0f} instances"
    name = (
        f"a warm pool of {instances_text} with autoscaling by the minute: ready in {WARM_START_MINUTES} min instead of "
        f"{COLD_START_MINUTES} min"
    )
    yield Saving(name, "assumed", pool_usd, cold_usd - pool_usd)


def _compute_max_ahead(instance_counts: Floats, minutes: int) -> Floats:
    """Return, for each minute, the maximum count in that minute and the next `minutes` minutes."""
    padded_counts = np.pad(instance_counts, (0, minutes), mode="edge")
    max_counts: Floats = sliding_window_view(padded_counts, len(instance_counts)).max(axis=0)
    return max_counts


_FASTER_VARIANT = WhatIfChange(
    "a 1.5× faster variant (precision, runtime or a smaller model)", "assumed", "1.5 ×", capacity_factor=1.5
)
_ASSUMED_CHANGES = (
    WhatIfChange("a 3× faster model (e.g. distilled)", "assumed", "3 ×", capacity_factor=3.0),
    msgspec.structs.replace(build_cache_change(0.3), name="a cache that serves 30 % of the requests"),
)
_WINDOW_FACTORS = (0.0, 0.5, 2.0, 4.0)
"""Batching windows to try, as multiples of the current window. If there is no batching window, they
are multiples of the duration of a full batch."""
_LIGHTER_WEIGHTS = ("fp8", "fp4")
"""Data types of weights in which many language models are published beside 16 bits."""
_TYPICAL_CACHED_SHARE = 0.5
_HITS = f"a prefix cache that serves {100 * _TYPICAL_CACHED_SHARE:.0f} % of the input tokens"
_NO_HITS = "no hits in the prefix cache"
_MIN_GAIN = 1.01
_MAX_TARGETS = 8


def plan_savings(
    options: Sequence[Option],
    best_option: Option,
    demand: Demand,
    plan_inputs: PlanningInputs,
    objectives: SloObjectives,
    *,
    estimate_only: bool,
) -> tuple[Saving, ...]:
    """Compute the savings that are shown with a plan.

    With `estimate_only`, only savings by assumed factors and by another batching window are
    returned. Otherwise, savings by each of the other measured targets, by other weights and engines of
    a language model that was not measured, and by a warm pool are added.
    """
    feasible_options = [option for option in options if option.is_feasible]
    changes = [
        *([_FASTER_VARIANT] if best_option.target.assumed_model is None else []),
        *_ASSUMED_CHANGES,
        *_find_batching_window_change(best_option, plan_inputs, objectives),
    ]

    def size_fleet(change: WhatIfChange) -> FleetSize:
        changed_demand = msgspec.structs.replace(demand, peak_per_s=demand.peak_per_s * change.traffic_factor)
        cheapest_cost_and_size = min(
            (_compute_cost_and_size(get_candidate(option), changed_demand, change) for option in feasible_options),
            default=None,
        )
        return (
            FleetSize(None, None)
            if cheapest_cost_and_size is None
            else FleetSize(cheapest_cost_and_size[1], cheapest_cost_and_size[0])
        )

    assumed_savings = tuple(
        Saving(saving.change.name, saving.change.basis, saving.changed_size.usd_per_month, saving.usd_per_month)
        for saving in compute_savings(changes, size_fleet)
    )
    if estimate_only:
        return assumed_savings
    pool_savings = compute_warm_pool_saving(get_candidate(best_option), demand, plan_inputs)
    return (
        *_compute_target_savings(best_option, demand, plan_inputs, objectives),
        *_compute_serving_savings(best_option, demand, plan_inputs, objectives),
        *assumed_savings,
        *pool_savings,
    )


def _compute_serving_savings(
    best_option: Option, demand: Demand, plan_inputs: PlanningInputs, objectives: SloObjectives
) -> list[Saving]:
    """Compute the saving by the cheapest fleet with other weights, another engine or other hits in the prefix cache
    than those of the recommended replica, the largest first; nothing for a measured target.

    Rates are by formula, times the ratio of the simulated rate of the recommended offer to its rate by formula."""
    replica_model, assumed_model = best_option.target.assumed_model, plan_inputs.assumed_model
    if replica_model is None or assumed_model is None or best_option.capacity is None:
        return []
    degree = assumed_model.engine.tensor_parallel
    served = msgspec.structs.replace(
        replica_model, engine=msgspec.structs.replace(replica_model.engine, tensor_parallel=degree)
    )

    def list_served_options(model: AssumedModel, prefix_cached_share: float) -> list[Option]:
        traffic = msgspec.structs.replace(plan_inputs.traffic, prefix_cached_share=prefix_cached_share)
        changed_inputs = msgspec.structs.replace(plan_inputs, assumed_model=model, traffic=traffic)
        return list_options(changed_inputs, demand, objectives, estimate_only=True)

    cached_share = plan_inputs.traffic.prefix_cached_share
    best_offer, best_rate_per_s = best_option.evaluation.offer, best_option.capacity.rate_per_s
    formula_rate_per_s = next(
        option.capacity.rate_per_s
        for option in list_served_options(served, cached_share)
        if option.evaluation.offer == best_offer and option.capacity is not None
    )
    if formula_rate_per_s <= 0:  # only the simulation, which pools queues, found that the offer meets the SLO
        return []
    simulated = WhatIfChange("simulated", "assumed", "", capacity_factor=best_rate_per_s / formula_rate_per_s)
    current_usd = get_candidate(best_option).usd_per_month
    savings = []
    changes = [
        *((name, model, cached_share) for name, model in _list_other_services(served, assumed_model)),
        (_NO_HITS, served, 0.0) if cached_share else (_HITS, served, _TYPICAL_CACHED_SHARE),
    ]
    for name, model, changed_share in changes:
        costs_usd = [
            _compute_cost_and_size(get_candidate(option), demand, simulated)[0]
            for option in list_served_options(model, changed_share)
            if option.is_feasible and option.target.assumed_model is not None
        ]
        if costs_usd:
            savings.append(Saving(name, "assumed", min(costs_usd), current_usd - min(costs_usd)))
    return sorted(savings, key=lambda saving: -(saving.saved_usd_per_month or 0.0))


def _list_other_services(served: AssumedModel, assumed_model: AssumedModel) -> Iterator[tuple[str, AssumedModel]]:
    """Yield the served model with each other data type of its weights that is lighter or that the plan considers, and
    with each other engine, with the name of that change."""
    considered = tuple(model.precision.weights for model in assumed_model.served_models)
    lighter = [
        weights
        for weights in (*considered, *_LIGHTER_WEIGHTS)
        if BYTES_PER_VALUE[weights] < BYTES_PER_VALUE[served.precision.weights]
    ]
    weights_changes = msgspec.structs.replace(served, alternatives=Alternatives(weights=(*considered, *lighter)))
    for model in weights_changes.served_models[1:]:
        condition_text = ", if the model is as accurate" if model.precision.weights in lighter else ""
        yield f"weights in {model.precision.weights}{condition_text}", model
    engine_changes = msgspec.structs.replace(served, alternatives=Alternatives(engines=get_args(EngineName)))
    for model in engine_changes.served_models[1:]:
        yield f"{ENGINE_PRESETS[model.engine.served_name].title} as the engine", model


def _compute_target_savings(
    best_option: Option, demand: Demand, plan_inputs: PlanningInputs, objectives: SloObjectives
) -> Iterator[Saving]:
    """Yield, for each measured target other than the recommended target, the saving by the target's
    cheapest fleet."""
    current_usd = get_candidate(best_option).usd_per_month
    for target in plan_inputs.measured[:_MAX_TARGETS]:
        if target.name == best_option.target.name:
            continue
        target_inputs = msgspec.structs.replace(plan_inputs, measured=(target,))
        options = list_options(target_inputs, demand, objectives, estimate_only=True)
        cheapest_usd = min(
            (get_candidate(option).usd_per_month for option in options if option.is_feasible), default=None
        )
        basis: Basis = "assumed" if target.is_assumed else "measured"
        yield Saving(
            f"{target.name} only", basis, cheapest_usd, None if cheapest_usd is None else current_usd - cheapest_usd
        )


def _find_batching_window_change(
    best_option: Option, plan_inputs: PlanningInputs, objectives: SloObjectives
) -> Iterator[WhatIfChange]:
    """Yield the change to the batching window that has the highest rate per replica by formula,
    unless the current window is as good.
    """
    from app.planning.sizing.formulas import estimate_rate_within_slo

    fit, router = best_option.target.fit, plan_inputs.limits.router
    service = None if fit is None else speed_up(fit.services[0].service, get_candidate(best_option).capacity.speed)
    if not isinstance(service, BatchService):
        return
    reference_window_s = service.window_s or service.fixed_s + service.per_item_s * service.max_batch
    candidate_services = [
        msgspec.structs.replace(service, window_s=factor * reference_window_s) for factor in _WINDOW_FACTORS
    ]
    rates_per_s = [
        estimate_rate_within_slo(candidate_service, objectives, 1, router)
        for candidate_service in (service, *candidate_services)
    ]
    best_index = max(range(len(candidate_services)), key=lambda index: rates_per_s[index + 1])
    if rates_per_s[0] > 0 and rates_per_s[best_index + 1] > _MIN_GAIN * rates_per_s[0]:
        name = f"a batching window of {format_number(1000 * candidate_services[best_index].window_s)} ms"
        yield build_variant_change(name, rates_per_s[best_index + 1], rates_per_s[0], "assumed")


def _compute_cost_and_size(candidate: Candidate, demand: Demand, change: WhatIfChange) -> tuple[float, int]:
    rate_per_s = candidate.capacity.rate_per_s * change.capacity_factor
    needed_instances = count_instances_at_rate(demand, rate_per_s, candidate.capacity.sigma, demand.z)
    instances = needed_instances + demand.count_spares(needed_instances) + candidate.spot_spares
    return HOURS_PER_MONTH * instances * candidate.usd_per_hour, instances
