"""Hardware choices for a run: the GPUs and instance types of the catalog, and CPU only."""

from __future__ import annotations

import datetime
from typing import Literal

import msgspec

from app.planning.hardware.rates import format_accelerator_name
from app.records.offers import Accelerator, Catalog, Offer
from app.wiring.planning import PlanRequest

HardwareKind = Literal["offer", "card", "cpu"]
_HARDWARE_PREFIX = "target.hardware."


class HardwareChoice(msgspec.Struct, frozen=True):
    """Hardware choice. `name` is the name of the instance type or GPU, as in `target.hardware`;
    `label` is displayed and searched."""

    kind: HardwareKind
    name: str
    label: str

    def overrides(self, count: float, replicas: int) -> tuple[str, ...]:
        """Return the keys of `target.hardware` with their values, in the format of `--set`. `count`
        is the number of GPUs or vCPUs; `count` is ignored for instance types."""
        settings_by_kind = {"offer": (f"offer={self.name}",), "card": (f"accelerator={self.name}", f"count={count:g}")}
        settings = settings_by_kind.get(self.kind, (f"vcpus={count:g}",))
        return tuple(
            f"{_HARDWARE_PREFIX}{setting}"
            for setting in (*settings, *([f"replicas={replicas}"] if replicas > 1 else []))
        )


def list_hardware_choices(request: PlanRequest, today: datetime.date) -> tuple[HardwareChoice, ...]:
    """Return all hardware choices, including those from the price lists of the request. Each
    instance type is listed once, even if several regions offer it."""
    from app.profiles.pricing.catalog import load_catalog
    from app.profiles.pricing.price_list import load_offers

    catalog = load_offers(request.offers, today) if request.offers else load_catalog()
    gpus = [gpu for key, gpu in catalog.accelerators.items() if not key.startswith("cpu-")]
    offers_by_instance = {offer.instance: offer for offer in reversed(catalog.offers)}
    return (
        HardwareChoice("cpu", "cpu", "CPU only"),
        *(HardwareChoice("card", gpu.key, _format_gpu(gpu)) for gpu in sorted(gpus, key=lambda gpu: gpu.name)),
        *(
            HardwareChoice("offer", name, _format_offer(name, offers_by_instance[name], catalog))
            for name in sorted(offers_by_instance)
        ),
    )


def replace_hardware(request: PlanRequest, overrides: tuple[str, ...]) -> PlanRequest:
    """Return the request with the given hardware, which replaces any hardware set before."""
    remaining = tuple(override for override in request.overrides if not override.startswith(_HARDWARE_PREFIX))
    return msgspec.structs.replace(request, overrides=(*remaining, *overrides))


def _format_gpu(gpu: Accelerator) -> str:
    memory = "" if gpu.memory_gib is None else f", {gpu.memory_gib:g} GiB"
    return f"{format_accelerator_name(gpu)}{memory} – GPU"


def _format_offer(name: str, offer: Offer, catalog: Catalog) -> str:
    gpu = catalog.accelerators.get(offer.accelerator or "")
    parts = [] if gpu is None else [f"{offer.accelerator_count:g} × {format_accelerator_name(gpu)}"]
    parts += [] if offer.vcpus is None else [f"{offer.vcpus:g} vCPUs"]
    return f"{name} – {', '.join(parts)}" if parts else name
