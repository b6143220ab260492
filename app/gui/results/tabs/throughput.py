"""Throughput tab: a table of all stages, and tables that only some runs have."""

from __future__ import annotations

from app.gui.formatting import shorten
from app.gui.results.section_tables import SectionTables
from app.gui.results.state import DisplayedRun
from app.gui.results.tabs.tab import Tab
from app.gui.theme import ThemeController
from app.gui.widgets import label

_MAX_CHARACTERS = 400


class ThroughputTab(Tab):
    title = "Throughput"

    def build(self, theme_controller: ThemeController) -> None:
        self.description_label = label("", wrap=True)
        self.sections = SectionTables("throughput", theme_controller)
        self.column.addWidget(self.description_label)
        self.column.addWidget(self.sections)
        self.column.addStretch(1)

    def applies_to(self, displayed_run: DisplayedRun) -> bool:
        return bool(displayed_run.own_report.stages)

    def show_run(self, displayed_run: DisplayedRun) -> None:
        report = displayed_run.report
        bottleneck = "" if report.max_rate is None else shorten(report.max_rate.limited_by, _MAX_CHARACTERS)
        self.description_label.setText(f"Bottleneck: {bottleneck}")
        self.description_label.setVisible(report.max_rate is not None)
        self.sections.show_report(report)
