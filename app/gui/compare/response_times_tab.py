"""Response times tab: response time distributions of all compared runs in one stage, overlaid in
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
        self.time = QComboBox()
        self.time.setAccessibleName("Metric")
        self.time.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
        self._curves: tuple[Curve, ...] = ()
        self._runs = 0
        self.chart = Chart(
            "Latency distribution (CDF)", Axis("time", "ms", is_log=True), Axis("share", "%"), theme_controller
        )
        self._note = label("", "muted", wrap=True)
        stage, time = label("St&age", buddy=self.stage), label("Metr&ic", buddy=self.time)
        row = hbox(stage, self.stage, time, self.time, 1)
        vbox(row, (self.chart, 1), self._note, within=self, margins=(0, 10, 0, 0))
        self.stage.currentIndexChanged.connect(self._request_curves)
        self.time.currentIndexChanged.connect(self._draw)
        self.show_message("Select two runs above.")

    @property
    def note(self) -> str:
        return self._note.text()

    def show_message(self, text: str) -> None:
        self.time.setEnabled(False)
        self.chart.clear()
        self.chart.set_message(text)
        self._note.setText("")

    def show_outcome(self, outcome: Outcome) -> None:
        self._runs = len(outcome.request.entries)
        chosen = self.stage.currentData()
        with QSignalBlocker(self.stage):
            self.stage.clear()
            for stage in outcome.stages:
                self.stage.addItem(stage[:_MAX_CHARACTERS], stage)
            index = self.stage.findData(chosen)
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
        times = {spectrum.metric: spectrum.label for curve in curves for spectrum in curve.spectra}
        fill_choices(self.time, ((text, metric) for metric, text in times.items()))
        self.time.setEnabled(bool(times))
        self._draw()

    def _draw(self) -> None:
        time = self.time.currentData()
        self.chart.clear()
        self.chart.set_message("" if time else "No responses are stored for this stage.")
        lines = []
        if self._runs > len(self._curves) > 0:
            drawn, count = len(self._curves), self._runs
            lines.append(f"Showing {drawn} of {count} runs: the first of each side.")
        for number, curve in enumerate(self._curves):
            spectrum = curve.find_spectrum(time)
            if spectrum is None:
                lines.append(f"{curve.label}: no responses.")
                continue
            shares = [100 * share for share in spectrum.share]
            self.chart.set_line(f"run-{number}", curve.label, spectrum.ms, shares, series=number, is_stepped=True)
            lines.append(f"{curve.label}: {spectrum.n:,} responses.")
        self._note.setText(" ".join(lines))

    def _request_curves(self) -> None:
        stage = self.stage.currentData()
        if stage is not None:
            self.chart.set_message("Loading responses…")
            self.curves_requested.emit(stage)
