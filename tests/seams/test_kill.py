"""The engine is killed at random moments: what was measured is there, but for the last second."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import sizewise as notebook
from loadgen.reference.scripted import Script, ScriptedServer
from tests.fakes.processes import children_of, is_running
from tests.fakes.program import Sizewise, wait_until


@pytest.mark.parametrize("seed", range(4))
def test_a_killed_run_opens_and_lacks_at_most_its_last_second(
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
