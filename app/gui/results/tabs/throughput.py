"""Throughput tab: a table of all stages, and tables that only some runs have."""

from __future__ import annotations

from PySide6.QtWidgets import QWidget

from app.gui.formatting import shorten
from app.gui.results import frames
from app.gui.results.quantity_model import QuantityModel
from app.gui.results.state import DisplayedRun
from app.gui.results.tabs.tab import Tab, create_table, fit_columns, fit_height
from app.gui.widgets import clear, label, vbox
from reports.model import Report

_MAX_CHARACTERS = 400


class ThroughputTab(Tab):
    title = "Throughput"

    def __init__(self) -> None:
        super().__init__()
        self.description_label = label("", wrap=True)
        self.stages = QuantityModel(None, frames.STAGE_QUANTITIES)
        self.table = create_table(self.stages, "Stages")
        self._more_tables = _Tables(self)
        self.column.addWidget(self.description_label)
        self.add_heading("Stages (95 % CI)")
        self.column.addWidget(self.table)
        self.column.addWidget(self._more_tables)
        self.column.addStretch(1)

    def applies_to(self, displayed_run: DisplayedRun) -> bool:
        return bool(displayed_run.own_report.stages)

    def show_run(self, displayed_run: DisplayedRun) -> None:
        report = displayed_run.report
        bottleneck = "" if report.max_rate is None else shorten(report.max_rate.limited_by, _MAX_CHARACTERS)
        self.description_label.setText(f"Bottleneck: {bottleneck}")
        self.description_label.setVisible(report.max_rate is not None)
        self.stages.set_headers(frames.stage_headers(report))
        self.stages.set_rows(
            frames.stage_frame(report.stages), frames.invalid_rows(report.stages), frames.reasons_by_row(report.stages)
        )
        fit_columns(self.table)
        fit_height(self.table)
        self._more_tables.show_run(report)


class _Tables(QWidget):
    """Tables that only some runs have: knee, spikes, requests by group, and load workers."""

    def __init__(self, tab: Tab) -> None:
        super().__init__(tab)

        self._layout = vbox(within=self)

    def show_run(self, report: Report) -> None:
        clear(self._layout)
        if report.knees is not None:
            headers = {"name": "Method", "method": "Description", "at": "Load", "latency": "Mean latency"}
            self._add_table(
                "Saturation point (knee)", QuantityModel(headers, ("at", "latency")), frames.knee_frame(report.knees)
            )
            if report.knees.note:
                self._layout.addWidget(label(report.knees.note, "muted", wrap=True))
        if report.spikes:
            headers = {"stage": "Stage", "jump": "Rate change", "spike": "Duration", "slo_violated": "SLO violated",
                       "backlog_peak": "Max backlog", "drained": "Drain time"}  # fmt: skip
            model = QuantityModel(headers, ("slo_violated", "backlog_peak", "drained"))
            self._add_table("Spikes", model, frames.spike_frame(report.spikes))
        for group_table in report.groups:
            headers = {"label": group_table.column, "requests": "Requests", "share": "Share", "failed": "Failed"}
            self._add_table(group_table.title, QuantityModel(headers, ("p50", "p95")), frames.group_frame(group_table))
        if report.workers:
            headers = {"worker": "Worker", "host": "Host", "sent": "Sent", "cpu": "CPU",
                       "max_lag": "Max send lag", "clock": "Max clock error", "lost": "Disconnected at"}  # fmt: skip
            model = QuantityModel(headers, ("cpu", "max_lag", "clock"))
            self._add_table("Load workers", model, frames.worker_frame(report.workers))

    def _add_table(self, title: str, model: QuantityModel, frame: object) -> None:
        import pandas as pd

        assert isinstance(frame, pd.DataFrame)
        self._layout.addWidget(label(title, "heading", wrap=True))
        table = create_table(model, title)
        model.setParent(table)
        model.set_rows(frame)
        fit_columns(table)
        fit_height(table)
        self._layout.addWidget(table)
