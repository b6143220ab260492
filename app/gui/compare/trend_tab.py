"""Trend tab: runs of a profile over time, with the level changes of its metrics, as in
`sizewise runs trend`."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QSignalBlocker
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QVBoxLayout, QWidget

from app.analysis.comparisons.series import MetricHistory
from app.gui.background import LatestRunner
from app.gui.charts.axes import Axis
from app.gui.charts.chart import Chart
from app.gui.compare.frames import ShortTable
from app.gui.compare.trend_data import (
    TREND_HEADERS,
    compute_levels,
    list_profile_names,
    series_key,
    series_metric,
    series_name,
    summary_text,
    trend_frame,
)
from app.gui.formatting import shorten
from app.gui.navigation import Navigation, build_error_notice
from app.gui.tables import FrameModel, set_table_description
from app.gui.theme import TAB_MARGINS, ThemeController
from app.gui.widgets import fill_choices, label
from app.records.metrics import unscaled_unit
from app.reporting.run_rows import Trend, build_trend, format_change, format_metric_name

_MAX_CHARACTERS = 60
_MIN_BOX_CHARACTERS = 16
_MAX_ROWS = 5


class TrendTab(QWidget):
    def __init__(self, navigation: Navigation, theme_controller: ThemeController) -> None:
        super().__init__()
        self._theme_controller = theme_controller
        self._trend: Trend | None = None
        self.profile_box, self.series_box = QComboBox(), QComboBox()
        self._profile_to_select: str | None = None
        self._summary = label("", "muted", wrap=True)
        self.chart: Chart | None = None
        self._empty_label = label(
            "There are no runs yet. A trend needs several runs of one profile.", "muted", wrap=True
        )
        self.table = ShortTable(
            FrameModel(None, TREND_HEADERS), "Trends", _MAX_ROWS, max_column_characters=_MAX_CHARACTERS
        )
        self._layout = QVBoxLayout(self)
        self._build()
        self._names_reader: LatestRunner[tuple[str, ...]] = LatestRunner(
            self, self._show_names, navigation.notify_error
        )
        self._trend_reader: LatestRunner[Trend] = LatestRunner(self, self._show_trend, self._show_error)
        self.profile_box.currentIndexChanged.connect(self._read_trend)
        self.series_box.currentIndexChanged.connect(self._draw_chart)
        self.table.selectionModel().currentRowChanged.connect(self._select_row_series)

    @property
    def is_busy(self) -> bool:
        return self._names_reader.is_busy or self._trend_reader.is_busy

    @property
    def trend(self) -> Trend | None:
        return self._trend

    @property
    def summary(self) -> str:
        return self._summary.text()

    def enter(self, name: str | None) -> None:
        """Show the trend of the profile `name`, or of the previously displayed profile if `name` is
        None or unknown."""
        if name is not None:
            self._profile_to_select = name
        self._names_reader.request(list_profile_names)

    def command_arguments(self) -> tuple[str, ...]:
        name, series = self.profile_box.currentData(), self._get_selected_series()
        metric_arguments = () if series is None else ("--metric", format_metric_name(series))
        return ("runs", "trend", *((name,) if name else ()), *metric_arguments)

    def _build(self) -> None:
        row = QHBoxLayout()
        for text, box in (("Pr&ofile", self.profile_box), ("&Metric", self.series_box)):
            field_label = label(text, buddy=box)
            box.setAccessibleName(text.replace("&", ""))
            box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
            box.setMinimumContentsLength(_MIN_BOX_CHARACTERS)  # a long name is elided in a narrow window
            row.addWidget(field_label)
            row.addWidget(box)
        row.addStretch(1)
        self._layout.setContentsMargins(*TAB_MARGINS)
        self._layout.addLayout(row)
        self._layout.addWidget(self._summary)
        self._layout.addWidget(self._empty_label)
        self._layout.addStretch(0)
        self._layout.addWidget(self.table)
        self._empty_label.hide()
        self.table.hide()

    def _show_names(self, names: tuple[str, ...]) -> None:
        self._empty_label.setVisible(not names)
        fill_choices(
            self.profile_box, ((shorten(name, _MAX_CHARACTERS), name) for name in names), self._profile_to_select
        )
        self._profile_to_select = None
        self._read_trend()

    def _read_trend(self) -> None:
        name = self.profile_box.currentData()
        if name is not None:
            self._summary.setText("Loading runs…")
            self._trend_reader.request(lambda: build_trend(name))

    def _show_error(self, error: Exception) -> None:
        notice = build_error_notice(error)
        self._summary.setText(" ".join(part for part in (notice.summary, notice.next_step) if part))

    def _show_trend(self, trend: Trend) -> None:
        selected_series = self._get_selected_series()
        self._trend = trend
        self._summary.setText(summary_text(trend))
        with QSignalBlocker(self.series_box):
            self.series_box.clear()
            for metric_series in trend.series:
                self.series_box.addItem(shorten(series_name(metric_series), _MAX_CHARACTERS))
            keys = [series_key(metric_series) for metric_series in trend.series]
            first_changed_index = next(
                (index for index, metric_series in enumerate(trend.series) if metric_series.changes), 0 if keys else -1
            )
            previous_key = None if selected_series is None else series_key(selected_series)
            self.series_box.setCurrentIndex(keys.index(previous_key) if previous_key in keys else first_changed_index)
        self.table.setVisible(bool(trend.series))
        self.table.set_frame(trend_frame(trend.series))
        set_table_description(self.table, "Trends")
        self._draw_chart()

    def _get_selected_series(self) -> MetricHistory | None:
        index = self.series_box.currentIndex()
        return None if self._trend is None or not 0 <= index < len(self._trend.series) else self._trend.series[index]

    def _draw_chart(self) -> None:
        series = self._get_selected_series()
        if self.chart is not None:
            self._layout.removeWidget(self.chart)
            self.chart.deleteLater()
            self.chart = None
        if series is None:
            return
        chart = Chart(
            series_name(series),
            Axis("Run (oldest first)", is_count=True),
            Axis(series_metric(series), unscaled_unit(series.unit), is_from_zero=False),
            self._theme_controller,
        )
        run_numbers = np.arange(1, len(series.values) + 1)
        chart.set_points("values", series_metric(series), run_numbers, np.asarray(series.values), names=series.run_ids)
        chart.set_line("levels", "level (median)", run_numbers, compute_levels(series), style_index=1)
        chart.set_markers(
            [(change.index + 1.0, format_change(series, index)) for index, change in enumerate(series.changes)]
        )
        self.chart = chart
        self._layout.insertWidget(3, chart, 1)

    def _select_row_series(self) -> None:
        index = self.table.currentIndex()
        if index.isValid():
            self.series_box.setCurrentIndex(self.table.frame_model.frame_row(index.row()))
