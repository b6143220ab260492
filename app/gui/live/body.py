"""Content of the Live page while a run is shown. The module is separate because it imports the
chart and table libraries."""

from __future__ import annotations

from PySide6.QtCore import QEvent
from PySide6.QtWidgets import QSplitter, QWidget

from app.gui.charts.repaint import RepaintLimiter
from app.gui.live.charts import LiveCharts
from app.gui.live.controls import RunControls
from app.gui.live.header import RunHeader
from app.gui.live.panels import FailureTable, ValidityPanel, VariantTable
from app.gui.live.presenter import LivePresenter, Part
from app.gui.live.ribbon import StageRibbon
from app.gui.live.state import LiveState
from app.gui.theme import ThemeController
from app.gui.widgets import label, vbox
from app.storage.run_directory import format_run_name

_SIDE_WIDTH_CHARACTERS = 38


class LiveBody(QWidget):
    """Charts, tables and controls of a run. A changed widget is repainted at most ten times a
    second, and only while visible."""

    def __init__(self, theme_controller: ThemeController) -> None:
        super().__init__()
        self.header, self.ribbon = RunHeader(), StageRibbon(theme_controller)
        self.charts, self.controls = LiveCharts(theme_controller), RunControls()
        self.validity, self.failures, self.variants = ValidityPanel(), FailureTable(), VariantTable()
        self._presenter = LivePresenter()
        self._state = LiveState()
        self._repaint = RepaintLimiter(self)
        self._build()
        charts = self.charts
        self._widgets_by_part: dict[Part, tuple[QWidget, ...]] = {
            "charts": charts.linked.charts,  # all charts, because they share the time axis
            "marks": charts.linked.charts,
            "machine": (charts.machine,),
            "stages": (self.ribbon,),
            "checks": (self.validity,),
            "failures": (self.failures,),
            "variants": (self.variants,),
        }
        painters = (
            (charts.rates, self._paint_rates), (charts.latency, self._paint_latency),
            (charts.in_flight, self._paint_in_flight), (charts.machine, self._paint_machine),
            (self.ribbon, self._paint_stages), (self.validity, self._paint_checks),
            (self.failures, self._paint_failures), (self.variants, self._paint_variants),
            (self.header, self._paint_header),
        )  # fmt: skip
        for widget, paint in painters:
            self._repaint.register(widget, paint)
        self.ribbon.stage_selected.connect(self._show_stage)
        self.charts.note_requested.connect(self.controls.focus_note)
        self.charts.view_selected.connect(self._paint_machine)

    def _build(self) -> None:
        self.variants.hide()
        main_panel, side_panel = QWidget(), QWidget()
        vbox((self.variants, 1), (self.charts, 2), self.controls, within=main_panel, margins=(0, 0, 8, 0))
        validity_heading, errors_heading = label("Validity", "heading"), label("Errors", "heading")
        vbox(
            validity_heading,
            (self.validity, 3),
            errors_heading,
            (self.failures, 1),
            within=side_panel,
            margins=(8, 0, 0, 0),
        )
        self._side_panel = side_panel
        self._fit_side()
        splitter = QSplitter()
        splitter.setChildrenCollapsible(False)
        for index, (panel, stretch) in enumerate(((main_panel, 1), (side_panel, 0))):
            splitter.addWidget(panel)
            splitter.setStretchFactor(index, stretch)
        vbox(self.header, self.ribbon, (splitter, 1), within=self, spacing=8)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange:
            self._fit_side()

    def _fit_side(self) -> None:
        self._side_panel.setMinimumWidth(self.fontMetrics().horizontalAdvance("x" * _SIDE_WIDTH_CHARACTERS))

    @property
    def is_painting(self) -> bool:
        """True if some changes have not been painted yet."""
        return self._repaint.is_running

    def begin(self, presenter: LivePresenter) -> None:
        """Clear the page and show the run of another presenter."""
        self._presenter = presenter
        self.charts.clear()
        self.charts.show_whole_run()
        self.variants.hide()
        self.controls.hide()
        self.controls.show_run("" if presenter.directory is None else format_run_name(presenter.directory))
        self._repaint.mark_changed(self.header)
        self.mark_changed(frozenset(self._widgets_by_part))

    def mark_changed(self, parts: frozenset[Part]) -> None:
        if "variants" in parts and self._presenter.is_local:
            self.variants.show()
            self.charts.show_local()
        for part in parts:
            for widget in self._widgets_by_part[part]:
                self._repaint.mark_changed(widget)

    def show_state(self, state: LiveState) -> None:
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
        self.failures.show_failures(self._presenter.failures.lines())

    def _paint_variants(self) -> None:
        self.variants.show_variants(self._presenter.variants.lines())

    def _paint_header(self) -> None:
        self.header.show_state(self._state)

    def _show_stage(self, _: int) -> None:
        stage = self.ribbon.selected_stage()
        if stage is not None:
            self.charts.highlight_stage(stage, self._presenter)
