"""Check whether this machine is suitable for measurements, before the first measurement."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil

from app.records.calibration import BUSY_LIMIT_CORES
from app.records.result import Check, CheckId, Environment
from app.telemetry.cgroup import read_cgroup
from app.telemetry.environment import GENAI_PACKAGES, RUNTIME_PACKAGES
from app.telemetry.host import GIB, read_busy_and_total_s

MIN_FREE_MEMORY_GIB = 1.0
MIN_CORES = 2
MAX_CLOCK_RESOLUTION_NS = 1_000
NVIDIA_PROVIDERS = {"cuda", "tensorrt"}


@dataclass(frozen=True)
class MachineLoad:
    """Load on this machine before a measurement. `used_cores` is the average number of cores that
    other processes use; `free_memory_gib` is the available memory."""

    used_cores: float
    free_memory_gib: float


def check_machine(environment: Environment) -> tuple[Check, ...]:
    """Run all machine checks. The call takes half a second, in which it measures the CPU usage of
    other processes."""
    return evaluate_machine(environment, read_machine_load())


def read_machine_load(window_s: float = 0.5, sleep: Callable[[float], None] = time.sleep) -> MachineLoad:
    start_ns, other_cpu_before_s = time.perf_counter_ns(), _read_other_cpu_s()
    sleep(window_s)
    elapsed_s = (time.perf_counter_ns() - start_ns) / 1e9
    return MachineLoad(max(0.0, _read_other_cpu_s() - other_cpu_before_s) / elapsed_s, read_free_memory_bytes() / GIB)


def _read_other_cpu_s() -> float:
    busy_s, _ = read_busy_and_total_s()
    own_times = psutil.Process().cpu_times()
    return busy_s - own_times.user - own_times.system


def read_free_memory_bytes() -> int:
    """Return the available memory of this machine in bytes, or the unused part of the container's
    memory limit if it is lower."""
    available_bytes = psutil.virtual_memory().available
    cgroup = read_cgroup()
    used_bytes = cgroup.read_memory_used_bytes()
    if cgroup.memory_limit_bytes is None or used_bytes is None:
        return available_bytes
    return min(available_bytes, cgroup.memory_limit_bytes - used_bytes)


def evaluate_machine(environment: Environment, load: MachineLoad) -> tuple[Check, ...]:
    return (
        _check_cores(environment),
        _check_other_load(load),
        _check_free_memory(load),
        _check_power_governor(environment),
        _check_clock_resolution(environment),
        _check_gpus(environment),
        _check_providers(environment),
        _check_onnxruntime_packages(environment),
    )


def _check_cores(environment: Environment) -> Check:
    cores = environment.cpu_limit_cores or environment.logical_cores
    hint = (
        "The load generator and the endpoint would share one core. Use a machine with more cores, or run the endpoint "
        "on another machine."
    )
    return _build_check("cores", cores, MIN_CORES, "cores", cores >= MIN_CORES, hint)


def _check_other_load(load: MachineLoad) -> Check:
    hint = "Other processes are using the CPU. Stop them, or expect noisy results."
    is_idle = load.used_cores <= BUSY_LIMIT_CORES
    return _build_check("other_load", round(load.used_cores, 2), BUSY_LIMIT_CORES, "cores", is_idle, hint)


def _check_free_memory(load: MachineLoad) -> Check:
    hint = "Free some memory. If the machine swaps memory to disk, the results depend on the disk."
    has_enough_memory = load.free_memory_gib >= MIN_FREE_MEMORY_GIB
    return _build_check(
        "free_memory", round(load.free_memory_gib, 2), MIN_FREE_MEMORY_GIB, "GiB", has_enough_memory, hint
    )


def _check_power_governor(environment: Environment) -> Check:
    hint = "The CPU frequency varies with load. Run `sudo cpupower frequency-set -g performance` before measuring."
    governor = environment.cpu_governor
    return _build_check("power_governor", governor, "performance", None, governor in (None, "performance"), hint)


def _check_clock_resolution(environment: Environment) -> Check:
    hint = "Use a clock source with a finer resolution (on Linux, `tsc` in /sys/devices/system/clocksource)."
    resolution_ns = environment.clock_resolution_ns
    return _build_check(
        "clock_resolution", resolution_ns, MAX_CLOCK_RESOLUTION_NS, "ns", resolution_ns <= MAX_CLOCK_RESOLUTION_NS, hint
    )


def _check_gpus(environment: Environment) -> Check:
    """Return the check of the GPUs: VALID on a machine without a GPU, WARN if the driver reports a
    GPU that cannot be opened."""
    names_text = ", ".join(gpu.name for gpu in environment.gpus) or None
    note = environment.gpu_note
    return _build_check(
        "gpus", names_text, None, None, note is None, f"NVML reports: {note}. See `nvidia-smi` and the driver's log."
    )


def _check_providers(environment: Environment) -> Check:
    """Return the check of the execution providers: VALID if the version of ONNX Runtime was not
    determined, WARN if no provider can open a session or an NVIDIA GPU is not used."""
    providers = environment.providers
    if environment.onnxruntime is None:
        return Check("providers", None, None, None, "VALID")
    hint = "ONNX Runtime cannot create a session. Reinstall ONNX Runtime."
    if providers:
        hint = "ONNX Runtime cannot use the GPU of this machine. Install its CUDA libraries, or measure on the CPU."
    has_unused_gpu = bool(environment.gpus) and NVIDIA_PROVIDERS.isdisjoint(providers)
    return _build_check(
        "providers", ", ".join(providers) or None, None, None, bool(providers) and not has_unused_gpu, hint
    )


def _check_onnxruntime_packages(environment: Environment) -> Check:
    """Return the check of the installed builds of ONNX Runtime: WARN if two builds are installed,
    which overwrite each other's files, or a build of ONNX Runtime GenAI without the build of ONNX
    Runtime that it requires."""
    packages = environment.packages
    runtimes = [name for name in RUNTIME_PACKAGES if name in packages]
    genai_builds = [name for name in GENAI_PACKAGES if name in packages]
    names = [*runtimes, *genai_builds]
    if len(runtimes) > 1 or len(genai_builds) > 1:
        problem = "These packages overwrite each other's files, so that any of them may be loaded, and GPUs unused."
    else:
        problem = "These packages do not belong together, so that language models run on the CPU at most."
    extra = "llm" if genai_builds else "local"
    hint = f'{problem} Run `pip uninstall -y {" ".join(names)}`, and then `pip install "sizewise[{extra}]"`.'
    pairs = set(zip(RUNTIME_PACKAGES, GENAI_PACKAGES, strict=True))
    has_passed = (
        len(runtimes) <= 1 and len(genai_builds) <= 1 and set(zip(runtimes, genai_builds, strict=False)) <= pairs
    )
    versions = ", ".join(f"{name} {packages[name]}" for name in names)
    return _build_check("onnxruntime_packages", versions or None, None, None, has_passed, hint)


def _build_check(
    check_id: CheckId,
    value: float | str | None,
    limit: float | str | None,
    unit: str | None,
    has_passed: bool,
    hint: str,
) -> Check:
    return Check(check_id, value, limit, unit, "VALID" if has_passed else "WARN", None if has_passed else hint)
