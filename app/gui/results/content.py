"""Content of the Results page while a run is open: header, verdict, headline metrics and tabs."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QLineEdit, QSizePolicy, QTabWidget, QWidget

from app.gui.results.export_drawer import ExportDrawer
from app.gui.results.header import Header
from app.gui.results.state import ShownRun
from app.gui.results.tabs.details import EnvironmentTab, ErrorsTab, ProfileTab, ValidityTab
from app.gui.results.tabs.latency import LatencyTab, TokensTab
from app.gui.results.tabs.machine import MachineTab
from app.gui.results.tabs.overview import OverviewTab
from app.gui.results.tabs.plan import BaselineTab, PlanTab
from app.gui.results.tabs.requests import RequestsTab
from app.gui.results.tabs.tab import Tab
from app.gui.results.tabs.throughput import ThroughputTab
from app.gui.results.tabs.variants import ModelTab, VariantsTab
from app.gui.results.tiles import Tiles
from app.gui.results.verdict_card import VerdictCard
from app.gui.theme import ThemeController
from app.gui.widgets import vbox
from reports.formatting import display_tiles


class Content(QWidget):
    """Widget that shows an opened run. Each tab is filled when it is first viewed."""

    scroll_requested = Signal(object)
    """Emitted with the widget to scroll to."""

    def __init__(self, theme_controller: ThemeController) -> None:
        super().__init__()
        self._shown: ShownRun | None = None
        self._shown_in_tab: dict[Tab, ShownRun] = {}
        self.header, self.drawer, self.verdict = Header(), ExportDrawer(), VerdictCard()
        self.tiles, self.overview = Tiles(), OverviewTab(theme_controller)
        self.requests, self.profile, self.plan, self.validity = RequestsTab(), ProfileTab(), PlanTab(), ValidityTab()
        self.all_tabs: tuple[Tab, ...] = (
            VariantsTab(theme_controller),
            self.overview,
            LatencyTab(theme_controller),
            ThroughputTab(theme_controller),
            TokensTab(theme_controller),
            MachineTab(theme_controller),
            ErrorsTab(),
            self.requests,
            EnvironmentTab(),
            self.profile,
            self.validity,
            ModelTab(),
            self.plan,
            BaselineTab(),
        )
        self.tabs = QTabWidget()
        self.tabs.setAccessibleName("Result sections")
        self.tabs.tabBar().setAccessibleName("Result sections")
        self.tabs.setUsesScrollButtons(True)
        self.tabs.setDocumentMode(True)
        for tab in self.all_tabs:
            self.tabs.addTab(tab, tab.title)
        vbox(
            self.header,
            self.drawer,
            self.verdict,
            self.tiles,
            self.header.label_fields,
            (self.tabs, 1),
            within=self,
            margins=(0, 0, 8, 0),
            spacing=10,
        )
        self.tabs.currentChanged.connect(self._fill)
        self.requests.time_selected.connect(self.show_time)
        self.verdict.validity_requested.connect(self._show_validity)

    def show_run(self, shown: ShownRun) -> None:
        """Replace the displayed run."""
        self.drawer.hide()
        self.header.show_run(shown)
        self.header.set_actions_enabled(_why_no_comparison(shown), _why_no_plan(shown))
        previous_tab = self.tabs.currentWidget()
        for index, tab in enumerate(self.all_tabs):
            applies = tab.applies_to(shown)
            self.tabs.setTabVisible(index, applies)
            self.tabs.setTabEnabled(index, applies)
        first_tab = next((tab for tab in self.all_tabs if tab.applies_to(shown)), None)
        self._shown = shown
        if first_tab is not None:
            self.tabs.setCurrentWidget(
                previous_tab if isinstance(previous_tab, Tab) and previous_tab.applies_to(shown) else first_tab
            )
        self.show_evaluation(shown)

    def show_evaluation(self, shown: ShownRun) -> None:
        """Show the run after an evaluation with a different SLO or time range, or unchanged after a
        rejected request."""
        self._shown = shown
        self._shown_in_tab.clear()
        self.verdict.show_run(shown)
        self.tiles.show_tiles(display_tiles(shown.report))
        self.drawer.show_run(shown)
        self._fill()

    def show_labels(self, shown: ShownRun) -> None:
        """Show the labels of the displayed run after they have changed."""
        self.header.show_labels(shown.labels)
        self.drawer.show_run(shown)

    def show_time(self, at_s: float, description: str = "") -> None:
        self.tabs.setCurrentWidget(self.overview)
        self.overview.axis.show_time(at_s, description)
        self.scroll_requested.emit(self.overview.axis)

    def filter_field(self) -> QLineEdit | None:
        """Return the filter field of the Requests tab, or None if the run has no requests."""
        if self._shown is None or not self.requests.applies_to(self._shown):
            return None
        self.tabs.setCurrentWidget(self.requests)
        return self.requests.min_latency

    def leave(self) -> None:
        self.drawer.hide()

    def _fill(self, _: int = 0) -> None:
        """Fill the current tab, and fit the height of the tab widget to the current tab instead of
        the tallest tab."""
        tab = self.tabs.currentWidget()
        for other_tab in self.all_tabs:
            policy = QSizePolicy.Policy.Preferred if other_tab is tab else QSizePolicy.Policy.Ignored
            other_tab.setSizePolicy(policy, policy)
        if isinstance(tab, Tab) and self._shown is not None and self._shown_in_tab.get(tab) is not self._shown:
            self._shown_in_tab[tab] = self._shown
            tab.show_run(self._shown)

    def _show_validity(self) -> None:
        self.tabs.setCurrentWidget(self.validity)
        self.tabs.setFocus(Qt.FocusReason.OtherFocusReason)
        self.scroll_requested.emit(self.tabs)


def _why_no_comparison(shown: ShownRun) -> str | None:
    if shown.opened.recovery is not None:
        return "This run was interrupted. It has no result to compare or plan from."
    return None


def _why_no_plan(shown: ShownRun) -> str | None:
    """Return the reason why no plan can be based on the run, or None if a plan is possible."""
    if shown.own_report.verdict.validity == "INVALID":
        return "The measurement is INVALID. It cannot be used for a plan."
    return _why_no_comparison(shown)
