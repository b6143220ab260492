"""Hardware that a run may have used: GPUs and instance types of the catalog, or a CPU."""

from __future__ import annotations

import datetime
from typing import Literal

import msgspec

from app.planning.rates import format_accelerator_name
from app.records.offers import Accelerator, Catalog, Offer
from app.wiring.planning import PlanRequest

HardwareKind = Literal["offer", "card", "cpu"]
_HARDWARE = "target.hardware."


class HardwareChoice(msgspec.Struct, frozen=True):
    """Hardware option. `name` is the value of `target.hardware`; `label` is displayed and
    searched."""

    kind: HardwareKind
    name: str
    label: str

    def overrides(self, count: float, replicas: int) -> tuple[str, ...]:
        """Return values in the format of `--set`. `count` is the number of GPUs or vCPUs; it is
        ignored for instance types."""
        known_keys = {"offer": (f"offer={self.name}",), "card": (f"accelerator={self.name}", f"count={count:g}")}
        keys = known_keys.get(self.kind, (f"vcpus={count:g}",))
        return tuple(f"{_HARDWARE}{key}" for key in (*keys, *([f"replicas={replicas}"] if replicas > 1 else [])))


def list_hardware_choices(request: PlanRequest, today: datetime.date) -> tuple[HardwareChoice, ...]:
    """Return all hardware options, including those from the price lists of the request. Each
    instance type is listed once, even if it is available in several regions."""
    from app.profiles.pricing.catalog import load_catalog
    from app.profiles.pricing.price_list import load_offers

    catalogue = load_offers(request.offers, today) if request.offers else load_catalog()
    cards = [gpu for key, gpu in catalogue.accelerators.items() if not key.startswith("cpu-")]
    offers = {offer.instance: offer for offer in reversed(catalogue.offers)}
    return (
        HardwareChoice("cpu", "cpu", "CPU only"),
        *(HardwareChoice("card", card.key, _gpu_text(card)) for card in sorted(cards, key=lambda gpu: gpu.name)),
        *(HardwareChoice("offer", name, _offer_text(name, offers[name], catalogue)) for name in sorted(offers)),
    )


def with_hardware(request: PlanRequest, overrides: tuple[str, ...]) -> PlanRequest:
    """Return the request with the given hardware, which replaces any hardware set before."""
    remaining = tuple(override for override in request.overrides if not override.startswith(_HARDWARE))
    return msgspec.structs.replace(request, overrides=(*remaining, *overrides))


def _gpu_text(card: Accelerator) -> str:
    memory = "" if card.memory_gib is None else f", {card.memory_gib:g} GiB"
    return f"{format_accelerator_name(card)}{memory} – GPU"


def _offer_text(name: str, offer: Offer, catalog: Catalog) -> str:
    card = catalog.accelerators.get(offer.accelerator or "")
    parts = [] if card is None else [f"{offer.accelerator_count:g} × {format_accelerator_name(card)}"]
    parts += [] if offer.vcpus is None else [f"{offer.vcpus:g} vCPUs"]
    return f"{name} – {', '.join(parts)}" if parts else name
