"""The seven pages, one click or Ctrl+1…7 away."""

from __future__ import annotations

from collections.abc import Mapping

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QButtonGroup, QFrame, QSizePolicy, QToolButton, QVBoxLayout

from app.gui.icons import icon
from app.gui.navigation import PageKey
from app.gui.theme import Look, Theme


class Rail(QFrame):
    """`titles` are in the order of the pages. Up and down move between them."""

    chosen = Signal(str)

    def __init__(self, titles: Mapping[PageKey, str], look: Look) -> None:
        super().__init__()
        self.setProperty("role", "rail")
        self.setAccessibleName("Pages")
        self._group = QButtonGroup(self)
        self._buttons: dict[str, QToolButton] = {}
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 8, 0, 8)
        layout.setSpacing(2)
        for place, (key, title) in enumerate(titles.items(), 1):
            self._buttons[key] = self._button(key, title, place)
            layout.addWidget(self._buttons[key])
        layout.addStretch(1)
        look.changed.connect(self._recolour)
        self._recolour(look.theme)

    def show_chosen(self, key: PageKey) -> None:
        self._buttons[key].setChecked(True)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        step = {Qt.Key.Key_Down: 1, Qt.Key.Key_Up: -1}.get(Qt.Key(event.key()))
        if step is None:
            super().keyPressEvent(event)
            return
        keys = list(self._buttons)
        checked = next(place for place, key in enumerate(keys) if self._buttons[key].isChecked())
        target = self._buttons[keys[(checked + step) % len(keys)]]
        target.click()
        target.setFocus()

    def _button(self, key: PageKey, title: str, place: int) -> QToolButton:
        made = QToolButton()
        made.setObjectName(f"rail-{key}")
        made.setText(title)
        made.setCheckable(True)
        made.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        made.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        made.setToolTip(f"{title} (Ctrl+{place})")
        made.setAccessibleName(title)
        made.clicked.connect(lambda: self.chosen.emit(key))
        self._group.addButton(made)
        return made

    def _recolour(self, theme: Theme) -> None:
        """Icons are as high as the text, which may have grown with the theme."""
        side = self.fontMetrics().height()
        for key, made in self._buttons.items():
            made.setIconSize(QSize(side, side))
            made.setIcon(icon(key, theme.ink, side))
