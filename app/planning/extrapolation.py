"""Extrapolation of throughput from a measured accelerator to another accelerator: a ratio with an
interval.

The logarithm of the ratio is a weighted sum of the logarithms of three ratios: dense peak, memory
bandwidth and board power. Board power is a proxy for the clock rate under load, which data sheets
do not state. The ratios are validated against published results in
`docs/validation/extrapolation.md`.
"""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from app.planning.rates import Unavailable, find_peak_per_s, format_accelerator_name, lacks_precision
from app.planning.risk import Risk
from app.records.offers import Accelerator, Workload

RateKind = Literal["throughput", "slo"]
"""Kind of rate to extrapolate.

`throughput` is the maximum throughput of an accelerator. `slo` is the maximum rate within a latency
limit, which can be extrapolated less accurately.
"""

BRACKET_MARGIN = 1.20
# prefix of CPU keys in the hardware catalog
_CPU = "cpu-"


class RatioExponents(msgspec.Struct, frozen=True):
    """Exponents of the ratios of dense peak, memory bandwidth and board power.

    The exponents sum to 1, so that an accelerator with twice the value in all three is twice as
    fast.
    """

    peak: float
    bandwidth: float
    power: float


class ScalingModel(msgspec.Struct, frozen=True):
    """Exponents of the data sheet ratios, and the standard deviation of the log extrapolated rate
    for each kind of rate."""

    weights: RatioExponents
    throughput_sigma: float
    slo_sigma: float


_BANDWIDTH = RatioExponents(0.0, 1.0, 0.0)
# midpoint between bandwidth and √(peak × power)
_MIXED = RatioExponents(0.25, 0.5, 0.25)
# models within an architecture and across architectures, fitted to published results. There are no
# published results for decode, so decode has the sigma of unknown work.
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
    """Ratio of the throughput of another accelerator to that of the measured accelerator: median
    and sigma of a lognormal distribution.

    `low` and `high` span the ratios of the individual data sheet values (peak, bandwidth, power),
    widened by 20 % at each end.
    """

    factor: float
    sigma: float
    low: float
    high: float
    risk: int
    reason: str

    def compute_quantile(self, z: float) -> float:
        return self.factor * math.exp(self.sigma * z)

    @property
    def risks(self) -> tuple[Risk, ...]:
        return (Risk(self.risk, self.reason),) if self.risk else ()


def estimate_ratio(
    measured: Accelerator, target: Accelerator, workload: Workload, dtype: str, rate_kind: RateKind = "slo"
) -> Ratio | Unavailable:
    """Estimate the throughput ratio of two accelerators with the same runtime and precision.

    `dtype` is the data type of the arithmetic. The ratio is valid if a replica uses the same number
    of accelerators of either type. A model that must be split further on the other accelerator is
    slower. Returns `Unavailable` if the ratio cannot be estimated.
    """
    measured_name, target_name = format_accelerator_name(measured), format_accelerator_name(target)
    if measured.key == target.key:
        return Ratio(1.0, 0.0, 1.0, 1.0, 0, f"measured on {measured_name}")
    unavailable = _check_comparable(measured, target, dtype)
    if unavailable is not None:
        return unavailable
    is_same_architecture = measured.architecture == target.architecture
    same_architecture_model, other_architecture_model = _MODELS[workload]
    model = same_architecture_model if is_same_architecture else other_architecture_model
    sigma = model.slo_sigma if rate_kind == "slo" else model.throughput_sigma
    ratios = _compute_ratios(measured, target, dtype, model.weights)
    if isinstance(ratios, Unavailable):
        return ratios
    factor = math.exp(sum(weight * math.log(ratio) for weight, ratio in ratios if weight))
    ratio_values = [ratio for _, ratio in ratios]
    if is_same_architecture:
        risk, origin = 2, f"scaled from {measured_name} of the same architecture"
    else:
        risk, origin = 3, f"scaled from {measured_name} of a different architecture"
    reason = f"{origin}: ×{factor:.2f} ± {100 * math.expm1(sigma):.0f} %. Measure on {target_name} to confirm"
    return Ratio(factor, sigma, min(ratio_values) / BRACKET_MARGIN, max(ratio_values) * BRACKET_MARGIN, risk, reason)


def _check_comparable(measured: Accelerator, target: Accelerator, dtype: str) -> Unavailable | None:
    measured_name, target_name = format_accelerator_name(measured), format_accelerator_name(target)
    if measured.key.startswith(_CPU) or target.key.startswith(_CPU):
        return Unavailable(
            "processor",
            (
                f"the rate cannot be scaled from {measured_name} to {target_name}: the rate of a CPU scales with the "
                "number of cores, not with data sheet values"
            ),
        )
    if measured.vendor != target.vendor:
        return Unavailable(
            "vendor",
            f"measured on {measured_name}; {target_name} needs another vendor's runtime, so it must be measured",
        )
    accelerator_without_precision = next(
        (accelerator for accelerator in (measured, target) if lacks_precision(accelerator, dtype)), None
    )
    peak = None if accelerator_without_precision is None else find_peak_per_s(accelerator_without_precision, dtype)
    return peak if isinstance(peak, Unavailable) else None


def _compute_ratios(
    measured: Accelerator, target: Accelerator, dtype: str, weights: RatioExponents
) -> list[tuple[float, float]] | Unavailable:
    """Return the weight and the ratio of each data sheet value. Unknown values with a weight of 0
    are omitted."""
    ratios = []
    pairs = (
        (weights.peak, find_peak_per_s(measured, dtype), find_peak_per_s(target, dtype)),
        (weights.bandwidth, *_get_data_sheet_values(measured, target, "memory_bandwidth_gb_s", "memory bandwidth")),
        (weights.power, *_get_data_sheet_values(measured, target, "tdp_w", "board power")),
    )
    for weight, measured_value, target_value in pairs:
        unavailable = next((value for value in (measured_value, target_value) if isinstance(value, Unavailable)), None)
        if (
            unavailable is None
            and not isinstance(measured_value, Unavailable)
            and not isinstance(target_value, Unavailable)
        ):
            ratios.append((weight, target_value / measured_value))
        elif unavailable is not None and weight:
            return unavailable
    return ratios


def _get_data_sheet_values(
    measured: Accelerator, target: Accelerator, field: str, name: str
) -> tuple[float | Unavailable, float | Unavailable]:
    measured_value, target_value = (
        _get_data_sheet_value(accelerator, getattr(accelerator, field), name) for accelerator in (measured, target)
    )
    return measured_value, target_value


def _get_data_sheet_value(accelerator: Accelerator, value: float | None, name: str) -> float | Unavailable:
    return (
        value
        if value
        else Unavailable("unknown_figure", f"the {name} of {format_accelerator_name(accelerator)} is unknown")
    )
