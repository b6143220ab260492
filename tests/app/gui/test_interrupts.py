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
def test_a_signal_closes_the_window_and_asks_nothing(
    qtbot: QtBot, look: ThemeController, number: signal.Signals
) -> None:
    """A run in progress goes on, as it does when the window crashes."""
    window = Window(Navigation(), look, open_settings())
    qtbot.addWidget(window)
    window.show_page("home")
    window.show()
    window.may_close = lambda: pytest.fail("it asks")
    handler = SignalHandler(window, window.close_without_question)
    try:
        with qtbot.waitSignal(window.closed):
            os.kill(os.getpid(), number)
        assert not window.isVisible()
    finally:
        handler.restore()
