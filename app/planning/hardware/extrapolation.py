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

from app.planning.hardware.rates import Unavailable, format_accelerator_name, get_peak_ops_per_s, lacks_precision
from app.planning.hardware.risk import Risk
from app.records.offers import Accelerator, Workload

RateKind = Literal["throughput", "slo"]
"""Kind of rate to extrapolate.

`throughput` is the maximum throughput of an accelerator. `slo` is the maximum rate within a latency
limit, which can be extrapolated less accurately.
"""

BRACKET_MARGIN = 1.20
# prefix of CPU keys in the hardware catalog
_CPU_KEY_PREFIX = "cpu-"


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

    exponents: RatioExponents
    throughput_sigma: float
    slo_sigma: float


_BANDWIDTH_EXPONENTS = RatioExponents(0.0, 1.0, 0.0)
# midpoint between bandwidth and √(peak × power)
_MIXED_EXPONENTS = RatioExponents(0.25, 0.5, 0.25)
# models within an architecture and across architectures, fitted to published results. There are no
# published results for decode, so decode has the sigma of unknown work.
_SCALING_MODELS: dict[Workload, tuple[ScalingModel, ScalingModel]] = {
    "saturated": (
        ScalingModel(RatioExponents(0.6, 0.2, 0.2), 0.10, 0.13),
        ScalingModel(RatioExponents(0.5, 0.0, 0.5), 0.25, 0.32),
    ),
    "decode": (ScalingModel(_BANDWIDTH_EXPONENTS, 0.25, 0.32), ScalingModel(_BANDWIDTH_EXPONENTS, 0.36, 0.42)),
    "batched-decode": (ScalingModel(_MIXED_EXPONENTS, 0.25, 0.32), ScalingModel(_MIXED_EXPONENTS, 0.30, 0.35)),
    "unknown": (ScalingModel(_MIXED_EXPONENTS, 0.25, 0.32), ScalingModel(_MIXED_EXPONENTS, 0.36, 0.42)),
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
    risk_level: int
    reason: str

    def compute_quantile(self, z: float) -> float:
        return self.factor * math.exp(self.sigma * z)

    @property
    def risks(self) -> tuple[Risk, ...]:
        return (Risk(self.risk_level, self.reason),) if self.risk_level else ()


def estimate_ratio(
    measured_accelerator: Accelerator,
    target_accelerator: Accelerator,
    workload: Workload,
    dtype: str,
    rate_kind: RateKind = "slo",
) -> Ratio | Unavailable:
    """Estimate the throughput ratio of two accelerators with the same runtime and precision.

    `dtype` is the data type of the arithmetic. The ratio is valid if a replica uses the same number
    of accelerators of either type. A model that must be split further on the other accelerator is
    slower. Return `Unavailable` if the ratio cannot be estimated.
    """
    measured_name, target_name = (
        format_accelerator_name(measured_accelerator),
        format_accelerator_name(target_accelerator),
    )
    if measured_accelerator.key == target_accelerator.key:
        return Ratio(1.0, 0.0, 1.0, 1.0, 0, f"measured on {measured_name}")
    unavailable = _check_comparability(measured_accelerator, target_accelerator, dtype)
    if unavailable is not None:
        return unavailable
    is_same_architecture = measured_accelerator.architecture == target_accelerator.architecture
    same_architecture_model, other_architecture_model = _SCALING_MODELS[workload]
    scaling_model = same_architecture_model if is_same_architecture else other_architecture_model
    sigma = scaling_model.slo_sigma if rate_kind == "slo" else scaling_model.throughput_sigma
    weighted_ratios = _compute_ratios(measured_accelerator, target_accelerator, dtype, scaling_model.exponents)
    if isinstance(weighted_ratios, Unavailable):
        return weighted_ratios
    factor = math.exp(sum(exponent * math.log(ratio) for exponent, ratio in weighted_ratios if exponent))
    ratios = [ratio for _, ratio in weighted_ratios]
    if is_same_architecture:
        risk_level, origin = 2, f"scaled from {measured_name} of the same architecture"
    else:
        risk_level, origin = 3, f"scaled from {measured_name} of a different architecture"
    reason = f"{origin}: ×{factor:.2f} ± {100 * math.expm1(sigma):.0f} %; measure on {target_name} to confirm"
    return Ratio(factor, sigma, min(ratios) / BRACKET_MARGIN, max(ratios) * BRACKET_MARGIN, risk_level, reason)


def _check_comparability(
    measured_accelerator: Accelerator, target_accelerator: Accelerator, dtype: str
) -> Unavailable | None:
    measured_name, target_name = (
        format_accelerator_name(measured_accelerator),
        format_accelerator_name(target_accelerator),
    )
    if measured_accelerator.key.startswith(_CPU_KEY_PREFIX) or target_accelerator.key.startswith(_CPU_KEY_PREFIX):
        return Unavailable(
            "processor",
            (
                f"the rate cannot be scaled from {measured_name} to {target_name}: the rate of a CPU scales with the "
                "number of cores, not with data sheet values"
            ),
        )
    if measured_accelerator.vendor != target_accelerator.vendor:
        return Unavailable(
            "vendor",
            f"the target was measured on {measured_name}; {target_name} needs another vendor's runtime, so it must be "
            "measured",
        )
    accelerator_without_precision = next(
        (
            accelerator
            for accelerator in (measured_accelerator, target_accelerator)
            if lacks_precision(accelerator, dtype)
        ),
        None,
    )
    peak = None if accelerator_without_precision is None else get_peak_ops_per_s(accelerator_without_precision, dtype)
    return peak if isinstance(peak, Unavailable) else None


def _compute_ratios(
    measured_accelerator: Accelerator, target_accelerator: Accelerator, dtype: str, exponents: RatioExponents
) -> list[tuple[float, float]] | Unavailable:
    """Return the weight and the ratio of each data sheet value. Unknown values with a weight of 0
    are omitted."""
    weighted_ratios = []
    data_sheet_values = (
        (
            exponents.peak,
            get_peak_ops_per_s(measured_accelerator, dtype),
            get_peak_ops_per_s(target_accelerator, dtype),
        ),
        (
            exponents.bandwidth,
            *_get_data_sheet_values(
                measured_accelerator, target_accelerator, "memory_bandwidth_gb_s", "memory bandwidth"
            ),
        ),
        (exponents.power, *_get_data_sheet_values(measured_accelerator, target_accelerator, "tdp_w", "TDP")),
    )
    for exponent, measured_value, target_value in data_sheet_values:
        unavailable = next((value for value in (measured_value, target_value) if isinstance(value, Unavailable)), None)
        if (
            unavailable is None
            and not isinstance(measured_value, Unavailable)
            and not isinstance(target_value, Unavailable)
        ):
            weighted_ratios.append((exponent, target_value / measured_value))
        elif unavailable is not None and exponent:
            return unavailable
    return weighted_ratios


def _get_data_sheet_values(
    measured_accelerator: Accelerator, target_accelerator: Accelerator, field: str, name: str
) -> tuple[float | Unavailable, float | Unavailable]:
    measured_value, target_value = (
        _get_data_sheet_value(accelerator, getattr(accelerator, field), name)
        for accelerator in (measured_accelerator, target_accelerator)
    )
    return measured_value, target_value


def _get_data_sheet_value(accelerator: Accelerator, value: float | None, name: str) -> float | Unavailable:
    return (
        value
        if value
        else Unavailable("unknown_figure", f"the {name} of {format_accelerator_name(accelerator)} is unknown")
    )
