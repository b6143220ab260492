from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from app.telemetry.processes import read_core_use

pytestmark = pytest.mark.timing

BUSY = "import time\nwhile time.process_time() < 0.4: pass\nprint(flush=True)\ninput()"


def test_work_is_ours_where_its_process_is_named_and_of_others_where_not() -> None:
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


def test_all_that_the_cores_did_was_busy_or_idle() -> None:
    before = read_core_use(())
    end_s = time.process_time() + 0.4
    while time.process_time() < end_s:
        pass
    after = read_core_use(())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    elapsed_s = (after.at_ns - before.at_ns) / 1e9
    both_s = after.used_s + after.idle_s - before.used_s - before.idle_s
    assert both_s == pytest.approx(cores * elapsed_s, rel=0.25, abs=0.2)  # but for interrupts, in ticks of 10 ms


def test_of_a_process_that_has_gone_the_use_is_not_known() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait(timeout=30)
    assert read_core_use({gone.pid}).own_s is None
