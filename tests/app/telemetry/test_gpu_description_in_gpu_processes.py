from __future__ import annotations

import os
import subprocess
import sys

import pytest

from app.records.gpu import GpuProcess
from app.telemetry.gpu_description import find_foreign_processes

pytestmark = pytest.mark.process


def on_gpu(*pids: int) -> list[GpuProcess]:
    return [GpuProcess(0, pid, 1.0) for pid in pids]


def test_ours_and_what_they_began_are_not_foreign() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        ours = {os.getpid()}
        assert find_foreign_processes(on_gpu(os.getpid(), child.pid), ours) == ()
        stranger = os.getppid()
        assert [one.pid for one in find_foreign_processes(on_gpu(stranger, child.pid), ours)] == [stranger]
    finally:
        child.communicate()


def test_a_process_that_is_not_here_is_not_accused() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert find_foreign_processes(on_gpu(child.pid), {os.getpid()}) == ()
