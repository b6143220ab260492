"""Charts of the run over time: request rates, latency, in-flight requests, tokens of a language
model, and machine telemetry."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QEvent, QSignalBlocker, Signal
from PySide6.QtWidgets import QComboBox, QWidget

from app.gui.charts.axes import Axis
from app.gui.charts.chart import Chart
from app.gui.charts.linked import LinkedCharts
from app.gui.charts.pens import entity_style
from app.gui.formatting import State
from app.gui.live.machine import LATENCIES, RATES, get_view_titles
from app.gui.live.presenter import LivePresenter
from app.gui.live.state import Band, RunKind, StageCell
from app.gui.theme import GAP_TIGHT, ThemeController
from app.gui.widgets import hbox, label, vbox

_TIME_RANGES_S = (60.0, 300.0, None)
_MIN_BOX_CHARACTERS = 10
_MIN_HEIGHT_LINES = 9
"""Minimum height of each chart, in lines of text."""
_TOKEN_CHARTS = {
    "prefill": (Axis("Prefill throughput", "tok/s"), {"prefill_tokens_per_s": "prefill"}),
    "decode": (Axis("Decode throughput", "tok/s"), {"decode_tokens_per_s": "decode"}),
    "output": (Axis("Output throughput", "tok/s"), {"tokens": "output tokens"}),
    "ttft": (Axis("TTFT", "ms"), {"ttft_p50_ms": "p50", "ttft_p95_ms": "p95"}),
    "tpot": (Axis("TPOT", "ms"), {"tpot_p50_ms": "p50", "tpot_p95_ms": "p95"}),
    "itl": (Axis("ITL", "ms"), {"itl_p50_ms": "p50", "itl_p95_ms": "p95"}),
}
"""Axis and lines of each chart of the tokens of a language model. The charts are created when the
first such run is shown. Prefill and decode have charts of their own, because their rates differ by a
factor of ten."""
_TOKEN_CHARTS_BY_KIND: dict[RunKind, tuple[str, ...]] = {
    "llm_endpoint": ("output", "ttft", "tpot"),
    "language_model": ("prefill", "decode", "itl", "ttft"),
}


class LiveCharts(QWidget):
    """Linked charts of a run. `note_requested` is emitted with the time, in seconds from the start
    of the run, at which the user wants to add a note."""

    note_requested = Signal(float)
    view_selected = Signal()
    token_chart_created = Signal(str)
    """Signal that is emitted with the key of a chart of tokens when the chart has been created."""

    def __init__(self, theme_controller: ThemeController) -> None:
        super().__init__()
        self._theme_controller, self._time_axis = theme_controller, Axis("Time", "s")
        self.rates = self._create_chart("Request rate", Axis("Rate", "req/s"))
        self.latency = self._create_chart("Latency and send lag", Axis("Recent latency", "ms"))
        self.in_flight = self._create_chart("Requests in flight", Axis("Requests in flight"))
        self.machine = self._create_chart("Machine", Axis("Value (unit in legend)"))
        self.token_charts: dict[str, Chart] = {}
        self.linked = LinkedCharts(
            (self.rates, self.latency, self.in_flight, self.machine), has_time_range_selection=False, max_columns=2
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
        self._kind: RunKind = "endpoint"
        self._fill_views(has_gpus=False)
        self._build()
        self.clear()

    def _create_chart(self, title: str, y_axis: Axis) -> Chart:
        return Chart(title, self._time_axis, y_axis, self._theme_controller)

    def _build(self) -> None:
        time_range_label, view_label = (
            label("T&ime range", "muted", buddy=self.time_range),
            label("&Machine", "muted", buddy=self.view),
        )
        for box in (self.time_range, self.view):
            box.setMinimumContentsLength(_MIN_BOX_CHARACTERS)  # a longer text is elided if there is no room
        row = hbox(time_range_label, self.time_range, view_label, self.view, 1, self.linked.fit_button)
        vbox(row, (self.linked, 1), within=self, spacing=GAP_TIGHT)

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
        for chart in (self.rates, self.latency, self.in_flight, *self.token_charts.values()):
            chart.set_message("No requests have been sent yet.")
        self.machine.set_message("Waiting for machine data…")
        self._kind = "endpoint"
        self._show_charts_of_kind()

    def show_whole_run(self) -> None:
        self.time_range.setCurrentIndex(len(_TIME_RANGES_S) - 1)
        self.linked.follow(None)

    def show_kind(self, kind: RunKind, *, has_first_token_tests: bool) -> None:
        """Show the charts of a kind of run. A local model has no requests; the memory of its process
        matters more than the CPU utilization."""
        if kind == self._kind:
            return
        self._kind = kind
        self._show_charts_of_kind()
        message = "No test has been measured yet." if kind == "language_model" else "No tokens have arrived yet."
        for key in _TOKEN_CHARTS_BY_KIND.get(kind, ()):
            self.token_charts[key].set_message(message)
        if kind == "language_model":
            self.token_charts["ttft"].setVisible(has_first_token_tests)
            self.linked.arrange()
            self.view.setCurrentIndex(self.view.findData("process_memory"))

    def _show_charts_of_kind(self) -> None:
        keys = _TOKEN_CHARTS_BY_KIND.get(self._kind, ())
        for index, key in enumerate(keys):
            if key not in self.token_charts:
                axis, _ = _TOKEN_CHARTS[key]
                chart = self.token_charts[key] = self._create_chart(axis.label, axis)
                self.linked.insert(index, chart)
                self.token_chart_created.emit(key)
        self._fit_charts()
        for key, chart in self.token_charts.items():
            chart.setVisible(key in keys)
        self.rates.setVisible(self._kind in ("endpoint", "llm_endpoint"))
        self.in_flight.setVisible(self._kind in ("endpoint", "llm_endpoint"))
        self.latency.setVisible(self._kind != "language_model")
        self.linked.arrange()

    def paint_rates(self, presenter: LivePresenter) -> None:
        self._set_marks(self.rates, presenter)
        self._paint_lines(self.rates, {column: _LINE_NAMES[column] for column in RATES}, presenter)

    def paint_latency(self, presenter: LivePresenter) -> None:
        objective = presenter.latency_objective()
        self.latency.set_limit(
            None if objective is None else objective.limit, "" if objective is None else objective.label
        )
        self._set_marks(self.latency, presenter)
        self._paint_lines(self.latency, {column: _LINE_NAMES[column] for column in LATENCIES}, presenter)

    def paint_in_flight(self, presenter: LivePresenter) -> None:
        self._set_marks(self.in_flight, presenter)
        self._paint_lines(self.in_flight, {"in_flight": _LINE_NAMES["in_flight"]}, presenter)

    def paint_tokens(self, key: str, presenter: LivePresenter) -> None:
        """Paint the chart of tokens with the given key."""
        chart = self.token_charts[key]
        objective = presenter.find_objective((f"{key}_ms",))
        chart.set_limit(None if objective is None else objective.limit, "" if objective is None else objective.label)
        self._set_marks(chart, presenter)
        names_by_column, ring = _TOKEN_CHARTS[key][1], presenter.series.ring
        if any(np.isfinite(ring.column(column)).any() for column in names_by_column):
            self._paint_lines(chart, names_by_column, presenter)

    def _paint_lines(self, chart: Chart, names_by_column: dict[str, str], presenter: LivePresenter) -> None:
        ring = presenter.series.ring
        if not len(ring):
            return
        chart.set_message("")
        x = ring.x
        for column, name in names_by_column.items():
            chart.set_line(
                column, name, x, ring.column(column), style_index=entity_style(_ENTITIES.get(column, column))
            )
        chart.apply_changes()

    def paint_machine(self, presenter: LivePresenter) -> None:
        machine = presenter.machine
        if machine.gpus and self.view.count() < len(get_view_titles(has_gpus=True)):
            self._fill_views(has_gpus=True)
        lines = machine.lines(str(self.view.currentData()))
        self.machine.set_message("" if lines else "Waiting for machine data…")
        for name in self._machine_line_names - {name for name, _, _, _ in lines}:
            self.machine.remove(name)
        self._machine_line_names = {name for name, _, _, _ in lines}
        for name, x, y, source in lines:
            self.machine.set_line(name, name, x, y, style_index=entity_style(source))
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
        return next(chart for chart in self.linked.charts if not chart.isHidden())

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


_LINE_NAMES = {
    "offered": "offered",
    "sent": "sent",
    "completed": "completed",
    "good": "goodput",
    "p50": "p50",
    "p95": "p95",
    "p99": "p99",
    "lag": "p99 send lag",
    "in_flight": "in flight",
}
_ENTITIES = {f"{name}_{percentile}_ms": percentile for name in ("ttft", "tpot", "itl") for percentile in ("p50", "p95")}
"""Columns whose lines are percentiles, and thus have the colors of these percentiles."""
