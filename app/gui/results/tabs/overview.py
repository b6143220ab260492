"""Overview tab: the SLO objectives with their results, and charts of the run over time."""

from __future__ import annotations

from app.gui.results.state import DisplayedRun
from app.gui.results.tabs.tab import Tab
from app.gui.results.time_axis import TimeAxis
from app.gui.slo_editor import SloEditor
from app.gui.theme import ThemeController
from reports.model import Report


class OverviewTab(Tab):
    title = "Overview"

    def __init__(self, theme_controller: ThemeController) -> None:
        super().__init__()
        self._own_report: Report | None = None
        self.slo_editor = SloEditor("SLO (edit to re-evaluate this run)")
        self.time_axis = TimeAxis(theme_controller)
        self.column.addWidget(self.slo_editor)
        self.column.addWidget(self.time_axis)
        self.column.addStretch(1)

    def applies_to(self, _: DisplayedRun) -> bool:
        return True

    def show_run(self, displayed_run: DisplayedRun) -> None:
        if displayed_run.own_report is not self._own_report:
            self._own_report = displayed_run.own_report
            self.slo_editor.clear()
            self.time_axis.show_run(displayed_run)
        slo = displayed_run.own_slo if displayed_run.request.slo is None else displayed_run.request.slo
        self.slo_editor.show_slo(slo, displayed_run.own_slo, displayed_run.report.objectives)
        self.time_axis.show_evaluation(displayed_run)
