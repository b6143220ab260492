"""Unmeasured replicas of a language model: number of accelerators per replica, and estimated rate,
for each accelerator type."""

from __future__ import annotations

import math

from app.planning.capacity import Capacity
from app.planning.formulas import estimate_rate_within_slo
from app.planning.llm import ASSUMED_SIGMA, Deployment, build_assumed_service, size_replica
from app.planning.memory import MemoryPlan, find_smallest_degree
from app.planning.rates import Unavailable
from app.planning.risk import Risk
from app.planning.service_models.service_times import speed_up
from app.planning.slo_objectives import SloObjectives
from app.records.offers import Accelerator, CapacityCurve, Offer
from app.records.planning_inputs import AssumedModel, MeasuredTarget, PlanningInputs
from app.records.result import Hardware
from app.records.service import FittedService, ServiceFit
from app.records.traffic import TokenLengths

EFFICIENCY_BY_VENDOR = {"NVIDIA": 0.90, "AMD": 0.68}
"""Ratio of published to calculated rates on accelerators, by vendor: the geometric mean of the
table in `docs/validation/extrapolation.md`.
"""
MIN_EFFICIENCY = min(EFFICIENCY_BY_VENDOR.values())
"""Ratio of published to calculated rates that is assumed for vendors without published results."""
_MIN_SEQUENCES = 8
"""Minimum number of concurrent sequences per replica. If the KV cache has too little memory for
this number, the replica is split across more accelerators."""


def build_assumed_target(
    accelerator: Accelerator, plan_inputs: PlanningInputs, objectives: SloObjectives
) -> MeasuredTarget | Unavailable:
    """Build the target of a single replica on as many accelerators as its weights and KV cache
    need.

    Return `Unavailable` if weights and KV cache do not fit, or if data of the model or of the
    accelerator are missing.
    """
    assumed_model, lengths = plan_inputs.assumed_model, _compute_mean_lengths(plan_inputs.traffic.tokens)
    if assumed_model is None or lengths is None:
        return Unavailable("no_language_model", "no language model is described")
    memory_plan = find_smallest_degree(
        assumed_model.model,
        accelerator,
        assumed_model.precision,
        math.ceil(sum(lengths)),
        assumed_model.engine,
        _MIN_SEQUENCES,
    )
    if not isinstance(memory_plan, MemoryPlan):
        return memory_plan
    deployment = Deployment(
        assumed_model.model,
        accelerator,
        *lengths,
        assumed_model.precision,
        degree=memory_plan.degree,
        engine=assumed_model.engine,
    )
    service, full_replica = build_assumed_service(deployment), size_replica(deployment)
    if isinstance(service, Unavailable):
        return service
    if isinstance(full_replica, Unavailable):
        return full_replica
    efficiency = EFFICIENCY_BY_VENDOR.get(accelerator.vendor, MIN_EFFICIENCY)
    scaled_service = speed_up(service.service, efficiency)
    fit = ServiceFit(
        (FittedService(scaled_service, 1.0, (), ()),), (), 0.0, 1.0, 0.0, full_replica.rate_per_s * efficiency
    )
    rate_per_s = estimate_rate_within_slo(scaled_service, objectives, 1, "random", lengths)
    name = f"{assumed_model.name} on {memory_plan.degree} × {accelerator.key}, analytical estimate"
    hardware = Hardware(name, accelerator=accelerator.key, accelerator_count=memory_plan.degree)
    curve = CapacityCurve((), objectives.latency_metric, rate_per_s, None, None)
    return MeasuredTarget(name, hardware, curve, fit, is_assumed=True)


def compute_assumed_capacity(target: MeasuredTarget, offer: Offer, model: AssumedModel) -> Capacity | Unavailable:
    """Return the capacity of one instance of the offer: of all replicas that fit on its
    accelerators."""
    degree = target.hardware.accelerator_count
    replicas = math.floor(offer.accelerator_count / degree + 1e-9)
    if replicas < 1:
        return Unavailable(
            "accelerator_count",
            f"the instance has too few accelerators: {offer.accelerator_count:g}, but {model.name} needs {degree:g}",
        )
    risk = Risk(3, "not measured: calculated from the model's shape and the accelerator's data sheet")
    rate_per_s = target.curve.max_rate_per_s * replicas
    return Capacity(rate_per_s, ASSUMED_SIGMA, replicas, "assumed", (risk,), speed_sigma=ASSUMED_SIGMA)


def _compute_mean_lengths(tokens: tuple[TokenLengths, ...]) -> tuple[float, float] | None:
    total_share = sum(lengths.share for lengths in tokens)
    if not total_share:
        return None
    return sum(lengths.share * lengths.input for lengths in tokens) / total_share, sum(
        lengths.share * lengths.output for lengths in tokens
    ) / total_share
