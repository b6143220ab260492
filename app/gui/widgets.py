"""Small widgets used by all pages: labels, badges, cards, buttons, input fields and empty
states."""

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
    QSizePolicy,
    QStackedWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app.gui.formatting import State, shorten_lines, shorten_message, state_for_verdict
from app.gui.theme import CARD_MARGINS, GAP, GAP_GROUP

Box = TypeVar("Box", bound=QBoxLayout)


def restyle(widget: QWidget, state: State) -> None:
    """Set the state that determines the color of a widget. The style sheet is only applied again if
    the state has changed, because applying a style sheet is slow."""
    if widget.property("state") == state:
        return
    widget.setProperty("state", state)
    widget.style().unpolish(widget)
    widget.style().polish(widget)


def tool_tip_text(text: str) -> str:
    """Escape a text for literal display in a tooltip or menu, and shorten its long lines.

    Qt renders any text that looks like HTML as HTML, even text from untrusted files, and would load
    the files and images that the HTML references.
    """
    truncated = shorten_message(text)
    if not QtGui.Qt.mightBeRichText(truncated):
        return truncated
    return f'<p style="white-space: pre-wrap">{html.escape(truncated)}</p>'


class _PlainLabel(QLabel):
    """Label that shortens long lines, since its text may be a value of any length from a file or a server."""

    def setText(self, text: str) -> None:
        super().setText(shorten_lines(text))


def label(text: str = "", role: str | None = None, *, wrap: bool = False, buddy: QWidget | None = None) -> QLabel:
    """Create a plain-text label, which shortens long lines.

    `role` is a role of the style sheet: title, heading, big, undersampled, muted, badge or word.
    The mnemonic of the label moves the focus to `buddy`.
    """
    widget = _PlainLabel()
    widget.setTextFormat(Qt.TextFormat.PlainText)
    widget.setText(text)
    widget.setWordWrap(wrap)
    if buddy is not None:
        widget.setBuddy(buddy)
    if role is not None:
        widget.setProperty("role", role)
    return widget


class Badge(QLabel):
    """Label with a verdict, in the color of the verdict. The reason is shown as a tooltip and read
    by screen readers."""

    def __init__(self, verdict: str = "", reason: str = "") -> None:
        super().__init__()
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setProperty("role", "badge")
        self.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Maximum)
        self.show_verdict(verdict, reason)

    def show_verdict(self, verdict: str, reason: str = "") -> None:
        self.setText(verdict)
        self.setToolTip(tool_tip_text(reason))
        self.setAccessibleName(verdict)
        self.setAccessibleDescription(reason)
        self._update_visibility()
        restyle(self, state_for_verdict(verdict))

    def event(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.ParentChange:
            self._update_visibility()
        return super().event(event)

    def _update_visibility(self) -> None:
        """Show the badge if it has text and a parent. Without a parent, Qt would show the badge as
        a separate window, which would briefly take the focus."""
        if self.parentWidget() is not None:
            self.setVisible(bool(self.text()))


def card(*widgets: QWidget) -> QFrame:
    frame = QFrame()
    frame.setProperty("role", "card")
    vbox(*widgets, within=frame, margins=CARD_MARGINS, spacing=GAP)
    return frame


BoxItem = QWidget | QLayout | int | tuple[QWidget | QLayout, int] | tuple[QWidget | QLayout, int, Qt.AlignmentFlag]
Margins = tuple[int, int, int, int]


def vbox(
    *items: BoxItem, within: QWidget | None = None, margins: Margins | None = (0, 0, 0, 0), spacing: int | None = None
) -> QVBoxLayout:
    """Create a vertical layout with the items, and set it as the layout of `within` unless `within`
    is None.

    An integer item is a stretch with that factor. A tuple contains a widget or layout, its stretch
    factor and, optionally, its alignment. If `margins` is None, the margins of the style apply.
    """
    return _fill_layout(QVBoxLayout(), items, within, margins, spacing)


def hbox(
    *items: BoxItem, within: QWidget | None = None, margins: Margins | None = (0, 0, 0, 0), spacing: int | None = None
) -> QHBoxLayout:
    """Create a horizontal layout with the items. The arguments are the same as for `vbox`."""
    return _fill_layout(QHBoxLayout(), items, within, margins, spacing)


def _fill_layout(
    layout: Box, items: tuple[BoxItem, ...], within: QWidget | None, margins: Margins | None, spacing: int | None
) -> Box:
    if within is not None:
        within.setLayout(layout)
    if margins is not None:
        layout.setContentsMargins(*margins)
    if spacing is not None:
        layout.setSpacing(spacing)
    for box_item in items:
        if isinstance(box_item, int):
            layout.addStretch(box_item)
            continue
        item, *arguments = box_item if isinstance(box_item, tuple) else (box_item,)
        add: Callable[..., None] = layout.addLayout if isinstance(item, QLayout) else layout.addWidget
        add(item, *arguments)
    return layout


def clear(layout: QLayout) -> None:
    """Remove all widgets from a layout. The widgets are hidden first, because a widget stays
    visible until `deleteLater` takes effect."""
    while (item := layout.takeAt(0)) is not None:
        widget = item.widget()
        if widget is not None:
            widget.hide()
            widget.deleteLater()


def button(text: str, on_click: Callable[[], object], *, primary: bool = False) -> QPushButton:
    """Create a push button. `text` contains `&` before the mnemonic."""
    widget = QPushButton(text)
    widget.setAccessibleName(text.replace("&", ""))
    if primary:
        widget.setProperty("role", "primary")
    widget.clicked.connect(lambda: on_click())
    return widget


def tool_button(
    text: str, name: str = "", *, tip: str = "", flat: bool = False, checkable: bool = False, menu: QMenu | None = None
) -> QToolButton:
    """Create a tool button. `text` contains `&` before the mnemonic, and is also the accessible
    name if `name` is empty. A click opens `menu`, if set."""
    widget = QToolButton(autoRaise=flat)
    widget.setText(text)
    widget.setAccessibleName(name or text.replace("&", ""))
    if tip:
        widget.setToolTip(tip)
    widget.setCheckable(checkable)
    if menu is not None:
        widget.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        widget.setMenu(menu)
    return widget


def stacked_widget(*pages: QWidget) -> QStackedWidget:
    widget = QStackedWidget()
    for page in pages:
        widget.addWidget(page)
    return widget


def scroll_area(content: QWidget | None = None, *, focusable: bool = True) -> QScrollArea:
    """Create a frameless scroll area for content that may be larger than the available space."""
    widget = QScrollArea(widgetResizable=True)
    widget.setFrameShape(QFrame.Shape.NoFrame)
    if not focusable:
        widget.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    if content is not None:
        widget.setWidget(content)
    return widget


def fill_choices(box: QComboBox, choices: Iterable[tuple[str, object]], selected_value: object = None) -> None:
    """Replace the items of a combo box, given as (text, value), without emitting signals.

    The item with the value `selected_value` is selected, or the previously selected item if
    `selected_value` is None. If there is no such item, the first item is selected.
    """
    selected_value = box.currentData() if selected_value is None else selected_value
    with QSignalBlocker(box):
        box.clear()
        for text, value in choices:
            box.addItem(text, value)
        box.setCurrentIndex(max(box.findData(selected_value), 0))


def search_field(placeholder: str, name: str = "") -> QLineEdit:
    """Create a search field. Its accessible name is `name`, or the placeholder if `name` is
    empty."""
    widget = QLineEdit(clearButtonEnabled=True)
    widget.setPlaceholderText(placeholder)
    widget.setAccessibleName(name or placeholder)
    return widget


def handles_wheel(field: QWidget, event: QWheelEvent) -> bool:
    """Return whether a field handles the mouse wheel: only while the field has the keyboard focus.
    Otherwise the event is ignored, so that the surrounding area scrolls.

    The focus policy of the field must be StrongFocus, because with WheelFocus scrolling would move
    the focus to the field.
    """
    if not field.hasFocus():
        event.ignore()
    return field.hasFocus()


class WheelSafeComboBox(QComboBox):
    """Combo box that ignores the mouse wheel unless the combo box has the focus."""

    def __init__(self, min_characters: int = 10) -> None:
        super().__init__()
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(min_characters)

    def wheelEvent(self, event: QWheelEvent) -> None:
        if handles_wheel(self, event):
            super().wheelEvent(event)


class EmptyState(QWidget):
    """Placeholder for an empty list, which explains what the list contains and how to add an
    item."""

    def __init__(self, text: str, *buttons: QPushButton) -> None:
        super().__init__()
        message = label(text, "muted", wrap=True)
        message.setAlignment(Qt.AlignmentFlag.AlignCenter)
        row = hbox(1, *buttons, 1)
        vbox(1, message, row, 2, within=self, margins=None, spacing=GAP_GROUP)
