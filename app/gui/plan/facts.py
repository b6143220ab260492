"""Names with values under one another, and sentences under a heading."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFormLayout, QLabel, QVBoxLayout, QWidget

from app.gui.widgets import label


class Facts(QWidget):
    """Rows are made once, and filled anew."""

    def __init__(self) -> None:
        super().__init__()
        self._form = QFormLayout(self)
        self._form.setContentsMargins(0, 0, 0, 0)
        self._form.setVerticalSpacing(3)
        self._form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        self._rows: list[tuple[QLabel, QLabel]] = []

    def show_facts(self, facts: Sequence[tuple[str, str]]) -> None:
        while len(self._rows) < len(facts):
            name, value = label("", "muted"), label("", wrap=True)
            value.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            self._form.addRow(name, value)
            self._rows.append((name, value))
        for place, (name, value) in enumerate(self._rows):
            is_there = place < len(facts)
            self._form.setRowVisible(place, is_there)
            if is_there:
                name.setText(facts[place][0])
                value.setText(facts[place][1])
                value.setAccessibleName(f"{facts[place][0]}: {facts[place][1]}")

    def said(self) -> dict[str, str]:
        return {
            name.text(): value.text()
            for place, (name, value) in enumerate(self._rows)
            if self._form.isRowVisible(place)
        }


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
