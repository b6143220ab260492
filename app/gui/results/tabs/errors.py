"""What failed, by class: how often, from when to when, and what it does to the numbers."""

from __future__ import annotations

from app.gui.formatting import count
from app.gui.results import frames
from app.gui.results.quantity_model import QuantityModel
from app.gui.results.state import Shown
from app.gui.results.tabs.tab import Tab, fit_height, table_of, wide_enough
from app.gui.widgets import label


class ErrorsTab(Tab):
    def __init__(self) -> None:
        super().__init__()
        self.about = label("", wrap=True)
        headers = {"error": "Error", "count": "Requests", "share": "Of all requests", "first": "First",
                   "last": "Last", "sample": "What was seen of the first"}  # fmt: skip
        self.model = QuantityModel(headers, ("share",))
        self.table = table_of(self.model, "Errors by class")
        self.column.addWidget(self.about)
        self.column.addWidget(self.table)
        self.column.addStretch(1)

    def title(self) -> str:
        return "Errors"

    def is_for(self, shown: Shown) -> bool:
        return shown.own.load is not None

    def show_run(self, shown: Shown) -> None:
        rows = shown.report.errors
        self.table.setVisible(bool(rows))
        if not rows:
            self.about.setText("No request failed, and none was left unsent.")
            return
        failed = count(sum(row.count for row in rows))
        words = (
            "{count} requests failed or were never sent, those of failed probes and warm-ups among them. Latency is of "
            "successful answers only: what failed shows in the error rate and the goodput."
        )
        self.about.setText(words.format(count=failed))
        self.model.set_rows(frames.error_frame(rows))
        wide_enough(self.table)
        fit_height(self.table)
