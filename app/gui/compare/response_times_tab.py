"""Latency distribution tab: latency distributions of all compared runs in one stage, overlaid in
one chart."""

from __future__ import annotations

from PySide6.QtCore import QSignalBlocker, Signal
from PySide6.QtWidgets import QComboBox, QWidget

from app.gui.charts.axes import Axis
from app.gui.charts.chart import Chart
from app.gui.compare.outcome import Curve, Outcome
from app.gui.theme import ThemeController
from app.gui.widgets import fill_choices, hbox, label, vbox

_MAX_CHARACTERS = 60


class ResponseTimesTab(QWidget):
    curves_requested = Signal(str)

    def __init__(self, theme_controller: ThemeController) -> None:
        super().__init__()
        self.stage = QComboBox()
        self.stage.setAccessibleName("Stage")
        self.stage.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
        self.metric_box = QComboBox()
        self.metric_box.setAccessibleName("Metric")
        self.metric_box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
        self._curves: tuple[Curve, ...] = ()
        self._run_count = 0
        self.chart = Chart(
            "Latency distribution (CDF)",
            Axis("latency", "ms", is_log=True),
            Axis("cumulative share", "%"),
            theme_controller,
        )
        self._note = label("", "muted", wrap=True)
        stage, metric_label = label("St&age", buddy=self.stage), label("Metr&ic", buddy=self.metric_box)
        row = hbox(stage, self.stage, metric_label, self.metric_box, 1)
        vbox(row, (self.chart, 1), self._note, within=self, margins=(0, 10, 0, 0))
        self.stage.currentIndexChanged.connect(self._request_curves)
        self.metric_box.currentIndexChanged.connect(self._draw)
        self.show_message("Select two runs above.")

    @property
    def note(self) -> str:
        return self._note.text()

    def show_message(self, text: str) -> None:
        self.metric_box.setEnabled(False)
        self.chart.clear()
        self.chart.set_message(text)
        self._note.setText("")

    def show_outcome(self, outcome: Outcome) -> None:
        self._run_count = len(outcome.request.entries)
        selected_stage = self.stage.currentData()
        with QSignalBlocker(self.stage):
            self.stage.clear()
            for stage in outcome.stages:
                self.stage.addItem(stage[:_MAX_CHARACTERS], stage)
            index = self.stage.findData(selected_stage)
            self.stage.setCurrentIndex(index if index >= 0 else self.stage.count() - 1)
        self.stage.setEnabled(self.stage.count() > 0)
        if not outcome.stages:
            self.show_message("These runs have no stage in common.")
        else:
            self._request_curves()

    def show_curves(self, stage: str, curves: tuple[Curve, ...]) -> None:
        if stage != self.stage.currentData():
            return
        self._curves = curves
        labels_by_metric = {spectrum.metric: spectrum.label for curve in curves for spectrum in curve.spectra}
        fill_choices(self.metric_box, ((text, metric) for metric, text in labels_by_metric.items()))
        self.metric_box.setEnabled(bool(labels_by_metric))
        self._draw()

    def _draw(self) -> None:
        metric = self.metric_box.currentData()
        self.chart.clear()
        self.chart.set_message("" if metric else "No responses are stored for this stage.")
        lines = []
        if self._run_count > len(self._curves) > 0:
            drawn_count, count = len(self._curves), self._run_count
            lines.append(f"Showing {drawn_count} of {count} runs: the first of each side.")
        for number, curve in enumerate(self._curves):
            spectrum = curve.find_spectrum(metric)
            if spectrum is None:
                lines.append(f"{curve.label}: no responses.")
                continue
            percents = [100 * share for share in spectrum.share]
            self.chart.set_line(f"run-{number}", curve.label, spectrum.ms, percents, series=number, is_stepped=True)
            lines.append(f"{curve.label}: {spectrum.n:,} responses.")
        self._note.setText(" ".join(lines))

    def _request_curves(self) -> None:
        stage = self.stage.currentData()
        if stage is not None:
            self.chart.set_message("Loading responses…")
            self.curves_requested.emit(stage)
