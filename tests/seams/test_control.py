"""A running run is spoken to from another terminal."""

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
from tests.fakes.program import Sizewise, SizewiseHere, wait_until

pytestmark = pytest.mark.process

WriteProfile = Callable[..., str]


@contextmanager
def running(sizewise: Sizewise, path: str, directory: Path) -> Iterator[subprocess.Popen[str]]:
    """A run whose stage goes on."""
    process = sizewise.start("run", path, "--out", str(directory))
    events = directory / "events.jsonl"
    try:
        wait_until(lambda: events.exists() and '"snapshot"' in events.read_text())
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.timing
def test_the_rate_of_a_running_stage_is_changed(
    sizewise_here: SizewiseHere, profile: WriteProfile, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with ScriptedServer(Script()) as server:
        with running(sizewise_here, profile(server.url, rate="50/s", duration="300s"), run) as process:
            done = sizewise_here("runs", "rate", str(run), "250/s")
            assert done.returncode == 0, done.stderr
            assert "now runs at 250 req/s" in done.stdout
            before = len(server.received_ns)
            noted = sizewise_here("runs", "note", str(run), "raised by hand")
            assert noted.returncode == 0, noted.stderr
            wait_until(lambda: len(server.received_ns) > before + 350)
            assert sizewise_here("runs", "stop", str(run)).returncode == 0
            _, stderr = process.communicate(timeout=60)
        received = np.array(server.received_ns[1:])
    assert process.returncode == 130, stderr
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    changed_ns = next(event["at_ns"] for event in events if event["type"] == "rate_changed")
    second = (received >= changed_ns + 0.2e9) & (received < changed_ns + 1.2e9)
    assert np.count_nonzero(second) > 200
    result = sizewise_here.result(run)
    (stage,) = result["stages"]
    assert (stage["kind"], stage["scheduled_per_s"]) == ("varying", None)
    assert "User note: raised by hand" in result["notes"]


@pytest.mark.timing
def test_a_running_stage_is_made_longer_and_its_errors_are_reported(
    sizewise_here: SizewiseHere, profile: WriteProfile, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with (
        ScriptedServer(Script(Reply(503, body=b"the secret of the server"))) as server,
        running(sizewise_here, profile(server.url, rate="50/s", duration="3s"), run) as process,
    ):
        done = sizewise_here("runs", "extend", str(run), "1s")
        assert done.returncode == 0, done.stderr
        assert done.stdout == "stage steady was extended by 1 s to 4 s\n"
        attached = sizewise_here("runs", "attach", str(run))
        process.communicate(timeout=60)
    assert attached.stderr.count("first http-5xx error: status 503 (Service Unavailable)\n") == 1
    assert "the stage was extended by 1 s to 4 s" in attached.stderr
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    facts = next(event["data"] for event in events if event["type"] == "stage_finished")
    assert (facts["duration_s"], facts["extended_s"], facts["kind"]) == (4.0, 1.0, "steady")
    (stage,) = sizewise_here.result(run)["stages"]
    assert [(one["error"], one["text"]) for one in stage["error_samples"]] == [
        ("http-5xx", "status 503 (Service Unavailable)")
    ]
    assert stage["errors"] == {"http-5xx": 200}
    reported = sizewise_here("report", str(run), "--format", "text").stdout
    assert "first example: status 503" in " ".join(reported.split())
    assert "stage steady was extended by 1 s to 4 s." in " ".join(reported.split())
    for path in run.iterdir():
        assert not path.is_file() or b"the secret of the server" not in path.read_bytes(), path


def test_a_run_is_stopped_with_its_report(sizewise_here: SizewiseHere, profile: WriteProfile, tmp_path: Path) -> None:
    run, path = tmp_path / "run", Path(profile("URL"))
    with ScriptedServer(Script(delay_s=0.01)) as server:
        text = path.read_text().replace("URL", server.url)
        path.write_text(text.replace("arrivals: constant, rate: 200/s, duration: 1s", "concurrency: 2, duration: 60s"))
        with running(sizewise_here, str(path), run) as process:
            refused = sizewise_here("runs", "rate", str(run), "250/s")
            assert refused.returncode == 2
            assert "cannot be changed" in refused.stderr
            done = sizewise_here("runs", "stop", str(run))
            assert done.returncode == 0, done.stderr
            process.communicate(timeout=60)
    assert process.returncode == 130
    assert sizewise_here.result(run)["exit"]["causes"][0]["text"] == "the user stopped the run"
    assert (run / "report.html").exists()
    again = sizewise_here("runs", "stop", str(run))
    assert (again.returncode, "has already finished" in again.stderr) == (2, True)


def test_a_terminal_attaches_detaches_and_sees_the_end(
    sizewise_here: SizewiseHere, profile: WriteProfile, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with (
        ScriptedServer(Script()) as server,
        running(sizewise_here, profile(server.url, rate="50/s", duration="300s"), run) as process,
    ):
        leaving = sizewise_here.start("runs", "attach", str(run))
        assert leaving.stderr is not None
        reported = [leaving.stderr.readline()]
        while "sent " not in reported[-1] and leaving.poll() is None:  # all is imported that it shows a run with
            reported.append(leaving.stderr.readline())
        leaving.send_signal(signal.SIGINT)
        reported += leaving.communicate(timeout=60)[1].splitlines()
        assert leaving.returncode == 130
        assert "the run continues; follow it again" in reported[-1]
        assert process.poll() is None
        staying = sizewise_here.start("runs", "attach", str(run))
        assert staying.stderr is not None
        seen = ""
        while "sent " not in seen and staying.poll() is None:
            seen += staying.stderr.readline()
        assert sizewise_here("runs", "stop", str(run)).returncode == 0
        seen += staying.communicate(timeout=60)[1]
        process.communicate(timeout=60)
    assert staying.returncode == process.returncode == 130, seen
    assert "steady: p95" in seen
