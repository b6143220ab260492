"""A run of the real engine, reevaluated from its stored data."""

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
from tests.fakes.program import SizewiseInProcess, wait_until

pytestmark = pytest.mark.process

WriteProfile = Callable[..., str]
STAGES = """  stages:
    - {name: low, arrivals: poisson, rate: 100/s, duration: 1s, repeats: 2}
    - {name: clients, concurrency: 3, duration: 1s}
    - {name: climb, arrivals: poisson, ramp: {from: 50/s, to: 150/s}, duration: 1s}
"""


def _set_stages(path: Path) -> None:
    text = path.read_text()
    head, _, tail = text.partition("  stages: [")
    path.write_text(head + STAGES + tail[tail.index("slo:") :])


def test_reevaluation_equals_stored_result(
    sizewise_in_process: SizewiseInProcess, profile: WriteProfile, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with ScriptedServer(Script(delay_s=0.004)) as server:
        path = profile(server.url)
        _set_stages(Path(path))
        done = sizewise_in_process("run", path, "--out", str(run))
    assert done.returncode in (0, 4, 10), done.stderr
    opened = load_run(StoredRun(run))
    reevaluated = opened.reevaluate()
    for stage, stored_stage in zip(reevaluated.stages, opened.result.stages, strict=True):
        assert stage == stored_stage, stage.name
    assert reevaluated == opened.result
    completed = sizewise_in_process("report", str(run), "--slo", "latency_ms.p50 < 0.01", "--format", "json")
    assert completed.returncode in (4, 10)
    report = json.loads((run / "report-reevaluated.json").read_text())
    assert report["objectives"][0]["outcome"] == "FAIL"


def test_recover_reports_result_of_killed_run(
    sizewise_in_process: SizewiseInProcess, profile: WriteProfile, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with ScriptedServer(Script(delay_s=0.004)) as server:
        path = profile(server.url)
        _set_stages(Path(path))
        process = sizewise_in_process.start("run", path, "--out", str(run))
        events = run / "events.jsonl"
        wait_until(lambda: events.exists() and events.read_text().count('"stage_finished"') > 1)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    completed = sizewise_in_process("report", str(run), "--recover", "--format", "text")
    assert completed.returncode == 0, completed.stderr
    assert "The result was recovered from an interrupted run: " in " ".join(completed.stdout.split())
