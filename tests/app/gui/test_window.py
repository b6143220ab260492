from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import QPoint, QSettings, QSize, Qt
from PySide6.QtWidgets import QDockWidget, QMainWindow, QToolButton
from pytestqt.qtbot import QtBot

from app.gui.theme import ThemeController
from app.gui.window import NavigationRail, WindowState


def window_with(qtbot: QtBot, folder: Path) -> tuple[QMainWindow, QDockWidget, WindowState]:
    window = QMainWindow()
    qtbot.addWidget(window)
    dock = QDockWidget("Jobs", window)
    dock.setObjectName("dock-jobs")
    window.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, dock)
    state = WindowState(window, QSettings(str(folder / "window.ini"), QSettings.Format.IniFormat))
    return window, dock, state


def test_size_and_docks_come_back(qtbot: QtBot, tmp_path: Path) -> None:
    window, dock, state = window_with(qtbot, tmp_path)
    state.restore()
    window.show()
    window.resize(777, 555)
    dock.hide()
    state.save()
    again, its_dock, restored = window_with(qtbot, tmp_path)
    restored.restore()
    again.show()
    assert again.size() == QSize(777, 555)
    assert its_dock.isHidden()
    restored.reset()
    assert not its_dock.isHidden()


def test_a_window_that_would_be_out_of_sight_comes_back_on_screen(qtbot: QtBot, tmp_path: Path) -> None:
    window, _, state = window_with(qtbot, tmp_path)
    state.restore()
    window.show()
    window.move(QPoint(50_000, 50_000))
    state.save()
    again, _, restored = window_with(qtbot, tmp_path)
    restored.restore()
    again.show()
    assert again.screen().availableGeometry().contains(again.frameGeometry().topLeft() + QPoint(10, 10))


def test_a_kept_state_that_means_nothing_is_left_alone(qtbot: QtBot, tmp_path: Path) -> None:
    (tmp_path / "window.ini").write_text("[window]\ngeometry=nonsense\nstate=nonsense\n")
    window, dock, state = window_with(qtbot, tmp_path)
    state.restore()
    window.show()
    assert window.width() > 300
    assert not dock.isHidden()


def test_it_is_on_disk_once_it_is_kept(qtbot: QtBot, tmp_path: Path) -> None:
    """A window that closes in the middle of some work has no further turn to write it in."""
    _, _, state = window_with(qtbot, tmp_path)
    state.save()
    assert b"geometry" in (tmp_path / "window.ini").read_bytes()


@pytest.fixture
def rail(qtbot: QtBot, look: ThemeController) -> NavigationRail:
    rail = NavigationRail({"home": "Home", "run": "Run", "live": "Live"}, look)
    qtbot.addWidget(rail)
    rail.set_current_page("home")
    rail.show()
    return rail


def buttons(rail: NavigationRail) -> list[QToolButton]:
    return rail.findChildren(QToolButton)


def test_icons_grow_with_the_text(rail: NavigationRail, look: ThemeController) -> None:
    usual = buttons(rail)[0].iconSize().height()
    look.scale_text(2)
    try:
        assert buttons(rail)[0].iconSize().height() == pytest.approx(2 * usual, abs=3)
    finally:
        look.scale_text(1)


def test_the_arrows_go_round_the_pages(rail: NavigationRail, qtbot: QtBot) -> None:
    chosen: list[str] = []
    rail.page_selected.connect(chosen.append)
    qtbot.keyClick(rail, Qt.Key.Key_Up)
    qtbot.keyClick(rail, Qt.Key.Key_Down)
    assert chosen == ["live", "home"]
