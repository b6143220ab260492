"""The Plan page at work: what is asked, what that costs, what to rent, and every offer.

Four parts of a page side by side where there is room, else folded: never wider than the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from PySide6.QtCore import QEvent, QSize, Qt, QTimer
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QApplication, QSplitter, QWidget

from app.gui.plan.card import PlanCard
from app.gui.plan.front_chart import FrontChart
from app.gui.plan.inputs import PlanInputs
from app.gui.plan.offers_view import OffersView
from app.gui.plan.presenter import PlanPresenter
from app.gui.plan.state import PlanState
from app.gui.theme import Look
from app.gui.widgets import vbox

Fold = Literal["three", "two", "one"]
"""How many columns there are."""
_SIDEWAYS, _DOWN = Qt.Orientation.Horizontal, Qt.Orientation.Vertical
_EVENLY = (10_000, 10_000)
_LINES_EACH = 14
"""Of text, that a part under others is at least as high as."""


class Parts(NamedTuple):
    """`left` and `right` scroll by themselves; `below` is under all three, where they stand side by side."""

    left: QWidget
    centre: QWidget
    right: QWidget
    below: QWidget


class Folding(QWidget):
    """Three columns with a part under them; or `right` under `left` beside the others; or all under each other."""

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        self._parts = parts
        self.fold: Fold = "three"
        self._whole = self._laid_out()
        self._column = vbox(self._whole, within=self)
        self._later = QTimer(self, interval=0, singleShot=True)
        self._later.timeout.connect(self._fit)

    def minimumSizeHint(self) -> QSize:
        """As narrow as one column is: what is wider than this folds."""
        return QSize(max(_narrowest(part) for part in self._parts), self._whole.minimumSizeHint().height())

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._later.start()

    def event(self, event: QEvent) -> bool:
        """Larger text asks for another layout, too.

        It folds in the event loop's next turn: while Qt sets a style sheet it goes through a list of all widgets, and
        the process ends if one of them is deleted meanwhile.
        """
        if event.type() == QEvent.Type.LayoutRequest:
            self._later.start()
        return super().event(event)

    def _fit(self) -> None:
        fold = self._fold_at(self.width())
        if fold == self.fold:
            return
        self.fold = fold
        focused, before = QApplication.focusWidget(), self._whole
        self._whole = self._laid_out()
        self._column.replaceWidget(before, self._whole)
        self._whole.show()
        before.hide()
        before.deleteLater()
        if focused is not None and self.isAncestorOf(focused):
            focused.setFocus()

    def _fold_at(self, width: int) -> Fold:
        left, centre, right, below = map(_narrowest, self._parts)
        handle = self._whole.handleWidth()
        if left + centre + right + 2 * handle <= width:
            return "three"
        return "two" if max(left, right) + handle + max(centre, below) <= width else "one"

    def _laid_out(self) -> QSplitter:
        left, centre, right, below = self._parts
        least = _LINES_EACH * self.fontMetrics().lineSpacing() if self.fold == "one" else 0
        for part in (left, centre, right):
            part.setMinimumHeight(least)
        if self.fold == "one":
            return _split(_DOWN, (right, left, centre, below), (1, 1, 1, 1))
        if self.fold == "two":
            aside, beside = (_split(_DOWN, pair, (1, 1), _EVENLY) for pair in ((left, right), (centre, below)))
            return _split(_SIDEWAYS, (aside, beside), (0, 1), (1, self.width()))
        upper = _split(_SIDEWAYS, (left, centre, right), (3, 5, 4))
        return _split(_DOWN, (upper, below), (5, 3), (620, 260))


def _split(
    way: Qt.Orientation, widgets: Sequence[QWidget], stretches: Sequence[int], sizes: Sequence[int] = ()
) -> QSplitter:
    split = QSplitter(way)
    split.setChildrenCollapsible(False)
    for place, (widget, stretch) in enumerate(zip(widgets, stretches, strict=True)):
        split.addWidget(widget)
        split.setStretchFactor(place, stretch)
        widget.show()
    if sizes:
        split.setSizes(list(sizes))
    return split


def _narrowest(part: QWidget) -> int:
    return max(part.minimumWidth(), part.minimumSizeHint().width())


class Workbench(QWidget):
    """What is chosen in one part is chosen in all."""

    def __init__(self, presenter: PlanPresenter, look: Look) -> None:
        super().__init__()
        self._loaded: object = None
        self.inputs = PlanInputs(look)
        self.chart = FrontChart(look)
        self.card = PlanCard()
        self.offers = OffersView()
        self.folding = Folding(Parts(self.inputs, self.chart, self.card, self.offers))
        vbox(self.folding, within=self)
        for part in (self.inputs, self.card, self.offers):
            part.wanted.connect(presenter.change)
        self.offers.prices_wanted.connect(presenter.add_prices)
        self.offers.offer_chosen.connect(self.choose)
        self.chart.offer_chosen.connect(self.choose)
        self.card.offer_wanted.connect(self.choose)
        look.changed.connect(self.offers.fit_columns, Qt.ConnectionType.QueuedConnection)

    def show_state(self, state: PlanState) -> None:
        if state.loaded is not self._loaded:
            self._loaded = state.loaded
            self.choose("")
        self.inputs.show_state(state)
        self.chart.show_state(state)
        self.offers.show_state(state)
        self.card.show_state(state)

    def choose(self, offer: str) -> None:
        """Empty is the recommended one."""
        chosen = offer or None
        self.card.choose(chosen)
        self.chart.choose(chosen)
        self.offers.choose(chosen)
