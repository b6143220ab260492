"""Structure of `result.json`, which holds all data shown for a run; schema 3.

Schema 1 is the schema of version 0.1.0; since schema 2, checks and exit causes have IDs. New fields
do not change the schema number; a removed field or a changed meaning increases it.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from app.records.breakdown import LatencyBreakdown as LatencyBreakdown
from app.records.checks import Check as Check
from app.records.checks import CheckId as CheckId
from app.records.checks import Validity as Validity
from app.records.comparison import Comparison
from app.records.estimate import Basis as Basis
from app.records.estimate import Count, TokenSample
from app.records.estimate import Estimate as Estimate
from app.records.estimate import Variant as Variant
from app.records.gpu import MigInstance
from app.records.local import LocalResult
from app.records.metrics import METRICS, RUN_METRICS, display_unit, metric_label
from app.records.plan import Fleet as Fleet
from app.records.plan import Plan as Plan
from app.records.plan import Recommendation as Recommendation
from app.records.selftest import SelfTestSummary
from app.records.server_counters import LatencyComparison as LatencyComparison
from app.records.server_counters import ServerCounters as ServerCounters
from app.records.stage_kinds import StageKind as StageKind
from app.records.stage_kinds import format_stage_label
from app.records.traffic import Traffic as Traffic

SCHEMA = 3

ObjectiveOutcome = Literal["PASS", "FAIL", "INCONCLUSIVE"]
ArrivalKind = Literal["constant", "poisson", "gamma", "trace", "closed", "locust", "batch"]

SWEEP_TAG = "sweep"
"""Key of the tag that marks the stages of a sweep."""
CLASS_TAG = "class"
"""Key of the tag that limits an objective to one class of requests."""


class Verdict(msgspec.Struct, frozen=True):
    status: Validity
    reasons: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()
    """Reasons for the verdict that no check of the result states."""


class Objective(msgspec.Struct, frozen=True):
    """An objective of the form `metric.aggregate comparator limit`, as profiles write objectives.
    If the metric is a share, `limit` is a fraction: 0.1 % is 0.001."""

    text: str
    metric: str
    aggregate: str | None
    comparator: Literal["<", "<=", ">", ">="]
    limit: float
    level: Literal["fail", "warn"] = "fail"
    implied: bool = False
    """True for the default error limit, which is added to an SLO without a limit on errors."""
    tags: dict[str, str] = {}
    """Tags that a stage must have for the objective to apply; the key `stage` is matched against
    the stage's name."""
    of: str | None = None
    """Reference metric of the same stage, if the limit is a fraction of that metric's value; None
    for an absolute limit."""
    is_change: bool = False
    """True if the objective limits the relative change of the metric against the baseline; the
    limit is then a fraction."""
    request_share: float | None = None
    """Share of the arrivals that the profile gives to the objective's class of requests; None
    without a class."""

    @property
    def name(self) -> str:
        """Identifier of metric and aggregate, such as `latency_ms.p99_9`."""
        return self.metric if self.aggregate is None else f"{self.metric}.{self.aggregate}"

    @property
    def request_class(self) -> str | None:
        """Class of requests to which the objective applies; None if it applies to all requests."""
        return self.tags.get(CLASS_TAG)

    @property
    def label(self) -> str:
        """Display text of the objective, such as `p95 latency < 50 ms`, or `p95 latency (chat) < 50
        ms` for one class of requests. Files and profiles use the notation in `text` instead."""
        metric = METRICS.get(self.metric) or RUN_METRICS.get(self.metric)
        is_share = self.is_change or self.of is not None or (metric is not None and metric.unit == "share")
        limit_text = f"{self.limit * 100:.12g} %" if is_share else f"{self.limit:.12g}"
        unit_suffix = "" if is_share or metric is None else f" {display_unit(metric.unit)}"
        change_prefix = "change of " if self.is_change else ""
        share_suffix = "" if self.of is None else f" of {metric_label(self.of)}"
        class_suffix = "" if self.request_class is None else f" ({self.request_class})"
        return (
            f"{change_prefix}{metric_label(self.name)}{class_suffix} {self.comparator} "
            f"{limit_text}{unit_suffix}{share_suffix}"
        )


class ObjectiveResult(msgspec.Struct, frozen=True):
    """An objective and its outcome: PASS or FAIL if the whole confidence interval of the observed
    value is on one side of the limit, otherwise INCONCLUSIVE."""

    objective: Objective
    observed: Estimate
    outcome: ObjectiveOutcome
    stage: str | None = None
    """Label of the stage in which `observed` was measured; if the objective applies to several stages, the stage
    with the worst value."""


class Window(msgspec.Struct, frozen=True):
    """Measurement window of a stage, in ns on the monotonic clock. The metrics of the stage are
    computed from the requests in this window."""

    start_ns: int
    end_ns: int


class SteadyState(msgspec.Struct, frozen=True):
    """Part of a stage in which the number of requests in flight is level, and its metrics.

    `in_flight` is the median number of requests in flight. `metrics` has estimates by metric name,
    then by aggregate, as those of the stage.
    """

    window: Window
    in_flight: float
    metrics: dict[str, dict[str, Estimate]]


class Spike(msgspec.Struct, frozen=True):
    """Effect of a rate spike. Durations are in s; the value of an estimate is None, with a reason,
    if the event did not occur."""

    baseline_per_s: float
    peak_per_s: float
    spike_s: float
    slo_violated_s: Estimate
    """Time in s from the first to the last second in which the SLO was violated, including both."""
    backlog_peak: Estimate
    """Maximum backlog: the number of requests that are past their scheduled start but not
    completed."""
    drained_s: Estimate
    """Time in s from the end of the spike until the backlog fell to the 99th percentile of the
    backlog before the spike."""


class WorkerData(msgspec.Struct, frozen=True):
    """Data of one of several load workers. `lost_ns` is the time of the worker's last message if
    the worker was lost, otherwise None.

    `clock_residual_ms` is the largest observed deviation of the worker's clock from the linear fit
    that converts the worker's timestamps; None if the worker runs on the machine of the master and
    reads the same clock.
    """

    worker: Count
    host: str
    pid: Count
    cpu_s: float
    sent: Count
    max_lag_ms: float
    clock_residual_ms: float | None = None
    lost_ns: int | None = None
    cpu_wait_s: float | None = None
    """Total time in s that the sending thread waited for a CPU core while ready to run; None if not
    reported by the worker's OS."""


SessionOutcomeName = Literal["completed", "failed", "context_limit", "unusable_response", "cut_off"]
"""Reason for the end of a session with a live history. `unusable_response`: the next request could
not contain a response, because a tool call was malformed or the texts were too large. `cut_off`:
the stage ended before the session."""


class SessionSummary(msgspec.Struct, frozen=True):
    """Sessions with a live history that were started in a stage, including lead-in and drain, and
    the CPU time that the load generator needed to build a request from the server's responses, in
    µs."""

    outcomes: dict[SessionOutcomeName, Count]
    built_requests: Count
    build_mean_us: float | None
    build_max_us: float | None


class OutputSummary(msgspec.Struct, frozen=True):
    """Content of the successful responses of a stage, including lead-in and drain.

    `calling_responses` of the `responses` call tools, `tool_calls` times in total. `checked`
    responses were checked against a JSON schema, and `valid` of them match it. The others are
    failures of the class `bad-output`.
    """

    responses: Count = 0
    calling_responses: Count = 0
    tool_calls: Count = 0
    checked: Count = 0
    valid: Count = 0


class ErrorSample(msgspec.Struct, frozen=True):
    """First failure of an error class. `text` contains no secrets, headers or bodies."""

    error: str
    at_ns: int
    text: str


class BatchSummary(msgspec.Struct, frozen=True):
    """Job of the Batch API.

    `upload_s` is the duration of the upload in s, and `job_s` the time in s from the creation of
    the job until its end was observed. `expired` and `cancelled` requests were not processed before
    the end of the job. `tokens_in` and `tokens_out` are the totals of the completed requests; None
    if the server does not report them. `detail` is the server's reason for a failed job.
    """

    status: Literal["completed", "failed", "expired", "cancelled"]
    upload_s: float
    job_s: float
    requests: Count
    completed: Count
    failed: Count
    expired: Count
    cancelled: Count
    tokens_in: Count | None = None
    tokens_out: Count | None = None
    detail: str | None = None


class TokenTotals(msgspec.Struct, frozen=True):
    """Tokens of the successful requests of a class, as the responses report them. A number is None
    if no response reports it. `cached_input_tokens` are the input tokens that a prefix cache
    served, and are part of `input_tokens`."""

    responses: Count
    input_tokens: Count | None
    cached_input_tokens: Count | None
    output_tokens: Count | None


class ClassSummary(msgspec.Struct, frozen=True, kw_only=True):
    """Results of the requests of one class in a stage.

    `weight_share` is the share of the arrivals that the profile gives to the class, and `requests`
    the number of its scheduled requests. `metrics` has estimates by metric name, then by aggregate,
    as those of the stage; goodput counts the responses within the limits of the class.
    """

    name: str
    weight_share: float
    requests: Count
    completed: Count
    errors: dict[str, Count]
    offered_per_s: Estimate
    achieved_per_s: Estimate
    good_per_s: Estimate
    metrics: dict[str, dict[str, Estimate]]
    tokens: TokenTotals | None = None
    """Totals of the tokens; None if the responses have no tokens."""
    meets_slo: bool | None = None
    """True if the point estimates met the objectives of the class. None if it has no objectives, or
    if there were too few responses."""


class Stage(msgspec.Struct, frozen=True):
    name: str
    kind: StageKind
    repeat: Count
    tags: dict[str, str]
    variant: Variant | None
    window: Window
    offered_per_s: Estimate
    achieved_per_s: Estimate
    good_per_s: Estimate
    completed: Count
    errors: dict[str, Count]
    metrics: dict[str, dict[str, Estimate]]
    """Estimates by metric name, then by aggregate; a metric without aggregates has the single key
    "value"."""
    verdict: Verdict
    checks: tuple[Check, ...] = ()
    meets_slo: bool | None = None
    """True if the point estimates met the SLO. None if the SLO was not evaluated (for a warm-up),
    or if there were too few responses."""
    scheduled_per_s: float | None = None
    """Requested rate of the open-loop arrivals; `offered_per_s` is the rate of the arrivals as
    drawn from their distribution. None in a closed loop."""
    concurrency: Count | None = None
    """Number of closed-loop clients; None in an open loop."""
    spike: Spike | None = None
    arrivals: str | None = None
    """Description of the arrivals, such as "Poisson, ramp 10→200 req/s"."""
    arrival_kind: ArrivalKind | None = None
    arrival_cv: float | None = None
    """Coefficient of variation of the interarrival times of gamma arrivals."""
    rates: tuple[tuple[float, float], ...] = ()
    """Rate curve of open-loop arrivals, as points (seconds from the start of the stage, rate per
    second) with linear interpolation."""
    think_s: float = 0.0
    """Mean think time in s: the pause between a response and the next request of the same
    closed-loop client."""
    sessions: bool = False
    """True if `scheduled_per_s` is in sessions per second; the measured rates are always in
    requests per second."""
    workers: tuple[WorkerData, ...] = ()
    """Load workers that sent the requests of the stage; empty if there was only one load worker."""
    error_samples: tuple[ErrorSample, ...] = ()
    """First failure of each error class among all requests of the stage, including lead-in and
    drain."""
    live_sessions: SessionSummary | None = None
    """Sessions whose requests contained the server's own responses; None for other workloads."""
    outputs: OutputSummary | None = None
    """Tool calls and structured output of the responses; None unless the workload has tools or
    checks responses against a JSON schema."""
    lengths: TokenSample | None = None
    """Sample of the input and output lengths, in tokens, of the completed requests, from which
    plans draw simulated requests."""
    server: ServerCounters | None = None
    """What the target's servers counted during the stage; None if they report no known counters."""
    server_latencies: tuple[LatencyComparison, ...] = ()
    """Mean latencies of the server beside the client's; empty if the server reports none."""
    round_trip_ms: float | None = None
    """Mean of the lowest TCP round-trip time of each connection, to the first hop that ends a TCP
    connection. None if the OS does not report it, and for Unix sockets and gRPC."""
    steady_state: SteadyState | None = None
    """Part of the stage after its ramp-up and before its end; None if the whole stage is steady, or
    less than half of it, or if its load varies by design."""
    breakdown: tuple[LatencyBreakdown, ...] = ()
    """Parts of the latency, on average and around percentiles; empty without successful
    requests."""
    classes: tuple[ClassSummary, ...] = ()
    """Results of each class of requests; empty if the workload has no classes."""
    batch: BatchSummary | None = None
    """End of the job; None unless the stage is a job of the Batch API."""
    in_headline: bool = False
    """True if this stage contributes to the headline metrics of the run or, in a local run, of the
    variant. The field is set when the run ends or is re-evaluated."""

    @property
    def label(self) -> str:
        """Display name: the name, with the number among the repeats from the second on, such as
        `steady #2`."""
        return format_stage_label(self.name, self.repeat)

    def find_class(self, name: str) -> ClassSummary | None:
        return next((summary for summary in self.classes if summary.name == name), None)

    @property
    def is_pooled(self) -> bool:
        """True if this stage pools the requests of several stages, which are also listed in the
        result."""
        return "pooled" in self.tags


class MaxRate(msgspec.Struct, frozen=True):
    """Highest offered rate that met the SLO in all its repeats. `limited_by` explains why the next
    higher rate failed."""

    per_s: Estimate
    slo: tuple[str, ...]
    limited_by: str
    is_lower_bound: bool = False
    """True if no higher rate was shown to miss the SLO; the endpoint may sustain more."""
    sessions: bool = False
    """True if the rates are in sessions per second instead of requests per second."""
    is_generator_limit: bool = False
    """True if the search ended at the capacity of the load generator. The rate is then the highest
    rate that the load generator can send reliably, not the max rate of the endpoint."""
    failed_per_s: float | None = None
    """Lowest rate above `per_s` that missed the SLO, as described by `limited_by`. None if no rate
    missed the SLO, or if the search ended at the capacity of the load generator."""


class Knee(msgspec.Struct, frozen=True):
    """Knee of a sweep, determined by one method: the load from which latency rises faster than
    throughput.

    `at` is the load at the knee in requests per second or in clients, as stated by `load`; None,
    with the `reason`, if the method found no knee. `latency_ms` is the mean latency at the knee.
    """

    method: Literal["power", "chord", "two lines"]
    load: Literal["rate", "clients"]
    at: float | None
    latency_ms: float | None
    reason: str | None = None


class DeclaredHardware(msgspec.Struct, frozen=True, kw_only=True):
    """Hardware declared in a profile: one instance of `offer`, or the hardware that the other
    fields describe. `replicas` is the number of replicas of the model that share this hardware."""

    offer: str | None = None
    accelerator: str | None = None
    accelerator_count: float = 0
    vcpus: float | None = None
    architecture: str | None = None
    replicas: Count = 1


class Hardware(DeclaredHardware, frozen=True):
    """Hardware on which a load curve was measured. The hardware of one replica is the total divided
    by `replicas`."""

    description: str
    is_this_machine: bool = False


class Target(msgspec.Struct, frozen=True):
    protocol: str
    urls: tuple[str, ...]
    """URLs of all replicas across which the load was spread; empty if the profile has no URL."""
    model: str | None
    hardware: Hardware | None


class Environment(msgspec.Struct, frozen=True):
    """Environment of the measurement: machine, OS, drivers and packages. Values that could not be
    read are None."""

    host: str
    os: str
    python: str
    cpu_model: str | None
    cpu_architecture: str
    physical_cores: Count | None
    logical_cores: Count
    memory_gib: float
    cpu_governor: str | None
    cpu_limit_cores: float | None
    gpus: tuple[Gpu, ...]
    nvidia_driver: str | None
    onnxruntime: str | None
    providers: tuple[str, ...]
    """ONNX Runtime execution providers that could open a session on this machine. The ONNX Runtime
    build may contain further execution providers."""
    packages: dict[str, str]
    clock_resolution_ns: int
    fingerprint: str
    """Hash of the environment's fields that affect the comparability of two runs."""
    gpu_note: str | None = None
    """Driver message about missing GPUs; None without a message or without a driver."""


class Gpu(msgspec.Struct, frozen=True):
    index: Count
    name: str
    uuid_hash: str | None
    memory_gib: float | None
    power_limit_w: float | None
    """Enforced power limit in W. `power_limit_default_w` is the default limit;
    `power_limit_lowest_w` and `power_limit_highest_w` bound the configurable range."""
    power_limit_default_w: float | None = None
    power_limit_lowest_w: float | None = None
    power_limit_highest_w: float | None = None
    max_sm_clock_mhz: float | None = None
    max_memory_clock_mhz: float | None = None
    pcie_generation: Count | None = None
    """PCIe generation of the link at the time of reading, which an idle GPU may lower.
    `pcie_max_generation` and `pcie_max_width` are the maximum values that both GPU and slot
    support."""
    pcie_width: Count | None = None
    pcie_max_generation: Count | None = None
    pcie_max_width: Count | None = None
    vbios: str | None = None
    driver: str | None = None
    cuda_driver: str | None = None
    """Latest CUDA version supported by the driver, such as "13.1"."""
    mig: tuple[MigInstance, ...] = ()


class Clock(msgspec.Struct, frozen=True):
    """Time base of all rows: the monotonic clock. Wall-clock time is stored only for the start of
    the run; `wall_to_monotonic_ratio` is the ratio of the elapsed times on the two clocks over the
    run."""

    monotonic_start_ns: int
    wall_start: str
    duration_s: float
    wall_to_monotonic_ratio: float | None
    load_start_ns: int | None = None
    """Start of the first stage in ns, including warm-up, after preflight and calibration. The time
    axis of the run starts at this time."""


class Artifact(msgspec.Struct, frozen=True):
    path: str
    sha256: str


CauseId = Literal[
    "interrupted", "limit", "cut_short", "invalid", "target_failed", "target_lost", "requests_failed",
    "objective_failed", "objective_inconclusive", "change_failed", "slo_below_idle_latency", "errors_without_load",
    "no_rate",
    "rate_undecided", "no_variant", "baseline_refused", "baseline_regressed", "baseline_inconclusive",
]  # fmt: skip


class Cause(msgspec.Struct, frozen=True):
    """One cause of a run's exit code. `code` is the exit code that the run would have if this were
    the only cause."""

    id: CauseId
    code: Count
    text: str


class Exit(msgspec.Struct, frozen=True):
    """Exit code of a run and its causes. `code` is the code of the first cause, except that a
    demonstration (`quickstart`) has `code` 0 if only its validity or its objectives failed."""

    code: Count
    causes: tuple[Cause, ...] = ()

    @property
    def first_code(self) -> int:
        """Exit code of the first cause, which is the exit code of every run except a demonstration;
        `code` if there are no causes."""
        return self.causes[0].code if self.causes else self.code

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(cause.text for cause in self.causes)


class Tool(msgspec.Struct, frozen=True):
    name: str
    version: str


class ColdStart(msgspec.Struct, frozen=True):
    """Cold-start times, measured from the start command (or from the first request to a target that
    scaled to zero): until the target is ready, until its first response, and until the first of
    three consecutive windows whose medians agree."""

    ready_ms: Estimate
    first_response_ms: Estimate
    steady_ms: Estimate


class PrefixReuse(msgspec.Struct, frozen=True):
    """Use of the prefix cache during the measured load, as shares of the prompt tokens.

    `offered_share` is what a cache of unlimited capacity with blocks of `block_tokens` tokens can
    serve, according to the hash IDs of the trace; None without hash IDs. `served_share` is what the
    target's servers report; None if they do not report it.
    """

    offered_share: float | None
    served_share: float | None
    block_tokens: Count


class Reevaluation(msgspec.Struct, frozen=True):
    """Parameters of a re-evaluation of a stored run: another SLO, or a time range in s from the
    start of the run."""

    slo: tuple[str, ...] | None
    window_s: tuple[float, float] | None
    original_exit_code: Count
    """Exit code of the run before the re-evaluation."""


class ShapePlan(msgspec.Struct, frozen=True):
    """Plan for a language model that was not measured, calculated from its shape alone. Nothing
    that the run measured is part of this plan."""

    model: str
    plan: Plan


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
    """Knees of the sweep, by three methods; empty if the run has no sweep."""
    slo: tuple[ObjectiveResult, ...]
    gates: tuple[ObjectiveResult, ...]
    plan: Plan | None
    shape_plan: ShapePlan | None = None
    """Separate plan for a language model that the run did not measure; None unless the run is a
    demonstration with a language model."""
    comparison: Comparison | None = None
    workload_hash: str | None = None
    """Hash of the request contents, independent of the target and the load."""
    cold_start: ColdStart | None = None
    prefix_reuse: PrefixReuse | None = None
    """Use of the prefix cache; None if neither the prompts nor the servers determine it."""
    local: LocalResult | None = None
    """Data of each variant in addition to its stages; None unless a local model was measured."""
    notes: tuple[str, ...] = ()
    """Notes on how the run was measured, such as approximate prompt lengths or the source of token
    counts."""
    selftest: SelfTestSummary | None = None
    """Summary of the last self-test of this machine and Sizewise version at the time of the run;
    None if there was no self-test."""
    reevaluation: Reevaluation | None = None
    """Parameters of the re-evaluation that produced this result; None for the original result of a
    run."""
    artifacts: tuple[Artifact, ...]
    exit: Exit

    @property
    def time_zero_ns(self) -> int:
        """Zero of the run's time axis in charts and tables, in ns: the start of the load or, for a
        run without load, the start of the run."""
        if self.clock.load_start_ns is not None:
            return self.clock.load_start_ns
        starts_ns = [stage.window.start_ns for stage in self.stages if stage.variant is None]
        return min(starts_ns, default=self.clock.monotonic_start_ns)
