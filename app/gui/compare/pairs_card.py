"""Under a verdict that is open: how many more pairs would tell, what they cost, and the button that measures them."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QHBoxLayout, QSpinBox, QVBoxLayout, QWidget

from app.gui.compare.entries import Asked
from app.gui.compare.pairs_offer import (
    LEAST_MINUTES,
    MOST_MINUTES,
    MOST_PAIRS,
    PairsOffer,
    cost_line,
    measure_line,
    minutes_for,
)
from app.gui.flow import flow_in
from app.gui.widgets import button, card, label


class PairsCard(QWidget):
    wanted = Signal(object, int, int)
    """A PairsOffer is taken: so many pairs, in so many minutes at most."""

    def __init__(self) -> None:
        super().__init__()
        self._asked: Asked | None = None
        self._offer: PairsOffer | None = None
        self._is_measuring = False
        self._said = label("", wrap=True)
        self._problem, self._cost = label("", "word", wrap=True), label("", "muted", wrap=True)
        self._or, self._command = label("In a terminal, the same:", "muted", wrap=True), label("", wrap=True)
        self.pairs, self.minutes = QSpinBox(), QSpinBox()
        self.run = button("", self._want, primary=True)
        self.copy = button("Cop&y the command", self._copy_command)
        self._asking = self._asking_row()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        below = QWidget()
        flow_in(below).addWidget(self.copy)
        layout.addWidget(card(self._said, self._problem, self._asking, self._cost, self._or, self._command, below))
        self.pairs.valueChanged.connect(self._fit_minutes)
        self.minutes.valueChanged.connect(self._show)

    @property
    def command(self) -> str:
        return self._command.text()

    @property
    def problem(self) -> str:
        return self._problem.text()

    @property
    def cost(self) -> str:
        return self._cost.text()

    def show_offer(self, asked: Asked, offer: PairsOffer) -> None:
        self._asked, self._offer = asked, offer
        self._said.setText(
            f"Not to be told yet: {offer.pairs} more pairs in turns, baseline and candidate, would likely tell."
        )
        self._problem.setText(offer.problem or "")
        self._problem.setVisible(offer.problem is not None)
        self.pairs.blockSignals(True)
        self.pairs.setValue(offer.pairs)
        self.pairs.blockSignals(False)
        self._fit_minutes()

    def set_measuring(self, is_measuring: bool) -> None:
        """Pairs are measured now: no others are begun from here meanwhile."""
        self._is_measuring = is_measuring
        self._show()

    def _asking_row(self) -> QWidget:
        self.pairs.setRange(1, MOST_PAIRS)
        self.pairs.setAccessibleName("How many more pairs")
        self.minutes.setRange(LEAST_MINUTES, MOST_MINUTES)
        self.minutes.setSuffix(" min")
        self.minutes.setAccessibleName("How many minutes they may take at most")
        row = QWidget()
        flow = flow_in(row)
        flow.addWidget(self.run)
        for text, box in (("&Pairs", self.pairs), ("At &most", self.minutes)):
            flow.addWidget(_named(text, box))
        return row

    def _fit_minutes(self) -> None:
        if self._offer is not None:
            self.minutes.blockSignals(True)
            self.minutes.setValue(minutes_for(self._offer, self.pairs.value()))
            self.minutes.blockSignals(False)
        self._show()

    def _show(self) -> None:
        if self._asked is None or self._offer is None:
            return
        pairs, minutes = self.pairs.value(), self.minutes.value()
        text = "R&un one more pair" if pairs == 1 else f"R&un {pairs} more pairs"
        self.run.setText(text)
        self.run.setAccessibleName(text.replace("&", ""))
        self.run.setEnabled(self._offer.problem is None and not self._is_measuring)
        for box in (self.pairs, self.minutes):
            box.setEnabled(not self._is_measuring)
        self._cost.setText(cost_line(self._offer, pairs, minutes))
        self._cost.setVisible(self._offer.problem is None)
        self._command.setText(measure_line(self._asked, self._offer, pairs, minutes))

    def _want(self) -> None:
        if self._offer is not None:
            self.wanted.emit(self._offer, self.pairs.value(), self.minutes.value())

    def _copy_command(self) -> None:
        QGuiApplication.clipboard().setText(self._command.text())


def _named(text: str, box: QSpinBox) -> QWidget:
    holder = QWidget()
    line = QHBoxLayout(holder)
    line.setContentsMargins(0, 0, 0, 0)
    named = label(text)
    named.setBuddy(box)
    for one in (named, box):
        line.addWidget(one)
    return holder
