from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import QPoint, QSettings, QSize, Qt
from PySide6.QtWidgets import QDockWidget, QMainWindow, QToolButton
from pytestqt.qtbot import QtBot

from app.gui.theme import ThemeController
from app.gui.window import NavigationRail, WindowState


def make_window(qtbot: QtBot, folder: Path) -> tuple[QMainWindow, QDockWidget, WindowState]:
    window = QMainWindow()
    qtbot.addWidget(window)
    dock = QDockWidget("Jobs", window)
    dock.setObjectName("dock-jobs")
    window.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, dock)
    state = WindowState(window, QSettings(str(folder / "window.ini"), QSettings.Format.IniFormat))
    return window, dock, state


def test_window_size_and_docks_are_restored(qtbot: QtBot, tmp_path: Path) -> None:
    window, dock, state = make_window(qtbot, tmp_path)
    state.restore()
    window.show()
    window.resize(777, 555)
    dock.hide()
    state.save()
    reopened, reopened_dock, restored = make_window(qtbot, tmp_path)
    restored.restore()
    reopened.show()
    assert reopened.size() == QSize(777, 555)
    assert reopened_dock.isHidden()
    restored.reset()
    assert not reopened_dock.isHidden()


def test_off_screen_window_is_restored_on_screen(qtbot: QtBot, tmp_path: Path) -> None:
    window, _, state = make_window(qtbot, tmp_path)
    state.restore()
    window.show()
    window.move(QPoint(50_000, 50_000))
    state.save()
    reopened, _, restored = make_window(qtbot, tmp_path)
    restored.restore()
    reopened.show()
    assert reopened.screen().availableGeometry().contains(reopened.frameGeometry().topLeft() + QPoint(10, 10))


def test_invalid_window_state_is_ignored(qtbot: QtBot, tmp_path: Path) -> None:
    (tmp_path / "window.ini").write_text("[window]\ngeometry=nonsense\nstate=nonsense\n")
    window, dock, state = make_window(qtbot, tmp_path)
    state.restore()
    window.show()
    assert window.width() > 300
    assert not dock.isHidden()


def test_saved_window_state_is_written_to_disk_immediately(qtbot: QtBot, tmp_path: Path) -> None:
    """A window that closes during other work has no further event to write the state in."""
    _, _, state = make_window(qtbot, tmp_path)
    state.save()
    assert b"geometry" in (tmp_path / "window.ini").read_bytes()


@pytest.fixture
def rail(qtbot: QtBot, theme: ThemeController) -> NavigationRail:
    rail = NavigationRail({"home": "Home", "run": "Run", "live": "Live"}, theme)
    qtbot.addWidget(rail)
    rail.set_current_page("home")
    rail.show()
    return rail


def list_buttons(rail: NavigationRail) -> list[QToolButton]:
    return rail.findChildren(QToolButton)


def test_navigation_icons_scale_with_the_text_size(rail: NavigationRail, theme: ThemeController) -> None:
    default_px = list_buttons(rail)[0].iconSize().height()
    theme.scale_text(2)
    try:
        assert list_buttons(rail)[0].iconSize().height() == pytest.approx(2 * default_px, abs=3)
    finally:
        theme.scale_text(1)


def test_arrow_keys_cycle_through_the_pages(rail: NavigationRail, qtbot: QtBot) -> None:
    selected_pages: list[str] = []
    rail.page_selected.connect(selected_pages.append)
    qtbot.keyClick(rail, Qt.Key.Key_Up)
    qtbot.keyClick(rail, Qt.Key.Key_Down)
    assert selected_pages == ["live", "home"]
