"""Other load generators against the same target, on the same core: requests a second, and CPU µs each."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.performance.targets import CLIENT_CORE, on_core

HERE = Path(__file__).parent


def fast_http_user(url: str, users: int, seconds: float) -> tuple[float, float]:
    command = [sys.executable, str(HERE / "fast_http_user.py"), url, str(users), str(seconds)]
    with on_core(CLIENT_CORE):
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 60)
    requests, cpu_s = map(float, done.stdout.split())
    return requests / seconds, 1e6 * cpu_s / requests


def wrk(executable: str, url: str, connections: int, seconds: float) -> tuple[float, float]:
    command = [executable, "-t1", f"-c{connections}", f"-d{seconds:.0f}s", url]
    with on_core(CLIENT_CORE):
        before = _children_cpu_s()
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 60)
        cpu_s = _children_cpu_s() - before
    requests = next(int(line.split()[0]) for line in done.stdout.splitlines() if " requests in " in line)
    return requests / seconds, 1e6 * cpu_s / requests


def _children_cpu_s() -> float:
    times = os.times()
    return times.children_user + times.children_system
