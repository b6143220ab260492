"""What a target may have run on: the catalogue's cards and instances, and a processor alone."""

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
    """`name` as `target.hardware` takes it; `words` are searched too."""

    kind: Kind
    name: str
    words: str

    def overrides(self, many: float, replicas: int) -> tuple[str, ...]:
        """As `--set` takes them. `many` are cards or vCPUs; an offer knows its own."""
        said = {"offer": (f"offer={self.name}",), "card": (f"accelerator={self.name}", f"count={many:g}")}
        keys = said.get(self.kind, (f"vcpus={many:g}",))
        return tuple(f"{_HARDWARE}{key}" for key in (*keys, *([f"replicas={replicas}"] if replicas > 1 else [])))


def choices_of(request: PlanRequest, today: datetime.date) -> tuple[HardwareChoice, ...]:
    """With the request's own price lists. An instance is one, in however many regions it is offered."""
    from app.profiles.pricing.catalogue import load_catalogue
    from app.profiles.pricing.price_list import load_offers

    catalogue = load_offers(request.offers, today) if request.offers else load_catalogue()
    cards = [one for key, one in catalogue.accelerators.items() if not key.startswith("cpu-")]
    offers = {offer.instance: offer for offer in reversed(catalogue.offers)}
    return (
        HardwareChoice("cpu", "cpu", "a processor alone (CPU)"),
        *(HardwareChoice("card", card.key, _card_words(card)) for card in sorted(cards, key=lambda one: one.name)),
        *(HardwareChoice("offer", name, _offer_words(name, offers[name], catalogue)) for name in sorted(offers)),
    )


def with_hardware(request: PlanRequest, said: tuple[str, ...]) -> PlanRequest:
    """Whatever was said of it before is gone."""
    others = tuple(one for one in request.overrides if not one.startswith(_HARDWARE))
    return msgspec.structs.replace(request, overrides=(*others, *said))


def _card_words(card: Accelerator) -> str:
    memory = "" if card.memory_gib is None else f", {card.memory_gib:g} GiB"
    return f"{card_name(card)}{memory} – a card"


def _offer_words(name: str, offer: Offer, catalogue: Catalogue) -> str:
    card = catalogue.accelerators.get(offer.accelerator or "")
    parts = [] if card is None else [f"{offer.accelerator_count:g} × {card_name(card)}"]
    parts += [] if offer.vcpus is None else [f"{offer.vcpus:g} vCPUs"]
    return f"{name} – {', '.join(parts)}" if parts else name
