from __future__ import annotations

from PySide6.QtWidgets import QVBoxLayout, QWidget
from pytestqt.qtbot import QtBot

from app.gui.theme import Look
from app.gui.widgets import Badge


def test_a_badge_is_seen_where_it_says_something_and_is_never_a_window(qtbot: QtBot, look: Look) -> None:
    del look
    page = QWidget()
    qtbot.addWidget(page)
    layout = QVBoxLayout(page)
    said, silent = Badge("WARN", "too few"), Badge()
    assert not said.isVisible()
    for badge in (said, silent):
        layout.addWidget(badge)
    page.show()
    assert (said.isVisible(), silent.isVisible()) == (True, False)
    late = Badge()
    layout.addWidget(late)
    late.say("VALID")
    said.say("")
    assert (said.isVisible(), late.isVisible()) == (False, True)
    early = Badge()
    early.say("INVALID")
    layout.addWidget(early)
    assert early.isVisible()
