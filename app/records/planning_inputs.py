"""Complete inputs of a plan: the same inputs always result in the same plan, even years later.

The inputs include the measured load points, from Sizewise or other tools, and the architecture of a
language model as stated in its configuration file.
"""

from __future__ import annotations

import datetime
from typing import Literal

import msgspec

from app.records.checks import Validity
from app.records.dtypes import choose_compute_dtype
from app.records.estimate import TokenSample
from app.records.evidence import EngineName, PublishedServer
from app.records.offers import CapacityCurve, Catalog, PlanLimits
from app.records.result import Hardware, Objective
from app.records.server import MeasuredServer
from app.records.service import ServiceFit
from app.records.traffic import Traffic

CurvePrecision = Literal["requests", "aggregates", "rounded", "typed"]
"""Source of the latency percentiles: computed from all requests, aggregates of another tool,
rounded aggregates, or values typed by the user."""
GapDistribution = Literal["random", "even", "other"]
"""Distribution of the interarrival times of open-loop arrivals: exponential ("random", a Poisson
process), constant ("even"), or other."""


class MeasuredLoadPoint(msgspec.Struct, frozen=True):
    """A measured load point: the offered load, the throughput and the latencies.

    `latencies_s` is keyed by metric ("latency", "ttft", "tpot", "itl"), then by aggregate ("mean",
    "p50", "p95", "p99_9", "max"); values that the source does not report are absent.
    `offered_per_s` is None in a closed loop, for which `clients` is set; both are None if the
    source does not report the load, or if all requests were sent at once. `achieved_per_s` is the
    throughput of successful requests. `completed` and `failed` are None if not reported.
    """

    offered_per_s: float | None
    clients: float | None
    achieved_per_s: float
    duration_s: float | None
    completed: int | None
    failed: int | None
    latencies_s: dict[str, dict[str, float]]
    input_tokens_mean: float | None = None
    output_tokens_mean: float | None = None
    gaps: GapDistribution = "random"
    lengths: TokenSample | None = None
    """Sample of the input and output lengths, in tokens, of the requests at this load point; None
    if the source reports only means or no lengths."""
    start_s: float | None = None
    """Start of the measurement at this load, in seconds from any origin common to the load points
    of a target; None if the source does not report it."""


class ImportedCurve(msgspec.Struct, frozen=True, kw_only=True):
    """Load points imported from another tool, ordered by increasing load, with notes for the user.

    `source` lists the file names without folders; it is empty until all files of the curve have
    been read.
    """

    tool: str
    version: str | None = None
    model: str | None = None
    source: str = ""
    precision: CurvePrecision
    load_points: tuple[MeasuredLoadPoint, ...]
    notes: tuple[str, ...] = ()


MAX_LAYERS = 10_000
"""Maximum number of layers of a language model, far above that of any published one."""


class LanguageModel(msgspec.Struct, frozen=True):
    """Architecture of a decoder-only transformer language model.

    `parameters` is the number of all parameters, counted in the weight files instead of taken from
    the model's name. `active_parameters` and the expert counts are set for a mixture of experts.
    `latent_dim` is the number of values that multi-head latent attention caches per layer (the rank
    plus the rotary part); `window_layers` attend only to the last `window_tokens` tokens;
    `linear_layers` have a cache of constant size.
    """

    parameters: float
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    active_parameters: float | None = None
    experts: int | None = None
    experts_per_token: int | None = None
    latent_dim: int | None = None
    window_layers: int = 0
    window_tokens: int | None = None
    linear_layers: int = 0
    context_tokens: int | None = None
    """Maximum number of input and output tokens of a sequence; None if unknown."""
    tied_embeddings: bool = False
    """Whether the input embedding is also the output head, so that it is counted once in `parameters`."""
    index_dim: int | None = None
    """Number of values of the key that the indexer of sparse attention caches per token and layer; None without one."""

    @property
    def parameters_per_token(self) -> float:
        """Number of active parameters per token: all parameters unless the model is a mixture of
        experts."""
        return self.parameters if self.active_parameters is None else self.active_parameters


class Precision(msgspec.Struct, frozen=True):
    """Data types of the weights, the computation and the KV cache."""

    weights: str = "bf16"
    compute: str = "bf16"
    kv: str = "bf16"


class Engine(msgspec.Struct, frozen=True):
    """Settings of an inference engine. `utilization` is the fraction of usable memory that the engine may allocate.
    `tensor_parallel` is the number of accelerators that a replica is split across; None to choose it by cost.

    Other values of None are the defaults of the named engine or, without a name, general ones: see
    `app.planning.language_models.engines`. `version` selects the defaults of a version of the named engine; None for
    the newest known.
    """

    name: EngineName | None = None
    version: str | None = None
    chunk_tokens: int | None = None
    max_sequences: int | None = None
    utilization: float | None = None
    tensor_parallel: int | None = None

    @property
    def served_name(self) -> EngineName:
        """Engine whose step times are assumed: without a name, vLLM."""
        return self.name or "vllm"


class Alternatives(msgspec.Struct, frozen=True):
    """Other data types of the weights, and other engines, with which a replica may be served if that costs less."""

    weights: tuple[str, ...] = ()
    engines: tuple[EngineName, ...] = ()


class AssumedModel(msgspec.Struct, frozen=True):
    """A language model without measurements. Fleets are planned analytically, from the model's
    architecture and the data sheet of each accelerator."""

    name: str
    model: LanguageModel
    precision: Precision = Precision()
    engine: Engine = Engine()
    alternatives: Alternatives = Alternatives()

    @property
    def served_models(self) -> tuple[AssumedModel, ...]:
        """The model with each precision and engine with which a replica may be served, itself first.

        Other weights have the arithmetic that belongs to them. `engine.version` is that of `engine.name` only, and the
        other settings of the engine apply to all engines."""
        precisions = {self.precision.weights: self.precision}
        for weights in self.alternatives.weights:
            other = Precision(weights, choose_compute_dtype(weights), self.precision.kv)
            precisions.setdefault(weights, other)
        engines = {self.engine.served_name: self.engine}
        for name in self.alternatives.engines:
            engines.setdefault(name, msgspec.structs.replace(self.engine, name=name, version=None))
        return tuple(
            AssumedModel(self.name, self.model, precision, engine)
            for precision in precisions.values()
            for engine in engines.values()
        )


class MeasuredTarget(msgspec.Struct, frozen=True):
    """Measured capacity of one target with all its replicas, and the fitted service model of one
    replica.

    If no service model could be fitted, `fit` is None and `no_fit_reason` explains why; fleets are
    then sized by the max rate only.
    """

    name: str
    hardware: Hardware
    curve: CapacityCurve
    fit: ServiceFit | None = None
    no_fit_reason: str | None = None
    is_assumed: bool = False
    """True if the user entered the load points. All values derived from these load points are then
    assumed instead of measured."""
    is_hardware_declared: bool = False
    """True if the user declared the hardware for the plan, because the measurement reports no
    hardware or different hardware."""
    joules_per_inference: float | None = None
    """Energy above idle that the accelerators use per inference, in J; None if not measured."""
    lengths: tuple[float, float] | None = None
    """Mean input and output tokens per request in the measurement; None if tokens were not
    counted."""
    token_sample: TokenSample | None = None
    """Sample of the input and output lengths, in tokens, of the measured requests; None if at most
    the means are known."""
    notes: tuple[str, ...] = ()
    """Caveats of the measurement, as sentences."""
    load_points: tuple[MeasuredLoadPoint, ...] = ()
    """Load points of one replica. A plan must be consistent with the rates at which these load
    points met or missed the SLO."""
    disturbance_sigma: float = 0.0
    """Standard deviation of the log max rate that accounts for a disturbance of the whole
    measurement; 0 if the measurement was undisturbed."""
    validity: Validity | None = None
    """Validity of the measurement; None for results of other tools and for older plan files without
    this field."""
    server: MeasuredServer | None = None
    """Server that was measured, for its deployment; None for results of other tools."""
    cached_input_share: float | None = None
    """Share of the input tokens that a prefix cache served in the measurement, or is assumed to serve for a target that
    was not measured; None if neither the responses nor the server's counters report it, and for results of other
    tools."""
    own_points: int = 0
    """Number of the user's own measurements by which assumed times are calibrated."""
    ignored_ratio: float | None = None
    """Time that the user measured, relative to the expected one, if it is too far off to calibrate assumed times;
    otherwise None. It is that of the measurement which is furthest off."""
    assumed_model: AssumedModel | None = None
    """Language model that one replica serves, with its precision and its engine, of which `tensor_parallel` is set,
    if the replica was not measured; otherwise None."""


class OwnPoint(msgspec.Struct, frozen=True, kw_only=True):
    """A load that the user measured on one replica, with mean lengths in tokens, and mean TTFT and mean TPOT in ms.

    `clients` is the number of clients of a closed loop; `rate_per_s` is the throughput of an open loop. One of them is
    set. A latency that was not measured is None.
    """

    clients: float | None
    rate_per_s: float | None
    input_tokens: float
    output_tokens: float
    ttft_ms: float | None
    tpot_ms: float | None
    requests: int | None = None
    """Number of successful requests; None if not stated."""


class OwnEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """Measurements of one server that the user added, as they are stored."""

    format: Literal[1] = 1
    id: str
    added_on: datetime.date
    tool: str
    """Tool that measured."""
    origin: str
    """Names of the result files without folders, or ID of the run."""
    model_name: str
    """Name of the model in the result, or as the user entered it."""
    shape: LanguageModel
    served: PublishedServer
    kv_dtype: str = "bf16"
    """Data type of the KV cache."""
    speculation: bool | None = None
    """Whether the server decoded speculatively; None if the user did not state it."""
    measured_on: datetime.date | None = None
    """Date of the measurement; None if not stated."""
    points: tuple[OwnPoint, ...]
    notes: tuple[str, ...] = ()
    """What the reader of the result says about it."""


class PlanningInputs(msgspec.Struct, frozen=True):
    """Inputs of a plan. Price ages and growth are counted from the date `today`."""

    measured: tuple[MeasuredTarget, ...]
    traffic: Traffic
    slo: tuple[Objective, ...]
    limits: PlanLimits
    catalog: Catalog
    today: datetime.date
    assumed_model: AssumedModel | None = None
    """Language model that is planned analytically on accelerators without a measurement; None if
    the plan uses measurements only."""
    own_evidence: tuple[OwnEvidence, ...] = ()
    """The user's own measurements of the assumed model, by which its times are calibrated."""
