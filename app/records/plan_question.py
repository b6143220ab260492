"""What a plan answers, with every fact it may use: the same question has the same plan, also next year."""

from __future__ import annotations

import datetime

import msgspec

from app.records.curves import Rung
from app.records.language_model import SupposedModel
from app.records.offers import CapacityCurve, Catalogue, PlanLimits
from app.records.result import Hardware, Objective
from app.records.service import ServiceFit
from app.records.token_sample import TokenSample
from app.records.traffic import Traffic


class MeasuredTarget(msgspec.Struct, frozen=True):
    """One target's capacity, all its replicas together, and the service model of one replica where it could be fitted.

    `why_no_fit` says why it could not; fleets are then sized by the max rate alone.
    """

    name: str
    hardware: Hardware
    curve: CapacityCurve
    fit: ServiceFit | None = None
    why_no_fit: str | None = None
    is_assumed: bool = False
    """Its load points are a person's word, and so is all that follows from them."""
    is_hardware_said: bool = False
    """What it ran on is a person's word, given for the plan: the measurement does not tell, or tells otherwise."""
    joules_per_inference: float | None = None
    """Of the accelerators, above their idling; None where it was not measured."""
    lengths: tuple[float, float] | None = None
    """Mean tokens of the prompts and of the answers it was measured with; None where none were counted."""
    token_sample: TokenSample | None = None
    """Joint lengths of the requests it was measured with; None where only means are known."""
    notes: tuple[str, ...] = ()
    """What a reader must know of the measurement, as sentences."""
    load_points: tuple[Rung, ...] = ()
    """Of one replica: a plan is held to the rates at which they met or missed the SLO."""


class PlanQuestion(msgspec.Struct, frozen=True):
    """`today` is the date prices are aged against and growth counts from."""

    measured: tuple[MeasuredTarget, ...]
    traffic: Traffic
    slo: tuple[Objective, ...]
    limits: PlanLimits
    catalogue: Catalogue
    today: datetime.date
    supposed: SupposedModel | None = None
    """What is planned by arithmetic on cards that no measurement reaches."""
