"""What is told of a GPU besides its readings: who uses it, its slices, and why its clocks are held back.

What a measurement cost in energy.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from app.records.estimate import Estimate

IDLE = 0x1
CLOCKS_SET = 0x2

THROTTLE_REASONS: dict[int, str] = {
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "thermal, by software",
    0x40: "thermal, by hardware",
    0x80: "power brake",
    0x100: "display clock setting",
    0x200: "board limit",
    0x400: "reliability limit",
}
"""Bits of `gpu_throttle_reasons`, as NVML defines them."""

THROTTLING = ~(IDLE | CLOCKS_SET)
"""An idle GPU and clocks that somebody set are no throttling; a bit that is not known yet is."""


def throttle_names(reasons: float) -> tuple[str, ...]:
    """The reasons among the bits, from the lowest one: empty where nothing throttles."""
    bits = int(reasons) & THROTTLING
    return tuple(
        THROTTLE_REASONS.get(1 << at, f"reason {1 << at:#x}") for at in range(bits.bit_length()) if bits >> at & 1
    )


class GpuProcess(msgspec.Struct, frozen=True):
    """A process that computes on a GPU. `memory_gib` is None where the driver does not tell (as on Windows)."""

    gpu: int
    pid: int
    memory_gib: float | None


class MigInstance(msgspec.Struct, frozen=True):
    """A slice of a GPU that acts as one of its own: telemetry source `gpuN/migI`."""

    index: int
    name: str
    uuid_hash: str | None
    memory_gib: float | None


class GpuShares(msgspec.Struct, frozen=True):
    """Shares of a window's time, from 0 to 1: `idle` and `busy` make 1. None where the GPU does not tell.

    Busy is a kernel resident, however small; a busy GPU may be throttled or not.
    """

    idle: float | None
    busy: float | None
    throttled: float | None


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
