"""Data of a local run in a report: variants of a model and the results of each."""

from __future__ import annotations

from typing import Literal

import msgspec

from reports.quantity import Quantity, Validity

SloState = Literal["met", "missed", "not told"]
"""Whether a variant meets its SLO. "not told" means that no objective is known to be missed, and that one had no
number."""
VariantState = Literal["best", "measured", "INVALID", "ended early", "left out"]


class ScenarioRow(msgspec.Struct, frozen=True, kw_only=True):
    """One stage of a variant.

    The percentiles are of the metric named by `times`: latency where calls were due at times of their own, else the
    time of a call. `calls` is the number of calls, and `parts` has the median time of each part of a call, in the order
    of `LocalSection.parts`.
    """

    stage: str
    scenario: str
    rate_per_s: float | None
    """Arrival rate in calls per second."""
    tried: Literal["held", "did not hold"] | None
    """Result of a rate that was only tried by a search, whether on its way to the maximum or in vain."""
    times: str
    p50: Quantity
    p95: Quantity
    p99: Quantity
    throughput: Quantity
    calls: int
    parts: tuple[Quantity, ...]
    validity: Validity
    reasons: tuple[str, ...] = ()


class AccuracyRow(msgspec.Struct, frozen=True, kw_only=True):
    metric: str
    value: Quantity
    reference: Quantity | None
    """Value of the reference variant; None if there is no reference."""
    change: Quantity | None
    retained: Quantity | None
    p_value: float | None
    test: str | None


class FidelityRow(msgspec.Struct, frozen=True, kw_only=True):
    """Comparison of outputs with those of the reference. `sqnr` is in dB, `kl_…` in nats."""

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


class ColdStartRow(msgspec.Struct, frozen=True, kw_only=True):
    """Cold starts of one kind.

    The median and the maximum of each part, in the order of `LocalSection.cold_parts`, with the total last. `worst` is
    the maximum of the `starts`, which are too few for a p95.
    """

    is_cached: bool
    """True if the runtime's optimized model, or engine, was cached from an earlier start."""
    starts: int
    p50: tuple[Quantity, ...]
    worst: tuple[Quantity, ...]


class PlacementRow(msgspec.Struct, frozen=True, kw_only=True):
    """Number of operators of one kind on one provider. `is_fallback` marks fallback nodes, which run on a provider that
    was not requested."""

    provider: str
    operator: str
    nodes: int
    is_fallback: bool


class BottleneckRow(msgspec.Struct, frozen=True, kw_only=True):
    """Bottleneck of a variant, and its place under the roofline of `processor`; values are None where unknown."""

    limit: str | None
    sentence: str
    flops_per_s: float | None
    flops_per_byte: float | None
    processor: str | None
    peak_flops_per_s: float | None
    peak_bytes_per_s: float | None
    peak_basis: str | None


class VariantRow(msgspec.Struct, frozen=True, kw_only=True):
    """One variant of a model.

    `name` distinguishes a variant from the others of its run; `family` is the same without the batch size. `slo` is by
    point estimates; None if no SLO was set or nothing was measured. `why` is the reason why it ended early or was
    omitted. `latency` and `cost` are its coordinates in the comparison of variants, see `FrontAxes`.
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
    throughput: Quantity
    """Highest throughput of its scenarios."""
    arrivals: Quantity | None
    """Highest arrival rate in calls per second that met the SLO; None if no search was run."""
    slo: SloState | None
    misses: tuple[str, ...]
    """Objectives that are missed or inconclusive, with the observed values."""
    latency: Quantity
    cost: Quantity
    energy: Quantity | None
    """Energy per inference, above idle where the idle power is known; None if no power was measured."""
    is_on_frontier: bool
    accuracy: AccuracyRow | None
    fidelity: FidelityRow | None
    cold_starts: tuple[ColdStartRow, ...]
    provider_used: str | None
    placements: tuple[PlacementRow, ...]
    bottleneck: BottleneckRow | None
    file: str
    sha256: str | None
    size_bytes: int | None
    peak_memory: Quantity


class BatchModelRow(msgspec.Struct, frozen=True, kw_only=True):
    """Linear batch model S(b) = t0 + t1 b of a family of variants; `reason` says why it does not hold or is unknown."""

    family: str
    t0: Quantity
    t1: Quantity
    r2: float | None
    batches: tuple[int, ...]
    reason: str | None


class FrontAxes(msgspec.Struct, frozen=True, kw_only=True):
    """Axes by which variants are compared: one percentile of one scenario, and one cost."""

    latency: str
    cost: str


class LocalSection(msgspec.Struct, frozen=True, kw_only=True):
    """A local run. `common` describes what all variants share; `parts` and `cold_parts` name the columns of their
    rows."""

    common: str
    variants: tuple[VariantRow, ...]
    best: str | None
    """Name of the best variant."""
    headline_variant: str | None
    """Name of the variant whose numbers are the headlines: the best, or else the closest to the SLO; None if nothing
    was measured."""
    best_reason: str | None
    batch_models: tuple[BatchModelRow, ...]
    axes: FrontAxes
    parts: tuple[str, ...]
    cold_parts: tuple[str, ...]
    usd_per_hour: float | None
