from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from app.telemetry.processes import read_core_use

pytestmark = pytest.mark.timing

BUSY = "import time\nwhile time.process_time() < 0.4: pass\nprint(flush=True)\ninput()"


def test_core_use_is_own_only_for_listed_processes() -> None:
    with subprocess.Popen([sys.executable, "-c", BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as busy:
        before, before_without = read_core_use({busy.pid}), read_core_use(())
        assert busy.stdout is not None
        busy.stdout.readline()
        after, after_without = read_core_use({busy.pid}), read_core_use(())
    for read in (before, before_without, after, after_without):
        assert read.own_s is not None
    assert (after.own_s or 0) - (before.own_s or 0) > 0.3
    own_without_s = (after_without.own_s or 0) - (before_without.own_s or 0)
    assert own_without_s < 0.3, "reading takes some milliseconds"
    assert after.used_s - before.used_s > 0.3


def test_used_and_idle_core_time_sum_to_elapsed_time() -> None:
    before = read_core_use(())
    end_s = time.process_time() + 0.4
    while time.process_time() < end_s:
        pass
    after = read_core_use(())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    elapsed_s = (after.at_ns - before.at_ns) / 1e9
    used_and_idle_s = after.used_s + after.idle_s - before.used_s - before.idle_s
    assert used_and_idle_s == pytest.approx(
        cores * elapsed_s, rel=0.25, abs=0.2
    )  # except interrupts, in ticks of 10 ms


def test_own_core_use_with_ended_process_is_none() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait(timeout=30)
    assert read_core_use({ended.pid}).own_s is None
