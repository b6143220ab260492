from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from app.telemetry.cgroup import Cgroup, CoreReader, read_cgroup


class CpuTimes(NamedTuple):
    user: float
    idle: float
    iowait: float
    guest: float


def fake_cpu_times(
    monkeypatch: pytest.MonkeyPatch, *reported: list[CpuTimes], usable: tuple[int, ...] = (0, 1)
) -> None:
    next_readings = iter(reported)
    monkeypatch.setattr(psutil, "cpu_times", lambda percpu: next(next_readings))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(usable), raising=False)


START = [CpuTimes(10, 90, 5, 1)] * 3


def test_core_utilization_is_since_last_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    later = [CpuTimes(11, 92, 6, 2), CpuTimes(10, 90, 5, 1), CpuTimes(99, 90, 5, 1)]
    latest = [CpuTimes(11, 93, 6, 2), CpuTimes(11, 90, 5, 1), CpuTimes(99, 90, 5, 1)]
    fake_cpu_times(monkeypatch, START, later, latest)
    reader = CoreReader()
    assert reader.read() == {0: 25, 1: None}  # 1 of 4 core-seconds; core 1 has no new tick
    assert reader.read() == {0: 0, 1: 100}


def test_cores_outside_cpu_affinity_are_excluded(monkeypatch: pytest.MonkeyPatch) -> None:
    later = [CpuTimes(20, 100, 5, 1)] * 3
    fake_cpu_times(monkeypatch, START, later, usable=(2,))
    assert CoreReader().read() == {2: 50}


def test_all_cores_are_reported_if_affinity_does_not_match_core_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cpu_times(monkeypatch, START, START, usable=(64, 65))
    assert set(CoreReader().read()) == {0, 1, 2}


def test_core_that_comes_online_counts_from_its_first_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cpu_times(monkeypatch, START[:1], START[:2], [CpuTimes(20, 100, 5, 1)] * 2)
    reader = CoreReader()
    assert reader.read() == {0: None, 1: None}
    assert reader.read() == {0: 50, 1: 50}


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def build_cgroup_v2(tmp_path: Path, group: str = "/", root: str = "/") -> tuple[Path, Path]:
    """Return the /proc directory of a process in `group`, and the mount point of the hierarchy."""
    proc, mount = tmp_path / "proc", tmp_path / "cgroup"
    write(proc / "cgroup", f"0::{group}\n")
    write(proc / "mountinfo", f"30 23 0:26 {root} {mount} rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n")
    write(mount / "cgroup.controllers", "cpu memory\n")
    return proc, mount


def build_cgroup_v1(tmp_path: Path, group: str, root: str) -> tuple[Path, Path]:
    proc, mount = tmp_path / "proc", tmp_path / "cgroup"
    write(proc / "cgroup", f"4:memory:{group}\n3:cpu,cpuacct:{group}\n1:name=systemd:/\n")
    lines = [
        f"32 31 0:29 {root} {mount}/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct",
        f"35 31 0:32 {root} {mount}/memory rw - cgroup cgroup rw,memory",
    ]
    write(proc / "mountinfo", "\n".join(lines) + "\n")
    return proc, mount


def test_cgroup_v2_limits_and_usage_are_read(tmp_path: Path) -> None:
    proc, mount = build_cgroup_v2(tmp_path)
    write(mount / "cpu.max", "150000 100000\n")
    write(mount / "cpu.stat", "usage_usec 2500000\nuser_usec 2000000\n")
    write(mount / "memory.max", "1073741824\n")
    write(mount / "memory.current", "500000000\n")
    write(mount / "memory.stat", "anon 300000000\ninactive_file 100000000\n")
    cgroup = read_cgroup(proc)
    assert (cgroup.cpu_limit_cores, cgroup.memory_limit_bytes) == (1.5, 1073741824)
    assert (cgroup.read_cpu_used_s(), cgroup.read_memory_used_bytes()) == (2.5, 400_000_000)


def test_tightest_limit_of_parent_cgroups_applies(tmp_path: Path) -> None:
    proc, mount = build_cgroup_v2(tmp_path, group="/team/job")
    write(mount / "team/job/cpu.max", "max 100000\n")
    write(mount / "team/job/memory.max", "4096\n")
    write(mount / "team/cpu.max", "200000 100000\n")
    write(mount / "team/memory.max", "8192\n")
    cgroup = read_cgroup(proc)
    assert (cgroup.cpu_limit_cores, cgroup.memory_limit_bytes) == (2.0, 4096)


def test_cgroup_v2_without_limit_has_none(tmp_path: Path) -> None:
    proc, mount = build_cgroup_v2(tmp_path)
    write(mount / "cpu.max", "max 100000\n")
    write(mount / "memory.max", "max\n")
    cgroup = read_cgroup(proc)
    assert (cgroup.cpu_limit_cores, cgroup.memory_limit_bytes) == (None, None)


def test_cgroup_v1_limits_and_usage_are_read_with_host_path(tmp_path: Path) -> None:
    proc, mount = build_cgroup_v1(tmp_path, group="/docker/abc", root="/docker/abc")
    write(mount / "cpu,cpuacct/cpu.cfs_quota_us", "50000\n")
    write(mount / "cpu,cpuacct/cpu.cfs_period_us", "100000\n")
    write(mount / "cpu,cpuacct/cpuacct.usage", "7000000000\n")
    write(mount / "memory/memory.limit_in_bytes", "2147483648\n")
    write(mount / "memory/memory.usage_in_bytes", "1000\n")
    write(mount / "memory/memory.stat", "inactive_file 1\ntotal_inactive_file 300\n")
    cgroup = read_cgroup(proc)
    assert (cgroup.cpu_limit_cores, cgroup.memory_limit_bytes) == (0.5, 2147483648)
    assert (cgroup.read_cpu_used_s(), cgroup.read_memory_used_bytes()) == (7.0, 700)


def test_cgroup_v1_without_limit_has_none(tmp_path: Path) -> None:
    proc, mount = build_cgroup_v1(tmp_path, group="/", root="/")
    write(mount / "cpu,cpuacct/cpu.cfs_quota_us", "-1\n")
    write(mount / "cpu,cpuacct/cpu.cfs_period_us", "100000\n")
    write(mount / "memory/memory.limit_in_bytes", "9223372036854771712\n")
    cgroup = read_cgroup(proc)
    assert (cgroup.cpu_limit_cores, cgroup.memory_limit_bytes) == (None, None)


def test_system_without_cgroups_has_no_limits(tmp_path: Path) -> None:
    cgroup = read_cgroup(tmp_path)
    assert cgroup == Cgroup()
    assert (cgroup.read_cpu_used_s(), cgroup.read_memory_used_bytes()) == (None, None)
