"""Describe the environment of a measurement: hardware, OS and software of this machine."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
from contextlib import suppress
from pathlib import Path

import msgspec
import psutil

from app.records.result import Environment, Gpu
from app.telemetry.cgroup import read_cgroup
from app.telemetry.clock import measure_clock_resolution_ns
from app.telemetry.gpu import open_gpus
from app.telemetry.host import count_usable_cores, get_usable_memory_gib

RUNTIME_PACKAGES = ("onnxruntime-gpu", "onnxruntime")
GENAI_PACKAGES = ("onnxruntime-genai-cuda", "onnxruntime-genai")
"""Builds of ONNX Runtime GenAI, each at the position of the build of ONNX Runtime that it
requires."""
PACKAGES = (
    *RUNTIME_PACKAGES,
    *GENAI_PACKAGES,
    "gguf",
    "locust",
    "numpy",
    "pandas",
    "uvloop",
    "httptools",
    "pyarrow",
)


def read_environment(providers: tuple[str, ...], onnxruntime_version: str | None) -> Environment:
    """Read the environment of this machine. `providers` are the execution providers that can open a
    session. The caller determines them in a child process, because a broken provider may crash its
    process."""
    cgroup = read_cgroup()
    logical_cores = psutil.cpu_count() or 1
    usable_cores = count_usable_cores(cgroup)
    with open_gpus() as gpus:
        environment = Environment(
            host=platform.node(),
            os=platform.platform(),
            python=platform.python_version(),
            cpu_model=_read_cpu_model(),
            cpu_architecture=platform.machine(),
            physical_cores=psutil.cpu_count(logical=False),
            logical_cores=logical_cores,
            memory_gib=get_usable_memory_gib(cgroup),
            cpu_governor=_read_cpu_governor(),
            cpu_limit_cores=usable_cores if usable_cores < logical_cores else None,
            gpus=tuple(reader.description for reader in gpus.readers),
            nvidia_driver=gpus.driver,
            onnxruntime=onnxruntime_version,
            providers=providers,
            packages=_read_package_versions(),
            clock_resolution_ns=measure_clock_resolution_ns(),
            fingerprint="",
            gpu_note=gpus.note,
        )
    return msgspec.structs.replace(environment, fingerprint=compute_fingerprint(environment))


def compute_fingerprint(environment: Environment) -> str:
    """Return a hash of an environment, without host name, hardware identifiers and clock
    resolution. Measurements from machines with the same hash are comparable."""
    normalized_environment = msgspec.structs.replace(
        environment,
        host="",
        memory_gib=round(environment.memory_gib),
        gpus=tuple(_normalize_gpu(gpu) for gpu in environment.gpus),
        clock_resolution_ns=0,
        fingerprint="",
    )
    return hashlib.sha256(msgspec.json.encode(normalized_environment, order="sorted")).hexdigest()[:16]


def _normalize_gpu(gpu: Gpu) -> Gpu:
    """Remove the GPU properties that differ between two GPUs of the same model, and the properties
    of the PCIe link, which change while a GPU is idle."""
    mig_instances = tuple(msgspec.structs.replace(instance, uuid_hash=None) for instance in gpu.mig)
    return msgspec.structs.replace(gpu, uuid_hash=None, pcie_generation=None, pcie_width=None, mig=mig_instances)


def _read_cpu_model(cpuinfo: Path = Path("/proc/cpuinfo")) -> str | None:
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or None


def _read_cpu_governor(cpus_directory: Path = Path("/sys/devices/system/cpu")) -> str | None:
    """Return the CPU frequency governor, or all governors separated by commas if they differ
    between cores; None if not reported by the OS, as in most virtual machines."""
    governors = set()
    for path in cpus_directory.glob("cpu[0-9]*/cpufreq/scaling_governor"):
        with suppress(OSError):  # the core may have been taken offline
            governors.add(path.read_text(encoding="ascii").strip())
    return ", ".join(sorted(governors)) or None


def list_runtime_packages() -> tuple[tuple[str, str], ...]:
    """Return the package name and version of each installed ONNX Runtime build."""
    return tuple((name, version) for name, version in _read_package_versions().items() if name in RUNTIME_PACKAGES)


def _read_package_versions() -> dict[str, str]:
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue  # one of the two builds of each runtime is installed; uvloop is not available on Windows
    return versions
