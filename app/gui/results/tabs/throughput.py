"""Throughput tab: chart of latency by request rate, with the knees, and a table of all stages.
Stages that missed the SLO or are INVALID are drawn as hollow points."""

from __future__ import annotations

from typing import get_args

import numpy as np
from PySide6.QtWidgets import QWidget

from app.gui.charts.axes import Axis
from app.gui.charts.chart import Chart
from app.gui.results import frames
from app.gui.results.quantity_model import QuantityModel
from app.gui.results.state import DisplayedRun
from app.gui.results.tabs.tab import Tab, create_table, fit_columns, fit_height
from app.gui.theme import ThemeController
from app.gui.widgets import clear, label, vbox
from app.records.metrics import metric_label
from reports import formatting
from reports.formatting import StageState
from reports.model import Report, StageRow

_STATES: tuple[StageState, ...] = get_args(StageState)
_MAX_CHARACTERS = 400
_CURVE_KINDS = ("probe", "step", "steady")


class ThroughputTab(Tab):
    title = "Throughput"

    def __init__(self, theme_controller: ThemeController) -> None:
        super().__init__()
        self.curve = Chart(
            "Latency vs. request rate", Axis("Offered rate", "req/s"), Axis("Latency", "ms"), theme_controller
        )
        self.curve.setMinimumHeight(260)
        self.description_label = label("", wrap=True)
        self.stages = QuantityModel(None, frames.STAGE_QUANTITIES)
        self.table = create_table(self.stages, "Stages")
        self._more_tables = _Tables(self)
        self.column.addWidget(self.description_label)
        self.column.addWidget(self.curve, 1)
        self.add_heading("Stages (95 % CI)")
        self.column.addWidget(self.table)
        self.column.addWidget(self._more_tables)

    def applies_to(self, displayed_run: DisplayedRun) -> bool:
        return bool(displayed_run.own_report.stages)

    def show_run(self, displayed_run: DisplayedRun) -> None:
        report = displayed_run.report
        bottleneck = "" if report.max_rate is None else report.max_rate.limited_by[:_MAX_CHARACTERS]
        self.description_label.setText(f"Bottleneck: {bottleneck}")
        self.description_label.setVisible(report.max_rate is not None)
        self._draw(report)
        self.stages.set_headers(frames.stage_headers(report))
        self.stages.set_rows(
            frames.stage_frame(report.stages), frames.invalid_rows(report.stages), frames.reasons_by_row(report.stages)
        )
        fit_columns(self.table)
        fit_height(self.table)
        self._more_tables.show_run(report)

    def _draw(self, report: Report) -> None:
        self.curve.clear()
        charted_stages = [row for row in report.stages if row.kind in _CURVE_KINDS and not row.pooled]
        charted_stages = [
            row for row in charted_stages if _get_rate(row) is not None and row.evaluated.value is not None
        ]
        self.curve.setVisible(bool(charted_stages))
        if not charted_stages:
            return
        name = metric_label(report.curve.metric, report.curve.percentile)
        passed_stages = [row for row in charted_stages if formatting.find_stage_state(row) == "passed"]
        x, y = _compute_mean_latencies(sorted(passed_stages, key=lambda row: _get_rate(row) or 0.0))
        if len(x) > 1:
            self.curve.set_line("curve", "within SLO (mean of repeats)", x, y, style_index=0)
        for series, state in enumerate(_STATES):
            self._draw_points(
                state, [row for row in charted_stages if formatting.find_stage_state(row) == state], series
            )
        if report.curve.limit is not None:
            self.curve.set_limit(report.curve.limit.value, f"SLO {name} {formatting.format_limit(report.curve.limit)}")
        self._draw_markers(report)

    def _draw_points(self, state: StageState, rows: list[StageRow], series: int) -> None:
        """Draw one point for each stage in `rows`, all in the same state. Points are hollow if the
        stages missed the SLO or are INVALID."""
        if rows:
            text = formatting.display_state(state)
            self.curve.set_points(
                state,
                text,
                np.array([_get_rate(row) for row in rows], dtype=np.float64),
                np.array([row.evaluated.value for row in rows], dtype=np.float64),
                style_index=series,
                hollow_flags=np.full(len(rows), state in ("failed", "INVALID")),
                names=tuple(
                    f"{frames.stage_name(row)}: {text}, {formatting.format_quantity(row.evaluated)}" for row in rows
                ),
            )

    def _draw_markers(self, report: Report) -> None:
        max_rate = report.max_rate
        markers = []
        if max_rate is not None and max_rate.per_s.value is not None:
            markers.append((max_rate.per_s.value, "max rate (lower bound)" if max_rate.is_lower_bound else "max rate"))
            if max_rate.per_s.ci95 is not None:
                self.curve.set_region(*max_rate.per_s.ci95, None, None, "95 % CI")
        if report.knees is not None:
            markers += [
                (row.at.value, f"knee ({row.name})")
                for row in report.knees.rows
                if row.at.value is not None and row.at.unit == "1/s"
            ]
        self.curve.set_markers(tuple(markers))


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


def _get_rate(row: StageRow) -> float | None:
    return row.offered.value if row.scheduled_per_s is None else row.scheduled_per_s


def _compute_mean_latencies(rows: list[StageRow]) -> tuple[np.ndarray, np.ndarray]:
    latencies_by_rate: dict[float, list[float]] = {}
    for row in rows:
        latencies_by_rate.setdefault(_get_rate(row) or 0.0, []).append(row.evaluated.value or 0.0)
    return np.array(list(latencies_by_rate)), np.array([np.mean(values) for values in latencies_by_rate.values()])
