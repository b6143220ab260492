from __future__ import annotations

from pathlib import Path

from app.telemetry.cgroup import Cgroup, read_cgroup


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def version_2(tmp_path: Path, group: str = "/", root: str = "/") -> tuple[Path, Path]:
    """(the /proc folder of a process in `group`, the folder the hierarchy is mounted on)"""
    proc, mount = tmp_path / "proc", tmp_path / "cgroup"
    write(proc / "cgroup", f"0::{group}\n")
    write(proc / "mountinfo", f"30 23 0:26 {root} {mount} rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n")
    write(mount / "cgroup.controllers", "cpu memory\n")
    return proc, mount


def version_1(tmp_path: Path, group: str, root: str) -> tuple[Path, Path]:
    proc, mount = tmp_path / "proc", tmp_path / "cgroup"
    write(proc / "cgroup", f"4:memory:{group}\n3:cpu,cpuacct:{group}\n1:name=systemd:/\n")
    lines = [
        f"32 31 0:29 {root} {mount}/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct",
        f"35 31 0:32 {root} {mount}/memory rw - cgroup cgroup rw,memory",
    ]
    write(proc / "mountinfo", "\n".join(lines) + "\n")
    return proc, mount


def test_version_2_of_a_container(tmp_path: Path) -> None:
    proc, mount = version_2(tmp_path)
    write(mount / "cpu.max", "150000 100000\n")
    write(mount / "cpu.stat", "usage_usec 2500000\nuser_usec 2000000\n")
    write(mount / "memory.max", "1073741824\n")
    write(mount / "memory.current", "500000000\n")
    write(mount / "memory.stat", "anon 300000000\ninactive_file 100000000\n")
    cgroup = read_cgroup(proc)
    assert (cgroup.cpu_limit_cores, cgroup.memory_limit_bytes) == (1.5, 1073741824)
    assert (cgroup.cpu_used_s(), cgroup.memory_used_bytes()) == (2.5, 400_000_000)


def test_the_tightest_limit_on_the_way_up_counts(tmp_path: Path) -> None:
    proc, mount = version_2(tmp_path, group="/team/job")
    write(mount / "team/job/cpu.max", "max 100000\n")
    write(mount / "team/job/memory.max", "4096\n")
    write(mount / "team/cpu.max", "200000 100000\n")
    write(mount / "team/memory.max", "8192\n")
    cgroup = read_cgroup(proc)
    assert (cgroup.cpu_limit_cores, cgroup.memory_limit_bytes) == (2.0, 4096)


def test_no_limit_is_none(tmp_path: Path) -> None:
    proc, mount = version_2(tmp_path)
    write(mount / "cpu.max", "max 100000\n")
    write(mount / "memory.max", "max\n")
    cgroup = read_cgroup(proc)
    assert (cgroup.cpu_limit_cores, cgroup.memory_limit_bytes) == (None, None)


def test_version_1_of_a_container_that_sees_the_hosts_path(tmp_path: Path) -> None:
    proc, mount = version_1(tmp_path, group="/docker/abc", root="/docker/abc")
    write(mount / "cpu,cpuacct/cpu.cfs_quota_us", "50000\n")
    write(mount / "cpu,cpuacct/cpu.cfs_period_us", "100000\n")
    write(mount / "cpu,cpuacct/cpuacct.usage", "7000000000\n")
    write(mount / "memory/memory.limit_in_bytes", "2147483648\n")
    write(mount / "memory/memory.usage_in_bytes", "1000\n")
    write(mount / "memory/memory.stat", "inactive_file 1\ntotal_inactive_file 300\n")
    cgroup = read_cgroup(proc)
    assert (cgroup.cpu_limit_cores, cgroup.memory_limit_bytes) == (0.5, 2147483648)
    assert (cgroup.cpu_used_s(), cgroup.memory_used_bytes()) == (7.0, 700)


def test_version_1_says_no_limit_with_numbers(tmp_path: Path) -> None:
    proc, mount = version_1(tmp_path, group="/", root="/")
    write(mount / "cpu,cpuacct/cpu.cfs_quota_us", "-1\n")
    write(mount / "cpu,cpuacct/cpu.cfs_period_us", "100000\n")
    write(mount / "memory/memory.limit_in_bytes", "9223372036854771712\n")
    cgroup = read_cgroup(proc)
    assert (cgroup.cpu_limit_cores, cgroup.memory_limit_bytes) == (None, None)


def test_a_system_without_control_groups_has_no_limits(tmp_path: Path) -> None:
    cgroup = read_cgroup(tmp_path)
    assert cgroup == Cgroup()
    assert (cgroup.cpu_used_s(), cgroup.memory_used_bytes()) == (None, None)
