"""Bytes that the machine moves, over its networks and to its disks."""

from __future__ import annotations

from collections.abc import Callable
from operator import ge
from pathlib import Path

import psutil

_LOOPBACKS = ("lo", "lo0")
_Totals = dict[str, tuple[int, int]]


class TransferReader:
    """Bytes a second since the last reading. Within a container its own networks, and all disks of the machine."""

    def __init__(self, at_ns: int, block_devices: Path = Path("/sys/block")) -> None:
        self._block_devices = block_devices
        self._last_ns = at_ns
        self._last_network = _told(_network)
        self._last_disks = self._disks()

    def read(self, at_ns: int) -> dict[str, float | None]:
        """A loopback is no network, and what passes through a bridge counts once on each side of it."""
        elapsed_s, self._last_ns = (at_ns - self._last_ns) / 1e9, at_ns
        network_before, self._last_network = self._last_network, _told(_network)
        disks_before, self._last_disks = self._last_disks, self._disks()
        sent, received = _rates(network_before, self._last_network, elapsed_s)
        read, written = _rates(disks_before, self._last_disks, elapsed_s)
        return {
            "host_network_sent_bytes_per_s": sent,
            "host_network_received_bytes_per_s": received,
            "host_disk_read_bytes_per_s": read,
            "host_disk_written_bytes_per_s": written,
        }

    def _disks(self) -> _Totals:
        return {name: totals for name, totals in _told(_disks).items() if self._is_disk(name)}

    def _is_disk(self, name: str) -> bool:
        """Linux also tells of partitions and of volumes made of disks, which would count a byte again."""
        return not self._block_devices.is_dir() or (self._block_devices / name / "device").exists()


def _network() -> _Totals:
    every = psutil.net_io_counters(pernic=True, nowrap=False)
    return {
        name: (one.bytes_sent, one.bytes_recv)
        for name, one in every.items()
        if name not in _LOOPBACKS and not name.startswith("Loopback ")
    }


def _disks() -> _Totals:
    every = psutil.disk_io_counters(perdisk=True, nowrap=False)
    return {name: (one.read_bytes, one.write_bytes) for name, one in every.items()}


def _told(ask: Callable[[], _Totals]) -> _Totals:
    try:
        return ask()
    except (OSError, RuntimeError):  # a sandbox may hide what is counted, and an odd system not count it
        return {}


def _rates(before: _Totals, now: _Totals, elapsed_s: float) -> tuple[float | None, float | None]:
    """Over the devices that were there both times and did not begin to count anew."""
    same = [name for name in now if name in before and all(map(ge, now[name], before[name]))]
    if not same or elapsed_s <= 0:
        return None, None
    first, second = (sum(now[name][side] - before[name][side] for name in same) / elapsed_s for side in (0, 1))
    return first, second
