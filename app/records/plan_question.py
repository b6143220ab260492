"""What a plan answers, with every fact it may use: the same question has the same plan, also next year.

Measured load points, ours and other tools', as the planner reads them.

A language model's shape, as its configuration file tells it.
"""

from __future__ import annotations

import datetime
from typing import Literal

import msgspec

from app.records.estimate import TokenSample
from app.records.offers import CapacityCurve, Catalogue, PlanLimits
from app.records.result import Hardware, Objective
from app.records.service import ServiceFit
from app.records.traffic import Traffic

CurvePrecision = Literal["requests", "aggregates", "rounded", "typed"]
"""What percentiles were made of: every request, the tool's own aggregates, rounded ones, or a person's word."""
Gaps = Literal["random", "even", "other"]
"""Between arrivals of an open loop: as Poisson's, all alike, or neither of them."""


class Rung(msgspec.Struct, frozen=True):
    """One load point. `latencies_s` is by metric ("latency", "ttft", "tpot", "itl"), then by aggregate ("mean", "p50",
    "p95", "p99_9", "max"); what the file does not have is absent.

    `offered_per_s` is None in a closed loop, which has `clients` instead; both are None where the file does not tell
    the load, or all was sent at once. `achieved_per_s` counts completions that succeeded. Counts are None where the
    file has none.
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
    gaps: Gaps = "random"
    lengths: TokenSample | None = None
    """Joint input and output lengths of the requests at this load; None where the source reports means at most."""


class ForeignCurve(msgspec.Struct, frozen=True, kw_only=True):
    """Another tool's load points, by rising load, and what a reader must know of them.

    `source` names files without their folders; it is empty until all files of a curve were read.
    """

    tool: str
    version: str | None = None
    model: str | None = None
    source: str = ""
    precision: CurvePrecision
    rungs: tuple[Rung, ...]
    notes: tuple[str, ...] = ()


class LanguageModel(msgspec.Struct, frozen=True):
    """A decoder of transformer layers. `parameters` counts all of them, from the weight files and not from the name.

    `active_parameters` and the experts are a mixture's; `latent_dim` is what multi-head latent attention caches a layer
    (its rank and its rotary part); `window_layers` attend to the last `window_tokens` only; `linear_layers` cache
    nothing that grows.
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
        """What one token is multiplied with."""
        return self.parameters if self.active_parameters is None else self.active_parameters

    def parameters_read(self, tokens: float) -> float:
        """What a step over so many tokens reads: all that is shared, and the experts that some token is sent to."""
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
    """What weights are stored in, what is computed in, and what keys and values are cached in."""

    weights: str = "bf16"
    compute: str = "bf16"
    kv: str = "bf16"


class Engine(msgspec.Struct, frozen=True):
    """How a serving engine is set. `utilisation` is the share of usable memory it may take; blocks are of KV cache."""

    chunk_tokens: int = 2048
    max_sequences: int = 256
    utilisation: float = 0.90
    block_tokens: int = 16


class SupposedModel(msgspec.Struct, frozen=True):
    """A language model that nobody measured, planned by arithmetic from its shape and each card's data sheet."""

    name: str
    model: LanguageModel
    precision: Precision = Precision()
    engine: Engine = Engine()


class MeasuredTarget(msgspec.Struct, frozen=True):
    """One target's capacity, all its replicas together, and the service model of one replica where it could be fitted.

    `why_no_fit` says why it could not; fleets are then sized by the max rate alone.
    """

    name: str
    hardware: Hardware
    curve: CapacityCurve
    fit: ServiceFit | None = None
    why_no_fit: str | None = None
    is_assumed: bool = False
    """Its load points are a person's word, and so is all that follows from them."""
    is_hardware_said: bool = False
    """What it ran on is a person's word, given for the plan: the measurement does not tell, or tells otherwise."""
    joules_per_inference: float | None = None
    """Of the accelerators, above their idling; None where it was not measured."""
    lengths: tuple[float, float] | None = None
    """Mean tokens of the prompts and of the answers it was measured with; None where none were counted."""
    token_sample: TokenSample | None = None
    """Joint lengths of the requests it was measured with; None where only means are known."""
    notes: tuple[str, ...] = ()
    """What a reader must know of the measurement, as sentences."""
    load_points: tuple[Rung, ...] = ()
    """Of one replica: a plan is held to the rates at which they met or missed the SLO."""


class PlanQuestion(msgspec.Struct, frozen=True):
    """`today` is the date prices are aged against and growth counts from."""

    measured: tuple[MeasuredTarget, ...]
    traffic: Traffic
    slo: tuple[Objective, ...]
    limits: PlanLimits
    catalogue: Catalogue
    today: datetime.date
    supposed: SupposedModel | None = None
    """What is planned by arithmetic on cards that no measurement reaches."""
