"""Fields that a passing mouse wheel does not change."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtGui import QWheelEvent
from PySide6.QtWidgets import QComboBox, QWidget


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
