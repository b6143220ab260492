"""Editor with histograms of the prompt and output lengths. The lengths are sampled with the seed of
the profile."""

from __future__ import annotations

import copy

import numpy as np

from app.gui.background import LatestRunner
from app.gui.charts.axes import Axis
from app.gui.charts.chart import Chart
from app.gui.formatting import format_count, format_number, shorten
from app.gui.message_strip import MessageStrip
from app.gui.navigation import Notice
from app.gui.run.editor_interface import EditedProfile, SpecialEditor, copy_tree, display_path, set_min_lines
from app.gui.run.lengths_view import Histogram, LengthsView, build_lengths_view
from app.gui.run.rows import Rows
from app.gui.theme import ThemeController
from app.gui.widgets import hbox, label, vbox
from app.records.protocols import find_target_protocol

_CHART_LINES = 14


class LengthsEditor(SpecialEditor):
    """Histograms of token lengths. The histograms are read-only; the distributions are edited in
    the form."""

    def __init__(self, theme_controller: ThemeController) -> None:
        super().__init__()
        self._displayed_inputs: tuple[object, ...] | None = None
        self._latest_view = LatestRunner(self, self._show, self._show_error)
        self.view = LengthsView()
        self.strip = MessageStrip()
        self.summary_label = label("", "muted", wrap=True)
        self.prompt_chart = Chart("Prompt", Axis("Tokens"), Axis("Share of requests", "%"), theme_controller)
        self.output_chart = Chart("Output", Axis("Tokens"), Axis("Share of requests", "%"), theme_controller)
        self.rows = Rows("Token lengths")
        charts = hbox((self.prompt_chart, 1), (self.output_chart, 1))
        vbox(self.strip, self.summary_label, (charts, 1), self.rows, within=self)
        for chart in (self.prompt_chart, self.output_chart):
            chart.set_message("Sampling…")
        self.update_heights()

    def update_heights(self) -> None:
        for chart in (self.prompt_chart, self.output_chart):
            set_min_lines(chart, _CHART_LINES)

    def supports_protocol(self, protocol: str | None) -> bool:
        target_protocol = find_target_protocol(protocol)
        return target_protocol is not None and target_protocol.has_prompt_lengths

    def show_contents(self, document: EditedProfile) -> None:
        protocol, load = document.value("target.protocol"), document.value("load")
        inputs = copy.deepcopy((protocol, document.value("workload"), load, document.path))
        if inputs == self._displayed_inputs:
            return
        self._displayed_inputs = inputs
        tree, name = copy_tree(document), display_path(document)
        self._latest_view.request(lambda: build_lengths_view(tree, name))

    def _show(self, view: LengthsView) -> None:
        self.view = view
        self.strip.hide()
        self.summary_label.setText(view.summary)
        self.summary_label.setVisible(bool(view.summary))
        placeholder = (
            view.reason or "The workload sets no output length. The model determines the length of each output."
        )
        self._draw(self.prompt_chart, view.prompts, placeholder, 0)
        self._draw(self.output_chart, view.outputs, placeholder, 1)
        rows = [("Prompt", _format_histogram(view.prompts))] if view.prompts is not None else []
        rows += [("Output", _format_histogram(view.outputs))] if view.outputs is not None else []
        self.rows.show_rows(rows)

    @staticmethod
    def _draw(chart: Chart, histogram: Histogram | None, placeholder: str, series: int) -> None:
        chart.clear()
        chart.set_message("" if histogram is not None else placeholder)
        if histogram is None:
            return
        edges = np.array([histogram.edges[0], *histogram.edges])
        chart.set_line(
            "share", "sampled", edges, np.array([0.0, *histogram.shares, 0.0]), style_index=series, is_stepped=True
        )
        chart.set_markers(
            ((histogram.median, "median"), (histogram.p95, "p95")) if histogram.maximum > histogram.minimum else ()
        )

    def _show_error(self, error: Exception) -> None:
        self.strip.show_notice(Notice("error", f"The sampling of token lengths failed: {shorten(str(error), 300)}"))


def _format_histogram(histogram: Histogram) -> str:
    if histogram.minimum == histogram.maximum:
        return f"{format_count(histogram.minimum)} tokens per request"
    median, mean, p95 = format_number(histogram.median), format_number(histogram.mean), format_number(histogram.p95)
    return (
        f"{format_count(histogram.minimum)} to {format_count(histogram.maximum)} tokens, median {median}, mean {mean}, "
        f"p95 {p95}"
    )
