"""Specification of one run: a profile with everything resolved.

The wiring builds it and the session reads it. It includes what the stage runner is given for each stage.
"""

from __future__ import annotations

import datetime

import msgspec

from app.analysis.gating import Gating
from app.inference.job import VariantJob
from app.records.abort import AbortRule
from app.records.offers import Catalog, PlanLimits
from app.records.result import Objective, Result, StageKind, Target, Traffic
from loadgen.records import Arrivals, Endpoint, OpenArrivals
from loadgen.workloads import Workload


class StageLoad(msgspec.Struct, frozen=True):
    """Name, kind and load of a stage."""

    name: str
    kind: StageKind
    arrivals: Arrivals
    duration_s: float
    lead_in_s: float = 0.0
    repeat: int = 1


class ResolvedStage(StageLoad, frozen=True, kw_only=True):
    """A stage to run now. `drain_s` is how long to wait for responses after the last arrival, in seconds."""

    drain_s: float
    ends_when_saturated: bool = False
    tags: dict[str, str] = {}


class RateShare(msgspec.Struct, frozen=True):
    """A rate derived from an earlier stage: `share` times its completed requests per second."""

    stage: str
    share: float


class StageSpec(StageLoad, frozen=True):
    """A stage of the profile. With `rate_share`, the rates of the open `arrivals` are multiples of the rate it
    gives."""

    rate_share: RateShare | None = None
    is_in_sweep: bool = False
    """Whether the stage is one of a sweep's loads, which are ordered by increasing rate."""

    @property
    def total_duration_s(self) -> float:
        """Duration of the load in seconds, including the lead-in and excluding the drain."""
        return self.lead_in_s + self.duration_s


class SearchSpec(msgspec.Struct, frozen=True):
    """Search for the highest rate within the SLO.

    `arrivals` have a rate of 1 and are scaled by each tried rate. `max_duration_s` is the time limit in seconds: no
    probe starts that would end later. `None` means no limit.
    """

    arrivals: OpenArrivals
    start_per_s: float
    step_duration_s: float
    repeats: int
    max_duration_s: float | None = None


class StartSpec(msgspec.Struct, frozen=True):
    """Command that starts the target's own server for the run; the server is stopped afterwards.

    The server is ready when `ready_url` responds with a 2xx status. `environment` is added to the environment of this
    process and holds resolved secrets.
    """

    command: tuple[str, ...]
    ready_url: str
    timeout_s: float
    directory: str
    environment: tuple[tuple[str, str], ...] = ()


class LimitSpec(msgspec.Struct, frozen=True):
    """Limits of the run; `None` means no limit. `usd_per_hour` is the cost of the target while it is measured."""

    duration_s: float | None = None
    requests: int | None = None
    usd: float | None = None
    usd_per_hour: float | None = None
    abort_when: AbortRule | None = None


class StandaloneModelSpec(msgspec.Struct, frozen=True):
    """Standalone measurement of the embedded endpoint's model. `max_duration_s` is the maximum time per batch size."""

    job: VariantJob
    name: str
    batches: tuple[int, ...]
    max_duration_s: float


class PlanSpec(msgspec.Struct, frozen=True):
    """Inputs of the capacity plan. `today` is the date used to compute the age of prices."""

    traffic: Traffic
    limits: PlanLimits
    catalog: Catalog
    today: datetime.date


class BaselineSpec(msgspec.Struct, frozen=True):
    """Results of earlier runs to compare with.

    `tolerance` is the relative change, as a fraction, up to which a metric counts as unchanged.
    """

    runs: tuple[Result, ...]
    tolerance: float
    is_forced: bool = False
    """Compare even if a difference between the runs forbids it."""


class RunSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Specification of a run against an endpoint.

    `endpoint` holds resolved secrets and is never written anywhere. If the run starts its target, the URL is filled in
    later.
    """

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
    """Measure the capacity of the load generator even if a recent calibration is stored."""
    standalone_model: StandaloneModelSpec | None = None
    """Model of the embedded endpoint, measured standalone before it is served."""
    is_local_target: bool = False
    """Whether the only target runs on this machine, so that GPU power and energy are attributed to it."""
    start: StartSpec | None = None
    may_be_scaled_to_zero: bool = False
    """Whether the endpoint may be scaled to zero: retry until it responds, and report how long that took."""
    gating: Gating = Gating()
    notes: tuple[str, ...] = ()
    """Notes for the result that are known before the run, such as a proxy in between or a scripted target."""
    workload_hash: str | None = None
    chance_accuracy: float | None = None
    """Accuracy of always predicting the most frequent label; `None` without labels."""
    baseline: BaselineSpec | None = None
    """Baseline that the result is compared with."""
    is_demonstration: bool = False
    """Whether the run shows what Sizewise does, as `quickstart` does: it also plans from an INVALID measurement, whose
    capacity then counts as assumed, and neither the measurement nor an objective fails it."""
