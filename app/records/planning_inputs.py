"""Complete input of a plan: the same question always gives the same plan, even years later.

Also the measured load points that the planner reads, from Sizewise or other tools, and the architecture of a language
model as given by its configuration file.
"""

from __future__ import annotations

import datetime
from typing import Literal

import msgspec

from app.records.checks import Validity
from app.records.estimate import TokenSample
from app.records.offers import CapacityCurve, Catalog, PlanLimits
from app.records.result import Hardware, Objective
from app.records.service import ServiceFit
from app.records.traffic import Traffic

CurvePrecision = Literal["requests", "aggregates", "rounded", "typed"]
"""Source of the percentiles: all requests, the tool's own aggregates, rounded aggregates, or values typed by the
user."""
GapDistribution = Literal["random", "even", "other"]
"""Distribution of the gaps between arrivals of an open loop: exponential (Poisson process), constant, or other."""


class MeasuredLoadPoint(msgspec.Struct, frozen=True):
    """One load point.

    `latencies_s` is keyed by metric ("latency", "ttft", "tpot", "itl"), then by aggregate ("mean", "p50", "p95",
    "p99_9", "max"); values that the file lacks are absent. `offered_per_s` is None in a closed loop, which has
    `clients` instead; both are None if the file does not report the load, or if all requests were sent at once.
    `achieved_per_s` counts successful completions. Counts are None if the file has none.
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
    """Joint input and output lengths of the requests at this load; None if the source reports at most means."""


class ImportedCurve(msgspec.Struct, frozen=True, kw_only=True):
    """Load points of another tool, by rising load, with the notes a reader needs.

    `source` lists file names without folders; it is empty until all files of a curve have been read.
    """

    tool: str
    version: str | None = None
    model: str | None = None
    source: str = ""
    precision: CurvePrecision
    load_points: tuple[MeasuredLoadPoint, ...]
    notes: tuple[str, ...] = ()


class LanguageModel(msgspec.Struct, frozen=True):
    """A decoder-only transformer language model.

    `parameters` counts all parameters, taken from the weight files and not from the model's name. `active_parameters`
    and the expert counts apply to a mixture of experts. `latent_dim` is the size that multi-head latent attention
    caches per layer (its rank plus its rotary part); `window_layers` attend only to the last `window_tokens` tokens;
    `linear_layers` have no cache that grows.
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

    @property
    def parameters_per_token(self) -> float:
        """Number of parameters used for one token."""
        return self.parameters if self.active_parameters is None else self.active_parameters

    def count_parameters_read(self, tokens: float) -> float:
        """Compute the expected number of parameters read by a step over this many tokens: all shared ones, and those of
        each expert that at least one token is routed to."""
        if self.active_parameters is None or self.experts is None or self.experts_per_token is None:
            return self.parameters
        if self.experts_per_token >= self.experts:
            return self.parameters
        idle = self.experts - self.experts_per_token
        expert = (self.parameters - self.active_parameters) / idle
        untouched: float = (idle / self.experts) ** tokens
        touched = self.experts * (1 - untouched)
        return self.parameters - expert * (self.experts - touched)


class Precision(msgspec.Struct, frozen=True):
    """Data types of the weights, of the computation, and of the KV cache."""

    weights: str = "bf16"
    compute: str = "bf16"
    kv: str = "bf16"


class Engine(msgspec.Struct, frozen=True):
    """Settings of a serving engine. `utilization` is the share of usable memory it may allocate; blocks are blocks of
    KV cache."""

    chunk_tokens: int = 2048
    max_sequences: int = 256
    utilization: float = 0.90
    block_tokens: int = 16


class AssumedModel(msgspec.Struct, frozen=True):
    """A language model without measurements, planned analytically from its architecture and each card's data sheet."""

    name: str
    model: LanguageModel
    precision: Precision = Precision()
    engine: Engine = Engine()


class MeasuredTarget(msgspec.Struct, frozen=True):
    """Measured capacity of one target with all its replicas, and the service model of one replica if one could be
    fitted.

    `no_fit_reason` explains why there is no service model; fleets are then sized by the maximum rate alone.
    """

    name: str
    hardware: Hardware
    curve: CapacityCurve
    fit: ServiceFit | None = None
    no_fit_reason: str | None = None
    is_assumed: bool = False
    """True if the load points were entered by the user, so that everything derived from them is assumed."""
    is_hardware_declared: bool = False
    """True if the user declared the hardware for the plan, because the measurement does not report it or reports
    something else."""
    joules_per_inference: float | None = None
    """Energy of the accelerators per inference above idle, in J; None if not measured."""
    lengths: tuple[float, float] | None = None
    """Mean tokens of the prompts and of the responses in the measurement; None if none were counted."""
    token_sample: TokenSample | None = None
    """Joint lengths of the measured requests; None if only means are known."""
    notes: tuple[str, ...] = ()
    """Caveats of the measurement, as sentences."""
    load_points: tuple[MeasuredLoadPoint, ...] = ()
    """Load points of one replica: a plan must agree with the rates at which they met or missed the SLO."""
    disturbance_sigma: float = 0.0
    """Sigma of ln rate by which the measurement may be wrong as a whole, because something disturbed it."""
    validity: Validity | None = None
    """Validity of the measurement; None for another tool's results and for older plan files, which do not have it."""


class PlanningInputs(msgspec.Struct, frozen=True):
    """Input of a plan. `today` is the date from which price ages and growth are counted."""

    measured: tuple[MeasuredTarget, ...]
    traffic: Traffic
    slo: tuple[Objective, ...]
    limits: PlanLimits
    catalog: Catalog
    today: datetime.date
    assumed_model: AssumedModel | None = None
    """Model that is planned analytically on accelerators without a measurement; None if there is none."""
