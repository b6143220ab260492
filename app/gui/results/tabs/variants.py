"""Variants tab: each variant and scenario of a local model, and the bottleneck of each variant."""

from __future__ import annotations

import numpy as np

from app.gui.charts.axes import Axis
from app.gui.charts.chart import Chart
from app.gui.formatting import sentence, with_full_stop
from app.gui.results import frames
from app.gui.results.quantity_model import QuantityModel
from app.gui.results.section_tables import show_section
from app.gui.results.state import DisplayedRun
from app.gui.results.tabs.tab import Tab, create_table, fit_columns, fit_height
from app.gui.theme import ThemeController
from app.gui.widgets import label
from reports.local_model import LocalSection
from reports.roofline import Roofline, build_roofline
from reports.sections.model_only import MODEL_ONLY

_MAX_BOTTLENECKS = 20
_MIN_CHART_HEIGHT = 260


class VariantsTab(Tab):
    title = "Variants"

    def build(self, theme_controller: ThemeController) -> None:
        self.description_label = label("", wrap=True)
        headers = {"variant": "Variant", "state": "State", "slo": "SLO", "scenario": "Scenario",
                   "throughput": "Inferences/s", "cost": "Cost", "calls": "Calls",
                   "measurement": "Validity"}  # fmt: skip
        self.model = QuantityModel(headers, frames.VARIANT_QUANTITIES)
        self.table = create_table(self.model, "Variants and scenarios")
        self._theme_controller = theme_controller
        self.front_chart: Chart | None = None
        self.roofline_chart = RooflineChart(theme_controller)
        self.bottlenecks_label = label("", wrap=True)
        self.column.addWidget(self.description_label)
        self.column.addWidget(self.table)
        self.add_heading("Bottleneck per variant")
        self.column.addWidget(self.bottlenecks_label)
        self.column.addWidget(self.roofline_chart)
        self.column.addStretch(1)

    def applies_to(self, displayed_run: DisplayedRun) -> bool:
        local = displayed_run.own_report.local
        return local is not None and not local.is_language_model

    def show_run(self, displayed_run: DisplayedRun) -> None:
        local = displayed_run.report.local
        if local is None:
            return
        self.description_label.setText(describe_variants(local))
        self.model.set_rows(*frames.variant_frame(local))
        fit_columns(self.table)
        fit_height(self.table)
        bottleneck_lines = [
            f"{variant.name}: {variant.bottleneck.sentence}"
            for variant in local.variants[:_MAX_BOTTLENECKS]
            if variant.bottleneck is not None
        ]
        self.bottlenecks_label.setText("\n".join(bottleneck_lines) or "Not available")
        self.roofline_chart.show_roofline(build_roofline(local))
        self._draw(local)

    def _draw(self, local: LocalSection) -> None:
        """Draw the chart of latency and cost of the variants. A new chart is created for each run,
        because the axes of a chart cannot be changed."""
        if self.front_chart is not None:
            self.front_chart.hide()
            self.front_chart.deleteLater()
        self.front_chart = create_front_chart(local, self._theme_controller)
        if self.front_chart is not None:
            self.column.insertWidget(self.column.indexOf(self.table) + 1, self.front_chart, 1)


class RooflineChart(Chart):
    """The variants of a model under the rooflines of the processors that executed them; hidden if no
    roof is known."""

    def __init__(self, theme_controller: ThemeController) -> None:
        axes = Axis("Arithmetic intensity", "FLOP/byte", True), Axis("Performance", "GFLOP/s", True)
        super().__init__("Roofline", *axes, theme_controller)
        self.setMinimumHeight(_MIN_CHART_HEIGHT)

    def show_roofline(self, roofline: Roofline | None) -> None:
        self.clear()
        self.setVisible(roofline is not None)
        if roofline is None:
            return
        for index, roof in enumerate(roofline.roofs):
            self.set_line(f"roof {index}", roof.name, roof.intensities, roof.gflops, style_index=index)
            points = [point for point in roofline.points if point.roof == roof.name]
            self.set_points(
                f"variants {index}",
                "variants" if len(roofline.roofs) == 1 else f"variants on {roof.processor}",
                [point.intensity for point in points],
                [point.gflops for point in points],
                style_index=index,
                names=tuple(point.text for point in points),
            )


def describe_variants(local: LocalSection) -> str:
    """Describe what all variants have in common, and which is the best."""
    best_text = f"The best variant is {local.best}" if local.best else local.best_reason or ""
    common_text = with_full_stop(local.common) if local.common else ""  # begins with the name of the model
    return f"{common_text} {sentence(best_text) if best_text else ''}".strip()


def create_front_chart(local: LocalSection, theme_controller: ThemeController) -> Chart | None:
    """Create the chart of latency and cost of the variants; `None` with fewer than two variants."""
    charted_variants = [
        variant for variant in local.variants if variant.latency.value is not None and variant.cost.value is not None
    ]
    if len(charted_variants) < 2:
        return None
    unit = charted_variants[0].cost.unit
    axes = Axis(local.axes.latency, "ms", True), Axis(local.axes.cost, unit if unit not in local.axes.cost else "")
    chart = Chart("Latency vs. cost", *axes, theme_controller)
    chart.setMinimumHeight(_MIN_CHART_HEIGHT)
    for series, (state, variants) in enumerate(
        (
            ("Pareto-optimal", [variant for variant in charted_variants if variant.is_on_frontier]),
            ("dominated", [variant for variant in charted_variants if not variant.is_on_frontier]),
        )
    ):
        if variants:
            chart.set_points(
                state,
                state,
                np.array([variant.latency.value for variant in variants], dtype=np.float64),
                np.array([variant.cost.value for variant in variants], dtype=np.float64),
                style_index=series,
                hollow_flags=np.array([variant.state == "INVALID" for variant in variants]),
                names=tuple(variant.name for variant in variants),
            )
    return chart


class ModelTab(Tab):
    """Model-only tab for a run that measured both an endpoint and its model: the measurement of the
    model without the server."""

    title = "Model only (no server)"

    def __init__(self) -> None:
        super().__init__()
        self.description_label = label("", wrap=True)
        self.model = QuantityModel()
        self.table = create_table(self.model, "Model only, by batch size")
        self.checks_label = label("", "muted", wrap=True)
        for widget in (self.description_label, self.table, self.checks_label):
            self.column.addWidget(widget)
        self.column.addStretch(1)

    def applies_to(self, displayed_run: DisplayedRun) -> bool:
        return displayed_run.own_report.model is not None

    def show_run(self, displayed_run: DisplayedRun) -> None:
        from app.gui.formatting import format_quantity
        from reports.formatting import format_check

        model = displayed_run.own_report.model
        if model is None:
            return
        cold_start_texts = [
            f"{cold_start.name} {format_quantity(cold_start.quantity)}" for cold_start in model.cold_start
        ]
        accuracy_texts = [] if model.accuracy is None else [f"accuracy {format_quantity(model.accuracy)}"]
        heading = f"{model.name} on this machine, without a server"
        self.description_label.setText("; ".join([heading, *accuracy_texts, *cold_start_texts]))
        show_section(self.table, self.model, MODEL_ONLY, displayed_run.own_report)
        self.checks_label.setText("\n".join(map(format_check, model.proof)))
