"""Capabilities and current state of this machine."""

from __future__ import annotations

import msgspec

from app.records.result import Check, Environment


class UnavailableProvider(msgspec.Struct, frozen=True):
    """An execution provider that ONNX Runtime lists but that cannot open a session on this
    machine."""

    provider: str
    reason: str


class MachineInfo(msgspec.Struct, frozen=True):
    environment: Environment
    checks: tuple[Check, ...]
    unavailable_providers: tuple[UnavailableProvider, ...]


class GpuState(msgspec.Struct, frozen=True, kw_only=True):
    """Current state of one GPU. `source` is the GPU's telemetry source. A value is None if the GPU
    does not report it; all values are None for a lost GPU."""

    source: str
    name: str
    utilization_percent: float | None = None
    memory_gib: float | None = None
    memory_total_gib: float | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    temperature_c: float | None = None
    clock_mhz: float | None = None
    max_clock_mhz: float | None = None
    throttled_by: tuple[str, ...] | None = None
    """Reasons why the GPU's clocks are throttled; empty if the clocks are not throttled, None if
    not reported."""


class MachineNow(msgspec.Struct, frozen=True, kw_only=True):
    """Current state of the machine. `cores` and `memory_total_gib` are the cores and the memory
    available to this process. `gpu_note` explains why expected GPUs are missing; `driver` is None
    without an NVIDIA driver."""

    cpu_percent: float | None
    cores: float | None
    memory_gib: float | None
    memory_total_gib: float | None
    gpus: tuple[GpuState, ...] = ()
    driver: str | None = None
    gpu_note: str | None = None
