"""The engine is killed at random moments: all rows but those of the last second are stored, and runs can be resumed."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import sizewise as notebook
from loadgen.reference.scripted import Script, ScriptedServer
from tests.fakes.processes import children_of, is_running
from tests.fakes.program import Sizewise, SizewiseInProcess, wait_until

pytestmark = pytest.mark.process


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.soak) for seed in (2, 3))])
def test_killed_run_lacks_at_most_its_last_second(
    sizewise: Sizewise, profile: Callable[..., str], tmp_path: Path, seed: int
) -> None:
    sent_before_the_kill = random.Random(seed).randint(20, 500)
    with ScriptedServer(Script(delay_s=0.005)) as server:
        process = sizewise.start(
            "run", profile(server.url, rate="200/s", duration="60s"), "--out", str(tmp_path / "run")
        )
        wait_until(lambda: len(server.received_ns) >= sent_before_the_kill)
        children = children_of(process.pid)
        assert children
        process.kill()
        killed_ns = time.perf_counter_ns()
        process.communicate()
        wait_until(lambda: not any(is_running(child) for child in children), within_s=5)
        # the first were the preflight and the look at /metrics
        due = sum(at_ns < killed_ns - 1_000_000_000 for at_ns in server.received_ns[2:])
    run = notebook.open_run(tmp_path / "run")
    assert not run.is_complete
    assert run.result is None
    assert len(run.requests) >= due
    assert run.requests["index"].is_unique
    assert run.requests["error"].isna().all()


def test_resume_completes_killed_run(
    sizewise_in_process: SizewiseInProcess, profile: Callable[..., str], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    stages = [{"name": name, "arrivals": "constant", "rate": "100/s", "duration": "1s"} for name in "abc"]
    with ScriptedServer(Script(delay_s=0.005)) as server:
        process = sizewise_in_process.start(
            "run", profile(server.url), "--set", f"load.stages={json.dumps(stages)}", "--out", str(out)
        )
        events = out / "events.jsonl"
        wait_until(lambda: events.exists() and events.read_text().count('"stage_started"') == 2)
        process.kill()
        process.communicate()
        refused = sizewise_in_process("report", str(out))
        done = sizewise_in_process("runs", "resume", str(out))
    assert refused.returncode == 2
    assert done.returncode in (0, 4), done.stderr  # 4: the machine was busy
    run = notebook.open_run(out)
    assert run.is_complete
    assert not run.requests.duplicated(["stage", "index"]).any()
    assert run.requests.groupby("stage").size().to_list() == [100, 100, 100]
    result = sizewise_in_process.result(out)
    assert [stage["name"] for stage in result["stages"]] == ["a", "b", "c"]
    assert "resumed_run" in {check["id"] for check in result["validity"]}
    assert "resumed after 1 stage" in done.stdout
    second_resume = sizewise_in_process("runs", "resume", str(out))
    assert second_resume.returncode == 2
    assert "is complete, so there is nothing to resume" in second_resume.stderr
