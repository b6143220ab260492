from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple, TypeVar

import psutil
import pytest

from app.telemetry.cgroup import Cgroup
from app.telemetry.host import (
    DETAILS_INTERVAL_NS,
    GIB,
    HostReader,
    TransferReader,
    count_usable_cores,
    get_usable_memory_gib,
)

SECOND = 1_000_000_000


class Network(NamedTuple):
    bytes_sent: int
    bytes_recv: int


class Disk(NamedTuple):
    read_bytes: int
    write_bytes: int


Value = TypeVar("Value")


class Machine:
    """Values that psutil returns. An exception in place of a value is raised."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.networks: dict[str, Network] | Exception = {}
        self.disks: dict[str, Disk] | Exception = {}
        monkeypatch.setattr(psutil, "net_io_counters", lambda pernic, nowrap: _raised(self.networks))
        monkeypatch.setattr(psutil, "disk_io_counters", lambda perdisk, nowrap: _raised(self.disks))


def _raised(reported: Value | Exception) -> Value:
    if isinstance(reported, Exception):
        raise reported
    return reported


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


@pytest.fixture
def devices(tmp_path: Path) -> Path:
    """Directory of a disk, and of a volume on the disk, which has no device of its own."""
    (tmp_path / "vda" / "device").mkdir(parents=True)
    (tmp_path / "dm-0").mkdir()
    return tmp_path


def test_network_rates_are_summed_without_loopback(machine: Machine, devices: Path) -> None:
    machine.networks = {"lo": Network(0, 0), "eth0": Network(100, 1_000), "eth1": Network(0, 0)}
    reader = TransferReader(0, devices)
    machine.networks = {"lo": Network(9_999, 9_999), "eth0": Network(300, 5_000), "eth1": Network(100, 0)}
    readings = reader.read(2 * SECOND)
    assert readings["host_network_sent_bytes_per_s"] == 150
    assert readings["host_network_received_bytes_per_s"] == 2_000
    assert reader.read(3 * SECOND)["host_network_sent_bytes_per_s"] == 0


def test_disk_bytes_are_counted_once_without_partitions_and_volumes(machine: Machine, devices: Path) -> None:
    machine.disks = {name: Disk(0, 0) for name in ("vda", "vda1", "dm-0")}
    reader = TransferReader(0, devices)
    machine.disks = {name: Disk(4_000, 8_000) for name in ("vda", "vda1", "dm-0")}
    readings = reader.read(2 * SECOND)
    assert readings["host_disk_read_bytes_per_s"] == 2_000
    assert readings["host_disk_written_bytes_per_s"] == 4_000


def test_all_disks_are_counted_if_sysfs_is_missing(machine: Machine, tmp_path: Path) -> None:
    machine.disks = {"disk0": Disk(0, 0), "disk1": Disk(0, 0)}
    reader = TransferReader(0, tmp_path / "none")
    machine.disks = {"disk0": Disk(1, 0), "disk1": Disk(2, 0)}
    assert reader.read(SECOND)["host_disk_read_bytes_per_s"] == 3


def test_new_removed_and_reset_network_devices_are_excluded(machine: Machine, devices: Path) -> None:
    machine.networks = {"eth0": Network(0, 0), "gone": Network(5, 5), "restarted": Network(900, 0)}
    reader = TransferReader(0, devices)
    machine.networks = {"eth0": Network(10, 20), "new": Network(7_000, 7_000), "restarted": Network(1, 1)}
    readings = reader.read(SECOND)
    assert readings["host_network_sent_bytes_per_s"] == 10
    assert readings["host_network_received_bytes_per_s"] == 20


@pytest.mark.parametrize("error", [PermissionError(), NotImplementedError(), RuntimeError()])
def test_transfer_rates_not_reported_by_os_are_none(machine: Machine, devices: Path, error: Exception) -> None:
    machine.networks = machine.disks = error
    assert set(TransferReader(0, devices).read(SECOND).values()) == {None}


def test_transfer_rate_of_no_elapsed_time_is_none(machine: Machine, devices: Path) -> None:
    machine.networks = {"eth0": Network(0, 0)}
    assert TransferReader(5, devices).read(5)["host_network_sent_bytes_per_s"] is None


def test_transfer_rates_of_this_machine_are_not_negative(tmp_path: Path) -> None:
    reader = TransferReader(0)
    assert all(value is None or value >= 0 for value in reader.read(SECOND).values())


def burn(cpu_s: float) -> None:
    end = time.process_time() + cpu_s
    while time.process_time() < end:
        pass


@pytest.fixture
def container(tmp_path: Path) -> Path:
    """Directory of a cgroup that is limited to half a core and 1 GiB."""
    (tmp_path / "cpu.stat").write_text("usage_usec 1000000\n")
    (tmp_path / "memory.current").write_text(f"{GIB // 2}\n")
    (tmp_path / "memory.stat").write_text(f"inactive_file {GIB // 4}\n")
    return tmp_path


def build_container_reader(container: Path) -> HostReader:
    return HostReader(0, Cgroup(0.5, GIB, container, container))


def test_cpu_work_increases_host_cpu_utilization() -> None:
    reader = HostReader(0, Cgroup())
    burn(0.2)
    percent = reader.read(SECOND)["host_cpu_percent"]
    assert percent is not None
    # one core was busy all the time, within clock ticks of 10 ms
    assert 70 / (psutil.cpu_count() or 1) < percent <= 100


class CpuTimes(NamedTuple):
    user: float
    system: float
    idle: float
    iowait: float
    guest: float


def fake_cpu_times(monkeypatch: pytest.MonkeyPatch, *reported: CpuTimes) -> None:
    """Let psutil return these readings of the whole machine in turn. Its single cores are idle."""
    next_readings = iter(reported)
    monkeypatch.setattr(
        psutil, "cpu_times", lambda percpu=False: [CpuTimes(0, 0, 1, 0, 0)] if percpu else next(next_readings)
    )


def test_host_cpu_utilization_is_since_last_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cpu_times(monkeypatch, CpuTimes(50, 10, 100, 5, 2), CpuTimes(58, 12, 128, 7, 2), CpuTimes(58, 12, 138, 7, 2))
    reader = HostReader(0, Cgroup())
    assert reader.read(SECOND)["host_cpu_percent"] == pytest.approx(25)  # 10 of 40 core-seconds
    assert reader.read(2 * SECOND)["host_cpu_percent"] == 0


def test_guest_cpu_time_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cpu_times(monkeypatch, CpuTimes(0, 0, 0, 0, 0), CpuTimes(10, 0, 30, 0, 10))
    assert HostReader(0, Cgroup()).read(SECOND)["host_cpu_percent"] == pytest.approx(25)


def test_host_cpu_utilization_within_one_tick_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cpu_times(monkeypatch, CpuTimes(50, 10, 100, 5, 2), CpuTimes(50, 10, 100, 5, 2))
    assert HostReader(0, Cgroup()).read(SECOND)["host_cpu_percent"] is None


def test_host_memory_is_total_minus_available() -> None:
    memory = psutil.virtual_memory()
    used = HostReader(0, Cgroup()).read(SECOND)["host_memory_gib"]
    assert used == pytest.approx((memory.total - memory.available) / GIB, abs=1)


def test_container_cpu_utilization_is_relative_to_limit(container: Path) -> None:
    reader = build_container_reader(container)
    (container / "cpu.stat").write_text("usage_usec 1400000\n")
    assert reader.read(2 * SECOND)["host_cpu_percent"] == pytest.approx(40)  # 0.4 s of 1 s within the limit


def test_container_cpu_utilization_is_since_last_reading(container: Path) -> None:
    reader = build_container_reader(container)
    reader.read(SECOND)
    (container / "cpu.stat").write_text("usage_usec 1050000\n")
    assert reader.read(2 * SECOND)["host_cpu_percent"] == pytest.approx(10)


def test_container_memory_excludes_inactive_file_cache(container: Path) -> None:
    assert build_container_reader(container).read(SECOND)["host_memory_gib"] == pytest.approx(0.25)


def test_container_metrics_are_none_if_cgroup_files_disappear(container: Path) -> None:
    reader = build_container_reader(container)
    for name in ("cpu.stat", "memory.current", "memory.stat"):
        (container / name).unlink()
    assert set(reader.read(SECOND).values()) == {None}


def test_cgroup_limit_above_machine_size_is_ignored(container: Path) -> None:
    reader = HostReader(0, Cgroup(10_000, 2**59, container, container))
    assert reader.read(SECOND)["host_memory_gib"] != pytest.approx(0.25)


def test_usable_cores_are_minimum_of_machine_and_cgroup_limit() -> None:
    machine_cores = count_usable_cores(Cgroup())
    assert 1 <= machine_cores <= (psutil.cpu_count() or 1)
    assert count_usable_cores(Cgroup(cpu_limit_cores=0.5)) == 0.5
    assert count_usable_cores(Cgroup(cpu_limit_cores=10_000)) == machine_cores


def test_usable_memory_is_minimum_of_machine_and_cgroup_limit() -> None:
    machine_memory_gib = get_usable_memory_gib(Cgroup())
    assert get_usable_memory_gib(Cgroup(memory_limit_bytes=2**28)) == 0.25
    assert (
        get_usable_memory_gib(Cgroup(memory_limit_bytes=2**59))
        == machine_memory_gib
        == psutil.virtual_memory().total / 2**30
    )


def test_cores_and_transfers_are_read_once_per_second_and_host_each_time() -> None:
    reader = HostReader(0, Cgroup())
    burn(0.1)
    assert [source for source, _ in reader.iterate_readings(DETAILS_INTERVAL_NS // 2)] == ["host"]
    host, transfers, *cores = reader.iterate_readings(DETAILS_INTERVAL_NS)
    assert set(host[1]) == {"host_cpu_percent", "host_memory_gib"}
    assert transfers[0] == "host"
    assert "host_network_sent_bytes_per_s" in transfers[1]
    assert len(cores) == count_usable_cores(Cgroup())
    assert cores[0][0].startswith("host/core")
    assert max(readings["core_cpu_percent"] or 0 for _, readings in cores) > 0
    assert [source for source, _ in reader.iterate_readings(DETAILS_INTERVAL_NS + 1)] == ["host"]
