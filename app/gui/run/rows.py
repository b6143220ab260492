"""Read-only list of names and values."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QGridLayout, QWidget

from app.gui.theme import GAP_LINE, GAP_SECTION, NO_MARGINS
from app.gui.widgets import clear, label


class Rows(QWidget):
    """Vertical list of names and values. Values wrap, and can be selected with the mouse and the
    keyboard."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.setAccessibleName(name)
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(*NO_MARGINS)
        self._grid.setHorizontalSpacing(GAP_SECTION)
        self._grid.setVerticalSpacing(GAP_LINE)
        self._grid.setColumnStretch(1, 1)
        self.rows: tuple[tuple[str, str], ...] = ()

    def show_rows(self, rows: Sequence[tuple[str, str]]) -> None:
        if tuple(rows) == self.rows:
            return
        self.rows = tuple(rows)
        clear(self._grid)
        for index, (name, text) in enumerate(rows):
            value_label = label(text, wrap=True)
            value_label.setTextInteractionFlags(
                Qt.TextInteractionFlag.TextSelectableByMouse | Qt.TextInteractionFlag.TextSelectableByKeyboard
            )
            value_label.setAccessibleName(f"{name}: {text}")
            self._grid.addWidget(label(name, "muted"), index, 0, Qt.AlignmentFlag.AlignTop)
            self._grid.addWidget(value_label, index, 1)
