"""What one run is to do: a profile with everything resolved. Made by wiring, read by the session.

What a stage runner is told to run.
"""

from __future__ import annotations

import datetime

import msgspec

from app.analysis.gating import Gating
from app.inference.job import VariantJob
from app.records.abort import AbortRule
from app.records.offers import Catalogue, PlanLimits
from app.records.result import Objective, Result, StageKind, Target, Traffic
from loadgen.records import Arrivals, Endpoint, OpenArrivals
from loadgen.workloads import Workload


class StageLoad(msgspec.Struct, frozen=True):
    """A stage and its load."""

    name: str
    kind: StageKind
    arrivals: Arrivals
    duration_s: float
    lead_in_s: float = 0.0
    repeat: int = 1


class StageOrder(StageLoad, frozen=True, kw_only=True):
    """`drain_s`: how long answers are waited for after the last arrival."""

    drain_s: float
    ends_when_saturated: bool = False
    tags: dict[str, str] = {}


class ShareOf(msgspec.Struct, frozen=True):
    """A rate that an earlier stage decides: this share of what it completed a second."""

    stage: str
    share: float


class StageSpec(StageLoad, frozen=True):
    """With `share_of`, the rates of the open `arrivals` are in units of what that stage gives."""

    share_of: ShareOf | None = None
    in_sweep: bool = False
    """One of a sweep's loads, which come in rising order."""

    @property
    def lasts_s(self) -> float:
        """Its load, without the drain after it."""
        return self.lead_in_s + self.duration_s


class SearchSpec(msgspec.Struct, frozen=True):
    """`arrivals` at a rate of 1, to be scaled by the rate that is tried. `within_s`: no probe is begun that would end
    later than this; None where the search takes the time it needs."""

    arrivals: OpenArrivals
    start_per_s: float
    hold_s: float
    repeats: int
    within_s: float | None = None


class StartSpec(msgspec.Struct, frozen=True):
    """The target's own server, started for the run and stopped after it: up when `ready_url` answers with 2xx.

    `environment` is added to this process's, and holds resolved secrets.
    """

    command: tuple[str, ...]
    ready_url: str
    timeout_s: float
    directory: str
    environment: tuple[tuple[str, str], ...] = ()


class LimitSpec(msgspec.Struct, frozen=True):
    """None is no limit; `usd_per_hour` is what the target costs while it is measured."""

    duration_s: float | None = None
    requests: int | None = None
    usd: float | None = None
    usd_per_hour: float | None = None
    abort_when: AbortRule | None = None


class AloneSpec(msgspec.Struct, frozen=True):
    """`seconds` is the most for each batch."""

    job: VariantJob
    name: str
    batches: tuple[int, ...]
    seconds: float


class PlanSpec(msgspec.Struct, frozen=True):
    """`today` is the date prices are aged against."""

    traffic: Traffic
    limits: PlanLimits
    catalogue: Catalogue
    today: datetime.date


class BaselineSpec(msgspec.Struct, frozen=True):
    """Results of earlier runs; `tolerance` is the share by which a metric may change and still be the same."""

    runs: tuple[Result, ...]
    tolerance: float
    is_forced: bool = False
    """Compare although a difference forbids it."""


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
    alone: AloneSpec | None = None
    """The model of the embedded endpoint, to be measured by itself first."""
    is_here: bool = False
    """A single target, on this machine: what its GPUs take is the target's."""
    start: StartSpec | None = None
    wakes: bool = False
    """The endpoint may be scaled to zero: ask until it answers, and tell how long that took."""
    gating: Gating = Gating()
    notes: tuple[str, ...] = ()
    """Sentences for the result that are known before the run: a proxy between, a scripted target."""
    workload_hash: str | None = None
    accuracy_by_chance: float | None = None
    """What always answering with the most frequent label would score; None without labels."""
    baseline: BaselineSpec | None = None
    """What the result is compared with."""
