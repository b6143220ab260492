"""Ribbon that shows the stages of a run, newest at the right."""

from __future__ import annotations

from PySide6.QtCore import QRect, QSize, Qt, Signal
from PySide6.QtGui import QColor, QFocusEvent, QFontMetrics, QKeyEvent, QMouseEvent, QPainter, QPaintEvent
from PySide6.QtWidgets import QSizePolicy, QWidget

from app.gui.formatting import format_elapsed
from app.gui.live.state import StageCell
from app.gui.theme import Theme, ThemeController
from app.gui.widgets import tool_tip_text
from reports.formatting import format_count_noun

_GAP, _PADDING = 3, 6
_MAX_DESCRIBED_STAGES = 6
"""Number of stages in the description for screen readers."""


class StageRibbon(QWidget):
    """Ribbon of stages. The user selects a stage with a click or with the left and right arrow
    keys; `stage_selected` is emitted with the index of the stage."""

    stage_selected = Signal(int)

    def __init__(self, theme_controller: ThemeController) -> None:
        super().__init__()
        self._theme_controller = theme_controller
        self._cells: tuple[StageCell, ...] = ()
        self._selected_index: int | None = None
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("Stages")
        self.setMouseTracking(True)
        theme_controller.changed.connect(self.update)

    def show_cells(self, cells: tuple[StageCell, ...]) -> None:
        if cells == self._cells:
            return
        self._cells = cells
        self.setAccessibleDescription("; ".join(_format_description(cell) for cell in cells[-_MAX_DESCRIBED_STAGES:]))
        self.update()

    def selected_stage(self) -> StageCell | None:
        """Return the selected stage, or None if no stage is selected."""
        return next((cell for cell in self._cells if cell.index == self._selected_index), None)

    def sizeHint(self) -> QSize:
        return QSize(400, 2 * self.fontMetrics().height() + 2 * _PADDING + 2)

    def minimumSizeHint(self) -> QSize:
        return QSize(120, self.sizeHint().height())

    def paintEvent(self, _: QPaintEvent) -> None:
        painter, theme = QPainter(self), self._theme_controller.theme
        if not self._cells:
            painter.setPen(QColor(theme.muted))
            painter.drawText(self.rect(), Qt.AlignmentFlag.AlignVCenter, "Stages appear here when they start.")
        for rect, cell in self._cell_rects():
            self._paint_cell(painter, theme, rect, cell)
        hidden_count = len(self._cells) - len(self._cell_rects())
        if hidden_count:
            painter.setPen(QColor(theme.muted))
            painter.drawText(
                QRect(0, 0, self._first_x() - _GAP, self.height()),
                Qt.AlignmentFlag.AlignCenter,
                format_count_noun(hidden_count, "earlier stage"),
            )

    def keyPressEvent(self, event: QKeyEvent) -> None:
        offset = {Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1}.get(Qt.Key(event.key()))
        if offset is None or not self._cells:
            super().keyPressEvent(event)
            return
        indices = [cell.index for cell in self._cells]
        position = indices.index(self._selected_index) + offset if self._selected_index in indices else len(indices) - 1
        self._select_stage(indices[max(0, min(position, len(indices) - 1))])

    def mousePressEvent(self, event: QMouseEvent) -> None:
        for rect, cell in self._cell_rects():
            if rect.contains(event.position().toPoint()):
                self._select_stage(cell.index)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        hovered_cells = [cell for rect, cell in self._cell_rects() if rect.contains(event.position().toPoint())]
        self.setToolTip(tool_tip_text(_format_description(hovered_cells[0])) if hovered_cells else "")

    def focusInEvent(self, event: QFocusEvent) -> None:
        super().focusInEvent(event)
        self.update()

    def _select_stage(self, index: int) -> None:
        self._selected_index = index
        cell = self.selected_stage()
        if cell is not None:
            self.setAccessibleDescription(_format_description(cell))
        self.update()
        self.stage_selected.emit(index)

    def _first_x(self) -> int:
        """Return the x position of the first displayed stage, in pixels. If earlier stages are
        hidden, their number is shown to the left of this position."""
        font_metrics = self.fontMetrics()
        max_cells = max(1, (self.width() + _GAP) // (self._min_cell_width(font_metrics) + _GAP))
        if len(self._cells) <= max_cells:
            return 0
        return font_metrics.horizontalAdvance(format_count_noun(len(self._cells), "earlier stage")) + 2 * _PADDING

    def _cell_rects(self) -> list[tuple[QRect, StageCell]]:
        first_x = self._first_x()
        available_width = self.width() - first_x
        min_width = self._min_cell_width(self.fontMetrics())
        visible_cells = self._cells[-max(1, (available_width + _GAP) // (min_width + _GAP)) :]
        if not visible_cells:
            return []
        width = min(2 * min_width, (available_width - _GAP * (len(visible_cells) - 1)) // len(visible_cells))
        height = self.height()
        return [
            (QRect(first_x + position * (width + _GAP), 0, width, height).adjusted(0, 0, -1, -1), cell)
            for position, cell in enumerate(visible_cells)
        ]

    @staticmethod
    def _min_cell_width(font_metrics: QFontMetrics) -> int:
        return font_metrics.horizontalAdvance("probe 226.3 req/s #3") + 2 * _PADDING

    def _paint_cell(self, painter: QPainter, theme: Theme, rect: QRect, cell: StageCell) -> None:
        has_cursor = cell.index == self._selected_index and self.hasFocus()
        painter.setPen(QColor(theme.ink if has_cursor else theme.grid))
        painter.setBrush(QColor(theme.card))
        painter.drawRoundedRect(rect, 4, 4)
        progress_rect = QRect(rect.left() + 1, rect.bottom() - 3, round((rect.width() - 2) * cell.progress), 3)
        painter.fillRect(progress_rect, QColor(_get_color(theme, cell)))
        content_rect = rect.adjusted(_PADDING, _PADDING - 2, -_PADDING, -_PADDING)
        font_metrics = painter.fontMetrics()
        painter.setPen(QColor(theme.ink))
        name = font_metrics.elidedText(cell.name, Qt.TextElideMode.ElideRight, content_rect.width())
        painter.drawText(content_rect, Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft, name)
        painter.setPen(QColor(_get_color(theme, cell)))
        state_text = font_metrics.elidedText(
            _format_cell_state(cell), Qt.TextElideMode.ElideRight, content_rect.width()
        )
        painter.drawText(content_rect, Qt.AlignmentFlag.AlignBottom | Qt.AlignmentFlag.AlignLeft, state_text)


def _get_color(theme: Theme, cell: StageCell) -> str:
    if cell.end_s is None:
        return theme.accent
    if cell.validity == "INVALID":
        return theme.bad
    return theme.muted if cell.is_slo_met is None else theme.good if cell.is_slo_met else theme.warn


def _format_cell_state(cell: StageCell) -> str:
    load_text = f"{cell.load_text}  " if cell.load_text else ""
    if cell.end_s is None:
        # a share of the stage would be taken for the share of the run
        return load_text + ("▶ running" if cell.remaining_s is None else f"▶ {format_elapsed(cell.remaining_s)} left")
    if cell.validity == "INVALID":
        return load_text + "✕ INVALID"
    if cell.is_slo_met is None:
        return load_text + "done"
    return load_text + ("✓ SLO met" if cell.is_slo_met else "✕ SLO missed")


def _format_description(cell: StageCell) -> str:
    return f"{cell.name}: {_format_cell_state(cell)}"
