"""`report.json`: everything a report shows, as numbers with unit and basis; formatting happens in the renderers.

Schema history: 1 is the first. Additions keep the number; a change of meaning or a removal raises it. Since plans tell
how sure they are, what the plan's rows gained has defaults, and a plan may be a report of its own (`"kind": "plan"`).
Times called `at_s`, `start_s`, `end_s` count from the start of the run. Shares are fractions.
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
from reports.quantity import Limit as Limit
from reports.quantity import Quantity as Quantity
from reports.quantity import Trust as Trust

SCHEMA = 1

Judgement = Literal["PASS", "FAIL", "INCONCLUSIVE"]
ObjectiveKind = Literal["SLO", "gate"]
StageKind = Literal["warmup", "probe", "hold", "steady", "closed", "varying", "spike"]
Outcome = Literal["PASS", "FAIL", "INCONCLUSIVE", "INVALID", "MEASURED"]
"""MEASURED: valid, and nothing was asked that could pass or fail."""


class ReportHeader(msgspec.Struct, frozen=True, kw_only=True):
    title: str
    run_id: str
    started: str
    """Wall time with zone, ISO 8601."""
    duration_s: float
    tool: str
    profile_hash: str
    target: str
    hardware: str | None
    called: str | None = None
    """What people call this run, beside its title, which is its profile's name."""

    @property
    def name(self) -> str:
        return self.called or self.title


class ReportVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """`sentence` is the stamp and the finding. The stamp says that this is not the run's own verdict; `None` where it
    is."""

    outcome: Outcome
    trust: Trust
    sentence: str
    finding: str
    stamp: str | None = None
    reasons: tuple[str, ...] = ()
    exit_code: int = 0
    """That the command ended with."""


class HeadlineTile(msgspec.Struct, frozen=True, kw_only=True):
    label: str
    quantity: Quantity
    limit: Limit | None = None
    note: str | None = None


class CheckRow(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    value: float | str | None
    limit: float | str | None
    unit: str | None
    verdict: Trust
    hint: str | None = None


class ObjectiveRow(msgspec.Struct, frozen=True, kw_only=True):
    """An SLO or a gate. `margin` is the distance to the limit as a share of it, negative when it is missed."""

    kind: ObjectiveKind
    text: str
    limit: Limit
    observed: Quantity
    margin: float | None
    judgement: Judgement
    level: Literal["fail", "warn"]
    stage: str | None = None
    why: str | None = None
    """What keeps it from PASS or FAIL; None when it is one of them."""
    implied: bool = False
    """No profile said it: an SLO without a limit on errors is held to one."""


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


class Named(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    quantity: Quantity


class ModelSection(msgspec.Struct, frozen=True, kw_only=True):
    """What the model does on this machine with nothing in between. `proof` are the checks of where it really ran."""

    name: str
    batches: tuple[BatchRow, ...]
    accuracy: Quantity | None
    cold_start: tuple[Named, ...]
    proof: tuple[CheckRow, ...]


class StageRow(msgspec.Struct, frozen=True, kw_only=True):
    """`judged` is the latency the SLO speaks of (see `Report.curve`). Failed probes are rows like any other.

    `scheduled_per_s` is the rate arrivals were drawn at, which `offered` came near to; None in a closed loop, which has
    `clients` instead. The percentiles are of what `Report.times` says.
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
    judged: Quantity
    trust: Trust
    held: bool | None
    pooled: bool = False
    """Stands for several other stages together, which are rows of their own."""
    reasons: tuple[str, ...] = ()
    arrivals: str | None = None
    """How requests came, in words."""
    clients: int | None = None
    answered: Quantity | None = None
    """Successful answers a second."""


class TokenRow(msgspec.Struct, frozen=True, kw_only=True):
    """What the answers of one stage say of tokens: times to the first (`ttft_…`), per token of an answer (`tpot_…`),
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
    slo_broken: Quantity
    backlog_peak: Quantity
    drained: Quantity


class GroupRow(msgspec.Struct, frozen=True, kw_only=True):
    """Requests that have something in common; `share` is of all requests."""

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
    """One of several load workers over all stages but the warm-ups. `clock`: how far its times may be off at most."""

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
    at_least: bool = False
    """No higher rate was tried."""
    is_generators: bool = False
    """None could be, by the load generator."""


class KneeRow(msgspec.Struct, frozen=True, kw_only=True):
    """Where latency begins to cost more than throughput gains, by one method; `latency` is the mean there."""

    name: str
    method: str
    at: Quantity
    latency: Quantity


class KneeSection(msgspec.Struct, frozen=True, kw_only=True):
    rows: tuple[KneeRow, ...]
    note: str | None = None


class CurveLabels(msgspec.Struct, frozen=True, kw_only=True):
    """What the rate curve shows: `metric` is described by `percentile`, as in p95; the limit is the SLO's."""

    metric: str
    percentile: str
    limit: Limit | None = None
    counts: Literal["requests", "sessions"] = "requests"
    """What the rates asked for are of."""


class LoadSeries(msgspec.Struct, frozen=True, kw_only=True):
    """Rates and latencies per bin of `bin_s`; `at_s` are the bins' middles. Latency belongs to the bin of its intended
    start and is None where nothing was answered."""

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
    """Empty where no answer had a token."""
    lag_p99_ms: tuple[float | None, ...] = ()
    """How late requests left, of those that were answered; empty where it is not known when they should have."""


class TelemetrySeries(msgspec.Struct, frozen=True, kw_only=True):
    source: str
    metric: str
    unit: str
    description: str
    at_s: tuple[float, ...]
    values: tuple[float | None, ...]


SpectrumMetric = Literal["latency_ms", "service_ms", "ttft_ms", "tpot_ms", "call_ms"]


class Spectrum(msgspec.Struct, frozen=True, kw_only=True):
    """Exact percentiles of all successful requests of the stages the answer rests on: `share` at or below `ms`."""

    metric: SpectrumMetric
    n: int
    share: tuple[float, ...]
    ms: tuple[float, ...]

    @property
    def name(self) -> str:
        return _SPECTRUM_NAMES[self.metric]

    @property
    def label(self) -> str:
        """The name, and from where the time is measured."""
        start = _MEASURED_FROM.get(self.metric)
        return self.name if start is None else f"{self.name}, from the {start}"


_SPECTRUM_NAMES: dict[SpectrumMetric, str] = {
    "latency_ms": "latency", "service_ms": "service time", "ttft_ms": "TTFT", "tpot_ms": "TPOT",
    "call_ms": "service time of a call",
}  # fmt: skip
_MEASURED_FROM: dict[SpectrumMetric, str] = {
    "latency_ms": "intended start", "service_ms": "send", "ttft_ms": "intended start",
}  # fmt: skip


class LatencyHeatMap(msgspec.Struct, frozen=True, kw_only=True):
    """Answers by their intended start and by what they took. A column begins at `from_s` and is `bin_s` wide; row k,
    the fastest first, is from `edges_ms[k]` to below `edges_ms[k + 1]`."""

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
    """What was seen of the first; None where nothing was told."""


class DefinitionRow(msgspec.Struct, frozen=True, kw_only=True):
    """One number by each tool, in their order; None where the tool prints none."""

    metric: str
    aggregate: str | None
    quantities: tuple[Quantity | None, ...]


class DefinitionTable(msgspec.Struct, frozen=True, kw_only=True):
    """`answers` are how many requests each tool's times are of."""

    stage: str
    answers: tuple[int, ...]
    rows: tuple[DefinitionRow, ...]


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    metric: str
    tool: str
    why: str


class DefiningTool(msgspec.Struct, frozen=True, kw_only=True):
    """`read_from`: the version, and the place in it, where its definitions were read."""

    name: str
    read_from: str
    notes: tuple[str, ...]


class Definitions(msgspec.Struct, frozen=True, kw_only=True):
    """The same requests by the definitions of several tools, ours first; `why` is by metric, then by tool."""

    tools: tuple[DefiningTool, ...]
    tables: tuple[DefinitionTable, ...]
    why: tuple[Definition, ...]
    remark: str | None = None
    """Why some of what tools print is not there."""


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    label: str
    value: str | None


class SelfTestRow(msgspec.Struct, frozen=True, kw_only=True):
    """Of the instrument, on the machine of the run; `failed` are the checks that did not pass."""

    id: str
    at: str
    """Wall time with zone, ISO 8601."""
    passed: bool
    failed: tuple[str, ...] = ()


class ArtifactRow(msgspec.Struct, frozen=True, kw_only=True):
    path: str
    sha256: str


class Download(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was written beside the page."""

    name: str
    """Without a folder."""
    holds: str
    sha256: str
    size_bytes: int


class Reproduce(msgspec.Struct, frozen=True, kw_only=True):
    command: str
    seed: int | None
    spec_text: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    schema: Literal[1] = 1
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
    spectra: tuple[Spectrum, ...]
    errors: tuple[ErrorRow, ...]
    plan: PlanSection | None
    method: tuple[str, ...]
    environment: tuple[Fact, ...]
    reproduce: Reproduce
    artifacts: tuple[ArtifactRow, ...]
    result_json: str
    notes: tuple[str, ...] = ()
    """What a reader must know of how it was measured."""
    times: str = "latency_ms"
    """The metric of the stages' percentiles: latency, or service time where no intended start is known."""
    tokens: tuple[TokenRow, ...] = ()
    spikes: tuple[SpikeSummary, ...] = ()
    cold_start: tuple[Named, ...] = ()
    groups: tuple[GroupTable, ...] = ()
    definitions: Definitions | None = None
    workers: tuple[WorkerRow, ...] = ()
    """Empty where one worker sent alone."""
    knees: KneeSection | None = None
    """Of a sweep."""
    local: LocalSection | None = None
    """Of a run of a local model; `model` is of one that was served, and run beside it."""
    comparison: ComparisonSection | None = None
    """With a baseline."""
    selftest: SelfTestRow | None = None
    """None where there was none when the run was measured; `method` says so too."""
    distributions: tuple[Spectrum, ...] = ()
    """As `spectra`, from the least to the most, whatever their number."""
    heat_map: LatencyHeatMap | None = None
    """Of all answers of the run."""
    downloads: tuple[Download, ...] = ()
    hidden: tuple[Literal["hosts", "models", "prompts"], ...] = ()
    """What was replaced by other words, for whoever may see the numbers only; `notes` say so too."""


class _Kind(msgspec.Struct):
    kind: str = "run"


def read_report(text: bytes | str) -> Report | PlanReport:
    """A run's, or a plan's own. Raises ValueError when the text is no report of this schema."""
    try:
        if msgspec.json.decode(text, type=_Kind).kind == "plan":
            return msgspec.json.decode(text, type=PlanReport)
        return msgspec.json.decode(text, type=Report)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ValueError(f"not a report of schema {SCHEMA}: {error}") from error
