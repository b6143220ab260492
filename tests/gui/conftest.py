from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6.QtWidgets import QApplication

from app.gui.navigation import Navigation
from app.gui.theme import Look
from tests.fakes.window import leaving_nothing, look_of


@pytest.fixture(autouse=True)
def nothing_is_left(qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No thread, no work and no process outlives a test, and no test reads the user's own settings or runs."""
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path / "home"))
    with leaving_nothing():
        yield


@pytest.fixture
def look(qapp: QApplication) -> Look:
    return look_of(qapp)


@pytest.fixture
def navigation(qapp: QApplication) -> Navigation:
    return Navigation()
