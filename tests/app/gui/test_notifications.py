from __future__ import annotations

import pytest
from PySide6.QtWidgets import QSystemTrayIcon, QWidget
from pytestqt.qtbot import QtBot

from app.gui.notifications import Notifications, is_worth_telling


@pytest.mark.parametrize(
    ("is_active", "lasted_s", "told"), [(False, 31.0, True), (True, 300.0, False), (False, 30.0, False)]
)
def test_only_of_what_took_long_while_nobody_looked(*, is_active: bool, lasted_s: float, told: bool) -> None:
    assert is_worth_telling(is_active=is_active, lasted_s=lasted_s) is told


def test_without_a_tray_the_window_asks_for_attention_and_nothing_warns(qtbot: QtBot) -> None:
    window = QWidget()
    qtbot.addWidget(window)
    notifications = Notifications(window)
    assert not QSystemTrayIcon.isSystemTrayAvailable()
    assert notifications.tell_ended("quickstart", "PASS", 60.0)
    assert not notifications.tell_ended("quickstart", "PASS", 2.0)


def test_a_window_in_front_needs_no_notice(qtbot: QtBot) -> None:
    window = QWidget()
    qtbot.addWidget(window)
    with qtbot.waitActive(window):
        window.show()
        window.activateWindow()
    assert not Notifications(window).tell_ended("quickstart", "PASS", 60.0)
