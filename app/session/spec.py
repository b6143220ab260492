"""What one run is to do: a profile with everything resolved. Made by wiring, read by the session."""

from __future__ import annotations

import datetime
from typing import Literal

import msgspec

from app.records.offers import Catalogue, PlanLimits
from app.records.result import Objective, StageKind, Target, Traffic
from loadgen.records import Endpoint, Workload

Arrivals = Literal["poisson", "constant"]


class StageSpec(msgspec.Struct, frozen=True):
    name: str
    kind: StageKind
    arrivals: Arrivals
    rate_per_s: float
    duration_s: float
    repeat: int = 1


class SearchSpec(msgspec.Struct, frozen=True):
    arrivals: Arrivals
    start_per_s: float
    hold_s: float
    repeats: int


class LimitSpec(msgspec.Struct, frozen=True):
    """None is no limit; `usd_per_hour` is what the target costs while it is measured."""

    duration_s: float | None = None
    requests: int | None = None
    usd: float | None = None
    usd_per_hour: float | None = None


class PlanSpec(msgspec.Struct, frozen=True):
    """`today` is the date prices are aged against."""

    traffic: Traffic
    limits: PlanLimits
    catalogue: Catalogue
    today: datetime.date


class RunSpec(msgspec.Struct, frozen=True, kw_only=True):
    """`endpoint` holds resolved secrets and is never written anywhere; a served target fills its URL in later."""

    run_id: str
    name: str
    profile_hash: str
    target: Target
    endpoint: Endpoint
    workload: Workload
    seed: int
    warmup_s: float
    stages: tuple[StageSpec, ...]
    search: SearchSpec | None
    slo: tuple[Objective, ...]
    gates: tuple[Objective, ...]
    limits: LimitSpec
    plan: PlanSpec | None
    recalibrate: bool
    """Measure the generator's ceiling even where a recent one is stored."""
