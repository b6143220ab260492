from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import QUrl
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QMessageBox, QWidget
from pytestqt.qtbot import QtBot

from app import __version__
from app.gui.crash_log import LAST_LOG
from app.gui.help import list_versions, open_crash_log_folder, show_about


def test_about_box_shows_versions_and_license(qtbot: QtBot) -> None:
    parent = QWidget()
    qtbot.addWidget(parent)
    show_about(parent)
    (box,) = parent.findChildren(QMessageBox)
    assert box.text() == f"Sizewise {__version__}"
    assert box.informativeText().splitlines()[-1] == "License: Apache-2.0"
    assert any(line.startswith("PySide6 6.") for line in list_versions())
    box.close()


def test_problem_report_opens_the_folder_of_the_crash_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[QUrl] = []
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))
    monkeypatch.setattr(QDesktopServices, "openUrl", opened.append)
    notice = open_crash_log_folder()
    assert [url.toLocalFile() for url in opened] == [str(tmp_path)]
    assert notice.reason is not None
    assert str(tmp_path / LAST_LOG) in notice.reason
    assert notice.details is not None
    assert f"Sizewise {__version__}" in notice.details
