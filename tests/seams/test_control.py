"""Commands from another terminal control a running run."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from loadgen.reference.script import Reply, Script
from loadgen.reference.scripted import ScriptedServer
from tests.fakes.program import Sizewise, SizewiseInProcess, wait_until

pytestmark = pytest.mark.process

WriteProfile = Callable[..., str]


@contextmanager
def running(sizewise: Sizewise, path: str, directory: Path) -> Iterator[subprocess.Popen[str]]:
    """A run in the middle of a stage."""
    process = sizewise.start("run", path, "--out", str(directory))
    events = directory / "events.jsonl"
    try:
        wait_until(lambda: events.exists() and '"snapshot"' in events.read_text())
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.timing
def test_rate_of_running_stage_is_changed(
    sizewise_in_process: SizewiseInProcess, profile: WriteProfile, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with ScriptedServer(Script()) as server:
        with running(sizewise_in_process, profile(server.url, rate="50/s", duration="300s"), run) as process:
            done = sizewise_in_process("runs", "rate", str(run), "250/s")
            assert done.returncode == 0, done.stderr
            assert "now runs at 250 req/s" in done.stdout
            before = len(server.received_ns)
            noted = sizewise_in_process("runs", "note", str(run), "raised by hand")
            assert noted.returncode == 0, noted.stderr
            wait_until(lambda: len(server.received_ns) > before + 350)
            assert sizewise_in_process("runs", "stop", str(run)).returncode == 0
            _, stderr = process.communicate(timeout=60)
        received = np.array(server.received_ns[1:])
    assert process.returncode == 130, stderr
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    changed_ns = next(event["at_ns"] for event in events if event["type"] == "rate_changed")
    second = (received >= changed_ns + 0.2e9) & (received < changed_ns + 1.2e9)
    assert np.count_nonzero(second) > 200
    result = sizewise_in_process.result(run)
    (stage,) = result["stages"]
    assert (stage["kind"], stage["scheduled_per_s"]) == ("varying", None)
    assert "User note: raised by hand" in result["notes"]


@pytest.mark.timing
def test_running_stage_is_extended_and_its_errors_are_reported(
    sizewise_in_process: SizewiseInProcess, profile: WriteProfile, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with (
        ScriptedServer(Script(Reply(503, body=b"the secret of the server"))) as server,
        running(sizewise_in_process, profile(server.url, rate="50/s", duration="3s"), run) as process,
    ):
        done = sizewise_in_process("runs", "extend", str(run), "1s")
        assert done.returncode == 0, done.stderr
        assert done.stdout == "stage steady was extended by 1 s to 4 s\n"
        attached = sizewise_in_process("runs", "attach", str(run))
        process.communicate(timeout=60)
    assert attached.stderr.count("first http-5xx error: status 503 (Service Unavailable)\n") == 1
    assert "the stage was extended by 1 s to 4 s" in attached.stderr
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    stage_data = next(event["data"] for event in events if event["type"] == "stage_finished")
    assert (stage_data["duration_s"], stage_data["extended_s"], stage_data["kind"]) == (4.0, 1.0, "steady")
    (stage,) = sizewise_in_process.result(run)["stages"]
    assert [(sample["error"], sample["text"]) for sample in stage["error_samples"]] == [
        ("http-5xx", "status 503 (Service Unavailable)")
    ]
    assert stage["errors"] == {"http-5xx": 200}
    reported = sizewise_in_process("report", str(run), "--format", "text").stdout
    assert "first example: status 503" in " ".join(reported.split())
    assert "stage steady was extended by 1 s to 4 s." in " ".join(reported.split())
    for path in run.iterdir():
        assert not path.is_file() or b"the secret of the server" not in path.read_bytes(), path


def test_stopped_run_has_report(sizewise_in_process: SizewiseInProcess, profile: WriteProfile, tmp_path: Path) -> None:
    run, path = tmp_path / "run", Path(profile("URL"))
    with ScriptedServer(Script(delay_s=0.01)) as server:
        text = path.read_text().replace("URL", server.url)
        path.write_text(text.replace("arrivals: constant, rate: 200/s, duration: 1s", "concurrency: 2, duration: 60s"))
        with running(sizewise_in_process, str(path), run) as process:
            refused = sizewise_in_process("runs", "rate", str(run), "250/s")
            assert refused.returncode == 2
            assert "cannot be changed" in refused.stderr
            done = sizewise_in_process("runs", "stop", str(run))
            assert done.returncode == 0, done.stderr
            process.communicate(timeout=60)
    assert process.returncode == 130
    assert sizewise_in_process.result(run)["exit"]["causes"][0]["text"] == "the user stopped the run"
    assert (run / "report.html").exists()
    again = sizewise_in_process("runs", "stop", str(run))
    assert (again.returncode, "has already finished" in again.stderr) == (2, True)


def test_terminal_attaches_detaches_and_follows_run_to_its_end(
    sizewise_in_process: SizewiseInProcess, profile: WriteProfile, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with (
        ScriptedServer(Script()) as server,
        running(sizewise_in_process, profile(server.url, rate="50/s", duration="300s"), run) as process,
    ):
        detaching = sizewise_in_process.start("runs", "attach", str(run))
        assert detaching.stderr is not None
        lines = [detaching.stderr.readline()]
        while "sent " not in lines[-1] and detaching.poll() is None:  # all is imported that it shows a run with
            lines.append(detaching.stderr.readline())
        detaching.send_signal(signal.SIGINT)
        lines += detaching.communicate(timeout=60)[1].splitlines()
        assert detaching.returncode == 130
        assert "the run continues; follow it again" in lines[-1]
        assert process.poll() is None
        attached = sizewise_in_process.start("runs", "attach", str(run))
        assert attached.stderr is not None
        output = ""
        while "sent " not in output and attached.poll() is None:
            output += attached.stderr.readline()
        assert sizewise_in_process("runs", "stop", str(run)).returncode == 0
        output += attached.communicate(timeout=60)[1]
        process.communicate(timeout=60)
    assert attached.returncode == process.returncode == 130, output
    assert "steady: p95" in output
