"""A stall of the target is seen by everyone who would have waited behind it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from loadgen.reference.scripted import Script, ScriptedServer
from tests.fakes.program import Sizewise


def test_one_freeze_of_a_second_is_in_the_percentiles(
    sizewise: Sizewise, profile: Callable[..., str], tmp_path: Path
) -> None:
    """100/s for 12 s, 50 ms each, frozen for 1 s: 100 of 1,200 arrivals wait a uniform 0 to 1 s and 50 ms."""
    with ScriptedServer(Script(delay_s=0.05, freeze_after_s=5.0, freeze_s=1.0)) as server:
        path = profile(server.url, rate="100/s", duration="12s", extra="limits: {duration: 60s}")
        done = sizewise(
            "run",
            path,
            "--out",
            str(tmp_path / "run"),
            "--set",
            "target.timeouts.total=5s",
            "--set",
            "target.timeouts.idle=5s",
        )
    assert done.returncode in (0, 10), done.stderr
    (stage,) = sizewise.result(tmp_path / "run")["stages"]
    latency = stage["metrics"]["latency_ms"]
    assert stage["completed"] == 1200
    assert latency["p50"]["value"] == pytest.approx(50, rel=0.1)
    assert latency["p95"]["value"] == pytest.approx(450, rel=0.05)
    assert latency["p99"]["value"] == pytest.approx(930, rel=0.05)
