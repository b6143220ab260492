"""Charts of the run over time: request rates, latency and in-flight requests. The user can select a
time range."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QEvent, QSignalBlocker, Signal
from PySide6.QtWidgets import QWidget

from app.gui.charts.axes import Axis
from app.gui.charts.chart import Chart
from app.gui.charts.linked import LinkedCharts
from app.gui.charts.pens import entity_style
from app.gui.formatting import State, format_duration, shorten
from app.gui.results.state import DisplayedRun
from app.gui.theme import ThemeController
from app.gui.widgets import label, vbox
from app.records.metrics import metric_label
from reports import formatting
from reports.model import LoadSeries, Report, StageRow
from reports.sections.timelines import build_latencies_figure, build_rates_figure


class TimeAxis(QWidget):
    """Linked charts that always show the whole run, regardless of the selected time range."""

    window_selected = Signal(float, float)
    window_cleared = Signal()

    def __init__(self, theme_controller: ThemeController) -> None:
        super().__init__()
        x_axis = Axis("Time", "s")
        self.rates = Chart("Request rate", x_axis, Axis("Rate", "req/s"), theme_controller)
        self.latency = Chart("Latency", x_axis, Axis("Latency", "ms"), theme_controller)
        self.in_flight = Chart("Requests in flight", x_axis, Axis("Requests in flight", ""), theme_controller)
        self.linked = LinkedCharts((self.rates, self.latency, self.in_flight))
        self.description_label = label("", "muted", wrap=True)
        self._markers: tuple[tuple[float, str], ...] = ()
        vbox(self.description_label, self.linked, within=self)
        self.linked.time_range_selected.connect(self.window_selected)
        self.linked.time_range_cleared.connect(self.window_cleared)
        self._update_heights()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange:
            self._update_heights()

    def _update_heights(self) -> None:
        """Set the heights of the three charts for the current text size. The page scrolls, not the
        charts."""
        line_height = self.fontMetrics().height()
        for chart, line_count in ((self.rates, 12), (self.latency, 12), (self.in_flight, 9)):
            chart.setMinimumHeight(max(line_count * line_height, chart.minimumSizeHint().height()))
        total_height = sum(chart.minimumHeight() for chart in self.linked.charts)
        self.linked.setFixedHeight(total_height + 3 * line_height + 12)

    def show_run(self, displayed_run: DisplayedRun) -> None:
        """Show the whole duration of another run."""
        self._markers = tuple((time_s, shorten(text)) for time_s, text in displayed_run.opened_run.notes)
        load_series = displayed_run.own_report.load
        self.setVisible(load_series is not None)
        if load_series is None:
            return
        self._draw(load_series, displayed_run.own_report)
        bands, spans = stage_bands(displayed_run.own_report), steady_spans(displayed_run.own_report)
        for chart in self.linked.charts:
            chart.set_markers(self._markers)
            chart.set_bands(bands)
            chart.set_spans(spans)
        self._show_instruction(displayed_run)

    def show_evaluation(self, displayed_run: DisplayedRun) -> None:
        """Show the selected time range and the SLO limit, without emitting signals."""
        window_s = displayed_run.request.window_s
        with QSignalBlocker(self.linked):
            if window_s is None:
                self.linked.clear_time_range()
            elif not _is_same_range(self.linked.time_range(), window_s):
                self.linked.select_time_range(*window_s)
        curve = displayed_run.report.curve
        limit = curve.limit
        is_latency = limit is not None and curve.metric in ("latency_ms", "service_ms")
        self.latency.set_limit(
            limit.value if limit is not None and is_latency else None,
            f"SLO {metric_label(curve.metric, curve.percentile)} {formatting.format_limit(limit)}"
            if limit is not None
            else "",
        )
        self._show_instruction(displayed_run)

    def show_time(self, time_s: float, description: str = "") -> None:
        self.linked.set_crosshair(time_s)
        for chart in self.linked.charts:
            chart.set_markers((*self._markers, (time_s, description or format_duration(time_s))))

    def _draw(self, load_series: LoadSeries, report: Report) -> None:
        self.rates.show_figure(build_rates_figure(report), "")
        self.latency.show_figure(build_latencies_figure(report), "")
        self.in_flight.clear()
        time_s = np.array(load_series.at_s)
        in_flight = np.array(load_series.in_flight)
        self.in_flight.set_line("in_flight", "in flight", time_s, in_flight, style_index=entity_style("in_flight"))
        if load_series.lag_p99_ms:
            lag_ms = np.array(load_series.lag_p99_ms, dtype=np.float64)
            self.latency.set_line("lag", "p99 send lag", time_s, lag_ms, style_index=entity_style("lag"))

    def _show_instruction(self, displayed_run: DisplayedRun) -> None:
        unavailable_reason = displayed_run.opened_run.get_window_problem()
        instruction = "Shift-drag on a chart to select a time range. All numbers on this page are recalculated for it."
        self.description_label.setText(unavailable_reason or instruction)
        self.linked.time_range_button.setEnabled(unavailable_reason is None)


def stage_bands(report: Report) -> tuple[tuple[float, float, str, State], ...]:
    """Return one band per stage as (start, end, name, state), in seconds from the start of the run.
    Pooled stages are excluded."""
    stages = [row for row in report.stages if not row.pooled]
    return tuple((row.start_s, row.end_s, _format_stage_name(row), _get_stage_state(row)) for row in stages)


def steady_spans(report: Report) -> tuple[tuple[float, float, str], ...]:
    """Return the steady state of each stage as (start, end, label), in seconds from the start of the
    run."""
    return tuple((*row.window_s, "steady state") for row in report.steady if row.window_s is not None)


def _format_stage_name(row: StageRow) -> str:
    return row.stage if row.state == "not evaluated" else f"{row.stage}: {formatting.display_state(row.state)}"


def _get_stage_state(row: StageRow) -> State:
    if row.validity == "INVALID":
        return "bad"
    return "plain" if row.meets_slo is None else "good" if row.meets_slo else "warn"


def _is_same_range(time_range: tuple[float, float] | None, window_s: tuple[float, float]) -> bool:
    return (
        time_range is not None
        and max(abs(selected_s - requested_s) for selected_s, requested_s in zip(time_range, window_s, strict=True))
        < 0.02
    )
