"""What stands on the result page once a run is open, from the verdict down to its tabs."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QLineEdit, QSizePolicy, QTabWidget, QWidget

from app.gui.results.export_drawer import ExportDrawer
from app.gui.results.header import Header
from app.gui.results.state import Shown
from app.gui.results.tabs.facts import EnvironmentTab, ErrorsTab, ProfileTab, ValidityTab
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
from app.gui.theme import Look
from app.gui.widgets import vbox


class Content(QWidget):
    """A tab is filled when it is looked at. `moment_shown` has the widget to scroll to."""

    moment_shown = Signal(object)

    def __init__(self, look: Look) -> None:
        super().__init__()
        self._shown: Shown | None = None
        self._filled: dict[Tab, Shown] = {}
        self.header, self.drawer, self.verdict = Header(), ExportDrawer(), VerdictCard()
        self.tiles, self.overview = Tiles(), OverviewTab(look)
        self.requests, self.profile, self.plan, self.validity = RequestsTab(), ProfileTab(), PlanTab(), ValidityTab()
        self.all_tabs: tuple[Tab, ...] = (
            VariantsTab(look),
            self.overview,
            LatencyTab(look),
            ThroughputTab(look),
            TokensTab(look),
            MachineTab(look),
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
        self.tabs.setAccessibleName("Parts of the result")
        self.tabs.tabBar().setAccessibleName("Parts of the result")
        self.tabs.setUsesScrollButtons(True)
        self.tabs.setDocumentMode(True)
        for tab in self.all_tabs:
            self.tabs.addTab(tab, tab.title)
        vbox(
            self.header,
            self.drawer,
            self.verdict,
            self.tiles,
            (self.tabs, 1),
            within=self,
            margins=(0, 0, 8, 0),
            spacing=10,
        )
        self.tabs.currentChanged.connect(self._fill)
        self.requests.moment_chosen.connect(self.show_moment)
        self.verdict.validity_wished.connect(self._show_validity)

    def show_run(self, shown: Shown) -> None:
        """Another run."""
        self.drawer.hide()
        self.header.show_run(shown)
        self.header.set_usable(_why_unfinished(shown), _why_no_plan(shown))
        kept = self.tabs.currentWidget()
        for place, tab in enumerate(self.all_tabs):
            is_there = tab.is_for(shown)
            self.tabs.setTabVisible(place, is_there)
            self.tabs.setTabEnabled(place, is_there)
        first = next((tab for tab in self.all_tabs if tab.is_for(shown)), None)
        self._shown = shown
        if first is not None:
            self.tabs.setCurrentWidget(kept if isinstance(kept, Tab) and kept.is_for(shown) else first)
        self.show_asked(shown)

    def show_asked(self, shown: Shown) -> None:
        """The same run, by another SLO or window; or as it was, where what was asked for is refused."""
        self._shown = shown
        self._filled.clear()
        self.verdict.show_run(shown)
        self.tiles.show_tiles(shown.report.tiles)
        self.drawer.show_run(shown)
        self._fill()

    def show_labels(self, shown: Shown) -> None:
        """People said something else of the same run."""
        self.header.show_labels(shown.labels)
        self.drawer.show_run(shown)

    def show_moment(self, at_s: float, words: str = "") -> None:
        self.tabs.setCurrentWidget(self.overview)
        self.overview.axis.show_moment(at_s, words)
        self.moment_shown.emit(self.overview.axis)

    def filter_field(self) -> QLineEdit | None:
        """None where the run sent no request."""
        if self._shown is None or not self.requests.is_for(self._shown):
            return None
        self.tabs.setCurrentWidget(self.requests)
        return self.requests.least

    def leave(self) -> None:
        self.drawer.hide()

    def _fill(self, _: int = 0) -> None:
        """The tabs are as high as the one that is looked at, not as the highest of them."""
        tab = self.tabs.currentWidget()
        for one in self.all_tabs:
            policy = QSizePolicy.Policy.Preferred if one is tab else QSizePolicy.Policy.Ignored
            one.setSizePolicy(policy, policy)
        if isinstance(tab, Tab) and self._shown is not None and self._filled.get(tab) is not self._shown:
            self._filled[tab] = self._shown
            tab.show_run(self._shown)

    def _show_validity(self) -> None:
        self.tabs.setCurrentWidget(self.validity)
        self.tabs.setFocus(Qt.FocusReason.OtherFocusReason)
        self.moment_shown.emit(self.tabs)


def _why_unfinished(shown: Shown) -> str | None:
    if shown.opened.recovery is not None:
        return "The run was cut short: it has no result to compare or to plan from."
    return None


def _why_no_plan(shown: Shown) -> str | None:
    """Why nothing can be planned from it."""
    if shown.own.verdict.trust == "INVALID":
        return "The measurement is INVALID, and no plan stands on it."
    return _why_unfinished(shown)
