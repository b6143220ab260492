"""Throughput of another card from a measured one's: a ratio with an interval, checked against published results.

The log of the ratio is a weighted sum of the logs of three ratios: dense peak, memory bandwidth and board power. Power
stands for clock rates under load, which data sheets do not state. The check and its table are in
`docs/validation/extrapolation.md`.
"""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from app.planning.rates import Refusal, card_name, find_peak_per_s, lacks_precision
from app.planning.risk import Risk
from app.records.offers import Accelerator, Workload

RateKind = Literal["throughput", "slo"]
"""Kind of rate that is extrapolated.

`throughput` is the maximum of a card. `slo` is the maximum within a latency limit, which can be extrapolated less
accurately.
"""

BRACKET_MARGIN = 1.20
# prefix of processors in the catalog's keys
_CPU = "cpu-"


class RatioExponents(msgspec.Struct, frozen=True):
    """Exponents of the three ratios; they sum to 1, so that a card twice as good in all three is twice as fast."""

    peak: float
    bandwidth: float
    power: float


class ScalingModel(msgspec.Struct, frozen=True):
    weights: RatioExponents
    throughput_sigma: float
    slo_sigma: float


_BANDWIDTH = RatioExponents(0.0, 1.0, 0.0)
# midpoint of bandwidth and of √(peak × power)
_MIXED = RatioExponents(0.25, 0.5, 0.25)
# within one architecture, then across; chosen on published results. There are none for decode, which has the sigma of
# unknown work.
_MODELS: dict[Workload, tuple[ScalingModel, ScalingModel]] = {
    "saturated": (
        ScalingModel(RatioExponents(0.6, 0.2, 0.2), 0.10, 0.13),
        ScalingModel(RatioExponents(0.5, 0.0, 0.5), 0.25, 0.32),
    ),
    "decode": (ScalingModel(_BANDWIDTH, 0.25, 0.32), ScalingModel(_BANDWIDTH, 0.36, 0.42)),
    "batched-decode": (ScalingModel(_MIXED, 0.25, 0.32), ScalingModel(_MIXED, 0.30, 0.35)),
    "unknown": (ScalingModel(_MIXED, 0.25, 0.32), ScalingModel(_MIXED, 0.36, 0.42)),
}


class Ratio(msgspec.Struct, frozen=True):
    """Throughput of the other card over the measured one's: median and sigma of a log-normal.

    `low` and `high` span the ratios of the single figures (peak, bandwidth, power), 20 % wider at each end.
    """

    factor: float
    sigma: float
    low: float
    high: float
    risk: int
    reason: str

    def quantile(self, z: float) -> float:
        return self.factor * math.exp(self.sigma * z)

    @property
    def risks(self) -> tuple[Risk, ...]:
        return (Risk(self.risk, self.reason),) if self.risk else ()


def estimate_ratio(
    measured: Accelerator, other: Accelerator, work: Workload, dtype: str, rate_kind: RateKind = "slo"
) -> Ratio | Refusal:
    """Estimate the throughput ratio of one card to one card, in the same runtime at the same precision.

    `dtype` is the data type of the arithmetic. The ratio is valid where a replica takes as many cards on both: a model
    that has to be split for the other card loses more.
    """
    measured_name, other_name = card_name(measured), card_name(other)
    if measured.key == other.key:
        return Ratio(1.0, 0.0, 1.0, 1.0, 0, f"measured on {measured_name}")
    reason = _refusal(measured, other, dtype)
    if reason is not None:
        return reason
    same_architecture = measured.architecture == other.architecture
    within, across = _MODELS[work]
    model = within if same_architecture else across
    sigma = model.slo_sigma if rate_kind == "slo" else model.throughput_sigma
    ratios = _ratios(measured, other, dtype, model.weights)
    if isinstance(ratios, Refusal):
        return ratios
    factor = math.exp(sum(weight * math.log(ratio) for weight, ratio in ratios if weight))
    known = [ratio for _, ratio in ratios]
    if same_architecture:
        risk, origin = 2, f"scaled from {measured_name} of the same architecture"
    else:
        risk, origin = 3, f"scaled from {measured_name} of a different architecture"
    sentence = f"{origin}: ×{factor:.2f} ± {math.expm1(sigma):.0%}. Measure on {other_name} to confirm"
    return Ratio(factor, sigma, min(known) / BRACKET_MARGIN, max(known) * BRACKET_MARGIN, risk, sentence)


def _refusal(measured: Accelerator, other: Accelerator, dtype: str) -> Refusal | None:
    measured_name, other_name = card_name(measured), card_name(other)
    if measured.key.startswith(_CPU) or other.key.startswith(_CPU):
        return Refusal(
            "processor",
            (
                f"{measured_name} to {other_name}: the rate of a processor scales with its cores, not with its data "
                "sheet"
            ),
        )
    if measured.vendor != other.vendor:
        return Refusal(
            "vendor", f"measured on {measured_name}; {other_name} needs another vendor's runtime, so measure on it"
        )
    lacking = next((card for card in (measured, other) if lacks_precision(card, dtype)), None)
    peak = None if lacking is None else find_peak_per_s(lacking, dtype)
    return peak if isinstance(peak, Refusal) else None


def _ratios(
    measured: Accelerator, other: Accelerator, dtype: str, weights: RatioExponents
) -> list[tuple[float, float]] | Refusal:
    """Return each figure's weight and ratio. A figure with weight 0 may be unknown; it is then left out."""
    ratios = []
    pairs = (
        (weights.peak, find_peak_per_s(measured, dtype), find_peak_per_s(other, dtype)),
        (weights.bandwidth, *_known_figures(measured, other, "memory_bandwidth_gb_s", "memory bandwidth")),
        (weights.power, *_known_figures(measured, other, "tdp_w", "board power")),
    )
    for weight, measured_figure, other_figure in pairs:
        missing = next((figure for figure in (measured_figure, other_figure) if isinstance(figure, Refusal)), None)
        if missing is None and not isinstance(measured_figure, Refusal) and not isinstance(other_figure, Refusal):
            ratios.append((weight, other_figure / measured_figure))
        elif missing is not None and weight:
            return missing
    return ratios


def _known_figures(
    measured: Accelerator, other: Accelerator, field: str, name: str
) -> tuple[float | Refusal, float | Refusal]:
    measured_figure, other_figure = (_known_figure(card, getattr(card, field), name) for card in (measured, other))
    return measured_figure, other_figure


def _known_figure(card: Accelerator, figure: float | None, name: str) -> float | Refusal:
    return figure if figure else Refusal("unknown_figure", f"the {name} of {card_name(card)} is unknown")
