"""What a measurement cost in energy."""

from __future__ import annotations

from typing import Literal

import msgspec

from app.records.estimate import Estimate

EnergyMethod = Literal["counter", "power", "average power"]
"""The difference of the card's own counter, or the area under its power: as it is, or as a mean of its last second."""


class EnergyUse(msgspec.Struct, frozen=True):
    """Of one GPU, or of several together, in a window of `seconds`. What is withheld says why.

    `above_idle_j` is what is left of `total_j` when the GPU's idling for as long is taken off; noise can make it
    negative where there was next to no load.
    """

    total_j: Estimate
    above_idle_j: Estimate
    idle_w: Estimate
    seconds: float
    method: EnergyMethod | None
    """None where nothing could be told, and where several GPUs differ in it."""


class EnergyPerItem(msgspec.Struct, frozen=True):
    """Joules per inference, per answer or per output token: `items` says of how many."""

    total_j: Estimate
    above_idle_j: Estimate
    items: int
