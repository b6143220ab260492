"""List of the compared runs, each with its side: baseline, candidate, or only drawn in the
charts."""

from __future__ import annotations

from itertools import pairwise

from PySide6.QtCore import QEvent, QSignalBlocker, Qt, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QFrame,
    QGridLayout,
    QMenu,
    QPushButton,
    QScrollArea,
    QWidget,
)

from app.gui.compare.entries import MAX_RUNS, ComparisonEntry, ComparisonRequest, Side, format_run_label
from app.gui.formatting import format_clock_time, shorten
from app.gui.forms.collapsible import chain_tab_order
from app.gui.theme import CARD_MARGINS, NO_MARGINS
from app.gui.widgets import Badge, button, clear, hbox, label, tool_button, tool_tip_text, vbox

_SIDES: tuple[Side, ...] = ("baseline", "candidate", "drawn")
_MAX_CHARACTERS = 120
_MAX_VISIBLE_ROWS = 3.5


class Picker(QFrame):
    side_changed = Signal(int, str)
    remove_requested = Signal(int)
    tolerance_changed = Signal(float)
    add_requested = Signal()

    def __init__(self, swap_button: QPushButton) -> None:
        super().__init__()
        self.setProperty("role", "card")
        self.setAccessibleName("Compared runs")
        self.add_menu = QMenu(self)
        self.add_button = tool_button("&Add run", menu=self.add_menu)
        self.add_menu.aboutToShow.connect(self.add_requested)
        self.tolerance = QDoubleSpinBox()
        self.tolerance.setRange(0.1, 99.0)
        self.tolerance.setDecimals(1)
        self.tolerance.setSuffix(" %")
        self.tolerance.setAccessibleName("Tolerance")
        self.tolerance.setKeyboardTracking(False)
        self.tolerance.valueChanged.connect(self._emit_tolerance)
        self._swap_button = swap_button
        self._grid_box = QWidget()
        self._grid = QGridLayout(self._grid_box)
        self._grid.setContentsMargins(*NO_MARGINS)
        self._scroll = QScrollArea()
        self._build()
        self.side_boxes: list[QComboBox] = []
        self._shown_entries: tuple[ComparisonEntry, ...] | None = None

    def show_request(self, request: ComparisonRequest) -> None:
        with QSignalBlocker(self.tolerance):
            self.tolerance.setValue(100 * request.tolerance)
        self._swap_button.setEnabled(
            bool(request.list_side_entries("baseline") and request.list_side_entries("candidate"))
        )
        self.add_button.setEnabled(len(request.entries) < MAX_RUNS)
        if request.entries != self._shown_entries:
            self._shown_entries = request.entries
            self._fill(request.entries)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit_height()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange:
            self._fit_height()

    def _build(self) -> None:
        tolerance_label = label("&Tolerance", buddy=self.tolerance)
        tolerance_label.setToolTip('Changes smaller than the tolerance have the verdict "same".')
        row = hbox(self.add_button, self._swap_button, 1, tolerance_label, self.tolerance)
        self._scroll.setWidget(self._grid_box)
        self._scroll.setWidgetResizable(True)
        self._scroll.setFrameShape(QFrame.Shape.NoFrame)
        self._scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._scroll.viewport().setAutoFillBackground(False)
        self._grid_box.setAutoFillBackground(False)
        self._grid.setColumnStretch(0, 1)
        vbox(self._scroll, row, within=self, margins=CARD_MARGINS)

    def _fill(self, entries: tuple[ComparisonEntry, ...]) -> None:
        clear(self._grid)
        self.side_boxes = []
        for row, entry in enumerate(entries):
            self._add_row(row, entry)
        last_widget = chain_tab_order(self.add_button, self._grid_box)
        for previous, widget in pairwise((last_widget, self.add_button, self._swap_button, self.tolerance)):
            QWidget.setTabOrder(previous, widget)
        self._fit_height()

    def _add_row(self, row: int, entry: ComparisonEntry) -> None:
        name_label = label(_entry_text(row, entry), wrap=True)
        name_label.setToolTip(tool_tip_text(str(entry.path)))
        badge = Badge(_badge_text(entry), entry.problem or "")
        side_box = QComboBox()
        for side_key, text in _SIDE_NAMES.items():
            side_box.addItem(text, side_key)
        side_box.setCurrentIndex(_SIDES.index(entry.side))
        side_box.setAccessibleName(f"Side of {format_run_label(row, entry)}")
        side_box.currentIndexChanged.connect(self._emit_side)
        remove_button = button("✕", lambda: self.remove_requested.emit(row))
        remove_button.setAccessibleName(f"Remove {format_run_label(row, entry)}")
        remove_button.setFlat(True)
        for column, widget in enumerate((name_label, badge, side_box, remove_button)):
            self._grid.addWidget(widget, row, column)
            widget.setVisible(column != 1 or bool(badge.text()))  # a hidden widget has no size
        self.side_boxes.append(side_box)

    def _fit_height(self) -> None:
        """Fit the height to the rows, up to three and a half rows."""
        if self.side_boxes:
            self._grid.invalidate()
            rows_px = self._grid.totalHeightForWidth(self._scroll.viewport().width())
            self._scroll.setFixedHeight(round(rows_px * min(1.0, _MAX_VISIBLE_ROWS / len(self.side_boxes))) + 2)

    def _emit_side(self) -> None:
        sender = self.sender()
        row = next((index for index, box in enumerate(self.side_boxes) if box is sender), None)
        if row is not None:
            self.side_changed.emit(row, self.side_boxes[row].currentData())

    def _emit_tolerance(self, percent: float) -> None:
        self.tolerance_changed.emit(percent / 100)


_SIDE_NAMES: dict[Side, str] = {"baseline": "Baseline", "candidate": "Candidate", "drawn": "Overlay only"}


def _entry_text(index: int, entry: ComparisonEntry) -> str:
    text = format_run_label(index, entry)
    if entry.problem is not None:
        return f"{text} · {shorten(entry.problem, _MAX_CHARACTERS)}"
    if entry.result is None:
        return f"{text}, loading…"
    return f"{text} · {format_clock_time(entry.result.clock.wall_start)} · {shorten(entry.run_id, _MAX_CHARACTERS)}"


def _badge_text(entry: ComparisonEntry) -> str:
    if entry.problem is not None:
        return "INVALID" if entry.is_invalid else "unusable"
    return "" if entry.result is None else entry.result.verdict.status
