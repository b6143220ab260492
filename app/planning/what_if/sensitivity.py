"""Sensitivity of the plan's cost. Each input is set to its low and its high value, with all other
inputs as planned."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence

import msgspec

from app.planning.formatting import format_number
from app.planning.hardware.capacity import Capacity
from app.planning.offers.candidates import Candidate
from app.planning.offers.options import Option, get_candidate
from app.planning.sizing.instances import HOURS_PER_MONTH, Demand, count_instances_at_rate
from app.planning.sizing.model_error import Z80, compute_quantile
from app.planning.sizing.slo_objectives import SloObjectives
from app.records.offers import Router
from app.records.plan import SensitivityRange
from app.records.planning_inputs import PlanningInputs

_CHANGE_SHARE = 0.2


def compute_sensitivity(
    options: Sequence[Option], demand: Demand, plan_inputs: PlanningInputs, objectives: SloObjectives
) -> tuple[SensitivityRange, ...]:
    """Compute the sensitivity of the monthly cost to each input, widest range first.

    Fleets are resized by formula, based on the planned rates.
    """
    feasible_options = [option for option in options if option.is_feasible]
    best_option = min(feasible_options, key=lambda option: get_candidate(option).usd_per_month)
    ranges = [
        _build_range(name, labels, [_find_cheapest_offer(feasible_options, *case) for case in cases])
        for name, labels, cases in _iterate_inputs(demand, plan_inputs, objectives, best_option)
    ]
    return tuple(sorted(ranges, key=_compute_width, reverse=True))


_Case = tuple[Demand, Callable[[Capacity], float], Callable[[Candidate], float]]


def _iterate_inputs(
    demand: Demand, plan_inputs: PlanningInputs, objectives: SloObjectives, best_option: Option
) -> Iterator[tuple[str, tuple[str, str], tuple[_Case, _Case]]]:
    """Yield each uncertain input of a plan: its name, the texts of its two ends, and the case to size at each end."""
    peak_per_s = demand.peak_per_s
    half_width = demand.peak_sigma * Z80
    low, high = (math.exp(-half_width), math.exp(half_width)) if half_width else (1 - _CHANGE_SHARE, 1 + _CHANGE_SHARE)
    yield (
        "peak",
        (f"{format_number(peak_per_s * low)} req/s", f"{format_number(peak_per_s * high)} req/s"),
        (
            (_replace_demand(demand, peak_per_s=peak_per_s * low), _get_unit_rate_factor, _get_unit_price_factor),
            (_replace_demand(demand, peak_per_s=peak_per_s * high), _get_unit_rate_factor, _get_unit_price_factor),
        ),
    )
    yield (
        "max rate of a replica",
        ("P90", "P10"),
        (
            (demand, lambda capacity: math.exp(Z80 * capacity.sigma), _get_unit_price_factor),
            (demand, lambda capacity: math.exp(-Z80 * capacity.sigma), _get_unit_price_factor),
        ),
    )
    best_key = get_candidate(best_option).offer.key
    yield (
        "price of the recommended offer",
        ("−20 %", "+20 %"),
        (
            (
                demand,
                _get_unit_rate_factor,
                lambda candidate: 1 - _CHANGE_SHARE if candidate.offer.key == best_key else 1.0,
            ),
            (
                demand,
                _get_unit_rate_factor,
                lambda candidate: 1 + _CHANGE_SHARE if candidate.offer.key == best_key else 1.0,
            ),
        ),
    )
    yield (
        "confidence",
        ("80 %", "99 %"),
        (
            (_replace_demand(demand, z=compute_quantile(0.8)), _get_unit_rate_factor, _get_unit_price_factor),
            (_replace_demand(demand, z=compute_quantile(0.99)), _get_unit_rate_factor, _get_unit_price_factor),
        ),
    )
    yield (
        "spare instances",
        (str(max(0, demand.spares - 1)), str(demand.spares + 1)),
        (
            (_replace_demand(demand, spares=max(0, demand.spares - 1)), _get_unit_rate_factor, _get_unit_price_factor),
            (_replace_demand(demand, spares=demand.spares + 1), _get_unit_rate_factor, _get_unit_price_factor),
        ),
    )
    if best_option.target.fit is not None:
        yield from _iterate_model_inputs(demand, plan_inputs, objectives, best_option)


def _iterate_model_inputs(
    demand: Demand, plan_inputs: PlanningInputs, objectives: SloObjectives, best_option: Option
) -> Iterator[tuple[str, tuple[str, str], tuple[_Case, _Case]]]:
    """Yield the cases with the lowest and highest cost for the SLO limits and for the router.

    The rate in a case is the planned rate times the ratio of the analytical estimates with and
    without the change.
    """
    router = plan_inputs.limits.router
    estimate_rate = functools.cache(functools.partial(_estimate_rate, best_option))

    def build_rate_factor(changed_objectives: SloObjectives, changed_router: Router) -> Callable[[Capacity], float]:
        factor = estimate_rate(changed_objectives, changed_router) / max(estimate_rate(objectives, router), 1e-9)
        return lambda _: factor

    looser_objectives, tighter_objectives = (
        _scale_limits(objectives, 1 + _CHANGE_SHARE),
        _scale_limits(objectives, 1 - _CHANGE_SHARE),
    )
    if objectives.latency_objectives:
        yield (
            "SLO limits",
            ("+20 %", "−20 %"),
            (
                (demand, build_rate_factor(looser_objectives, router), _get_unit_price_factor),
                (demand, build_rate_factor(tighter_objectives, router), _get_unit_price_factor),
            ),
        )
    yield (
        "router",
        ("least-outstanding", "random"),
        (
            (demand, build_rate_factor(objectives, "least-outstanding"), _get_unit_price_factor),
            (demand, build_rate_factor(objectives, "random"), _get_unit_price_factor),
        ),
    )


def _estimate_rate(option: Option, objectives: SloObjectives, router: Router) -> float:
    from app.planning.service_models.service_times import speed_up
    from app.planning.sizing.formulas import estimate_rate_within_slo

    fit, candidate = option.target.fit, get_candidate(option)
    assert fit is not None
    replicas = candidate.needed_instances * candidate.capacity.replicas
    service = speed_up(fit.services[0].service, candidate.capacity.speed)
    return min(
        estimate_rate_within_slo(service, objectives, replicas, router), fit.highest_per_s * candidate.capacity.speed
    )


def _scale_limits(objectives: SloObjectives, factor: float) -> SloObjectives:
    latency_objectives = tuple(
        msgspec.structs.replace(objective, limit_s=objective.limit_s * factor)
        for objective in objectives.latency_objectives
    )
    return msgspec.structs.replace(objectives, latency_objectives=latency_objectives)


def _replace_demand(demand: Demand, **changes: float) -> Demand:
    return msgspec.structs.replace(demand, **changes)


def _get_unit_rate_factor(_: Capacity) -> float:
    return 1.0


def _get_unit_price_factor(_: Candidate) -> float:
    return 1.0


def _find_cheapest_offer(
    options: Sequence[Option],
    demand: Demand,
    rate_factor: Callable[[Capacity], float],
    price_factor: Callable[[Candidate], float],
) -> tuple[float, str] | None:
    """Return the lowest monthly cost and the key of its offer, regardless of any budget; `None` if
    no offer is feasible.
    """
    costs = []
    for option in options:
        candidate = get_candidate(option)
        capacity = candidate.capacity
        rate_per_s = capacity.rate_per_s * rate_factor(capacity)
        if rate_per_s <= 0:
            continue
        needed_instances = count_instances_at_rate(demand, rate_per_s, capacity.sigma, demand.z)
        instances = needed_instances + demand.count_spares(needed_instances) + candidate.spot_spares
        costs.append(
            (HOURS_PER_MONTH * instances * candidate.usd_per_hour * price_factor(candidate), candidate.offer.key)
        )
    return min(costs, default=None)


def _build_range(
    input_name: str, labels: tuple[str, str], cheapest_offers: Sequence[tuple[float, str] | None]
) -> SensitivityRange:
    low_offer, high_offer = cheapest_offers
    return SensitivityRange(
        input=input_name,
        low=labels[0],
        high=labels[1],
        usd_per_month_low=low_offer[0] if low_offer else None,
        usd_per_month_high=high_offer[0] if high_offer else None,
        winner_low=low_offer[1] if low_offer else None,
        winner_high=high_offer[1] if high_offer else None,
    )


def _compute_width(sensitivity: SensitivityRange) -> float:
    if sensitivity.usd_per_month_low is None or sensitivity.usd_per_month_high is None:
        return math.inf
    return abs(sensitivity.usd_per_month_high - sensitivity.usd_per_month_low)
