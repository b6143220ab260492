"""Scenarios import their modules before they measure: half a second for SciPy would count as service time."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.process

SCRIPT = """
import sys
from app.inference.job import Measure
from app.inference.sampling import OutputSampler
from app.inference.scenarios import run_scenario
from time import perf_counter_ns

class Caller:
    outputs = ()
    def call(self, start):
        now = perf_counter_ns()
        return now, now, -1, now + 1000, -1, now + 1000

class Recorder:
    def on_started(self, start_ns, warmup_windows, is_stationary):
        self.loaded = set(sys.modules)
    def on_calls(self, packed):
        pass

plan = Measure(scenario="single-stream", batch=1, streams=1, min_duration_s=0.0, max_duration_s=0.3, half_width=0.0,
               min_calls=0, max_warmup_s=0.0)
recorder = Recorder()
before = set(sys.modules)
run_scenario(plan, [Caller()], [0], recorder, OutputSampler(is_enabled=False))
assert "scipy" not in before
print(sorted(set(sys.modules) - recorder.loaded))
"""


def test_scenario_imports_no_module_while_calls_are_measured() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
