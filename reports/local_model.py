"""What a report shows of a local run: variants of a model, and what was found of each."""

from __future__ import annotations

from typing import Literal

import msgspec

from reports.quantity import Quantity, Trust

SloState = Literal["met", "missed", "not told"]
"""Not told: no objective is seen to be missed, and of one there was no number."""
VariantState = Literal["best", "measured", "INVALID", "ended early", "left out"]


class ScenarioRow(msgspec.Struct, frozen=True, kw_only=True):
    """One stage of a variant. The percentiles are of the `times` said: latency where calls were due at a time of their
    own, else the time of a call. `calls` is how many they are of, and `parts` the medians of a call's parts in the
    order of `LocalSection.parts`."""

    stage: str
    scenario: str
    rate_per_s: float | None
    """Of arrivals."""
    tried: Literal["held", "did not hold"] | None
    """Of a rate that a search went through on its way to the answer, or in vain: what became of it."""
    times: str
    p50: Quantity
    p95: Quantity
    p99: Quantity
    throughput: Quantity
    calls: int
    parts: tuple[Quantity, ...]
    trust: Trust
    reasons: tuple[str, ...] = ()


class AccuracyRow(msgspec.Struct, frozen=True, kw_only=True):
    metric: str
    value: Quantity
    reference: Quantity | None
    """None where there is none to hold it against."""
    change: Quantity | None
    kept: Quantity | None
    p_value: float | None
    test: str | None


class FidelityRow(msgspec.Struct, frozen=True, kw_only=True):
    """Outputs beside the reference's. `sqnr` in dB, `kl_…` in nats."""

    rows: int
    agreement: Quantity
    cosine_mean: Quantity
    cosine_least: Quantity
    max_abs: Quantity
    sqnr: Quantity
    kl_mean: Quantity
    kl_p99: Quantity
    is_equal: bool
    not_finite: int


class ColdStartRow(msgspec.Struct, frozen=True, kw_only=True):
    """Starts of one kind: each part's median and its worst, in the order of `LocalSection.cold_parts`, the whole last.
    `worst` is the largest of the `starts`: they are too few for a p95."""

    is_cached: bool
    """With the runtime's optimised model, or engine, kept from before."""
    starts: int
    p50: tuple[Quantity, ...]
    worst: tuple[Quantity, ...]


class PlacementRow(msgspec.Struct, frozen=True, kw_only=True):
    """Operators of one kind on one provider, and how many; a stray runs where it was not asked to."""

    provider: str
    operator: str
    nodes: int
    is_stray: bool


class BoundRow(msgspec.Struct, frozen=True, kw_only=True):
    """What limits a variant, and its place under the roof of `processor`; None what is not known."""

    limit: str | None
    sentence: str
    flops_per_s: float | None
    flops_per_byte: float | None
    processor: str | None
    peak_flops_per_s: float | None
    peak_bytes_per_s: float | None
    peak_basis: str | None


class VariantRow(msgspec.Struct, frozen=True, kw_only=True):
    """`name` is what tells a variant from the others of its run; `family` leaves its batch out of that.

    `slo` is by point estimates; None where no SLO was set, or nothing measured. `why` is why it ended early or
    was left out. `latency` and `cost` are its place beside the others, see `FrontAxes`.
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
    why: str | None
    scenarios: tuple[ScenarioRow, ...]
    throughput: Quantity
    """The most of its scenarios."""
    arrivals: Quantity | None
    """The most calls a second that held the SLO as they arrived; None where nobody searched."""
    slo: SloState | None
    misses: tuple[str, ...]
    """Objectives that are missed or not told, with what was seen."""
    latency: Quantity
    cost: Quantity
    energy: Quantity | None
    """By inference, above idle where that is known; None where nobody reads it."""
    on_front: bool
    accuracy: AccuracyRow | None
    fidelity: FidelityRow | None
    cold_starts: tuple[ColdStartRow, ...]
    provider_used: str | None
    placements: tuple[PlacementRow, ...]
    bound: BoundRow | None
    file: str
    sha256: str | None
    size_bytes: int | None
    peak_memory: Quantity


class BatchLawRow(msgspec.Struct, frozen=True, kw_only=True):
    """S(b) = t0 + t1 b of a family of variants; `reason` says why it does not hold, or cannot be told."""

    family: str
    t0: Quantity
    t1: Quantity
    r2: float | None
    batches: tuple[int, ...]
    reason: str | None


class FrontAxes(msgspec.Struct, frozen=True, kw_only=True):
    """What variants are held against each other by: one percentile of one scenario, and one cost."""

    latency: str
    cost: str


class LocalSection(msgspec.Struct, frozen=True, kw_only=True):
    """`common` is what all variants share, in words; `parts` and `cold_parts` name the columns of their rows."""

    common: str
    variants: tuple[VariantRow, ...]
    best: str | None
    """Its name."""
    shown: str | None
    """Whose numbers the headlines are: the best, or what came nearest; None where nothing was measured."""
    best_reason: str | None
    laws: tuple[BatchLawRow, ...]
    axes: FrontAxes
    parts: tuple[str, ...]
    cold_parts: tuple[str, ...]
    usd_per_hour: float | None
