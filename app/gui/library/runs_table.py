"""The table of runs: Enter or a double click opens, space ticks, rows are dragged out."""

from __future__ import annotations

from PySide6.QtCore import QPoint, Qt, Signal
from PySide6.QtGui import QContextMenuEvent, QKeyEvent
from PySide6.QtWidgets import QAbstractItemView

from app.gui.library.listed import COLUMNS
from app.gui.library.runs_model import RunsModel
from app.gui.tables import FrameTable

_WIDEST = 36
_WHEN = COLUMNS.index("when")


class RunsTable(FrameTable):
    opened = Signal()
    menu_wanted = Signal(QPoint)

    def __init__(self, model: RunsModel) -> None:
        super().__init__(model, "Stored runs", widest=_WIDEST)
        self._runs = model
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setDragEnabled(True)
        self.setDragDropMode(QAbstractItemView.DragDropMode.DragOnly)
        self.doubleClicked.connect(self._open_if_no_tick)

    def lay_out(self) -> None:
        """The newest first; columns as wide as what they hold, within reason."""
        self.sortByColumn(_WHEN, Qt.SortOrder.DescendingOrder)
        self.fit_columns()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self.opened.emit()
        elif event.key() == Qt.Key.Key_Space and self.currentIndex().isValid():
            self._tick(self.currentIndex().row())
        else:
            super().keyPressEvent(event)

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        if self.currentIndex().isValid():
            self.menu_wanted.emit(event.globalPos())

    def _tick(self, row: int) -> None:
        index = self._runs.index(row, 0)
        is_ticked = self._runs.data(index, Qt.ItemDataRole.CheckStateRole) == Qt.CheckState.Checked
        self._runs.setData(
            index, Qt.CheckState.Unchecked if is_ticked else Qt.CheckState.Checked, Qt.ItemDataRole.CheckStateRole
        )

    def _open_if_no_tick(self) -> None:
        self.opened.emit()
