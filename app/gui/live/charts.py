"""Four charts of the run over time: request rates, latency, in-flight requests, and machine
telemetry."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QSignalBlocker, Signal
from PySide6.QtWidgets import QComboBox, QWidget

from app.gui.charts.axes import Axis
from app.gui.charts.chart import Chart
from app.gui.charts.linked import LinkedCharts
from app.gui.formatting import State
from app.gui.live.machine import LATENCIES, RATES, get_view_titles
from app.gui.live.presenter import LivePresenter
from app.gui.live.state import Band, StageCell
from app.gui.theme import ThemeController
from app.gui.widgets import hbox, label, vbox

_TIME_RANGES_S = (60.0, 300.0, None)
_MIN_HEIGHT_LINES = 7
"""Minimum height of each chart, in lines of text."""


class LiveCharts(QWidget):
    """Linked charts of a run. `note_requested` is emitted with the time, in seconds from the start
    of the run, at which the user wants to add a note."""

    note_requested = Signal(float)
    view_selected = Signal()

    def __init__(self, theme_controller: ThemeController) -> None:
        super().__init__()
        time_axis = Axis("Time", "s")
        self.rates = Chart("Request rate", time_axis, Axis("Rate", "req/s"), theme_controller)
        self.latency = Chart("Latency and send lag", time_axis, Axis("Recent latency", "ms"), theme_controller)
        self.in_flight = Chart("Requests in flight", time_axis, Axis("Requests in flight"), theme_controller)
        self.machine = Chart("Machine", time_axis, Axis("Value (unit in legend)"), theme_controller)
        self.linked = LinkedCharts(
            (self.rates, self.latency, self.in_flight, self.machine), has_time_range_selection=False
        )
        self._fit_charts()
        self.linked.marker_requested.connect(self.note_requested)
        self.view = QComboBox()
        self.view.setAccessibleName("Machine metric")
        self.time_range = QComboBox()
        self.time_range.setAccessibleName("Time range")
        for text in ("Last minute", "Last 5 minutes", "Whole run"):
            self.time_range.addItem(text)
        self.time_range.setCurrentIndex(len(_TIME_RANGES_S) - 1)
        self.time_range.currentIndexChanged.connect(self._follow)
        self.view.currentIndexChanged.connect(self.view_selected)
        self._machine_line_names: set[str] = set()
        self._stage: StageCell | None = None
        self._fill_views(has_gpus=False)
        self._build()
        self.clear()

    def _build(self) -> None:
        time_range_label, view_label = (
            label("T&ime range", "muted", buddy=self.time_range),
            label("&Machine", "muted", buddy=self.view),
        )
        row = hbox(time_range_label, self.time_range, view_label, self.view, 1, self.linked.fit_button)
        vbox(row, (self.linked, 1), within=self, spacing=4)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange:
            self._fit_charts()

    def _fit_charts(self) -> None:
        for chart in self.linked.charts:
            chart.setMinimumHeight(_MIN_HEIGHT_LINES * self.fontMetrics().height())

    def clear(self) -> None:
        """Clear the charts before another run is shown."""
        for chart in self.linked.charts:
            chart.clear()
        self._machine_line_names.clear()
        self._stage = None
        self.rates.show()
        self.in_flight.show()
        for chart in (self.rates, self.latency, self.in_flight):
            chart.set_message("No requests have been sent yet.")
        self.machine.set_message("Waiting for machine data…")

    def show_whole_run(self) -> None:
        self.time_range.setCurrentIndex(len(_TIME_RANGES_S) - 1)
        self.linked.follow(None)

    def show_local(self) -> None:
        """Hide the charts of request rates and in-flight requests for a local model, because the
        table of variants is more useful."""
        self.rates.hide()
        self.in_flight.hide()

    def paint_rates(self, presenter: LivePresenter) -> None:
        self._set_marks(self.rates, presenter)
        self._paint_lines(self.rates, RATES, presenter)

    def paint_latency(self, presenter: LivePresenter) -> None:
        objective = presenter.latency_objective()
        self.latency.set_limit(
            None if objective is None else objective.limit, "" if objective is None else objective.label
        )
        self._set_marks(self.latency, presenter)
        self._paint_lines(self.latency, LATENCIES, presenter)

    def paint_in_flight(self, presenter: LivePresenter) -> None:
        self._set_marks(self.in_flight, presenter)
        self._paint_lines(self.in_flight, ("in_flight",), presenter)

    def _paint_lines(self, chart: Chart, columns: tuple[str, ...], presenter: LivePresenter) -> None:
        ring = presenter.series.ring
        if not len(ring):
            return
        chart.set_message("")
        x = ring.x
        for index, column in enumerate(columns):
            chart.set_line(column, _get_line_name(column), x, ring.column(column), style_index=index)
        chart.apply_changes()

    def paint_machine(self, presenter: LivePresenter) -> None:
        machine = presenter.machine
        if machine.gpus and self.view.count() < len(get_view_titles(has_gpus=True)):
            self._fill_views(has_gpus=True)
        lines = machine.lines(str(self.view.currentData()))
        self.machine.set_message("" if lines else "Waiting for machine data…")
        for name in self._machine_line_names - {name for name, _, _ in lines}:
            self.machine.remove(name)
        self._machine_line_names = {name for name, _, _ in lines}
        for index, (name, x, y) in enumerate(lines):
            self.machine.set_line(name, name, x, y, style_index=index)
        self._set_marks(self.machine, presenter)
        self.machine.apply_changes()

    def _set_marks(self, chart: Chart, presenter: LivePresenter) -> None:
        """Set the bands and markers of a chart. The caller sets them together with the data, so
        that the chart is painted only once."""
        bands = (*presenter.stages.bands(), *self._stage_band())
        chart.set_bands(_to_chart_bands(presenter.machine.bands() if chart is self.machine else bands))
        is_first_visible = (
            chart is self._first_visible_chart()
        )  # only the first visible chart shows the texts of the markers
        chart.set_markers([(marker.time_s, marker.text if is_first_visible else "") for marker in presenter.markers])

    def _first_visible_chart(self) -> Chart:
        return self.latency if self.rates.isHidden() else self.rates

    def highlight_stage(self, stage: StageCell, presenter: LivePresenter) -> None:
        """Highlight the time range of a stage in all charts."""
        self._stage = stage
        self.linked.set_crosshair(stage.start_s)
        for chart in self.linked.charts:
            self._set_marks(chart, presenter)

    def _stage_band(self) -> tuple[Band, ...]:
        stage = self._stage
        if stage is None or stage.end_s is None:
            return ()
        return (Band(stage.start_s, stage.end_s, stage.name, "plain"),)

    def _fill_views(self, *, has_gpus: bool) -> None:
        with QSignalBlocker(self.view):
            self.view.clear()
            for key, text in get_view_titles(has_gpus=has_gpus).items():
                self.view.addItem(text, key)

    def _follow(self, index: int) -> None:
        self.linked.follow(_TIME_RANGES_S[index])


def _to_chart_bands(bands: tuple[Band, ...]) -> list[tuple[float, float, str, State]]:
    return [(band.start_s, band.end_s, band.text, band.state) for band in bands]


def _get_line_name(column: str) -> str:
    return {
        "offered": "offered",
        "sent": "sent",
        "completed": "completed",
        "good": "goodput",
        "p50": "p50",
        "p95": "p95",
        "p99": "p99",
        "lag": "p99 send lag",
        "in_flight": "in flight",
    }[column]
