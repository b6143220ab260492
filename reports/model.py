"""Schema of `report.json`: everything a report shows, as numbers with unit and basis; renderers do the formatting.

Schema history: 1 is the first. Additions keep the number; a change of meaning or a removal raises it. Fields that were
added with the uncertainty of plans have defaults, and a plan may be a separate report (`"kind": "plan"`). Times called
`at_s`, `start_s`, `end_s` count from the start of the run. Shares are fractions.
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
from reports.quantity import Basis as Basis
from reports.quantity import CheckRow as CheckRow
from reports.quantity import Limit as Limit
from reports.quantity import Quantity as Quantity
from reports.quantity import Validity as Validity

SCHEMA = 2

Evaluation = Literal["PASS", "FAIL", "INCONCLUSIVE"]
ObjectiveKind = Literal["SLO", "gate"]
StageKind = Literal["warmup", "probe", "step", "steady", "closed", "varying", "spike"]
Outcome = Literal["PASS", "FAIL", "INCONCLUSIVE", "INVALID", "MEASURED"]
"""Outcome of a run. MEASURED means valid, without any objective that could pass or fail."""


class ReportHeader(msgspec.Struct, frozen=True, kw_only=True):
    title: str
    run_id: str
    started: str
    """Wall time with time zone, ISO 8601."""
    duration_s: float
    tool: str
    profile_hash: str
    target: str
    hardware: str | None
    user_title: str | None = None
    """Name that the user gave this run, in addition to its title, which is the profile's name."""
    accelerator_count: float | None = None
    """Accelerators of the target, all replicas together; None if it has none or they are unknown."""

    @property
    def name(self) -> str:
        return self.user_title or self.title


class ReportVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """Verdict of a report. `sentence` consists of the stamp and the finding, the finding of headline and detail.

    The stamp says that this is not the run's own verdict; it is `None` for the run's own verdict. `headline` has no
    full stop; it and `detail` are empty in reports of older versions.
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
    """Exit code of the command."""


class HeadlineTile(msgspec.Struct, frozen=True, kw_only=True):
    label: str
    quantity: Quantity
    limit: Limit | None = None
    note: str | None = None


class ObjectiveRow(msgspec.Struct, frozen=True, kw_only=True):
    """An SLO or a gate. `margin` is the distance to the limit as a share of it, negative if the limit is missed."""

    kind: ObjectiveKind
    text: str
    limit: Limit
    observed: Quantity
    margin: float | None
    outcome: Evaluation
    level: Literal["fail", "warn"]
    stage: str | None = None
    why: str | None = None
    """Reason why it is neither PASS nor FAIL; None if it is one of them."""
    implied: bool = False
    label: str = ""
    """Text that people read; empty in reports of older versions."""

    @property
    def display_text(self) -> str:
        return self.label or self.text

    """True if the profile does not contain it: an SLO without a limit on errors gets a default one."""


class BatchRow(msgspec.Struct, frozen=True, kw_only=True):
    """One variant of the local model."""

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
    """Results of the model on this machine without a network. `proof` has the checks of where it actually ran."""

    name: str
    batches: tuple[BatchRow, ...]
    accuracy: Quantity | None
    cold_start: tuple[NamedQuantity, ...]
    proof: tuple[CheckRow, ...]


class StageRow(msgspec.Struct, frozen=True, kw_only=True):
    """One stage. Failed probes are rows like any other.

    `evaluated` is the latency metric of the SLO (see `Report.curve`). `scheduled_per_s` is the rate at which arrivals
    were drawn, of which `offered` is the realization; None in a closed loop, which has `clients` instead. The
    percentiles are of the metric `Report.times`.
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
    """True if the row represents several other stages together, which also have rows of their own."""
    reasons: tuple[str, ...] = ()
    arrivals: str | None = None
    """Description of the arrivals."""
    clients: int | None = None
    responses: Quantity | None = None
    """Successful responses per second."""


class TokenRow(msgspec.Struct, frozen=True, kw_only=True):
    """Token metrics of the responses of one stage: times to the first token (`ttft_…`), per output token (`tpot_…`),
    between tokens (`itl_…`) and between chunks (`icl_…`)."""

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


class SpikeSummary(msgspec.Struct, frozen=True, kw_only=True):
    stage: str
    baseline_per_s: float
    peak_per_s: float
    spike_s: float
    slo_violated: Quantity
    backlog_peak: Quantity
    drained: Quantity


class GroupRow(msgspec.Struct, frozen=True, kw_only=True):
    """Requests that have a property in common; `share` is relative to all requests."""

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
    """One of several load workers, over all stages except warm-ups. `clock` is the maximum error of its times."""

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
    """True if no higher rate was tried, so that the maximum may be higher."""
    is_generator_limit: bool = False
    """True if the load generator could not send a higher rate."""
    slo_labels: tuple[str, ...] = ()
    """`slo` as people read it; empty in reports of older versions."""
    has_failed_rate: bool = False
    """True if a higher rate missed the SLO; `limited_by` describes it."""


class KneeRow(msgspec.Struct, frozen=True, kw_only=True):
    """Rate beyond which latency grows faster than throughput, by one method; `latency` is the mean there."""

    name: str
    method: str
    at: Quantity
    latency: Quantity


class KneeSection(msgspec.Struct, frozen=True, kw_only=True):
    rows: tuple[KneeRow, ...]
    note: str | None = None


class CurveLabels(msgspec.Struct, frozen=True, kw_only=True):
    """Labels of the rate curve: it shows the `percentile` (such as p95) of `metric`; the limit is that of the SLO."""

    metric: str
    percentile: str
    limit: Limit | None = None
    counts: Literal["requests", "sessions"] = "requests"
    """Unit of the offered rates."""


class LoadSeries(msgspec.Struct, frozen=True, kw_only=True):
    """Rates and latencies per bin of `bin_s`; `at_s` are the centers of the bins.

    Latency belongs to the bin of the intended start, and is None where there were no responses.
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
    """95th percentile of TTFT; empty if no response had a token."""
    lag_p99_ms: tuple[float | None, ...] = ()
    """99th percentile of the send lag of requests with a response; empty if their intended start is unknown."""


class TelemetrySeries(msgspec.Struct, frozen=True, kw_only=True):
    source: str
    metric: str
    unit: str
    description: str
    at_s: tuple[float, ...]
    values: tuple[float | None, ...]


SpectrumMetric = Literal["latency_ms", "service_ms", "ttft_ms", "tpot_ms", "call_ms"]


class PercentileCurve(msgspec.Struct, frozen=True, kw_only=True):
    """Exact percentiles of all successful requests of the stages used for the result: `share` of them is at or below
    `ms`."""

    metric: SpectrumMetric
    n: int
    share: tuple[float, ...]
    ms: tuple[float, ...]

    @property
    def name(self) -> str:
        return _SPECTRUM_NAMES[self.metric]

    @property
    def label(self) -> str:
        """Name of the metric, and the time from which it is measured."""
        start = _MEASURED_FROM.get(self.metric)
        return self.name if start is None else f"{self.name} (from {start})"


_SPECTRUM_NAMES: dict[SpectrumMetric, str] = {
    "latency_ms": "latency", "service_ms": "service time", "ttft_ms": "TTFT", "tpot_ms": "TPOT",
    "call_ms": "call time",
}  # fmt: skip
_MEASURED_FROM: dict[SpectrumMetric, str] = {
    "latency_ms": "scheduled start", "service_ms": "send", "ttft_ms": "scheduled start",
}  # fmt: skip


class LatencyHeatMap(msgspec.Struct, frozen=True, kw_only=True):
    """Responses by intended start and latency.

    A column begins at `from_s` and is `bin_s` wide; row k, the fastest first, ranges from `edges_ms[k]` to below
    `edges_ms[k + 1]`.
    """

    bin_s: float
    from_s: tuple[float, ...]
    edges_ms: tuple[float, ...]
    counts: tuple[tuple[int, ...], ...]


class ErrorRow(msgspec.Struct, frozen=True, kw_only=True):
    error: str
    count: int
    share: Quantity
    first_s: float | None
    last_s: float | None
    sample: str | None = None
    """Description of the first error; None if there is none."""


class DefinitionRow(msgspec.Struct, frozen=True, kw_only=True):
    """One number by the definition of each tool, in the order of the tools; None if the tool does not print it."""

    metric: str
    aggregate: str | None
    quantities: tuple[Quantity | None, ...]


class DefinitionTable(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers of one stage. `requests` is the number of requests that each tool's times are based on."""

    stage: str
    requests: tuple[int, ...]
    rows: tuple[DefinitionRow, ...]


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    metric: str
    tool: str
    explanation: str


class DefiningTool(msgspec.Struct, frozen=True, kw_only=True):
    """A tool whose definitions are compared. `source` is the version and the place where its definitions were
    read."""

    name: str
    source: str
    notes: tuple[str, ...]


class Definitions(msgspec.Struct, frozen=True, kw_only=True):
    """The same requests by the definitions of several tools, ours first; `why` is ordered by metric, then by tool."""

    tools: tuple[DefiningTool, ...]
    tables: tuple[DefinitionTable, ...]
    explanations: tuple[Definition, ...]
    remark: str | None = None
    """Reason why some of the tools' numbers are missing."""


class EnvironmentEntry(msgspec.Struct, frozen=True, kw_only=True):
    label: str
    value: str | None


class SelfTestRow(msgspec.Struct, frozen=True, kw_only=True):
    """Self-test of the load generator on the machine of the run; `failed` has the checks that did not pass."""

    id: str
    at: str
    """Wall time with time zone, ISO 8601."""
    passed: bool
    failed: tuple[str, ...] = ()


class ArtifactRow(msgspec.Struct, frozen=True, kw_only=True):
    path: str
    sha256: str


class Download(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was written beside the page."""

    name: str
    """File name without a folder."""
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
    method: tuple[str, ...]
    environment: tuple[EnvironmentEntry, ...]
    reproduce: Reproduce
    artifacts: tuple[ArtifactRow, ...]
    result_json: str
    notes: tuple[str, ...] = ()
    """Facts about the measurement that a reader must know."""
    times: str = "latency_ms"
    """Metric of the stages' percentiles: latency, or service time where no intended start is known."""
    tokens: tuple[TokenRow, ...] = ()
    spikes: tuple[SpikeSummary, ...] = ()
    cold_start: tuple[NamedQuantity, ...] = ()
    groups: tuple[GroupTable, ...] = ()
    definitions: Definitions | None = None
    workers: tuple[WorkerRow, ...] = ()
    """Load workers; empty if a single worker sent all requests."""
    knees: KneeSection | None = None
    """Knees of a sweep."""
    local: LocalSection | None = None
    """Results of a local model; `model`, in contrast, describes a model that was served, measured beside it."""
    comparison: ComparisonSection | None = None
    """Comparison with a baseline."""
    selftest: SelfTestRow | None = None
    """Self-test; None if there was none when the run was measured, which `method` states too."""
    distributions: tuple[PercentileCurve, ...] = ()
    """Full distributions of the same kind as `spectra`, from minimum to maximum, for any number of samples."""
    heat_map: LatencyHeatMap | None = None
    """Heat map of all responses of the run."""
    downloads: tuple[Download, ...] = ()
    hidden: tuple[Literal["hosts", "models", "prompts"], ...] = ()
    """What was redacted for readers who may see only the numbers; `notes` state it too."""


class _Kind(msgspec.Struct):
    kind: str = "run"


def read_report(text: bytes | str) -> Report | PlanReport:
    """Decode the report of a run or of a plan. Raises ValueError if the text is not a report of this schema."""
    try:
        if msgspec.json.decode(text, type=_Kind).kind == "plan":
            return msgspec.json.decode(text, type=PlanReport)
        return msgspec.json.decode(text, type=Report)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ValueError(f"not a report of schema {SCHEMA}: {error}") from error
