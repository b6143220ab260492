"""Chart of the cost and latency of all feasible fleets, with the Pareto front, the region that
meets the SLO and the selected fleet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import msgspec
import numpy as np
from PySide6.QtCore import Signal
from PySide6.QtWidgets import QHBoxLayout, QLabel, QWidget

from app.gui.charts.axes import Axis
from app.gui.charts.chart import Chart
from app.gui.charts.labels import Label
from app.gui.charts.legend import LegendEntry
from app.gui.charts.pens import Category, count_category_styles
from app.gui.plan.comparison import PIN_MARKS, PinButton, get_cost_per_1m_tokens
from app.gui.plan.fields import ChoiceField
from app.gui.plan.figures import format_latency_metric
from app.gui.plan.state import PlanState
from app.gui.theme import ThemeController
from app.gui.widgets import hbox, label, vbox
from app.records.offers import Accelerator, Offer
from app.records.plan import Fleet, Plan

_MAX_LABELS = 8
"""Maximum number of offers on the Pareto front that are labeled directly."""
_PARETO_FRONT = "front"
_COST_GETTERS: dict[str, Callable[[Fleet], float | None]] = {
    "month": lambda fleet: fleet.usd_per_month.value,
    "1k": lambda fleet: fleet.usd_per_1k_inferences.value,
    "1m": get_cost_per_1m_tokens,
}


class OfferStyles(msgspec.Struct, frozen=True):
    """Color of each accelerator and marker of each provider, by key. Accelerators and providers
    that are missing share the gray and the last marker."""

    color_indices: Mapping[str | None, int]
    marker_indices: Mapping[str, int]

    def find_category(self, fleet: Fleet) -> Category:
        return Category(self.color_indices.get(fleet.accelerator), self.marker_indices.get(fleet.provider))


def assign_styles(
    offers: Sequence[Offer | Fleet], measured_accelerators: Collection[str | None], counts: tuple[int, int]
) -> OfferStyles:
    """Assign colors to accelerators and markers to providers, both in the order of their keys.
    `counts` are the numbers of colors and of markers.

    If there are too few, measured accelerators and those with the most offers have a color of
    their own. The result depends on the catalog only, so that an accelerator keeps its color while
    the plan is edited.
    """
    accelerator_counts = Counter(offer.accelerator for offer in offers)
    accelerators = sorted(
        accelerator_counts,
        key=lambda key: (key not in measured_accelerators, -accelerator_counts[key], key or ""),
    )[: counts[0]]
    provider_counts = Counter(offer.provider for offer in offers)
    providers = sorted(provider_counts, key=lambda key: (-provider_counts[key], key))[: counts[1]]
    return OfferStyles(
        {key: index for index, key in enumerate(sorted(accelerators, key=lambda key: key or ""))},
        {key: index for index, key in enumerate(sorted(providers))},
    )


def build_legend_entries(
    fleets: Iterable[Fleet], styles: OfferStyles, accelerators: Mapping[str, Accelerator]
) -> tuple[LegendEntry, ...]:
    """Return an entry for the color of each accelerator, then one for the marker of each provider,
    of the fleets that are shown."""
    shown = tuple(fleets)
    entries = [
        LegendEntry(
            _OTHER_ACCELERATORS if index is None else name_accelerator(key, accelerators), "points", 0,
            category=Category(index, 0),
        )
        for index, key in _list_shown({fleet.accelerator for fleet in shown}, styles.color_indices)
    ]  # fmt: skip
    entries += [
        LegendEntry(
            _OTHER_PROVIDERS if index is None else str(key), "points", 0, is_hollow=True,
            category=Category(None, index),
        )
        for index, key in _list_shown({fleet.provider for fleet in shown}, styles.marker_indices)
    ]  # fmt: skip
    return tuple(entries)


_OTHER_ACCELERATORS, _OTHER_PROVIDERS = "other accelerators", "other providers"


def _list_shown(
    keys: Iterable[str | None], indices: Mapping[str | None, int] | Mapping[str, int]
) -> list[tuple[int | None, str | None]]:
    """Return the style of each key, with the key, in the order of the styles. The keys without a
    style of their own are one entry, the last."""
    own = {key: index for key, index in indices.items() if key in set(keys)}
    shown: list[tuple[int | None, str | None]] = [(index, key) for key, index in own.items()]
    return shown + ([] if set(keys) <= own.keys() else [(None, None)])


def name_accelerator(key: str | None, accelerators: Mapping[str, Accelerator]) -> str:
    """Return the display name of an accelerator; "CPU only" without an accelerator."""
    if key is None:
        return "CPU only"
    return accelerators[key].name if key in accelerators else key


class ParetoChart(QWidget):
    offer_selected = Signal(str)

    def __init__(self, theme_controller: ThemeController) -> None:
        super().__init__()
        self._theme_controller = theme_controller
        self._plan: Plan | None = None
        self._state = PlanState()
        self._selected_offer: str | None = None
        self._pinned_offers: tuple[str, ...] = ()
        self._styles: OfferStyles | None = None
        self._styled_catalog: object = None
        self._offers_by_series: dict[str, tuple[str, ...]] = {}
        self._axes: tuple[str, str] = ("", "")
        self.cost = ChoiceField((("month", "$/month"), ("1k", "$/1k inferences"), ("1m", "$/1M tokens")))
        self.speed = ChoiceField((("latency", "Latency at peak"), ("tokens", "Output throughput per user (tok/s)")))
        for field, name in ((self.cost, "X axis (cost)"), (self.speed, "Y axis (speed)")):
            field.setAccessibleName(name)
            field.setSizeAdjustPolicy(ChoiceField.SizeAdjustPolicy.AdjustToContents)
            field.activated.connect(self._on_axis_selected)
        self.pin_button = PinButton("Pin the offer selected in the chart", self)
        self._summary_label = label("", "muted", wrap=True)
        self.chart = self._build_chart(("month", "latency"))
        axis_row = QHBoxLayout()
        for title, field in (("X axis:", self.cost), ("&Y axis:", self.speed)):
            caption = QLabel(title)
            caption.setBuddy(field)
            axis_row.addWidget(caption)
            axis_row.addWidget(field)
        axis_row.addStretch(1)
        self._layout = vbox(axis_row, (self.chart, 1), hbox((self._summary_label, 1), self.pin_button), within=self)

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

    def show_pins(self, offers: tuple[str, ...]) -> None:
        if offers == self._pinned_offers:
            return
        self._pinned_offers = offers
        if self._plan is not None:
            self._draw_labels(self._plan)

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
        styles = self._get_styles(plan)
        self._remove_stale_series(fleets, styles)
        if not fleets:
            self.chart.set_labels(())
            self.chart.set_message("No offer sustains the peak. See the recommendation for sufficient changes.")
            self._summary_label.setText(self._format_summary(plan, fleets))
            return
        has_latency = any(fleet.latency_at_peak.value is not None for fleet in fleets)
        self.chart.set_message("" if has_latency else "Simulating latency…")
        self._draw_region(plan)
        self._draw_fleets(fleets, styles)
        self._draw_pareto_front(plan)
        self._draw_labels(plan)
        self._draw_markers()
        self._summary_label.setText(self._format_summary(plan, fleets))

    def _get_styles(self, plan: Plan) -> OfferStyles:
        """Return the styles, which depend on the catalog as it was opened: edits never change the
        color of an accelerator."""
        loaded_sources = self._state.loaded_sources
        if self._styles is None or loaded_sources is not self._styled_catalog:
            self._styled_catalog = loaded_sources
            offers: Sequence[Offer | Fleet] = plan.offers
            measured: Collection[str | None] = ()
            if loaded_sources is not None:
                offers = loaded_sources.inputs.catalog.offers
                measured = {target.hardware.accelerator for target in loaded_sources.inputs.measured}
            self._styles = assign_styles(offers, measured, count_category_styles(self._theme_controller.theme))
        return self._styles

    def _remove_stale_series(self, fleets: Sequence[Fleet], styles: OfferStyles) -> None:
        """Remove the series that are no longer needed. All other series are updated in place, so
        that the zoom is preserved."""
        series_keys = {*map(_get_series_key, _group_fleets(fleets, styles)), _PARETO_FRONT} if fleets else set()
        for series in self.chart.series():
            if series.key not in series_keys:
                self.chart.remove(series.key)
        self.chart.clear_region()
        self.chart.set_limit(None)

    def _enable_axes(self, plan: Plan, fleets: Sequence[Fleet]) -> None:
        """Enable only the axis choices for which at least one fleet has data."""
        has_tokens = any(get_cost_per_1m_tokens(fleet) is not None for fleet in fleets)
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
        cost_axis, speed_axis = self._axes
        cost = _COST_GETTERS[cost_axis](fleet)
        latency_ms = fleet.latency_at_peak.value
        speed = latency_ms
        if speed_axis == "tokens":
            speed = None if not latency_ms else 1000 / latency_ms
        return (np.nan if cost is None else cost, np.nan if speed is None else speed)

    def _draw_fleets(self, fleets: Sequence[Fleet], styles: OfferStyles) -> None:
        self._offers_by_series = {}
        for category, group_fleets in _group_fleets(fleets, styles).items():
            key = _get_series_key(category)
            x, y = np.array([self._get_position(fleet) for fleet in group_fleets]).T
            is_hollow = np.array([_is_estimated(fleet) for fleet in group_fleets])
            point_names = [_format_point_name(fleet) for fleet in group_fleets]
            name = self._name_category(category, group_fleets[0])
            self.chart.set_points(key, name, x, y, hollow_flags=is_hollow, names=point_names, category=category)
            self._offers_by_series[key] = tuple(fleet.offer for fleet in group_fleets)
        self.chart.set_legend_entries(build_legend_entries(fleets, styles, self._get_accelerators()))

    def _name_category(self, category: Category, fleet: Fleet) -> str:
        accelerator = (
            _OTHER_ACCELERATORS
            if category.color_index is None
            else name_accelerator(fleet.accelerator, self._get_accelerators())
        )
        return f"{accelerator}, {_OTHER_PROVIDERS if category.marker_index is None else fleet.provider}"

    def _get_accelerators(self) -> Mapping[str, Accelerator]:
        return {} if self._state.inputs is None else self._state.inputs.catalog.accelerators

    def _draw_labels(self, plan: Plan) -> None:
        """Label the offers on the Pareto front and the pinned offers."""
        fleets = [fleet for fleet in plan.offers if fleet.rejected is None]
        front_fleets = _choose_labeled_fleets(sorted(_list_front_fleets(plan), key=self._get_position))
        fleets_by_offer = {fleet.offer: fleet for fleet in fleets}
        labels: dict[tuple[float, float], str] = {}
        for mark, offer in zip(PIN_MARKS, self._pinned_offers, strict=False):
            if offer in fleets_by_offer:
                fleet = fleets_by_offer[offer]
                labels[self._get_position(fleet)] = f"{mark}: {fleet.instances} × {fleet.instance_type}"
        for fleet in front_fleets:
            labels.setdefault(self._get_position(fleet), f"{fleet.instances} × {fleet.instance_type}")
        others = {self._get_position(fleet) for fleet in fleets} - labels.keys()
        self.chart.set_labels(
            [Label(*position, text) for position, text in labels.items() if not np.isnan(position).any()],
            [position for position in others if not np.isnan(position).any()],
        )

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


def _group_fleets(fleets: Iterable[Fleet], styles: OfferStyles) -> dict[Category, list[Fleet]]:
    """Group the fleets by color and marker."""
    groups: dict[Category, list[Fleet]] = {}
    for fleet in fleets:
        groups.setdefault(styles.find_category(fleet), []).append(fleet)
    return groups


def _get_series_key(category: Category) -> str:
    return f"{category.color_index}/{category.marker_index}"


def _format_point_name(fleet: Fleet) -> str:
    return f"{fleet.instances} × {fleet.offer}"


def _choose_labeled_fleets(front_fleets: Sequence[Fleet]) -> Sequence[Fleet]:
    """Return the fleets to label: all if they are few, otherwise some of them, evenly spread from
    the cheapest to the fastest."""
    if len(front_fleets) <= _MAX_LABELS:
        return front_fleets
    return [front_fleets[round(index)] for index in np.linspace(0, len(front_fleets) - 1, _MAX_LABELS)]


def _find_limit_ms(state: PlanState, plan: Plan) -> float | None:
    """Return the latency limit of the SLO for the latency metric of the plan, in ms, or None if the
    SLO has no such limit. Objectives that only warn are ignored."""
    for objective in () if state.inputs is None else state.inputs.slo:
        if objective.name == plan.latency_metric and objective.level == "fail":
            return objective.limit
    return None
