"""What one instance of an offer carries, from what one machine was measured to carry."""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from app.planning.extrapolation import carry_to
from app.planning.memory import GIB, usable_bytes
from app.planning.rates import Refusal, card_name
from app.planning.risk import Risk
from app.records.offers import Accelerator, CapacityCurve, Offer, OtherCards, split_key
from app.records.plan import Settled
from app.records.result import Basis, Estimate, Hardware

Z95 = 1.959964
# priors, as log-normal sigmas; one run on the offer itself replaces them
_SIGMA_UNKNOWN_INTERVAL = 0.05
_SIGMA_SAME_ACCELERATOR = 0.10
_SIGMA_SAME_ARCHITECTURE = 0.20
_SIGMA_OTHER_ARCHITECTURE = 0.30


class Capacity(msgspec.Struct, frozen=True):
    """Requests a second inside the SLO: the median and sigma of a log-normal, of `replicas` together."""

    per_s: float
    sigma: float
    replicas: int
    basis: Basis
    risks: tuple[Risk, ...] = ()
    speed: float = 1.0
    """Of one replica, beside the measured one's: the median of a log-normal of `speed_sigma`."""
    speed_sigma: float = 0.0
    settled: Settled = "measured"
    unseen_per_s: float | None = None
    """What the service model would carry beyond the most that was seen, where `per_s` stops there."""
    ceiling_per_s: float = math.inf
    """The most that the service model can do at all, busy without a pause."""

    def quantile_per_s(self, z: float) -> float:
        return self.per_s * math.exp(self.sigma * z)

    def most_per_s(self, z: float) -> float:
        """The upper end of an interval: as far as the service model goes, where no one saw it, and to what it can do at
        all."""
        most_per_s = (self.unseen_per_s or self.per_s) * math.exp(self.sigma * z)
        return min(most_per_s, max(self.ceiling_per_s, self.per_s))

    @property
    def estimate(self) -> Estimate:
        return Estimate(self.per_s, (self.quantile_per_s(-Z95), self.most_per_s(Z95)), basis=self.basis)


def carry_over(
    curve: CapacityCurve,
    measured_on: Hardware,
    offer: Offer,
    accelerators: Mapping[str, Accelerator],
    other_cards: OtherCards | None = None,
) -> Capacity | Refusal:
    """The curve is that of `measured_on` as a whole, all its replicas together.

    Without `other_cards` an accelerator that was not measured is refused.
    """
    if measured_on.offer is not None and split_key(measured_on.offer)[0] == offer.instance:
        return Capacity(curve.max_rate_per_s, _measured_sigma(curve), measured_on.replicas, "measured")
    if measured_on.accelerator != offer.accelerator:
        here, there = (accelerators.get(key or "") for key in (measured_on.accelerator, offer.accelerator))
        if other_cards is None or here is None or there is None:
            return Refusal("not_measured", _what_to_measure(measured_on.accelerator, offer, accelerators))
        return _by_other_card(curve, measured_on, offer, (here, there), other_cards)
    if offer.accelerator is None:
        return _by_vcpu(curve, measured_on, offer)
    return _by_count(curve, measured_on, offer)


def _by_count(curve: CapacityCurve, measured_on: Hardware, offer: Offer) -> Capacity | Refusal:
    """The same accelerator in another number: as many whole replicas as it has room for."""
    share = measured_on.accelerator_count / measured_on.replicas
    replicas = math.floor(offer.accelerator_count / share + 1e-9)
    if replicas < 1:
        return Refusal(
            "shared_accelerator",
            f"holds {offer.accelerator_count:g} of an accelerator, and a replica was measured on {share:g}",
        )
    risks = [Risk(1, "the same accelerator in another instance: carried over by count")]
    if offer.vcpus is not None and measured_on.vcpus is not None:
        there, here = offer.vcpus / replicas, measured_on.vcpus / measured_on.replicas
        if there < here:
            risks.append(Risk(2, f"{there:g} vCPUs a replica, and it was measured with {here:g}"))
    return _extrapolated(curve, measured_on, replicas, _SIGMA_SAME_ACCELERATOR, risks)


def _by_other_card(
    curve: CapacityCurve, measured_on: Hardware, offer: Offer, cards: tuple[Accelerator, Accelerator], how: OtherCards
) -> Capacity | Refusal:
    """As many cards a replica as were measured, each slower or faster by a ratio."""
    short = _short_of_memory(*cards, how)
    if short is not None:
        return short
    ratio = carry_to(*cards, how.work, how.dtype)
    if isinstance(ratio, Refusal):
        return ratio
    alike = _by_count(curve, measured_on, offer)
    if isinstance(alike, Refusal):
        return alike
    sigma = math.hypot(ratio.sigma, _SIGMA_SAME_ACCELERATOR)
    return msgspec.structs.replace(
        alike,
        per_s=alike.per_s * ratio.factor,
        sigma=math.hypot(sigma, _measured_sigma(curve)),
        risks=(*ratio.risks, *alike.risks[1:]),
        speed=ratio.factor,
        speed_sigma=sigma,
    )


def _short_of_memory(measured: Accelerator, other: Accelerator, how: OtherCards) -> Refusal | None:
    room = usable_bytes(other)
    if isinstance(room, Refusal):
        return room
    if how.memory_gib is not None:
        if how.memory_gib * GIB <= room:
            return None
        return Refusal(
            "memory", f"a replica takes {how.memory_gib:g} GiB, and {card_name(other)} has {room / GIB:.3g} usable"
        )
    if other.memory_gib is None or measured.memory_gib is None or other.memory_gib >= measured.memory_gib:
        return None
    here, there = f"{measured.memory_gib:g} GiB", f"{other.memory_gib:g} GiB"
    return Refusal(
        "replica_memory_unknown",
        f"has {there}, and it was measured with {here}: say in plan.other_cards.memory what a replica takes of a card",
    )


def _by_vcpu(curve: CapacityCurve, measured_on: Hardware, offer: Offer) -> Capacity | Refusal:
    if offer.vcpus is None:
        return Refusal(
            "vcpus_unknown", "its price list gives no vCPUs, so a measurement on a CPU cannot be carried to it"
        )
    cores = _cores_a_replica(curve, measured_on)
    if cores is None:
        return Refusal(
            "measured_vcpus_unknown", "the vCPUs it was measured on are not known: name them in target.hardware.vcpus"
        )
    replicas = math.floor(offer.vcpus / cores + 1e-9)
    if replicas < 1:
        return Refusal("vcpus", f"has {offer.vcpus:g} vCPUs, and one replica keeps {cores:.3g} busy")
    if measured_on.architecture is not None and measured_on.architecture == offer.cpu_architecture:
        risk = Risk(2, f"carried over by vCPU from another {offer.cpu_architecture} CPU")
        return _extrapolated(curve, measured_on, replicas, _SIGMA_SAME_ARCHITECTURE, [risk])
    here, there = measured_on.architecture or "an unknown CPU", offer.cpu_architecture or "an unknown one"
    risk = Risk(3, f"carried over by vCPU from {here} to {there}")
    return _extrapolated(curve, measured_on, replicas, _SIGMA_OTHER_ARCHITECTURE, [risk])


def _cores_a_replica(curve: CapacityCurve, measured_on: Hardware) -> float | None:
    """Never less than one: a replica that is idle half of the time still needs its core free when a request comes."""
    if curve.cores_used is not None:
        return max(1.0, curve.cores_used / measured_on.replicas)
    return None if measured_on.vcpus is None else measured_on.vcpus / measured_on.replicas


def _extrapolated(
    curve: CapacityCurve, measured_on: Hardware, replicas: int, sigma: float, risks: list[Risk]
) -> Capacity:
    per_replica = curve.max_rate_per_s / measured_on.replicas
    total_sigma = math.hypot(sigma, _measured_sigma(curve))
    return Capacity(per_replica * replicas, total_sigma, replicas, "extrapolated", tuple(risks), speed_sigma=sigma)


def _measured_sigma(curve: CapacityCurve) -> float:
    if curve.max_rate_ci95 is None or curve.max_rate_ci95[0] <= 0:
        return _SIGMA_UNKNOWN_INTERVAL
    low, high = curve.max_rate_ci95
    return math.log(high / low) / (2 * Z95)


def _what_to_measure(measured: str | None, offer: Offer, accelerators: Mapping[str, Accelerator]) -> str:
    here = f"measured on {_name(measured, accelerators)}"
    if offer.accelerator is None:
        return f"{here}; to size a CPU offer, run this profile against the model on a CPU"
    there = _name(offer.accelerator, accelerators)
    return f"{here}; to size {there}, run this profile against the model on one {there}"


def _name(key: str | None, accelerators: Mapping[str, Accelerator]) -> str:
    if key is None:
        return "a CPU"
    part = accelerators.get(key)
    return key if part is None else card_name(part)
