"""The scripted server that a run started is killed: the measurement is INVALID."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.fakes.processes import command_line, descendants_of
from tests.fakes.program import Sizewise, wait_until

pytestmark = pytest.mark.process

PROFILE = """sizewise: 1
name: own-endpoint
target: {protocol: http, scripted: {delay: 1ms}}
workload: {method: GET}
load:
  warmup: 0s
  stages: [{name: steady, rate: 20/s, duration: 300s}]
"""


@pytest.mark.usefixtures("unforked")  # it finds the server by its command line
@pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")
def test_killed_scripted_server_ends_run_with_4_and_cause(sizewise: Sizewise, tmp_path: Path) -> None:
    profile, out = tmp_path / "profile.yaml", tmp_path / "run"
    profile.write_text(PROFILE)
    process = sizewise.start("run", str(profile), "--out", str(out))
    events = out / "events.jsonl"
    try:
        wait_until(lambda: process.poll() is not None or (events.exists() and '"snapshot"' in events.read_text()))
        (endpoint,) = (pid for pid in descendants_of(process.pid) if "loadgen.reference.scripted" in command_line(pid))
        os.kill(endpoint, signal.SIGKILL)
        _, stderr = process.communicate(timeout=150)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 4, stderr
    result = sizewise.result(out)
    assert [exit_cause["code"] for exit_cause in result["exit"]["causes"]] == [4]
    (cause,) = (exit_cause["text"] for exit_cause in result["exit"]["causes"])
    assert "target process: the scripted server was killed by SIGKILL" in cause
    assert cause in stderr
    assert result["stages"][0]["errors"], "what failed after its end is shown"
