"""Driving a window as a person does: by what buttons say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QAbstractButton, QApplication, QWidget
from pytestqt.qtbot import QtBot

from app.gui.window import Window


def find_button(root: QWidget, text: str) -> QAbstractButton | None:
    """The visible and enabled one whose text begins so, mnemonics left out."""
    for one in root.findChildren(QAbstractButton):
        if one.isVisible() and one.isEnabled() and one.text().replace("&", "").startswith(text):
            return one
    return None


def press(qtbot: QtBot, root: QWidget, text: str, *, within_ms: int = 20_000) -> None:
    """Once it is there."""
    qtbot.waitUntil(lambda: find_button(root, text) is not None, timeout=within_ms)
    button = find_button(root, text)
    assert button is not None
    button.click()


def drop(window: Window, *paths: Path) -> str:
    """On the middle of the window, as from a file manager; what the window promised before it was let go."""
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
    middle = QPoint(window.width() // 2, window.height() // 2)
    nothing, left = Qt.KeyboardModifier.NoModifier, Qt.MouseButton.LeftButton
    entering = QDragEnterEvent(middle, Qt.DropAction.CopyAction, data, left, nothing)
    QApplication.sendEvent(window, entering)
    promise = window.drop_hint()
    if entering.isAccepted():
        letting_go = QDropEvent(QPointF(middle), Qt.DropAction.CopyAction, data, left, nothing)
        QApplication.sendEvent(window, letting_go)
    return promise


def press_key(window: Window, key: Qt.Key, modifier: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier) -> None:
    """To whatever has the focus."""
    QTest.keyClick(QApplication.focusWidget() or window, key, modifier)


def shows(window: Window, page: str) -> Callable[[], bool]:
    return lambda: window.pages.shown.key == page
