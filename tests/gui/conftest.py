"""Window tests use real widgets and runs of the benchmark process: offscreen, or with QT_QPA_PLATFORM=xcb on the X
server of DISPLAY."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6.QtCore import QCoreApplication, QEvent
from PySide6.QtWidgets import QApplication

from app.gui.assembly import assemble
from app.gui.window import Window
from tests.fakes.program import SizewiseInProcess
from tests.fakes.window import PatientBot, assert_nothing_is_left, start_engines_without_charts, theme_of

PROFILE = """sizewise: 1
name: {name}
target:
  protocol: http
  scripted: {{delay: {delay}, spread: 0.3, parallel: 8}}
workload: {{body: {{features: [0.1, 0.2]}}}}
load:
  warmup: 0s
  stages:
    - {{name: low, arrivals: poisson, rate: 100/s, duration: 1s}}
    - {{name: high, arrivals: poisson, rate: 200/s, duration: 1s}}
slo: ["latency_ms.p95 < 200", "error_rate < 1%"]
traffic: {{peak: 900/s, shape: workday}}
plan: {{confidence: 90%, redundancy: n+1}}
"""


@pytest.fixture
def qtbot(qapp: QApplication, request: pytest.FixtureRequest) -> QtBot:
    return PatientBot(request)


@pytest.fixture(scope="session")
def measured_runs(calibrated_home: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    """Two runs of one profile, the second slightly slower; the verdict of each depends on how busy the machine is."""
    folder, run_directories = tmp_path_factory.mktemp("runs"), []
    for name, delay in (("first", "5ms"), ("second", "6ms")):
        profile = folder / f"{name}.yaml"
        profile.write_text(PROFILE.format(name="window-test", delay=delay))
        process = SizewiseInProcess(calibrated_home, folder, draws=False)(
            "run", str(profile), "--out", str(folder / name)
        )
        assert process.returncode in (0, 4, 10), process.stderr
        run_directories.append(folder / name)
    return tuple(run_directories)


@pytest.fixture
def home(tmp_path: Path, calibrated_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `SIZEWISE_HOME` with a calibration and without runs."""
    folder = tmp_path / "home"
    folder.mkdir()
    shutil.copy(calibrated_home / "calibration.json", folder)
    monkeypatch.setenv("SIZEWISE_HOME", str(folder))
    start_engines_without_charts(monkeypatch)
    return folder


@pytest.fixture
def library_runs(home: Path, measured_runs: tuple[Path, ...]) -> tuple[Path, ...]:
    """Copies of the measured runs in the Library."""
    return tuple(shutil.copytree(run, home / "runs" / f"20261127-12000{index}-window-test-{index:04x}")
                 for index, run in enumerate(measured_runs))  # fmt: skip


@pytest.fixture
def open_window(qtbot: QtBot, qapp: QApplication, home: Path) -> Iterator[Callable[[], Window]]:
    """Open windows as `sizewise gui` does. They are closed after the test, which fails if a thread is left."""
    windows: list[Window] = []

    def open_assembled_window() -> Window:
        window, _ = assemble(qapp)
        windows.append(window)
        with qtbot.waitActive(window):
            window.show()
            window.activateWindow()  # an X server without a window manager does not do this
        return window

    theme_of(qapp).set_choice("light")
    theme_of(qapp).scale_text(1)
    with assert_nothing_is_left():
        yield open_assembled_window
        for window in windows:
            window.may_close = None
            window.close()
            window.deleteLater()
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
