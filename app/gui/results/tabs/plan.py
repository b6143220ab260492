"""Plan tab and Baseline tab: summary of the plan of a run, and comparison of the run with its
baseline."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal

from app.gui.results import frames
from app.gui.results.quantity_model import QuantityModel
from app.gui.results.state import DisplayedRun
from app.gui.results.tabs.tab import Tab, create_table, fit_columns, fit_height
from app.gui.widgets import button, label


class PlanTab(Tab):
    title = "Plan summary"
    plan_requested = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.description_label = label("", wrap=True)
        headers = {"offer": "Offer", "instances": "Instances", "usd_per_month": "Monthly cost", "cost_range": "P10–P90",
                   "usd_per_1k": "Cost per 1k inferences", "latency": "Latency at peak",
                   "utilization": "Peak utilization", "basis": "Basis", "risk": "Risk",
                   "price": "Price date"}  # fmt: skip
        self.model = QuantityModel(headers, frames.OFFER_QUANTITIES)
        self.table = create_table(self.model, "Offers")
        self.column.addWidget(self.description_label)
        self.column.addWidget(self.table)
        self.open_button = button("Open in P&lan", self.plan_requested.emit, primary=True)
        self.column.addWidget(self.open_button, 0, Qt.AlignmentFlag.AlignLeft)
        self.column.addStretch(1)

    def applies_to(self, displayed_run: DisplayedRun) -> bool:
        return displayed_run.own_report.plan is not None

    def show_run(self, displayed_run: DisplayedRun) -> None:
        from reports.plan_text import build_summary_lines

        plan = displayed_run.report.plan
        self.table.setVisible(plan is not None)
        if plan is None:
            self.description_label.setText(
                "The plan applies to the run's own SLO and full duration. Reset the SLO and the time range to see it."
            )
            return
        self.description_label.setText("\n".join(build_summary_lines(plan)))
        self.model.set_rows(frames.offer_frame(plan))
        fit_columns(self.table)
        fit_height(self.table)


class BaselineTab(Tab):
    title = "Baseline"

    def __init__(self) -> None:
        super().__init__()
        self.summary_label = label("", wrap=True)
        self.column.addWidget(self.summary_label)
        self.column.addStretch(1)

    def applies_to(self, displayed_run: DisplayedRun) -> bool:
        return displayed_run.own_report.comparison is not None

    def show_run(self, displayed_run: DisplayedRun) -> None:
        from reports.comparison_text import build_comparison_summary_lines

        if displayed_run.own_report.comparison is not None:
            self.summary_label.setText("\n".join(build_comparison_summary_lines(displayed_run.own_report.comparison)))
