"""What this machine can do, and what it is doing at one moment."""

from __future__ import annotations

import msgspec

from app.records.result import Check, Environment


class Refused(msgspec.Struct, frozen=True):
    """A provider that the build of ONNX Runtime knows and that opens no session here."""

    provider: str
    reason: str


class MachineFacts(msgspec.Struct, frozen=True):
    environment: Environment
    checks: tuple[Check, ...]
    refused: tuple[Refused, ...]


class GpuNow(msgspec.Struct, frozen=True, kw_only=True):
    """`source` is that of telemetry. What the card does not tell is None; so is all of one that is lost."""

    source: str
    name: str
    utilisation_percent: float | None = None
    memory_gib: float | None = None
    memory_total_gib: float | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    temperature_c: float | None = None
    clock_mhz: float | None = None
    clock_most_mhz: float | None = None
    throttled_by: tuple[str, ...] | None = None
    """Empty where nothing holds its clocks back."""


class MachineNow(msgspec.Struct, frozen=True, kw_only=True):
    """`cores` and `memory_total_gib` are what this process may use. `gpu_note` is why GPUs that should be there are
    not; `driver` is None without NVIDIA's."""

    cpu_percent: float | None
    cores: float | None
    memory_gib: float | None
    memory_total_gib: float | None
    gpus: tuple[GpuNow, ...] = ()
    driver: str | None = None
    gpu_note: str | None = None
