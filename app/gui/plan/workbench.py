"""Workbench of the Plan page: the recommendation, and below it the inputs, the cost chart, the
fleet details and the offers.

The four panels are side by side if there is enough space, otherwise stacked, so that they are never
wider than the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec
from PySide6.QtCore import QEvent, QSize, Qt, QTimer
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QApplication, QSplitter, QTabWidget, QWidget

from app.gui.plan.card import PlanCard
from app.gui.plan.comparison import PIN_MARKS, ComparisonView, toggle_pin
from app.gui.plan.evidence_view import EvidenceView
from app.gui.plan.inputs import PlanInputs
from app.gui.plan.offers_view import OffersView
from app.gui.plan.pareto_chart import ParetoChart
from app.gui.plan.presenter import PlanPresenter
from app.gui.plan.result_widgets import build_capacity_rows, get_sized_peak_per_s
from app.gui.plan.state import PlanState, find_fleet
from app.gui.theme import ThemeController
from app.gui.widgets import vbox
from app.records.plan import Plan
from app.wiring.planning import PlanRequest

LayoutMode = Literal["three", "two", "one"]
"""Layout of the workbench, named after its number of columns."""
_HORIZONTAL, _VERTICAL = Qt.Orientation.Horizontal, Qt.Orientation.Vertical
_EQUAL_SIZES = (10_000, 10_000)
_COLUMN_SIZES = (6_000, 12_000, 8_000)
"""Proportions of the three columns. Without them, the details of an offer would get the width that
they need before there is a plan."""
_MIN_PANEL_LINES = 14
"""Minimum height of a stacked panel, in lines of text."""
_PREFERRED_LINES = 26
"""Height of the layout of three columns below which the page scrolls, in lines of text."""


class Panels(NamedTuple):
    """Panels of the workbench. `left` and `right` scroll independently; `bottom` spans the full
    width if the other panels are side by side."""

    left: QWidget
    center: QWidget
    right: QWidget
    bottom: QWidget


class ResponsiveLayout(QWidget):
    """Layout that adapts to its width: three columns above the bottom panel, two columns with
    `right` below `left`, or a single column."""

    def __init__(self, panels: Panels) -> None:
        super().__init__()
        self._panels = panels
        self.layout_mode: LayoutMode = "three"
        self._splitter = self._build_splitter()
        self._layout = vbox(self._splitter, within=self)
        self._layout_timer = QTimer(self, interval=0, singleShot=True)
        self._layout_timer.timeout.connect(self._update_layout)

    def minimumSizeHint(self) -> QSize:
        """Return the minimum size of the one-column layout, since the layout adapts to any greater
        width."""
        return QSize(max(_get_min_width(panel) for panel in self._panels), self._splitter.minimumSizeHint().height())

    def sizeHint(self) -> QSize:
        """Return a size that leaves the offers visible in a small window: the page scrolls once it
        is lower than this, and the charts prefer more than they need."""
        size, min_size = super().sizeHint(), self.minimumSizeHint()
        if self.layout_mode != "three":
            return size
        lines_px = _PREFERRED_LINES * self.fontMetrics().lineSpacing()
        return QSize(size.width(), max(min_size.height(), min(size.height(), lines_px)))

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._layout_timer.start()

    def event(self, event: QEvent) -> bool:
        """Handle a change of the text size, which may require a different layout.

        The layout changes in the next iteration of the event loop, because Qt iterates over all
        widgets while setting a style sheet. Deleting a widget during this iteration would crash the
        process.
        """
        if event.type() == QEvent.Type.LayoutRequest:
            self._layout_timer.start()
        return super().event(event)

    def _update_layout(self) -> None:
        layout_mode = self._choose_layout_mode(self.width())
        if layout_mode == self.layout_mode:
            return
        self.layout_mode = layout_mode
        focused_widget, previous_splitter = QApplication.focusWidget(), self._splitter
        self._splitter = self._build_splitter()
        self._layout.replaceWidget(previous_splitter, self._splitter)
        self._splitter.show()
        previous_splitter.hide()
        previous_splitter.deleteLater()
        if focused_widget is not None and self.isAncestorOf(focused_widget):
            focused_widget.setFocus()

    def _choose_layout_mode(self, width: int) -> LayoutMode:
        left_width, center_width, right_width, bottom_width = map(_get_min_width, self._panels)
        handle_width = self._splitter.handleWidth()
        if left_width + center_width + right_width + 2 * handle_width <= width:
            return "three"
        return (
            "two" if max(left_width, right_width) + handle_width + max(center_width, bottom_width) <= width else "one"
        )

    def _build_splitter(self) -> QSplitter:
        left, center, right, bottom = self._panels
        min_height = _MIN_PANEL_LINES * self.fontMetrics().lineSpacing() if self.layout_mode == "one" else 0
        for panel in (left, center, right):
            panel.setMinimumHeight(min_height)
        if self.layout_mode == "one":
            return _create_splitter(_VERTICAL, (right, left, center, bottom), (1, 1, 1, 1))
        if self.layout_mode == "two":
            side_splitter, main_splitter = (
                _create_splitter(_VERTICAL, panels, (1, 1), _EQUAL_SIZES)
                for panels in ((left, right), (center, bottom))
            )
            return _create_splitter(_HORIZONTAL, (side_splitter, main_splitter), (0, 1), (1, self.width()))
        upper_splitter = _create_splitter(_HORIZONTAL, (left, center, right), (1, 1, 1), _COLUMN_SIZES)
        return _create_splitter(_VERTICAL, (upper_splitter, bottom), (5, 3), (560, 330))


def _create_splitter(
    orientation: Qt.Orientation, widgets: Sequence[QWidget], stretches: Sequence[int], sizes: Sequence[int] = ()
) -> QSplitter:
    splitter = QSplitter(orientation)
    splitter.setChildrenCollapsible(False)
    for index, (widget, stretch) in enumerate(zip(widgets, stretches, strict=True)):
        splitter.addWidget(widget)
        splitter.setStretchFactor(index, stretch)
        widget.show()
    if sizes:
        splitter.setSizes(list(sizes))
    return splitter


def _get_min_width(panel: QWidget) -> int:
    return max(panel.minimumWidth(), panel.minimumSizeHint().width())


class Workbench(QWidget):
    """Result and input panels of a plan. Selecting an offer in one panel selects it in all
    panels."""

    def __init__(self, presenter: PlanPresenter, theme_controller: ThemeController) -> None:
        super().__init__()
        self._presenter = presenter
        self._state = presenter.state
        self._displayed_request: PlanRequest | None = None
        self._selected_offer: str | None = None
        self.inputs = PlanInputs(theme_controller)
        self.chart = ParetoChart(theme_controller)
        self.card = PlanCard()
        self.offers = OffersView()
        self.comparison = ComparisonView()
        self.tabs = QTabWidget()
        self.tabs.setDocumentMode(True)
        self.tabs.setAccessibleName("Selected offer and comparison")
        self.tabs.addTab(self.card, "Offer")
        self.tabs.addTab(self.comparison, "Comparison")
        self.evidence = EvidenceView()
        self.bottom_tabs = QTabWidget()
        self.bottom_tabs.setDocumentMode(True)
        self.bottom_tabs.setTabBarAutoHide(True)
        self.bottom_tabs.setAccessibleName("Offers and evidence")
        self.bottom_tabs.addTab(self.offers, "Offers")
        self.pinned_offers: tuple[str, ...] = ()
        self._plan: Plan | None = None
        self.panel_layout = ResponsiveLayout(Panels(self.inputs, self.chart, self.tabs, self.bottom_tabs))
        vbox(self.card.header, (self.panel_layout, 1), within=self, spacing=6)
        for panel in (self.inputs, self.card, self.offers):
            panel.change_requested.connect(presenter.apply_change)
        self.offers.price_list_requested.connect(presenter.add_price_list)
        self.offers.offer_selected.connect(self.select_offer)
        self.chart.offer_selected.connect(self.select_offer)
        self.card.offer_requested.connect(self.select_offer)
        self.offers.model.pin_toggled.connect(self.toggle_pin)
        self.comparison.pin_toggled.connect(self.toggle_pin)
        for pin_button in (self.chart.pin_button, self.offers.pin_button):
            pin_button.requested.connect(self._toggle_selected)
        theme_controller.changed.connect(self.offers.fit_columns, Qt.ConnectionType.QueuedConnection)

    def show_state(self, state: PlanState) -> None:
        state = msgspec.structs.replace(state, plan=state.refined_plan or state.plan)
        self._state = state
        request = None if state.loaded_sources is None else state.loaded_sources.request
        if request is not self._displayed_request:
            self._displayed_request = request
            self._set_pins(())
            self.select_offer("")
        self.inputs.show_state(state)
        self.chart.show_state(state)
        self.offers.show_state(state)
        self.card.show_state(state)
        self._show_evidence(state)
        if state.plan is not self._plan:
            self._plan = state.plan
            self._set_pins(self.pinned_offers)
        self._show_capacity()

    def _show_evidence(self, state: PlanState) -> None:
        """Show the evidence in a tab of its own, which only plans of a language model have."""
        self.evidence.show_state(state)
        index = self.bottom_tabs.indexOf(self.evidence)
        if state.evidence is not None and index < 0:
            self.bottom_tabs.addTab(self.evidence, "Evidence")
        elif state.evidence is None and index >= 0:
            self.bottom_tabs.removeTab(index)

    def select_offer(self, offer: str) -> None:
        """Select an offer in all panels. An empty key selects the recommended offer."""
        offer_key = self._selected_offer = offer or None
        self.card.select_offer(offer_key)
        self.chart.select_offer(offer_key)
        self.offers.select_offer(offer_key)
        self._show_pin_buttons()
        self._show_capacity()
        self._simulate_offers()

    def _show_capacity(self) -> None:
        """Show the capacity of the selected offer in the curve of the day."""
        if self._state.inputs is not None and self._plan is not None:
            fleet = find_fleet(self._plan, self._selected_offer)
            self.inputs.traffic.day.show_capacity(
                build_capacity_rows(fleet), self._state.inputs.traffic, get_sized_peak_per_s(fleet)
            )

    def _simulate_offers(self) -> None:
        """Request the simulation of the offers that are shown in detail."""
        offers = (*([] if self._selected_offer is None else [self._selected_offer]), *self.pinned_offers)
        self._presenter.simulate_offers(tuple(dict.fromkeys(offers)))

    def toggle_pin(self, offer: str) -> None:
        """Pin an offer for the comparison, or remove its pin. The comparison is shown with the
        second pin."""
        self._set_pins(toggle_pin(self.pinned_offers, offer))
        self._simulate_offers()
        if offer in self.pinned_offers and len(self.pinned_offers) == len(PIN_MARKS):
            self.tabs.setCurrentWidget(self.comparison)

    def _set_pins(self, offers: tuple[str, ...]) -> None:
        """Show the pinned offers in all panels. Pins of offers that the plan no longer has are
        removed."""
        known_offers = () if self._plan is None else tuple(fleet.offer for fleet in self._plan.offers)
        self.pinned_offers = tuple(offer for offer in offers if offer in known_offers)
        self.tabs.setTabText(1, f"Comparison ({len(self.pinned_offers)})" if self.pinned_offers else "Comparison")
        self.comparison.show_comparison(self.pinned_offers, self._plan)
        self.chart.show_pins(self.pinned_offers)
        self.offers.model.set_pinned_offers(self.pinned_offers)
        self._show_pin_buttons()

    def _toggle_selected(self) -> None:
        offer = self._get_selected_offer()
        if offer is not None:
            self.toggle_pin(offer)

    def _show_pin_buttons(self) -> None:
        offer = self._get_selected_offer()
        for pin_button in (self.chart.pin_button, self.offers.pin_button):
            pin_button.setEnabled(offer is not None)
            pin_button.setChecked(offer in self.pinned_offers)

    def _get_selected_offer(self) -> str | None:
        """Return the offer selected in the table or the chart, or else the recommended one."""
        recommendation = None if self._plan is None else self._plan.recommendation
        return self._selected_offer or (None if recommendation is None else recommendation.fleet.offer)
