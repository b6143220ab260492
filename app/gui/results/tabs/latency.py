"""Latency tab: tail latency by percentile, latency CDF, and the latency distribution over time.

The module also contains the Tokens tab, with time to first token (TTFT), time per output token (TPOT),
inter-token latency (ITL) and token throughput, and the Latency breakdown tab: where the latency was
spent, what the target's servers counted, and the steady state of each stage.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import numpy as np
import pandas as pd
from PySide6.QtWidgets import QGridLayout, QWidget

from app.gui.charts.axes import Axis
from app.gui.charts.bars import Bar, BarChart
from app.gui.charts.chart import Chart
from app.gui.charts.heat_map import HeatMap
from app.gui.charts.pens import entity_style
from app.gui.formatting import format_count
from app.gui.results import frames
from app.gui.results.quantity_model import QuantityModel
from app.gui.results.state import DisplayedRun
from app.gui.results.tabs.tab import Tab, create_table, fit_columns, fit_height
from app.gui.theme import GAP, GAP_TIGHT, ThemeController
from app.gui.widgets import WheelSafeComboBox, fill_choices, hbox, label, vbox
from app.records.metrics import metric_label
from app.records.stage_kinds import STAGE_KINDS
from app.reporting.load import build_breakdown_section
from reports import formatting
from reports.model import BreakdownRow, BreakdownSection, PercentileCurve, Quantity, Report

_LATENCY_METRICS = ("latency_ms", "service_ms", "ttft_ms")
_CDF_AXIS = Axis("Share of requests", "%")
_UNKNOWN = "unknown"
_MIN_WATERFALL_PX = 230
_Row = TypeVar("_Row")


class LatencyTab(Tab):
    title = "Latency"

    def build(self, theme_controller: ThemeController) -> None:
        percentile_axis = Axis("Percentile", is_percentile=True)
        self.spectrum_chart = Chart(
            "Tail latency by percentile", percentile_axis, Axis("Latency", "ms"), theme_controller
        )
        self.cdf_chart = Chart("Latency distribution (CDF)", Axis("Latency", "ms", True), _CDF_AXIS, theme_controller)
        self.heat_map_chart = HeatMap(
            "Latency heat map", Axis("Time", "s"), Axis("Latency", "ms", True), theme_controller
        )
        self.description_label = label("", "muted", wrap=True)
        self.column.addWidget(self.description_label)
        self.media = _TableSection(
            formatting.MEDIA_TITLE, QuantityModel(frames.MEDIA_HEADERS, frames.MEDIA_QUANTITIES), frames.media_frame
        )
        self.column.addWidget(self.media)
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
        self._draw_spectrum(report)
        self._draw_cdf(report)
        self._draw_heat_map(report)
        invalid_stages = frozenset(frames.stage_name(row) for row in report.stages if row.validity == "INVALID")
        self.media.show_rows(report.media, invalid_stages)
        response_count = report.spectra[0].n if report.spectra else 0
        template = "The charts show {count} responses from the stages used for the result."
        self.description_label.setText(template.format(count=format_count(response_count)))

    def _draw_spectrum(self, report: Report) -> None:
        self.spectrum_chart.clear()
        metrics = [spectrum.metric for spectrum in report.spectra]
        for spectrum in report.spectra:
            probabilities = np.array(spectrum.share)
            self.spectrum_chart.set_line(
                spectrum.metric,
                spectrum.name,
                100 * probabilities,
                np.array(spectrum.ms),
                style_index=entity_style(spectrum.metric, metrics),
            )
        limit = report.curve.limit
        if limit is not None and report.curve.metric in _LATENCY_METRICS:
            name = metric_label(report.curve.metric, report.curve.percentile)
            self.spectrum_chart.set_limit(limit.value, f"SLO {name} {formatting.format_limit(limit)}")
        self.spectrum_chart.set_message("" if report.spectra else "The stages used for the result have no responses.")

    def _draw_cdf(self, report: Report) -> None:
        _draw_distributions(self.cdf_chart, [(curve, curve.name) for curve in report.distributions])
        self.cdf_chart.set_message("" if report.distributions else "There are no responses.")

    def _draw_heat_map(self, report: Report) -> None:
        heat_map = report.heat_map
        self.heat_map_chart.set_message("" if heat_map is not None else "There are too few responses for a heat map.")
        if heat_map is not None:
            counts = np.array(heat_map.counts, dtype=np.float64).T
            self.heat_map_chart.set_counts(heat_map.from_s[0], heat_map.bin_s, np.array(heat_map.edges_ms), counts)


class TokensTab(Tab):
    title = "Tokens"

    def build(self, theme_controller: ThemeController) -> None:
        self.ttft_chart = Chart("Time to first token", Axis("Time", "s"), Axis("p95 TTFT", "ms"), theme_controller)
        self.cdf_chart = Chart(
            "Token latency distribution (CDF)", Axis("Token latency", "ms", True), _CDF_AXIS, theme_controller
        )
        self.model = QuantityModel(frames.token_headers(), frames.TOKEN_QUANTITIES)
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
        invalid_stages = {frames.stage_name(row) for row in report.stages if row.validity == "INVALID"}
        invalid_rows = [row_index for row_index, row in enumerate(report.tokens) if row.stage in invalid_stages]
        self.model.set_rows(frames.token_frame(report.tokens), invalid_rows)
        fit_columns(self.table)
        fit_height(self.table)
        self.ttft_chart.clear()
        load = report.load
        has_ttft = load is not None and bool(load.ttft_p95_ms)
        if load is not None and has_ttft:
            values = np.array([np.nan if value is None else value for value in load.ttft_p95_ms], dtype=np.float64)
            self.ttft_chart.set_line(
                "ttft", "p95 TTFT", np.array(load.at_s), values, style_index=entity_style("ttft_ms")
            )
        self.ttft_chart.set_message("" if has_ttft else "No tokens were received.")
        token_distributions = [
            (curve, curve.label) for curve in report.distributions if curve.metric in ("ttft_ms", "tpot_ms")
        ]
        _draw_distributions(self.cdf_chart, token_distributions)
        self.cdf_chart.set_message("" if token_distributions else "No tokens were received.")


def _draw_distributions(chart: Chart, distributions: Sequence[tuple[PercentileCurve, str]]) -> None:
    """Replace the lines of a CDF chart by those of the distributions, with the given legend
    texts."""
    chart.clear()
    metrics = [curve.metric for curve, _ in distributions]
    for curve, text in distributions:
        percents = 100 * np.array(curve.share)
        style_index = entity_style(curve.metric, metrics)
        chart.set_line(curve.metric, text, np.array(curve.ms), percents, style_index=style_index)


class BreakdownTab(Tab):
    title = "Latency breakdown"

    def build(self, theme_controller: ThemeController) -> None:
        self._sections: tuple[BreakdownSection, ...] = ()
        self._invalid_stages: frozenset[str] = frozenset()
        self.stage_box = WheelSafeComboBox()
        self.stage_box.setAccessibleName("Stage of the latency breakdown")
        self.stage_box.currentIndexChanged.connect(self._show_selected_section)
        self.sentence_label = label("", wrap=True)
        self.chart = BarChart("Latency breakdown", Axis("Latency", "ms"), "Latency", "Part", theme_controller)
        self.note_label = label("", "muted", wrap=True)
        self.model = QuantityModel(frames.BREAKDOWN_HEADERS, frames.BREAKDOWN_QUANTITIES, has_units=False)
        self.table = create_table(self.model, frames.BREAKDOWN_TITLE)
        self.table.horizontalHeader().setStretchLastSection(False)
        self._stage_row = hbox(label("Sta&ge", buddy=self.stage_box), self.stage_box, 1)
        self._section_box = QWidget()
        vbox(
            self._stage_row,
            self.sentence_label,
            self.chart,
            label(frames.BREAKDOWN_TITLE, wrap=True),
            self.table,
            self.note_label,
            within=self._section_box,
            spacing=GAP,
        )
        self.servers = _TableSection(
            formatting.SERVER_TITLE,
            QuantityModel(frames.SERVER_HEADERS, frames.SERVER_QUANTITIES),
            frames.server_frame,
        )
        self.counters = _TableSection(
            "Server: requests, share of the input tokens that the prefix cache served, and preemptions",
            QuantityModel(frames.COUNTER_HEADERS, frames.COUNTER_QUANTITIES),
            frames.counter_frame,
            formatting.SERVER_NOTE,
        )
        self.steady = _TableSection(
            formatting.STEADY_TITLE,
            QuantityModel(frames.STEADY_HEADERS, frames.STEADY_QUANTITIES),
            frames.steady_frame,
        )
        self.messages = _TableSection(
            formatting.MESSAGE_TITLE,
            QuantityModel(frames.MESSAGE_HEADERS, frames.MESSAGE_QUANTITIES),
            frames.message_frame,
        )
        self.sessions = _TableSection(
            formatting.SESSION_TITLE,
            QuantityModel(frames.SESSION_HEADERS, frames.SESSION_QUANTITIES),
            frames.session_frame,
        )
        self.reuse = _TableSection(
            formatting.REUSE_TITLE, QuantityModel(frames.REUSE_HEADERS, frames.REUSE_QUANTITIES), frames.reuse_frame
        )
        sections = (self.messages, self.servers, self.counters, self.steady, self.reuse, self.sessions)
        for widget in (self._section_box, *sections):
            self.column.addWidget(widget)
        self.column.addStretch(1)

    def applies_to(self, displayed_run: DisplayedRun) -> bool:
        report = displayed_run.own_report
        tables = (report.messages, report.servers, report.steady, report.sessions, report.prefix_reuse)
        return report.breakdown is not None or any(tables)

    def show_run(self, displayed_run: DisplayedRun) -> None:
        report = displayed_run.report
        self._invalid_stages = frozenset(frames.stage_name(row) for row in report.stages if row.validity == "INVALID")
        self._show_sections(displayed_run)
        self.servers.show_rows(report.servers, self._invalid_stages)
        self.counters.show_rows(report.servers, self._invalid_stages)
        self.steady.show_rows(report.steady, self._invalid_stages)
        self.messages.show_rows(report.messages, self._invalid_stages)
        self.sessions.show_rows(report.sessions)
        self.reuse.show_rows(report.prefix_reuse)

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
        if not 0 <= index < len(self._sections):
            return
        section = self._sections[index]
        self.sentence_label.setText(section.sentence)
        self.note_label.setText(section.note)
        self.chart.set_bars(
            _build_stacked_bars(section),
            is_stacked=True,
            group_texts={row.aggregate: formatting.format_value_unit(row.latency) for row in section.rows},
        )
        invalid_rows = range(len(section.rows)) if section.stage in self._invalid_stages else ()
        self.model.set_rows(frames.breakdown_frame(section), invalid_rows)
        fit_columns(self.table)
        fit_height(self.table)


class _TableSection(QWidget, Generic[_Row]):
    """Table with its title, which is hidden without rows."""

    def __init__(
        self, title: str, model: QuantityModel, build_frame: Callable[[Sequence[_Row]], pd.DataFrame], note: str = ""
    ) -> None:
        super().__init__()
        self.model, self._build_frame = model, build_frame
        self.table = create_table(model, title)
        self.table.horizontalHeader().setStretchLastSection(False)
        column = vbox(label(title, wrap=True), self.table, within=self, spacing=GAP_TIGHT)
        if note:
            column.addWidget(label(note, "muted", wrap=True))

    def show_rows(self, rows: Sequence[_Row], invalid_stages: frozenset[str] = frozenset()) -> None:
        self.setVisible(bool(rows))
        if rows:
            frame = self._build_frame(rows)
            is_invalid = frame["stage"].isin(invalid_stages) if "stage" in frame else pd.Series(False, frame.index)
            self.model.set_rows(frame, [index for index, invalid in enumerate(is_invalid) if invalid])
            fit_columns(self.table)
            fit_height(self.table)


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


def _list_quantities(row: BreakdownRow) -> list[tuple[str, Quantity]]:
    return [*((part.name, part.quantity) for part in row.parts), (_UNKNOWN, row.unknown)]


def _build_stacked_bars(section: BreakdownSection) -> list[Bar]:
    """Return the bars of the parts that have a time in any row."""
    shown_names = {name for row in section.rows for name, quantity in _list_quantities(row) if quantity.value}
    return [
        Bar(row.aggregate, name, max(quantity.value, 0.0), formatting.format_value_unit(quantity))
        for row in section.rows
        for name, quantity in _list_quantities(row)
        if name in shown_names and quantity.value is not None
    ]


def _build_waterfall_bars(row: BreakdownRow) -> list[Bar]:
    bars: list[Bar] = []
    start_ms, latency_ms = 0.0, row.latency.value or 0.0
    for name, quantity in _list_quantities(row):
        if quantity.value is None:
            continue
        part_ms = max(quantity.value, 0.0)
        share_text = f", {100 * quantity.value / latency_ms:.0f}\u202f%" if latency_ms > 0 else ""
        bars.append(Bar(name, name, part_ms, f"{formatting.format_value_unit(quantity)}{share_text}", start=start_ms))
        start_ms += part_ms
    return bars
