"""Specification of a run against an endpoint: a profile with all settings resolved, including the
load of each stage.

`app.wiring` builds the specification, and the session executes it."""

from __future__ import annotations

import datetime

import msgspec

from app.analysis.gating import Gating
from app.inference.job import VariantJob
from app.records.abort import AbortRule
from app.records.offers import Catalog, PlanLimits
from app.records.planning_inputs import PlanningInputs
from app.records.result import Objective, Result, StageKind, Target, Traffic
from app.records.search import RateShare, SearchSpec
from loadgen.records import Endpoint, StageLoad
from loadgen.workloads import Workload


class ResolvedStage(msgspec.Struct, frozen=True, kw_only=True):
    """A stage with all rates resolved, ready to run. `drain_s` is the maximum time in s to wait for
    responses after the last arrival."""

    name: str
    kind: StageKind
    load: StageLoad
    repeat: int = 1
    drain_s: float
    ends_when_saturated: bool = False
    tags: dict[str, str] = {}


class StageSpec(msgspec.Struct, frozen=True):
    """A stage of the profile. With `rate_share`, the rates in `load.arrivals` are multiples of the
    rate derived from the earlier stage."""

    name: str
    kind: StageKind
    load: StageLoad
    repeat: int = 1
    rate_share: RateShare | None = None
    is_in_sweep: bool = False
    """True if the stage is part of a sweep. The stages of a sweep are in order of increasing
    load."""


class StartSpec(msgspec.Struct, frozen=True):
    """Command that starts the target's own server for the run. The server is stopped after the run.

    The server is ready when `ready_url` responds with a 2xx status. `environment` contains
    environment variables with resolved secrets, which are added to the environment of this
    process."""

    command: tuple[str, ...]
    ready_url: str
    timeout_s: float
    directory: str
    environment: tuple[tuple[str, str], ...] = ()


class LimitSpec(msgspec.Struct, frozen=True):
    """Limits of a run; `None` means no limit. `usd_per_hour` is the price of the target in USD per
    hour."""

    duration_s: float | None = None
    requests: int | None = None
    usd: float | None = None
    usd_per_hour: float | None = None
    abort_when: AbortRule | None = None


class StandaloneModelSpec(msgspec.Struct, frozen=True):
    """Settings of the standalone measurement of the embedded endpoint's model. `max_duration_s` is
    the maximum duration of the measurement per batch size, in s."""

    job: VariantJob
    name: str
    batches: tuple[int, ...]
    max_duration_s: float


class PlanSpec(msgspec.Struct, frozen=True):
    """Inputs of the capacity plan. `today` is the date relative to which the age of prices is
    computed."""

    traffic: Traffic
    limits: PlanLimits
    catalog: Catalog
    today: datetime.date


class BaselineSpec(msgspec.Struct, frozen=True):
    """Baseline of a run: the results of one or more earlier runs.

    `tolerance` is the relative change, as a fraction, up to which a metric counts as unchanged."""

    runs: tuple[Result, ...]
    tolerance: float
    is_forced: bool = False
    """True to compare the runs even if environment differences make them incomparable."""


class RunSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Specification of a run against an endpoint.

    `endpoint` contains resolved secrets and is never stored. If the run starts its target, the URL
    of the target is only known after the start."""

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
    """Settings of the standalone measurement of the embedded endpoint's model; `None` without a
    standalone measurement."""
    is_local_target: bool = False
    """True if the target runs only on this machine, so that the power and energy of the GPUs are
    attributed to the target."""
    start: StartSpec | None = None
    may_be_scaled_to_zero: bool = False
    """True if the endpoint may be scaled to zero. The run then sends requests until one succeeds,
    and reports the cold-start times."""
    gating: Gating = Gating()
    notes: tuple[str, ...] = ()
    """Notes for the result that are known before the run, such as the use of a proxy or a scripted
    target."""
    workload_hash: str | None = None
    chance_accuracy: float | None = None
    """Accuracy of always predicting the most frequent label; `None` without labels."""
    baseline: BaselineSpec | None = None
    """Baseline with which the run is compared; `None` without a comparison."""
    shape_inputs: PlanningInputs | None = None
    """Inputs of a separate plan for a language model that is not measured; `None` without such a
    plan."""
    is_demonstration: bool = False
    """True for a demonstration, such as `quickstart`.

    The plan is then also computed from an INVALID measurement, whose capacity counts as assumed.
    Neither an INVALID measurement nor a missed SLO makes the run fail."""
