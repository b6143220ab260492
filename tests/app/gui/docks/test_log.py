from __future__ import annotations

from datetime import UTC, datetime

import pytest
from PySide6.QtGui import QGuiApplication
from PySide6.QtTest import QAbstractItemModelTester
from PySide6.QtWidgets import QMainWindow
from pytestqt.qtbot import QtBot

from app.gui.docks.log import LogDock, LogEntry, LogModel
from app.gui.navigation import Navigation, Notice


@pytest.fixture
def window(qtbot: QtBot) -> QMainWindow:
    window = QMainWindow()
    qtbot.addWidget(window)
    window.show()
    return window


@pytest.fixture
def dock(navigation: Navigation, window: QMainWindow) -> LogDock:
    return LogDock(navigation, window)


def list_texts(dock: LogDock) -> list[str]:
    model = dock.table.model()
    return [str(model.index(row, 2).data()) for row in range(model.rowCount())]


def test_log_dock_opens_once_at_the_first_warning(dock: LogDock, navigation: Navigation) -> None:
    navigation.notify("news", "copied")
    assert dock.isHidden()
    navigation.notify("warning", "the disk is low")
    assert dock.isVisible()
    dock.close()
    navigation.notify("error", "the disk is full")
    assert dock.isHidden()
    assert list_texts(dock) == ["copied", "the disk is low", "the disk is full"]


def test_log_shows_and_copies_entries_at_or_above_the_selected_severity(dock: LogDock, navigation: Navigation) -> None:
    QAbstractItemModelTester(dock.model, QAbstractItemModelTester.FailureReportingMode.Fatal, dock)
    navigation.notify("news", "copied")
    navigation.notice_emitted.emit(Notice("error", "It broke.", "A bug.", "Report it.", "Traceback: here"))
    dock.severity_box.setCurrentIndex(1)
    assert list_texts(dock) == ["It broke. A bug. Report it."]
    dock.copy()
    text = QGuiApplication.clipboard().text()
    assert "error: It broke. A bug. Report it.\nTraceback: here" in text
    assert "copied" not in text
    dock.severity_box.setCurrentIndex(0)
    dock.table.setCurrentIndex(dock.table.model().index(0, 0))
    dock.copy()
    assert QGuiApplication.clipboard().text().endswith("info: copied")


def test_log_stores_only_the_newest_entries() -> None:
    model = LogModel(max_entries=3)
    QAbstractItemModelTester(model, QAbstractItemModelTester.FailureReportingMode.Fatal, model)
    for number in range(5):
        model.add(LogEntry(datetime.now(UTC), Notice("news", str(number))))
    assert [entry.notice.summary for entry in model.entries] == ["2", "3", "4"]
