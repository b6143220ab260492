"""A language model that nobody measured, on each card: how many cards a replica takes, and what it then carries."""

from __future__ import annotations

import math

from app.planning.capacity import Capacity
from app.planning.formulae import rate_inside
from app.planning.goals import Goals
from app.planning.llm import SIGMA_ASSUMED, Deployment, assumed_service, replica
from app.planning.memory import MemoryPlan, smallest_degree
from app.planning.rates import Refusal
from app.planning.risk import Risk
from app.planning.service_models.service_times import faster
from app.records.offers import Accelerator, CapacityCurve, Offer
from app.records.plan_question import MeasuredTarget, PlanQuestion, SupposedModel
from app.records.result import Hardware
from app.records.service import FittedService, ServiceFit
from app.records.traffic import TokenLengths

VENDOR_EFFICIENCY = {"NVIDIA": 0.90, "AMD": 0.68}
"""Published over expected rate of a vendor's cards, by the geometric mean of the table in `docs/extrapolation.md`."""
LOWEST_EFFICIENCY = min(VENDOR_EFFICIENCY.values())
"""For vendors of whose cards no result is published."""
_AT_ONCE = 8
"""A replica that has no room for so many sequences at once is cut over more cards."""


def supposed_target(card: Accelerator, question: PlanQuestion, goals: Goals) -> MeasuredTarget | Refusal:
    """One replica on as many cards as its weights and cache take; refused where they do not fit or are not known."""
    supposed, lengths = question.supposed, _mean_lengths(question.traffic.tokens)
    if supposed is None or lengths is None:
        return Refusal("no_language_model", "no language model is described")
    memory = smallest_degree(
        supposed.model, card, supposed.precision, math.ceil(sum(lengths)), supposed.engine, _AT_ONCE
    )
    if not isinstance(memory, MemoryPlan):
        return memory
    deployment = Deployment(
        supposed.model, card, *lengths, supposed.precision, degree=memory.degree, engine=supposed.engine
    )
    service, full = assumed_service(deployment), replica(deployment)
    if isinstance(service, Refusal):
        return service
    if isinstance(full, Refusal):
        return full
    efficiency = VENDOR_EFFICIENCY.get(card.vendor, LOWEST_EFFICIENCY)
    law = faster(service.service, efficiency)
    fit = ServiceFit((FittedService(law, 1.0, (), ()),), (), 0.0, 1.0, 0.0, full.per_s * efficiency)
    rate = rate_inside(law, goals, 1, "random", lengths)
    name = f"{supposed.name} on {memory.degree} × {card.key}, by arithmetic"
    hardware = Hardware(name, accelerator=card.key, accelerator_count=memory.degree)
    curve = CapacityCurve((), goals.latency_metric, rate, None, None)
    return MeasuredTarget(name, hardware, curve, fit, is_assumed=True)


def supposed_capacity(target: MeasuredTarget, offer: Offer, supposed: SupposedModel) -> Capacity | Refusal:
    """As many whole replicas as the instance has cards for."""
    degree = target.hardware.accelerator_count
    replicas = math.floor(offer.accelerator_count / degree + 1e-9)
    if replicas < 1:
        return Refusal(
            "accelerator_count",
            f"holds {offer.accelerator_count:g} accelerators, and {supposed.name} takes {degree:g} of them",
        )
    risk = Risk(3, "nothing was measured: by arithmetic from the model's shape and the card's data sheet")
    rate = target.curve.max_rate_per_s * replicas
    return Capacity(rate, SIGMA_ASSUMED, replicas, "assumed", (risk,), speed_sigma=SIGMA_ASSUMED)


def _mean_lengths(tokens: tuple[TokenLengths, ...]) -> tuple[float, float] | None:
    share = sum(one.share for one in tokens)
    if not share:
        return None
    return sum(one.share * one.input for one in tokens) / share, sum(one.share * one.output for one in tokens) / share
