from __future__ import annotations

from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from app.gui.results.tabs.details import ProfileTab
from tests.fakes.window import look_of


def test_profile_tab_follows_the_text_size_in_a_monospace_font(qtbot: QtBot, qapp: QApplication) -> None:
    look = look_of(qapp)
    tab = ProfileTab()
    qtbot.addWidget(tab)
    tab.show()
    qtbot.waitUntil(lambda: tab.text.font().pointSizeF() == qapp.font().pointSizeF())
    look.scale_text(2.0)
    try:
        qtbot.waitUntil(lambda: tab.text.font().pointSizeF() == qapp.font().pointSizeF())
        assert tab.text.font().families() != qapp.font().families()
    finally:
        look.scale_text(1.0)
