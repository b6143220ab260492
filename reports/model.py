"""Schema of `report.json`: all data that a report shows, as numbers with unit and basis. Renderers
format the numbers.

The first schema number was 1. Removing a field or changing its meaning increments the number;
adding a field does not. Fields that were added with the uncertainty of plans have defaults, and a
plan may be a separate report (`"kind": "plan"`). `at_s`, `start_s` and `end_s` are in seconds from
the start of the run. Shares are fractions.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from reports.comparison_section import ComparisonSection
from reports.local_model import LocalSection
from reports.plan_section import OfferRow as OfferRow
from reports.plan_section import PlanReport as PlanReport
from reports.plan_section import PlanSection as PlanSection
from reports.plan_section import RecommendationRow as RecommendationRow
from reports.plan_section import ShapePlanSection as ShapePlanSection
from reports.quantity import Basis as Basis
from reports.quantity import CheckRow as CheckRow
from reports.quantity import Limit as Limit
from reports.quantity import Quantity as Quantity
from reports.quantity import Validity as Validity

SCHEMA = 2

Evaluation = Literal["PASS", "FAIL", "INCONCLUSIVE"]
ObjectiveKind = Literal["SLO", "gate"]
StageKind = Literal["warmup", "probe", "step", "steady", "closed", "varying", "spike", "batch"]
FIXED_RATE_KINDS: tuple[StageKind, ...] = ("probe", "step", "steady")
"""Kinds of stages that have one rate, so that they are points of a curve over the rate."""
CONFIGURED_KINDS: tuple[StageKind, ...] = ("steady", "closed", "varying", "spike", "batch")
"""Kinds of stages that the profile defines. The others are warm-ups and stages of a search."""
Outcome = Literal["PASS", "FAIL", "INCONCLUSIVE", "INVALID", "MEASURED"]
"""Outcome of a run. MEASURED means that the run is valid and has no objective that can pass or
fail."""


class ReportHeader(msgspec.Struct, frozen=True, kw_only=True):
    title: str
    run_id: str
    started: str
    """Start of the run as wall-clock time with time zone, in ISO 8601 format."""
    duration_s: float
    tool: str
    profile_hash: str
    target: str
    hardware: str | None
    user_title: str | None = None
    """Name that the user gave to the run; `None` if there is none. `title` is the name of the
    profile."""
    accelerator_count: float | None = None
    """Number of accelerators of the target, summed over all replicas; `None` if the target has no
    accelerators or the number is unknown."""

    @property
    def name(self) -> str:
        return self.user_title or self.title


class ReportVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """Verdict of a report. `sentence` is `stamp` followed by `finding`; `finding` is `headline`
    followed by `detail`.

    `stamp` states that the verdict is not the original verdict of the run; for the original
    verdict, it is `None`. `headline` has no full stop. `headline` and `detail` are empty in reports
    of older versions.
    """

    outcome: Outcome
    validity: Validity
    sentence: str
    finding: str
    headline: str = ""
    detail: str = ""
    stamp: str | None = None
    reasons: tuple[str, ...] = ()
    exit_code: int = 0
    """Exit code of the command that produced the report."""


class HeadlineTile(msgspec.Struct, frozen=True, kw_only=True):
    label: str
    quantity: Quantity
    limit: Limit | None = None
    note: str | None = None


class ObjectiveRow(msgspec.Struct, frozen=True, kw_only=True):
    """Result of an SLO objective or a gate. `margin` is the distance to the limit as a fraction of
    the limit, negative if the objective is missed."""

    kind: ObjectiveKind
    text: str
    limit: Limit
    observed: Quantity
    margin: float | None
    outcome: Evaluation
    level: Literal["fail", "warn"]
    stage: str | None = None
    why: str | None = None
    """Reason why the objective is INCONCLUSIVE; `None` if it is PASS or FAIL."""
    implied: bool = False
    """True if the objective is not in the profile: an SLO without an error limit gets a default
    error limit."""
    label: str = ""
    """Display text of the objective; empty in reports of older versions."""

    @property
    def display_text(self) -> str:
        return self.label or self.text


class BatchRow(msgspec.Struct, frozen=True, kw_only=True):
    """Latency and throughput of one variant of the local model."""

    provider: str
    precision: str
    batch: int
    threads: int
    p50: Quantity
    p95: Quantity
    p99: Quantity
    throughput: Quantity


class NamedQuantity(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    quantity: Quantity


class ModelSection(msgspec.Struct, frozen=True, kw_only=True):
    """Results of the model on this machine, measured without a network. `proof` contains the checks
    that show on which hardware the model ran."""

    name: str
    batches: tuple[BatchRow, ...]
    accuracy: Quantity | None
    cold_start: tuple[NamedQuantity, ...]
    proof: tuple[CheckRow, ...]


class StageRow(msgspec.Struct, frozen=True, kw_only=True):
    """Results of one stage. Probes that missed the SLO have rows too.

    `scheduled_per_s` is the rate from which the arrivals were drawn, and `offered` the rate that
    resulted. In a closed loop, `scheduled_per_s` is `None`, and `clients` is set instead. The
    percentiles are those of the metric `Report.times`; `evaluated` is the latency metric of the SLO
    (see `Report.curve`).
    """

    name: str
    kind: StageKind
    repeat: int
    start_s: float
    end_s: float
    scheduled_per_s: float | None
    offered: Quantity
    achieved: Quantity
    good: Quantity
    completed: int
    failed: int
    p50: Quantity
    p95: Quantity
    p99: Quantity
    evaluated: Quantity
    validity: Validity
    meets_slo: bool | None
    pooled: bool = False
    """True if the row combines several stages, which also have rows of their own."""
    reasons: tuple[str, ...] = ()
    arrivals: str | None = None
    """Description of the arrivals, such as the rate and the distribution."""
    clients: int | None = None
    throughput: Quantity | None = None
    """Successful responses per second."""


_NOT_STORED = Quantity(None, "", reason="the report was written by an older version")


class SteadyRow(msgspec.Struct, frozen=True, kw_only=True):
    """Throughput and latency of a stage as a whole, and of its steady state, which lasted from
    `start_s` to `end_s` since the start of the stage."""

    stage: str
    start_s: float
    end_s: float
    throughput: Quantity
    steady_throughput: Quantity
    p50: Quantity
    steady_p50: Quantity
    p95: Quantity
    steady_p95: Quantity
    window_s: tuple[float, float] | None = None
    """Start and end of the steady state, in seconds since the start of the run; `None` in reports of
    older versions."""


class BreakdownRow(msgspec.Struct, frozen=True, kw_only=True):
    """Parts of the latency of all requests (`mean`), or of the requests around a percentile.

    `unknown` is the latency minus all known parts."""

    aggregate: str
    requests: int
    latency: Quantity
    ttft: Quantity
    parts: tuple[NamedQuantity, ...]
    unknown: Quantity


class BreakdownSection(msgspec.Struct, frozen=True, kw_only=True):
    """Breakdown of the latency of a stage into parts.

    `sentence` names the largest part and what would shorten it. `note` says where the server's
    parts come from."""

    stage: str
    rows: tuple[BreakdownRow, ...]
    sentence: str
    note: str


class ServerRow(msgspec.Struct, frozen=True, kw_only=True):
    """What the target's servers counted during one stage, beside the client's measurement.

    The latencies are means over all requests of the stage, lead-in and drain included. A client's
    latency starts at the send of the request, a server's at its arrival. Quantities that the
    servers do not report have no value.
    """

    stage: str
    requests: Quantity
    cached: Quantity
    """Share of the input tokens that the prefix cache served."""
    preemptions: Quantity
    queue: Quantity
    prefill: Quantity
    decode: Quantity
    ttft: Quantity
    client_ttft: Quantity
    itl: Quantity
    client_itl: Quantity
    e2e: Quantity
    client_e2e: Quantity


class LiveSessionRow(msgspec.Struct, frozen=True, kw_only=True):
    """Sessions of one stage whose requests contained the server's own responses.

    `outcomes` contains the number of sessions by the reason for their end; all rows have the same
    reasons. `build_mean` and `build_max` are the CPU time that the load generator needed to build a request from the
    responses.
    """

    stage: str
    outcomes: dict[str, int]
    built_requests: int
    build_mean: Quantity
    build_max: Quantity


class ClassRow(msgspec.Struct, frozen=True, kw_only=True):
    """Requests of one class in one stage.

    `weight_share` is the share of the arrivals that the profile gives to the class, and `share` its
    share of the requests in the stage; they differ by chance, and by the length of sessions.
    `meets_slo` is `None` without objectives of the class, or if too few responses decide.
    """

    name: str
    stage: str
    stage_number: int
    """Position of the stage among those with classes, from 0; stages may have the same name."""
    weight_share: float
    share: Quantity
    requests: int
    failed: int
    error_rate: Quantity
    throughput: Quantity
    goodput: Quantity
    ttft_p50: Quantity
    ttft_p95: Quantity
    ttft_p99: Quantity
    tpot_p50: Quantity
    tpot_p95: Quantity
    itl_p50: Quantity
    itl_p99: Quantity
    latency_p50: Quantity
    latency_p95: Quantity
    latency_p99: Quantity
    output_tokens_per_s: Quantity
    cached: Quantity
    has_slo: bool
    meets_slo: bool | None


class ClassSection(msgspec.Struct, frozen=True, kw_only=True):
    """Results by class of requests. `rows` are sorted by class, in the order of the profile.

    `stage` is the stage in which an overview compares the classes. `has_tokens` is true if the
    responses have tokens.
    """

    stage: str
    stage_number: int
    has_tokens: bool
    rows: tuple[ClassRow, ...]

    @property
    def overview(self) -> tuple[ClassRow, ...]:
        """Row of each class in the stage of the overview."""
        return tuple(row for row in self.rows if row.stage_number == self.stage_number)

    @property
    def rows_by_class(self) -> dict[str, tuple[ClassRow, ...]]:
        """Rows of each class, by name; empty if the overview already shows all rows."""
        if len(self.overview) == len(self.rows):
            return {}
        return {name: tuple(row for row in self.rows if row.name == name) for name in self.names}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the profile."""
        return tuple(dict.fromkeys(row.name for row in self.rows))


class TokenRow(msgspec.Struct, frozen=True, kw_only=True):
    """Token metrics of the responses of one stage: time to first token (`ttft_…`), time per output
    token (`tpot_…`), inter-token latency (`itl_…`) and inter-chunk latency (`icl_…`).

    `latency_…` are aggregates of the metric `Report.times`: the time of the whole response.
    """

    stage: str
    ttft_p50: Quantity
    ttft_p95: Quantity
    ttft_p99: Quantity
    tpot_p50: Quantity
    tpot_p95: Quantity
    itl_p50: Quantity
    itl_p99: Quantity
    icl_p99: Quantity
    coalesced: Quantity
    output_tokens: Quantity
    tokens_per_s: Quantity
    ttft_mean: Quantity = _NOT_STORED
    tpot_mean: Quantity = _NOT_STORED
    tpot_p99: Quantity = _NOT_STORED
    itl_mean: Quantity = _NOT_STORED
    itl_p95: Quantity = _NOT_STORED
    latency_mean: Quantity = _NOT_STORED
    latency_p50: Quantity = _NOT_STORED
    latency_p95: Quantity = _NOT_STORED
    latency_p99: Quantity = _NOT_STORED
    throughput: Quantity = _NOT_STORED
    """Successful responses per second."""
    good_tokens_per_s: Quantity = _NOT_STORED
    user_tokens_p50: Quantity = _NOT_STORED
    """Output throughput per user: 1 / TPOT."""
    cached: Quantity = _NOT_STORED
    """Share of the input tokens that the server's prefix cache served."""
    reasoning_tokens: Quantity = _NOT_STORED


class MediaRow(msgspec.Struct, frozen=True, kw_only=True):
    """Metrics of the audio and images of one stage: time to first audio (`ttfa_…`), response time of a
    dialog (`response_…`), real-time factor (`rtf_…`), duration of the audio, and the rates of audio
    and images."""

    stage: str
    ttfa_p50: Quantity
    ttfa_p95: Quantity
    ttfa_p99: Quantity
    response_p50: Quantity
    response_p95: Quantity
    rtf_p50: Quantity
    rtf_p95: Quantity
    audio_mean: Quantity
    audio_per_s: Quantity
    images_per_s: Quantity
    throughput: Quantity


class MessageRow(msgspec.Struct, frozen=True, kw_only=True):
    """Messages of the streams of one stage: time to the first message (`first_…`) and gaps between
    messages (`gap_…`)."""

    stage: str
    first_p50: Quantity
    first_p95: Quantity
    first_p99: Quantity
    gap_p50: Quantity
    gap_p95: Quantity
    gap_p99: Quantity
    per_response: Quantity
    per_s: Quantity


class BatchJobRow(msgspec.Struct, frozen=True, kw_only=True):
    """Job of the Batch API. `outcomes` has the number of requests, and by outcome."""

    stage: str
    status: str
    upload: Quantity
    job: Quantity
    outcomes: dict[str, int]
    tokens_in: Quantity
    tokens_out: Quantity
    tokens_per_s: Quantity
    """Output tokens per second over the whole job."""
    detail: str | None


class SpikeSummary(msgspec.Struct, frozen=True, kw_only=True):
    stage: str
    baseline_per_s: float
    peak_per_s: float
    spike_s: float
    slo_violated: Quantity
    backlog_peak: Quantity
    drained: Quantity


class GroupRow(msgspec.Struct, frozen=True, kw_only=True):
    """Results of a group of requests, such as the requests to one target. `share` is their fraction
    of all requests."""

    label: str
    requests: int
    share: float
    failed: int
    p50: Quantity
    p95: Quantity


class GroupTable(msgspec.Struct, frozen=True, kw_only=True):
    title: str
    column: str
    rows: tuple[GroupRow, ...]


class WorkerRow(msgspec.Struct, frozen=True, kw_only=True):
    """Statistics of one load worker over all stages except warm-ups. `clock` is the maximum clock
    error of the worker."""

    worker: int
    host: str
    sent: int
    cpu: Quantity
    max_lag: Quantity
    clock: Quantity
    lost_s: float | None


class MaxRateSection(msgspec.Struct, frozen=True, kw_only=True):
    per_s: Quantity
    slo: tuple[str, ...]
    limited_by: str
    is_lower_bound: bool = False
    """True if no higher rate was tested, so that the actual max rate may be higher."""
    is_generator_limit: bool = False
    """True if the max rate is limited because the load generator could not send a higher rate."""
    slo_labels: tuple[str, ...] = ()
    """Display texts of the objectives in `slo`; empty in reports of older versions."""
    has_failed_rate: bool = False
    """True if a higher rate missed the SLO. In that case, `limited_by` describes the failure."""


class KneeRow(msgspec.Struct, frozen=True, kw_only=True):
    """Knee of a sweep by one method: the load `at` (a rate or a number of clients) above which
    latency grows faster than throughput. `latency` is the mean latency at that load."""

    name: str
    method: str
    at: Quantity
    latency: Quantity


class KneeSection(msgspec.Struct, frozen=True, kw_only=True):
    rows: tuple[KneeRow, ...]
    note: str | None = None


class CurveLabels(msgspec.Struct, frozen=True, kw_only=True):
    """Labels of the chart of latency by rate, which shows the `percentile` (such as p95) of
    `metric`. `limit` is the limit that the SLO sets on this percentile."""

    metric: str
    percentile: str
    limit: Limit | None = None
    counts: Literal["requests", "sessions"] = "requests"
    """Unit that the offered rates count: requests or sessions."""


class LoadSeries(msgspec.Struct, frozen=True, kw_only=True):
    """Rates and latencies per time bin of `bin_s` seconds. `at_s` contains the centers of the bins
    in s.

    A latency belongs to the bin of the scheduled start of its request. Latencies are `None` in bins
    without responses.
    """

    bin_s: float
    at_s: tuple[float, ...]
    offered_per_s: tuple[float, ...]
    sent_per_s: tuple[float, ...]
    completed_per_s: tuple[float, ...]
    good_per_s: tuple[float, ...]
    p50_ms: tuple[float | None, ...]
    p95_ms: tuple[float | None, ...]
    in_flight: tuple[int, ...]
    ttft_p95_ms: tuple[float | None, ...] = ()
    """95th percentile of TTFT in ms per bin; empty if no response had a token."""
    lag_p99_ms: tuple[float | None, ...] = ()
    """99th percentile of the send lag in ms per bin, over requests with a response; empty if the
    scheduled starts are unknown."""


class TelemetrySeries(msgspec.Struct, frozen=True, kw_only=True):
    source: str
    metric: str
    unit: str
    description: str
    at_s: tuple[float, ...]
    values: tuple[float | None, ...]


DistributionMetric = Literal["latency_ms", "service_ms", "ttft_ms", "tpot_ms", "itl_ms", "call_ms"]


class PercentileCurve(msgspec.Struct, frozen=True, kw_only=True):
    """Exact percentiles of a latency metric: the fraction `share` of the requests is at or below
    `ms`. All successful requests of the stages on which the result is based are included."""

    metric: DistributionMetric
    n: int
    share: tuple[float, ...]
    ms: tuple[float, ...]

    @property
    def name(self) -> str:
        return _METRIC_NAMES[self.metric]

    @property
    def label(self) -> str:
        """Display name of the metric, with the event from which it is measured."""
        start = _START_EVENTS.get(self.metric)
        return self.name if start is None else f"{self.name} (from {start})"


_METRIC_NAMES: dict[DistributionMetric, str] = {
    "latency_ms": "latency", "service_ms": "service time", "ttft_ms": "TTFT", "tpot_ms": "TPOT",
    "itl_ms": "ITL",
    "call_ms": "call time",
}  # fmt: skip
_START_EVENTS: dict[DistributionMetric, str] = {
    "latency_ms": "scheduled start", "service_ms": "send", "ttft_ms": "scheduled start",
}  # fmt: skip


class LatencyHeatMap(msgspec.Struct, frozen=True, kw_only=True):
    """Number of responses by scheduled start and latency.

    A column begins at `from_s` and is `bin_s` seconds wide. Row k contains latencies from
    `edges_ms[k]` to below `edges_ms[k + 1]`; the lowest latencies come first.
    """

    bin_s: float
    from_s: tuple[float, ...]
    edges_ms: tuple[float, ...]
    counts: tuple[tuple[int, ...], ...]


class ErrorSummary(msgspec.Struct, frozen=True, kw_only=True):
    """Errors of one class. `error` is the error class, as in the request rows."""

    error: str
    count: int
    first_s: float | None
    sample: str | None = None
    """Description of the first error of the class; `None` if the error has no description."""


class ErrorRow(ErrorSummary, frozen=True, kw_only=True):
    share: Quantity
    last_s: float | None


class DefinitionRow(msgspec.Struct, frozen=True, kw_only=True):
    """One metric by the definition of each tool, in the order of the tools; `None` for a tool that
    does not report the metric."""

    metric: str
    aggregate: str | None
    quantities: tuple[Quantity | None, ...]


class DefinitionTable(msgspec.Struct, frozen=True, kw_only=True):
    """Metrics of one stage by the definitions of all tools. `requests` is the number of requests
    that each tool includes."""

    stage: str
    requests: tuple[int, ...]
    rows: tuple[DefinitionRow, ...]


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    metric: str
    tool: str
    explanation: str


class DefiningTool(msgspec.Struct, frozen=True, kw_only=True):
    """Tool whose metric definitions are compared. `source` states the version of the tool and where
    its definitions are documented."""

    name: str
    source: str
    notes: tuple[str, ...]


class Definitions(msgspec.Struct, frozen=True, kw_only=True):
    """Metrics of the same requests by the definitions of several tools, Sizewise first.
    `explanations` is ordered by metric, then by tool."""

    tools: tuple[DefiningTool, ...]
    tables: tuple[DefinitionTable, ...]
    explanations: tuple[Definition, ...]
    remark: str | None = None
    """Reason why the numbers of some tools are missing; `None` if no numbers are missing."""


class EnvironmentEntry(msgspec.Struct, frozen=True, kw_only=True):
    label: str
    value: str | None


class SelfTestRow(msgspec.Struct, frozen=True, kw_only=True):
    """Self-test of the load generator on the machine of the run. `failed` lists the checks that did
    not pass."""

    id: str
    at: str
    """Time of the self-test as wall-clock time with time zone, in ISO 8601 format."""
    passed: bool
    failed: tuple[str, ...] = ()


class ArtifactRow(msgspec.Struct, frozen=True, kw_only=True):
    path: str
    sha256: str


class Download(msgspec.Struct, frozen=True, kw_only=True):
    """File that was written to the folder of the HTML page."""

    name: str
    """Name of the file, without its folder."""
    contents: str
    sha256: str
    size_bytes: int


class Reproduce(msgspec.Struct, frozen=True, kw_only=True):
    command: str
    seed: int | None
    spec_text: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    schema: Literal[2] = 2
    header: ReportHeader
    verdict: ReportVerdict
    tiles: tuple[HeadlineTile, ...]
    checks: tuple[CheckRow, ...]
    objectives: tuple[ObjectiveRow, ...]
    model: ModelSection | None
    stages: tuple[StageRow, ...]
    max_rate: MaxRateSection | None
    curve: CurveLabels
    load: LoadSeries | None
    telemetry: tuple[TelemetrySeries, ...]
    spectra: tuple[PercentileCurve, ...]
    errors: tuple[ErrorRow, ...]
    plan: PlanSection | None
    shape_plan: ShapePlanSection | None = None
    """Separate plan for a language model that the run did not measure."""
    method: tuple[str, ...]
    environment: tuple[EnvironmentEntry, ...]
    reproduce: Reproduce
    artifacts: tuple[ArtifactRow, ...]
    result_json: str
    notes: tuple[str, ...] = ()
    """Notes about the measurement that a reader must know."""
    times: str = "latency_ms"
    """Metric of the percentiles in `stages`: latency, or service time if the scheduled starts are
    unknown."""
    tokens: tuple[TokenRow, ...] = ()
    classes: ClassSection | None = None
    """Results by class of requests; `None` if the workload has no classes."""
    media: tuple[MediaRow, ...] = ()
    """Stages whose requests or responses have audio or images."""
    messages: tuple[MessageRow, ...] = ()
    """Stages whose responses were streams of messages without tokens."""
    servers: tuple[ServerRow, ...] = ()
    """Counters of the target's servers by stage; empty if the servers report none."""
    steady: tuple[SteadyRow, ...] = ()
    """Stages with a ramp-up or an end at fewer requests in flight, beside their steady state."""
    breakdown: BreakdownSection | None = None
    """Breakdown of the latency in the headline stage; `None` without token times or counters of the
    server."""
    prefix_reuse: tuple[NamedQuantity, ...] = ()
    """Shares of the prompt tokens that a prefix cache can serve, and that the server's cache served;
    empty unless the prompts of the run determine the former."""
    sessions: tuple[LiveSessionRow, ...] = ()
    """Stages whose sessions contained the server's own responses."""
    batches: tuple[BatchJobRow, ...] = ()
    """Jobs of the Batch API."""
    spikes: tuple[SpikeSummary, ...] = ()
    cold_start: tuple[NamedQuantity, ...] = ()
    groups: tuple[GroupTable, ...] = ()
    definitions: Definitions | None = None
    workers: tuple[WorkerRow, ...] = ()
    """Load workers; empty if a single worker sent all requests."""
    knees: KneeSection | None = None
    """Knees of a load sweep, one per method."""
    local: LocalSection | None = None
    """Results of a local run; `None` for an endpoint. In contrast, `model` contains the results of
    a served model that was also measured without the server."""
    comparison: ComparisonSection | None = None
    """Comparison of the run with a baseline; `None` if there was no baseline."""
    selftest: SelfTestRow | None = None
    """Self-test that was valid when the run was measured; `None` if there was none. `method` states
    this too."""
    distributions: tuple[PercentileCurve, ...] = ()
    """Distributions of the same metrics as `spectra`, from minimum to maximum. In contrast to
    `spectra`, they do not require a minimum number of samples."""
    heat_map: LatencyHeatMap | None = None
    """Heat map of all responses of the run."""
    downloads: tuple[Download, ...] = ()
    redacted: tuple[Literal["hosts", "models", "prompts"], ...] = ()
    """Kinds of data that were redacted for readers who may see only the numbers. `notes` state the
    redactions too."""


class _Kind(msgspec.Struct):
    kind: str = "run"


def read_report(text: bytes | str) -> Report | PlanReport:
    """Decode the report of a run or of a plan. Raises ValueError if the text is not a report of
    this schema."""
    try:
        if msgspec.json.decode(text, type=_Kind).kind == "plan":
            return msgspec.json.decode(text, type=PlanReport)
        return msgspec.json.decode(text, type=Report)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ValueError(f"the file is not a report of schema {SCHEMA}: {error}") from error
