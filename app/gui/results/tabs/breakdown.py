"""Latency breakdown tab: where the latency was spent, what the target's servers counted, and the steady
state of each stage.

The module also contains the waterfall of the latency of a single request.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import pandas as pd
from PySide6.QtWidgets import QWidget

from app.gui.charts.axes import Axis
from app.gui.charts.bars import Bar, BarChart
from app.gui.results import frames
from app.gui.results.quantity_model import QuantityModel
from app.gui.results.state import DisplayedRun
from app.gui.results.tabs.tab import Tab, create_table, fit_columns, fit_height
from app.gui.theme import ThemeController
from app.gui.widgets import WheelSafeComboBox, fill_choices, hbox, label, vbox
from app.reporting.load import build_breakdown_section
from reports import formatting
from reports.model import BreakdownRow, BreakdownSection, Quantity

_UNKNOWN = "unknown"
_MIN_WATERFALL_PX = 230
_Row = TypeVar("_Row")


class BreakdownTab(Tab):
    title = "Latency breakdown"

    def __init__(self, theme_controller: ThemeController) -> None:
        super().__init__()
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
            spacing=8,
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
        self.sessions = _TableSection(
            formatting.SESSION_TITLE,
            QuantityModel(frames.SESSION_HEADERS, frames.SESSION_QUANTITIES),
            frames.session_frame,
        )
        self.reuse = _TableSection(
            formatting.REUSE_TITLE, QuantityModel(frames.REUSE_HEADERS, frames.REUSE_QUANTITIES), frames.reuse_frame
        )
        for widget in (self._section_box, self.servers, self.counters, self.steady, self.reuse, self.sessions):
            self.column.addWidget(widget)
        self.column.addStretch(1)

    def applies_to(self, displayed_run: DisplayedRun) -> bool:
        report = displayed_run.own_report
        return bool(report.breakdown or report.servers or report.steady or report.sessions or report.prefix_reuse)

    def show_run(self, displayed_run: DisplayedRun) -> None:
        report = displayed_run.report
        self._invalid_stages = frozenset(frames.stage_name(row) for row in report.stages if row.validity == "INVALID")
        self._show_sections(displayed_run)
        self.servers.show_rows(report.servers, self._invalid_stages)
        self.counters.show_rows(report.servers, self._invalid_stages)
        self.steady.show_rows(report.steady, self._invalid_stages)
        self.sessions.show_rows(report.sessions)
        self.reuse.show_rows(report.prefix_reuse)

    def _show_sections(self, displayed_run: DisplayedRun) -> None:
        headline = displayed_run.report.breakdown
        sections = [
            section
            for stage in displayed_run.result.stages
            if stage.kind != "warmup" and not stage.is_pooled and stage.variant is None
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
        column = vbox(label(title, wrap=True), self.table, within=self, spacing=4)
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
        vbox(self.description_label, self.chart, within=self, spacing=4)
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
