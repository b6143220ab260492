"""Charts of latency by load, above the tabs of the Results page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import get_args

import msgspec
import numpy as np
from PySide6.QtCore import QEvent
from PySide6.QtWidgets import QWidget

from app.gui.charts.chart import Chart
from app.gui.charts.figures import LineCharts
from app.gui.charts.pens import BAD_STYLE_INDEX
from app.gui.results.state import DisplayedRun
from app.gui.theme import GAP, ThemeController
from app.gui.widgets import hbox
from app.records.metrics import metric_label
from app.records.stage_kinds import STAGE_KINDS
from app.reporting.quantities import build_limit
from reports import formatting
from reports.model import Report, StageRow
from reports.quantity import Limit, Quantity
from reports.sections.figure import FigureAxis
from reports.sections.stages import StageState

_STATES: tuple[StageState, ...] = get_args(StageState)
_TOKEN_METRICS, _TOKEN_AGGREGATE = ("ttft_ms", "tpot_ms"), "p95"
_CHART_LINES = 13
"""Minimum height of the charts in lines of text."""
_CHART_SHARE = 0.3
"""Minimum height of the charts as a share of the page's height."""


class LoadPoint(msgspec.Struct, frozen=True):
    """Latency of a stage at its load, which is a rate in requests per second or a number of
    clients."""

    load: float
    stage: StageRow
    latency: Quantity


class LoadCurve(msgspec.Struct, frozen=True):
    """Latencies of all stages by load, as one chart shows them. `name` is the aggregate and the
    metric, such as p95 TTFT."""

    metric: str
    name: str
    limit: Limit | None
    points: tuple[LoadPoint, ...]


class LoadCurves(QWidget):
    """Charts of the latency that the SLO limits and, for token streams, of TTFT and TPOT, by rate
    or by number of clients. The widget is hidden if the run has no two loads to compare.

    Stages that missed the SLO or are INVALID are drawn as hollow points."""

    def __init__(self, theme_controller: ThemeController) -> None:
        super().__init__()
        self.setAccessibleName("Latency by load")
        self._row = hbox(within=self, spacing=GAP)
        self._line_charts = LineCharts(theme_controller, self._add_chart)
        self._page_px = 0
        self.charts: tuple[Chart, ...] = ()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange:
            self._update_heights()

    def fit_page(self, height_px: int) -> None:
        """Fit the charts to a page of this height. They depend on nothing else, so that the tabs
        below them stay where they are when the user changes between tabs."""
        self._page_px = height_px
        self._update_heights()

    def show_run(self, displayed_run: DisplayedRun) -> None:
        report = displayed_run.report
        has_clients = is_client_sweep(report)
        limits = {
            evaluation.objective.metric: build_limit(evaluation.objective)
            for evaluation in displayed_run.result.slo
            if evaluation.objective.aggregate == _TOKEN_AGGREGATE and evaluation.objective.request_class is None
        }
        curves = build_load_curves(report, limits, has_clients=has_clients)
        x, x_text = (
            (FigureAxis("Clients"), "clients") if has_clients else (FigureAxis("Offered rate", "req/s"), "request rate")
        )
        self.charts = tuple(
            self._line_charts.get(f"{curve.name} vs. {x_text}", x, FigureAxis(curve.name, "ms")) for curve in curves
        )
        for chart in self._line_charts.charts:
            chart.setVisible(chart in self.charts)
        for chart, curve in zip(self.charts, curves, strict=True):
            _draw(chart, curve)
        if self.charts and not has_clients:
            _draw_max_rate(self.charts[0], report)
        self.setVisible(bool(self.charts))

    def _add_chart(self, chart: Chart) -> None:
        self._row.addWidget(chart, 1)
        self._update_heights()

    def _update_heights(self) -> None:
        height_px = max(_CHART_LINES * self.fontMetrics().height(), round(_CHART_SHARE * self._page_px))
        for chart in self._line_charts.charts:
            chart.setMinimumHeight(max(height_px, chart.minimumSizeHint().height()))


def is_client_sweep(report: Report) -> bool:
    """Return whether the load of the run is given by numbers of clients, not by rates."""
    return any(row.clients is not None for row in report.stages) and not any(
        STAGE_KINDS[row.kind].has_fixed_rate and not row.pooled for row in report.stages
    )


def build_load_curves(report: Report, token_limits: Mapping[str, Limit], *, has_clients: bool) -> list[LoadCurve]:
    """Return the curves of the metric that the SLO limits, then of the p95 of TTFT and TPOT if the
    responses are token streams. `token_limits` has the limits that the SLO sets on the latter, by
    metric. The result is empty if all stages had the same load."""
    token_rows = {row.stage: row for row in report.tokens}
    read_by_metric: dict[str, Callable[[StageRow], Quantity | None]] = {
        "ttft_ms": lambda row: token_rows[row.stage].ttft_p95 if row.stage in token_rows else None,
        "tpot_ms": lambda row: token_rows[row.stage].tpot_p95 if row.stage in token_rows else None,
    }
    labels = report.curve
    curves = [
        _build_curve(
            report,
            labels.metric,
            metric_label(labels.metric, labels.percentile),
            labels.limit,
            lambda row: row.evaluated,
            has_clients=has_clients,
        )
    ]
    for metric in _TOKEN_METRICS if token_rows else ():
        if metric != labels.metric:
            name, limit = metric_label(metric, _TOKEN_AGGREGATE), token_limits.get(metric)
            curves.append(_build_curve(report, metric, name, limit, read_by_metric[metric], has_clients=has_clients))
    return [curve for curve in curves if len({point.load for point in curve.points}) > 1]


def _build_curve(
    report: Report,
    metric: str,
    name: str,
    limit: Limit | None,
    read_latency: Callable[[StageRow], Quantity | None],
    *,
    has_clients: bool,
) -> LoadCurve:
    points = []
    for row in report.stages:
        load = _get_load(row, has_clients=has_clients)
        latency = read_latency(row)
        if load is not None and latency is not None and latency.value is not None:
            points.append(LoadPoint(load, row, latency))
    return LoadCurve(metric, name, limit, tuple(points))


def _get_load(row: StageRow, *, has_clients: bool) -> float | None:
    """Return the load of a stage, or None if the stage is not a point of the curve."""
    if row.pooled:
        return None
    if has_clients:
        return row.clients
    if not STAGE_KINDS[row.kind].has_fixed_rate:
        return None
    return row.offered.value if row.scheduled_per_s is None else row.scheduled_per_s


def _draw(chart: Chart, curve: LoadCurve) -> None:
    chart.clear()
    points_by_state: dict[StageState, list[LoadPoint]] = {state: [] for state in _STATES}
    for point in curve.points:
        points_by_state[point.stage.state].append(point)
    loads, latencies = _compute_mean_latencies(sorted(points_by_state["passed"], key=lambda point: point.load))
    if len(loads) > 1:
        low, high = compute_interval(points_by_state["passed"], loads)
        has_interval = bool((np.isfinite(low) & np.isfinite(high)).any())
        name = "within SLO (mean of repeats, 95 % CI)" if has_interval else "within SLO (mean of repeats)"
        chart.set_line("curve", name, loads, latencies, style_index=0)
        if has_interval:
            chart.set_interval("curve", loads, low, high, style_index=0)
    for style_index, (state, points) in enumerate(points_by_state.items()):
        _draw_points(chart, state, points, BAD_STYLE_INDEX if state == "failed" else style_index)
    if curve.limit is not None:
        chart.set_limit(curve.limit.value, f"SLO {curve.name} {formatting.format_limit(curve.limit)}")


def _draw_points(chart: Chart, state: StageState, points: Sequence[LoadPoint], style_index: int) -> None:
    """Draw one point for each stage, all in the same state. Points are hollow if the stages missed
    the SLO or are INVALID."""
    if not points:
        return
    text = formatting.display_state(state)
    chart.set_points(
        state,
        text,
        np.array([point.load for point in points], dtype=np.float64),
        np.array([point.latency.value for point in points], dtype=np.float64),
        style_index=style_index,
        hollow_flags=np.full(len(points), state in ("failed", "INVALID")),
        names=tuple(f"{point.stage.stage}: {text}, {formatting.format_quantity(point.latency)}" for point in points),
    )


def _draw_max_rate(chart: Chart, report: Report) -> None:
    """Mark the max rate, its interval, and the knees."""
    max_rate = report.max_rate
    markers = []
    if max_rate is not None and max_rate.per_s.value is not None:
        markers.append((max_rate.per_s.value, "max rate (lower bound)" if max_rate.is_lower_bound else "max rate"))
        if max_rate.per_s.ci95 is not None:
            chart.set_region(*max_rate.per_s.ci95, None, None, "95 % CI")
    if report.knees is not None:
        markers += [
            (row.at.value, f"knee ({row.name})")
            for row in report.knees.rows
            if row.at.value is not None and row.at.unit == "1/s"
        ]
    chart.set_markers(tuple(markers))


def _compute_mean_latencies(points: Sequence[LoadPoint]) -> tuple[np.ndarray, np.ndarray]:
    latencies_by_load: dict[float, list[float]] = {}
    for point in points:
        latencies_by_load.setdefault(point.load, []).append(point.latency.value or 0.0)
    return np.array(list(latencies_by_load)), np.array([np.mean(values) for values in latencies_by_load.values()])


def compute_interval(points: Sequence[LoadPoint], loads: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the lower and the upper bound at each load: those of all repeats. They are NaN where a
    repeat has no interval."""
    low, high = np.full(len(loads), np.nan), np.full(len(loads), np.nan)
    for index, load in enumerate(loads.tolist()):
        intervals = [point.latency.ci95 for point in points if point.load == load]
        known = [interval for interval in intervals if interval is not None]
        if known and len(known) == len(intervals):
            low[index], high[index] = min(start for start, _ in known), max(end for _, end in known)
    return low, high
