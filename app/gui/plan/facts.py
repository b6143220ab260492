"""Names with values under one another, and sentences under a heading.

Why offers were refused, by how many each reason refused.

What the answer hangs on: each input at its low and its high end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QGridLayout, QLabel, QWidget

from app.gui.plan.figures import usd
from app.gui.widgets import label, vbox
from app.records.plan import Plan, Swing


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
        column = vbox(label(heading, "heading", wrap=True), within=self, margins=(0, 6, 0, 0), spacing=3)
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


_MOST = 5


def reasons_of(plan: Plan) -> tuple[str, ...]:
    """The commonest first. Reasons that differ only in a number or a name are one, given by an example."""
    refusals = [
        ((fleet.rejected_by, fleet.refusal), fleet.rejected) for fleet in plan.offers if fleet.rejected is not None
    ]
    counted = Counter(kind for kind, _ in refusals)
    examples = dict(reversed(refusals))
    said = [
        f"{count} offers: {examples[kind]}" if count > 1 else f"1 offer: {examples[kind]}"
        for kind, count in counted.most_common(_MOST)
    ]
    more = sum(count for _, count in counted.most_common()[_MOST:])
    return (*said, *([f"{more} more, for other reasons"] if more else []))


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
        vbox(
            label("USD a month, one thing otherwise at a time", "muted", wrap=True),
            self._grid,
            within=self,
            margins=(0, 4, 0, 0),
        )
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
