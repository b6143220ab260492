"""What the answer hangs on: each input at its low and its high end."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QGridLayout, QLabel, QVBoxLayout, QWidget

from app.gui.plan.figures import usd
from app.gui.widgets import label
from app.records.plan import Swing


class SwingTable(QWidget):
    """USD a month at both ends, and whether another offer wins there. Hidden while there is none.

    Of labels, since a table would not wrap its cells to the width it is given.
    """

    def __init__(self) -> None:
        super().__init__()
        self._grid = QGridLayout()
        self._grid.setHorizontalSpacing(10)
        self._grid.setVerticalSpacing(3)
        for column, stretch in enumerate((4, 5, 5)):
            self._grid.setColumnStretch(column, stretch)
        for column, heading in enumerate(("If this were", "at its low end", "at its high end")):
            self._grid.addWidget(label(heading, "muted", wrap=True), 0, column)
        self._rows: list[tuple[QLabel, QLabel, QLabel]] = []
        lines = QVBoxLayout(self)
        lines.setContentsMargins(0, 4, 0, 0)
        lines.addWidget(label("USD a month, one thing otherwise at a time", "muted", wrap=True))
        lines.addLayout(self._grid)
        self.hide()

    def show_swings(self, swings: tuple[Swing, ...], winner: str | None = None) -> None:
        """`winner` is who is recommended; another one is named."""
        while len(self._rows) < len(swings):
            row = (label("", wrap=True), label("", wrap=True), label("", wrap=True))
            self._rows.append(row)
            for column, one in enumerate(row):
                self._grid.addWidget(one, len(self._rows), column, Qt.AlignmentFlag.AlignTop)
        for place, row in enumerate(self._rows):
            texts = _texts(swings[place], winner) if place < len(swings) else ("", "", "")
            for one, text in zip(row, texts, strict=True):
                one.setText(text)
                one.setVisible(place < len(swings))
        self.setVisible(bool(swings))

    def texts(self) -> list[tuple[str, str, str]]:
        return [(a.text(), b.text(), c.text()) for a, b, c in self._rows if a.text()]


def _texts(one: Swing, winner: str | None) -> tuple[str, str, str]:
    return (
        one.input,
        _end(one.low, one.usd_per_month_low, None if one.winner_low == winner else one.winner_low),
        _end(one.high, one.usd_per_month_high, None if one.winner_high == winner else one.winner_high),
    )


def _end(words: str, cost: float | None, other: str | None) -> str:
    if cost is None:
        return f"{words}: no offer fits"
    told = f"{words}: {usd(cost)}"
    return told if other is None else f"{told}, with {other}"
