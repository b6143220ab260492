"""Another card's throughput from a measured one's: a ratio with an interval, checked against published results.

The log of the ratio is a weighted sum of the logs of three others: dense peak, memory bandwidth and board power. Power
stands for clocks under load, which a data sheet does not tell. `docs/extrapolation.md` has the check and its table.
"""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from app.planning.rates import Refusal, card_name, lacks, peak_per_s
from app.planning.risk import Risk
from app.records.offers import Accelerator, Work

Goal = Literal["throughput", "slo"]
"""throughput: all that a card can do. slo: the most it does inside a latency limit, which carries over less surely."""

BRACKET_MARGIN = 1.20
# how the catalogue's keys of processors begin
_CPU = "cpu-"


class RatioExponents(msgspec.Struct, frozen=True):
    """Exponents of the three ratios; they sum to 1, so that a card twice as good in all is twice as fast."""

    peak: float
    bandwidth: float
    power: float


class ScalingModel(msgspec.Struct, frozen=True):
    weights: RatioExponents
    throughput_sigma: float
    slo_sigma: float


_BANDWIDTH = RatioExponents(0.0, 1.0, 0.0)
# the middle of bandwidth and of √(peak × power)
_MIXED = RatioExponents(0.25, 0.5, 0.25)
# within one architecture, then across; chosen on published results, of which decode has none: it takes unknown's sigma
_LAWS: dict[Work, tuple[ScalingModel, ScalingModel]] = {
    "saturated": (
        ScalingModel(RatioExponents(0.6, 0.2, 0.2), 0.10, 0.13),
        ScalingModel(RatioExponents(0.5, 0.0, 0.5), 0.25, 0.32),
    ),
    "decode": (ScalingModel(_BANDWIDTH, 0.25, 0.32), ScalingModel(_BANDWIDTH, 0.36, 0.42)),
    "batched-decode": (ScalingModel(_MIXED, 0.25, 0.32), ScalingModel(_MIXED, 0.30, 0.35)),
    "unknown": (ScalingModel(_MIXED, 0.25, 0.32), ScalingModel(_MIXED, 0.36, 0.42)),
}


class Ratio(msgspec.Struct, frozen=True):
    """The other card's throughput over the measured one's: median and sigma of a log-normal.

    `low` and `high` span the ratios of the single figures (peak, bandwidth, power), 20 % wider at each end.
    """

    factor: float
    sigma: float
    low: float
    high: float
    risk: int
    sentence: str

    def quantile(self, z: float) -> float:
        return self.factor * math.exp(self.sigma * z)

    @property
    def risks(self) -> tuple[Risk, ...]:
        return (Risk(self.risk, self.sentence),) if self.risk else ()


def carry_to(measured: Accelerator, other: Accelerator, work: Work, dtype: str, goal: Goal = "slo") -> Ratio | Refusal:
    """One card for one card, in the same runtime at the same precision; `dtype` is what the arithmetic is done in.

    It holds where a replica takes as many cards on both: a model that has to be cut for the other loses more.
    """
    here, there = card_name(measured), card_name(other)
    if measured.key == other.key:
        return Ratio(1.0, 0.0, 1.0, 1.0, 0, f"measured on {here}")
    reason = _unlike(measured, other, dtype)
    if reason is not None:
        return reason
    alike = measured.architecture == other.architecture
    within, across = _LAWS[work]
    law = within if alike else across
    sigma = law.slo_sigma if goal == "slo" else law.throughput_sigma
    ratios = _ratios(measured, other, dtype, law.weights)
    if isinstance(ratios, Refusal):
        return ratios
    factor = math.exp(sum(weight * math.log(ratio) for weight, ratio in ratios if weight))
    known = [ratio for _, ratio in ratios]
    if alike:
        risk, how = 2, f"carried over from {here}, of the same architecture"
    else:
        risk, how = 3, f"carried over from {here}, of another architecture"
    sentence = f"{how}: ×{factor:.2f}, give or take {math.expm1(sigma):.0%}; one run on {there} settles it"
    return Ratio(factor, sigma, min(known) / BRACKET_MARGIN, max(known) * BRACKET_MARGIN, risk, sentence)


def _unlike(measured: Accelerator, other: Accelerator, dtype: str) -> Refusal | None:
    here, there = card_name(measured), card_name(other)
    if measured.key.startswith(_CPU) or other.key.startswith(_CPU):
        return Refusal(
            "processor", f"from {here} to {there}: a processor's rate is carried by its cores, not by its data sheet"
        )
    if measured.vendor != other.vendor:
        return Refusal("vendor", f"measured on {here}; {there} needs another vendor's runtime: measure it there")
    without = next((card for card in (measured, other) if lacks(card, dtype)), None)
    peak = None if without is None else peak_per_s(without, dtype)
    return peak if isinstance(peak, Refusal) else None


def _ratios(
    measured: Accelerator, other: Accelerator, dtype: str, weights: RatioExponents
) -> list[tuple[float, float]] | Refusal:
    """Each figure's weight and ratio; a figure without weight may be missing, and is then left out."""
    ratios = []
    pairs = (
        (weights.peak, peak_per_s(measured, dtype), peak_per_s(other, dtype)),
        (weights.bandwidth, *_figures(measured, other, "memory_bandwidth_gb_s", "memory bandwidth")),
        (weights.power, *_figures(measured, other, "tdp_w", "board power")),
    )
    for weight, here, there in pairs:
        missing = next((figure for figure in (here, there) if isinstance(figure, Refusal)), None)
        if missing is None and not isinstance(here, Refusal) and not isinstance(there, Refusal):
            ratios.append((weight, there / here))
        elif missing is not None and weight:
            return missing
    return ratios


def _figures(
    measured: Accelerator, other: Accelerator, field: str, words: str
) -> tuple[float | Refusal, float | Refusal]:
    here, there = (_known(card, getattr(card, field), words) for card in (measured, other))
    return here, there


def _known(card: Accelerator, figure: float | None, words: str) -> float | Refusal:
    return figure if figure else Refusal("unknown_figure", f"the {words} of {card_name(card)} is not known")
