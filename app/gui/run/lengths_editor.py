"""Histograms of the prompt and output lengths that the profile's seed draws."""

from __future__ import annotations

import copy

import numpy as np

from app.gui.background import Latest
from app.gui.charts.axes import Axis
from app.gui.charts.chart import Chart
from app.gui.formatting import count, number
from app.gui.navigation import Notice
from app.gui.run.lengths_view import Histogram, LengthsView, lengths_view
from app.gui.run.rows import Rows
from app.gui.run.seam import Document, Editor, keep_tall, place_of, tree_of
from app.gui.strip import Strip
from app.gui.theme import Look
from app.gui.widgets import hbox, label, vbox

_LINES = 14


class LengthsEditor(Editor):
    """Histograms of token lengths. It changes no values; they are edited in the form beside it."""

    def __init__(self, look: Look) -> None:
        super().__init__()
        self._shown_inputs: tuple[object, ...] | None = None
        self._latest = Latest(self, self._show, self._failed)
        self.view = LengthsView()
        self.strip = Strip()
        self.said = label("", "muted", wrap=True)
        self.inputs = Chart("Prompt", Axis("Tokens"), Axis("Share of requests", "%"), look)
        self.outputs = Chart("Answer", Axis("Tokens"), Axis("Share of requests", "%"), look)
        self.rows = Rows("Lengths in tokens")
        charts = hbox((self.inputs, 1), (self.outputs, 1))
        vbox(self.strip, self.said, (charts, 1), self.rows, within=self)
        for chart in (self.inputs, self.outputs):
            chart.say("Drawing…")
        self.fit_to_font()

    def fit_to_font(self) -> None:
        for chart in (self.inputs, self.outputs):
            keep_tall(chart, _LINES)

    def is_for(self, protocol: str | None) -> bool:
        return protocol is not None and protocol.startswith("openai-")

    def show_contents(self, document: Document) -> None:
        target, load = document.value("target.protocol"), document.value("load")
        inputs = copy.deepcopy((target, document.value("workload"), load, document.path))
        if inputs == self._shown_inputs:
            return
        self._shown_inputs = inputs
        tree, name = tree_of(document), place_of(document)
        self._latest.ask(lambda: lengths_view(tree, name))

    def _show(self, view: LengthsView) -> None:
        self.view = view
        self.strip.hide()
        self.said.setText(view.said)
        self.said.setVisible(bool(view.said))
        placeholder = view.reason or "The workload leaves the length of answers to the model."
        self._draw(self.inputs, view.inputs, placeholder, 0)
        self._draw(self.outputs, view.outputs, placeholder, 1)
        rows = [("Prompt", _text(view.inputs))] if view.inputs is not None else []
        rows += [("Answer", _text(view.outputs))] if view.outputs is not None else []
        self.rows.show_rows(rows)

    @staticmethod
    def _draw(chart: Chart, histogram: Histogram | None, placeholder: str, series: int) -> None:
        chart.clear()
        chart.say("" if histogram is not None else placeholder)
        if histogram is None:
            return
        edges = np.array([histogram.edges[0], *histogram.edges])
        chart.set_line("share", "drawn", edges, np.array([0.0, *histogram.shares, 0.0]), series=series, steps=True)
        chart.set_markers(
            ((histogram.median, "median"), (histogram.p95, "p95")) if histogram.most > histogram.least else ()
        )

    def _failed(self, error: Exception) -> None:
        self.strip.say(Notice("error", f"Lengths could not be drawn: {str(error)[:300]}"))


def _text(histogram: Histogram) -> str:
    if histogram.least == histogram.most:
        return f"{count(histogram.least)} tokens each"
    median, mean, p95 = number(histogram.median), number(histogram.mean), number(histogram.p95)
    return f"{count(histogram.least)} to {count(histogram.most)} tokens, median {median}, mean {mean}, p95 {p95}"
