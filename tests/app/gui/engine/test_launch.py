from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from app.gui.engine.launch import ENGINE_LOG, build_early_exit_notice, start_engine
from app.gui.navigation import Launch
from app.records.events import Snapshot
from app.storage.following import RunFollower
from tests.fakes.program import wait_until

WINDOW_PROGRAM = """
import sys, threading
from pathlib import Path
from app.gui.engine.launch import start_engine
from app.gui.navigation import Launch
engine = start_engine(Launch(("run", sys.argv[1]), Path(sys.argv[2]), "x"))
print(engine.pid, flush=True)
threading.Event().wait()
"""
SCRIPTED_PROFILE = """sizewise: 1
name: outlives
target: {protocol: http, scripted: {delay: 5ms}}
workload: {body: {a: 1}}
load: {warmup: 0s, stages: [{name: steady, arrivals: constant, rate: 50/s, duration: 30s}]}
"""


def test_benchmark_process_that_exits_at_once_is_reported_and_leaves_no_directory(tmp_path: Path) -> None:
    engine = start_engine(Launch(("run", "no-such-profile.yaml"), tmp_path / "runs" / "one", "x"))
    wait_until(lambda: engine.poll() is not None)
    notice = build_early_exit_notice(engine, engine.poll() or 0)
    assert "exit code 2" in notice.summary
    assert notice.reason is not None
    assert "no-such-profile.yaml" in notice.reason
    assert not notice.reason.startswith("error:")
    assert notice.details is not None
    assert notice.details.startswith("error: ")
    assert "failure" not in notice.details
    assert not engine.directory.exists()


def test_benchmark_process_survives_its_killed_window(home: Path, tmp_path: Path) -> None:
    profile, run = tmp_path / "p.yaml", tmp_path / "run"
    profile.write_text(SCRIPTED_PROFILE)
    command = [sys.executable, "-c", WINDOW_PROGRAM, str(profile), str(run)]
    window = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert window.stdout is not None
    with window.stdout:
        pid = int(window.stdout.readline())
    assert os.getsid(pid) == pid, "signals of the window's terminal do not reach the process"
    window.send_signal(signal.SIGKILL)
    window.wait()
    follower = RunFollower(run)
    wait_until(lambda: isinstance(follower.read_next(), Snapshot))
    assert follower.is_active()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not follower.is_active())
    assert "doctor: checking this machine" in (run / ENGINE_LOG).read_text()
