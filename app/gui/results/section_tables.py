"""Tables of the sections that a tab of the Results page shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
from PySide6.QtWidgets import QWidget

from app.gui.charts.axes import Axis
from app.gui.charts.chart import Chart
from app.gui.results.frames import SectionFrame, build_section_frames
from app.gui.results.quantity_model import QuantityModel
from app.gui.results.tabs.tab import create_table, fit_columns, fit_height
from app.gui.theme import GAP, GAP_TIGHT, ThemeController
from app.gui.widgets import clear, label, vbox
from reports.model import Report
from reports.sections.figure import LineFigure
from reports.sections.section import Section, Tab

if TYPE_CHECKING:
    from app.gui.tables import FrameTable


_MIN_CHART_HEIGHT = 240


class SectionTables(QWidget):
    """All figures and tables of the sections of a tab."""

    def __init__(self, tab: Tab, theme_controller: ThemeController) -> None:
        super().__init__()
        self._tab, self._theme_controller = tab, theme_controller
        self._column = vbox(within=self, spacing=GAP)
        self.tables: dict[str, list[SectionTable]] = {}
        """Shown tables by the name of the section."""
        self.charts: dict[str, Chart] = {}
        """Shown figures by the name of the section."""

    def show_report(self, report: Report) -> None:
        clear(self._column)
        self.tables = {
            section.name: [SectionTable(frame) for frame in build_section_frames(section, report)]
            for section in report.sections
            if section.tab == self._tab
        }
        self.charts = {
            section.name: _create_chart(figure, self._theme_controller)
            for section in report.sections
            if section.tab == self._tab and (figure := section.build_figure(report)) is not None
        }
        for name, tables in self.tables.items():
            for widget in (*([self.charts[name]] if name in self.charts else []), *tables):
                self._column.addWidget(widget)
                widget.show()  # otherwise it would be shown one event later than the tab


def _create_chart(figure: LineFigure, theme_controller: ThemeController) -> Chart:
    x_axis, y_axis = (Axis(axis.label, axis.unit) for axis in (figure.x, figure.y))
    chart = Chart(figure.title, x_axis, y_axis, theme_controller)
    chart.setMinimumHeight(_MIN_CHART_HEIGHT)
    chart.show_figure(figure, "")
    return chart


class SectionTable(QWidget):
    """Table of a section with its title and its note."""

    def __init__(self, section_frame: SectionFrame) -> None:
        super().__init__()
        self.model = QuantityModel()
        self.table = create_table(self.model, section_frame.title)
        self.model.setParent(self.table)
        self.table.horizontalHeader().setStretchLastSection(False)
        column = vbox(label(section_frame.title, wrap=True), self.table, within=self, spacing=GAP_TIGHT)
        if section_frame.note:
            column.addWidget(label(section_frame.note, "muted", wrap=True))
        fill_section_table(self.table, self.model, section_frame)


def show_section(table: FrameTable, model: QuantityModel, section: Section[Any], report: Report) -> None:
    """Show the only table of a section, which is empty if the report has no data of the section."""
    section_frames = build_section_frames(section, report)
    if section_frames:
        fill_section_table(table, model, section_frames[0])
    else:
        model.set_rows(pd.DataFrame())


def fill_section_table(table: FrameTable, model: QuantityModel, section_frame: SectionFrame) -> None:
    """Show the rows of a section, with its own headers, and fit the table to them."""
    model.set_columns(section_frame.headers, section_frame.quantities)
    model.set_rows(section_frame.frame, section_frame.invalid_rows, section_frame.hints)
    fit_columns(table)
    fit_height(table)


def has_tables(tab: Tab, report: Report) -> bool:
    """Return whether the report has a section that the tab shows."""
    return any(section.build_tables(report, "window") for section in report.sections if section.tab == tab)
