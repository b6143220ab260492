"""Names with values under one another, and sentences under a heading."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QGridLayout, QLabel, QVBoxLayout, QWidget

from app.gui.widgets import label


class Facts(QWidget):
    """Rows are made once, and filled anew."""

    def __init__(self) -> None:
        super().__init__()
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(10)
        self._grid.setVerticalSpacing(3)
        self._grid.setColumnStretch(0, 2)
        self._grid.setColumnStretch(1, 3)
        self._rows: list[tuple[QLabel, QLabel]] = []

    def show_facts(self, facts: Sequence[tuple[str, str]]) -> None:
        while len(self._rows) < len(facts):
            name, value = label("", "muted", wrap=True), label("", wrap=True)
            value.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            for column, one in enumerate((name, value)):
                self._grid.addWidget(one, len(self._rows), column, Qt.AlignmentFlag.AlignTop)
            self._rows.append((name, value))
        for place, (name, value) in enumerate(self._rows):
            said = facts[place] if place < len(facts) else ("", "")
            name.setText(said[0])
            value.setText(said[1])
            value.setAccessibleName(": ".join(said))
            for one in (name, value):
                one.setVisible(place < len(facts))

    def said(self) -> dict[str, str]:
        return {name.text(): value.text() for name, value in self._rows if name.text()}


class Sentences(QWidget):
    """Hidden where there is nothing to say."""

    def __init__(self, heading: str) -> None:
        super().__init__()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 6, 0, 0)
        column.setSpacing(3)
        column.addWidget(label(heading, "heading", wrap=True))
        self._text = label("", wrap=True)
        self._text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._text.setAccessibleName(heading)
        column.addWidget(self._text)
        self.hide()

    def say(self, sentences: Sequence[str]) -> None:
        self._text.setText("\n".join(f"• {one}" for one in sentences))
        self.setVisible(bool(sentences))

    def text(self) -> str:
        return "" if self.isHidden() else self._text.text()
