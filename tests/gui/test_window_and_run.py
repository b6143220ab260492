"""A run survives its window, and a window survives its benchmark process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication, QDialog
from pytestqt.qtbot import QtBot

from app.gui.navigation import Launch
from app.gui.window import Window
from app.records.events import RunStarted
from app.storage.run_directory import StoredRun
from loadgen.reference.script import Script
from loadgen.reference.scripted import ScriptedServer
from tests.fakes.processes import is_running
from tests.fakes.program import write_profile
from tests.fakes.window_actions import is_page_shown, press

OpenWindow = Callable[[], Window]
_PATIENCE_MS = 40_000


@pytest.fixture
def endpoint() -> Iterator[str]:
    with ScriptedServer(Script(delay_s=0.005)) as server:
        yield server.url


def make_launch(home: Path, profile: str) -> Launch:
    return Launch(("run", profile), home / "runs" / "20261127-120000-test-0001", "test")


def read_pid(directory: Path) -> int:
    return next(event.pid for event in StoredRun(directory).events() if isinstance(event, RunStarted))


def is_sending(directory: Path) -> bool:
    events = directory / "events.jsonl"
    return events.exists() and '"snapshot"' in events.read_text()


def has_finished_a_stage(directory: Path) -> bool:
    events = directory / "events.jsonl"
    return events.exists() and '"stage_finished"' in events.read_text()


def press_on_close(text: str) -> None:
    """Press a button of the closing confirmation when it opens."""

    def press_button() -> None:
        dialog = QApplication.activeModalWidget()
        assert isinstance(dialog, QDialog)
        from tests.fakes.window_actions import find_button

        button = find_button(dialog, text)
        assert button is not None
        button.click()

    QTimer.singleShot(0, press_button)


def test_closed_window_leaves_the_run_running_and_the_next_window_attaches(
    open_window: OpenWindow, home: Path, endpoint: str, tmp_path: Path, qtbot: QtBot
) -> None:
    launch = make_launch(home, write_profile(tmp_path, endpoint, rate="50/s", duration="60s"))
    first = open_window()
    first.navigation.launch_requested.emit(launch)
    qtbot.waitUntil(lambda: is_sending(launch.directory), timeout=_PATIENCE_MS)
    pid = read_pid(launch.directory)
    press_on_close("Cancel")
    assert not first.close()
    press_on_close("Leave running")
    assert first.close()
    assert is_running(pid)
    second = open_window()
    qtbot.waitUntil(lambda: "is still running" in second.strip.text(), timeout=_PATIENCE_MS)
    second.show_page("live")
    qtbot.waitUntil(lambda: second.pages.live.state.status == "running", timeout=_PATIENCE_MS)
    second.pages.live.stop()
    second.pages.live.stop()
    qtbot.waitUntil(lambda: second.pages.live.state.status == "finished", timeout=_PATIENCE_MS)
    assert (launch.directory / "report.html").exists()
    assert [cause.id for cause in StoredRun(launch.directory).complete_result.exit.causes] == ["interrupted"]


_CRASHING = """
import os, sys
from pathlib import Path
from PySide6.QtCore import QTimer
from app.gui.main import prepare
from app.gui.navigation import Launch
application, window, parts = prepare()
window.show()
window.navigation.launch_requested.emit(Launch(("run", sys.argv[1]), Path(sys.argv[2]), "test"))
def look():
    if window.pages.live.state.completed_count or window.pages.live.state.status == "running":
        os.kill(os.getpid(), 9)
timer = QTimer(interval=50)
timer.timeout.connect(look)
timer.start()
QTimer.singleShot(60_000, application.quit)
application.exec()
"""


def test_killed_window_leaves_the_run_running_until_its_end(
    home: Path, endpoint: str, tmp_path: Path, qtbot: QtBot
) -> None:
    launch = make_launch(home, write_profile(tmp_path, endpoint, duration="2s"))
    process = subprocess.run(
        [sys.executable, "-c", _CRASHING, launch.arguments[1], str(launch.directory)],
        env=os.environ | {"QT_QPA_PLATFORM": "offscreen"}, capture_output=True, timeout=90, check=False,
    )  # fmt: skip
    assert process.returncode == -signal.SIGKILL, process.stderr
    qtbot.waitUntil(lambda: (launch.directory / "result.json").exists(), timeout=_PATIENCE_MS)
    qtbot.waitUntil(lambda: StoredRun(launch.directory).is_complete, timeout=_PATIENCE_MS)
    assert StoredRun(launch.directory).complete_result.stages


def test_killed_benchmark_process_is_reported_and_partial_results_open(
    open_window: OpenWindow, home: Path, endpoint: str, tmp_path: Path, qtbot: QtBot
) -> None:
    profile = Path(write_profile(tmp_path, endpoint, rate="50/s", duration="1s"))
    longer = "{name: long, arrivals: constant, rate: 50/s, duration: 60s}"
    profile.write_text(profile.read_text().replace("duration: 1s}]", f"duration: 1s}}, {longer}]"))
    launch = make_launch(home, str(profile))
    window = open_window()
    window.navigation.launch_requested.emit(launch)
    qtbot.waitUntil(lambda: has_finished_a_stage(launch.directory), timeout=_PATIENCE_MS)
    os.kill(read_pid(launch.directory), signal.SIGKILL)
    qtbot.waitUntil(lambda: window.pages.live.state.status == "lost", timeout=_PATIENCE_MS)
    window.close()
    second = open_window()
    press(qtbot, second.pages.page("home"), "Show results so far")
    qtbot.waitUntil(is_page_shown(second, "results"))
    qtbot.waitUntil(lambda: "--recover" in (second.pages.results.command_line() or ""), timeout=_PATIENCE_MS)


@pytest.mark.soak  # test_launching.py stops a run on closing that another page than the shown one watches
def test_running_run_is_stopped_on_closing_while_another_run_is_shown(
    open_window: OpenWindow, library_runs: tuple[Path, ...], home: Path, endpoint: str, tmp_path: Path, qtbot: QtBot
) -> None:
    launch = make_launch(home, write_profile(tmp_path, endpoint, rate="50/s", duration="60s"))
    window = open_window()
    window.navigation.launch_requested.emit(launch)
    qtbot.waitUntil(lambda: is_sending(launch.directory), timeout=_PATIENCE_MS)
    window.navigation.watch_run_requested.emit(library_runs[0])
    qtbot.waitUntil(lambda: window.pages.live.state.status == "finished", timeout=_PATIENCE_MS)
    press_on_close("Stop run")
    assert window.close()
    qtbot.waitUntil(lambda: StoredRun(launch.directory).is_complete, timeout=_PATIENCE_MS)
    assert [cause.id for cause in StoredRun(launch.directory).complete_result.exit.causes] == ["interrupted"]
