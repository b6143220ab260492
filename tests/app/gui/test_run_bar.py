from __future__ import annotations

from PySide6.QtWidgets import QToolBar
from pytestqt.qtbot import QtBot

from app.gui.live.state import LiveState
from app.gui.run_bar import RunBar
from app.gui.theme import ThemeController


def test_validity_badge_of_the_run_bar_is_visible_only_during_a_run(qtbot: QtBot, theme: ThemeController) -> None:
    toolbar = QToolBar()
    qtbot.addWidget(toolbar)
    bar = RunBar(toolbar, theme)
    toolbar.resize(900, 40)
    toolbar.show()
    qtbot.waitUntil(lambda: not bar.validity.isVisible())
    bar.show_state(LiveState(status="running", validity="WARN"))
    qtbot.waitUntil(bar.validity.isVisible)
    bar.show_state(LiveState(status="finished", validity="WARN"))
    qtbot.waitUntil(lambda: not bar.validity.isVisible())
