"""Results of a local run for each variant of a model, besides its timed stages."""

from __future__ import annotations

from typing import Literal

import msgspec

from app.records.estimate import Estimate, Variant

Precision = Literal["as-is", "fp16", "int8-dynamic", "int8-static"]
NoBestReason = Literal["not_trusted", "open", "missed", "cut_short"]
"""Reason why there is no best variant: none is reliable; it is undecided whether one met every objective; all missed
one; the engine ended before it evaluated them."""
Scenario = Literal["single-stream", "multi-stream", "offline", "server"]
"""Scenario, as MLPerf defines it: one call after another; queries of several calls at once, each sent when the previous
query has ended; as many calls as possible; calls that arrive in a Poisson process."""


class Placement(msgspec.Struct, frozen=True):
    """Nodes of one operator that one provider runs. `is_fallback` marks compute nodes on a provider that was not
    requested."""

    operator: str
    provider: str
    nodes: int
    is_fallback: bool = False


class Fidelity(msgspec.Struct, frozen=True, kw_only=True):
    """Difference between a variant's outputs, recorded during the measured run, and those of the fp32 reference on the
    CPU.

    Computed over `rows` rows of the model's first floating-point output. Undefined values are None: agreement and KL
    divergence of an output that is not class scores, cosines of single numbers, decibels of equal outputs (the ratio is
    infinite). A row with a NaN or infinite number on either side counts only in the agreement.
    """

    rows: int
    top1_agreement: Estimate | None
    """Share of rows whose largest score is for the same class."""
    cosine_mean: float | None
    cosine_min: float | None
    max_abs: float | None
    """Largest absolute difference; None if no row is finite on both sides."""
    sqnr_db: float | None
    """Signal-to-quantization-noise ratio in dB: 10 log10(Σ y² / Σ (y − y')²), where y is the reference."""
    kl_mean: float | None
    """Mean Kullback-Leibler divergence of the variant's softmax from the reference's, in nats."""
    kl_p99: float | None
    is_equal: bool
    """True if every number of every row is the same."""
    not_finite: int = 0
    """Count of numbers that are NaN or infinite where the reference's are finite, or the other way round."""


class Accuracy(msgspec.Struct, frozen=True, kw_only=True):
    """A task metric on labeled rows, beside that of the fp32 reference on the same rows.

    For `top-1`, a share, higher is better; for `mean absolute error`, in the unit of the label, lower is better.
    """

    metric: Literal["top-1", "mean absolute error"]
    value: Estimate
    reference: Estimate | None
    """Metric of the reference; None if this variant is the reference, or if there is none."""
    change: Estimate | None
    """`value` minus `reference`, paired row by row."""
    retained: Estimate | None
    """Retained accuracy: for top-1, value over reference; for an error, reference over value."""
    p_value: float | None
    test: Literal["McNemar", "paired bootstrap"] | None


class BatchModel(msgspec.Struct, frozen=True, kw_only=True):
    """Batch-time model S(b) = t0 + t1 b: the time of a call of b rows, valid up to the `largest` of `batches`."""

    variant: Variant
    """Variant with the smallest batch."""
    t0_ms: Estimate
    t1_ms: Estimate
    r2: float | None
    batches: tuple[int, ...]
    reason: str | None = None
    """Reason why the model does not fit, or cannot be fitted."""


class Peaks(msgspec.Struct, frozen=True, kw_only=True):
    """Peak performance of a processor; one multiply-add is two FLOPs. `basis` is measured (on this machine) or assumed
    (from a data sheet). None if no figure is known."""

    name: str
    flops_per_s: float | None
    bytes_per_s: float | None
    basis: Literal["measured", "assumed"]
    source: str


class Bottleneck(msgspec.Struct, frozen=True, kw_only=True):
    """Bottleneck of a variant with the evidence: its position under the roofline of the processor it ran on."""

    limit: Literal["compute", "memory", "launch or host", "copy"] | None
    """Limiting resource; None if none stands out, as the sentence explains."""
    sentence: str
    flops_per_s: float | None
    bytes_per_s: float | None
    flops_per_byte: float | None
    roof_share: float | None
    """Achieved rate divided by the roofline's limit at this arithmetic intensity."""
    peaks: Peaks | None


class VariantColdStart(msgspec.Struct, frozen=True, kw_only=True):
    """One cold start of a variant, in a process of its own. `is_cached` is True if the runtime's optimized model, or
    engine, was stored earlier."""

    is_cached: bool
    process_ms: float
    """Time from the parent's start of the process to the first line of its program."""
    library_load_ms: float
    session_build_ms: float
    first_inference_ms: float


class VariantData(msgspec.Struct, frozen=True, kw_only=True):
    """One variant, measured or not. `failure` is the reason why it ended early or was skipped; stages completed before
    count."""

    variant: Variant
    model_file: str
    model_sha256: str | None
    """Hash of the file that was run, which for a quantized variant is not the user's file."""
    size_bytes: int | None
    failure: str | None
    hint: str | None = None
    is_excluded: bool = False
    """True if the variant was never started, because a search no longer needed it."""
    provider_used: str | None = None
    placements: tuple[Placement, ...] = ()
    cold_starts: tuple[VariantColdStart, ...] = ()
    fidelity: Fidelity | None = None
    accuracy: Accuracy | None = None
    bottleneck: Bottleneck | None = None
    server_per_s: Estimate | None = None
    """Highest arrival rate (in calls of the variant's batch) that met the SLO; None if not searched."""
    peak_memory_gib: float | None = None
    """Peak resident memory of the process."""
    notes: tuple[str, ...] = ()


class LocalResult(msgspec.Struct, frozen=True, kw_only=True):
    """Result of a local run. `best` is the variant with the highest throughput that met every SLO and retained enough
    of the reference's accuracy; None with the `best_reason`."""

    variants: tuple[VariantData, ...]
    batch_models: tuple[BatchModel, ...] = ()
    best: Variant | None = None
    best_reason: NoBestReason | None = None
    equally_fast: tuple[Variant, ...] = ()
    """Other variants that met every SLO and whose throughput intervals do not distinguish them from the best."""
    usd_per_hour: float | None = None
    """Price per hour of the hardware that the profile names."""
    price_basis: Literal["measured", "assumed"] = "measured"
    """Basis of the price: assumed if the hardware that has this price is not known to be the measured one."""
    price_note: str | None = None
    """Date and source of the price."""
