"""Build the current state of this machine, from new readings or from the telemetry of a run in
progress."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack

from app.records.gpu import list_throttle_reasons
from app.records.machine import GpuState, MachineNow
from app.records.result import Environment, Gpu
from app.records.telemetry_sources import NVIDIA, find_gpu_vendor, is_gpu_source, name_gpu_source
from app.telemetry.cgroup import read_cgroup
from app.telemetry.gpu import Gpus, open_gpus
from app.telemetry.gpu_vendors import create_gpu_pollers
from app.telemetry.host import HostReader, count_usable_cores, get_usable_memory_gib
from app.telemetry.nvml_query import Readings
from app.telemetry.sampler import Poller

_NO_READINGS: Readings = {}


class MachineReader:
    """Thread-safe reader of the state of this machine.

    The first reading opens the GPU drivers, which may take a second. The drivers stay open until
    `close`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._exit_stack = ExitStack()
        self._gpus: Gpus | None = None
        self._pollers: tuple[Poller, ...] = ()
        self._host_reader: HostReader | None = None

    def read(self) -> MachineNow:
        """Read the state of this machine. CPU utilization is averaged over the time since the
        previous reading; None at the first reading."""
        with self._lock:
            at_ns = time.perf_counter_ns()
            readings_by_source: dict[str, Readings] = {}
            if self._host_reader is None:
                self._host_reader = HostReader(at_ns)
                readings_by_source["host"] = self._host_reader.read(at_ns) | {"host_cpu_percent": None}
            else:
                readings_by_source["host"] = self._host_reader.read(at_ns)
            gpus = self._open_gpus()
            for reader in gpus.readers:
                readings_by_source[name_gpu_source(reader.index)] = reader.read(at_ns)
            for poller in self._pollers:
                readings_by_source |= dict(poller.read(at_ns))
            cgroup = read_cgroup()
            return build_machine_state(
                readings_by_source,
                (reader.description for reader in gpus.readers),
                cores=count_usable_cores(cgroup),
                memory_total_gib=get_usable_memory_gib(cgroup),
                driver=gpus.driver,
                gpu_note=gpus.note,
            )

    def close(self) -> None:
        """Close the GPU drivers. The next reading opens the drivers again."""
        with self._lock:
            self._exit_stack.close()
            self._gpus, self._host_reader = None, None

    def _open_gpus(self) -> Gpus:
        if self._gpus is None:
            self._gpus = self._exit_stack.enter_context(open_gpus())
            self._pollers = create_gpu_pollers()
        return self._gpus


def read_machine_state() -> MachineNow:
    """Read the state of this machine once, without CPU utilization."""
    reader = MachineReader()
    try:
        return reader.read()
    finally:
        reader.close()


def build_state_in_run(readings_by_source: Mapping[str, Readings], environment: Environment | None) -> MachineNow:
    """Build the machine state from the latest telemetry values of a run. `readings_by_source` maps
    sources to values by metric."""
    if environment is None:
        return build_machine_state(
            readings_by_source, (), cores=None, memory_total_gib=None, driver=None, gpu_note=None
        )
    return build_machine_state(
        readings_by_source,
        environment.gpus,
        cores=environment.cpu_limit_cores or environment.logical_cores,
        memory_total_gib=environment.memory_gib,
        driver=environment.nvidia_driver,
        gpu_note=environment.gpu_note,
    )


def build_machine_state(
    readings_by_source: Mapping[str, Readings],
    gpus: Iterable[Gpu],
    *,
    cores: float | None,
    memory_total_gib: float | None,
    driver: str | None,
    gpu_note: str | None,
) -> MachineNow:
    host_readings = readings_by_source.get("host", _NO_READINGS)
    gpu_by_source = {name_gpu_source(gpu.index): gpu for gpu in gpus}
    gpu_sources = [source for source in readings_by_source if is_gpu_source(source)]
    return MachineNow(
        cpu_percent=host_readings.get("host_cpu_percent"),
        cores=cores,
        memory_gib=host_readings.get("host_memory_gib"),
        memory_total_gib=memory_total_gib,
        gpus=tuple(
            _build_gpu_state(source, readings_by_source.get(source, _NO_READINGS), gpu_by_source.get(source))
            for source in dict.fromkeys((*gpu_by_source, *sorted(gpu_sources)))
        ),
        driver=driver,
        gpu_note=gpu_note,
    )


def _build_gpu_state(source: str, readings: Readings, gpu: Gpu | None) -> GpuState:
    power_w, throttle_reasons = readings.get("gpu_power_w"), readings.get("gpu_throttle_reasons")
    vendor = find_gpu_vendor(source) or NVIDIA
    return GpuState(
        source=source,
        name=vendor.title if gpu is None else gpu.name,
        utilization_percent=readings.get("gpu_utilization_percent"),
        memory_gib=readings.get("gpu_memory_gib"),
        memory_total_gib=None if gpu is None else gpu.memory_gib,
        power_w=readings.get("gpu_power_average_w") if power_w is None else power_w,
        power_limit_w=None if gpu is None else gpu.power_limit_w,
        temperature_c=readings.get("gpu_temperature_c"),
        clock_mhz=readings.get("gpu_sm_clock_mhz"),
        max_clock_mhz=None if gpu is None else gpu.max_sm_clock_mhz,
        throttled_by=None if throttle_reasons is None else list_throttle_reasons(throttle_reasons),
    )
