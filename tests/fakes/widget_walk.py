"""Finds defects of a window's widgets: without a name, not reachable by keyboard, or clipped."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from PySide6.QtCore import QEvent, QObject, QRect, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractScrollArea,
    QAbstractSlider,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QDockWidget,
    QLabel,
    QLineEdit,
    QMenuBar,
    QPlainTextEdit,
    QScrollArea,
    QScrollBar,
    QSlider,
    QTabBar,
    QWidget,
)

_INTERACTIVE = (
    QAbstractButton, QAbstractItemView, QAbstractSlider, QAbstractSpinBox, QComboBox, QLineEdit, QPlainTextEdit,
    QTabBar, QSlider,
)  # fmt: skip
_QTS_OWN = ("qt_", "QTabBar", "ScrollLeftButton", "ScrollRightButton")
_MNEMONIC = re.compile(r"&([^&\s])")
_SLACK = 1


@contextmanager
def windows_shown(application: QApplication) -> Iterator[list[str]]:
    """Classes of widgets that are shown as separate windows in this context: a part of a page that is shown before it
    has a parent flashes as a window, and takes the keyboard focus."""
    watch = _WindowWatch()
    application.installEventFilter(watch)
    yield watch.kinds
    application.removeEventFilter(watch)


class _WindowWatch(QObject):
    def __init__(self) -> None:
        super().__init__()
        self.kinds: list[str] = []

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - of Qt
        if event.type() == QEvent.Type.Show and isinstance(watched, QWidget) and watched.isWindow():
            self.kinds.append(type(watched).__name__)
        return False


def visible_widgets(root: QWidget) -> Iterator[QWidget]:
    """All visible widgets, except the inner parts of Qt's own widgets."""
    for widget in root.findChildren(QWidget):
        if widget.isVisible() and not _is_inner(widget):
            yield widget


def unnamed_widgets(root: QWidget) -> list[str]:
    """Interactive widgets without a name for screen readers."""
    return [
        _place(widget)
        for widget in visible_widgets(root)
        if isinstance(widget, _INTERACTIVE) and not (widget.accessibleName() or _own_text(widget))
    ]


def unreachable_widgets(root: QWidget) -> list[str]:
    """Enabled controls outside the window's focus chain of the Tab key."""
    chain: set[QWidget] = set()
    widget = root.nextInFocusChain()
    while widget is not None and widget is not root and widget not in chain:
        chain.add(widget)
        widget = widget.nextInFocusChain()
    return [
        _place(one)
        for one in visible_widgets(root)
        if isinstance(one, (QLineEdit, QComboBox, QAbstractItemView, QAbstractSpinBox, QPlainTextEdit))
        and one.isEnabled()
        and (one not in chain or not one.focusPolicy() & Qt.FocusPolicy.TabFocus)
    ]


def controls_skipped_by_tab(root: QWidget) -> list[str]:
    """Controls that do not get the focus when Tab is pressed until the focus is back where it started."""
    came_by: list[QWidget] = []
    while (widget := QApplication.focusWidget()) is not None and widget not in came_by:
        came_by.append(widget)
        QTest.keyClick(widget, Qt.Key.Key_Tab)
    targets = {
        one: one.focusProxy() or one
        for one in visible_widgets(root)
        if one.isEnabled() and one.focusPolicy() & Qt.FocusPolicy.TabFocus
    }
    return [_place(one) for one, target in targets.items() if target not in came_by]


def shared_mnemonics(root: QWidget) -> list[str]:
    """Letters that select more than one visible and enabled widget or menu with Alt."""
    texts_by_letter: dict[str, list[str]] = {}
    for text in _texts_with_mnemonics(root):
        if match := _MNEMONIC.search(text.replace("&&", "")):
            texts_by_letter.setdefault(match[1].lower(), []).append(text)
    return [f"Alt+{letter}: {texts}" for letter, texts in texts_by_letter.items() if len(texts) > 1]


def _texts_with_mnemonics(root: QWidget) -> Iterator[str]:
    for widget in root.findChildren(QWidget):
        if isinstance(widget, QMenuBar):
            yield from (action.text() for action in widget.actions())
        elif not widget.isVisible():
            continue
        elif isinstance(widget, QAbstractButton):
            yield widget.text() if widget.isEnabled() else ""
        elif isinstance(widget, QLabel):
            buddy = widget.buddy()
            yield widget.text() if buddy is not None and buddy.isEnabled() else ""
        elif isinstance(widget, QTabBar):
            yield from (widget.tabText(place) for place in range(widget.count()) if widget.isTabVisible(place))


def clipped_texts(root: QWidget) -> list[str]:
    """Texts that need more room than they have."""
    return [f"{_place(widget)}: {text!r}" for widget in visible_widgets(root) if (text := _clipped_text(widget))]


def sideways_scrolling_areas(root: QWidget) -> list[str]:
    """Areas that scroll sideways. Tables, charts and source views may do so."""
    return [
        f"{_place(area)}: {inside.minimumSizeHint().width()} of {area.viewport().width()} px"
        for area in visible_widgets(root)
        if isinstance(area, QScrollArea) and (inside := area.widget()) is not None
        if area.horizontalScrollBar().maximum() > 0 or inside.width() > area.viewport().width() + _SLACK
    ]


def _clipped_text(widget: QWidget) -> str | None:
    if isinstance(widget, QLabel):
        return widget.text() if widget.text() and _label_is_clipped(widget) else None
    if isinstance(widget, QAbstractButton) and widget.text():
        needed = widget.sizeHint()
        is_short = widget.width() + _SLACK < _least_width(widget) or widget.height() + _SLACK < _least_height(widget)
        return widget.text() if is_short and needed.isValid() else None
    return None


def _least_width(widget: QAbstractButton) -> int:
    lines = widget.text().replace("&", "").split("\n")
    return max(widget.fontMetrics().horizontalAdvance(line) for line in lines)


def _least_height(widget: QAbstractButton) -> int:
    return widget.fontMetrics().height()


def _label_is_clipped(label: QLabel) -> bool:
    if label.pixmap() is not None and not label.pixmap().isNull():
        return False
    room = label.contentsRect()
    flags = Qt.TextFlag.TextWordWrap if label.wordWrap() else Qt.TextFlag.TextSingleLine
    if "\n" in label.text() and not label.wordWrap():
        flags = Qt.TextFlag.TextExpandTabs
    text = label.text() if label.buddy() is None else label.text().replace("&", "")
    needed = label.fontMetrics().boundingRect(QRect(0, 0, room.width(), 100_000), flags, text)
    is_wide = needed.width() > room.width() + _SLACK and label.textFormat() != Qt.TextFormat.RichText
    return is_wide or needed.height() > room.height() + 2 * _SLACK


def _own_text(widget: QWidget) -> str:
    return widget.text() if isinstance(widget, QAbstractButton) else ""


def _is_inner(widget: QWidget) -> bool:
    parent = widget.parentWidget()
    if isinstance(widget, QScrollBar) or widget.objectName().startswith(_QTS_OWN):
        return True
    if isinstance(parent, (QComboBox, QAbstractSpinBox, QLineEdit, QTabBar, QDockWidget)):
        return True
    in_table = isinstance(parent, QAbstractScrollArea) and isinstance(parent, QAbstractItemView)
    return in_table and type(widget).__module__.startswith("PySide6")


def _place(widget: QWidget) -> str:
    names: list[str] = []
    at: QWidget | None = widget
    while at is not None and len(names) < 6:
        names.append(at.objectName() or type(at).__name__)
        at = at.parentWidget()
    return " < ".join(names)
