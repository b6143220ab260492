"""A stall of the target is in the latency of all requests that would have waited."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from loadgen.reference.scripted import Script, ScriptedServer
from tests.fakes.program import Sizewise, until_valid

pytestmark = pytest.mark.timing


def test_stall_of_one_second_is_in_latency_percentiles(
    sizewise: Sizewise, profile: Callable[..., str], tmp_path: Path
) -> None:
    """200/s for 6 s, 50 ms each, frozen for 1 s: 200 of 1,200 arrivals wait a uniform 0 to 1 s and 50 ms."""

    def run() -> subprocess.CompletedProcess[str]:
        with ScriptedServer(Script(delay_s=0.05, freeze_after_s=2.5, freeze_s=1.0)) as server:
            path = profile(server.url, rate="200/s", duration="6s", extra="limits: {duration: 60s}")
            waiting = ("--set", "target.timeouts.total=5s", "--set", "target.timeouts.idle=5s")
            return sizewise("run", path, *waiting, "--out", str(tmp_path / "run"))

    done = until_valid(run, tmp_path / "run")
    assert done.returncode in (0, 10), done.stderr
    (stage,) = sizewise.result(tmp_path / "run")["stages"]
    latency = stage["metrics"]["latency_ms"]
    assert stage["completed"] == 1200
    assert latency["p50"]["value"] == pytest.approx(50, rel=0.1)
    assert latency["p95"]["value"] == pytest.approx(750, rel=0.05)
    assert latency["p99"]["value"] == pytest.approx(990, rel=0.05)
