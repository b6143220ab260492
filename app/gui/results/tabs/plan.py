"""Plan tab and Baseline tab: summary of the plan of a run, and comparison of the run with its
baseline."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QWidget

from app.gui.results import frames
from app.gui.results.quantity_model import QuantityModel
from app.gui.results.section_tables import show_rows
from app.gui.results.state import DisplayedRun
from app.gui.results.tabs.language_models import is_language_model_run
from app.gui.results.tabs.tab import Tab, create_table, fit_columns, fit_height
from app.gui.widgets import button, hbox, label
from reports.plan_sentences import NO_SHAPE_OFFER, describe_shape_traffic
from reports.sections.shape_plan import SHAPE_PLAN


class PlanTab(Tab):
    """Tab with the plan of a run, or with the ways from a run of language models on this machine to
    a plan."""

    title = "Plan"
    plan_requested = Signal()
    serving_requested = Signal()
    """Signal that is emitted when the user wants to serve the measured model and to measure it under
    load."""
    shape_requested = Signal()
    """Signal that is emitted when the user wants to plan the measured model from its shape."""

    def __init__(self) -> None:
        super().__init__()
        self.description_label = label("", wrap=True)
        headers = {"offer": "Offer", "instances": "Instances", "usd_per_month": "Monthly cost", "cost_range": "P10–P90",
                   "usd_per_1k": "Cost per 1k inferences", "latency": "Latency at peak",
                   "utilization": "Peak utilization", "basis": "Basis", "risk": "Risk",
                   "price": "Price date"}  # fmt: skip
        self.model = QuantityModel(headers, frames.OFFER_QUANTITIES)
        self.table = create_table(self.model, "Offers")
        self.open_button = button("Open in P&lan", self.plan_requested.emit, primary=True)
        self.serving_button = button("Measure it &under load", self.serving_requested.emit, primary=True)
        self.shape_button = button("Plan from its &shape", self.shape_requested.emit)
        self.column.addWidget(self.description_label)
        self.column.addWidget(self.table)
        self.column.addWidget(self.open_button, 0, Qt.AlignmentFlag.AlignLeft)
        self._ways = QWidget()
        hbox(self.serving_button, self.shape_button, 1, within=self._ways)
        self._ways_label = label("", "muted", wrap=True)
        self.column.addWidget(self._ways)
        self.column.addWidget(self._ways_label)
        self.column.addStretch(1)

    def applies_to(self, displayed_run: DisplayedRun) -> bool:
        return displayed_run.own_report.plan is not None or is_language_model_run(displayed_run)

    def show_run(self, displayed_run: DisplayedRun) -> None:
        from reports.plan_text import build_summary_lines

        plan, own_report = displayed_run.report.plan, displayed_run.own_report
        needs_server = is_language_model_run(displayed_run)
        self.table.setVisible(plan is not None)
        self.open_button.setVisible(own_report.plan is not None)
        self._ways.setVisible(needs_server)
        self._ways_label.setVisible(needs_server)
        self.description_label.setVisible(needs_server or own_report.plan is not None)
        if needs_server:
            self._show_ways()
        elif plan is None:
            self.description_label.setText(
                "The plan applies to the run's own SLO and full duration. Reset the SLO and the time range to see it."
            )
        else:
            self.description_label.setText("\n".join(build_summary_lines(plan)))
            self.model.set_rows(frames.offer_frame(plan))
            fit_columns(self.table)
            fit_height(self.table)

    def _show_ways(self) -> None:
        from app.wiring.language_model_plans import SERVING_NEEDED, SHAPE_STATEMENT

        self.description_label.setText(SERVING_NEEDED)
        self._ways_label.setText(
            f"“Measure it under load” opens a profile that serves this model here. {SHAPE_STATEMENT}"
        )


class ShapePlanTab(Tab):
    """Tab with the plan for a larger model, calculated from its shape. Nothing of the run is part of
    it."""

    title = "Larger model, from its shape"
    plan_requested = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.heading = label("", "heading", wrap=True)
        self.statement_label, self.traffic_label = label("", wrap=True), label("", wrap=True)
        self.model = QuantityModel()
        self.table = create_table(self.model, SHAPE_PLAN.title)
        self.open_button = button("Open in P&lan", self.plan_requested.emit, primary=True)
        self.notes_label = label("", "muted", wrap=True)
        for widget in (self.heading, self.statement_label, self.traffic_label, self.table):
            self.column.addWidget(widget)
        self.column.addWidget(self.open_button, 0, Qt.AlignmentFlag.AlignLeft)
        self.column.addWidget(self.notes_label)
        self.column.addStretch(1)

    def applies_to(self, displayed_run: DisplayedRun) -> bool:
        return displayed_run.own_report.shape_plan is not None

    def show_run(self, displayed_run: DisplayedRun) -> None:
        section = displayed_run.own_report.shape_plan
        if section is None:
            return
        self.heading.setText(section.model)
        self.statement_label.setText(section.statement)
        self.traffic_label.setText(
            describe_shape_traffic(section) if section.rows else f"{describe_shape_traffic(section)} {NO_SHAPE_OFFER}"
        )
        self.table.setVisible(bool(section.rows))
        show_rows(self.table, self.model, SHAPE_PLAN, section.rows)
        self.notes_label.setText("\n".join(section.notes))


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
