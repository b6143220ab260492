"""GPUs and host over the run: what was read, by unit, on one time axis. What was not read is n/a, and not 0.

When a GPU's clocks were held back, as bands over the run's time.
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
from app.gui.formatting import State
from app.gui.results.state import Shown
from app.gui.results.tabs.tab import Tab
from app.gui.results.time_axis import bands_of
from app.gui.theme import Look
from app.gui.widgets import label, tip
from app.records.gpu import throttle_names
from reports.model import TelemetrySeries

if TYPE_CHECKING:
    import pandas as pd


REASONS = "gpu_throttle_reasons"


def throttle_bands(telemetry: pd.DataFrame, start_ns: int) -> tuple[tuple[float, float, str, State], ...]:
    """One a stretch of readings of a GPU with the same reasons; seconds from the start of the run."""
    read = telemetry[telemetry["metric"] == REASONS]
    found: list[tuple[float, float, str, State]] = []
    for source, of_gpu in read.groupby("source", observed=True):
        ordered = of_gpu.sort_values("at_ns").dropna(subset=["value"])
        pairs = zip(ordered["at_ns"], ordered["value"], strict=True)
        readings = [(at_ns, throttle_names(bits)) for at_ns, bits in pairs]
        for reasons, stretch in groupby(readings, key=lambda one: one[1]):
            times_s = [(at_ns - start_ns) / 1e9 for at_ns, _ in stretch]
            if reasons:
                words = "{gpu} held back: {reasons}".format(gpu=source, reasons=", ".join(reasons))
                found.append((times_s[0], times_s[-1], words, "warn"))
    return tuple(found)


_MOST_CHARTS, _MOST_LINES = 8, 6
_FIRST = ("gpu_utilisation_percent", "gpu_power_w", "gpu_memory_gib", "gpu_sm_clock_mhz", "host_cpu_percent",
          "endpoint_cpu_cores", "model_cpu_cores", "generator_cpu_cores", "host_memory_gib")  # fmt: skip


class MachineTab(Tab):
    title = "GPU and host"

    def __init__(self, look: Look) -> None:
        super().__init__()
        self._look = look
        self.about = label("", "muted", wrap=True)
        self.charts: list[Chart] = []
        self._linked: QWidget | None = None
        self.column.addWidget(self.about)
        self.column.addStretch(1)

    def is_for(self, shown: Shown) -> bool:
        return bool(shown.own.telemetry)

    def show_run(self, shown: Shown) -> None:
        if self._linked is not None:
            self._linked.hide()
            self._linked.deleteLater()
        groups = grouped([one for one in shown.report.telemetry if one.metric != REASONS])
        left_out = len({one.metric for one in shown.report.telemetry}) - len(groups)
        has_gpu = any(one.metric.startswith("gpu_") for one in shown.report.telemetry)
        words = "" if has_gpu else "No GPU was read on this machine. "
        more = f"{left_out} more readings are in the HTML report." if left_out > 0 else ""
        self.about.setText(f"{words}{more}")
        self.charts = [self._chart(series) for series in groups]
        if not self.charts:
            self.about.setText("Nothing was read of the machine here.")
            return
        throttled = throttle_bands(shown.opened.facts.telemetry, shown.result.zero_ns)
        for chart, of_it in zip(self.charts, groups, strict=True):
            is_gpu = of_it[0].metric.startswith("gpu_")
            chart.set_bands(throttled if is_gpu and throttled else bands_of(shown.report))
        self._linked = LinkedCharts(self.charts)
        self._linked.span_button.hide()
        line = self.fontMetrics().height()
        self._linked.setMinimumHeight(sum(chart.minimumHeight() for chart in self.charts) + 4 * line)
        self.column.insertWidget(1, self._linked)

    def _chart(self, series: Sequence[TelemetrySeries]) -> Chart:
        first = series[0]
        name = first.metric.replace("_", " ")
        chart = Chart(name, Axis("Time", "s"), Axis(name, first.unit), self._look)
        chart.setToolTip(tip(first.description))
        chart.setMinimumHeight(max(9 * self.fontMetrics().height(), chart.minimumSizeHint().height()))
        for place, one in enumerate(series[:_MOST_LINES]):
            values = np.array([np.nan if value is None else value for value in one.values], dtype=np.float64)
            chart.set_line(one.source, one.source, np.array(one.at_s), values, series=place)
        return chart


def grouped(telemetry: Sequence[TelemetrySeries]) -> list[list[TelemetrySeries]]:
    """A chart a metric, what people look for first; the rest is in the report."""
    by_metric: defaultdict[str, list[TelemetrySeries]] = defaultdict(list)
    for one in telemetry:
        by_metric[one.metric].append(one)
    order = [name for name in _FIRST if name in by_metric]
    order += [name for name in by_metric if name not in order]
    return [by_metric[name] for name in order[:_MOST_CHARTS]]
