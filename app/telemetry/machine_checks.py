"""What a machine is good for, before anything is measured on it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil

from app.records.calibration import BUSY_LIMIT_CORES
from app.records.result import Check, CheckId, Environment
from app.telemetry.cgroup import read_cgroup
from app.telemetry.host import GIB, busy_and_all_s

FREE_MEMORY_LIMIT_GIB = 1.0
CORES_LIMIT = 2
CLOCK_LIMIT_NS = 1_000
NVIDIA_PROVIDERS = {"cuda", "tensorrt"}


@dataclass(frozen=True)
class MachineLoad:
    """What is going on beside us. `busy_cores` is the CPU of all other processes."""

    busy_cores: float
    free_memory_gib: float


def machine_checks(environment: Environment) -> tuple[Check, ...]:
    """Takes half a second, to see what else the machine is doing."""
    return judge_machine(environment, read_machine_load())


def read_machine_load(window_s: float = 0.5, sleep: Callable[[float], None] = time.sleep) -> MachineLoad:
    began_ns, busy_s = time.perf_counter_ns(), _busy_elsewhere_s()
    sleep(window_s)
    elapsed_s = (time.perf_counter_ns() - began_ns) / 1e9
    return MachineLoad(max(0.0, _busy_elsewhere_s() - busy_s) / elapsed_s, free_memory_bytes() / GIB)


def _busy_elsewhere_s() -> float:
    busy_s, _ = busy_and_all_s()
    own = psutil.Process().cpu_times()
    return busy_s - own.user - own.system


def free_memory_bytes() -> int:
    """Of the machine, or of what the container may still take."""
    available = psutil.virtual_memory().available
    cgroup = read_cgroup()
    used = cgroup.memory_used_bytes()
    if cgroup.memory_limit_bytes is None or used is None:
        return available
    return min(available, cgroup.memory_limit_bytes - used)


def judge_machine(environment: Environment, load: MachineLoad) -> tuple[Check, ...]:
    return (
        _cores(environment),
        _other_load(load),
        _free_memory(load),
        _power_governor(environment),
        _clock_resolution(environment),
        _gpus(environment),
        _providers(environment),
    )


def _cores(environment: Environment) -> Check:
    cores = environment.cpu_limit_cores or environment.logical_cores
    hint = "Generator and endpoint would share one core: give this machine more, or run the endpoint on another."
    return _judge("cores", cores, CORES_LIMIT, "cores", cores >= CORES_LIMIT, hint)


def _other_load(load: MachineLoad) -> Check:
    hint = "Other processes keep the CPU busy: end them, or expect late sends and wide intervals."
    is_quiet = load.busy_cores <= BUSY_LIMIT_CORES
    return _judge("other_load", round(load.busy_cores, 2), BUSY_LIMIT_CORES, "cores", is_quiet, hint)


def _free_memory(load: MachineLoad) -> Check:
    hint = "Free some memory: a machine that swaps measures its disk."
    is_enough = load.free_memory_gib >= FREE_MEMORY_LIMIT_GIB
    return _judge("free_memory", round(load.free_memory_gib, 2), FREE_MEMORY_LIMIT_GIB, "GiB", is_enough, hint)


def _power_governor(environment: Environment) -> Check:
    hint = "Cores change their clock under load: `sudo cpupower frequency-set -g performance` before measuring."
    governor = environment.cpu_governor
    return _judge("power_governor", governor, "performance", None, governor in (None, "performance"), hint)


def _clock_resolution(environment: Environment) -> Check:
    hint = "Choose a finer clock source (`tsc` in /sys/devices/system/clocksource on Linux)."
    resolution_ns = environment.clock_resolution_ns
    return _judge("clock_resolution", resolution_ns, CLOCK_LIMIT_NS, "ns", resolution_ns <= CLOCK_LIMIT_NS, hint)


def _gpus(environment: Environment) -> Check:
    """No GPU is no fault; one that the driver cannot show is."""
    names = ", ".join(gpu.name for gpu in environment.gpus) or None
    note = environment.gpu_note
    return _judge("gpus", names, None, None, note is None, f"NVML says: {note}. See `nvidia-smi` and the driver's log.")


def _providers(environment: Environment) -> Check:
    """Where ONNX Runtime was not asked for there is nothing to judge."""
    providers = environment.providers
    if environment.onnxruntime is None:
        return Check("providers", None, None, None, "VALID")
    hint = "ONNX Runtime opens no session here: install it anew."
    if providers:
        hint = "ONNX Runtime cannot use the GPU of this machine: install its CUDA libraries, or measure the CPU."
    has_idle_gpu = bool(environment.gpus) and NVIDIA_PROVIDERS.isdisjoint(providers)
    return _judge("providers", ", ".join(providers) or None, None, None, bool(providers) and not has_idle_gpu, hint)


def _judge(
    check: CheckId, value: float | str | None, limit: float | str | None, unit: str | None, holds: bool, hint: str
) -> Check:
    return Check(check, value, limit, unit, "VALID" if holds else "WARN", None if holds else hint)
