"""Specification of one run, which is a profile with all settings resolved.

`app.wiring` builds the specification and the session reads it. It includes the load of each
stage."""

from __future__ import annotations

import datetime

import msgspec

from app.analysis.gating import Gating
from app.inference.job import VariantJob
from app.records.abort import AbortRule
from app.records.offers import Catalog, PlanLimits
from app.records.result import Objective, Result, StageKind, Target, Traffic
from app.records.search import SearchSpec
from loadgen.records import Arrivals, Endpoint
from loadgen.workloads import Workload


class StageLoad(msgspec.Struct, frozen=True):
    """Name, kind and load of a stage. Durations are in s."""

    name: str
    kind: StageKind
    arrivals: Arrivals
    duration_s: float
    lead_in_s: float = 0.0
    repeat: int = 1


class ResolvedStage(StageLoad, frozen=True, kw_only=True):
    """A stage that is ready to run. `drain_s` is the maximum time in s to wait for responses after
    the last arrival."""

    drain_s: float
    ends_when_saturated: bool = False
    tags: dict[str, str] = {}


class RateShare(msgspec.Struct, frozen=True):
    """A rate derived from an earlier stage: `fraction` times its completed requests per second."""

    stage: str
    fraction: float


class StageSpec(StageLoad, frozen=True):
    """A stage of the profile. With `rate_share`, the rates in the open `arrivals` are multiples of
    the derived rate."""

    rate_share: RateShare | None = None
    is_in_sweep: bool = False
    """True if the stage is part of a sweep, whose loads are in increasing order."""

    @property
    def total_duration_s(self) -> float:
        """Duration of the load in s, including the lead-in and excluding the drain."""
        return self.lead_in_s + self.duration_s


class StartSpec(msgspec.Struct, frozen=True):
    """Command that starts the target's own server for the run. The server is stopped afterwards.

    The server is ready when `ready_url` responds with a 2xx status. `environment` is added to the
    environment variables of this process and contains resolved secrets."""

    command: tuple[str, ...]
    ready_url: str
    timeout_s: float
    directory: str
    environment: tuple[tuple[str, str], ...] = ()


class LimitSpec(msgspec.Struct, frozen=True):
    """Limits of the run; `None` means no limit. `usd_per_hour` is the cost of the target during the
    run."""

    duration_s: float | None = None
    requests: int | None = None
    usd: float | None = None
    usd_per_hour: float | None = None
    abort_when: AbortRule | None = None


class StandaloneModelSpec(msgspec.Struct, frozen=True):
    """Settings of the standalone measurement of the embedded endpoint's model. `max_duration_s` is
    the time limit per batch size in s."""

    job: VariantJob
    name: str
    batches: tuple[int, ...]
    max_duration_s: float


class PlanSpec(msgspec.Struct, frozen=True):
    """Inputs of the capacity plan. `today` is the date from which the age of prices is computed."""

    traffic: Traffic
    limits: PlanLimits
    catalog: Catalog
    today: datetime.date


class BaselineSpec(msgspec.Struct, frozen=True):
    """Results of earlier runs with which the run is compared.

    `tolerance` is the relative change, as a fraction, up to which a metric counts as unchanged."""

    runs: tuple[Result, ...]
    tolerance: float
    is_forced: bool = False
    """True to compare even if environment differences make the runs incomparable."""


class RunSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Specification of a run against an endpoint.

    `endpoint` contains resolved secrets and is never stored. If the run starts its target, the URL
    is set later."""

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
    """True to measure the capacity of the load generator even if a recent calibration is stored."""
    standalone_model: StandaloneModelSpec | None = None
    """Model of the embedded endpoint, measured standalone before it is served; `None` without a
    standalone measurement."""
    is_local_target: bool = False
    """True if the only target runs on this machine, so that GPU power and energy are attributed to
    it."""
    start: StartSpec | None = None
    may_be_scaled_to_zero: bool = False
    """True if the endpoint may be scaled to zero: the run retries until it responds, and reports
    the cold start time."""
    gating: Gating = Gating()
    notes: tuple[str, ...] = ()
    """Notes for the result that are known before the run, such as a proxy or a scripted target."""
    workload_hash: str | None = None
    chance_accuracy: float | None = None
    """Accuracy of always predicting the most frequent label; `None` without labels."""
    baseline: BaselineSpec | None = None
    """Baseline with which the result is compared."""
    is_demonstration: bool = False
    """True for a demonstration, such as `quickstart`: the plan is also computed from an INVALID
    measurement, whose capacity then counts as assumed, and neither an INVALID measurement nor a
    missed objective makes the run fail."""
