"""Read the CPU utilization and memory usage of this machine, or of the container that this process
runs in.

Also read the transfer rates of networks and disks, and the number of local ports for connections
to one address."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from operator import ge
from pathlib import Path

import psutil

from app.telemetry.cgroup import Cgroup, CoreReader, compute_utilization_percent, read_cgroup, sum_busy_and_total_s

_LOOPBACK_INTERFACES = ("lo", "lo0")
_Totals = dict[str, tuple[int, int]]


class TransferReader:
    """Reader of network and disk transfer rates in bytes/s. In a container, the rates include only
    the networks of the container, but all disks of the machine."""

    def __init__(self, at_ns: int, block_devices: Path = Path("/sys/block")) -> None:
        self._block_devices = block_devices
        self._last_ns = at_ns
        self._last_network_totals = _read_totals(_read_network_totals)
        self._last_disk_totals = self._read_physical_disk_totals()

    def read(self, at_ns: int) -> dict[str, float | None]:
        """Return the transfer rates in bytes/s since the last reading, by metric. Loopback
        interfaces are excluded. Traffic through a bridge is counted on both sides."""
        elapsed_s, self._last_ns = (at_ns - self._last_ns) / 1e9, at_ns
        network_totals_before, self._last_network_totals = self._last_network_totals, _read_totals(_read_network_totals)
        disk_totals_before, self._last_disk_totals = self._last_disk_totals, self._read_physical_disk_totals()
        sent_per_s, received_per_s = _compute_rates(network_totals_before, self._last_network_totals, elapsed_s)
        read_per_s, written_per_s = _compute_rates(disk_totals_before, self._last_disk_totals, elapsed_s)
        return {
            "host_network_sent_bytes_per_s": sent_per_s,
            "host_network_received_bytes_per_s": received_per_s,
            "host_disk_read_bytes_per_s": read_per_s,
            "host_disk_written_bytes_per_s": written_per_s,
        }

    def _read_physical_disk_totals(self) -> _Totals:
        return {name: totals for name, totals in _read_totals(_read_disk_totals).items() if self._is_disk(name)}

    def _is_disk(self, name: str) -> bool:
        """Return True if a block device is a physical disk. Linux also lists partitions and
        volumes, whose bytes would be counted twice."""
        return not self._block_devices.is_dir() or (self._block_devices / name / "device").exists()


def _read_network_totals() -> _Totals:
    counters = psutil.net_io_counters(pernic=True, nowrap=False)
    return {
        name: (totals.bytes_sent, totals.bytes_recv)
        for name, totals in counters.items()
        if name not in _LOOPBACK_INTERFACES and not name.startswith("Loopback ")
    }


def _read_disk_totals() -> _Totals:
    counters = psutil.disk_io_counters(perdisk=True, nowrap=False)
    return {name: (totals.read_bytes, totals.write_bytes) for name, totals in counters.items()}


def _read_totals(read_totals: Callable[[], _Totals]) -> _Totals:
    try:
        return read_totals()
    except (OSError, RuntimeError):  # not provided by a sandbox or an uncommon OS
        return {}


def _compute_rates(totals_before: _Totals, totals_now: _Totals, elapsed_s: float) -> tuple[float | None, float | None]:
    """Return the rates of both counters in bytes/s, each summed over devices; None without devices.
    Devices that are new, removed or reset are excluded."""
    common_names = [
        name for name in totals_now if name in totals_before and all(map(ge, totals_now[name], totals_before[name]))
    ]
    if not common_names or elapsed_s <= 0:
        return None, None
    first_per_s, second_per_s = (
        sum(totals_now[name][index] - totals_before[name][index] for name in common_names) / elapsed_s
        for index in (0, 1)
    )
    return first_per_s, second_per_s


_PORT_RANGE_PATH = Path("/proc/sys/net/ipv4/ip_local_port_range")


def count_local_ports(path: Path = _PORT_RANGE_PATH) -> int | None:
    """Return the number of local ports for outgoing connections to one address; None if not
    reported by the OS (only Linux reports it)."""
    try:
        first_port, last_port = map(int, path.read_text("ascii").split())
    except (OSError, ValueError):
        return None
    return last_port - first_port + 1 if last_port >= first_port else None


GIB = 2**30
DETAILS_INTERVAL_NS = 1_000_000_000
"""Interval in ns between readings of core utilizations and transfer rates. It is longer than the
interval of the totals, because core times have a resolution of 10 ms, and a large machine has many
cores and networks."""


def count_usable_cores(cgroup: Cgroup) -> float:
    """Return the number of cores that this process can use: the cores of the machine, limited by
    CPU affinity and by the container. A container limit may be fractional."""
    logical_cores = psutil.cpu_count() or 1
    affinity_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else logical_cores
    return min(logical_cores, affinity_cores, cgroup.cpu_limit_cores or logical_cores)


def get_usable_memory_gib(cgroup: Cgroup) -> float:
    """Return the total memory of the machine in GiB, or the memory limit of the container if it is
    lower."""
    total_bytes = psutil.virtual_memory().total
    return min(total_bytes, cgroup.memory_limit_bytes or total_bytes) / GIB


class HostReader:
    """Reader of the CPU utilization and memory usage of this machine, or of the container if its
    limits are lower."""

    def __init__(self, at_ns: int, cgroup: Cgroup | None = None) -> None:
        self._cgroup = read_cgroup() if cgroup is None else cgroup
        self._cpu_limit_cores = _select_lower_limit(self._cgroup.cpu_limit_cores, psutil.cpu_count())
        self._has_memory_limit = (
            _select_lower_limit(self._cgroup.memory_limit_bytes, psutil.virtual_memory().total) is not None
        )
        self._last_ns = at_ns
        self._last_cpu_used_s = self._cgroup.read_cpu_used_s()
        self._last_times_s = read_busy_and_total_s()
        self._core_reader = CoreReader()
        self._transfer_reader = TransferReader(at_ns)
        self._details_due_ns = at_ns + DETAILS_INTERVAL_NS

    def iterate_readings(self, at_ns: int) -> Iterator[tuple[str, dict[str, float | None]]]:
        """Yield each source with its readings. CPU and memory of `host` are read at each call.
        Transfer rates of `host`, and the utilization of each core (`host/core0` and so on), are
        read once per second."""
        yield "host", self.read(at_ns)
        if at_ns < self._details_due_ns:
            return
        self._details_due_ns = at_ns + DETAILS_INTERVAL_NS
        yield "host", self._transfer_reader.read(at_ns)
        for core, percent in self._core_reader.read().items():
            yield f"host/core{core}", {"core_cpu_percent": percent}

    def read(self, at_ns: int) -> dict[str, float | None]:
        """Return the CPU utilization in percent since the last reading, and the current memory
        usage in GiB, by metric."""
        cpu_percent = (
            self._read_machine_percent() if self._cpu_limit_cores is None else self._read_container_percent(at_ns)
        )
        return {"host_cpu_percent": cpu_percent, "host_memory_gib": self._read_memory_gib()}

    def _read_machine_percent(self) -> float | None:
        times_before_s, self._last_times_s = self._last_times_s, read_busy_and_total_s()
        return compute_utilization_percent(times_before_s, self._last_times_s)

    def _read_container_percent(self, at_ns: int) -> float | None:
        used_before_s, last_ns = self._last_cpu_used_s, self._last_ns
        used_s = self._last_cpu_used_s = self._cgroup.read_cpu_used_s()
        self._last_ns = at_ns
        if used_s is None or used_before_s is None or self._cpu_limit_cores is None or at_ns <= last_ns:
            return None
        return 100 * (used_s - used_before_s) / ((at_ns - last_ns) / 1e9) / self._cpu_limit_cores

    def _read_memory_gib(self) -> float | None:
        if self._has_memory_limit:
            used_bytes = self._cgroup.read_memory_used_bytes()
            return None if used_bytes is None else used_bytes / GIB
        memory = psutil.virtual_memory()
        return (memory.total - memory.available) / GIB


def _select_lower_limit(limit: float | None, machine_total: float | None) -> float | None:
    """Return the limit of the container if it is lower than the total of the machine; otherwise
    None."""
    return limit if limit is not None and machine_total is not None and limit < machine_total else None


def read_busy_and_total_s() -> tuple[float, float]:
    """Return the busy and the total core-seconds of this machine since it was started."""
    return sum_busy_and_total_s(psutil.cpu_times())
