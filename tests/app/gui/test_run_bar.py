from __future__ import annotations

from PySide6.QtWidgets import QToolBar
from pytestqt.qtbot import QtBot

from app.gui.live.state import LiveState
from app.gui.run_bar import RunBar
from app.gui.theme import Look


def test_a_badge_of_no_run_is_no_empty_box(qtbot: QtBot, look: Look) -> None:
    toolbar = QToolBar()
    qtbot.addWidget(toolbar)
    bar = RunBar(toolbar, look)
    toolbar.resize(900, 40)
    toolbar.show()
    qtbot.waitUntil(lambda: not bar.trust.isVisible())
    bar.show_state(LiveState(going="running", trust="WARN"))
    qtbot.waitUntil(bar.trust.isVisible)
    bar.show_state(LiveState(going="finished", trust="WARN"))
    qtbot.waitUntil(lambda: not bar.trust.isVisible())
