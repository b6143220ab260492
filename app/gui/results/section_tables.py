"""Tables of the sections that a tab of the Results page shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
from PySide6.QtWidgets import QWidget

from app.gui.charts.figures import create_chart
from app.gui.charts.panel import Panel
from app.gui.results.frames import SectionFrame, build_section_frame, build_section_frames
from app.gui.results.quantity_model import QuantityModel
from app.gui.results.tabs.tab import create_table, fit_columns, fit_height
from app.gui.theme import GAP, GAP_TIGHT, ThemeController
from app.gui.widgets import label, vbox
from reports.model import Report
from reports.sections.figure import Figure
from reports.sections.section import RowT, Section, Tab, Table

if TYPE_CHECKING:
    from app.gui.tables import FrameTable


_MIN_CHART_HEIGHT = 240


class SectionTables(QWidget):
    """All figures and tables of the sections of a tab."""

    def __init__(self, tab: Tab, theme_controller: ThemeController) -> None:
        super().__init__()
        self._tab, self._theme_controller = tab, theme_controller
        self._column = vbox(within=self, spacing=GAP)
        self.boxes: dict[str, SectionBox] = {}
        """Widgets of the sections by name, whether or not the report has their data."""

    def show_report(self, report: Report) -> None:
        for section in report.sections:
            if section.tab == self._tab:
                if section.name not in self.boxes:
                    self.boxes[section.name] = SectionBox(section, self._theme_controller)
                    self._column.addWidget(self.boxes[section.name])
                self.boxes[section.name].show_report(report)


class SectionBox(QWidget):
    """Figure and tables of a section, which is hidden without data. Tables stay sorted if another report
    is shown."""

    def __init__(self, section: Section[Any], theme_controller: ThemeController) -> None:
        super().__init__()
        self._section, self._theme_controller = section, theme_controller
        self._column = vbox(within=self, spacing=GAP)
        self._all_tables: list[SectionTable] = []
        self.tables: list[SectionTable] = []
        """Tables of the shown report."""
        self.chart: Panel | None = None

    def show_report(self, report: Report) -> None:
        section_frames = build_section_frames(self._section, report)
        self._show_figure(self._section.build_figure(report))
        for _ in section_frames[len(self._all_tables) :]:
            self._all_tables.append(SectionTable())
            self._column.addWidget(self._all_tables[-1])
        self.tables = self._all_tables[: len(section_frames)]
        for table in self._all_tables[len(section_frames) :]:
            table.hide()
        for table, section_frame in zip(self.tables, section_frames, strict=True):
            table.show_frame(section_frame)
        self.setVisible(bool(section_frames) or self.chart is not None)

    def _show_figure(self, figure: Figure | None) -> None:
        """Draw the figure in a new chart, because the axes of a chart cannot be changed."""
        if self.chart is not None:
            self.chart.hide()
            self.chart.deleteLater()
        self.chart = None if figure is None else create_chart(figure, self._theme_controller)
        if self.chart is not None:
            self.chart.setMinimumHeight(_MIN_CHART_HEIGHT)
            self._column.insertWidget(0, self.chart)


class SectionTable(QWidget):
    """Table of a section with its title and its note."""

    def __init__(self) -> None:
        super().__init__()
        self.model = QuantityModel()
        self.table = create_table(self.model, "")
        self.table.horizontalHeader().setStretchLastSection(False)
        self._title_label, self._note_label = label("", wrap=True), label("", "muted", wrap=True)
        vbox(self._title_label, self.table, self._note_label, within=self, spacing=GAP_TIGHT)

    def show_frame(self, section_frame: SectionFrame) -> None:
        self._title_label.setText(section_frame.title)
        self.table.setAccessibleName(section_frame.title)
        self._note_label.setText(section_frame.note)
        self._note_label.setVisible(bool(section_frame.note))
        fill_section_table(self.table, self.model, section_frame)
        self.show()  # otherwise a new table would be shown one event later than the tab


def show_section(table: FrameTable, model: QuantityModel, section: Section[Any], report: Report) -> None:
    """Show the only table of a section, which is empty if the report has no data of the section."""
    section_frames = build_section_frames(section, report)
    if section_frames:
        fill_section_table(table, model, section_frames[0])
    else:
        model.set_rows(pd.DataFrame())


def show_rows(table: FrameTable, model: QuantityModel, section: Section[RowT], rows: Sequence[RowT]) -> None:
    """Show some rows of a section that is not a field of the report."""
    fill_section_table(table, model, build_section_frame(section, Table(rows=rows)))


def fill_section_table(table: FrameTable, model: QuantityModel, section_frame: SectionFrame) -> None:
    """Show the rows of a section, with its own headers, and fit the table to them."""
    model.set_columns(section_frame.headers, section_frame.quantities)
    model.set_rows(section_frame.frame, section_frame.invalid_rows, section_frame.hints)
    fit_columns(table)
    fit_height(table)


def has_tables(tab: Tab, report: Report) -> bool:
    """Return whether the report has a section that the tab shows."""
    return any(section.build_tables(report, "window") for section in report.sections if section.tab == tab)
