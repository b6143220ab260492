"""Capacity of one instance of an offer, extrapolated from the measured hardware."""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from app.planning.hardware.extrapolation import estimate_ratio
from app.planning.hardware.rates import Unavailable, format_accelerator_name
from app.planning.hardware.risk import Risk
from app.planning.language_models.memory import GIB, compute_usable_bytes
from app.records.offers import Accelerator, CapacityCurve, Offer, UnmeasuredGpus, split_key
from app.records.plan import SizingMethod
from app.records.result import Basis, Estimate, Hardware

Z90 = 1.281552
"""Normal quantile of a one-sided 90 % limit."""
Z95 = 1.959964
# prior sigmas of the lognormal; a run on the offered instance type replaces them
_SIGMA_UNKNOWN_INTERVAL = 0.05
_SIGMA_SAME_ACCELERATOR = 0.10
_SIGMA_SAME_ARCHITECTURE = 0.20
_SIGMA_OTHER_ARCHITECTURE = 0.30


class Capacity(msgspec.Struct, frozen=True):
    """Request rate of one instance within the SLO, over all its `replicas`: median and sigma of a
    lognormal distribution."""

    rate_per_s: float
    sigma: float
    replicas: int
    basis: Basis
    risks: tuple[Risk, ...] = ()
    speed: float = 1.0
    """Speed of one replica relative to the measured replica: median of a lognormal distribution
    with sigma `speed_sigma`."""
    speed_sigma: float = 0.0
    latency_limit_sigma: float | None = None
    """Standard deviation of the logarithm of the latency that the plan states, if only a one-sided
    limit can be stated for it; `None` if the latency is stated as a value."""
    sizing_method: SizingMethod = "measured"
    extrapolated_per_s: float | None = None
    """Rate in req/s that the service model predicts beyond the highest observed rate, if the
    capacity is limited to that observed rate; otherwise `None`.
    """
    max_throughput_per_s: float = math.inf
    """Maximum throughput of the instance in req/s, which the service model predicts at full
    utilization."""

    def compute_quantile_per_s(self, z: float) -> float:
        return self.rate_per_s * math.exp(self.sigma * z)

    def compute_upper_quantile_per_s(self, z: float) -> float:
        """Return the upper bound of the capacity in req/s at the normal quantile `z`.

        The bound includes rates that the service model predicts beyond the observed rates, up to
        the predicted maximum throughput.
        """
        upper_rate_per_s = (self.extrapolated_per_s or self.rate_per_s) * math.exp(self.sigma * z)
        return min(upper_rate_per_s, max(self.max_throughput_per_s, self.rate_per_s))

    @property
    def estimate(self) -> Estimate:
        return Estimate(
            self.rate_per_s,
            (self.compute_quantile_per_s(-Z95), self.compute_upper_quantile_per_s(Z95)),
            basis=self.basis,
        )


def extrapolate_capacity(
    curve: CapacityCurve,
    measured_hardware: Hardware,
    offer: Offer,
    accelerators: Mapping[str, Accelerator],
    unmeasured_gpus: UnmeasuredGpus | None = None,
) -> Capacity | Unavailable:
    """Extrapolate the measured capacity to one instance of the offer.

    `curve` is the capacity curve of the entire measured machine, over all its replicas. Return
    `Unavailable` if the capacity cannot be extrapolated. Without `unmeasured_gpus`, the capacity is
    not extrapolated to any other accelerator.
    """
    if measured_hardware.offer is not None and split_key(measured_hardware.offer)[0] == offer.instance:
        return Capacity(curve.max_rate_per_s, _compute_measured_sigma(curve), measured_hardware.replicas, "measured")
    if measured_hardware.accelerator != offer.accelerator:
        measured_accelerator, offered_accelerator = (
            accelerators.get(key or "") for key in (measured_hardware.accelerator, offer.accelerator)
        )
        if unmeasured_gpus is None or measured_accelerator is None or offered_accelerator is None:
            return Unavailable(
                "not_measured", _format_measurement_hint(measured_hardware.accelerator, offer, accelerators)
            )
        return _extrapolate_to_accelerator(
            curve, measured_hardware, offer, (measured_accelerator, offered_accelerator), unmeasured_gpus
        )
    if offer.accelerator is None:
        return _extrapolate_by_vcpu(curve, measured_hardware, offer)
    return _extrapolate_by_count(curve, measured_hardware, offer)


def _extrapolate_by_count(curve: CapacityCurve, measured_hardware: Hardware, offer: Offer) -> Capacity | Unavailable:
    """Extrapolate to another number of accelerators of the measured type, with as many replicas as
    fit."""
    accelerators_per_replica = measured_hardware.accelerator_count / measured_hardware.replicas
    replicas = math.floor(offer.accelerator_count / accelerators_per_replica + 1e-9)
    if replicas < 1:
        return Unavailable(
            "shared_accelerator",
            f"the instance has too few accelerators: {offer.accelerator_count:g}, but a replica was measured on "
            f"{accelerators_per_replica:g}",
        )
    risks = [Risk(1, "same accelerator in another instance type: scaled by count")]
    if offer.vcpus is not None and measured_hardware.vcpus is not None:
        offered_vcpus, measured_vcpus = offer.vcpus / replicas, measured_hardware.vcpus / measured_hardware.replicas
        if offered_vcpus < measured_vcpus:
            risks.append(Risk(2, f"a replica has {offered_vcpus:g} vCPUs, but was measured with {measured_vcpus:g}"))
    return _build_extrapolated_capacity(curve, measured_hardware, replicas, _SIGMA_SAME_ACCELERATOR, risks)


def _extrapolate_to_accelerator(
    curve: CapacityCurve,
    measured_hardware: Hardware,
    offer: Offer,
    accelerator_pair: tuple[Accelerator, Accelerator],
    unmeasured_gpus: UnmeasuredGpus,
) -> Capacity | Unavailable:
    """Extrapolate to another accelerator type. The number of accelerators per replica is the
    measured number; the speed of a replica changes by a ratio.
    """
    unavailable = _check_memory(*accelerator_pair, unmeasured_gpus)
    if unavailable is not None:
        return unavailable
    ratio = estimate_ratio(*accelerator_pair, unmeasured_gpus.work, unmeasured_gpus.dtype)
    if isinstance(ratio, Unavailable):
        return ratio
    same_accelerator_capacity = _extrapolate_by_count(curve, measured_hardware, offer)
    if isinstance(same_accelerator_capacity, Unavailable):
        return same_accelerator_capacity
    sigma = math.hypot(ratio.sigma, _SIGMA_SAME_ACCELERATOR)
    return msgspec.structs.replace(
        same_accelerator_capacity,
        rate_per_s=same_accelerator_capacity.rate_per_s * ratio.factor,
        sigma=math.hypot(sigma, _compute_measured_sigma(curve)),
        risks=(*ratio.risks, *same_accelerator_capacity.risks[1:]),
        speed=ratio.factor,
        speed_sigma=sigma,
    )


def _check_memory(
    measured_accelerator: Accelerator, target_accelerator: Accelerator, unmeasured_gpus: UnmeasuredGpus
) -> Unavailable | None:
    usable_bytes = compute_usable_bytes(target_accelerator)
    if isinstance(usable_bytes, Unavailable):
        return usable_bytes
    if unmeasured_gpus.memory_gib is not None:
        if unmeasured_gpus.memory_gib * GIB <= usable_bytes:
            return None
        return Unavailable(
            "memory",
            (
                f"a replica needs {unmeasured_gpus.memory_gib:g} GiB, but "
                f"{format_accelerator_name(target_accelerator)} has {usable_bytes / GIB:.3g} GiB usable"
            ),
        )
    if (
        target_accelerator.memory_gib is None
        or measured_accelerator.memory_gib is None
        or target_accelerator.memory_gib >= measured_accelerator.memory_gib
    ):
        return None
    measured_text, target_text = f"{measured_accelerator.memory_gib:g} GiB", f"{target_accelerator.memory_gib:g} GiB"
    return Unavailable(
        "replica_memory_unknown",
        f"{format_accelerator_name(target_accelerator)} has {target_text} of memory, but a replica was measured with "
        f"{measured_text}; set plan.unmeasured_gpus.memory to the memory of a replica",
    )


def _extrapolate_by_vcpu(curve: CapacityCurve, measured_hardware: Hardware, offer: Offer) -> Capacity | Unavailable:
    if offer.vcpus is None:
        return Unavailable(
            "vcpus_unknown",
            "the price list has no vCPU count, so a CPU measurement cannot be scaled to this instance type",
        )
    cores_per_replica = _compute_cores_per_replica(curve, measured_hardware)
    if cores_per_replica is None:
        return Unavailable(
            "measured_vcpus_unknown", "the vCPUs of the measured machine are unknown; set target.hardware.vcpus"
        )
    replicas = math.floor(offer.vcpus / cores_per_replica + 1e-9)
    if replicas < 1:
        return Unavailable(
            "vcpus", f"the instance has {offer.vcpus:g} vCPUs, but a replica uses {cores_per_replica:.3g}"
        )
    if measured_hardware.architecture is not None and measured_hardware.architecture == offer.cpu_architecture:
        risk = Risk(2, f"scaled by vCPU count from a different {offer.cpu_architecture} CPU")
        return _build_extrapolated_capacity(curve, measured_hardware, replicas, _SIGMA_SAME_ARCHITECTURE, [risk])
    measured_architecture, offered_architecture = (
        measured_hardware.architecture or "an unknown CPU",
        offer.cpu_architecture or "an unknown CPU",
    )
    risk = Risk(3, f"scaled by vCPU count from {measured_architecture} to {offered_architecture}")
    return _build_extrapolated_capacity(curve, measured_hardware, replicas, _SIGMA_OTHER_ARCHITECTURE, [risk])


def _compute_cores_per_replica(curve: CapacityCurve, measured_hardware: Hardware) -> float | None:
    """Return the number of cores that one replica utilizes, at least 1; `None` if unknown.

    Even a replica that is idle half of the time needs a free core when a request arrives.
    """
    if curve.cores_used is not None:
        return max(1.0, curve.cores_used / measured_hardware.replicas)
    return None if measured_hardware.vcpus is None else measured_hardware.vcpus / measured_hardware.replicas


def _build_extrapolated_capacity(
    curve: CapacityCurve, measured_hardware: Hardware, replicas: int, sigma: float, risks: list[Risk]
) -> Capacity:
    rate_per_replica_per_s = curve.max_rate_per_s / measured_hardware.replicas
    total_sigma = math.hypot(sigma, _compute_measured_sigma(curve))
    return Capacity(
        rate_per_replica_per_s * replicas, total_sigma, replicas, "extrapolated", tuple(risks), speed_sigma=sigma
    )


def _compute_measured_sigma(curve: CapacityCurve) -> float:
    if curve.max_rate_ci95 is None or curve.max_rate_ci95[0] <= 0:
        return _SIGMA_UNKNOWN_INTERVAL
    low, high = curve.max_rate_ci95
    return math.log(high / low) / (2 * Z95)


def _format_measurement_hint(measured_key: str | None, offer: Offer, accelerators: Mapping[str, Accelerator]) -> str:
    measured_text = f"the target was measured on {_format_accelerator_name(measured_key, accelerators)}"
    if offer.accelerator is None:
        return f"{measured_text}; to size a CPU instance type, run this profile against the model on a CPU"
    target_name = _format_accelerator_name(offer.accelerator, accelerators)
    return f"{measured_text}; to size {target_name}, run this profile against the model on one {target_name}"


def _format_accelerator_name(key: str | None, accelerators: Mapping[str, Accelerator]) -> str:
    if key is None:
        return "a CPU"
    accelerator = accelerators.get(key)
    return key if accelerator is None else format_accelerator_name(accelerator)
