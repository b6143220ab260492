"""`result.json`: everything a run shows, schema 2.

Schema history: 1 is that of version 0.1.0; since 2, checks and causes of the exit code have ids. Additions keep the
number; a change of meaning or a removal raises it.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from app.records.checks import Check as Check
from app.records.checks import CheckId as CheckId
from app.records.checks import Trust as Trust
from app.records.comparison import Comparison
from app.records.estimate import Basis as Basis
from app.records.estimate import Estimate as Estimate
from app.records.estimate import TokenSample
from app.records.estimate import Variant as Variant
from app.records.gpu import MigInstance
from app.records.local import LocalResult
from app.records.plan import Fleet as Fleet
from app.records.plan import Plan as Plan
from app.records.plan import Recommendation as Recommendation
from app.records.selftest import SelfTestMark
from app.records.traffic import Traffic as Traffic

SCHEMA = 2

Judgement = Literal["PASS", "FAIL", "INCONCLUSIVE"]
ArrivalKind = Literal["constant", "poisson", "gamma", "trace", "closed", "locust"]
StageKind = Literal["warmup", "probe", "hold", "steady", "closed", "varying", "spike"]
"""`closed`: clients that wait for answers; `varying`: a rate that changes all the time; `spike`: one that jumps up and
comes back. Only probes, holds and steady stages are points of the capacity curve."""


IN_SWEEP = "sweep"
"""Tag of the stages of a sweep."""


class Verdict(msgspec.Struct, frozen=True):
    status: Trust
    reasons: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()
    """Those of the reasons that no check of the result gives."""


class Objective(msgspec.Struct, frozen=True):
    """`metric.aggregate comparator limit`, as a profile says it. The limit of a share is a fraction: 0.1 % is 0.001."""

    text: str
    metric: str
    aggregate: str | None
    comparator: Literal["<", "<=", ">", ">="]
    limit: float
    level: Literal["fail", "warn"] = "fail"
    implied: bool = False
    """No profile said it: an SLO that sets no limit on errors is held to this one."""
    tags: dict[str, str] = {}
    """Only stages that have all of these are judged; `stage` is a stage's name."""
    of: str | None = None
    """The limit is a share of this metric of the same stage."""
    is_change: bool = False
    """What is judged is by what share the metric changed against the baseline; the limit is such a share."""

    @property
    def name(self) -> str:
        """The metric and its aggregate, as `latency_ms.p99_9`."""
        return self.metric if self.aggregate is None else f"{self.metric}.{self.aggregate}"


class Judged(msgspec.Struct, frozen=True):
    """An objective held against an estimate: PASS or FAIL when the whole interval is on one side of the limit."""

    objective: Objective
    observed: Estimate
    judgement: Judgement
    stage: str | None = None
    """The stage it was observed in: the worst one of several."""


class Window(msgspec.Struct, frozen=True):
    """Monotonic nanoseconds: the part of a stage its numbers are taken from."""

    start_ns: int
    end_ns: int


class Spike(msgspec.Struct, frozen=True):
    """What a jump of the rate did. Seconds are None, with the reason, where it never came to it."""

    baseline_per_s: float
    peak_per_s: float
    spike_s: float
    slo_broken_s: Estimate
    """From the first second that broke the SLO to the last."""
    backlog_peak: Estimate
    """The most requests due and not answered at one time."""
    drained_s: Estimate
    """From the end of the spike until the backlog was back at what it was before it."""


class WorkerFacts(msgspec.Struct, frozen=True):
    """What one of several load workers did. `lost_ns`: since when nothing was heard of it.

    `clock_residual_ms`: how far its clock was seen from the line that its times were moved by, at most; None where it
    reads the clock of the engine's own machine.
    """

    worker: int
    host: str
    pid: int
    cpu_s: float
    sent: int
    max_lag_ms: float
    clock_residual_ms: float | None = None
    lost_ns: int | None = None
    waited_s: float | None = None
    """That the thread which sends was ready to run and had no core; None where its system does not tell."""


class ErrorSample(msgspec.Struct, frozen=True):
    """The first failure of a class, in words that hold no secret: nothing of headers, nothing of bodies."""

    error: str
    at_ns: int
    text: str


class Stage(msgspec.Struct, frozen=True):
    name: str
    kind: StageKind
    repeat: int
    tags: dict[str, str]
    variant: Variant | None
    window: Window
    offered_per_s: Estimate
    achieved_per_s: Estimate
    good_per_s: Estimate
    completed: int
    errors: dict[str, int]
    metrics: dict[str, dict[str, Estimate]]
    """By metric name, then by aggregate; a metric without aggregates has the single key "value"."""
    verdict: Verdict
    checks: tuple[Check, ...] = ()
    held: bool | None = None
    """Whether the point estimates met every SLO; None where nothing was judged (a warm-up), or too few answers came."""
    scheduled_per_s: float | None = None
    """The rate the arrivals were drawn at, which `offered_per_s` came near to; None in a closed loop."""
    concurrency: int | None = None
    """Clients of a closed loop."""
    spike: Spike | None = None
    arrivals: str | None = None
    """How requests came, in words: "Poisson along a ramp 10 → 200/s"."""
    arrival_kind: ArrivalKind | None = None
    arrival_cv: float | None = None
    """Coefficient of variation of the gaps of gamma arrivals."""
    sessions: bool = False
    """`scheduled_per_s` is of sessions; the other rates are of their requests."""
    workers: tuple[WorkerFacts, ...] = ()
    """Who sent it, where several did."""
    error_samples: tuple[ErrorSample, ...] = ()
    """One a class, of all that was sent in the stage, its lead-in and drain too."""
    lengths: TokenSample | None = None
    """Joint input and output lengths of the requests that completed, which a plan simulates."""
    in_headline: bool = False
    """Whether the headline numbers of the run are based on it; of a local run, those of its variant. It is set when the
    run is concluded or evaluated again."""

    @property
    def is_pooled(self) -> bool:
        """Several stages together, which stand in the result themselves too."""
        return "pooled" in self.tags


class MaxRate(msgspec.Struct, frozen=True):
    """The highest offered rate that held every SLO in all its repeats, and what stopped the next higher one."""

    per_s: Estimate
    slo: tuple[str, ...]
    limited_by: str
    at_least: bool = False
    """No higher rate failed, for none was tried: the endpoint may carry more."""
    sessions: bool = False
    """The rate is of sessions, not of their requests."""
    is_generators: bool = False
    """What ended the search is the load generator: the rate is what it can vouch for, not what the endpoint carries."""
    failed_per_s: float | None = None
    """The lowest rate above it that missed the SLO, of which `limited_by` tells; None where none did, or where the
    generator ended the search."""


class Knee(msgspec.Struct, frozen=True):
    """Where a sweep's latency begins to cost more than its throughput gains, by one method; None with the `reason`.

    `at` is in requests a second or in clients, by `load`; `latency_ms` is the mean there.
    """

    method: Literal["power", "chord", "two lines"]
    load: Literal["rate", "clients"]
    at: float | None
    latency_ms: float | None
    reason: str | None = None


class Hardware(msgspec.Struct, frozen=True):
    """What one curve was measured on: one replica's share of it is `total / replicas`."""

    description: str
    offer: str | None = None
    accelerator: str | None = None
    accelerator_count: float = 0
    vcpus: float | None = None
    architecture: str | None = None
    replicas: int = 1
    is_this_machine: bool = False


class Target(msgspec.Struct, frozen=True):
    protocol: str
    urls: tuple[str, ...]
    """Of each replica that the load was spread over; empty where the profile gives none."""
    model: str | None
    hardware: Hardware | None


class Environment(msgspec.Struct, frozen=True):
    """The machine the measurement was made on. What could not be read is None."""

    host: str
    os: str
    python: str
    cpu_model: str | None
    cpu_architecture: str
    physical_cores: int | None
    logical_cores: int
    memory_gib: float
    cpu_governor: str | None
    cpu_limit_cores: float | None
    gpus: tuple[Gpu, ...]
    nvidia_driver: str | None
    onnxruntime: str | None
    providers: tuple[str, ...]
    """ONNX Runtime providers that opened a session here, not those the build lists."""
    packages: dict[str, str]
    clock_resolution_ns: int
    fingerprint: str
    """Changes when any of the above that matters for comparing two runs changes."""
    gpu_note: str | None = None
    """Why GPUs that should be there are not, in the driver's words; None where there is no driver at all."""


class Gpu(msgspec.Struct, frozen=True):
    index: int
    name: str
    uuid_hash: str | None
    memory_gib: float | None
    power_limit_w: float | None
    """The limit in force; the three below are what the card comes with, and what may be set."""
    power_limit_default_w: float | None = None
    power_limit_lowest_w: float | None = None
    power_limit_highest_w: float | None = None
    max_sm_clock_mhz: float | None = None
    max_memory_clock_mhz: float | None = None
    pcie_generation: int | None = None
    """Of the link as it was found, which an idle card may slow down; `pcie_max_*` is what card and slot can do."""
    pcie_width: int | None = None
    pcie_max_generation: int | None = None
    pcie_max_width: int | None = None
    vbios: str | None = None
    driver: str | None = None
    cuda_driver: str | None = None
    """The newest CUDA version that the driver can run, as in "13.1"."""
    mig: tuple[MigInstance, ...] = ()


class Clock(msgspec.Struct, frozen=True):
    """One time base for all rows. Wall time is stored once; the ratio compares the two clocks over the run."""

    monotonic_start_ns: int
    wall_start: str
    duration_s: float
    wall_to_monotonic_ratio: float | None
    load_start_ns: int | None = None
    """Start of the first stage, warm-up included, after preflight and calibration. Times of a run count from here."""


class Artifact(msgspec.Struct, frozen=True):
    path: str
    sha256: str


CauseId = Literal[
    "interrupted", "limit", "cut_short", "invalid", "target_failed", "objective_failed", "objective_inconclusive",
    "change_failed", "no_rate", "no_variant", "baseline_refused", "baseline_regressed", "baseline_inconclusive",
]  # fmt: skip


class Cause(msgspec.Struct, frozen=True):
    """One reason for how a run ended. `code` is the exit code that it alone would give."""

    id: CauseId
    code: int
    text: str


class Exit(msgspec.Struct, frozen=True):
    """The exit code of a run, and its causes: `code` is that of the first."""

    code: int
    causes: tuple[Cause, ...] = ()

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(cause.text for cause in self.causes)


class Tool(msgspec.Struct, frozen=True):
    name: str
    version: str


class ColdStart(msgspec.Struct, frozen=True):
    """From the command (or the first request to what sleeps) to readiness, to the first answer, to the first of three
    windows in a row whose medians agree."""

    ready_ms: Estimate
    first_answer_ms: Estimate
    steady_ms: Estimate


class Rescored(msgspec.Struct, frozen=True):
    """That a stored run was judged again: by another SLO, or only in a part of its time (seconds from its start)."""

    slo: tuple[str, ...] | None
    window_s: tuple[float, float] | None
    own_exit_code: int
    """That the run itself ended with."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    schema: Literal[2] = 2
    tool: Tool
    run_id: str
    name: str
    profile_hash: str
    target: Target
    environment: Environment
    clock: Clock
    verdict: Verdict
    validity: tuple[Check, ...]
    stages: tuple[Stage, ...]
    max_rate: MaxRate | None
    knees: tuple[Knee, ...] = ()
    """Of the sweep, by three methods; empty without one."""
    slo: tuple[Judged, ...]
    gates: tuple[Judged, ...]
    plan: Plan | None
    comparison: Comparison | None = None
    workload_hash: str | None = None
    """Of what was asked, whatever the target and the load."""
    cold_start: ColdStart | None = None
    local: LocalResult | None = None
    """Of a run of a local model: what is known of each variant besides its stages."""
    notes: tuple[str, ...] = ()
    """What a reader must know of how it was measured: approximate prompt lengths, where token counts come from."""
    selftest: SelfTestMark | None = None
    """The last one of this machine and version when it was measured; None where there was none."""
    rescored: Rescored | None = None
    """Where this is not the run's own verdict; None where it is."""
    artifacts: tuple[Artifact, ...]
    exit: Exit

    @property
    def zero_ns(self) -> int:
        """Second 0 of the run for charts, windows and tables: the start of its load, or of the run without a load."""
        if self.clock.load_start_ns is not None:
            return self.clock.load_start_ns
        starts_ns = [stage.window.start_ns for stage in self.stages if stage.variant is None]
        return min(starts_ns, default=self.clock.monotonic_start_ns)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of `result.json`, as published in docs/result.schema.json."""
    schema = msgspec.json.schema(Result)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Sizewise result, schema {SCHEMA}",
        **schema,
    }


if __name__ == "__main__":
    import sys

    sys.stdout.write(msgspec.json.format(msgspec.json.encode(json_schema()), indent=2).decode() + "\n")
