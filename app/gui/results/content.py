"""Content of the Results page while a run is open: verdict, headline metrics, latency by load, and
tabs."""

from __future__ import annotations

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtWidgets import QLineEdit, QSizePolicy, QTabWidget, QWidget

from app.analysis.objectives import format_objective
from app.gui.charts.export import ExportCaption, set_export_caption
from app.gui.results.export_drawer import ExportDrawer
from app.gui.results.header import Header
from app.gui.results.load_curves import LoadCurves
from app.gui.results.state import DisplayedRun
from app.gui.results.tabs.classes import ClassesTab
from app.gui.results.tabs.details import EnvironmentTab, ErrorsTab, ProfileTab, ValidityTab
from app.gui.results.tabs.language_models import (
    BottleneckTab,
    GenerationTab,
    MemoryTab,
    QualityTab,
    is_language_model_run,
)
from app.gui.results.tabs.latency import BreakdownTab, LatencyTab, TokensTab
from app.gui.results.tabs.machine import MachineTab
from app.gui.results.tabs.overview import OverviewTab
from app.gui.results.tabs.plan import BaselineTab, PlanTab, ShapePlanTab
from app.gui.results.tabs.requests import RequestsTab
from app.gui.results.tabs.tab import Tab
from app.gui.results.tabs.throughput import ThroughputTab
from app.gui.results.tabs.variants import ModelTab, VariantsTab
from app.gui.results.tiles import Tiles
from app.gui.results.verdict_card import VerdictCard
from app.gui.theme import SCROLL_MARGINS, ThemeController
from app.gui.widgets import vbox
from reports.decision import display_tiles


class Content(QWidget):
    """Widget that shows an opened run. Each tab is built and filled when it is first viewed: the
    charts of all tabs together would take most of the time in which a run is opened.

    `header` is not within the widget, so that it stays in view while the widget is scrolled."""

    scroll_requested = Signal(object)
    """Signal that is emitted with the widget to scroll to."""

    def __init__(self, theme_controller: ThemeController) -> None:
        super().__init__()
        self._displayed_run: DisplayedRun | None = None
        self._theme_controller = theme_controller
        self._runs_by_tab: dict[Tab, DisplayedRun] = {}
        self._built_tabs: set[Tab] = set()
        self.header, self.drawer, self.verdict_card = Header(), ExportDrawer(), VerdictCard()
        self.tiles, self.load_curves, self.overview = (
            Tiles(),
            LoadCurves(theme_controller),
            OverviewTab(theme_controller),
        )
        self.requests_tab, self.profile_tab, self.plan_tab, self.validity_tab = (
            RequestsTab(),
            ProfileTab(),
            PlanTab(),
            ValidityTab(),
        )
        self.shape_plan_tab = ShapePlanTab()
        self.all_tabs: tuple[Tab, ...] = (
            VariantsTab(),
            GenerationTab(),
            BottleneckTab(),
            MemoryTab(),
            QualityTab(),
            self.overview,
            LatencyTab(),
            BreakdownTab(),
            ThroughputTab(),
            TokensTab(),
            ClassesTab(),
            MachineTab(),
            ErrorsTab(),
            self.requests_tab,
            EnvironmentTab(),
            self.profile_tab,
            self.validity_tab,
            ModelTab(),
            self.plan_tab,
            self.shape_plan_tab,
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
            self.drawer,
            self.verdict_card,
            self.tiles,
            self.load_curves,
            self.header.label_section,
            (self.tabs, 1),
            within=self,
            margins=SCROLL_MARGINS,
            spacing=10,
        )
        self.tabs.currentChanged.connect(self._fill_current_tab)
        self.requests_tab.time_selected.connect(self.show_time)
        self.verdict_card.validity_requested.connect(self._show_validity)

    def show_run(self, displayed_run: DisplayedRun) -> None:
        """Show a run, replacing the previous run. The selected tab stays selected if it applies to
        the run."""
        self.drawer.hide()
        self.header.show_run(displayed_run)
        self.header.set_actions_enabled(_get_comparison_obstacle(displayed_run), _get_plan_obstacle(displayed_run))
        previous_tab = self.tabs.currentWidget()
        for index, tab in enumerate(self.all_tabs):
            is_applicable = tab.applies_to(displayed_run)
            if self.tabs.isTabVisible(index) != is_applicable:  # without a change, Qt would not lay out the other tabs
                self.tabs.setTabVisible(index, is_applicable)
                self.tabs.setTabEnabled(index, is_applicable)
        first_tab = next((tab for tab in self.all_tabs if tab.applies_to(displayed_run)), None)
        self._displayed_run = displayed_run
        if first_tab is not None:
            self.tabs.setCurrentWidget(
                previous_tab if isinstance(previous_tab, Tab) and previous_tab.applies_to(displayed_run) else first_tab
            )
        self.show_evaluation(displayed_run)

    def show_evaluation(self, displayed_run: DisplayedRun) -> None:
        """Show the run after a re-evaluation with a different SLO or time range, or unchanged after
        a rejected re-evaluation."""
        self._displayed_run = displayed_run
        self._runs_by_tab.clear()
        header = displayed_run.own_report.header
        texts = displayed_run.own_slo if displayed_run.request.slo is None else displayed_run.request.slo
        slo = tuple(map(format_objective, texts))
        set_export_caption(self, ExportCaption(displayed_run.labels.title or header.title, header.started, slo))
        self.verdict_card.show_run(displayed_run)
        self.tiles.show_tiles(display_tiles(displayed_run.report))
        self.load_curves.show_run(displayed_run)
        self.header.show_outcome(displayed_run.report.verdict)
        self.drawer.show_run(displayed_run)
        self._fill_current_tab()

    def show_labels(self, displayed_run: DisplayedRun) -> None:
        """Show the labels of the displayed run after they have changed."""
        self.header.show_labels(displayed_run.labels)
        self.drawer.show_run(displayed_run)

    def show_time(self, time_s: float, description: str = "") -> None:
        self.tabs.setCurrentWidget(self.overview)
        self.overview.time_axis.show_time(time_s, description)
        self.scroll_requested.emit(self.overview.time_axis)

    def filter_field(self) -> QLineEdit | None:
        """Return the filter field of the Requests tab, or None if the run has no requests."""
        if self._displayed_run is None or not self.requests_tab.applies_to(self._displayed_run):
            return None
        self.tabs.setCurrentWidget(self.requests_tab)
        return self.requests_tab.min_latency_field

    def show_ways_to_plan(self) -> bool:
        """Show which plans are possible for a run of language models on this machine. Return False
        for other runs."""
        if self._displayed_run is None or not is_language_model_run(self._displayed_run):
            return False
        self.tabs.setCurrentWidget(self.plan_tab)
        QTimer.singleShot(0, self, lambda: self.scroll_requested.emit(self.plan_tab.serving_button))  # when laid out
        self.plan_tab.serving_button.setFocus(Qt.FocusReason.OtherFocusReason)
        return True

    def leave(self) -> None:
        self.drawer.hide()

    def _fill_current_tab(self, _: int = 0) -> None:
        """Fill the current tab, and build it if it was never viewed. Fit the height of the tab widget
        to this tab instead of the tallest tab."""
        tab = self.tabs.currentWidget()
        for other_tab in self.all_tabs:
            policy = QSizePolicy.Policy.Preferred if other_tab is tab else QSizePolicy.Policy.Ignored
            other_tab.setSizePolicy(policy, policy)
        if (
            isinstance(tab, Tab)
            and self._displayed_run is not None
            and self._runs_by_tab.get(tab) is not self._displayed_run
        ):
            if tab not in self._built_tabs:
                self._built_tabs.add(tab)
                tab.hide()  # otherwise its new widgets would be shown one event later than the tab
                tab.build(self._theme_controller)
                tab.show()
            self._runs_by_tab[tab] = self._displayed_run
            tab.show_run(self._displayed_run)

    def _show_validity(self) -> None:
        self.tabs.setCurrentWidget(self.validity_tab)
        self.tabs.setFocus(Qt.FocusReason.OtherFocusReason)
        self.scroll_requested.emit(self.tabs)


def _get_comparison_obstacle(displayed_run: DisplayedRun) -> str | None:
    recovery = displayed_run.opened_run.recovery
    if recovery is None:
        return None
    cause_text = "lost its result.json" if recovery.has_lost_result else "was interrupted"
    return f"This run {cause_text}. It has no result for a comparison or a plan."


def _get_plan_obstacle(displayed_run: DisplayedRun) -> str | None:
    """Return the reason why no plan can be based on the run, or None if a plan is possible."""
    if displayed_run.own_report.verdict.validity == "INVALID":
        return "The measurement is INVALID. It cannot be used for a plan."
    return _get_comparison_obstacle(displayed_run)
