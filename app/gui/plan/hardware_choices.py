"""Hardware that a target may have run on: GPUs and instance types of the catalog, and a CPU."""

from __future__ import annotations

import datetime
from typing import Literal

import msgspec

from app.planning.rates import card_name
from app.records.offers import Accelerator, Catalogue, Offer
from app.wiring.planning import PlanRequest

Kind = Literal["offer", "card", "cpu"]
_HARDWARE = "target.hardware."


class HardwareChoice(msgspec.Struct, frozen=True):
    """Hardware option. `name` is the value for `target.hardware`; `words` is the label, which is also searched."""

    kind: Kind
    name: str
    words: str

    def overrides(self, many: float, replicas: int) -> tuple[str, ...]:
        """Return the values for `--set`. `many` is the number of cards or vCPUs; it is ignored for offers."""
        known_keys = {"offer": (f"offer={self.name}",), "card": (f"accelerator={self.name}", f"count={many:g}")}
        keys = known_keys.get(self.kind, (f"vcpus={many:g}",))
        return tuple(f"{_HARDWARE}{key}" for key in (*keys, *([f"replicas={replicas}"] if replicas > 1 else [])))


def choices_of(request: PlanRequest, today: datetime.date) -> tuple[HardwareChoice, ...]:
    """Return all options, including the request's own price lists. Each instance type is listed once, regardless of its
    regions.
    """
    from app.profiles.pricing.catalogue import load_catalogue
    from app.profiles.pricing.price_list import load_offers

    catalogue = load_offers(request.offers, today) if request.offers else load_catalogue()
    cards = [gpu for key, gpu in catalogue.accelerators.items() if not key.startswith("cpu-")]
    offers = {offer.instance: offer for offer in reversed(catalogue.offers)}
    return (
        HardwareChoice("cpu", "cpu", "a processor alone (CPU)"),
        *(HardwareChoice("card", card.key, _gpu_text(card)) for card in sorted(cards, key=lambda gpu: gpu.name)),
        *(HardwareChoice("offer", name, _offer_text(name, offers[name], catalogue)) for name in sorted(offers)),
    )


def with_hardware(request: PlanRequest, said: tuple[str, ...]) -> PlanRequest:
    """Return the request with this hardware, replacing any hardware set before."""
    remaining = tuple(override for override in request.overrides if not override.startswith(_HARDWARE))
    return msgspec.structs.replace(request, overrides=(*remaining, *said))


def _gpu_text(card: Accelerator) -> str:
    memory = "" if card.memory_gib is None else f", {card.memory_gib:g} GiB"
    return f"{card_name(card)}{memory} – a card"


def _offer_text(name: str, offer: Offer, catalogue: Catalogue) -> str:
    card = catalogue.accelerators.get(offer.accelerator or "")
    parts = [] if card is None else [f"{offer.accelerator_count:g} × {card_name(card)}"]
    parts += [] if offer.vcpus is None else [f"{offer.vcpus:g} vCPUs"]
    return f"{name} – {', '.join(parts)}" if parts else name
