from __future__ import annotations

import os
import signal

import pytest
from pytestqt.qtbot import QtBot

from app.gui.interrupts import SignalHandler
from app.gui.navigation import Navigation
from app.gui.settings import open_settings
from app.gui.theme import ThemeController
from app.gui.window import Window


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_closes_the_window_without_confirmation(
    qtbot: QtBot, theme: ThemeController, number: signal.Signals
) -> None:
    """A run in progress continues, as after a crash of the window."""
    window = Window(Navigation(), theme, open_settings())
    qtbot.addWidget(window)
    window.show_page("home")
    window.show()
    window.may_close = lambda: pytest.fail("a confirmation was requested")
    handler = SignalHandler(window, window.close_without_question)
    try:
        with qtbot.waitSignal(window.closed):
            os.kill(os.getpid(), number)
        assert not window.isVisible()
    finally:
        handler.restore()
