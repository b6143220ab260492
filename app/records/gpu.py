"""GPU data besides its readings: processes, MIG instances, throttle reasons, and energy use."""

from __future__ import annotations

from typing import Literal

import msgspec

from app.records.estimate import Estimate

IDLE_BIT = 0x1
CLOCKS_SET_BIT = 0x2

THROTTLE_REASONS: dict[int, str] = {
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
    0x100: "display clock setting",
    0x200: "board limit",
    0x400: "reliability limit",
}
"""Names of the bits of `gpu_throttle_reasons`, as NVML defines them."""

THROTTLE_MASK = ~(IDLE_BIT | CLOCKS_SET_BIT)
"""Bits that count as throttling: all except an idle GPU and clocks set by a user, so that bits unknown to this version
count."""


def list_throttle_reasons(reasons: float) -> tuple[str, ...]:
    """Return the throttle reasons among the bits, lowest bit first; empty if the GPU is not throttled."""
    bits = int(reasons) & THROTTLE_MASK
    return tuple(
        THROTTLE_REASONS.get(1 << bit, f"reason {1 << bit:#x}") for bit in range(bits.bit_length()) if bits >> bit & 1
    )


class GpuProcess(msgspec.Struct, frozen=True):
    """A process that computes on a GPU. `memory_gib` is None if the driver does not report it (as on Windows)."""

    gpu: int
    pid: int
    memory_gib: float | None


class MigInstance(msgspec.Struct, frozen=True):
    """A MIG instance, a slice of a GPU that acts as a GPU of its own: telemetry source `gpuN/migI`."""

    index: int
    name: str
    uuid_hash: str | None
    memory_gib: float | None


class GpuShares(msgspec.Struct, frozen=True):
    """Shares of a window's time, from 0 to 1; `idle` and `busy` add up to 1. None if not reported by the GPU.

    Busy means that a kernel is resident, however small; a busy GPU may or may not be throttled.
    """

    idle: float | None
    busy: float | None
    throttled: float | None


EnergyMethod = Literal["counter", "power", "average power"]
"""Source of an energy value: the difference of the card's own counter, or the integral of its power, either
instantaneous or as a mean of its last second."""


class EnergyUse(msgspec.Struct, frozen=True):
    """Energy used by one GPU, or by several together, in a window of `seconds`. A withheld estimate gives its reason.

    `above_idle_j` is `total_j` minus the energy that the idle GPU uses in the same time; noise can make it negative
    under almost no load.
    """

    total_j: Estimate
    above_idle_j: Estimate
    idle_w: Estimate
    seconds: float
    method: EnergyMethod | None
    """Source of the values; None if there are none, and if it differs between several GPUs."""


class EnergyPerItem(msgspec.Struct, frozen=True):
    """Energy in J per inference, per response or per output token; `items` is the number of items."""

    total_j: Estimate
    above_idle_j: Estimate
    items: int
