"""Data of a local run in a report: the variants of a model and their results."""

from __future__ import annotations

from typing import Literal

import msgspec

from reports.formatting import format_stage_name
from reports.quantity import Quantity, Validity

SloState = Literal["met", "missed", "inconclusive"]
"""State of a variant with respect to the SLO. The state is "inconclusive" if no objective is known
to be missed, but at least one has no value."""
VariantState = Literal["best", "measured", "INVALID", "ended early", "skipped"]


class ScenarioRow(msgspec.Struct, frozen=True, kw_only=True):
    """Results of one stage of a variant.

    `times` names the metric of the percentiles: latency if calls had scheduled starts, otherwise
    the call time. `calls` is the number of calls. `parts` contains the median time of each part of
    a call, in the order of `LocalSection.parts`.
    """

    stage: str
    scenario: str
    rate_per_s: float | None
    """Arrival rate in calls per second; `None` if the stage had no arrival rate."""
    tried: Literal["passed", "failed"] | None
    """Result of the stage as a step of a rate search; `None` if the stage was not part of a search.
    The result does not depend on whether the search found a max rate."""
    times: str
    p50: Quantity
    p95: Quantity
    p99: Quantity
    throughput: Quantity
    calls: int
    parts: tuple[Quantity, ...]
    validity: Validity
    reasons: tuple[str, ...] = ()


class GenerationTestRow(msgspec.Struct, frozen=True, kw_only=True):
    """Results of one test of a language model, such as `pp512+tg128 @ d4096`.

    `prefill` and `decode` are rates over the batch, and `e2e` is the time of one repetition. `ttft`
    is the time to the first token. Quantities that the test does not have, such as the prefill of a
    test without a prompt, are `None`.
    """

    stage: str
    test: str
    depth: int
    """Number of tokens in the KV cache before the test."""
    repeat: int
    """Number of the measurement, from 1. The first test of a variant is repeated at the end, to
    detect drift."""
    rate: Quantity
    """Prompt and output tokens per second, over the batch and the whole test."""
    prefill: Quantity | None
    decode: Quantity | None
    ttft_p50: Quantity | None
    ttft_p99: Quantity | None
    itl_p50: Quantity | None
    itl_p99: Quantity | None
    e2e: Quantity
    repetitions: int
    validity: Validity
    reasons: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Display name of the test, with its number among the measurements."""
        return format_stage_name(self.test, self.repeat)


class AccuracyRow(msgspec.Struct, frozen=True, kw_only=True):
    metric: str
    value: Quantity
    reference: Quantity | None
    """Accuracy of the reference variant; `None` if there is no reference."""
    change: Quantity | None
    retained: Quantity | None
    p_value: float | None
    test: str | None


class FidelityRow(msgspec.Struct, frozen=True, kw_only=True):
    """Comparison of a variant's outputs with the outputs of the reference variant. `sqnr` is in dB,
    `kl_…` in nats."""

    rows: int
    agreement: Quantity
    cosine_mean: Quantity
    cosine_min: Quantity
    max_abs: Quantity
    sqnr: Quantity
    kl_mean: Quantity
    kl_p99: Quantity
    is_equal: bool
    not_finite: int


class TextQualityRow(msgspec.Struct, frozen=True, kw_only=True):
    """Quality of the predictions of a language model on a text. The quantities that compare it with
    the first variant are `None` for that variant itself."""

    tokens: int
    perplexity: Quantity
    ratio: Quantity | None
    agreement: Quantity | None
    divergence: Quantity | None
    """Mean KL divergence in nats."""


class ColdStartRow(msgspec.Struct, frozen=True, kw_only=True):
    """Cold starts of one kind, either with or without a cached engine.

    `p50` and `worst` contain the median and the maximum of each part, in the order of
    `LocalSection.cold_parts`, with the total last. `starts` is the number of cold starts; there are
    too few for a p95.
    """

    is_cached: bool
    """True if an earlier start had cached the runtime's optimized model or engine."""
    starts: int
    p50: tuple[Quantity, ...]
    worst: tuple[Quantity, ...]


class PlacementRow(msgspec.Struct, frozen=True, kw_only=True):
    """Number of nodes with one operator on one execution provider. `is_fallback` is true for
    fallback nodes, which run on a provider that was not requested."""

    provider: str
    operator: str
    nodes: int
    is_fallback: bool


class BottleneckRow(msgspec.Struct, frozen=True, kw_only=True):
    """Bottleneck of a variant, and the position of the variant under the roofline of `processor`.
    Unknown values are `None`."""

    limit: str | None
    sentence: str
    flops_per_s: float | None
    flops_per_byte: float | None
    processor: str | None
    peak_flops_per_s: float | None
    peak_bytes_per_s: float | None
    peak_basis: str | None
    peak_share: Quantity | None = None
    """Share of the peak FLOP/s that the prefill of a language model reaches, or share of the peak
    memory bandwidth that its decode reaches; `None` for other models."""
    test: str | None = None
    """Test of a language model in which the bottleneck was found."""


class VariantRow(msgspec.Struct, frozen=True, kw_only=True):
    """Results of one variant of a model.

    `name` is unique within the run; `family` is the name without the batch size. `slo` is based on
    point estimates; `None` if the profile has no SLO or nothing was measured. `reason` states why
    the variant ended early or was skipped. `latency` and `cost` are the coordinates of the variant
    in the chart described by `FrontAxes`.
    """

    name: str
    family: str
    model: str
    provider: str
    precision: str
    batch: int
    streams: int
    threads: int
    devices: tuple[str, ...]
    state: VariantState
    reason: str | None
    scenarios: tuple[ScenarioRow, ...]
    """Measured scenarios; empty for a language model."""
    tests: tuple[GenerationTestRow, ...] = ()
    """Measured tests of a language model."""
    throughput: Quantity
    """Highest throughput over all scenarios of the variant. For a language model, highest decode
    throughput over all tests or, if no test generates tokens, highest prefill throughput."""
    arrivals: Quantity | None
    """Highest arrival rate in calls per second that met the SLO; `None` if no search was run."""
    is_arrivals_lower_bound: bool = False
    """True if no higher rate was shown to miss the SLO, so that the actual max rate may be
    higher."""
    slo: SloState | None
    misses: tuple[str, ...]
    """Objectives that are missed or inconclusive, with the observed values."""
    latency: Quantity
    cost: Quantity
    energy: Quantity | None
    """Total GPU energy per inference (per output token of a language model), or the energy above
    idle if only the latter is known; `None` if no power was measured."""
    is_on_frontier: bool
    accuracy: AccuracyRow | None
    fidelity: FidelityRow | None
    cold_starts: tuple[ColdStartRow, ...]
    provider_used: str | None
    placements: tuple[PlacementRow, ...]
    bottleneck: BottleneckRow | None
    """Bottleneck of a call or, for a language model, of the decode."""
    prefill_bottleneck: BottleneckRow | None = None
    """Bottleneck of the prefill of a language model."""
    text_quality: TextQualityRow | None = None
    file: str
    sha256: str | None
    size_bytes: int | None
    peak_memory: Quantity
    opened_memory: Quantity | None = None
    """Resident memory of the process after opening a language model; `None` for other models."""
    kv_cache: Quantity | None = None
    """Size of the KV cache at the end of the longest test of a language model, computed from its
    shape; `None` for other models."""
    parameters: int | None = None
    """Number of parameters of a language model; `None` if unknown, and for other models."""

    @property
    def is_measured(self) -> bool:
        """True if the variant has at least one measured scenario or test."""
        return bool(self.scenarios or self.tests)


class BatchModelRow(msgspec.Struct, frozen=True, kw_only=True):
    """Batch latency model S(b) = t0 + t1 b of a family of variants, where b is the batch size.
    `reason` states why the model does not fit or is unknown."""

    family: str
    t0: Quantity
    t1: Quantity
    r2: float | None
    batches: tuple[int, ...]
    reason: str | None


class FrontAxes(msgspec.Struct, frozen=True, kw_only=True):
    """Axes of the Pareto chart of variants. `latency` names a percentile of one scenario, `cost` a
    cost metric."""

    latency: str
    cost: str


class LocalSection(msgspec.Struct, frozen=True, kw_only=True):
    """Results of a local run. `common` describes what all variants have in common. `parts` and
    `cold_parts` contain the column names for the parts of a call and of a cold start."""

    common: str
    variants: tuple[VariantRow, ...]
    best: str | None
    """Name of the best variant; `None` if no valid variant met the SLO."""
    headline_variant: str | None
    """Name of the variant that provides the headline numbers: the best variant, or if there is
    none, the variant closest to the SLO; `None` if nothing was measured."""
    best_reason: str | None
    batch_models: tuple[BatchModelRow, ...]
    axes: FrontAxes
    parts: tuple[str, ...]
    cold_parts: tuple[str, ...]
    usd_per_hour: float | None
    is_language_model: bool = False
    """True if the variants are language models, which have tests instead of scenarios."""
