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


Told = TypeVar("Told")


class Machine:
    """What psutil is told of; an exception in place of it is raised."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.networks: dict[str, Network] | Exception = {}
        self.disks: dict[str, Disk] | Exception = {}
        monkeypatch.setattr(psutil, "net_io_counters", lambda pernic, nowrap: _raised(self.networks))
        monkeypatch.setattr(psutil, "disk_io_counters", lambda perdisk, nowrap: _raised(self.disks))


def _raised(reported: Told | Exception) -> Told:
    if isinstance(reported, Exception):
        raise reported
    return reported


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


@pytest.fixture
def devices(tmp_path: Path) -> Path:
    """A disk and, without hardware of its own, a volume on it."""
    (tmp_path / "vda" / "device").mkdir(parents=True)
    (tmp_path / "dm-0").mkdir()
    return tmp_path


def test_networks_are_added_up_without_the_loopback(machine: Machine, devices: Path) -> None:
    machine.networks = {"lo": Network(0, 0), "eth0": Network(100, 1_000), "eth1": Network(0, 0)}
    reader = TransferReader(0, devices)
    machine.networks = {"lo": Network(9_999, 9_999), "eth0": Network(300, 5_000), "eth1": Network(100, 0)}
    readings = reader.read(2 * SECOND)
    assert readings["host_network_sent_bytes_per_s"] == 150
    assert readings["host_network_received_bytes_per_s"] == 2_000
    assert reader.read(3 * SECOND)["host_network_sent_bytes_per_s"] == 0


def test_a_byte_on_a_disk_counts_once_whatever_lies_on_it(machine: Machine, devices: Path) -> None:
    machine.disks = {name: Disk(0, 0) for name in ("vda", "vda1", "dm-0")}
    reader = TransferReader(0, devices)
    machine.disks = {name: Disk(4_000, 8_000) for name in ("vda", "vda1", "dm-0")}
    readings = reader.read(2 * SECOND)
    assert readings["host_disk_read_bytes_per_s"] == 2_000
    assert readings["host_disk_written_bytes_per_s"] == 4_000


def test_elsewhere_than_on_linux_every_disk_is_one(machine: Machine, tmp_path: Path) -> None:
    machine.disks = {"disk0": Disk(0, 0), "disk1": Disk(0, 0)}
    reader = TransferReader(0, tmp_path / "none")
    machine.disks = {"disk0": Disk(1, 0), "disk1": Disk(2, 0)}
    assert reader.read(SECOND)["host_disk_read_bytes_per_s"] == 3


def test_devices_that_came_went_or_began_anew_are_left_out(machine: Machine, devices: Path) -> None:
    machine.networks = {"eth0": Network(0, 0), "gone": Network(5, 5), "anew": Network(900, 0)}
    reader = TransferReader(0, devices)
    machine.networks = {"eth0": Network(10, 20), "came": Network(7_000, 7_000), "anew": Network(1, 1)}
    readings = reader.read(SECOND)
    assert readings["host_network_sent_bytes_per_s"] == 10
    assert readings["host_network_received_bytes_per_s"] == 20


@pytest.mark.parametrize("trouble", [PermissionError(), NotImplementedError(), RuntimeError()])
def test_what_the_system_does_not_report_is_none(machine: Machine, devices: Path, trouble: Exception) -> None:
    machine.networks = machine.disks = trouble
    assert set(TransferReader(0, devices).read(SECOND).values()) == {None}


def test_no_time_has_no_rate(machine: Machine, devices: Path) -> None:
    machine.networks = {"eth0": Network(0, 0)}
    assert TransferReader(5, devices).read(5)["host_network_sent_bytes_per_s"] is None


def test_this_machine_is_read(tmp_path: Path) -> None:
    reader = TransferReader(0)
    assert all(value is None or value >= 0 for value in reader.read(SECOND).values())


def burn(cpu_s: float) -> None:
    end = time.process_time() + cpu_s
    while time.process_time() < end:
        pass


@pytest.fixture
def container(tmp_path: Path) -> Path:
    """A control group that may use half a core and 1 GiB."""
    (tmp_path / "cpu.stat").write_text("usage_usec 1000000\n")
    (tmp_path / "memory.current").write_text(f"{GIB // 2}\n")
    (tmp_path / "memory.stat").write_text(f"inactive_file {GIB // 4}\n")
    return tmp_path


def reader_in(container: Path) -> HostReader:
    return HostReader(0, Cgroup(0.5, GIB, container, container))


def test_work_shows_in_the_cpu_of_the_machine() -> None:
    reader = HostReader(0, Cgroup())
    burn(0.2)
    percent = reader.read(SECOND)["host_cpu_percent"]
    assert percent is not None
    # one core was busy throughout, but for the clock's ticks of 10 ms
    assert 70 / (psutil.cpu_count() or 1) < percent <= 100


class CpuTimes(NamedTuple):
    user: float
    system: float
    idle: float
    iowait: float
    guest: float


def tell_cpu_times(monkeypatch: pytest.MonkeyPatch, *reported: CpuTimes) -> None:
    """One after the other, for the whole machine; its cores are left idle."""
    following = iter(reported)
    monkeypatch.setattr(
        psutil, "cpu_times", lambda percpu=False: [CpuTimes(0, 0, 1, 0, 0)] if percpu else next(following)
    )


def test_cpu_of_the_machine_counts_from_the_last_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    tell_cpu_times(monkeypatch, CpuTimes(50, 10, 100, 5, 2), CpuTimes(58, 12, 128, 7, 2), CpuTimes(58, 12, 138, 7, 2))
    reader = HostReader(0, Cgroup())
    assert reader.read(SECOND)["host_cpu_percent"] == pytest.approx(25)  # 10 of 40 core-seconds
    assert reader.read(2 * SECOND)["host_cpu_percent"] == 0


def test_a_guests_time_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tell_cpu_times(monkeypatch, CpuTimes(0, 0, 0, 0, 0), CpuTimes(10, 0, 30, 0, 10))
    assert HostReader(0, Cgroup()).read(SECOND)["host_cpu_percent"] == pytest.approx(25)


def test_two_readings_within_a_tick_of_the_clock_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    tell_cpu_times(monkeypatch, CpuTimes(50, 10, 100, 5, 2), CpuTimes(50, 10, 100, 5, 2))
    assert HostReader(0, Cgroup()).read(SECOND)["host_cpu_percent"] is None


def test_memory_of_the_machine_is_what_is_not_available() -> None:
    memory = psutil.virtual_memory()
    used = HostReader(0, Cgroup()).read(SECOND)["host_memory_gib"]
    assert used == pytest.approx((memory.total - memory.available) / GIB, abs=1)


def test_cpu_in_a_container_is_a_share_of_its_limit(container: Path) -> None:
    reader = reader_in(container)
    (container / "cpu.stat").write_text("usage_usec 1400000\n")
    assert reader.read(2 * SECOND)["host_cpu_percent"] == pytest.approx(40)  # 0.4 s of the 1 s it could have used


def test_cpu_in_a_container_counts_from_the_last_reading(container: Path) -> None:
    reader = reader_in(container)
    reader.read(SECOND)
    (container / "cpu.stat").write_text("usage_usec 1050000\n")
    assert reader.read(2 * SECOND)["host_cpu_percent"] == pytest.approx(10)


def test_memory_in_a_container_is_its_own(container: Path) -> None:
    assert reader_in(container).read(SECOND)["host_memory_gib"] == pytest.approx(0.25)


def test_a_container_that_stops_reporting_gives_none(container: Path) -> None:
    reader = reader_in(container)
    for name in ("cpu.stat", "memory.current", "memory.stat"):
        (container / name).unlink()
    assert set(reader.read(SECOND).values()) == {None}


def test_a_limit_above_the_machine_is_no_limit(container: Path) -> None:
    reader = HostReader(0, Cgroup(10_000, 2**59, container, container))
    assert reader.read(SECOND)["host_memory_gib"] != pytest.approx(0.25)


def test_usable_cores_are_the_fewest() -> None:
    everything = count_usable_cores(Cgroup())
    assert 1 <= everything <= (psutil.cpu_count() or 1)
    assert count_usable_cores(Cgroup(cpu_limit_cores=0.5)) == 0.5
    assert count_usable_cores(Cgroup(cpu_limit_cores=10_000)) == everything


def test_usable_memory_is_the_machines_or_what_the_container_may_have_of_it() -> None:
    everything = get_usable_memory_gib(Cgroup())
    assert get_usable_memory_gib(Cgroup(memory_limit_bytes=2**28)) == 0.25
    assert (
        get_usable_memory_gib(Cgroup(memory_limit_bytes=2**59)) == everything == psutil.virtual_memory().total / 2**30
    )


def test_cores_and_transfers_are_read_once_a_second_and_the_whole_each_time() -> None:
    reader = HostReader(0, Cgroup())
    burn(0.1)
    assert [source for source, _ in reader.iterate_readings(DETAILS_INTERVAL_NS // 2)] == ["host"]
    whole, transfers, *cores = reader.iterate_readings(DETAILS_INTERVAL_NS)
    assert set(whole[1]) == {"host_cpu_percent", "host_memory_gib"}
    assert transfers[0] == "host"
    assert "host_network_sent_bytes_per_s" in transfers[1]
    assert len(cores) == count_usable_cores(Cgroup())
    assert cores[0][0].startswith("host/core")
    assert max(readings["core_cpu_percent"] or 0 for _, readings in cores) > 0
    assert [source for source, _ in reader.iterate_readings(DETAILS_INTERVAL_NS + 1)] == ["host"]
