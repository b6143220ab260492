"""Chart of the cost and latency of all feasible fleets, with the Pareto front, the region that
meets the SLO and the selected fleet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from PySide6.QtCore import Signal
from PySide6.QtWidgets import QHBoxLayout, QLabel, QWidget

from app.gui.charts.axes import Axis
from app.gui.charts.chart import Chart
from app.gui.plan.fields import ChoiceField
from app.gui.plan.figures import format_latency_metric
from app.gui.plan.state import PlanState
from app.gui.theme import ThemeController
from app.gui.widgets import label, vbox
from app.records.plan import Fleet, Plan

_MAX_PROVIDERS = 4
"""Maximum number of providers with their own marker. The providers with the most fleets have their
own marker; all other providers share one, since a chart has at most six series."""
_PARETO_FRONT = "front"
_COST_GETTERS: dict[str, Callable[[Fleet], float | None]] = {
    "month": lambda fleet: fleet.usd_per_month.value,
    "1k": lambda fleet: fleet.usd_per_1k_inferences.value,
    "1m": lambda fleet: _get_cost_per_1m_tokens(fleet),
}


def _get_cost_per_1m_tokens(fleet: Fleet) -> float | None:
    costs = fleet.per_1m_tokens
    token_cost = None if costs is None else costs.all or costs.output
    return None if token_cost is None else token_cost.at_mean


class ParetoChart(QWidget):
    offer_selected = Signal(str)

    def __init__(self, theme_controller: ThemeController) -> None:
        super().__init__()
        self._theme_controller = theme_controller
        self._plan: Plan | None = None
        self._state = PlanState()
        self._selected_offer: str | None = None
        self._offers_by_series: dict[str, tuple[str, ...]] = {}
        self._axes: tuple[str, str] = ("", "")
        self.cost = ChoiceField((("month", "$/month"), ("1k", "$/1k inferences"), ("1m", "$/1M tokens")))
        self.speed = ChoiceField((("latency", "Latency at peak"), ("tokens", "Output throughput per user (tok/s)")))
        for field, name in ((self.cost, "X axis (cost)"), (self.speed, "Y axis (speed)")):
            field.setAccessibleName(name)
            field.setSizeAdjustPolicy(ChoiceField.SizeAdjustPolicy.AdjustToContents)
            field.activated.connect(self._on_axis_selected)
        self._summary_label = label("", "muted", wrap=True)
        self.chart = self._build_chart(("month", "latency"))
        axis_row = QHBoxLayout()
        for title, field in (("X axis:", self.cost), ("&Y axis:", self.speed)):
            caption = QLabel(title)
            caption.setBuddy(field)
            axis_row.addWidget(caption)
            axis_row.addWidget(field)
        axis_row.addStretch(1)
        self._layout = vbox(axis_row, (self.chart, 1), self._summary_label, within=self)

    def show_state(self, state: PlanState) -> None:
        self._state = state
        plan = state.plan
        if plan is None:
            self.chart.set_message("Calculating the plan…" if state.phase in ("loading", "planning") else "")
            return
        if plan is not self._plan:
            self._plan = plan
            self._draw()

    def select_offer(self, offer: str | None) -> None:
        self._selected_offer = offer
        self._draw_markers()

    def _on_axis_selected(self, _: int) -> None:
        self._draw()

    def _draw(self) -> None:
        plan = self._plan
        if plan is None:
            return
        fleets = [fleet for fleet in plan.offers if fleet.rejected is None]
        self._enable_axes(plan, fleets)
        axes = (str(self.cost.currentData()), str(self.speed.currentData()))
        if axes != self._axes or self._build_latency_axis(plan) != self.chart.y_axis:
            self._replace_chart(axes, plan)
        self._remove_stale_series(fleets)
        if not fleets:
            self.chart.set_message("No offer sustains the peak. See the recommendation for sufficient changes.")
            self._summary_label.setText(self._format_summary(plan, fleets))
            return
        has_latency = any(fleet.latency_at_peak.value is not None for fleet in fleets)
        self.chart.set_message("" if has_latency else "Simulating latency…")
        self._draw_region(plan)
        self._draw_fleets(fleets)
        self._draw_pareto_front(plan)
        self._draw_markers()
        self._summary_label.setText(self._format_summary(plan, fleets))

    def _remove_stale_series(self, fleets: Sequence[Fleet]) -> None:
        """Remove the series that are no longer needed. All other series are updated in place, so
        that the zoom is preserved."""
        series_keys = {*_group_fleets(fleets), _PARETO_FRONT} if fleets else set()
        for series in self.chart.series():
            if series.key not in series_keys:
                self.chart.remove(series.key)
        self.chart.clear_region()
        self.chart.set_limit(None)

    def _enable_axes(self, plan: Plan, fleets: Sequence[Fleet]) -> None:
        """Enable only the axis choices for which at least one fleet has data."""
        has_tokens = any(_get_cost_per_1m_tokens(fleet) is not None for fleet in fleets)
        for field, index, has_data in (
            (self.cost, 2, has_tokens),
            (self.speed, 1, plan.latency_metric.startswith("tpot_ms")),
        ):
            item = field.model().item(index)  # type: ignore[attr-defined]  # a combo box's own model has items
            item.setEnabled(has_data)
            if field.currentIndex() == index and not has_data:
                field.setCurrentIndex(0)

    def _replace_chart(self, axes: tuple[str, str], plan: Plan) -> None:
        previous_chart = self.chart
        self._axes = axes
        self.chart = self._build_chart(axes, plan)
        self._layout.replaceWidget(previous_chart, self.chart)
        previous_chart.hide()
        previous_chart.deleteLater()

    def _build_chart(self, axes: tuple[str, str], plan: Plan | None = None) -> Chart:
        x_axes = {
            "month": ("cost", "$/month"),
            "1k": ("cost", "$/1k inferences"),
            "1m": ("cost", "$/1M tokens"),
        }
        name, unit = x_axes[axes[0]]
        y_axis = (
            Axis("throughput per user", "tok/s", is_log=True) if axes[1] == "tokens" else self._build_latency_axis(plan)
        )
        chart = Chart("Cost vs. latency", Axis(name, unit, is_log=True), y_axis, self._theme_controller)
        chart.point_selected.connect(self._on_point_selected)
        return chart

    def _build_latency_axis(self, plan: Plan | None) -> Axis:
        if self.speed.currentData() == "tokens":
            return Axis("throughput per user", "tok/s", is_log=True)
        axis_label = "latency at peak" if plan is None else format_latency_metric(plan.latency_metric)
        return Axis(axis_label, "ms", is_log=True)

    def _get_position(self, fleet: Fleet) -> tuple[float, float]:
        cost = _COST_GETTERS[str(self.cost.currentData())](fleet)
        latency_ms = fleet.latency_at_peak.value
        speed = latency_ms
        if self.speed.currentData() == "tokens":
            speed = None if not latency_ms else 1000 / latency_ms
        return (np.nan if cost is None else cost, np.nan if speed is None else speed)

    def _draw_fleets(self, fleets: Sequence[Fleet]) -> None:
        self._offers_by_series = {}
        for series, (name, group_fleets) in enumerate(_group_fleets(fleets).items()):
            positions = [self._get_position(fleet) for fleet in group_fleets]
            is_hollow = np.array([_is_estimated(fleet) for fleet in group_fleets])
            x, y = np.array(positions).T
            point_names = [f"{fleet.instances} × {fleet.offer}" for fleet in group_fleets]
            self.chart.set_points(name, name, x, y, style_index=series, hollow_flags=is_hollow, names=point_names)
            self._offers_by_series[name] = tuple(fleet.offer for fleet in group_fleets)

    def _draw_pareto_front(self, plan: Plan) -> None:
        positions = sorted(self._get_position(fleet) for fleet in _list_front_fleets(plan))
        positions = [position for position in positions if not np.isnan(position).any()]
        if len(positions) > 1:
            x, y = np.array(positions).T
            self.chart.set_line(_PARETO_FRONT, "Pareto front", x, y, style_index=5, is_stepped=True)
        else:
            self.chart.remove(_PARETO_FRONT)

    def _draw_markers(self) -> None:
        plan = self._plan
        if plan is None:
            return
        markers: list[tuple[float, str]] = []
        recommended_fleet = None if plan.recommendation is None else plan.recommendation.fleet
        selected_fleet = next(
            (fleet for fleet in plan.offers if fleet.offer == self._selected_offer and fleet.rejected is None), None
        )
        if recommended_fleet is not None:
            markers.append((self._get_position(recommended_fleet)[0], "recommended"))
        if selected_fleet is not None and (
            recommended_fleet is None or selected_fleet.offer != recommended_fleet.offer
        ):
            markers.append((self._get_position(selected_fleet)[0], selected_fleet.offer))
        self.chart.set_markers([marker for marker in markers if not np.isnan(marker[0])])

    def _draw_region(self, plan: Plan) -> None:
        limit_ms = _find_limit_ms(self._state, plan)
        budget_usd = None
        if self._state.inputs is not None and self.cost.currentData() == "month":
            budget_usd = self._state.inputs.limits.budget_usd_per_month
        if limit_ms is None:
            return
        text = "within SLO" if budget_usd is None else "within SLO and budget"
        if self.speed.currentData() == "tokens":
            self.chart.set_region(None, budget_usd, 1000 / limit_ms, None, text)
            self.chart.set_limit(1000 / limit_ms, "SLO")
        else:
            self.chart.set_region(None, budget_usd, None, limit_ms, text)
            self.chart.set_limit(limit_ms, f"SLO: {limit_ms:g} ms")

    def _format_summary(self, plan: Plan, fleets: Sequence[Fleet]) -> str:
        excluded_count = len(plan.offers) - len(fleets)
        if not fleets:
            return f"All {excluded_count} offers are excluded."
        estimated_count = sum(_is_estimated(fleet) for fleet in fleets)
        template = "{fleets} offers meet the SLO ({estimated} estimated, with hollow markers); {excluded} are excluded."
        sentences = [template.format(fleets=len(fleets), estimated=estimated_count, excluded=excluded_count)]
        hidden_count = sum(fleet.latency_at_peak.value is None for fleet in fleets)
        if hidden_count:
            sentences.append(f"Some offers are not shown because their latency was not simulated ({hidden_count}).")
        sentences.append("Pareto front: no other offer is both cheaper and faster.")
        if 0 < sum(fleet.sizing_method == "formula" for fleet in fleets) < len(fleets):
            sentences.append("It leaves out offers that were not simulated.")
        return " ".join(sentences)

    def _on_point_selected(self, key: str, index: int) -> None:
        offers = self._offers_by_series.get(key)
        if offers is not None and index < len(offers):
            self.offer_selected.emit(offers[index])
        elif key == _PARETO_FRONT and self._plan is not None:
            pareto_fleets = sorted(_list_front_fleets(self._plan), key=self._get_position)
            if index < len(pareto_fleets):
                self.offer_selected.emit(pareto_fleets[index].offer)


def _is_estimated(fleet: Fleet) -> bool:
    return fleet.basis not in ("measured", "interpolated") or fleet.sizing_method == "formula"


def _list_front_fleets(plan: Plan) -> tuple[Fleet, ...]:
    """Return the fleets of the Pareto front. If some were simulated, those that were not are left
    out, since a simulated and an estimated latency of one offer differ too much to be compared."""
    fleets = tuple(fleet for fleet in plan.pareto if fleet.sizing_method != "formula")
    return fleets or plan.pareto


def _group_fleets(fleets: Sequence[Fleet]) -> dict[str, list[Fleet]]:
    """Group the fleets by provider, largest group first. Providers with few fleets are combined
    into one group."""
    provider_counts = Counter(fleet.provider for fleet in fleets).most_common()
    provider_names = [
        name for name, _ in provider_counts[: _MAX_PROVIDERS + (len(provider_counts) == _MAX_PROVIDERS + 1)]
    ]
    groups: dict[str, list[Fleet]] = {name: [] for name in provider_names}
    for fleet in fleets:
        groups.setdefault(fleet.provider if fleet.provider in provider_names else "other providers", []).append(fleet)
    return groups


def _find_limit_ms(state: PlanState, plan: Plan) -> float | None:
    """Return the latency limit of the SLO for the latency metric of the plan, in ms, or None if the
    SLO has no such limit. Objectives that only warn are ignored."""
    for objective in () if state.inputs is None else state.inputs.slo:
        if objective.name == plan.latency_metric and objective.level == "fail":
            return objective.limit
    return None
