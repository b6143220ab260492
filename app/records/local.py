"""What a local run finds of each variant of a model, besides the stages it was timed in."""

from __future__ import annotations

from typing import Literal

import msgspec

from app.records.estimate import Estimate, Variant

Precision = Literal["as-is", "fp16", "int8-dynamic", "int8-static"]
NoBestReason = Literal["not_trusted", "open", "missed", "cut_short"]
"""Why no variant is the best: none can be relied on; it is open whether one met every objective; all missed one; the
engine ended before it judged them."""
Scenario = Literal["single-stream", "multi-stream", "offline", "server"]
"""MLPerf's. One call after another; queries of several calls at once, the next when the last of them ended; as many
calls as go through; calls that arrive by a Poisson process."""


class Placement(msgspec.Struct, frozen=True):
    """Nodes of one operator that one provider runs. `is_stray`: compute nodes on a provider that was not asked for."""

    operator: str
    provider: str
    nodes: int
    is_stray: bool = False


class Fidelity(msgspec.Struct, frozen=True, kw_only=True):
    """How near a variant's outputs, taken inside the measured run, came to the fp32 reference's on the CPU.

    Over `rows` rows of the model's first floating-point output; None what is not defined for it: agreement and KL of an
    output that is not scores of classes, cosines of single numbers, decibels of outputs that are equal (the ratio is
    infinite). A row with a number that is NaN or infinite on either side counts in the agreement, and nowhere else.
    """

    rows: int
    top1_agreement: Estimate | None
    """Share of rows whose largest score is of the same class."""
    cosine_mean: float | None
    cosine_least: float | None
    max_abs: float | None
    """None where no row is finite on both sides."""
    sqnr_db: float | None
    """10 log10(Σ y² / Σ (y − y')²), y the reference's."""
    kl_mean: float | None
    """Kullback-Leibler divergence in nats of the variant's softmax from the reference's."""
    kl_p99: float | None
    is_equal: bool
    """Every number of every row is the same."""
    not_finite: int = 0
    """Numbers that are NaN or infinite where the reference's are finite, or the other way round."""


class Accuracy(msgspec.Struct, frozen=True, kw_only=True):
    """A task metric on labelled rows beside that of the fp32 reference on the same rows.

    `top-1` is a share, better high; `mean absolute error` is in the label's unit, better low.
    """

    metric: Literal["top-1", "mean absolute error"]
    value: Estimate
    reference: Estimate | None
    """None where this variant is the reference, or where there is none."""
    change: Estimate | None
    """`value` less `reference`, paired row by row."""
    kept: Estimate | None
    """Of top-1, the share of the reference's that is kept; of an error, reference over value."""
    p_value: float | None
    test: Literal["McNemar", "paired bootstrap"] | None


class BatchLaw(msgspec.Struct, frozen=True, kw_only=True):
    """S(b) = t0 + t1 b: the time of a call of b rows. `largest` of `batches` bounds where it may be read."""

    variant: Variant
    """Of the smallest batch."""
    t0_ms: Estimate
    t1_ms: Estimate
    r2: float | None
    batches: tuple[int, ...]
    reason: str | None = None
    """Why the law does not hold here, or cannot be told."""


class Peaks(msgspec.Struct, frozen=True, kw_only=True):
    """What a processor does at the most; FLOPs are two a multiply-add. `basis`: measured here, or assumed from a data
    sheet. None where no figure is known."""

    name: str
    flops_per_s: float | None
    bytes_per_s: float | None
    basis: Literal["measured", "assumed"]
    source: str


class Bound(msgspec.Struct, frozen=True, kw_only=True):
    """What limits a variant, and the evidence: its place under the roof of the processor it ran on."""

    limit: Literal["compute", "memory", "launch or host", "copy"] | None
    """None where nothing stands out; the sentence says why."""
    sentence: str
    flops_per_s: float | None
    bytes_per_s: float | None
    flops_per_byte: float | None
    roof_share: float | None
    """Achieved rate over what the roof allows at this intensity."""
    peaks: Peaks | None


class ColdStartOf(msgspec.Struct, frozen=True, kw_only=True):
    """One cold start of a variant, in a process of its own; `is_cached`: with the runtime's optimised model, or
    engine, kept from before."""

    is_cached: bool
    process_ms: float
    """From the parent's start of the process to the first line of its program."""
    library_load_ms: float
    session_build_ms: float
    first_inference_ms: float


class VariantFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One variant, measured or not. `failure` is why it ended early, or was left out; its stages until then count."""

    variant: Variant
    model_file: str
    model_sha256: str | None
    """Of the file that was run: of a quantised one, not the user's."""
    size_bytes: int | None
    failure: str | None
    hint: str | None = None
    is_left_out: bool = False
    """Never started: a search had no more use for it."""
    provider_used: str | None = None
    placements: tuple[Placement, ...] = ()
    cold_starts: tuple[ColdStartOf, ...] = ()
    fidelity: Fidelity | None = None
    accuracy: Accuracy | None = None
    bound: Bound | None = None
    server_per_s: Estimate | None = None
    """The highest rate of arrivals (calls of the variant's batch) that held the SLO; None where none was searched."""
    peak_memory_gib: float | None = None
    """Resident memory of the process, at the most."""
    notes: tuple[str, ...] = ()


class LocalResult(msgspec.Struct, frozen=True, kw_only=True):
    """`best` is the variant with the most throughput that met every SLO and kept enough of the reference's accuracy;
    None with the `best_reason`."""

    variants: tuple[VariantFacts, ...]
    batch_laws: tuple[BatchLaw, ...] = ()
    best: Variant | None = None
    best_reason: NoBestReason | None = None
    as_fast: tuple[Variant, ...] = ()
    """Others that met every SLO and are not told apart from the best by the intervals of their throughput."""
    usd_per_hour: float | None = None
    """Of the hardware the profile names."""
    price_basis: Literal["measured", "assumed"] = "measured"
    """Assumed where the hardware that has this price is not known to be the one that was measured."""
    price_note: str | None = None
    """When that was the price, and where it is from."""
