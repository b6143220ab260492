"""GPU data other than telemetry readings: processes, MIG instances, throttle reasons, and energy
use."""

from __future__ import annotations

from typing import Literal

import msgspec

from app.records.estimate import Count, Estimate

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
"""Names of the throttle reasons, by bit of the metric `gpu_throttle_reasons`, as defined by
NVML."""

THROTTLE_MASK = ~(IDLE_BIT | CLOCKS_SET_BIT)
"""Bit mask of the throttle reasons that count as throttling: all except "GPU idle" and "clocks set
by a user". Bits unknown to this version are included."""


def list_throttle_reasons(reason_mask: float) -> tuple[str, ...]:
    """Return the names of the throttle reasons set in a bit mask, lowest bit first; empty if the
    GPU is not throttled."""
    bits = int(reason_mask) & THROTTLE_MASK
    return tuple(
        THROTTLE_REASONS.get(1 << bit, f"reason {1 << bit:#x}") for bit in range(bits.bit_length()) if bits >> bit & 1
    )


class GpuProcess(msgspec.Struct, frozen=True):
    """A process that computes on a GPU. `memory_gib` is None if the driver does not report memory
    per process (as on Windows)."""

    gpu: int
    pid: int
    memory_gib: float | None


class MigInstance(msgspec.Struct, frozen=True):
    """A MIG instance: a slice of a GPU that acts as a separate GPU. Its telemetry source is
    `gpuN/migI`."""

    index: Count
    name: str
    uuid_hash: str | None
    memory_gib: float | None


class GpuShares(msgspec.Struct, frozen=True):
    """GPU states as fractions of a time window; `idle` and `busy` add up to 1. Values that the GPU
    does not report are None.

    A GPU is busy while a kernel is resident, however small the kernel. A GPU can be throttled
    whether it is idle or busy.
    """

    idle: float | None
    busy: float | None
    throttled: float | None


EnergyMethod = Literal["counter", "power", "average power"]
"""Method by which an energy value was determined. "counter": difference of the GPU's energy
counter; "power": integral of the instantaneous power; "average power": integral of the power
averaged over the last second."""


class EnergyUse(msgspec.Struct, frozen=True):
    """Energy used by one or several GPUs in a time window of `seconds` seconds. An estimate without
    a value states the reason.

    `above_idle_j` is `total_j` minus the energy that the idle GPUs would use in the same time;
    noise can make the difference negative under very low load.
    """

    total_j: Estimate
    above_idle_j: Estimate
    idle_w: Estimate
    seconds: float
    method: EnergyMethod | None
    """Method by which the energy values were determined; None without values, or if the method
    differs between GPUs."""


class EnergyPerItem(msgspec.Struct, frozen=True):
    """Energy in J per inference, response or output token. `items` is the number of inferences,
    responses or tokens."""

    total_j: Estimate
    above_idle_j: Estimate
    items: int
