"""Small things that every page is made of: labels, badges, cards, buttons. They compute nothing.

Fields that a passing mouse wheel does not change.

What a list says while it holds nothing: what belongs in it, and what to do for that.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable
from typing import TypeVar

from PySide6 import QtGui
from PySide6.QtCore import QEvent, QSignalBlocker, Qt
from PySide6.QtGui import QWheelEvent
from PySide6.QtWidgets import (
    QBoxLayout,
    QComboBox,
    QFrame,
    QHBoxLayout,
    QLabel,
    QLayout,
    QLineEdit,
    QMenu,
    QPushButton,
    QScrollArea,
    QStackedWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app.gui.formatting import State, state_of

Box = TypeVar("Box", bound=QBoxLayout)
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


def label(text: str = "", role: str | None = None, *, wrap: bool = False, buddy: QWidget | None = None) -> QLabel:
    """Plain text, whatever it holds; `role` is of the theme's style sheet: title, heading, big, muted, badge, word. Its
    mnemonic leads to its `buddy`."""
    made = QLabel(text)
    made.setTextFormat(Qt.TextFormat.PlainText)
    made.setWordWrap(wrap)
    if buddy is not None:
        made.setBuddy(buddy)
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
    vbox(*widgets, within=frame, margins=(14, 12, 14, 12), spacing=6)
    return frame


Part = QWidget | QLayout | int | tuple[QWidget | QLayout, int] | tuple[QWidget | QLayout, int, Qt.AlignmentFlag]
Margins = tuple[int, int, int, int]


def vbox(
    *parts: Part, within: QWidget | None = None, margins: Margins | None = (0, 0, 0, 0), spacing: int | None = None
) -> QVBoxLayout:
    """Parts under each other, that `within` holds. A number is room of that stretch, and a part may have a stretch and
    an alignment with it. Without margins there are those of the style."""
    return _filled(QVBoxLayout(), parts, within, margins, spacing)


def hbox(
    *parts: Part, within: QWidget | None = None, margins: Margins | None = (0, 0, 0, 0), spacing: int | None = None
) -> QHBoxLayout:
    """Parts side by side, as `vbox` has them under each other."""
    return _filled(QHBoxLayout(), parts, within, margins, spacing)


def _filled(
    layout: Box, parts: tuple[Part, ...], within: QWidget | None, margins: Margins | None, spacing: int | None
) -> Box:
    if within is not None:
        within.setLayout(layout)
    if margins is not None:
        layout.setContentsMargins(*margins)
    if spacing is not None:
        layout.setSpacing(spacing)
    for part in parts:
        if isinstance(part, int):
            layout.addStretch(part)
            continue
        one, *how = part if isinstance(part, tuple) else (part,)
        add: Callable[..., None] = layout.addLayout if isinstance(one, QLayout) else layout.addWidget
        add(one, *how)
    return layout


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


def tool_button(
    text: str, name: str = "", *, tip: str = "", flat: bool = False, checkable: bool = False, menu: QMenu | None = None
) -> QToolButton:
    """`text` has its mnemonic; without a `name` it is read out. A `menu` opens at once."""
    made = QToolButton(autoRaise=flat, popupMode=QToolButton.ToolButtonPopupMode.InstantPopup)
    made.setText(text)
    made.setAccessibleName(name or text.replace("&", ""))
    if tip:
        made.setToolTip(tip)
    made.setCheckable(checkable)
    if menu is not None:
        made.setMenu(menu)
    return made


def stacked(*pages: QWidget) -> QStackedWidget:
    made = QStackedWidget()
    for page in pages:
        made.addWidget(page)
    return made


def scroll_area(inside: QWidget | None = None, *, focusable: bool = True) -> QScrollArea:
    """What is too large for its place scrolls there, without a frame."""
    made = QScrollArea(widgetResizable=True)
    made.setFrameShape(QFrame.Shape.NoFrame)
    if not focusable:
        made.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    if inside is not None:
        made.setWidget(inside)
    return made


def fill_choices(box: QComboBox, choices: Iterable[tuple[str, object]], chosen: object = None) -> None:
    """Anew, each with its words and its value, without a signal; what was chosen stays, or else it is the first."""
    chosen = box.currentData() if chosen is None else chosen
    with QSignalBlocker(box):
        box.clear()
        for words, value in choices:
            box.addItem(words, value)
        box.setCurrentIndex(max(box.findData(chosen), 0))


def search_field(placeholder: str, name: str = "") -> QLineEdit:
    """Read out by its `name`, or else its placeholder."""
    made = QLineEdit(clearButtonEnabled=True)
    made.setPlaceholderText(placeholder)
    made.setAccessibleName(name or placeholder)
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
        row = hbox(1, *buttons, 1)
        vbox(1, words, row, 2, within=self, margins=None, spacing=12)
