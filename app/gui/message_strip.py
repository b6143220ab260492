"""Message strip, which shows a notice above the affected page instead of in a pop-up window."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QFrame, QLabel, QPlainTextEdit, QPushButton

from app.gui.formatting import State, shorten_message
from app.gui.navigation import Notice
from app.gui.theme import TILE_MARGINS
from app.gui.widgets import hbox, restyle, tool_button, vbox

_STATES: dict[str, State] = {"news": "plain", "warning": "warn", "error": "bad"}


class MessageStrip(QFrame):
    """Strip that shows a notice as plain text, with details that can be expanded and copied. The
    strip is hidden while there is no notice."""

    action_triggered = Signal()
    """Signal that is emitted when the action button is pressed."""
    dismissed = Signal()
    """Signal that is emitted when the user closes the notice."""

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("role", "strip")
        self.setAccessibleName("Message")
        self._text_label = QLabel()
        self._text_label.setTextFormat(Qt.TextFormat.PlainText)
        self._text_label.setWordWrap(True)
        self._text_label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._action_button = QPushButton()
        self._action_button.clicked.connect(self.action_triggered)
        self._details_button = QPushButton("Show &details")
        self._details_button.setCheckable(True)
        self._copy_button = QPushButton("&Copy details")
        self._close_button = tool_button("✕", "Dismiss this message", flat=True)
        self._details_edit = QPlainTextEdit()
        self._details_edit.setReadOnly(True)
        self._details_edit.setAccessibleName("Details of this message")
        self._details_edit.setMaximumHeight(140)
        line = hbox((self._text_label, 1))
        for button in (self._action_button, self._details_button, self._copy_button, self._close_button):
            line.addWidget(button, 0, Qt.AlignmentFlag.AlignTop)
        vbox(line, self._details_edit, within=self, margins=TILE_MARGINS)
        self._details_button.toggled.connect(self._details_edit.setVisible)
        self._copy_button.clicked.connect(lambda: QGuiApplication.clipboard().setText(self._text_to_copy()))
        self._close_button.clicked.connect(self.hide)
        self._close_button.clicked.connect(self.dismissed)
        self.hide()

    def show_notice(self, notice: Notice, action: str | None = None) -> None:
        """Show a notice, with a button labeled `action` unless `action` is None."""
        lines = [notice.summary, notice.reason, notice.next_step]
        self._text_label.setText("\n".join(shorten_message(line) for line in lines if line))
        self.setAccessibleDescription(self._text_label.text())
        restyle(self, _STATES[notice.severity])
        self._details_edit.setPlainText(notice.details or "")
        self._details_edit.setVisible(False)
        self._details_button.setChecked(False)
        for button in (self._details_button, self._copy_button):
            button.setVisible(bool(notice.details))
        self._action_button.setText(action or "")
        self._action_button.setVisible(action is not None)
        self.show()

    def text(self) -> str:
        """Return the displayed text, or an empty string while the strip is hidden."""
        return "" if self.isHidden() else self._text_label.text()

    def _text_to_copy(self) -> str:
        return f"{self._text_label.text()}\n\n{self._details_edit.toPlainText()}"
