"""Latency tab: tail latency by percentile, latency CDF, and the latency distribution over time.

The module also contains the Tokens tab: time to first token (TTFT), time per output token (TPOT),
inter-token latency (ITL) and token throughput.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PySide6.QtWidgets import QGridLayout

from app.gui.charts.axes import Axis
from app.gui.charts.chart import Chart
from app.gui.charts.heat_map import HeatMap
from app.gui.formatting import format_count
from app.gui.results import frames
from app.gui.results.quantity_model import QuantityModel
from app.gui.results.state import DisplayedRun
from app.gui.results.tabs.tab import Tab, create_table, fit_columns, fit_height
from app.gui.theme import ThemeController
from app.gui.widgets import label
from app.records.metrics import metric_label
from reports import formatting
from reports.model import PercentileCurve, Report

_LATENCY_METRICS = ("latency_ms", "service_ms", "ttft_ms")
_CDF_AXIS = Axis("Share of requests", "%")


class LatencyTab(Tab):
    title = "Latency"

    def __init__(self, theme_controller: ThemeController) -> None:
        super().__init__()
        percentile_axis = Axis("1 in N requests (10: p90, 100: p99, 1,000: p99.9)", "", True)
        self.spectrum_chart = Chart(
            "Tail latency by percentile", percentile_axis, Axis("Latency", "ms"), theme_controller
        )
        self.cdf_chart = Chart("Latency distribution (CDF)", Axis("Latency", "ms", True), _CDF_AXIS, theme_controller)
        self.heat_map_chart = HeatMap(
            "Latency heat map", Axis("Time", "s"), Axis("Latency", "ms", True), theme_controller
        )
        self.description_label = label("", "muted", wrap=True)
        self.column.addWidget(self.description_label)
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
        response_count = report.spectra[0].n if report.spectra else 0
        template = "The charts show {count} responses from the stages used for the result."
        self.description_label.setText(template.format(count=format_count(response_count)))

    def _draw_spectrum(self, report: Report) -> None:
        self.spectrum_chart.clear()
        for style_index, spectrum in enumerate(report.spectra):
            probabilities = np.array(spectrum.share)
            self.spectrum_chart.set_line(
                spectrum.metric, spectrum.name, 1 / (1 - probabilities), np.array(spectrum.ms), style_index=style_index
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

    def __init__(self, theme_controller: ThemeController) -> None:
        super().__init__()
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
        stages_by_name = {row.name: row for row in report.stages}
        invalid_rows = [
            row_index
            for row_index, row in enumerate(report.tokens)
            if row.stage in stages_by_name and stages_by_name[row.stage].validity == "INVALID"
        ]
        self.model.set_rows(frames.token_frame(report.tokens), invalid_rows)
        fit_columns(self.table)
        fit_height(self.table)
        self.ttft_chart.clear()
        load = report.load
        has_ttft = load is not None and bool(load.ttft_p95_ms)
        if load is not None and has_ttft:
            values = np.array([np.nan if value is None else value for value in load.ttft_p95_ms], dtype=np.float64)
            self.ttft_chart.set_line("ttft", "p95 TTFT", np.array(load.at_s), values, style_index=0)
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
    for style_index, (curve, text) in enumerate(distributions):
        percents = 100 * np.array(curve.share)
        chart.set_line(curve.metric, text, np.array(curve.ms), percents, style_index=style_index)
