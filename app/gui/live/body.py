"""The Live page while a run is shown. Importing it imports what charts and tables need."""

from __future__ import annotations

from PySide6.QtWidgets import QSplitter, QVBoxLayout, QWidget

from app.gui.charts.repaint import Repaint
from app.gui.live.charts import LiveCharts
from app.gui.live.controls import RunControls
from app.gui.live.header import RunHeader
from app.gui.live.panels import FailureTable, TrustPanel, VariantTable
from app.gui.live.presenter import LivePresenter, Part
from app.gui.live.ribbon import StageRibbon
from app.gui.live.scrolled import Scrolled
from app.gui.live.state import LiveState
from app.gui.theme import Look
from app.gui.widgets import label
from app.gui.words import tr

_SIDE_LETTERS = 38


class LiveBody(QWidget):
    """Paints what changed, at most ten times a second and only while it is seen."""

    def __init__(self, look: Look) -> None:
        super().__init__()
        self.header, self.ribbon = RunHeader(), StageRibbon(look)
        self.charts, self.controls = LiveCharts(look), RunControls()
        self.trust, self.failures, self.variants = TrustPanel(), FailureTable(), VariantTable()
        self._presenter = LivePresenter()
        self._state = LiveState()
        self._repaint = Repaint(self)
        self._build()
        self._widget_of: dict[Part, QWidget] = {
            "charts": self.charts,
            "marks": self.charts.linked,
            "machine": self.charts.machine,
            "stages": self.ribbon,
            "checks": self.trust,
            "failures": self.failures,
            "variants": self.variants,
        }
        paints = (
            (self.charts, self._paint_series), (self.charts.linked, self._paint_marks),
            (self.charts.machine, self._paint_machine), (self.ribbon, self._paint_stages),
            (self.trust, self._paint_checks), (self.failures, self._paint_failures),
            (self.variants, self._paint_variants), (self.header, self._paint_header),
        )  # fmt: skip
        for widget, paint in paints:
            self._repaint.add(widget, paint)
        self.ribbon.chosen.connect(self._show_stage)
        self.charts.note_wanted.connect(self.controls.focus_note)
        self.charts.view_chosen.connect(self._paint_machine)

    def _build(self) -> None:
        self.variants.hide()
        left, right = QWidget(), QWidget()
        column = QVBoxLayout(left)
        column.setContentsMargins(0, 0, 8, 0)
        column.addWidget(self.variants, 1)
        column.addWidget(Scrolled(self.charts), 2)
        column.addWidget(self.controls)
        side = QVBoxLayout(right)
        side.setContentsMargins(8, 0, 0, 0)
        for title, widget, stretch in ((tr("Trust"), self.trust, 3), (tr("Errors"), self.failures, 1)):
            side.addWidget(label(title, "heading"))
            side.addWidget(widget, stretch)
        right.setMinimumWidth(self.fontMetrics().horizontalAdvance("x" * _SIDE_LETTERS))
        splitter = QSplitter()
        splitter.setChildrenCollapsible(False)
        for at, (part, stretch) in enumerate(((left, 1), (right, 0))):
            splitter.addWidget(part)
            splitter.setStretchFactor(at, stretch)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(8)
        layout.addWidget(self.header)
        layout.addWidget(self.ribbon)
        layout.addWidget(splitter, 1)

    def begin(self, presenter: LivePresenter) -> None:
        """Another run."""
        self._presenter = presenter
        self.charts.clear()
        self.charts.show_whole()
        self.variants.hide()
        self.controls.hide()
        for widget in (*self._widget_of.values(), self.header):
            self._repaint.mark(widget)

    def mark(self, parts: frozenset[Part]) -> None:
        if "variants" in parts and self._presenter.is_local:
            self.variants.show()
        for part in parts:
            self._repaint.mark(self._widget_of[part])

    def show_state(self, state: LiveState) -> None:
        self._state = state
        self.controls.setVisible(state.going == "running")
        self._repaint.mark(self.header)

    def _paint_series(self) -> None:
        self.charts.set_limit(self._presenter.latency_limit())
        self.charts.paint_series(self._presenter)

    def _paint_marks(self) -> None:
        self.charts.paint_marks(self._presenter)

    def _paint_machine(self) -> None:
        self.charts.paint_machine(self._presenter)

    def _paint_stages(self) -> None:
        self.ribbon.show_cells(self._presenter.stages.cells())
        self.controls.show_stage(self._presenter.stages.running)
        self._paint_header()

    def _paint_checks(self) -> None:
        self.trust.show_checks(self._presenter.checks.lines())

    def _paint_failures(self) -> None:
        self.failures.show_failures(self._presenter.failures.lines())

    def _paint_variants(self) -> None:
        self.variants.show_variants(self._presenter.variants.lines())

    def _paint_header(self) -> None:
        running = self._presenter.stages.running
        self.header.show_state(self._state, 0.0 if running is None else running.share_done)

    def _show_stage(self, _: int) -> None:
        stage = self.ribbon.current()
        if stage is not None:
            self.charts.point_out(stage, self._presenter)
