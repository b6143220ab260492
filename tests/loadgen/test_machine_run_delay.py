from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest

from loadgen.machine import read_cpu_wait_s, subtract_cpu_wait_s

pytestmark = pytest.mark.timing

BUSY = "print(flush=True)\nwhile True: pass"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux reports it")
def test_thread_that_shares_core_with_busy_process_reports_cpu_wait() -> None:
    waits: list[float | None] = []

    def run() -> None:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # applies to this thread and its child process
        with subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE) as busy:
            assert busy.stdout is not None
            busy.stdout.readline()
            wait_before, until_s = read_cpu_wait_s(threading.get_native_id()), time.thread_time() + 0.2
            while time.thread_time() < until_s:
                pass
            waits.append(subtract_cpu_wait_s(wait_before, read_cpu_wait_s(threading.get_native_id())))
            busy.kill()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(timeout=60)
    (wait_s,) = waits
    assert wait_s is not None
    assert wait_s > 0.05, "0.2 s of CPU time on a core that is shared in halves"


def test_cpu_wait_of_unknown_thread_is_unknown() -> None:
    assert read_cpu_wait_s(2**22 + 1) is None
    assert subtract_cpu_wait_s(None, 1.0) is None
    assert subtract_cpu_wait_s(1.0, None) is None
    assert subtract_cpu_wait_s(1.0, 1.5) == 0.5
