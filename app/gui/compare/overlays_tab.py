"""Overlays tab: all compared runs in one chart, as latency distributions in one stage, over time, or
over load. A run has the same color in every chart."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QSignalBlocker, Qt, Signal
from PySide6.QtWidgets import QComboBox, QGridLayout, QWidget

from app.analysis.sample_size import count_needed_samples
from app.gui.charts.axes import Axis
from app.gui.charts.chart import Chart
from app.gui.charts.export import ExportCaption, set_export_caption
from app.gui.charts.figures import LineCharts
from app.gui.compare.entries import ComparisonRequest, format_run_label
from app.gui.compare.outcome import Outcome, OverlayView, RunSpectra, build_load_overlays
from app.gui.flow import set_flow_layout
from app.gui.formatting import shorten
from app.gui.theme import TAB_MARGINS, ThemeController
from app.gui.widgets import fill_choices, hbox, label, stacked_widget, vbox
from reports.sections.figure import LineFigure

_MAX_CHARACTERS = 60
_VIEW_NAMES: dict[OverlayView, str] = {
    "distribution": "Latency distribution (CDF)", "load": "Over load", "time": "Over time",
}  # fmt: skip
_NO_DATA: dict[OverlayView, str] = {
    "distribution": "No responses are stored for this stage.",
    "load": "These runs have no stage with a rate or a number of clients.",
    "time": "No requests are stored for these runs.",
}


class OverlaysTab(QWidget):
    spectra_requested = Signal(str)
    time_overlays_requested = Signal()

    def __init__(self, theme_controller: ThemeController) -> None:
        super().__init__()
        self.view_box, self.stage_box, self.metric_box = QComboBox(), QComboBox(), QComboBox()
        for box, name in ((self.view_box, "Overlay"), (self.stage_box, "Stage"), (self.metric_box, "Metric")):
            box.setAccessibleName(name)
            box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
        for view, text in _VIEW_NAMES.items():
            self.view_box.addItem(text, view)
        self._outcome: Outcome | None = None
        self._run_spectra: tuple[RunSpectra, ...] = ()
        self._overlays: dict[str, LineFigure] = {}
        self._distribution_chart = Chart(
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
        self._distribution_page = QWidget()
        charts = QGridLayout(self._distribution_page)  # columns of equal width, however wide the legends are
        charts.setContentsMargins(0, 0, 0, 0)
        for column, chart in enumerate((self._distribution_chart, self.percentile_chart)):
            charts.addWidget(chart, 0, column)
            charts.setColumnStretch(column, 1)
        self._message_label = label("", "muted", wrap=True)
        self._message_label.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._pages = stacked_widget(self._distribution_page, self._message_label)
        self._charts = LineCharts(theme_controller, self._pages.addWidget)
        self.chart = self._distribution_chart
        self._note = label("", "muted", wrap=True)
        row = QWidget()
        flow = set_flow_layout(row)
        self._stage_field = _create_field("Sta&ge", self.stage_box)
        self._metric_field = _create_field("Metri&c", self.metric_box)
        for field in (_create_field("&Overlay", self.view_box), self._stage_field, self._metric_field):
            flow.addWidget(field)
        vbox(row, (self._pages, 1), self._note, within=self, margins=TAB_MARGINS)
        self.view_box.currentIndexChanged.connect(self._show_view)
        self.stage_box.currentIndexChanged.connect(self._request_spectra)
        self.metric_box.currentIndexChanged.connect(self._draw)
        self.show_message("Select two runs above.")

    @property
    def note(self) -> str:
        return self._note.text()

    @property
    def view(self) -> OverlayView:
        view: OverlayView = self.view_box.currentData()
        return view

    def show_message(self, text: str) -> None:
        self.metric_box.setEnabled(False)
        self._update_fields()
        for chart in (self.chart, self.percentile_chart):
            chart.clear()
        self._message_label.setText(text)
        self._pages.setCurrentWidget(self._message_label)
        self._note.setText("")

    def show_outcome(self, outcome: Outcome) -> None:
        self._outcome = outcome
        set_export_caption(self, _build_caption(outcome.request))
        selected_stage = self.stage_box.currentData()
        with QSignalBlocker(self.stage_box):
            self.stage_box.clear()
            for stage in outcome.stages:
                self.stage_box.addItem(shorten(stage, _MAX_CHARACTERS), stage)
            index = self.stage_box.findData(selected_stage)
            self.stage_box.setCurrentIndex(index if index >= 0 else self.stage_box.count() - 1)
        self._show_view()

    def show_spectra(self, stage: str, run_spectra: tuple[RunSpectra, ...]) -> None:
        if stage != self.stage_box.currentData() or self.view != "distribution":
            return
        self._run_spectra = run_spectra
        labels_by_metric = {spectrum.metric: spectrum.label for run in run_spectra for spectrum in run.spectra}
        self._fill_metrics([(text, metric) for metric, text in labels_by_metric.items()])

    def show_time_overlays(self, overlays: dict[str, LineFigure]) -> None:
        if self.view == "time":
            self._show_overlays(overlays)

    def _show_view(self) -> None:
        self._update_fields()
        outcome = self._outcome
        if outcome is None:
            return
        if all(entry.result is None for entry in outcome.request.entries):
            self._show_no_data(outcome.missing_input or "")
        elif self.view == "load":
            self._show_overlays(build_load_overlays(outcome.request.entries))
        elif self.view == "time":
            self.show_message("Loading requests…")
            self.time_overlays_requested.emit()
        elif not outcome.stages:
            self._show_no_data("These runs have no stage in common.")
        else:
            self._request_spectra()

    def _show_no_data(self, reason: str) -> None:
        fill_choices(self.metric_box, ())
        self.show_message(reason)

    def _update_fields(self) -> None:
        """Show the fields that have something to choose."""
        self._stage_field.setVisible(self.view == "distribution" and self.stage_box.count() > 0)
        self._metric_field.setVisible(self.metric_box.count() > 0)

    def _show_overlays(self, overlays: dict[str, LineFigure]) -> None:
        self._overlays = overlays
        self._fill_metrics([(figure.y.label, metric) for metric, figure in overlays.items()])

    def _fill_metrics(self, choices: Sequence[tuple[str, str]]) -> None:
        fill_choices(self.metric_box, choices)
        self.metric_box.setEnabled(bool(choices))
        self._update_fields()
        self._draw()

    def _draw(self) -> None:
        if self.view == "distribution":
            self._draw_spectra()
            return
        figure = self._overlays.get(self.metric_box.currentData())
        if figure is None or self._outcome is None:
            self.show_message(_NO_DATA[self.view])
            return
        self.chart = self._charts.draw(figure)
        self._pages.setCurrentWidget(self.chart)
        self._note.setText(" ".join(filter(None, [*self._list_omissions(len(figure.lines)), figure.note])))

    def _draw_spectra(self) -> None:
        metric = self.metric_box.currentData()
        if metric is None:
            self.show_message(_NO_DATA["distribution"])
            return
        self.chart = chart = self._distribution_chart
        chart.clear()
        self.percentile_chart.clear()
        self._pages.setCurrentWidget(self._distribution_page)
        lines = self._list_omissions(len(self._run_spectra))
        for run in self._run_spectra:
            spectrum = run.find_spectrum(metric)
            if spectrum is None:
                lines.append(f"{run.label} has no responses.")
                continue
            percents = [100 * share for share in spectrum.share]
            key = f"run-{run.index}"
            chart.set_line(key, run.label, spectrum.ms, percents, style_index=run.index, is_stepped=True)
            tail = [
                (percent, ms)
                for percent, ms in zip(percents, spectrum.ms, strict=True)
                if percent < 100 and count_needed_samples(percent / 100) <= spectrum.n
            ]
            x, y = zip(*tail, strict=True) if tail else ((), ())
            self.percentile_chart.set_line(key, run.label, x, y, style_index=run.index)
            lines.append(f"{run.label} has {spectrum.n:,} responses.")
        self._note.setText(" ".join(lines))

    def _list_omissions(self, drawn_count: int) -> list[str]:
        run_count = 0 if self._outcome is None else len(self._outcome.request.entries)
        if not run_count > drawn_count > 0:
            return []
        return [f"The chart shows {drawn_count} of {run_count} runs."]

    def _request_spectra(self) -> None:
        stage = self.stage_box.currentData()
        if stage is not None:
            self.show_message("Loading responses…")
            self.spectra_requested.emit(stage)


def _build_caption(request: ComparisonRequest) -> ExportCaption:
    """Return the caption of exported charts: all runs, with the date and the SLO of the first."""
    names = ", ".join(format_run_label(index, entry) for index, entry in enumerate(request.entries))
    first = next((entry.result for entry in request.entries if entry.result is not None), None)
    if first is None:
        return ExportCaption(names, "")
    slo = tuple(dict.fromkeys(row.objective.label for row in first.slo))
    return ExportCaption(names, first.clock.wall_start, slo)


def _create_field(text: str, box: QComboBox) -> QWidget:
    field = QWidget()
    hbox(label(text, buddy=box), box, within=field)
    return field
