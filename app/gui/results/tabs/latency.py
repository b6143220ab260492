"""Latency tab: tail latency by percentile, latency CDF, and the latency distribution over time.

The module also contains the Tokens tab, with time to first token (TTFT), time per output token (TPOT),
inter-token latency (ITL) and token throughput, and the Latency breakdown tab: where the latency was
spent, what the target's servers counted, and the steady state of each stage.
"""

from __future__ import annotations

import msgspec
import numpy as np
from PySide6.QtWidgets import QGridLayout, QWidget

from app.gui.charts.axes import Axis
from app.gui.charts.bars import BarChart
from app.gui.charts.chart import Chart
from app.gui.charts.heat_map import HeatMap
from app.gui.charts.pens import entity_style
from app.gui.formatting import format_count
from app.gui.results.frames import build_section_frames
from app.gui.results.quantity_model import QuantityModel
from app.gui.results.section_tables import SectionTables, fill_section_table, has_tables, show_section
from app.gui.results.state import DisplayedRun
from app.gui.results.tabs.tab import Tab, create_table
from app.gui.theme import GAP, GAP_TIGHT, ThemeController
from app.gui.widgets import WheelSafeComboBox, fill_choices, hbox, label, vbox
from app.records.stage_kinds import STAGE_KINDS
from app.reporting.load import build_breakdown_section
from reports import formatting
from reports.model import BreakdownRow, BreakdownSection, Report
from reports.sections.breakdown import BREAKDOWN, build_breakdown_figure
from reports.sections.distributions import (
    CDF_TITLE,
    PERCENTILE_TITLE,
    SHARE_AXIS,
    build_cdf_figure,
    build_percentile_figure,
)
from reports.sections.figure import FigureBar
from reports.sections.heat_map import build_heat_map_figure
from reports.sections.tokens import TOKENS

_CDF_AXIS = Axis(SHARE_AXIS.label, SHARE_AXIS.unit)
_MIN_WATERFALL_PX = 230


class LatencyTab(Tab):
    title = "Latency"

    def build(self, theme_controller: ThemeController) -> None:
        percentile_axis = Axis("Percentile", is_percentile=True)
        self.spectrum_chart = Chart(PERCENTILE_TITLE, percentile_axis, Axis("Latency", "ms"), theme_controller)
        self.cdf_chart = Chart(CDF_TITLE, Axis("Latency", "ms", True), _CDF_AXIS, theme_controller)
        self.heat_map_chart = HeatMap(
            "Latency heat map", Axis("Time", "s"), Axis("Latency", "ms", True), theme_controller
        )
        self.description_label = label("", "muted", wrap=True)
        self.column.addWidget(self.description_label)
        self.sections = SectionTables("latency", theme_controller)
        self.column.addWidget(self.sections)
        grid = QGridLayout()
        grid.addWidget(self.spectrum_chart, 0, 0)
        grid.addWidget(self.cdf_chart, 0, 1)
        grid.addWidget(self.heat_map_chart, 1, 0, 1, 2)
        grid.setColumnStretch(0, 1)
        grid.setColumnStretch(1, 1)
        for chart in (self.spectrum_chart, self.cdf_chart, self.heat_map_chart):
            chart.setMinimumHeight(240)
        self.column.addLayout(grid, 1)

    def applies_to(self, displayed_run: DisplayedRun) -> bool:
        return bool(displayed_run.report.stages) or displayed_run.report.load is not None

    def show_run(self, displayed_run: DisplayedRun) -> None:
        report = displayed_run.report
        missing_text = "The stages used for the result have no responses."
        self.spectrum_chart.show_figure(build_percentile_figure(report), missing_text)
        self.cdf_chart.show_figure(build_cdf_figure(report), "There are no responses.")
        self.heat_map_chart.show_figure(build_heat_map_figure(report), "There are too few responses for a heat map.")
        self.sections.show_report(report)
        response_count = report.spectra[0].n if report.spectra else 0
        template = "The charts show {count} responses from the stages used for the result."
        self.description_label.setText(template.format(count=format_count(response_count)))


class TokensTab(Tab):
    title = "Tokens"

    def build(self, theme_controller: ThemeController) -> None:
        self.ttft_chart = Chart("Time to first token", Axis("Time", "s"), Axis("p95 TTFT", "ms"), theme_controller)
        self.cdf_chart = Chart(
            "Token latency distribution (CDF)", Axis("Token latency", "ms", True), _CDF_AXIS, theme_controller
        )
        self.model = QuantityModel()
        self.table = create_table(self.model, "Tokens by stage")
        explanation = (
            "TTFT is the time from the scheduled start to the first non-empty delta. "
            "TPOT is the time from the first to the last token, divided by the number of tokens after the first."
        )
        self.column.addWidget(label(explanation, "muted", wrap=True))
        self.column.addWidget(self.table)
        for chart in (self.ttft_chart, self.cdf_chart):
            chart.setMinimumHeight(220)
            self.column.addWidget(chart, 1)

    def applies_to(self, displayed_run: DisplayedRun) -> bool:
        return bool(displayed_run.own_report.tokens)

    def show_run(self, displayed_run: DisplayedRun) -> None:
        report = displayed_run.report
        show_section(self.table, self.model, TOKENS, report)
        self.ttft_chart.clear()
        load = report.load
        has_ttft = load is not None and bool(load.ttft_p95_ms)
        if load is not None and has_ttft:
            values = np.array([np.nan if value is None else value for value in load.ttft_p95_ms], dtype=np.float64)
            self.ttft_chart.set_line(
                "ttft", "p95 TTFT", np.array(load.at_s), values, style_index=entity_style("ttft_ms")
            )
        self.ttft_chart.set_message("" if has_ttft else "No tokens were received.")
        token_figure = build_cdf_figure(report, ("ttft_ms", "tpot_ms"))
        self.cdf_chart.show_figure(token_figure, "No tokens were received.")


class BreakdownTab(Tab):
    title = "Latency breakdown"

    def build(self, theme_controller: ThemeController) -> None:
        self._sections: tuple[BreakdownSection, ...] = ()
        self._report: Report | None = None
        self.stage_box = WheelSafeComboBox()
        self.stage_box.setAccessibleName("Stage of the latency breakdown")
        self.stage_box.currentIndexChanged.connect(self._show_selected_section)
        self.sentence_label = label("", wrap=True)
        self.chart = BarChart("Latency breakdown", Axis("Latency", "ms"), "Latency", "Part", theme_controller)
        self.note_label = label("", "muted", wrap=True)
        self.model = QuantityModel(has_units=False)
        self.table = create_table(self.model, BREAKDOWN.caption)
        self.table.horizontalHeader().setStretchLastSection(False)
        self._stage_row = hbox(label("Sta&ge", buddy=self.stage_box), self.stage_box, 1)
        self._section_box = QWidget()
        vbox(
            self._stage_row,
            self.sentence_label,
            self.chart,
            label(BREAKDOWN.caption, wrap=True),
            self.table,
            self.note_label,
            within=self._section_box,
            spacing=GAP,
        )
        self.sections = SectionTables("breakdown", theme_controller)
        self.column.addWidget(self._section_box)
        self.column.addWidget(self.sections)
        self.column.addStretch(1)

    def applies_to(self, displayed_run: DisplayedRun) -> bool:
        report = displayed_run.own_report
        return report.breakdown is not None or has_tables("breakdown", report)

    def show_run(self, displayed_run: DisplayedRun) -> None:
        self._report = displayed_run.report
        self._show_sections(displayed_run)
        self.sections.show_report(displayed_run.report)

    def _show_sections(self, displayed_run: DisplayedRun) -> None:
        headline = displayed_run.report.breakdown
        sections = [
            section
            for stage in displayed_run.result.stages
            if STAGE_KINDS[stage.kind].is_measured and not stage.is_pooled and stage.variant is None
            if (section := build_breakdown_section(stage)) is not None
        ]
        self._sections = tuple(sections)
        names = [section.stage for section in sections]
        selected_name = headline.stage if headline is not None and headline.stage in names else None
        fill_choices(self.stage_box, [(name, name) for name in names], selected_name)
        self._section_box.setVisible(bool(sections))
        self._show_selected_section()

    def _show_selected_section(self) -> None:
        index = self.stage_box.currentIndex()
        if self._report is None or not 0 <= index < len(self._sections):
            return
        section = self._sections[index]
        self.sentence_label.setText(section.sentence)
        self.note_label.setText(section.note)
        report = msgspec.structs.replace(self._report, breakdown=section)
        self.chart.show_figure(build_breakdown_figure(report))
        (section_frame,) = build_section_frames(BREAKDOWN, report)
        if section.stage in {row.stage for row in self._report.stages if row.validity == "INVALID"}:
            section_frame = msgspec.structs.replace(section_frame, invalid_rows=tuple(range(len(section.rows))))
        fill_section_table(self.table, self.model, section_frame)


class Waterfall(QWidget):
    """Waterfall of the latency of one request: a bar per part, from its start to its end. What is
    unknown has no place in time, so its bar is after the other parts."""

    def __init__(self, theme_controller: ThemeController) -> None:
        super().__init__()
        self.chart = BarChart("Latency of the selected request", Axis("Time", "ms"), "Part", "Bar", theme_controller)
        self.chart.setMinimumHeight(_MIN_WATERFALL_PX)
        self.description_label = label("", wrap=True)
        vbox(self.description_label, self.chart, within=self, spacing=GAP_TIGHT)
        self.clear()

    def clear(self, reason: str = "Select a request to see where its latency was spent.") -> None:
        """Show the reason why there is no waterfall."""
        self.description_label.setText("")
        self.chart.set_bars(())
        self.chart.set_message(reason)

    def show_request(self, name: str, row: BreakdownRow) -> None:
        bars = _build_waterfall_bars(row)
        self.chart.set_message("")
        self.chart.set_bars(bars, is_stacked=True, group_texts={bar.group: bar.text for bar in bars})
        missing = [part.name for part in row.parts if part.quantity.value is None]
        missing_text = f" Not reported by the server: {', '.join(missing)}." if missing else ""
        self.description_label.setText(f"{name}: {formatting.format_value_unit(row.latency)}.{missing_text}")


def _build_waterfall_bars(row: BreakdownRow) -> list[FigureBar]:
    bars: list[FigureBar] = []
    start_ms, latency_ms = 0.0, row.latency.value or 0.0
    for part in row.quantities:
        name, quantity = part.name, part.quantity
        if quantity.value is None:
            continue
        part_ms = max(quantity.value, 0.0)
        share_text = f", {100 * quantity.value / latency_ms:.0f}\u202f%" if latency_ms > 0 else ""
        text = f"{formatting.format_value_unit(quantity)}{share_text}"
        bars.append(FigureBar(name, name, part_ms, text, start=start_ms))
        start_ms += part_ms
    return bars
