"""`result.json`: all data shown for a run, schema 3.

Schema history: 1 is that of version 0.1.0; since 2, checks and exit causes have ids. Additions keep the number; a
change of meaning or a removal raises it.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from app.records.checks import Check as Check
from app.records.checks import CheckId as CheckId
from app.records.checks import Validity as Validity
from app.records.comparison import Comparison
from app.records.estimate import Basis as Basis
from app.records.estimate import Estimate as Estimate
from app.records.estimate import TokenSample
from app.records.estimate import Variant as Variant
from app.records.gpu import MigInstance
from app.records.local import LocalResult
from app.records.metrics import METRICS, RUN_METRICS, display_unit, metric_label
from app.records.plan import Fleet as Fleet
from app.records.plan import Plan as Plan
from app.records.plan import Recommendation as Recommendation
from app.records.selftest import SelfTestSummary
from app.records.traffic import Traffic as Traffic

SCHEMA = 3

ObjectiveOutcome = Literal["PASS", "FAIL", "INCONCLUSIVE"]
ArrivalKind = Literal["constant", "poisson", "gamma", "trace", "closed", "locust"]
StageKind = Literal["warmup", "probe", "step", "steady", "closed", "varying", "spike"]
"""Kind of a stage. `closed`: clients that wait for responses; `varying`: a rate that changes continuously; `spike`: a
rate that jumps up and returns. Only probes, holds and steady stages are points of the capacity curve."""


SWEEP_TAG = "sweep"
"""Tag of the stages of a sweep."""


class Verdict(msgspec.Struct, frozen=True):
    status: Validity
    reasons: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()
    """Reasons that no check of the result states."""


class Objective(msgspec.Struct, frozen=True):
    """An objective `metric.aggregate comparator limit`, as a profile writes it. The limit of a share is a fraction: 0.1
    % is 0.001."""

    text: str
    metric: str
    aggregate: str | None
    comparator: Literal["<", "<=", ">", ">="]
    limit: float
    level: Literal["fail", "warn"] = "fail"
    implied: bool = False
    """True for the default error limit, which applies to an SLO that sets no limit on errors."""
    tags: dict[str, str] = {}
    """Tags that a stage must have to be evaluated; `stage` is a stage's name."""
    of: str | None = None
    """Metric of the same stage; the limit is a share of it."""
    is_change: bool = False
    """True if the objective is on the relative change of the metric against the baseline; the limit is such a share."""

    @property
    def name(self) -> str:
        """Identifier of the metric and its aggregate, such as `latency_ms.p99_9`."""
        return self.metric if self.aggregate is None else f"{self.metric}.{self.aggregate}"

    @property
    def label(self) -> str:
        """Display text, such as `p95 latency < 50 ms`; stored files and profiles have `text`."""
        metric = METRICS.get(self.metric) or RUN_METRICS.get(self.metric)
        is_share = self.is_change or self.of is not None or (metric is not None and metric.unit == "share")
        limit = f"{self.limit * 100:.12g} %" if is_share else f"{self.limit:.12g}"
        unit = "" if is_share or metric is None else f" {display_unit(metric.unit)}"
        change = "change of " if self.is_change else ""
        share = "" if self.of is None else f" of {metric_label(self.of)}"
        return f"{change}{metric_label(self.name)} {self.comparator} {limit}{unit}{share}"


class ObjectiveResult(msgspec.Struct, frozen=True):
    """An objective evaluated on an estimate: PASS or FAIL if the whole confidence interval is on one side of the
    limit."""

    objective: Objective
    observed: Estimate
    outcome: ObjectiveOutcome
    stage: str | None = None
    """Stage in which the value was observed: the worst of several."""


class Window(msgspec.Struct, frozen=True):
    """Measurement window of a stage, in monotonic ns: its numbers are computed from requests within it."""

    start_ns: int
    end_ns: int


class Spike(msgspec.Struct, frozen=True):
    """Effect of a jump of the rate. Durations are in s; None, with the reason, if the event did not occur."""

    baseline_per_s: float
    peak_per_s: float
    spike_s: float
    slo_violated_s: Estimate
    """Time from the first second that violated the SLO to the last, in s."""
    backlog_peak: Estimate
    """Maximum number of requests due and not yet completed."""
    drained_s: Estimate
    """Time from the end of the spike until the backlog was back at its earlier level, in s."""


class WorkerData(msgspec.Struct, frozen=True):
    """Data of one of several load workers. `lost_ns` is the time of the last message from a lost worker.

    `clock_residual_ms` is the maximum observed distance of its clock from the line used to translate its times; None if
    it reads the clock of the engine's own machine.
    """

    worker: int
    host: str
    pid: int
    cpu_s: float
    sent: int
    max_lag_ms: float
    clock_residual_ms: float | None = None
    lost_ns: int | None = None
    cpu_wait_s: float | None = None
    """Time in which the sending thread was ready to run and had no core, in s; None if not reported by its OS."""


class ErrorSample(msgspec.Struct, frozen=True):
    """The first failure of an error class, in text without secrets: no headers and no bodies."""

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
    """Estimates by metric name, then by aggregate; a metric without aggregates has the single key "value"."""
    verdict: Verdict
    checks: tuple[Check, ...] = ()
    meets_slo: bool | None = None
    """True if the point estimates met every SLO; None if nothing was evaluated (a warm-up), or with too few
    responses."""
    scheduled_per_s: float | None = None
    """Rate at which the arrivals were scheduled, which `offered_per_s` approximates; None in a closed loop."""
    concurrency: int | None = None
    """Number of clients of a closed loop."""
    spike: Spike | None = None
    arrivals: str | None = None
    """Text that describes the arrivals, such as "Poisson, ramp 10→200 req/s"."""
    arrival_kind: ArrivalKind | None = None
    arrival_cv: float | None = None
    """Coefficient of variation of the gaps of gamma arrivals."""
    rates: tuple[tuple[float, float], ...] = ()
    """Rate curve of open arrivals, as in StageData."""
    think_s: float = 0.0
    """Mean pause of a closed-loop client between a response and its next request."""
    sessions: bool = False
    """True if `scheduled_per_s` is in sessions per second; the other rates are in requests per second."""
    workers: tuple[WorkerData, ...] = ()
    """Load workers that sent the stage, if there were several."""
    error_samples: tuple[ErrorSample, ...] = ()
    """First failure per error class among all requests of the stage, including its lead-in and drain."""
    lengths: TokenSample | None = None
    """Joint input and output lengths of the completed requests, for use in plan simulations."""
    in_headline: bool = False
    """True if the headline numbers of the run are based on this stage; for a local run, the numbers of its variant. Set
    when the run is concluded or evaluated again."""

    @property
    def is_pooled(self) -> bool:
        """True if this entry pools several stages, which are also in the result themselves."""
        return "pooled" in self.tags


class MaxRate(msgspec.Struct, frozen=True):
    """The highest offered rate that met every SLO in all its repeats, and the reason why the next higher one did
    not."""

    per_s: Estimate
    slo: tuple[str, ...]
    limited_by: str
    is_lower_bound: bool = False
    """True if no higher rate was tried, so that the endpoint may sustain more."""
    sessions: bool = False
    """True if the rate is in sessions per second, not in requests per second."""
    is_generator_limit: bool = False
    """True if the load generator ended the search: the rate is the highest that it can send reliably, not the
    endpoint's limit."""
    failed_per_s: float | None = None
    """Lowest higher rate that missed the SLO, described by `limited_by`; None if none did, or if the generator ended
    the search."""


class Knee(msgspec.Struct, frozen=True):
    """Knee of a sweep, where latency starts to rise faster than throughput, by one method; None with the `reason`.

    `at` is in requests per second or in clients, depending on `load`; `latency_ms` is the mean there.
    """

    method: Literal["power", "chord", "two lines"]
    load: Literal["rate", "clients"]
    at: float | None
    latency_ms: float | None
    reason: str | None = None


class Hardware(msgspec.Struct, frozen=True):
    """Hardware on which one curve was measured; one replica's share of it is `total / replicas`."""

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
    """URLs of all replicas over which the load was spread; empty if the profile gives none."""
    model: str | None
    hardware: Hardware | None


class Environment(msgspec.Struct, frozen=True):
    """The machine on which the measurement was made. Values that could not be read are None."""

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
    """ONNX Runtime providers that could open a session here, which may be fewer than the build lists."""
    packages: dict[str, str]
    clock_resolution_ns: int
    fingerprint: str
    """Hash that changes if any value above that matters for comparing two runs changes."""
    gpu_note: str | None = None
    """Message of the driver about missing GPUs; None if there is no driver at all."""


class Gpu(msgspec.Struct, frozen=True):
    index: int
    name: str
    uuid_hash: str | None
    memory_gib: float | None
    power_limit_w: float | None
    """Power limit in force, in W; the next three fields are the default limit and the lowest and highest that can be
    set."""
    power_limit_default_w: float | None = None
    power_limit_lowest_w: float | None = None
    power_limit_highest_w: float | None = None
    max_sm_clock_mhz: float | None = None
    max_memory_clock_mhz: float | None = None
    pcie_generation: int | None = None
    """PCIe generation of the link at the time of reading, which an idle card may lower; `pcie_max_*` is the maximum of
    card and slot."""
    pcie_width: int | None = None
    pcie_max_generation: int | None = None
    pcie_max_width: int | None = None
    vbios: str | None = None
    driver: str | None = None
    cuda_driver: str | None = None
    """Newest CUDA version that the driver supports, such as "13.1"."""
    mig: tuple[MigInstance, ...] = ()


class Clock(msgspec.Struct, frozen=True):
    """Time base of all rows. Wall time is stored once; the ratio compares the two clocks over the run."""

    monotonic_start_ns: int
    wall_start: str
    duration_s: float
    wall_to_monotonic_ratio: float | None
    load_start_ns: int | None = None
    """Start of the first stage, including warm-up, after preflight and calibration. Times of a run count from here."""


class Artifact(msgspec.Struct, frozen=True):
    path: str
    sha256: str


CauseId = Literal[
    "interrupted", "limit", "cut_short", "invalid", "target_failed", "objective_failed", "objective_inconclusive",
    "change_failed", "no_rate", "no_variant", "baseline_refused", "baseline_regressed", "baseline_inconclusive",
]  # fmt: skip


class Cause(msgspec.Struct, frozen=True):
    """One cause of a run's exit code. `code` is the exit code that this cause alone gives."""

    id: CauseId
    code: int
    text: str


class Exit(msgspec.Struct, frozen=True):
    """Exit code of a run, and its causes; `code` is that of the first. A demonstration (`quickstart`) has `code` 0 if
    its measurement or its objectives are the only causes."""

    code: int
    causes: tuple[Cause, ...] = ()

    @property
    def first_code(self) -> int:
        """Code of the first cause, with which any run but a demonstration ends; 0 without a cause."""
        return self.causes[0].code if self.causes else self.code

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(cause.text for cause in self.causes)


class Tool(msgspec.Struct, frozen=True):
    name: str
    version: str


class ColdStart(msgspec.Struct, frozen=True):
    """Cold-start times from the command (or from the first request to a sleeping target) to readiness, to the first
    response, and to the first of three consecutive windows whose medians agree."""

    ready_ms: Estimate
    first_response_ms: Estimate
    steady_ms: Estimate


class Rescoring(msgspec.Struct, frozen=True):
    """Parameters of a re-evaluation of a stored run: another SLO, or a part of its time (in s from its start)."""

    slo: tuple[str, ...] | None
    window_s: tuple[float, float] | None
    original_exit_code: int
    """Exit code of the original run."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    schema: Literal[3] = 3
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
    """Knees of the sweep, by three methods; empty without a sweep."""
    slo: tuple[ObjectiveResult, ...]
    gates: tuple[ObjectiveResult, ...]
    plan: Plan | None
    comparison: Comparison | None = None
    workload_hash: str | None = None
    """Hash of the requests, independent of the target and the load."""
    cold_start: ColdStart | None = None
    local: LocalResult | None = None
    """Data of each variant besides its stages, for a run of a local model."""
    notes: tuple[str, ...] = ()
    """Notes on how the run was measured: approximate prompt lengths, the source of token counts."""
    selftest: SelfTestSummary | None = None
    """Last self-test of this machine and version at the time of the run; None if there was none."""
    rescoring: Rescoring | None = None
    """Parameters of the re-evaluation that this result comes from; None for a run's original result."""
    artifacts: tuple[Artifact, ...]
    exit: Exit

    @property
    def time_zero_ns(self) -> int:
        """Start of the run's time axis for charts, windows and tables, in ns: the start of its load, or of the run if
        it has no load."""
        if self.clock.load_start_ns is not None:
            return self.clock.load_start_ns
        starts_ns = [stage.window.start_ns for stage in self.stages if stage.variant is None]
        return min(starts_ns, default=self.clock.monotonic_start_ns)


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of `result.json`, as published in docs/result.schema.json."""
    schema = msgspec.json.schema(Result)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Sizewise result, schema {SCHEMA}",
        **schema,
    }


if __name__ == "__main__":
    import sys

    sys.stdout.write(msgspec.json.format(msgspec.json.encode(json_schema()), indent=2).decode() + "\n")
