"""A run that starts the target's server: the cold start is measured, and no process remains."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fakes import slow_server
from tests.fakes.processes import children_of, free_port, is_running
from tests.fakes.program import Sizewise, SizewiseInProcess, wait_until

pytestmark = pytest.mark.process

WriteProfile = Callable[..., str]


@pytest.fixture
def write_cold_profile(tmp_path: Path) -> WriteProfile:
    """Writes a profile that starts a server with these options."""

    def write(*options: str, duration: str = "1s", timeout: str = "20s", command: str | None = None) -> str:
        port = free_port()
        words = [sys.executable, slow_server.__file__, str(port), *options]
        path = tmp_path / "profile.yaml"
        path.write_text(
            f"""sizewise: 1
name: cold
target:
  protocol: http
  url: http://127.0.0.1:{port}/
  start: {{command: {command or words}, ready: /ready, timeout: {timeout}}}
workload: {{method: POST, body: {{a: 1}}}}
load:
  warmup: 0.6s
  stages: [{{rate: 50/s, arrivals: constant, duration: {duration}}}]
"""
        )
        return str(path)

    return write


def test_started_server_is_timed_and_stopped(
    sizewise_in_process: SizewiseInProcess, write_cold_profile: WriteProfile, tmp_path: Path
) -> None:
    options = ("after=0.7", f"child={tmp_path / 'child'}")
    done = sizewise_in_process("run", write_cold_profile(*options), "--out", str(tmp_path / "run"))
    assert done.returncode in (0, 4), done.stderr
    result = sizewise_in_process.result(tmp_path / "run")
    cold = {name: estimate["value"] for name, estimate in result["cold_start"].items()}
    assert 700 <= cold["ready_ms"] < 5_000
    assert cold["ready_ms"] <= cold["first_response_ms"]
    assert cold["steady_ms"] is None or cold["first_response_ms"] <= cold["steady_ms"]
    assert "cold start: ready after" in done.stderr
    assert "endpoint_cpu_cores" in result["stages"][-1]["metrics"]
    assert not is_running(int((tmp_path / "child").read_text()))


@pytest.mark.usefixtures("unforked")  # the process that forks children is one, too
def test_ctrl_c_ends_all_processes_of_started_server(
    sizewise: Sizewise, write_cold_profile: WriteProfile, tmp_path: Path
) -> None:
    path = write_cold_profile(f"child={tmp_path / 'child'}", duration="60s")
    process = sizewise.start("run", path, "--out", str(tmp_path / "run"))
    wait_until(lambda: (tmp_path / "run" / "events.jsonl").exists())
    wait_until(lambda: '"snapshot"' in (tmp_path / "run" / "events.jsonl").read_text())
    children = [*children_of(process.pid), int((tmp_path / "child").read_text())]
    assert len(children) >= 4, "the load worker, the server, its guard, and the server's child"
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert [pid for pid in children if is_running(pid)] == []


def test_repeated_ctrl_c_ends_all_processes_of_started_server(
    sizewise: Sizewise, write_cold_profile: WriteProfile, tmp_path: Path
) -> None:
    process = sizewise.start("run", write_cold_profile(f"child={tmp_path / 'child'}", "after=1000", timeout="60s"))
    wait_until(lambda: (tmp_path / "child").exists() and (tmp_path / "child").read_text())
    children = [*children_of(process.pid), int((tmp_path / "child").read_text())]
    for _ in range(3):
        process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    wait_until(lambda: not any(is_running(pid) for pid in children), within_s=15)


def test_server_crash_exits_with_4_and_reports_cause_and_completed_requests(
    sizewise_in_process: SizewiseInProcess, write_cold_profile: WriteProfile, tmp_path: Path
) -> None:
    done = sizewise_in_process(
        "run", write_cold_profile("dies_after=80", duration="30s"), "--out", str(tmp_path / "run")
    )
    assert done.returncode == 4, done.stderr
    result = sizewise_in_process.result(tmp_path / "run")
    (cause,) = (exit_cause["text"] for exit_cause in result["exit"]["causes"])
    assert "target process: target.start: the server exited with code 7" in cause
    ended = [check["hint"] for check in result["validity"] if check["id"] == "target_process"]
    assert any("it is too much" in hint for hint in ended), ended
    assert sum(stage["completed"] for stage in result["stages"]) >= 70


def test_failing_start_command_exits_with_3_and_missing_command_with_2(
    sizewise_in_process: SizewiseInProcess, write_cold_profile: WriteProfile
) -> None:
    done = sizewise_in_process(
        "run", write_cold_profile(command=f"[{sys.executable}, -c, \"import sys; sys.exit('no such model')\"]")
    )
    assert done.returncode == 3
    assert "exited with code 1 before it was ready" in done.stderr
    assert "no such model" in done.stderr
    done = sizewise_in_process("run", write_cold_profile(command="[no-such-program]"))
    assert done.returncode == 2
    assert "no-such-program cannot be started" in done.stderr


def test_run_waits_for_endpoint_that_wakes_up(sizewise: Sizewise, profile: WriteProfile, tmp_path: Path) -> None:
    """The port is closed for the first requests of the run; then its server starts."""
    port = free_port()
    path = Path(profile("URL"))
    path.write_text(path.read_text().replace("url: URL", f"url: http://127.0.0.1:{port}/\n  wake: true"))
    process = sizewise.start("run", str(path), "--out", str(tmp_path / "run"))
    events = tmp_path / "run" / "events.jsonl"
    wait_until(lambda: events.exists() and "until one succeeds" in events.read_text())
    server = subprocess.Popen([sys.executable, slow_server.__file__, str(port)])
    try:
        _, stderr = process.communicate(timeout=60)
    finally:
        server.kill()
        server.wait()
    assert process.returncode in (0, 4), stderr
    cold = sizewise.result(tmp_path / "run")["cold_start"]
    assert cold["ready_ms"]["value"] is None
    assert cold["first_response_ms"]["value"] > 0
