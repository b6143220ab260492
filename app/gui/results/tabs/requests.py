"""Requests tab: all requests, slowest first. The user can filter the requests, show where the
latency of a request was spent, and show each request on the time axis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QModelIndex, QSignalBlocker, Qt, Signal
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QLineEdit

from app.gui.background import LatestRunner
from app.gui.formatting import format_count, format_duration, format_number
from app.gui.results.state import DisplayedRun
from app.gui.results.tabs.latency import Waterfall
from app.gui.results.tabs.tab import Tab
from app.gui.tables import RAW_VALUE_ROLE, FrameModel, FrameTable
from app.gui.theme import ThemeController
from app.gui.widgets import button, label

if TYPE_CHECKING:
    import pandas as pd

    from app.reporting.opened import OpenedRun

_MIN_HEIGHT_PX = 270


class RequestsTab(Tab):
    """Table of all requests. `time_selected` is emitted with a time in seconds from the start of
    the run, and a description of the request."""

    title = "Requests"
    time_selected = Signal(float, str)

    def build(self, theme_controller: ThemeController) -> None:
        headers = {"at_s": "Time", "stage": "Stage", "number": "Request", "class": "Class",
                   "latency_ms": "Latency (ms)", "service_ms": "Service time (ms)", "ttft_ms": "TTFT (ms)",
                   "tpot_ms": "TPOT (ms)", "send_lag_ms": "Send lag (ms)", "result": "Result", "error": "Error",
                   "status": "Status"}  # fmt: skip
        self.model = FrameModel(None, headers, {"at_s": _format_time, "status": _format_status, "error": _format_error})
        self.table = FrameTable(self.model, "Requests")
        self.table.setMinimumHeight(_MIN_HEIGHT_PX)
        self.waterfall = Waterfall(theme_controller)
        self.stage_box, self.result_box, self.error_box = QComboBox(), QComboBox(), QComboBox()
        self.min_latency_field = QLineEdit()
        self.status = label("", "muted", wrap=True)
        self.show_time_button = button("Sho&w on time axis", self._show_selected_request)
        self._run: OpenedRun | None = None
        self._window_s: tuple[float, float] | None = None
        self._latest_frame: LatestRunner[tuple[OpenedRun, pd.DataFrame]] = LatestRunner(
            self, self._on_loaded, self._on_failed
        )
        self._lay_out()

    def applies_to(self, displayed_run: DisplayedRun) -> bool:
        return int(displayed_run.opened_run.table.num_rows) > 0

    def show_run(self, displayed_run: DisplayedRun) -> None:
        """Show the requests. The table is built once per run; selecting a time range only filters
        the table."""
        self._window_s = displayed_run.request.window_s
        if self._run is displayed_run.opened_run:
            self._apply_filters()
            return
        run = displayed_run.opened_run
        self._run = run
        self.status.setText("Loading requests…")

        def load_frame() -> tuple[OpenedRun, pd.DataFrame]:
            from app.gui.results.requests_frame import requests_frame

            return run, requests_frame(run)

        self._latest_frame.request(load_frame)

    def _on_loaded(self, run_and_frame: tuple[OpenedRun, pd.DataFrame]) -> None:
        run, frame = run_and_frame
        if run is not self._run:
            return
        for box, column, all_text in self._list_filters():
            with QSignalBlocker(box):
                box.clear()
                box.addItem(all_text, None)
                if column in frame:
                    for category in frame[column].cat.categories:
                        box.addItem(str(category), str(category))
        self.table.set_frame(frame)
        self._apply_filters()

    def _on_failed(self, error: Exception) -> None:
        self.status.setText(str(error))

    def _apply_filters(self) -> None:
        from app.gui.results.requests_frame import build_mask

        frame = self.model.frame
        if self._run is None or not len(frame.columns):
            return
        min_latency_ms = self._get_min_latency_ms()
        is_min_latency_invalid = bool(self.min_latency_field.text().strip()) and min_latency_ms is None
        filters = (self.stage_box.currentData(), self.result_box.currentData(), self.error_box.currentData())
        mask = build_mask(frame, *filters, min_latency_ms)
        if self._window_s is not None:
            time_s = frame["at_s"].to_numpy()
            is_in_window = (time_s >= self._window_s[0]) & (time_s < self._window_s[1])
            mask = is_in_window if mask is None else mask & is_in_window
        self.model.set_filter(mask)
        self.waterfall.clear()
        visible_count, total_count = self.model.rowCount(), len(frame)
        text = f"{format_count(visible_count)} of {format_count(total_count)} requests"
        window_text = " in the selected time range" if self._window_s is not None else ""
        error_text = (
            f". The minimum latency {self.min_latency_field.text()} is not a number. Enter milliseconds, such as 250."
            if is_min_latency_invalid
            else ""
        )
        self.status.setText(f"{text}{window_text}{error_text}")
        self.table.setAccessibleDescription(self.status.text())

    def _get_min_latency_ms(self) -> float | None:
        try:
            return (
                float(self.min_latency_field.text().replace(",", "")) if self.min_latency_field.text().strip() else None
            )
        except ValueError:
            return None

    def _show_waterfall(self, index: QModelIndex) -> None:
        """Show where the latency of a request was spent."""
        from app.gui.results.requests_frame import break_down_row

        frame = self.model.frame
        if self._run is None or not index.isValid():
            return
        position = self.model.frame_row(index.row())
        row = break_down_row(self._run, int(frame.index.to_numpy()[position]))
        if row is None:
            self.waterfall.clear("The request failed, so it has no latency.")
            return
        number, stage = int(frame["number"].to_numpy()[position]), frame["stage"].iat[position]
        self.waterfall.show_request(f"Request {format_count(number)} of {stage}", row)

    def _show_selected_request(self) -> None:
        index = self.table.currentIndex()
        if index.isValid():
            self._show_request(index)

    def _show_request(self, index: QModelIndex) -> None:
        time_s = self.model.index(index.row(), 0).data(RAW_VALUE_ROLE)
        columns = [str(name) for name in self.model.frame.columns]
        latency_column = next((name for name in ("latency_ms", "service_ms") if name in columns), None)
        latency_ms = (
            None
            if latency_column is None
            else self.model.index(index.row(), columns.index(latency_column)).data(RAW_VALUE_ROLE)
        )
        description = (
            f"request, {format_number(latency_ms)} ms"
            if isinstance(latency_ms, float) and latency_ms == latency_ms
            else ""
        )
        if isinstance(time_s, float):
            self.time_selected.emit(time_s, description)

    def _list_filters(self) -> tuple[tuple[QComboBox, str, str], ...]:
        return (
            (self.stage_box, "stage", "All stages"),
            (self.result_box, "result", "All results"),
            (self.error_box, "error", "All errors"),
        )

    def _lay_out(self) -> None:
        filter_row = QHBoxLayout()
        for box, _, all_text in self._list_filters():
            box.setAccessibleName(all_text)
            box.addItem(all_text, None)
            box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
            box.currentIndexChanged.connect(self._apply_filters)
            filter_row.addWidget(box)
        self.min_latency_field.setPlaceholderText("Minimum latency (ms)")
        self.min_latency_field.setAccessibleName("Minimum latency in milliseconds")
        self.min_latency_field.setMinimumWidth(
            self.min_latency_field.fontMetrics().horizontalAdvance("Minimum latency (ms)  0000")
        )
        self.min_latency_field.textChanged.connect(self._apply_filters)
        filter_row.addWidget(self.min_latency_field)
        filter_row.addStretch(1)
        filter_row.addWidget(self.show_time_button)
        self.column.addLayout(filter_row)
        self.column.addWidget(self.status)
        self.column.addWidget(self.table, 1)
        self.column.addWidget(self.waterfall)
        self.table.selectionModel().currentRowChanged.connect(self._show_waterfall)
        self.table.doubleClicked.connect(self._show_request)
        for key in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            enter_shortcut = QShortcut(QKeySequence(key), self.table)
            enter_shortcut.setContext(Qt.ShortcutContext.WidgetShortcut)
            enter_shortcut.activated.connect(self._show_selected_request)


def _format_time(value: object) -> str:
    return f"{value:,.3f} s" if isinstance(value, float) else format_duration(0)


def _format_status(value: object) -> str:
    return f"{value:.0f}" if isinstance(value, float) and value == value else "n/a"


def _format_error(value: object) -> str:
    """Return the error class, or an empty string if the request did not fail."""
    return value if isinstance(value, str) else ""
