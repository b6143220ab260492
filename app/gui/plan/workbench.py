"""Workbench of the Plan page: the decision, and below it the inputs, the cost chart, the fleet
details and the offers.

The four panels are side by side if there is enough space, otherwise stacked, so that they are never
wider than the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from PySide6.QtCore import QEvent, QSize, Qt, QTimer
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QApplication, QSplitter, QWidget

from app.gui.plan.card import PlanCard
from app.gui.plan.inputs import PlanInputs
from app.gui.plan.offers_view import OffersView
from app.gui.plan.pareto_chart import ParetoChart
from app.gui.plan.presenter import PlanPresenter
from app.gui.plan.state import PlanState
from app.gui.theme import ThemeController
from app.gui.widgets import vbox

LayoutMode = Literal["three", "two", "one"]
"""Number of columns of the layout."""
_HORIZONTAL, _VERTICAL = Qt.Orientation.Horizontal, Qt.Orientation.Vertical
_EVENLY = (10_000, 10_000)
_MIN_LINES = 14
"""Minimum height of a stacked panel, in lines of text."""


class Panels(NamedTuple):
    """Panels of the workbench. `left` and `right` scroll independently; `below` spans the full
    width if the other panels are side by side."""

    left: QWidget
    center: QWidget
    right: QWidget
    below: QWidget


class ResponsiveLayout(QWidget):
    """Layout that adapts to the width: three columns above the bottom panel, two columns with
    `right` below `left`, or a single column."""

    def __init__(self, panels: Panels) -> None:
        super().__init__()
        self._parts = panels
        self.layout_mode: LayoutMode = "three"
        self._whole = self._laid_out()
        self._column = vbox(self._whole, within=self)
        self._layout_timer = QTimer(self, interval=0, singleShot=True)
        self._layout_timer.timeout.connect(self._fit)

    def minimumSizeHint(self) -> QSize:
        """Return a minimum width of one column, since the layout adapts to any greater width."""
        return QSize(max(_min_width(part) for part in self._parts), self._whole.minimumSizeHint().height())

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._layout_timer.start()

    def event(self, event: QEvent) -> bool:
        """Handle a change of the text size, which may require a different layout.

        The layout changes in the next iteration of the event loop: while Qt sets a style sheet, it
        iterates over all widgets, and deleting a widget meanwhile would crash the process.
        """
        if event.type() == QEvent.Type.LayoutRequest:
            self._layout_timer.start()
        return super().event(event)

    def _fit(self) -> None:
        fold = self._fold_at(self.width())
        if fold == self.layout_mode:
            return
        self.layout_mode = fold
        focused, before = QApplication.focusWidget(), self._whole
        self._whole = self._laid_out()
        self._column.replaceWidget(before, self._whole)
        self._whole.show()
        before.hide()
        before.deleteLater()
        if focused is not None and self.isAncestorOf(focused):
            focused.setFocus()

    def _fold_at(self, width: int) -> LayoutMode:
        left, centre, right, below = map(_min_width, self._parts)
        handle = self._whole.handleWidth()
        if left + centre + right + 2 * handle <= width:
            return "three"
        return "two" if max(left, right) + handle + max(centre, below) <= width else "one"

    def _laid_out(self) -> QSplitter:
        left, centre, right, below = self._parts
        min_height = _MIN_LINES * self.fontMetrics().lineSpacing() if self.layout_mode == "one" else 0
        for part in (left, centre, right):
            part.setMinimumHeight(min_height)
        if self.layout_mode == "one":
            return _split(_VERTICAL, (right, left, centre, below), (1, 1, 1, 1))
        if self.layout_mode == "two":
            aside, main = (_split(_VERTICAL, pair, (1, 1), _EVENLY) for pair in ((left, right), (centre, below)))
            return _split(_HORIZONTAL, (aside, main), (0, 1), (1, self.width()))
        upper = _split(_HORIZONTAL, (left, centre, right), (3, 5, 4))
        return _split(_VERTICAL, (upper, below), (5, 3), (620, 260))


def _split(
    orientation: Qt.Orientation, widgets: Sequence[QWidget], stretches: Sequence[int], sizes: Sequence[int] = ()
) -> QSplitter:
    split = QSplitter(orientation)
    split.setChildrenCollapsible(False)
    for index, (widget, stretch) in enumerate(zip(widgets, stretches, strict=True)):
        split.addWidget(widget)
        split.setStretchFactor(index, stretch)
        widget.show()
    if sizes:
        split.setSizes(list(sizes))
    return split


def _min_width(part: QWidget) -> int:
    return max(part.minimumWidth(), part.minimumSizeHint().width())


class Workbench(QWidget):
    """Result and input panels of a plan. Selecting an offer in one panel selects it in all
    panels."""

    def __init__(self, presenter: PlanPresenter, theme_controller: ThemeController) -> None:
        super().__init__()
        self._loaded: object = None
        self.inputs = PlanInputs(theme_controller)
        self.chart = ParetoChart(theme_controller)
        self.card = PlanCard()
        self.offers = OffersView()
        self.panel_layout = ResponsiveLayout(Panels(self.inputs, self.chart, self.card, self.offers))
        vbox(self.card.head, (self.panel_layout, 1), within=self, spacing=6)
        for part in (self.inputs, self.card, self.offers):
            part.change_requested.connect(presenter.apply_change)
        self.offers.price_list_requested.connect(presenter.add_prices)
        self.offers.offer_selected.connect(self.select_offer)
        self.chart.offer_selected.connect(self.select_offer)
        self.card.offer_requested.connect(self.select_offer)
        theme_controller.changed.connect(self.offers.fit_columns, Qt.ConnectionType.QueuedConnection)

    def show_state(self, state: PlanState) -> None:
        if state.loaded is not self._loaded:
            self._loaded = state.loaded
            self.select_offer("")
        self.inputs.show_state(state)
        self.chart.show_state(state)
        self.offers.show_state(state)
        self.card.show_state(state)

    def select_offer(self, offer: str) -> None:
        """Select an offer in all panels. An empty key selects the recommended offer."""
        chosen = offer or None
        self.card.select_offer(chosen)
        self.chart.select_offer(chosen)
        self.offers.select_offer(chosen)
