"""Machine tab: telemetry of the GPUs and the host over the run, with one chart per metric on a
shared time axis. Missing readings are n/a, not 0.

Periods in which a GPU was throttled are shown as bands.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
from PySide6.QtWidgets import QWidget

from app.gui.charts.axes import Axis
from app.gui.charts.chart import Chart
from app.gui.charts.linked import LinkedCharts
from app.gui.charts.pens import entity_style
from app.gui.formatting import State
from app.gui.results.state import DisplayedRun
from app.gui.results.tabs.tab import Tab
from app.gui.results.time_axis import stage_bands
from app.gui.theme import ThemeController
from app.gui.widgets import label, tool_tip_text
from app.records.gpu import list_throttle_reasons
from app.records.metrics import metric_label
from reports.model import TelemetrySeries

if TYPE_CHECKING:
    import pandas as pd


THROTTLE_REASONS = "gpu_throttle_reasons"


def throttle_bands(telemetry: pd.DataFrame, start_ns: int) -> tuple[tuple[float, float, str, State], ...]:
    """Return a band (start, end, text, state) for each period in which a GPU was throttled for the
    same reasons. The start and end of a band are in seconds from the start of the run."""
    throttle_readings = telemetry[telemetry["metric"] == THROTTLE_REASONS]
    bands: list[tuple[float, float, str, State]] = []
    for source, gpu_readings in throttle_readings.groupby("source", observed=True):
        ordered_readings = gpu_readings.sort_values("at_ns").dropna(subset=["value"])
        timed_bits = zip(ordered_readings["at_ns"], ordered_readings["value"], strict=True)
        readings = [(at_ns, list_throttle_reasons(bits)) for at_ns, bits in timed_bits]
        for reasons, period_readings in groupby(readings, key=lambda reading: reading[1]):
            times_s = [(at_ns - start_ns) / 1e9 for at_ns, _ in period_readings]
            if reasons:
                text = "{gpu} throttled: {reasons}".format(gpu=source, reasons=", ".join(reasons))
                bands.append((times_s[0], times_s[-1], text, "warn"))
    return tuple(bands)


_MAX_CHARTS, _MAX_LINES = 8, 6
_IMPORTANT_METRICS = (
    "server_running_requests", "server_waiting_requests", "server_kv_cache_percent", "server_cache_hit_percent",
    "gpu_utilization_percent", "gpu_power_w", "gpu_memory_gib", "gpu_sm_clock_mhz", "host_cpu_percent",
    "endpoint_cpu_cores", "model_cpu_cores", "generator_cpu_cores", "host_memory_gib",
)  # fmt: skip


class MachineTab(Tab):
    title = "GPU and host"

    def build(self, theme_controller: ThemeController) -> None:
        self._theme_controller = theme_controller
        self.description_label = label("", "muted", wrap=True)
        self.charts: list[Chart] = []
        self._linked_charts: QWidget | None = None
        self.column.addWidget(self.description_label)
        self.column.addStretch(1)

    def applies_to(self, displayed_run: DisplayedRun) -> bool:
        return bool(displayed_run.own_report.telemetry)

    def show_run(self, displayed_run: DisplayedRun) -> None:
        if self._linked_charts is not None:
            self._linked_charts.hide()
            self._linked_charts.deleteLater()
        groups = group_by_metric(
            [series for series in displayed_run.report.telemetry if series.metric != THROTTLE_REASONS]
        )
        omitted_count = len({series.metric for series in displayed_run.report.telemetry}) - len(groups)
        has_gpu = any(series.metric.startswith("gpu_") for series in displayed_run.report.telemetry)
        no_gpu_text = "" if has_gpu else "No GPU was detected. "
        omitted_text = f"{omitted_count} more metrics are in the HTML report." if omitted_count > 0 else ""
        self.description_label.setText(f"{no_gpu_text}{omitted_text}")
        sources = tuple(dict.fromkeys(series.source for series in displayed_run.own_report.telemetry))
        self.charts = [self._build_chart(group, sources) for group in groups]
        if not self.charts:
            self.description_label.setText("This run contains no machine telemetry.")
            return
        gpu_bands = throttle_bands(displayed_run.opened_run.data.telemetry, displayed_run.result.time_zero_ns)
        for chart, group in zip(self.charts, groups, strict=True):
            is_gpu = group[0].metric.startswith("gpu_")
            chart.set_bands(gpu_bands if is_gpu and gpu_bands else stage_bands(displayed_run.report))
        self._linked_charts = LinkedCharts(self.charts)
        self._linked_charts.time_range_button.hide()
        line_height = self.fontMetrics().height()
        self._linked_charts.setMinimumHeight(sum(chart.minimumHeight() for chart in self.charts) + 4 * line_height)
        self.column.insertWidget(1, self._linked_charts)

    def _build_chart(self, series: Sequence[TelemetrySeries], sources: Sequence[str]) -> Chart:
        first_series = series[0]
        name = metric_label(first_series.metric)
        name = name[:1].upper() + name[1:]
        chart = Chart(name, Axis("Time", "s"), Axis(name, first_series.unit), self._theme_controller)
        chart.setToolTip(tool_tip_text(first_series.description))
        chart.setMinimumHeight(max(9 * self.fontMetrics().height(), chart.minimumSizeHint().height()))
        for source_series in series[:_MAX_LINES]:
            values = np.array([np.nan if value is None else value for value in source_series.values], dtype=np.float64)
            source = source_series.source
            style_index = entity_style(source, sources)
            chart.set_line(source, source, np.array(source_series.at_s), values, style_index=style_index)
        return chart


def group_by_metric(telemetry: Sequence[TelemetrySeries]) -> list[list[TelemetrySeries]]:
    """Group the telemetry series by metric, one group per chart. The most important metrics come
    first; metrics above the maximum number of charts are only shown in the report."""
    series_by_metric: defaultdict[str, list[TelemetrySeries]] = defaultdict(list)
    for series in telemetry:
        series_by_metric[series.metric].append(series)
    metrics = [metric for metric in _IMPORTANT_METRICS if metric in series_by_metric]
    metrics += [metric for metric in series_by_metric if metric not in metrics]
    return [series_by_metric[metric] for metric in metrics[:_MAX_CHARTS]]
