"""Actions of a user in a window: buttons are found by their texts."""

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

WidgetType = TypeVar("WidgetType", bound=QWidget)


def find_button(root: QWidget, text: str) -> QAbstractButton | None:
    """Return the visible and enabled button whose text starts with `text`, without mnemonics."""
    for button in root.findChildren(QAbstractButton):
        name = button.text().replace("&", "") or button.accessibleName()
        if button.isVisible() and button.isEnabled() and name.startswith(text):
            return button
    return None


def press(qtbot: QtBot, root: QWidget, text: str) -> None:
    """Click the button as soon as it exists."""
    qtbot.waitUntil(lambda: find_button(root, text) is not None)
    button = find_button(root, text)
    assert button is not None
    button.click()


class InputCounter(QObject):
    """Counts the clicks and keys that the application receives from any source.

    A click that several widgets receive, because the first did not handle it, has one time stamp and counts once."""

    def __init__(self) -> None:
        super().__init__()
        self._pressed_at: set[int] = set()
        self.typed = ""

    @property
    def clicks(self) -> int:
        return len(self._pressed_at)

    def __enter__(self) -> InputCounter:
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
    """Click the middle of the visible button with that text, with the mouse."""
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
    """Type into the focused widget, one key after another."""
    handle = window.windowHandle()
    assert handle is not None
    for character in text:
        QTest.keyClick(handle, ord(character))


def drop_files(window: Window, *paths: Path) -> str:
    """Drop files on the middle of the window, as from a file manager."""
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
    """Press a key in the focused widget."""
    QTest.keyClick(QApplication.focusWidget() or window, key, modifier)


def is_page_shown(window: Window, page: str) -> Callable[[], bool]:
    return lambda: window.pages.current.key == page


def find(root: QWidget, kind: type[WidgetType]) -> WidgetType:
    """Return the only child of that type."""
    children = root.findChildren(kind)
    assert len(children) == 1, f"{len(children)} of {kind.__name__}"
    return children[0]


def fill_in(qtbot: QtBot, line: QLineEdit, text: str) -> None:
    """Replace the text of a field by typing, and press Enter."""
    line.setFocus()
    line.selectAll()
    qtbot.keyClicks(line, text)
    qtbot.keyClick(line, Qt.Key.Key_Return)


def texts_of(root: QWidget) -> list[str]:
    """Texts of all visible labels."""
    return [label.text() for label in root.findChildren(QLabel) if label.isVisible() and label.text()]


def assert_verdict_is_shown(qtbot: QtBot, window: Window, run: StoredRun) -> None:
    """Wait until the Results page shows the run, and compare its badges with the run's own file."""
    page = window.pages.results
    qtbot.waitUntil(lambda: page.presenter.displayed_run is not None)
    assert page.run_directories() == (run.directory,)
    result = json.loads((run.directory / "result.json").read_text())
    badges = [badge.text() for badge in page.findChildren(Badge) if badge.isVisible() and badge.text()]
    assert result["verdict"]["status"] in badges
    outcomes = {0: {"PASS", "MEASURED"}, 4: {"INVALID"}, 10: {"FAIL"}, 12: {"INCONCLUSIVE"}}
    is_open = "INCONCLUSIVE" in [badge["outcome"] for badge in result["slo"]]
    if result["verdict"]["status"] != "INVALID":
        expected = outcomes[12 if result["exit"]["code"] == 0 and is_open else result["exit"]["code"]]
        assert expected & set(badges), (result["exit"], badges)
    assert any(result["run_id"] in text for text in texts_of(page))
