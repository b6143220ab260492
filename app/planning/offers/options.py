"""Options of a plan: each offer with the capacity of one instance. Capacity is computed by formula
and, for the leading offers, by simulation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from app.planning.hardware.capacity import Capacity, extrapolate_capacity
from app.planning.hardware.rates import Unavailable
from app.planning.hardware.risk import Risk
from app.planning.language_models.assumed_model import AssumedReplica, build_assumed_replicas, compute_assumed_capacity
from app.planning.offers.candidates import Candidate, RejectedOffer, evaluate_offer
from app.planning.sizing.instances import Demand
from app.planning.sizing.latency_curve import LatencyCurve, build_latency_curve
from app.planning.sizing.slo_objectives import ShouldContinue, SloObjectives, always_continue, build_slo_objectives
from app.records.metrics import metric_label
from app.records.offers import CapacityCurve, Offer
from app.records.planning_inputs import AssumedModel, MeasuredTarget, PlanningInputs
from app.records.result import Hardware
from app.records.service import TokenService

if TYPE_CHECKING:
    from app.planning.sizing.fleet_sizer import FleetSizer

_MIN_SIMULATED_KINDS = 5
_MAX_SIMULATED_KINDS = 12
"""Maximum number of kinds of replica to simulate.

`_MIN_SIMULATED_KINDS` kinds are always simulated; more kinds are simulated only until every option
is simulated that costs at most `_CHOICE_COST_RATIO` times as much as the cheapest.
"""
_CHOICE_COST_RATIO = 1.5
"""Highest ratio of an option's cost to the lowest cost at which a simulation could still make that
option the cheapest. Simulated and estimated costs differ by less."""


_Kind = tuple[str, float, float]
"""Kind of replica: name of the target, relative speed, and sigma of the speed."""
_NO_TARGET = MeasuredTarget("nothing", Hardware("nothing"), CapacityCurve((), "latency_ms.p95", 0.0, None, None))


class Option(msgspec.Struct, frozen=True):
    """Evaluated offer, with the target that its capacity is based on, and the latency curve."""

    evaluation: Candidate | RejectedOffer
    target: MeasuredTarget
    latency_curve: LatencyCurve
    capacity: Capacity | None

    @property
    def is_feasible(self) -> bool:
        return isinstance(self.evaluation, Candidate) and self.evaluation.rejected is None


def list_options(
    plan_inputs: PlanningInputs,
    demand: Demand,
    objectives: SloObjectives,
    *,
    estimate_only: bool,
    simulated_offer: str | None = None,
    should_continue: ShouldContinue = always_continue,
) -> list[Option]:
    """Evaluate every offer of the catalog and return one option per offer, in the same order.

    With the key of a `simulated_offer`, only the kind of replica of that offer is simulated."""
    sizer = _build_sizer(plan_inputs, demand, objectives, should_continue)
    assumed_replicas = _build_assumed_replicas(plan_inputs, objectives)
    options = [
        _build_option(offer, plan_inputs, demand, sizer, assumed_replicas, objectives)
        for offer in plan_inputs.catalog.offers
    ]
    if sizer is None or estimate_only:
        return options
    if simulated_offer is not None:
        return _simulate_kind_of_offer(simulated_offer, options, plan_inputs, demand, sizer)
    return _simulate_leading_options(options, plan_inputs, demand, sizer)


def get_candidate(option: Option) -> Candidate:
    assert isinstance(option.evaluation, Candidate)
    return option.evaluation


def _build_sizer(
    plan_inputs: PlanningInputs, demand: Demand, objectives: SloObjectives, should_continue: ShouldContinue
) -> FleetSizer | None:
    """Build the fleet sizer. Return `None` if no target has a service model, so that only measured
    max rates are known."""
    if plan_inputs.assumed_model is None and all(target.fit is None for target in plan_inputs.measured):
        return None
    # deferred, because the simulation takes a second to import
    from app.planning.sizing.fleet_rate import build_fleet_shape
    from app.planning.sizing.fleet_sizer import FleetSizer

    shape = build_fleet_shape(plan_inputs.traffic, objectives, plan_inputs.limits.router, demand.peak_per_s)
    return FleetSizer(shape, demand, should_continue, plan_inputs.slo)


def _build_assumed_replicas(
    plan_inputs: PlanningInputs, objectives: SloObjectives
) -> dict[str, tuple[AssumedReplica, ...] | Unavailable]:
    """Return the assumed replicas by accelerator key; empty if the plan has no assumed model."""
    if plan_inputs.assumed_model is None:
        return {}
    accelerator_keys = {offer.accelerator for offer in plan_inputs.catalog.offers if offer.accelerator is not None}
    return {
        accelerator_key: build_assumed_replicas(
            plan_inputs.catalog.accelerators[accelerator_key], plan_inputs, objectives
        )
        for accelerator_key in sorted(accelerator_keys)
    }


def _build_option(
    offer: Offer,
    plan_inputs: PlanningInputs,
    demand: Demand,
    sizer: FleetSizer | None,
    assumed_replicas: dict[str, tuple[AssumedReplica, ...] | Unavailable],
    objectives: SloObjectives,
) -> Option:
    """Build the option of an offer.

    The option is based on the target with the lowest risk; among equals, with the narrowest
    interval, then with the highest rate.
    """
    extrapolated_capacities = [
        (target, _extrapolate_capacity(target, offer, plan_inputs)) for target in plan_inputs.measured
    ]
    target_capacities = [
        (target, capacity) for target, capacity in extrapolated_capacities if isinstance(capacity, Capacity)
    ]
    unavailable_capacities = _sort_reasons(offer, extrapolated_capacities)
    if not target_capacities and plan_inputs.assumed_model is not None:
        assumed_capacities = _list_assumed_capacities(offer, assumed_replicas, plan_inputs.assumed_model)
        if isinstance(assumed_capacities, Unavailable):
            unavailable_capacities = [assumed_capacities]
        else:
            target_capacities = [_choose_split(assumed_capacities, demand, sizer)]
    if not target_capacities:
        evaluation = evaluate_offer(offer, unavailable_capacities[0], demand, plan_inputs.limits, plan_inputs.today)
        return Option(
            evaluation, plan_inputs.measured[0] if plan_inputs.measured else _NO_TARGET, LatencyCurve((), (), 0.0), None
        )
    estimated_capacities = [
        (target, measured_capacity if sizer is None else sizer.estimate_capacity(target, measured_capacity))
        for target, measured_capacity in target_capacities
    ]
    target, capacity = min(
        estimated_capacities, key=lambda pair: (_get_risk_level(pair[1]), round(pair[1].sigma, 1), -pair[1].rate_per_s)
    )
    evaluation = evaluate_option(offer, target, capacity, demand, plan_inputs)
    return Option(evaluation, target, _build_measured_curve(target, objectives), capacity)


def _list_assumed_capacities(
    offer: Offer, assumed_replicas: dict[str, tuple[AssumedReplica, ...] | Unavailable], model: AssumedModel
) -> list[tuple[MeasuredTarget, Capacity]] | Unavailable:
    """Return the capacity of an instance for each number of accelerators that a replica can be split
    across."""
    replicas = assumed_replicas.get(
        offer.accelerator or "", Unavailable("no_accelerator", "a language model is planned on accelerators only")
    )
    if isinstance(replicas, Unavailable):
        return replicas
    capacities = [(replica.target, compute_assumed_capacity(replica, offer, model)) for replica in replicas]
    available = [(target, capacity) for target, capacity in capacities if isinstance(capacity, Capacity)]
    unavailable = [capacity for _, capacity in capacities if isinstance(capacity, Unavailable)]
    return available or unavailable[0]


def _choose_split(
    capacities: Sequence[tuple[MeasuredTarget, Capacity]], demand: Demand, sizer: FleetSizer | None
) -> tuple[MeasuredTarget, Capacity]:
    """Return the replica with which an instance of the same cost has the highest rate within the SLO at
    the confidence of the plan."""

    def estimate_rate_per_s(pair: tuple[MeasuredTarget, Capacity]) -> float:
        capacity = pair[1] if sizer is None else sizer.estimate_capacity(*pair)
        return capacity.compute_quantile_per_s(-demand.z)

    return max(capacities, key=estimate_rate_per_s)


def select_latency_metric(target: MeasuredTarget, objectives: SloObjectives) -> str:
    """Return the metric of the latencies that a plan states for a target: that of the first latency
    objective if a service model can be simulated, else the measured one."""
    if target.fit is None or not objectives.latency_objectives:
        return target.curve.latency_metric
    return objectives.latency_metric


def _build_measured_curve(target: MeasuredTarget, objectives: SloObjectives) -> LatencyCurve:
    """Return the measured latency curve; without points if another metric was measured than the plan
    states."""
    if target.curve.latency_metric != select_latency_metric(target, objectives):
        return LatencyCurve((), (), target.curve.max_rate_per_s)
    return build_latency_curve(target.curve)


def _sort_reasons(
    offer: Offer, capacities: Sequence[tuple[MeasuredTarget, Capacity | Unavailable]]
) -> list[Unavailable]:
    """Return the reasons for which the capacity of an offer is unknown, first those of measurements
    on the same accelerator. Those of other accelerators say only that this one was not measured."""
    reasons = [
        (target.hardware.accelerator != offer.accelerator, capacity)
        for target, capacity in capacities
        if isinstance(capacity, Unavailable)
    ]
    return [capacity for _, capacity in sorted(reasons, key=lambda reason: reason[0])]


def evaluate_option(
    offer: Offer, target: MeasuredTarget, capacity: Capacity, demand: Demand, plan_inputs: PlanningInputs
) -> Candidate | RejectedOffer:
    """Evaluate the offer against all limits, including those on vendor and power of the
    accelerator."""
    limits, accelerator = plan_inputs.limits, plan_inputs.catalog.accelerators.get(offer.accelerator or "")
    evaluation = evaluate_offer(offer, capacity, demand, limits, plan_inputs.today)
    missing_reason = _explain_missing_token_times(target, plan_inputs)
    if missing_reason is not None and (isinstance(evaluation, Candidate) or evaluation.rejected_by == "slo"):
        rejected_by, reason = (
            (evaluation.rejected_by, evaluation.rejected) if isinstance(evaluation, Candidate) else (None, None)
        )
        return RejectedOffer(
            offer, reason or missing_reason, rejected_by or "slo", None if reason else "token_times_unknown"
        )
    if not isinstance(evaluation, Candidate) or evaluation.rejected is not None:
        return evaluation
    if limits.vendors and accelerator is not None and accelerator.vendor not in limits.vendors:
        reason = f"vendor {accelerator.vendor} is excluded by plan.vendors"
        return msgspec.structs.replace(evaluation, rejected=reason, rejected_by="vendor")
    if limits.max_power_w is None or accelerator is None:
        return evaluation
    if accelerator.tdp_w is None:
        reason = f"the power of {accelerator.name} is unknown"
        return msgspec.structs.replace(evaluation, rejected=reason, rejected_by="power")
    power_w = accelerator.tdp_w * offer.accelerator_count * evaluation.instances
    if power_w > limits.max_power_w:
        reason = (
            f"{evaluation.instances} instances draw {power_w:,.0f} W, above plan.max_power of "
            f"{limits.max_power_w:,.0f} W"
        )
        return msgspec.structs.replace(evaluation, rejected=reason, rejected_by="power")
    return evaluation


def _explain_missing_token_times(target: MeasuredTarget, plan_inputs: PlanningInputs) -> str | None:
    """Return the reason why an SLO on token latencies cannot be evaluated with this target; `None`
    if the SLO can be evaluated."""
    if target.fit is None or isinstance(target.fit.services[0].service, TokenService):
        return None
    objective = next(
        (
            slo_objective
            for slo_objective in build_slo_objectives(plan_inputs.slo).latency_objectives
            if slo_objective.kind != "latency"
        ),
        None,
    )
    if objective is None:
        return None
    return (
        f"the SLO limits {metric_label(objective.metric)}, but {target.name} has no token latencies: measure it with "
        "streaming, or set the SLO on latency_ms"
    )


def _extrapolate_capacity(target: MeasuredTarget, offer: Offer, plan_inputs: PlanningInputs) -> Capacity | Unavailable:
    accelerators, unmeasured_gpus = plan_inputs.catalog.accelerators, plan_inputs.limits.unmeasured_gpus
    capacity = extrapolate_capacity(target.curve, target.hardware, offer, accelerators, unmeasured_gpus)
    if isinstance(capacity, Capacity) and target.disturbance_sigma:
        capacity = msgspec.structs.replace(
            capacity,
            sigma=math.hypot(capacity.sigma, target.disturbance_sigma),
            speed_sigma=math.hypot(capacity.speed_sigma, target.disturbance_sigma),
        )
    if isinstance(capacity, Unavailable) or not (target.is_assumed or target.is_hardware_declared):
        return capacity
    risk = Risk(3, f"{target.name} is assumed, not measured")
    if not target.is_assumed:
        risk = Risk(2, f"the hardware of {target.name} ({target.hardware.description}) was declared, not measured")
    return msgspec.structs.replace(capacity, basis="assumed", risks=(risk, *capacity.risks))


def _get_risk_level(capacity: Capacity) -> int:
    return max((risk.level for risk in capacity.risks), default=0)


def _simulate_leading_options(
    options: list[Option], plan_inputs: PlanningInputs, demand: Demand, sizer: FleetSizer
) -> list[Option]:
    """Simulate kinds of replica in the order of the offers' cost, until the cheapest option and all
    options that could become the cheapest are simulated.

    Options that violate the SLO according to the analytical estimate are simulated last. A
    simulation may find that such an option meets the SLO by pooling queues.
    """
    simulated_kinds: dict[_Kind, int] = {}
    options = list(options)
    for _ in range(_MAX_SIMULATED_KINDS * 2):
        feasible_indices = sorted(
            (index for index, option in enumerate(options) if option.is_feasible),
            key=lambda index: get_candidate(options[index]).usd_per_month,
        )
        slo_missing_indices = [index for index, option in enumerate(options) if _misses_slo_by_formula(option)]
        slo_missing_indices.sort(key=lambda index: options[index].evaluation.offer.on_demand_usd_per_hour or math.inf)
        pending_indices = [
            index
            for index in (*feasible_indices, *slo_missing_indices)
            if _build_kind(options[index]) not in simulated_kinds and options[index].target.fit
        ]
        if (
            not pending_indices
            or len(simulated_kinds) >= _MAX_SIMULATED_KINDS
            or (
                len(simulated_kinds) >= _MIN_SIMULATED_KINDS
                and not _could_be_chosen(pending_indices[0], options, feasible_indices or slo_missing_indices)
            )
        ):
            break
        kind = _build_kind(options[pending_indices[0]])
        simulated_kinds[kind] = len(simulated_kinds)
        options = _simulate_kind(kind, options, plan_inputs, demand, sizer)
    return options


def _simulate_kind_of_offer(
    offer_key: str, options: list[Option], plan_inputs: PlanningInputs, demand: Demand, sizer: FleetSizer
) -> list[Option]:
    """Simulate the kind of replica of one offer. Offers of the same kind share its simulation, so
    they are simulated with it, as in a plan."""
    option = next((option for option in options if option.evaluation.offer.key == offer_key), None)
    if option is None or option.capacity is None:
        return options
    return _simulate_kind(_build_kind(option), options, plan_inputs, demand, sizer)


def _simulate_kind(
    kind: _Kind, options: list[Option], plan_inputs: PlanningInputs, demand: Demand, sizer: FleetSizer
) -> list[Option]:
    return [
        _simulate_option(option, plan_inputs, demand, sizer)
        if option.capacity and _build_kind(option) == kind
        else option
        for option in options
    ]


def _could_be_chosen(index: int, options: list[Option], ranked_indices: list[int]) -> bool:
    """Return whether the option could become the best of the ranked options, which start with the
    cheapest, if it were simulated."""
    if index == ranked_indices[0]:
        return True
    cheapest = options[ranked_indices[0]]
    return (
        options[index].is_feasible
        and get_candidate(options[index]).usd_per_month <= _CHOICE_COST_RATIO * get_candidate(cheapest).usd_per_month
    )


def _misses_slo_by_formula(option: Option) -> bool:
    return (
        isinstance(option.evaluation, RejectedOffer) and option.capacity is not None and option.capacity.rate_per_s <= 0
    )


def _build_kind(option: Option) -> _Kind:
    assert option.capacity is not None
    return option.target.name, round(option.capacity.speed, 9), round(option.capacity.speed_sigma, 9)


def _simulate_option(option: Option, plan_inputs: PlanningInputs, demand: Demand, sizer: FleetSizer) -> Option:
    assert option.capacity is not None
    if not (isinstance(option.evaluation, Candidate) or _misses_slo_by_formula(option)):
        return option
    result = sizer.simulate_capacity(option.target, option.capacity)
    if result is None:
        return option
    capacity, latency_curve = result
    evaluation = evaluate_option(option.evaluation.offer, option.target, capacity, demand, plan_inputs)
    return msgspec.structs.replace(option, evaluation=evaluation, latency_curve=latency_curve, capacity=capacity)
