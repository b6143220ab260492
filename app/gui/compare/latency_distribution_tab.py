"""Latency distribution tab: latency distributions of all compared runs in one stage, overlaid in
one chart."""

from __future__ import annotations

from PySide6.QtCore import QSignalBlocker, Signal
from PySide6.QtWidgets import QComboBox, QGridLayout, QWidget

from app.analysis.sample_size import count_needed_samples
from app.gui.charts.axes import Axis
from app.gui.charts.chart import Chart
from app.gui.charts.export import ExportCaption, set_export_caption
from app.gui.compare.entries import ComparisonRequest, format_run_label
from app.gui.compare.outcome import Outcome, RunSpectra
from app.gui.theme import ThemeController
from app.gui.widgets import fill_choices, hbox, label, vbox

_MAX_CHARACTERS = 60


class LatencyDistributionTab(QWidget):
    spectra_requested = Signal(str)

    def __init__(self, theme_controller: ThemeController) -> None:
        super().__init__()
        self.stage_box = QComboBox()
        self.stage_box.setAccessibleName("Stage")
        self.stage_box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
        self.metric_box = QComboBox()
        self.metric_box.setAccessibleName("Metric")
        self.metric_box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
        self._run_spectra: tuple[RunSpectra, ...] = ()
        self._run_count = 0
        self.chart = Chart(
            "Latency distribution (CDF)",
            Axis("latency", "ms", is_log=True),
            Axis("cumulative share", "%"),
            theme_controller,
        )
        self.percentile_chart = Chart(
            "Latency by percentile",
            Axis("Percentile", is_percentile=True),
            Axis("Latency", "ms"),
            theme_controller,
        )
        self._note = label("", "muted", wrap=True)
        charts = QGridLayout()  # columns of equal width, however wide the legends are
        for column, chart in enumerate((self.chart, self.percentile_chart)):
            charts.addWidget(chart, 0, column)
            charts.setColumnStretch(column, 1)
        stage_label, metric_label = label("Sta&ge", buddy=self.stage_box), label("Metri&c", buddy=self.metric_box)
        row = hbox(stage_label, self.stage_box, metric_label, self.metric_box, 1)
        layout = vbox(row, self._note, within=self, margins=(0, 10, 0, 0))
        layout.insertLayout(1, charts, 1)
        self.stage_box.currentIndexChanged.connect(self._request_spectra)
        self.metric_box.currentIndexChanged.connect(self._draw_spectra)
        self.show_message("Select two runs above.")

    @property
    def note(self) -> str:
        return self._note.text()

    def show_message(self, text: str) -> None:
        self.metric_box.setEnabled(False)
        for chart in (self.chart, self.percentile_chart):
            chart.clear()
            chart.set_message(text)
        self._note.setText("")

    def show_outcome(self, outcome: Outcome) -> None:
        self._run_count = len(outcome.request.entries)
        set_export_caption(self, _build_caption(outcome.request))
        selected_stage = self.stage_box.currentData()
        with QSignalBlocker(self.stage_box):
            self.stage_box.clear()
            for stage in outcome.stages:
                self.stage_box.addItem(stage[:_MAX_CHARACTERS], stage)
            index = self.stage_box.findData(selected_stage)
            self.stage_box.setCurrentIndex(index if index >= 0 else self.stage_box.count() - 1)
        self.stage_box.setEnabled(self.stage_box.count() > 0)
        if not outcome.stages:
            self.show_message("These runs have no stage in common.")
        else:
            self._request_spectra()

    def show_spectra(self, stage: str, run_spectra: tuple[RunSpectra, ...]) -> None:
        if stage != self.stage_box.currentData():
            return
        self._run_spectra = run_spectra
        labels_by_metric = {spectrum.metric: spectrum.label for run in run_spectra for spectrum in run.spectra}
        fill_choices(self.metric_box, ((text, metric) for metric, text in labels_by_metric.items()))
        self.metric_box.setEnabled(bool(labels_by_metric))
        self._draw_spectra()

    def _draw_spectra(self) -> None:
        metric = self.metric_box.currentData()
        for chart in (self.chart, self.percentile_chart):
            chart.clear()
            chart.set_message("" if metric else "No responses are stored for this stage.")
        lines = []
        if self._run_count > len(self._run_spectra) > 0:
            drawn_count, run_count = len(self._run_spectra), self._run_count
            lines.append(f"The chart shows {drawn_count} of {run_count} runs: the first of each side.")
        for index, run in enumerate(self._run_spectra):
            spectrum = run.find_spectrum(metric)
            if spectrum is None:
                lines.append(f"{run.label} has no responses.")
                continue
            percents = [100 * share for share in spectrum.share]
            self.chart.set_line(f"run-{index}", run.label, spectrum.ms, percents, style_index=index, is_stepped=True)
            tail = [
                (percent, ms)
                for percent, ms in zip(percents, spectrum.ms, strict=True)
                if percent < 100 and count_needed_samples(percent / 100) <= spectrum.n
            ]
            x, y = zip(*tail, strict=True) if tail else ((), ())
            self.percentile_chart.set_line(f"run-{index}", run.label, x, y, style_index=index)
            lines.append(f"{run.label} has {spectrum.n:,} responses.")
        self._note.setText(" ".join(lines))

    def _request_spectra(self) -> None:
        stage = self.stage_box.currentData()
        if stage is not None:
            for chart in (self.chart, self.percentile_chart):
                chart.set_message("Loading responses…")
            self.spectra_requested.emit(stage)


def _build_caption(request: ComparisonRequest) -> ExportCaption:
    """Return the caption of exported charts: all runs, with the date and the SLO of the first."""
    names = ", ".join(format_run_label(index, entry) for index, entry in enumerate(request.entries))
    first = next((entry.result for entry in request.entries if entry.result is not None), None)
    if first is None:
        return ExportCaption(names, "")
    slo = tuple(dict.fromkeys(row.objective.label for row in first.slo))
    return ExportCaption(names, first.clock.wall_start, slo)
