"""Tabs of a run of language models on this machine: throughput by variant and test, what limits it,
memory with cold starts, and the quality of the predictions."""

from __future__ import annotations

from PySide6.QtWidgets import QGridLayout

from app.gui.charts.axes import Axis
from app.gui.charts.bars import BarChart
from app.gui.charts.chart import Chart
from app.gui.results import frames
from app.gui.results.quantity_model import QuantityModel
from app.gui.results.state import DisplayedRun
from app.gui.results.tabs.tab import Tab, create_table, fit_columns, fit_height
from app.gui.results.tabs.variants import RooflineChart, create_front_chart, describe_variants
from app.gui.theme import ThemeController
from app.gui.widgets import label
from reports import formatting
from reports.generation_series import (
    MEMORY_NOTE,
    TOKEN_RATE,
    Phase,
    build_depth_figure,
    build_memory_figure,
    build_rate_figure,
)
from reports.local_model import LocalSection
from reports.local_text import list_bottlenecks
from reports.quantity import Quantity
from reports.roofline import build_roofline
from reports.sections.figure import MAX_GROUPS, FigureBar

_MIN_CHART_HEIGHT = 230
_RATE_TITLES: tuple[tuple[Phase, str], ...] = (("decode", "Decode throughput"), ("prefill", "Prefill throughput"))


class GenerationTab(Tab):
    """Tab with the prefill and decode throughput of each variant and test."""

    title = "Variants"

    def build(self, theme_controller: ThemeController) -> None:
        self._theme_controller = theme_controller
        self.description_label = label("", wrap=True)
        self.rate_charts: dict[Phase, BarChart] = {
            phase: BarChart(title, Axis(title, TOKEN_RATE), "Variant", "Test", theme_controller)
            for phase, title in _RATE_TITLES
        }
        self.hidden_label = label("", "muted", wrap=True)
        self.model = QuantityModel(frames.TEST_HEADERS, frames.TEST_QUANTITIES, has_units=False)
        self.table = create_table(self.model, "Variants and tests")
        self.depth_chart = Chart(
            "Decode throughput by depth",
            Axis("Tokens in the KV cache"),
            Axis("Decode throughput", TOKEN_RATE),
            theme_controller,
        )
        self.depth_chart.setMinimumHeight(_MIN_CHART_HEIGHT)
        self.front_chart: Chart | None = None
        self._lower_charts = QGridLayout()
        self._lower_charts.addWidget(self.depth_chart, 0, 0)
        rate_row = QGridLayout()
        for column, chart in enumerate(self.rate_charts.values()):
            rate_row.addWidget(chart, 0, column)
            rate_row.setColumnStretch(column, 1)
        self.column.addWidget(self.description_label)
        self.column.addLayout(rate_row)
        self.column.addWidget(self.hidden_label)
        self.column.addWidget(self.table)
        self.column.addLayout(self._lower_charts)
        self.column.addStretch(1)

    def applies_to(self, displayed_run: DisplayedRun) -> bool:
        return is_language_model_run(displayed_run)

    def show_run(self, displayed_run: DisplayedRun) -> None:
        local = displayed_run.report.local
        if local is None:
            return
        self.description_label.setText(describe_variants(local))
        hidden_count = 0
        for phase, chart in self.rate_charts.items():
            figure = build_rate_figure(local, phase)
            chart.show_figure(figure)
            hidden_count += 0 if figure is None else len(figure.rows) - len(figure.bars)
        self.hidden_label.setText(f"{formatting.format_count_noun(hidden_count, 'more bar')}: see the table below.")
        self.hidden_label.setVisible(hidden_count > 0)
        self.model.set_rows(*frames.language_model_frame(local))
        fit_columns(self.table)
        fit_height(self.table)
        depth_figure = build_depth_figure(local)
        self.depth_chart.show_figure(depth_figure, "")
        self.depth_chart.setVisible(depth_figure is not None)
        self._draw_front(local)

    def _draw_front(self, local: LocalSection) -> None:
        if self.front_chart is not None:
            self.front_chart.hide()
            self.front_chart.deleteLater()
        self.front_chart = create_front_chart(local, self._theme_controller)
        if self.front_chart is not None:
            self.front_chart.setMinimumHeight(_MIN_CHART_HEIGHT)
            self._lower_charts.addWidget(self.front_chart, 0, 1)
        for column, chart in enumerate((self.depth_chart, self.front_chart)):
            self._lower_charts.setColumnStretch(column, int(chart is not None and not chart.isHidden()))


class BottleneckTab(Tab):
    """Tab with the share of the machine's peaks that prefill and decode reach, and what limits
    them."""

    title = "Bottleneck"

    def build(self, theme_controller: ThemeController) -> None:
        self.chart = BarChart("Share of the peak", Axis("Share of the peak", "%"), "Variant", "Phase", theme_controller)
        self.model = QuantityModel(frames.BOTTLENECK_HEADERS, ("share",))
        self.table = create_table(self.model, "Bottleneck by variant and phase")
        self.sentences_label = label("", wrap=True)
        self.roofline_chart = RooflineChart(theme_controller)
        for widget in (
            label(
                "A prefill is compared with the peak arithmetic of the processor, and a decode with the peak bandwidth "
                "of its memory.",
                "muted",
                wrap=True,
            ),
            self.chart,
            self.table,
            self.sentences_label,
            self.roofline_chart,
        ):
            self.column.addWidget(widget)
        self.column.addStretch(1)

    def applies_to(self, displayed_run: DisplayedRun) -> bool:
        local = displayed_run.own_report.local
        return is_language_model_run(displayed_run) and local is not None and any(map(list_bottlenecks, local.variants))

    def show_run(self, displayed_run: DisplayedRun) -> None:
        local = displayed_run.report.local
        if local is None:
            return
        phases = [
            (variant.name, phase, bottleneck)
            for variant in local.variants
            for phase, bottleneck in list_bottlenecks(variant)
        ]
        shown_names = [*dict.fromkeys(name for name, _, _ in phases)][:MAX_GROUPS]
        bars = [
            bar
            for name, phase, bottleneck in phases
            if name in shown_names and (bar := _build_share_bar(name, phase, bottleneck.peak_share)) is not None
        ]
        self.chart.set_bars(bars)
        self.chart.setVisible(bool(bars))
        self.roofline_chart.show_roofline(build_roofline(local))
        self.model.set_rows(frames.bottleneck_frame(local))
        fit_columns(self.table)
        fit_height(self.table)
        self.sentences_label.setText(
            "\n".join(f"{name}, {phase}: {bottleneck.sentence}" for name, phase, bottleneck in phases[:MAX_GROUPS])
        )


class MemoryTab(Tab):
    """Tab with the memory of each variant, and the parts of its cold starts."""

    title = "Memory and cold start"

    def build(self, theme_controller: ThemeController) -> None:
        self.chart = BarChart("Peak memory", Axis("Peak memory", "GiB"), "Variant", "Part", theme_controller)
        self.memory_model = QuantityModel(frames.MEMORY_HEADERS, frames.MEMORY_QUANTITIES)
        self.memory_table = create_table(self.memory_model, "Memory by variant")
        self.start_chart = BarChart("Cold start", Axis("Median time", "ms"), "Variant", "Part", theme_controller)
        self.start_model = QuantityModel()
        self.start_table = create_table(self.start_model, "Cold starts by variant")
        self.column.addWidget(self.chart)
        self.column.addWidget(self.memory_table)
        self.column.addWidget(label(MEMORY_NOTE, "muted", wrap=True))
        self.column.addWidget(self.start_chart)
        self.column.addWidget(self.start_table)
        self.starts_label = label("", "muted", wrap=True)
        self.column.addWidget(self.starts_label)
        self.column.addStretch(1)

    def applies_to(self, displayed_run: DisplayedRun) -> bool:
        local = displayed_run.own_report.local
        return (
            is_language_model_run(displayed_run)
            and local is not None
            and any(variant.is_measured for variant in local.variants)
        )

    def show_run(self, displayed_run: DisplayedRun) -> None:
        local = displayed_run.report.local
        if local is None:
            return
        self.chart.show_figure(build_memory_figure(local))
        self.memory_model.set_rows(frames.memory_frame(local))
        fit_columns(self.memory_table)
        fit_height(self.memory_table)
        self._show_starts(local)

    def _show_starts(self, local: LocalSection) -> None:
        bars, totals = [], {}
        for name, row in frames.list_cold_starts(local)[:MAX_GROUPS]:
            *parts, total = row.p50
            bars += [
                FigureBar(name, part_name, part.value or 0.0, formatting.format_value_unit(part))
                for part_name, part in zip(local.cold_parts, parts, strict=False)
            ]
            totals[name] = formatting.format_value_unit(total)
        for widget in (self.start_chart, self.start_table, self.starts_label):
            widget.setVisible(bool(bars))
        if not bars:
            return
        self.start_chart.set_bars(bars, is_stacked=True, group_texts=totals)
        self.start_model.set_rows(frames.cold_start_frame(local))
        fit_columns(self.start_table)
        fit_height(self.start_table)
        self.starts_label.setText(
            "Each start is a new process. Variants that load in the same way are started once: batch sizes do not "
            "affect it."
        )


class QualityTab(Tab):
    """Tab with the quality of the predictions of each variant on the text of the profile."""

    title = "Quality"

    def __init__(self) -> None:
        super().__init__()
        self.description_label = label("", wrap=True)
        self.model = QuantityModel(frames.QUALITY_HEADERS, frames.QUALITY_QUANTITIES)
        self.table = create_table(self.model, "Quality by variant")
        self.column.addWidget(self.description_label)
        self.column.addWidget(self.table)
        self.column.addWidget(
            label(
                "Perplexities are comparable only for the same text and tokenizer. A ratio above 1 is worse than the "
                "reference. Agreement is the share of tokens that both predict alike.",
                "muted",
                wrap=True,
            )
        )
        self.column.addStretch(1)

    def applies_to(self, displayed_run: DisplayedRun) -> bool:
        local = displayed_run.own_report.local
        return local is not None and any(variant.text_quality is not None for variant in local.variants)

    def show_run(self, displayed_run: DisplayedRun) -> None:
        local = displayed_run.report.local
        if local is None:
            return
        scored_names = [variant.name for variant in local.variants if variant.text_quality is not None]
        self.description_label.setText(
            f"Predictions on the text of the profile. The reference is {scored_names[0]}."
            if len(scored_names) > 1
            else "Predictions on the text of the profile, without another variant to compare with."
        )
        self.model.set_rows(frames.quality_frame(local))
        fit_columns(self.table)
        fit_height(self.table)


def is_language_model_run(displayed_run: DisplayedRun) -> bool:
    """Return whether a run measured language models on this machine."""
    local = displayed_run.own_report.local
    return local is not None and local.is_language_model


def _build_share_bar(variant: str, phase: str, share: Quantity | None) -> FigureBar | None:
    if share is None or share.value is None:
        return None
    interval = None if share.ci95 is None else (100 * share.ci95[0], 100 * share.ci95[1])
    return FigureBar(variant, phase, 100 * share.value, formatting.format_quantity(share), interval)
