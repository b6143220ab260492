from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from PySide6.QtCore import QObject
from pytestqt.qtbot import QtBot

from app.gui.engine.launch import EngineProcess
from app.gui.engine.reaper import Reaper


def test_unwatched_process_is_reaped_after_its_exit(tmp_path: Path, qtbot: QtBot) -> None:
    parent = QObject()
    reaper = Reaper(parent)
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    reaper.add(EngineProcess(tmp_path, process))
    assert len(reaper) == 1
    assert process.stdin is not None
    process.stdin.close()
    qtbot.waitUntil(lambda: len(reaper) == 0)
    assert process.returncode is not None
