from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from app.inference.inspection.limits import compute_cpu_time_limit_s

pytestmark = pytest.mark.process

LIMITED = "from app.inference.inspection.limits import limit_this_process; limit_this_process(1000); "


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits a process's memory")
def test_limited_process_cannot_allocate_400_mib() -> None:
    done = subprocess.run([sys.executable, "-c", f"{LIMITED} bytearray(400 << 20)"], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == "MemoryError"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signal")
def test_limited_process_is_killed_after_its_cpu_time() -> None:
    done = subprocess.run([sys.executable, "-c", f"{LIMITED}\nwhile True: pass"], timeout=60)
    assert done.returncode == -signal.SIGPROF


def test_cpu_time_limit_grows_with_file_size_up_to_20_s() -> None:
    assert compute_cpu_time_limit_s(1000) < 1.1
    assert compute_cpu_time_limit_s(2**20) == 5
    assert compute_cpu_time_limit_s(2**31) == 20
