from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from PySide6.QtCore import QSettings
from PySide6.QtWidgets import QWidget
from pytestqt.qtbot import QtBot

from app.gui.engine.launch import start_engine
from app.gui.navigation import Launch, Navigation
from app.gui.recovery import Recovery
from app.gui.settings import open_settings
from app.records.events import StageFinished
from app.storage.following import RunFollower
from app.storage.run_directory import EVENTS, StoredRun, runs_home
from tests.fakes.program import wait_until
from tests.fakes.stored_runs import cut_short, going_on, journaled_again, stored_run


@pytest.fixture
def settings() -> QSettings:
    return open_settings()


@pytest.fixture
def cut() -> Path:
    runs_home().mkdir(parents=True)
    return cut_short(stored_run(runs_home() / "cut"), 1).directory


def looked(qtbot: QtBot, navigation: Navigation, settings: QSettings, owner: QWidget) -> Recovery:
    recovery = Recovery(navigation, settings, owner)
    with qtbot.waitSignal(recovery.unfinished_runs_changed):
        recovery.refresh()
    return recovery


def names(recovery: Recovery) -> list[str]:
    return [one.directory.name for one in recovery.unfinished_runs]


def test_a_run_that_goes_on_stands_before_one_cut_short(
    qtbot: QtBot, navigation: Navigation, settings: QSettings, owner: QWidget, cut: Path
) -> None:
    running = going_on(runs_home() / "a-running", os.getpid())
    recovery = looked(qtbot, navigation, settings, owner)
    assert names(recovery) == ["a-running", cut.name]
    with qtbot.waitSignal(navigation.watch_run_requested) as watched:
        recovery.watch(running)
    assert watched.args == [running]
    assert names(recovery) == [cut.name]


def test_what_was_dismissed_is_remembered(
    qtbot: QtBot, navigation: Navigation, settings: QSettings, owner: QWidget, cut: Path
) -> None:
    looked(qtbot, navigation, settings, owner).dismiss(cut)
    settings.sync()
    assert names(looked(qtbot, navigation, open_settings(), owner)) == []
    assert cut.is_dir()


def test_what_was_measured_is_opened_and_not_asked_about_again(
    qtbot: QtBot, navigation: Navigation, settings: QSettings, owner: QWidget, cut: Path
) -> None:
    recovery = looked(qtbot, navigation, settings, owner)
    with qtbot.waitSignal(navigation.open_run_requested) as opened:
        recovery.open_results(cut)
    assert opened.args == [cut]
    assert names(looked(qtbot, navigation, settings, owner)) == []


def test_what_is_discarded_comes_back(
    qtbot: QtBot, navigation: Navigation, settings: QSettings, owner: QWidget, cut: Path
) -> None:
    recovery = looked(qtbot, navigation, settings, owner)
    with qtbot.waitSignal(recovery.discarded) as discarded:
        recovery.discard(cut)
    assert not cut.exists()
    assert names(recovery) == []
    with qtbot.waitSignal(recovery.unfinished_runs_changed):
        recovery.undo_discard(discarded.args[0])
    assert cut.is_dir()
    assert names(recovery) == [cut.name]


def test_a_run_of_this_window_is_no_find(
    qtbot: QtBot, navigation: Navigation, settings: QSettings, owner: QWidget, cut: Path
) -> None:
    recovery = Recovery(navigation, settings, owner)
    recovery.exclude(cut)
    with qtbot.waitSignal(recovery.unfinished_runs_changed):
        recovery.refresh()
    assert names(recovery) == []


TWO_STAGES = """sizewise: 1
name: resumed
target: {protocol: http, scripted: {delay: 5ms}}
workload: {body: {a: 1}}
load:
  warmup: 0s
  stages:
  - {name: a, arrivals: constant, rate: 50/s, duration: 1s}
  - {name: b, arrivals: constant, rate: 50/s, duration: 2s}
"""


def test_a_killed_run_goes_on_by_a_click_and_is_watched(
    qtbot: QtBot, navigation: Navigation, settings: QSettings, owner: QWidget, home: Path, tmp_path: Path
) -> None:
    (tmp_path / "p.yaml").write_text(TWO_STAGES)
    engine = start_engine(Launch(("run", str(tmp_path / "p.yaml")), home / "runs" / "killed", "resumed"))
    follower = RunFollower(engine.directory)
    wait_until(lambda: isinstance(follower.read_next(), StageFinished))
    os.kill(engine.pid, signal.SIGKILL)
    wait_until(lambda: engine.poll() is not None)
    recovery = looked(qtbot, navigation, settings, owner)
    recovery.is_measuring = lambda: True
    with qtbot.waitSignal(navigation.notice_emitted) as reported:
        recovery.resume(engine.directory)
    assert reported.args is not None
    assert reported.args[0].summary == "Another run is in progress."
    recovery.is_measuring = lambda: False
    with qtbot.waitSignal(navigation.watch_run_requested, timeout=60_000) as watched:
        recovery.resume(engine.directory)
    assert watched.args == [engine.directory]
    assert names(recovery) == []
    stored = StoredRun(engine.directory)
    wait_until(lambda: stored.is_complete)
    assert [(stage.name, stage.completed) for stage in stored.complete_result.stages] == [("a", 50), ("b", 100)]


def test_a_run_that_cannot_be_resumed_says_why_and_is_offered_again(
    qtbot: QtBot, navigation: Navigation, settings: QSettings, owner: QWidget, cut: Path
) -> None:
    (cut / EVENTS).write_bytes((cut / EVENTS).read_bytes()[:300])
    journaled_again(cut)
    recovery = looked(qtbot, navigation, settings, owner)
    with qtbot.waitSignal(navigation.notice_emitted, timeout=60_000) as reported:
        recovery.resume(cut)
    assert reported.args is not None
    notice = reported.args[0]
    assert notice.summary == "Run cut was not resumed."
    assert "interrupted before" in notice.reason
    qtbot.waitUntil(lambda: names(recovery) == [cut.name])
