"""A run of the real engine, judged again from what it stored."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from app.reporting.opened import load_run
from app.storage.run_directory import StoredRun
from loadgen.reference.script import Script
from loadgen.reference.scripted import ScriptedServer
from tests.fakes.program import SizewiseHere, wait_until

pytestmark = pytest.mark.process

WriteProfile = Callable[..., str]
STAGES = """  stages:
    - {name: low, arrivals: poisson, rate: 100/s, duration: 1s, repeats: 2}
    - {name: clients, concurrency: 3, duration: 1s}
    - {name: climb, arrivals: poisson, ramp: {from: 50/s, to: 150/s}, duration: 1s}
"""


def _profile(path: Path) -> None:
    text = path.read_text()
    head, _, tail = text.partition("  stages: [")
    path.write_text(head + STAGES + tail[tail.index("slo:") :])


def test_every_stage_comes_out_as_the_engine_stored_it(
    sizewise_here: SizewiseHere, profile: WriteProfile, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with ScriptedServer(Script(delay_s=0.004)) as server:
        path = profile(server.url)
        _profile(Path(path))
        done = sizewise_here("run", path, "--out", str(run))
    assert done.returncode in (0, 4, 10), done.stderr
    opened = load_run(StoredRun(run))
    again = opened.reevaluate()
    for one, own in zip(again.stages, opened.result.stages, strict=True):
        assert one == own, one.name
    assert again == opened.result
    reported = sizewise_here("report", str(run), "--slo", "latency_ms.p50 < 0.01", "--format", "json")
    assert reported.returncode in (4, 10)
    report = json.loads((run / "report-reevaluated.json").read_text())
    assert report["objectives"][0]["outcome"] == "FAIL"


def test_what_a_killed_engine_had_finished_is_recovered(
    sizewise_here: SizewiseHere, profile: WriteProfile, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with ScriptedServer(Script(delay_s=0.004)) as server:
        path = profile(server.url)
        _profile(Path(path))
        process = sizewise_here.start("run", path, "--out", str(run))
        events = run / "events.jsonl"
        wait_until(lambda: events.exists() and events.read_text().count('"stage_finished"') > 1)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    reported = sizewise_here("report", str(run), "--recover", "--format", "text")
    assert reported.returncode == 0, reported.stderr
    assert "The result was recovered from an interrupted run: " in " ".join(reported.stdout.split())
