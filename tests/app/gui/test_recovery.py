from __future__ import annotations

import os
from pathlib import Path

import pytest
from PySide6.QtCore import QSettings
from PySide6.QtWidgets import QWidget
from pytestqt.qtbot import QtBot

from app.gui.navigation import Navigation
from app.gui.recovery import Recovery
from app.gui.settings import open_settings
from app.storage.run_directory import runs_home
from tests.fakes.stored_runs import cut_short, going_on, stored_run


@pytest.fixture
def settings() -> QSettings:
    return open_settings()


@pytest.fixture
def cut() -> Path:
    runs_home().mkdir(parents=True)
    return cut_short(stored_run(runs_home() / "cut"), 1).directory


def looked(qtbot: QtBot, navigation: Navigation, settings: QSettings, owner: QWidget) -> Recovery:
    recovery = Recovery(navigation, settings, owner)
    with qtbot.waitSignal(recovery.found):
        recovery.look()
    return recovery


def names(recovery: Recovery) -> list[str]:
    return [one.directory.name for one in recovery.unfinished]


def test_a_run_that_goes_on_stands_before_one_cut_short(
    qtbot: QtBot, navigation: Navigation, settings: QSettings, owner: QWidget, cut: Path
) -> None:
    running = going_on(runs_home() / "a-running", os.getpid())
    recovery = looked(qtbot, navigation, settings, owner)
    assert names(recovery) == ["a-running", cut.name]
    with qtbot.waitSignal(navigation.run_watched) as watched:
        recovery.attach(running)
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
    with qtbot.waitSignal(navigation.run_opened) as opened:
        recovery.see(cut)
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
    with qtbot.waitSignal(recovery.found):
        recovery.undo_discard(discarded.args[0])
    assert cut.is_dir()
    assert names(recovery) == [cut.name]


def test_a_run_of_this_window_is_no_find(
    qtbot: QtBot, navigation: Navigation, settings: QSettings, owner: QWidget, cut: Path
) -> None:
    recovery = Recovery(navigation, settings, owner)
    recovery.leave_out(cut)
    with qtbot.waitSignal(recovery.found):
        recovery.look()
    assert names(recovery) == []
