"""Driving a window as a person does: by what buttons say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from PySide6.QtCore import QEvent, QMimeData, QObject, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QDragEnterEvent, QDropEvent, QKeyEvent, QMouseEvent, QWindow
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QAbstractButton, QApplication, QLabel, QLineEdit, QWidget
from pytestqt.qtbot import QtBot

from app.gui.widgets import Badge
from app.gui.window import Window
from app.storage.run_directory import StoredRun

Found = TypeVar("Found", bound=QWidget)


def find_button(root: QWidget, text: str) -> QAbstractButton | None:
    """The visible and enabled one whose text begins so, mnemonics left out."""
    for one in root.findChildren(QAbstractButton):
        name = one.text().replace("&", "") or one.accessibleName()
        if one.isVisible() and one.isEnabled() and name.startswith(text):
            return one
    return None


def press(qtbot: QtBot, root: QWidget, text: str) -> None:
    """Once it is there."""
    qtbot.waitUntil(lambda: find_button(root, text) is not None)
    button = find_button(root, text)
    assert button is not None
    button.click()


class HandCounter(QObject):
    """Counts the clicks and the keys that the application receives, whoever sends them, until it ends.

    A click that several widgets see, because the first did not handle it, has one time stamp.
    """

    def __init__(self) -> None:
        super().__init__()
        self._pressed_at: set[int] = set()
        self.typed = ""

    @property
    def clicks(self) -> int:
        return len(self._pressed_at)

    def __enter__(self) -> HandCounter:
        QApplication.instance().installEventFilter(self)  # type: ignore[union-attr]
        return self

    def __exit__(self, *_: object) -> None:
        QApplication.instance().removeEventFilter(self)  # type: ignore[union-attr]

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - of Qt
        if event.type() == QEvent.Type.MouseButtonPress and isinstance(event, QMouseEvent):
            self._pressed_at.add(event.timestamp())
        elif event.type() == QEvent.Type.KeyPress and isinstance(event, QKeyEvent) and isinstance(watched, QWindow):
            self.typed += event.text()
        return False


def click(qtbot: QtBot, root: QWidget, text: str) -> None:
    """With the mouse, on the middle of the button of that text, which must be in sight."""
    qtbot.waitUntil(lambda: find_button(root, text) is not None)
    button = find_button(root, text)
    assert button is not None
    middle = button.rect().center()
    assert button.visibleRegion().contains(middle), f"{text} is not in sight"
    place = button.mapTo(button.window(), middle)
    assert button.window().childAt(place) in (button, None), f"something is in front of {text}"
    window = button.window().windowHandle()
    assert window is not None
    QTest.mouseClick(window, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, place)


def type_in(window: Window, text: str) -> None:
    """To whatever has the focus, one key after another."""
    handle = window.windowHandle()
    assert handle is not None
    for character in text:
        QTest.keyClick(handle, ord(character))


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
    return lambda: window.pages.current.key == page


def find(root: QWidget, kind: type[Found]) -> Found:
    """The only one of its kind in there."""
    found = root.findChildren(kind)
    assert len(found) == 1, f"{len(found)} of {kind.__name__}"
    return found[0]


def fill_in(qtbot: QtBot, line: QLineEdit, text: str) -> None:
    """As it is typed, over what was there, and left with Enter."""
    line.setFocus()
    line.selectAll()
    qtbot.keyClicks(line, text)
    qtbot.keyClick(line, Qt.Key.Key_Return)


def texts_of(root: QWidget) -> list[str]:
    """Of all labels that are seen."""
    return [one.text() for one in root.findChildren(QLabel) if one.isVisible() and one.text()]


def shows_the_verdict_of(qtbot: QtBot, window: Window, run: StoredRun) -> None:
    """Waits until Results shows the run, and holds its badges against the run's own file."""
    page = window.pages.results
    qtbot.waitUntil(lambda: page.presenter.displayed_run is not None)
    assert page.run_directories() == (run.directory,)
    said = json.loads((run.directory / "result.json").read_text())
    badges = [one.text() for one in page.findChildren(Badge) if one.isVisible() and one.text()]
    assert said["verdict"]["status"] in badges
    outcomes = {0: {"PASS", "MEASURED"}, 4: {"INVALID"}, 10: {"FAIL"}, 12: {"INCONCLUSIVE"}}
    is_open = "INCONCLUSIVE" in [one["outcome"] for one in said["slo"]]
    if said["verdict"]["status"] != "INVALID":
        expected = outcomes[12 if said["exit"]["code"] == 0 and is_open else said["exit"]["code"]]
        assert expected & set(badges), (said["exit"], badges)
    assert any(said["run_id"] in text for text in texts_of(page))
