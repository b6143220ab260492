"""Capacity of one instance of an offer, extrapolated from the measured hardware."""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from app.planning.extrapolation import estimate_ratio
from app.planning.memory import GIB, compute_usable_bytes
from app.planning.rates import Unavailable, format_accelerator_name
from app.planning.risk import Risk
from app.records.offers import Accelerator, CapacityCurve, Offer, UnmeasuredGpus, split_key
from app.records.plan import SizingMethod
from app.records.result import Basis, Estimate, Hardware

Z95 = 1.959964
# prior sigmas of the log-normal; a run on the offered instance type replaces them
_SIGMA_UNKNOWN_INTERVAL = 0.05
_SIGMA_SAME_ACCELERATOR = 0.10
_SIGMA_SAME_ARCHITECTURE = 0.20
_SIGMA_OTHER_ARCHITECTURE = 0.30


class Capacity(msgspec.Struct, frozen=True):
    """Request rate of one instance within the SLO, all its `replicas` together: median and sigma of
    a log-normal."""

    rate_per_s: float
    sigma: float
    replicas: int
    basis: Basis
    risks: tuple[Risk, ...] = ()
    speed: float = 1.0
    """Speed of one replica relative to the measured replica: median of a log-normal with sigma
    `speed_sigma`."""
    speed_sigma: float = 0.0
    sizing_method: SizingMethod = "measured"
    extrapolated_per_s: float | None = None
    """Rate that the service model predicts beyond the highest observed rate, if `rate_per_s` is
    limited to that observed rate.

    `None` if `rate_per_s` is not limited by the observed rates.
    """
    max_throughput_per_s: float = math.inf
    """Maximum throughput according to the service model, at full utilization."""

    def compute_quantile_per_s(self, z: float) -> float:
        return self.rate_per_s * math.exp(self.sigma * z)

    def compute_upper_quantile_per_s(self, z: float) -> float:
        """Return the upper end of the capacity's interval at the normal quantile `z`.

        It includes rates that the service model predicts beyond the observed rates, up to the
        model's maximum throughput.
        """
        most_per_s = (self.extrapolated_per_s or self.rate_per_s) * math.exp(self.sigma * z)
        return min(most_per_s, max(self.max_throughput_per_s, self.rate_per_s))

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

    `curve` is the capacity curve of the entire machine `measured_on`, all its replicas combined.
    Returns a Refusal if the capacity cannot be extrapolated; without `unmeasured_gpus`, this
    includes every accelerator that was not measured.
    """
    if measured_hardware.offer is not None and split_key(measured_hardware.offer)[0] == offer.instance:
        return Capacity(curve.max_rate_per_s, _compute_measured_sigma(curve), measured_hardware.replicas, "measured")
    if measured_hardware.accelerator != offer.accelerator:
        measured_card, other_card = (
            accelerators.get(key or "") for key in (measured_hardware.accelerator, offer.accelerator)
        )
        if unmeasured_gpus is None or measured_card is None or other_card is None:
            return Unavailable(
                "not_measured", _format_measurement_hint(measured_hardware.accelerator, offer, accelerators)
            )
        return _extrapolate_to_accelerator(
            curve, measured_hardware, offer, (measured_card, other_card), unmeasured_gpus
        )
    if offer.accelerator is None:
        return _extrapolate_by_vcpu(curve, measured_hardware, offer)
    return _extrapolate_by_count(curve, measured_hardware, offer)


def _extrapolate_by_count(curve: CapacityCurve, measured_on: Hardware, offer: Offer) -> Capacity | Unavailable:
    """Extrapolate to a different number of the same accelerator, with as many replicas as fit."""
    accelerators_per_replica = measured_on.accelerator_count / measured_on.replicas
    replicas = math.floor(offer.accelerator_count / accelerators_per_replica + 1e-9)
    if replicas < 1:
        return Unavailable(
            "shared_accelerator",
            f"has {offer.accelerator_count:g} of an accelerator, but a replica was measured on "
            f"{accelerators_per_replica:g}",
        )
    risks = [Risk(1, "same accelerator in another instance type: scaled by count")]
    if offer.vcpus is not None and measured_on.vcpus is not None:
        offered_vcpus, measured_vcpus = offer.vcpus / replicas, measured_on.vcpus / measured_on.replicas
        if offered_vcpus < measured_vcpus:
            risks.append(Risk(2, f"{offered_vcpus:g} vCPUs per replica, but it was measured with {measured_vcpus:g}"))
    return _build_extrapolated(curve, measured_on, replicas, _SIGMA_SAME_ACCELERATOR, risks)


def _extrapolate_to_accelerator(
    curve: CapacityCurve,
    measured_on: Hardware,
    offer: Offer,
    accelerators: tuple[Accelerator, Accelerator],
    settings: UnmeasuredGpus,
) -> Capacity | Unavailable:
    """Extrapolate to another accelerator.

    A replica uses as many accelerators as were measured; its speed changes by a ratio.
    """
    memory_refusal = _check_memory(*accelerators, settings)
    if memory_refusal is not None:
        return memory_refusal
    ratio = estimate_ratio(*accelerators, settings.work, settings.dtype)
    if isinstance(ratio, Unavailable):
        return ratio
    by_count = _extrapolate_by_count(curve, measured_on, offer)
    if isinstance(by_count, Unavailable):
        return by_count
    sigma = math.hypot(ratio.sigma, _SIGMA_SAME_ACCELERATOR)
    return msgspec.structs.replace(
        by_count,
        rate_per_s=by_count.rate_per_s * ratio.factor,
        sigma=math.hypot(sigma, _compute_measured_sigma(curve)),
        risks=(*ratio.risks, *by_count.risks[1:]),
        speed=ratio.factor,
        speed_sigma=sigma,
    )


def _check_memory(measured: Accelerator, target: Accelerator, settings: UnmeasuredGpus) -> Unavailable | None:
    usable = compute_usable_bytes(target)
    if isinstance(usable, Unavailable):
        return usable
    if settings.memory_gib is not None:
        if settings.memory_gib * GIB <= usable:
            return None
        return Unavailable(
            "memory",
            (
                f"a replica needs {settings.memory_gib:g} GiB, but {format_accelerator_name(target)} has "
                f"{usable / GIB:.3g} GiB usable"
            ),
        )
    if target.memory_gib is None or measured.memory_gib is None or target.memory_gib >= measured.memory_gib:
        return None
    measured_text, target_text = f"{measured.memory_gib:g} GiB", f"{target.memory_gib:g} GiB"
    return Unavailable(
        "replica_memory_unknown",
        f"has {target_text}, but was measured with {measured_text}; set plan.unmeasured_gpus.memory to the memory of a "
        "replica",
    )


def _extrapolate_by_vcpu(curve: CapacityCurve, measured_on: Hardware, offer: Offer) -> Capacity | Unavailable:
    if offer.vcpus is None:
        return Unavailable(
            "vcpus_unknown",
            "the price list has no vCPU count, so a CPU measurement cannot be scaled to this instance type",
        )
    cores = _compute_cores_per_replica(curve, measured_on)
    if cores is None:
        return Unavailable(
            "measured_vcpus_unknown", "the vCPUs of the measured machine are unknown; set target.hardware.vcpus"
        )
    replicas = math.floor(offer.vcpus / cores + 1e-9)
    if replicas < 1:
        return Unavailable("vcpus", f"has {offer.vcpus:g} vCPUs, but one replica uses {cores:.3g}")
    if measured_on.architecture is not None and measured_on.architecture == offer.cpu_architecture:
        risk = Risk(2, f"scaled by vCPU count from a different {offer.cpu_architecture} CPU")
        return _build_extrapolated(curve, measured_on, replicas, _SIGMA_SAME_ARCHITECTURE, [risk])
    measured_text, offer_text = measured_on.architecture or "an unknown CPU", offer.cpu_architecture or "an unknown one"
    risk = Risk(3, f"scaled by vCPU count from {measured_text} to {offer_text}")
    return _build_extrapolated(curve, measured_on, replicas, _SIGMA_OTHER_ARCHITECTURE, [risk])


def _compute_cores_per_replica(curve: CapacityCurve, measured_on: Hardware) -> float | None:
    """Return the number of cores that one replica utilizes, at least 1; `None` if unknown.

    The minimum of 1 is because a replica that is idle half of the time still needs a free core when
    a request arrives.
    """
    if curve.cores_used is not None:
        return max(1.0, curve.cores_used / measured_on.replicas)
    return None if measured_on.vcpus is None else measured_on.vcpus / measured_on.replicas


def _build_extrapolated(
    curve: CapacityCurve, measured_on: Hardware, replicas: int, sigma: float, risks: list[Risk]
) -> Capacity:
    per_replica = curve.max_rate_per_s / measured_on.replicas
    total_sigma = math.hypot(sigma, _compute_measured_sigma(curve))
    return Capacity(per_replica * replicas, total_sigma, replicas, "extrapolated", tuple(risks), speed_sigma=sigma)


def _compute_measured_sigma(curve: CapacityCurve) -> float:
    if curve.max_rate_ci95 is None or curve.max_rate_ci95[0] <= 0:
        return _SIGMA_UNKNOWN_INTERVAL
    low, high = curve.max_rate_ci95
    return math.log(high / low) / (2 * Z95)


def _format_measurement_hint(measured: str | None, offer: Offer, accelerators: Mapping[str, Accelerator]) -> str:
    measured_text = f"measured on {_format_accelerator_name(measured, accelerators)}"
    if offer.accelerator is None:
        return f"{measured_text}; to size a CPU instance type, run this profile against the model on a CPU"
    target_name = _format_accelerator_name(offer.accelerator, accelerators)
    return f"{measured_text}; to size {target_name}, run this profile against the model on one {target_name}"


def _format_accelerator_name(key: str | None, accelerators: Mapping[str, Accelerator]) -> str:
    if key is None:
        return "a CPU"
    accelerator = accelerators.get(key)
    return key if accelerator is None else format_accelerator_name(accelerator)
