"""A window that is closed during background work ends its process immediately."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from app.profiles.bundled import bundled_models
from tests.fakes.program import Sizewise
from tests.fakes.stored_runs import stored_run

_MAX_EXIT_S, _TIMEOUT_S, _OPEN_S = 6.0, 20.0, 60.0
"""Time limits: a page whose creation has begun is created first, which takes long on a busy machine."""


def is_open(home: Path, _: int) -> bool:
    return (home / "window.lock").exists()


def has_inspection_process(_: Path, pid: int) -> bool:
    return bool(psutil.Process(pid).children())


@pytest.mark.parametrize(
    ("work", "is_at_work"),
    [
        pytest.param("nothing", is_open, marks=pytest.mark.soak),
        pytest.param("run", is_open, marks=pytest.mark.soak),
        pytest.param("plan", is_open, marks=pytest.mark.timing),
        pytest.param("model", has_inspection_process, marks=pytest.mark.timing),
    ],
)
def test_window_closed_during_background_work_exits_within_6_s(
    home: Path, tmp_path: Path, work: str, is_at_work: Callable[[Path, int], bool]
) -> None:
    run = stored_run(home / "runs" / "stored").directory
    paths = {"run": run, "plan": run.parent, "model": bundled_models()["digits"]}
    process = Sizewise(home, tmp_path).start("gui", *(str(path) for key, path in paths.items() if key == work))
    try:
        deadline_s = time.monotonic() + _OPEN_S
        while not is_at_work(home, process.pid):
            assert time.monotonic() < deadline_s
            assert process.poll() is None
        signal_s = time.monotonic()
        process.send_signal(signal.SIGTERM)
        _, output = process.communicate(timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        pytest.fail("the process does not exit")
    finally:
        process.kill()
    assert process.returncode == 0, output
    assert time.monotonic() - signal_s < _MAX_EXIT_S
    assert not psutil.pid_exists(process.pid)
