from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, TypeVar

import psutil
import pytest

from app.telemetry.transfers import TransferReader

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


def _raised(told: Told | Exception) -> Told:
    if isinstance(told, Exception):
        raise told
    return told


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
def test_what_the_system_does_not_tell_is_none(machine: Machine, devices: Path, trouble: Exception) -> None:
    machine.networks = machine.disks = trouble
    assert set(TransferReader(0, devices).read(SECOND).values()) == {None}


def test_no_time_has_no_rate(machine: Machine, devices: Path) -> None:
    machine.networks = {"eth0": Network(0, 0)}
    assert TransferReader(5, devices).read(5)["host_network_sent_bytes_per_s"] is None


def test_this_machine_is_read(tmp_path: Path) -> None:
    reader = TransferReader(0)
    assert all(value is None or value >= 0 for value in reader.read(SECOND).values())
