"""Overview tab: the SLO objectives with their evaluation, and charts of the run over time."""

from __future__ import annotations

from app.gui.results.state import ShownRun
from app.gui.results.tabs.tab import Tab
from app.gui.results.time_axis import TimeAxis
from app.gui.slo_editor import SloEditor
from app.gui.theme import ThemeController
from reports.model import Report


class OverviewTab(Tab):
    title = "Overview"

    def __init__(self, theme_controller: ThemeController) -> None:
        super().__init__()
        self._own: Report | None = None
        self.slo = SloEditor("SLO (edit to re-evaluate this run)")
        self.axis = TimeAxis(theme_controller)
        self.column.addWidget(self.slo)
        self.column.addWidget(self.axis)
        self.column.addStretch(1)

    def applies_to(self, _: ShownRun) -> bool:
        return True

    def show_run(self, shown: ShownRun) -> None:
        if shown.own_report is not self._own:
            self._own = shown.own_report
            self.slo.clear()
            self.axis.show_run(shown)
        slo = shown.own_slo if shown.request.slo is None else shown.request.slo
        self.slo.show_slo(slo, shown.own_slo, shown.report.objectives)
        self.axis.show_evaluation(shown)
