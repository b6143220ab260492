"""How long prompts and answers will be: histograms of what the profile's seed draws."""

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
    """It edits nothing; the form beside it does."""

    def __init__(self, look: Look) -> None:
        super().__init__()
        self._asked: tuple[object, ...] | None = None
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
        asked = copy.deepcopy((target, document.value("workload"), load, document.path))
        if asked == self._asked:
            return
        self._asked = asked
        tree, place = tree_of(document), place_of(document)
        self._latest.ask(lambda: lengths_view(tree, place))

    def _show(self, view: LengthsView) -> None:
        self.view = view
        self.strip.hide()
        self.said.setText(view.said)
        self.said.setVisible(bool(view.said))
        nothing = view.reason or "The workload leaves the length of answers to the model."
        self._draw(self.inputs, view.inputs, nothing, 0)
        self._draw(self.outputs, view.outputs, nothing, 1)
        rows = [("Prompt", _text(view.inputs))] if view.inputs is not None else []
        rows += [("Answer", _text(view.outputs))] if view.outputs is not None else []
        self.rows.show_rows(rows)

    @staticmethod
    def _draw(chart: Chart, found: Histogram | None, nothing: str, series: int) -> None:
        chart.clear()
        chart.say("" if found is not None else nothing)
        if found is None:
            return
        edges = np.array([found.edges[0], *found.edges])
        chart.set_line("share", "drawn", edges, np.array([0.0, *found.shares, 0.0]), series=series, steps=True)
        chart.set_markers(((found.median, "median"), (found.p95, "p95")) if found.most > found.least else ())

    def _failed(self, error: Exception) -> None:
        self.strip.say(Notice("error", f"Lengths could not be drawn: {str(error)[:300]}"))


def _text(found: Histogram) -> str:
    if found.least == found.most:
        return f"{count(found.least)} tokens each"
    median, mean, p95 = number(found.median), number(found.mean), number(found.p95)
    return f"{count(found.least)} to {count(found.most)} tokens, median {median}, mean {mean}, p95 {p95}"
