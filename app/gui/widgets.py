"""Small things that every page is made of: labels, badges, cards, buttons. They compute nothing.

Fields that a passing mouse wheel does not change.

What a list says while it holds nothing: what belongs in it, and what to do for that.
"""

from __future__ import annotations

import html
from collections.abc import Callable

from PySide6 import QtGui
from PySide6.QtCore import QEvent, Qt
from PySide6.QtGui import QWheelEvent
from PySide6.QtWidgets import QComboBox, QFrame, QHBoxLayout, QLabel, QLayout, QPushButton, QVBoxLayout, QWidget

from app.gui.formatting import State, state_of

_MOST_IN_TIP = 2_000


def restyle(widget: QWidget, state: State) -> None:
    """Give it the colour of a state. The style sheet is asked again for another one only: it costs more than a look."""
    if widget.property("state") == state:
        return
    widget.setProperty("state", state)
    widget.style().unpolish(widget)
    widget.style().polish(widget)


def tip(text: str) -> str:
    """What a tool tip or a menu shows as it stands: Qt takes what looks like HTML for HTML, whoever wrote it, and
    would read the files and show the pictures that it names."""
    cut = text if len(text) <= _MOST_IN_TIP else f"{text[:_MOST_IN_TIP]}…"
    if not QtGui.Qt.mightBeRichText(cut):
        return cut
    return f'<p style="white-space: pre-wrap">{html.escape(cut)}</p>'


def label(text: str = "", role: str | None = None, *, wrap: bool = False) -> QLabel:
    """Plain text, whatever it holds; `role` is of the theme's style sheet: title, heading, big, muted, badge, word."""
    made = QLabel(text)
    made.setTextFormat(Qt.TextFormat.PlainText)
    made.setWordWrap(wrap)
    if role is not None:
        made.setProperty("role", role)
    return made


class Badge(QLabel):
    """A verdict's word in its colour; why it is so is told on hover, and to a reader of screens."""

    def __init__(self, word: str = "", why: str = "") -> None:
        super().__init__()
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setProperty("role", "badge")
        self.say(word, why)

    def say(self, word: str, why: str = "") -> None:
        self.setText(word)
        self.setToolTip(tip(why))
        self.setAccessibleName(word)
        self.setAccessibleDescription(why)
        self._show_if_said()
        restyle(self, state_of(word))

    def event(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.ParentChange:
            self._show_if_said()
        return super().event(event)

    def _show_if_said(self) -> None:
        """Without a parent it would be a window of its own, which takes the keyboard away for a moment."""
        if self.parentWidget() is not None:
            self.setVisible(bool(self.text()))


def card(*widgets: QWidget) -> QFrame:
    frame = QFrame()
    frame.setProperty("role", "card")
    layout = QVBoxLayout(frame)
    layout.setContentsMargins(14, 12, 14, 12)
    layout.setSpacing(6)
    for widget in widgets:
        layout.addWidget(widget)
    return frame


def clear(layout: QLayout) -> None:
    """What is deleted later would be seen until then, so it is hidden."""
    while (item := layout.takeAt(0)) is not None:
        widget = item.widget()
        if widget is not None:
            widget.hide()
            widget.deleteLater()


def button(text: str, on_click: Callable[[], object], *, primary: bool = False) -> QPushButton:
    """`text` has its mnemonic."""
    made = QPushButton(text)
    made.setAccessibleName(text.replace("&", ""))
    if primary:
        made.setProperty("role", "primary")
    made.clicked.connect(lambda: on_click())
    return made


def takes_wheel(field: QWidget, event: QWheelEvent) -> bool:
    """Only with the keyboard; else what the field stands in scrolls. Its focus policy must be StrongFocus, since the
    wheel itself would give it the keyboard."""
    if not field.hasFocus():
        event.ignore()
    return field.hasFocus()


class Choice(QComboBox):
    def __init__(self, least_characters: int = 10) -> None:
        super().__init__()
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(least_characters)

    def wheelEvent(self, event: QWheelEvent) -> None:
        if takes_wheel(self, event):
            super().wheelEvent(event)


class Empty(QWidget):
    def __init__(self, text: str, *buttons: QPushButton) -> None:
        super().__init__()
        words = label(text, "muted", wrap=True)
        words.setAlignment(Qt.AlignmentFlag.AlignCenter)
        row = QHBoxLayout()
        row.addStretch(1)
        for press in buttons:
            row.addWidget(press)
        row.addStretch(1)
        layout = QVBoxLayout(self)
        layout.setSpacing(12)
        layout.addStretch(1)
        layout.addWidget(words)
        layout.addLayout(row)
        layout.addStretch(2)
