"""Schema of `report.json`: all data that a report shows, as numbers with unit and basis. Renderers
format the numbers.

The first schema number was 1. Removing a field or changing its meaning increments the number;
adding a field does not. Fields that were added with the uncertainty of plans have defaults, and a
plan may be a separate report (`"kind": "plan"`). `at_s`, `start_s` and `end_s` are in seconds from
the start of the run. Shares are fractions.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import msgspec

from reports.local_model import LocalSection
from reports.plan_section import OfferRow as OfferRow
from reports.plan_section import PlanReport as PlanReport
from reports.plan_section import PlanSection as PlanSection
from reports.plan_section import RecommendationRow as RecommendationRow
from reports.plan_section import ShapePlanSection as ShapePlanSection
from reports.quantity import Basis as Basis
from reports.quantity import CheckRow as CheckRow
from reports.quantity import Limit as Limit
from reports.quantity import NamedQuantity as NamedQuantity
from reports.quantity import Quantity as Quantity
from reports.quantity import Validity as Validity
from reports.sections.batch import BATCHES
from reports.sections.batch import BatchJobRow as BatchJobRow
from reports.sections.breakdown import BREAKDOWN
from reports.sections.breakdown import BreakdownRow as BreakdownRow
from reports.sections.breakdown import BreakdownSection as BreakdownSection
from reports.sections.classes import CLASSES
from reports.sections.classes import ClassRow as ClassRow
from reports.sections.classes import ClassSection as ClassSection
from reports.sections.cold_start import COLD_START
from reports.sections.comparison import ComparisonSection
from reports.sections.distributions import DISTRIBUTIONS, PERCENTILES
from reports.sections.distributions import DistributionMetric as DistributionMetric
from reports.sections.distributions import PercentileCurve as PercentileCurve
from reports.sections.errors import ERRORS
from reports.sections.errors import ErrorRow as ErrorRow
from reports.sections.errors import ErrorSummary as ErrorSummary
from reports.sections.groups import GROUPS
from reports.sections.groups import GroupRow as GroupRow
from reports.sections.groups import GroupTable as GroupTable
from reports.sections.heat_map import HEAT_MAP
from reports.sections.heat_map import LatencyHeatMap as LatencyHeatMap
from reports.sections.knees import KNEES
from reports.sections.knees import KneeRow as KneeRow
from reports.sections.knees import KneeSection as KneeSection
from reports.sections.media import MEDIA
from reports.sections.media import MediaRow as MediaRow
from reports.sections.messages import MESSAGES
from reports.sections.messages import MessageRow as MessageRow
from reports.sections.model_only import MODEL_ONLY
from reports.sections.model_only import BatchRow as BatchRow
from reports.sections.model_only import ModelSection as ModelSection
from reports.sections.objectives import OBJECTIVES
from reports.sections.objectives import Evaluation as Evaluation
from reports.sections.objectives import ObjectiveKind as ObjectiveKind
from reports.sections.objectives import ObjectiveRow as ObjectiveRow
from reports.sections.prefix_reuse import PREFIX_REUSE
from reports.sections.section import Section
from reports.sections.servers import SERVERS
from reports.sections.servers import ServerRow as ServerRow
from reports.sections.sessions import SESSIONS
from reports.sections.sessions import LiveSessionRow as LiveSessionRow
from reports.sections.spikes import SPIKES
from reports.sections.spikes import SpikeSummary as SpikeSummary
from reports.sections.stages import CONFIGURED_KINDS as CONFIGURED_KINDS
from reports.sections.stages import FIXED_RATE_KINDS as FIXED_RATE_KINDS
from reports.sections.stages import STAGES
from reports.sections.stages import StageKind as StageKind
from reports.sections.stages import StageRow as StageRow
from reports.sections.steady import STEADY
from reports.sections.steady import SteadyRow as SteadyRow
from reports.sections.tokens import TOKENS
from reports.sections.tokens import TokenRow as TokenRow
from reports.sections.workers import WORKERS
from reports.sections.workers import WorkerRow as WorkerRow

SCHEMA = 2

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
    sections: ClassVar[tuple[Section[Any], ...]] = (
        OBJECTIVES, STAGES, STEADY, CLASSES, TOKENS, MEDIA, BATCHES, MESSAGES, SERVERS, BREAKDOWN, PREFIX_REUSE,
        SESSIONS, SPIKES, KNEES, COLD_START, GROUPS, WORKERS, ERRORS, MODEL_ONLY, PERCENTILES, DISTRIBUTIONS,
        HEAT_MAP,
    )  # fmt: skip
    """Sections of a run, in the order of text. The data of each is a field."""
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
