from __future__ import annotations

import sys

from PySide6.QtCore import QObject
from pytestqt.qtbot import QtBot

from app.gui.import_preloading import ImportPreloader


def test_what_the_first_run_needs_is_there_a_moment_later(qtbot: QtBot) -> None:
    owner = QObject()
    warming = ImportPreloader(owner)
    qtbot.waitUntil(lambda: "app.gui.run.page" in sys.modules and not warming.is_busy, timeout=30_000)
    assert {"pyqtgraph", "pandas", "app.gui.live.body"} <= set(sys.modules)
