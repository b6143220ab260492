"""Summary of the run's plan, and comparison with its baseline if it had one."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal

from app.gui.results import frames
from app.gui.results.quantity_model import QuantityModel
from app.gui.results.state import Shown
from app.gui.results.tabs.tab import Tab, fit_height, table_of, wide_enough
from app.gui.widgets import button, label


class PlanTab(Tab):
    title = "Plan summary"
    plan_wished = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.about = label("", wrap=True)
        headers = {"offer": "Offer", "instances": "Instances", "usd_per_month": "Cost a month",
                   "usd_per_1k": "Cost of 1k", "latency": "Latency at peak",
                   "utilisation": "Busy at peak", "basis": "Basis", "risk": "Risk",
                   "price": "Price of"}  # fmt: skip
        self.model = QuantityModel(headers, frames.OFFER_QUANTITIES)
        self.table = table_of(self.model, "Offers")
        self.column.addWidget(self.about)
        self.column.addWidget(self.table)
        self.open = button("Open it in P&lan", self.plan_wished.emit, primary=True)
        self.column.addWidget(self.open, 0, Qt.AlignmentFlag.AlignLeft)
        self.column.addStretch(1)

    def is_for(self, shown: Shown) -> bool:
        return shown.own.plan is not None

    def show_run(self, shown: Shown) -> None:
        from reports.plan_text import summary_lines

        plan = shown.report.plan
        self.table.setVisible(plan is not None)
        if plan is None:
            self.about.setText("The plan was made for the run's own SLO and whole time: choose As measured to see it.")
            return
        self.about.setText("\n".join(summary_lines(plan)))
        self.model.set_rows(frames.offer_frame(plan))
        wide_enough(self.table)
        fit_height(self.table)


class BaselineTab(Tab):
    title = "Baseline"

    def __init__(self) -> None:
        super().__init__()
        self.told = label("", wrap=True)
        self.column.addWidget(self.told)
        self.column.addStretch(1)

    def is_for(self, shown: Shown) -> bool:
        return shown.own.comparison is not None

    def show_run(self, shown: Shown) -> None:
        from reports.comparison_text import comparison_lines

        if shown.own.comparison is not None:
            self.told.setText("\n".join(comparison_lines(shown.own.comparison)))
