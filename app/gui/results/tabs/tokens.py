"""Tokens: times to the first, between them, and how many a second."""

from __future__ import annotations

import numpy as np

from app.gui.charts.axes import Axis
from app.gui.charts.chart import Chart
from app.gui.results import frames
from app.gui.results.quantity_model import QuantityModel
from app.gui.results.state import Shown
from app.gui.results.tabs.tab import Tab, fit_height, table_of, wide_enough
from app.gui.theme import Look
from app.gui.widgets import label


class TokensTab(Tab):
    def __init__(self, look: Look) -> None:
        super().__init__()
        self.first = Chart("Time to the first token", Axis("Time", "s"), Axis("TTFT p95", "ms"), look)
        self.ecdf = Chart("Share by then", Axis("Time", "ms", True), Axis("Share", "%"), look)
        self.model = QuantityModel(frames.token_headers(), frames.TOKEN_QUANTITIES)
        self.table = table_of(self.model, "Tokens by stage")
        words = (
            "TTFT counts from the intended start to the first delta that is not empty; TPOT is the time from the first "
            "token to the last, by the tokens after the first."
        )
        self.column.addWidget(label(words, "muted", wrap=True))
        self.column.addWidget(self.table)
        for chart in (self.first, self.ecdf):
            chart.setMinimumHeight(220)
            self.column.addWidget(chart, 1)

    def title(self) -> str:
        return "Tokens"

    def is_for(self, shown: Shown) -> bool:
        return bool(shown.own.tokens)

    def show_run(self, shown: Shown) -> None:
        report = shown.report
        stages = {row.name: row for row in report.stages}
        invalid = [
            place
            for place, row in enumerate(report.tokens)
            if row.stage in stages and stages[row.stage].trust == "INVALID"
        ]
        self.model.set_rows(frames.token_frame(report.tokens), invalid)
        wide_enough(self.table)
        fit_height(self.table)
        self.first.clear()
        load = report.load
        has_first = load is not None and bool(load.ttft_p95_ms)
        if load is not None and has_first:
            values = np.array([np.nan if one is None else one for one in load.ttft_p95_ms], dtype=np.float64)
            self.first.set_line("ttft", "TTFT p95", np.array(load.at_s), values, series=0)
        self.first.say("" if has_first else "No answer here had a token.")
        self.ecdf.clear()
        of_tokens = [one for one in report.distributions if one.metric in ("ttft_ms", "tpot_ms")]
        for series, one in enumerate(of_tokens):
            self.ecdf.set_line(one.metric, one.label, np.array(one.ms), 100 * np.array(one.share), series=series)
        self.ecdf.say("" if of_tokens else "No answer here had a token.")
