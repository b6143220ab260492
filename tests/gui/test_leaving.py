"""The window is closed while something is worked on: its process goes at once, and by itself."""

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

_MOST_S, _HUNG_S, _OPEN_S = 6.0, 20.0, 60.0
"""A page that is being made, as slowly as a busy machine makes it, is finished first."""


def is_open(home: Path, _: int) -> bool:
    return (home / "window.lock").exists()


def looks_into_the_model(_: Path, pid: int) -> bool:
    return bool(psutil.Process(pid).children())


@pytest.mark.parametrize(
    ("what", "is_at_work"),
    [
        pytest.param("nothing", is_open, marks=pytest.mark.soak),
        pytest.param("run", is_open, marks=pytest.mark.soak),
        pytest.param("plan", is_open, marks=pytest.mark.timing),
        pytest.param("model", looks_into_the_model, marks=pytest.mark.timing),
    ],
)
def test_a_window_closed_in_the_middle_of_it_leaves_at_once(
    home: Path, tmp_path: Path, what: str, is_at_work: Callable[[Path, int], bool]
) -> None:
    run = stored_run(home / "runs" / "stored").directory
    opened = {"run": run, "plan": run.parent, "model": bundled_models()["digits"]}
    process = Sizewise(home, tmp_path).start("gui", *(str(path) for key, path in opened.items() if key == what))
    try:
        until_s = time.monotonic() + _OPEN_S
        while not is_at_work(home, process.pid):
            assert time.monotonic() < until_s
            assert process.poll() is None
        began_s = time.monotonic()
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=_HUNG_S)
    except subprocess.TimeoutExpired:
        pytest.fail("it hangs")
    finally:
        process.kill()
    assert process.returncode == 0, said
    assert time.monotonic() - began_s < _MOST_S
    assert not psutil.pid_exists(process.pid)
