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
from tests.fakes.stored_runs import rewrite_journal, stored_run, truncate_run, unfinished_run


@pytest.fixture
def settings() -> QSettings:
    return open_settings()


@pytest.fixture
def interrupted_run() -> Path:
    runs_home().mkdir(parents=True)
    return truncate_run(stored_run(runs_home() / "cut"), 1).directory


def refresh_recovery(qtbot: QtBot, navigation: Navigation, settings: QSettings, owner: QWidget) -> Recovery:
    recovery = Recovery(navigation, settings, owner)
    with qtbot.waitSignal(recovery.unfinished_runs_changed):
        recovery.refresh()
    return recovery


def list_names(recovery: Recovery) -> list[str]:
    return [run.directory.name for run in recovery.unfinished_runs]


def test_unfinished_runs_list_running_runs_before_interrupted_runs(
    qtbot: QtBot, navigation: Navigation, settings: QSettings, owner: QWidget, interrupted_run: Path
) -> None:
    running = unfinished_run(runs_home() / "a-running", os.getpid())
    recovery = refresh_recovery(qtbot, navigation, settings, owner)
    assert list_names(recovery) == ["a-running", interrupted_run.name]
    with qtbot.waitSignal(navigation.watch_run_requested) as watched:
        recovery.watch(running)
    assert watched.args == [running]
    assert list_names(recovery) == [interrupted_run.name]


def test_dismissed_interrupted_run_is_not_offered_again(
    qtbot: QtBot, navigation: Navigation, settings: QSettings, owner: QWidget, interrupted_run: Path
) -> None:
    refresh_recovery(qtbot, navigation, settings, owner).dismiss(interrupted_run)
    settings.sync()
    assert list_names(refresh_recovery(qtbot, navigation, open_settings(), owner)) == []
    assert interrupted_run.is_dir()


def test_interrupted_run_with_opened_results_is_not_offered_again(
    qtbot: QtBot, navigation: Navigation, settings: QSettings, owner: QWidget, interrupted_run: Path
) -> None:
    recovery = refresh_recovery(qtbot, navigation, settings, owner)
    with qtbot.waitSignal(navigation.open_run_requested) as opened:
        recovery.open_results(interrupted_run)
    assert opened.args == [interrupted_run]
    assert list_names(refresh_recovery(qtbot, navigation, settings, owner)) == []


def test_discarded_interrupted_run_is_restored_by_undo(
    qtbot: QtBot, navigation: Navigation, settings: QSettings, owner: QWidget, interrupted_run: Path
) -> None:
    recovery = refresh_recovery(qtbot, navigation, settings, owner)
    with qtbot.waitSignal(recovery.discarded) as discarded:
        recovery.discard(interrupted_run)
    assert not interrupted_run.exists()
    assert list_names(recovery) == []
    with qtbot.waitSignal(recovery.unfinished_runs_changed):
        recovery.undo_discard(discarded.args[0])
    assert interrupted_run.is_dir()
    assert list_names(recovery) == [interrupted_run.name]


def test_excluded_run_is_not_listed_as_an_unfinished_run(
    qtbot: QtBot, navigation: Navigation, settings: QSettings, owner: QWidget, interrupted_run: Path
) -> None:
    recovery = Recovery(navigation, settings, owner)
    recovery.exclude(interrupted_run)
    with qtbot.waitSignal(recovery.unfinished_runs_changed):
        recovery.refresh()
    assert list_names(recovery) == []


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


def test_killed_run_is_resumed_and_watched(
    qtbot: QtBot, navigation: Navigation, settings: QSettings, owner: QWidget, home: Path, tmp_path: Path
) -> None:
    (tmp_path / "p.yaml").write_text(TWO_STAGES)
    engine = start_engine(Launch(("run", str(tmp_path / "p.yaml")), home / "runs" / "killed", "resumed"))
    follower = RunFollower(engine.directory)
    wait_until(lambda: isinstance(follower.read_next(), StageFinished))
    os.kill(engine.pid, signal.SIGKILL)
    wait_until(lambda: engine.poll() is not None)
    recovery = refresh_recovery(qtbot, navigation, settings, owner)
    recovery.is_measuring = lambda: True
    with qtbot.waitSignal(navigation.notice_emitted) as notices:
        recovery.resume(engine.directory)
    assert notices.args is not None
    assert notices.args[0].summary == "Another run is in progress."
    recovery.is_measuring = lambda: False
    with qtbot.waitSignal(navigation.watch_run_requested, timeout=60_000) as watched:
        recovery.resume(engine.directory)
    assert watched.args == [engine.directory]
    assert list_names(recovery) == []
    stored = StoredRun(engine.directory)
    wait_until(lambda: stored.is_complete)
    assert [(stage.name, stage.completed) for stage in stored.complete_result.stages] == [("a", 50), ("b", 100)]


def test_interrupted_run_that_cannot_be_resumed_is_reported_and_offered_again(
    qtbot: QtBot, navigation: Navigation, settings: QSettings, owner: QWidget, interrupted_run: Path
) -> None:
    (interrupted_run / EVENTS).write_bytes((interrupted_run / EVENTS).read_bytes()[:300])
    rewrite_journal(interrupted_run)
    recovery = refresh_recovery(qtbot, navigation, settings, owner)
    with qtbot.waitSignal(navigation.notice_emitted, timeout=60_000) as notices:
        recovery.resume(interrupted_run)
    assert notices.args is not None
    notice = notices.args[0]
    assert notice.summary == "Run cut was not resumed."
    assert "interrupted before" in notice.reason
    qtbot.waitUntil(lambda: list_names(recovery) == [interrupted_run.name])
