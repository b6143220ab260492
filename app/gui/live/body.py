"""Content of the Live page while a run is shown. The module is separate because it imports the
chart and table libraries."""

from __future__ import annotations

from PySide6.QtCore import QEvent
from PySide6.QtWidgets import QSizePolicy, QSpacerItem, QSplitter, QWidget

from app.gui.charts.export import ExportCaption, set_export_caption
from app.gui.charts.repaint import RepaintLimiter
from app.gui.formatting import NOT_AVAILABLE
from app.gui.live.charts import LiveCharts
from app.gui.live.controls import RunControls
from app.gui.live.header import RunHeader
from app.gui.live.kpi_row import KpiRow
from app.gui.live.panels import FailureTable, GenerationTable, ValidityPanel, VariantTable
from app.gui.live.presenter import LivePresenter, Part
from app.gui.live.ribbon import StageRibbon
from app.gui.live.state import LiveState
from app.gui.theme import GAP, GAP_GROUP, SCROLL_MARGINS, ThemeController
from app.gui.widgets import Badge, hbox, label, vbox
from app.records.result import Objective
from app.storage.run_directory import format_run_name, parse_start_time

_SIDE_WIDTH_CHARACTERS, _MIN_SIDE_CHARACTERS = 38, 26
_MIN_CHARTS_LINES, _MIN_CHECKS_LINES = 14, 6
_TABLE_LINES = 5
"""Height of the tables of variants and tests, in lines of text."""


class LiveBody(QWidget):
    """Charts, tables and controls of a run. A changed widget is repainted at most ten times a
    second, and only while visible."""

    def __init__(self, theme_controller: ThemeController) -> None:
        super().__init__()
        self.header, self.ribbon = RunHeader(), StageRibbon(theme_controller)
        self.charts, self.controls = LiveCharts(theme_controller), RunControls()
        self.validity, self.failures, self.kpis = ValidityPanel(), FailureTable(), KpiRow()
        self.variants, self.generation, self.badge = VariantTable(), GenerationTable(), Badge()
        self._presenter = LivePresenter()
        self._state = LiveState()
        self._captioned: tuple[str | None, tuple[Objective, ...]] = (None, ())
        """ID and SLO of the run in exported charts."""
        self._repaint = RepaintLimiter(self)
        self._side_width = QSpacerItem(0, 0)
        """Preferred width of the panel at the side, which a window with large text may not have."""
        self._build()
        charts = self.charts
        self._widgets_by_part: dict[Part, tuple[QWidget, ...]] = {
            "charts": (*charts.linked.charts, self.kpis),  # all charts, because they share the time axis
            "marks": charts.linked.charts,
            "machine": (charts.machine, self.kpis),
            "stages": (self.ribbon,),
            "checks": (self.validity,),
            "failures": (self.failures,),
            "variants": (self.variants, self.generation),
        }
        painters = (
            (charts.rates, self._paint_rates), (charts.latency, self._paint_latency),
            (charts.in_flight, self._paint_in_flight), (charts.machine, self._paint_machine),
            (self.ribbon, self._paint_stages), (self.validity, self._paint_checks),
            (self.failures, self._paint_failures), (self.variants, self._paint_variants),
            (self.generation, self._paint_generation), (self.header, self._paint_header),
            (self.kpis, self._paint_kpis),
        )  # fmt: skip
        for widget, paint in painters:
            self._repaint.register(widget, paint)
        self.ribbon.stage_selected.connect(self._show_stage)
        self.charts.note_requested.connect(self.controls.focus_note)
        self.charts.view_selected.connect(self._paint_machine)
        self.charts.token_chart_created.connect(self._register_token_chart)

    def _build(self) -> None:
        main_panel, side_panel = QWidget(), QWidget()
        vbox((self.charts, 1), self.variants, self.generation, self.controls, within=main_panel, margins=SCROLL_MARGINS)
        self._errors_heading = label("Errors", "heading")
        vbox(
            hbox(label("Validity", "heading"), self.badge, 1, spacing=GAP_GROUP),
            (self.validity, 3),
            self._errors_heading,
            (self.failures, 1),
            within=side_panel,
            margins=(8, 0, 0, 0),
        )
        self._side_panel = side_panel
        side_layout = side_panel.layout()
        assert side_layout is not None
        side_layout.addItem(self._side_width)
        self._fit_panels()
        splitter = QSplitter()
        splitter.setChildrenCollapsible(False)
        for index, (panel, stretch) in enumerate(((main_panel, 1), (side_panel, 0))):
            splitter.addWidget(panel)
            splitter.setStretchFactor(index, stretch)
        vbox(self.header, self.kpis, self.ribbon, (splitter, 1), within=self, spacing=GAP)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange:
            self._fit_panels()

    def _fit_panels(self) -> None:
        for table in (self.variants, self.generation):
            table.setFixedHeight(_TABLE_LINES * (self.fontMetrics().height() + 8))
        line_px = self.fontMetrics().height()
        self.charts.setMinimumHeight(_MIN_CHARTS_LINES * line_px)
        self.validity.setMinimumHeight(_MIN_CHECKS_LINES * line_px)
        character_px = self.fontMetrics().horizontalAdvance("x")
        self._side_panel.setMinimumWidth(_MIN_SIDE_CHARACTERS * character_px)
        self._side_width.changeSize(_SIDE_WIDTH_CHARACTERS * character_px, 0, QSizePolicy.Policy.Preferred)

    @property
    def is_painting(self) -> bool:
        """True if some changes have not been painted yet."""
        return self._repaint.is_running

    def begin(self, presenter: LivePresenter) -> None:
        """Clear the page and show the run of another presenter."""
        self._presenter = presenter
        self.charts.clear()
        self.charts.show_whole_run()
        self._show_kind()
        self.controls.hide()
        self.controls.show_run("" if presenter.directory is None else format_run_name(presenter.directory))
        self._repaint.mark_changed(self.header)
        self.mark_changed(frozenset(self._widgets_by_part))

    def _show_kind(self) -> None:
        """Show the widgets of the kind of run."""
        kind = self._presenter.kind
        self.charts.show_kind(kind, has_first_token_tests=self._presenter.has_first_token_tests)
        self.variants.setVisible(kind == "local" and bool(self._presenter.variants.lines()))
        self.generation.setVisible(kind == "language_model")
        for widget in (self._errors_heading, self.failures):
            widget.setVisible(not self._presenter.is_local)
        self.controls.set_local(self._presenter.is_local)

    def _register_token_chart(self, key: str) -> None:
        """Paint a chart that is created when the first run of its kind is shown."""
        chart, charts = self.charts.token_charts[key], self.charts.linked.charts
        self._repaint.register(chart, lambda: self.charts.paint_tokens(key, self._presenter))
        self._widgets_by_part |= {"charts": (*charts, self.kpis), "marks": charts}

    def mark_changed(self, parts: frozenset[Part]) -> None:
        if parts & {"variants", "charts", "stages"}:
            self._show_kind()
        for part in parts:
            for widget in self._widgets_by_part[part]:
                self._repaint.mark_changed(widget)

    def show_state(self, state: LiveState) -> None:
        if (state.run_id, self._presenter.slo) != self._captioned:
            self._captioned = (state.run_id, self._presenter.slo)
            date = parse_start_time(state.run_id or "") or NOT_AVAILABLE
            slo = tuple(objective.label for objective in self._presenter.slo)
            set_export_caption(self, ExportCaption(state.name, date, slo))
        self._state = state
        self.controls.setVisible(state.status == "running")
        self._repaint.mark_changed(self.header)

    def _paint_rates(self) -> None:
        self.charts.paint_rates(self._presenter)

    def _paint_latency(self) -> None:
        self.charts.paint_latency(self._presenter)

    def _paint_in_flight(self) -> None:
        self.charts.paint_in_flight(self._presenter)

    def _paint_machine(self) -> None:
        self.charts.paint_machine(self._presenter)

    def _paint_stages(self) -> None:
        self.ribbon.show_cells(self._presenter.stages.cells())
        self.controls.show_stage(self._presenter.stages.running_cell)
        self._paint_header()

    def _paint_checks(self) -> None:
        self.validity.show_checks(self._presenter.checks.lines())

    def _paint_failures(self) -> None:
        self.failures.show_failures(self._presenter.failures.lines(), has_responses=self._presenter.has_responses)

    def _paint_variants(self) -> None:
        self.variants.show_variants(self._presenter.variants.lines())

    def _paint_generation(self) -> None:
        self.generation.show_variants(self._presenter.variants.lines())

    def _paint_kpis(self) -> None:
        self.kpis.show_kpis(self._presenter.kpis())

    def _paint_header(self) -> None:
        self.header.show_state(self._state)
        validity, reasons = self._state.validity or "", "\n".join(self._state.reasons)
        if (self.badge.text(), self.badge.accessibleDescription()) != (validity, reasons):
            self.badge.show_verdict(validity, reasons)

    def _show_stage(self, _: int) -> None:
        stage = self.ribbon.selected_stage()
        if stage is not None:
            self.charts.highlight_stage(stage, self._presenter)
