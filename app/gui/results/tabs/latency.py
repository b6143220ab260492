"""Latency tab: tail latency by percentile, latency CDF, and the distribution over time.

Tokens tab: time to first token, time between tokens, and token throughput.
"""

from __future__ import annotations

import numpy as np
from PySide6.QtWidgets import QGridLayout

from app.gui.charts.axes import Axis
from app.gui.charts.chart import Chart
from app.gui.charts.heat_map import HeatMap
from app.gui.formatting import format_count
from app.gui.results import frames
from app.gui.results.quantity_model import QuantityModel
from app.gui.results.state import ShownRun
from app.gui.results.tabs.tab import Tab, create_table, fit_columns, fit_height
from app.gui.theme import ThemeController
from app.gui.widgets import label
from reports import formatting
from reports.model import Report

_LATENCY_METRICS = ("latency_ms", "service_ms", "ttft_ms")


class LatencyTab(Tab):
    title = "Latency"

    def __init__(self, theme_controller: ThemeController) -> None:
        super().__init__()
        slowest = Axis("The slowest one in", "", True)
        self.spectrum = Chart("The slow end", slowest, Axis("Time", "ms"), theme_controller)
        self.ecdf = Chart("Share answered by then", Axis("Time", "ms", True), Axis("Share", "%"), theme_controller)
        self.heat = HeatMap("Answers over time", Axis("Time", "s"), Axis("Latency", "ms", True), theme_controller)
        self.about = label("", "muted", wrap=True)
        self.column.addWidget(self.about)
        grid = QGridLayout()
        grid.addWidget(self.spectrum, 0, 0)
        grid.addWidget(self.ecdf, 0, 1)
        grid.addWidget(self.heat, 1, 0, 1, 2)
        grid.setColumnStretch(0, 1)
        grid.setColumnStretch(1, 1)
        for chart in (self.spectrum, self.ecdf, self.heat):
            chart.setMinimumHeight(240)
        self.column.addLayout(grid, 1)

    def applies_to(self, shown: ShownRun) -> bool:
        return bool(shown.report.stages) or shown.report.load is not None

    def show_run(self, shown: ShownRun) -> None:
        report = shown.report
        self._draw_spectrum(report)
        self._draw_ecdf(report)
        self._draw_heat(report)
        n = report.spectra[0].n if report.spectra else 0
        template = (
            "{count} answers of the stages that the answer rests on, pooled. The slow end goes by the slowest one in "
            "so many, as far as that many allow: 10 is p90, 100 is p99, 1,000 is p99.9."
        )
        self.about.setText(template.format(count=format_count(n)))

    def _draw_spectrum(self, report: Report) -> None:
        self.spectrum.clear()
        for series, spectrum in enumerate(report.spectra):
            share = np.array(spectrum.share)
            self.spectrum.set_line(
                spectrum.metric, spectrum.name, 1 / (1 - share), np.array(spectrum.ms), series=series
            )
        limit = report.curve.limit
        if limit is not None and report.curve.metric in _LATENCY_METRICS:
            self.spectrum.set_limit(limit.value, f"SLO {report.curve.percentile} {formatting.format_limit(limit)}")
        self.spectrum.set_message(
            "" if report.spectra else "Nothing was answered in the stages that the answer rests on."
        )

    def _draw_ecdf(self, report: Report) -> None:
        self.ecdf.clear()
        for series, distribution in enumerate(report.distributions):
            self.ecdf.set_line(
                distribution.metric,
                distribution.name,
                np.array(distribution.ms),
                100 * np.array(distribution.share),
                series=series,
            )
        self.ecdf.set_message("" if report.distributions else "Nothing was answered.")

    def _draw_heat(self, report: Report) -> None:
        heat = report.heat_map
        self.heat.set_message("" if heat is not None else "Too little was answered to see it change over time.")
        if heat is not None:
            counts = np.array(heat.counts, dtype=np.float64).T
            self.heat.set_counts(heat.from_s[0], heat.bin_s, np.array(heat.edges_ms), counts)


class TokensTab(Tab):
    title = "Tokens"

    def __init__(self, theme_controller: ThemeController) -> None:
        super().__init__()
        self.first = Chart("Time to the first token", Axis("Time", "s"), Axis("TTFT p95", "ms"), theme_controller)
        self.ecdf = Chart("Share by then", Axis("Time", "ms", True), Axis("Share", "%"), theme_controller)
        self.model = QuantityModel(frames.token_headers(), frames.TOKEN_QUANTITIES)
        self.table = create_table(self.model, "Tokens by stage")
        explanation = (
            "TTFT counts from the intended start to the first delta that is not empty; TPOT is the time from the first "
            "token to the last, by the tokens after the first."
        )
        self.column.addWidget(label(explanation, "muted", wrap=True))
        self.column.addWidget(self.table)
        for chart in (self.first, self.ecdf):
            chart.setMinimumHeight(220)
            self.column.addWidget(chart, 1)

    def applies_to(self, shown: ShownRun) -> bool:
        return bool(shown.own_report.tokens)

    def show_run(self, shown: ShownRun) -> None:
        report = shown.report
        stages = {row.name: row for row in report.stages}
        invalid = [
            number
            for number, row in enumerate(report.tokens)
            if row.stage in stages and stages[row.stage].trust == "INVALID"
        ]
        self.model.set_rows(frames.token_frame(report.tokens), invalid)
        fit_columns(self.table)
        fit_height(self.table)
        self.first.clear()
        load = report.load
        has_first = load is not None and bool(load.ttft_p95_ms)
        if load is not None and has_first:
            values = np.array([np.nan if item is None else item for item in load.ttft_p95_ms], dtype=np.float64)
            self.first.set_line("ttft", "TTFT p95", np.array(load.at_s), values, series=0)
        self.first.set_message("" if has_first else "No answer here had a token.")
        self.ecdf.clear()
        token_distributions = [item for item in report.distributions if item.metric in ("ttft_ms", "tpot_ms")]
        for series, item in enumerate(token_distributions):
            self.ecdf.set_line(item.metric, item.label, np.array(item.ms), 100 * np.array(item.share), series=series)
        self.ecdf.set_message("" if token_distributions else "No answer here had a token.")
