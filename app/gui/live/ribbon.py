"""The stages of a run as a painted strip, the newest at the right."""

from __future__ import annotations

from PySide6.QtCore import QRect, QSize, Qt, Signal
from PySide6.QtGui import QColor, QFocusEvent, QFontMetrics, QKeyEvent, QMouseEvent, QPainter, QPaintEvent
from PySide6.QtWidgets import QSizePolicy, QWidget

from app.gui.live.state import StageCell
from app.gui.theme import Look, Theme
from app.gui.widgets import tip

_GAP, _PADDING = 3, 6
_TOLD = 6
"""Stages that a reader of screens is told of at once."""


class StageRibbon(QWidget):
    """Left and right choose a stage; `chosen` tells its index, and so does a click."""

    chosen = Signal(int)

    def __init__(self, look: Look) -> None:
        super().__init__()
        self._look = look
        self._cells: tuple[StageCell, ...] = ()
        self._current: int | None = None
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("Stages")
        self.setMouseTracking(True)
        look.changed.connect(self.update)

    def show_cells(self, cells: tuple[StageCell, ...]) -> None:
        if cells == self._cells:
            return
        self._cells = cells
        self.setAccessibleDescription("; ".join(_told(cell) for cell in cells[-_TOLD:]))
        self.update()

    def current(self) -> StageCell | None:
        """The one that keys or a click chose."""
        return next((cell for cell in self._cells if cell.index == self._current), None)

    def sizeHint(self) -> QSize:
        return QSize(400, 2 * self.fontMetrics().height() + 2 * _PADDING + 2)

    def minimumSizeHint(self) -> QSize:
        return QSize(120, self.sizeHint().height())

    def paintEvent(self, _: QPaintEvent) -> None:
        painter, theme = QPainter(self), self._look.theme
        if not self._cells:
            painter.setPen(QColor(theme.muted))
            painter.drawText(self.rect(), Qt.AlignmentFlag.AlignVCenter, "No stage has begun yet.")
        for rect, cell in self._places():
            self._paint_cell(painter, theme, rect, cell)
        hidden = len(self._cells) - len(self._places())
        if hidden:
            painter.setPen(QColor(theme.muted))
            painter.drawText(
                QRect(0, 0, self._left() - _GAP, self.height()),
                Qt.AlignmentFlag.AlignCenter,
                f"{hidden} before",
            )

    def keyPressEvent(self, event: QKeyEvent) -> None:
        step = {Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1}.get(Qt.Key(event.key()))
        if step is None or not self._cells:
            super().keyPressEvent(event)
            return
        indices = [cell.index for cell in self._cells]
        at = indices.index(self._current) + step if self._current in indices else len(indices) - 1
        self._choose(indices[max(0, min(at, len(indices) - 1))])

    def mousePressEvent(self, event: QMouseEvent) -> None:
        for rect, cell in self._places():
            if rect.contains(event.position().toPoint()):
                self._choose(cell.index)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        under = [cell for rect, cell in self._places() if rect.contains(event.position().toPoint())]
        self.setToolTip(tip(_told(under[0])) if under else "")

    def focusInEvent(self, event: QFocusEvent) -> None:
        super().focusInEvent(event)
        self.update()

    def _choose(self, index: int) -> None:
        self._current = index
        cell = self.current()
        if cell is not None:
            self.setAccessibleDescription(_told(cell))
        self.update()
        self.chosen.emit(index)

    def _left(self) -> int:
        """Where cells begin: before them is said how many find no room."""
        metrics = self.fontMetrics()
        most = max(1, (self.width() + _GAP) // (self._least_width(metrics) + _GAP))
        if len(self._cells) <= most:
            return 0
        return metrics.horizontalAdvance(f"{len(self._cells)} before") + 2 * _PADDING

    def _places(self) -> list[tuple[QRect, StageCell]]:
        left = self._left()
        room = self.width() - left
        least = self._least_width(self.fontMetrics())
        shown = self._cells[-max(1, (room + _GAP) // (least + _GAP)) :]
        if not shown:
            return []
        width = min(2 * least, (room - _GAP * (len(shown) - 1)) // len(shown))
        height = self.height()
        return [
            (QRect(left + at * (width + _GAP), 0, width, height).adjusted(0, 0, -1, -1), cell)
            for at, cell in enumerate(shown)
        ]

    @staticmethod
    def _least_width(metrics: QFontMetrics) -> int:
        return metrics.horizontalAdvance("probe 226.3/s #3") + 2 * _PADDING

    def _paint_cell(self, painter: QPainter, theme: Theme, rect: QRect, cell: StageCell) -> None:
        is_current = cell.index == self._current and self.hasFocus()
        painter.setPen(QColor(theme.ink if is_current else theme.grid))
        painter.setBrush(QColor(theme.raised))
        painter.drawRoundedRect(rect, 4, 4)
        done = QRect(rect.left() + 1, rect.bottom() - 3, round((rect.width() - 2) * cell.share_done), 3)
        painter.fillRect(done, QColor(_colour(theme, cell)))
        inside = rect.adjusted(_PADDING, _PADDING - 2, -_PADDING, -_PADDING)
        metrics = painter.fontMetrics()
        painter.setPen(QColor(theme.ink))
        name = metrics.elidedText(cell.name, Qt.TextElideMode.ElideRight, inside.width())
        painter.drawText(inside, Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft, name)
        painter.setPen(QColor(_colour(theme, cell)))
        words = metrics.elidedText(_words(cell), Qt.TextElideMode.ElideRight, inside.width())
        painter.drawText(inside, Qt.AlignmentFlag.AlignBottom | Qt.AlignmentFlag.AlignLeft, words)


def _colour(theme: Theme, cell: StageCell) -> str:
    if cell.end_s is None:
        return theme.accent
    if cell.trust == "INVALID":
        return theme.bad
    return theme.muted if cell.held is None else theme.good if cell.held else theme.warn


def _words(cell: StageCell) -> str:
    rate = f"{cell.rate}  " if cell.rate else ""
    if cell.end_s is None:
        return rate + f"▶ {round(100 * cell.share_done)} %"
    if cell.trust == "INVALID":
        return rate + "✕ INVALID"
    if cell.held is None:
        return rate + "done"
    return rate + ("✓ held" if cell.held else "✕ did not hold")


def _told(cell: StageCell) -> str:
    return f"{cell.name}: {_words(cell)}"
