from __future__ import annotations

import os
import subprocess
import sys

import pytest

from app.records.gpu import GpuProcess
from app.telemetry.gpu_description import find_foreign_processes

pytestmark = pytest.mark.process


def build_gpu_processes(*pids: int) -> list[GpuProcess]:
    return [GpuProcess(0, pid, 1.0) for pid in pids]


def test_own_processes_and_their_children_are_not_foreign_gpu_processes() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        own_pids = {os.getpid()}
        assert find_foreign_processes(build_gpu_processes(os.getpid(), child.pid), own_pids) == ()
        foreign_pid = os.getppid()
        assert [
            process.pid for process in find_foreign_processes(build_gpu_processes(foreign_pid, child.pid), own_pids)
        ] == [foreign_pid]
    finally:
        child.communicate()


def test_ended_process_is_not_foreign_gpu_process() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert find_foreign_processes(build_gpu_processes(child.pid), {os.getpid()}) == ()
