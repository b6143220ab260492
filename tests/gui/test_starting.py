"""Starts the window on a busy machine, so that its threads run in many orders."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.golden_runs import golden_run

_STARTS, _BUSY_LOOPS, _START_S = 30, 4, 120.0
_CHILD = """
import sys, traceback
from PySide6.QtCore import QThreadPool, QTimer
from app.gui import import_preloading, main, navigation

build_error_notice = navigation.build_error_notice

def build_and_print(error):
    traceback.print_exception(error)
    return build_error_notice(error)

class Preloader(import_preloading.ImportPreloader):
    def __init__(self, window):
        super().__init__(window)
        timer = QTimer(window, interval=20)
        def leave_when_loaded():
            if not self.is_busy and not QThreadPool.globalInstance().activeThreadCount():
                timer.stop()
                window.close_without_question()
        timer.timeout.connect(leave_when_loaded)
        timer.start()

navigation.build_error_notice = build_and_print
import_preloading.ImportPreloader = Preloader
sys.exit(main.open_window(()))
"""


@pytest.fixture
def busy_cores() -> Iterator[None]:
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(_BUSY_LOOPS)]
    yield
    for loop in loops:
        loop.kill()
        loop.wait()


@pytest.mark.process
@pytest.mark.soak
@pytest.mark.timeout(_STARTS * _START_S)
@pytest.mark.usefixtures("busy_cores")
def test_thirty_window_starts_on_a_busy_machine_end_without_an_error(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    for name in ("search", "killed"):
        golden_run(name, tmp_path / "runs")
    environment = os.environ | {"SIZEWISE_HOME": str(tmp_path), "QT_QPA_PLATFORM": "offscreen"}
    for number in range(_STARTS):
        process = subprocess.run(
            [sys.executable, "-X", "faulthandler", "-W", "error", "-c", _CHILD],
            env=environment, capture_output=True, text=True, timeout=_START_S, check=False,
        )  # fmt: skip
        error_lines = [
            line for line in process.stderr.splitlines() if not line.startswith("This plugin does not support ")
        ]
        assert (process.returncode, error_lines) == (0, []), f"start {number}"
