"""The runs as a Qt model: a frame whose rows can be ticked, coloured by trust, and dragged out.

The table of runs: Enter or a double click opens, space ticks, rows are dragged out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PySide6.QtCore import QMimeData, QModelIndex, QPersistentModelIndex, QPoint, Qt, QUrl, Signal
from PySide6.QtGui import QColor, QContextMenuEvent, QFont, QKeyEvent
from PySide6.QtWidgets import QAbstractItemView

from app.gui.formatting import State, state_of
from app.gui.library.listed import COLUMNS, HEADERS, Listed, bytes_text, moment
from app.gui.tables import FrameModel, FrameTable
from app.gui.theme import Look, Theme
from app.gui.widgets import tip
from app.reporting.run_rows import RunRow

Index = QModelIndex | QPersistentModelIndex
MOST_TICKED = 8
_PLAIN = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable | Qt.ItemFlag.ItemIsDragEnabled
_TICKED = _PLAIN | Qt.ItemFlag.ItemIsUserCheckable
_NAME, _OUTCOME, _TRUST, _CARRIES = (COLUMNS.index(name) for name in ("name", "outcome", "trust", "carries"))


class RunsModel(FrameModel):
    """`ticked` are directories, in the order of ticking: the first is the baseline of a comparison."""

    ticks_changed = Signal()

    def __init__(self, look: Look) -> None:
        super().__init__(None, HEADERS, {"when": moment, "size": bytes_text})
        self.repaint_in(look.theme)
        look.changed.connect(self.repaint_in)
        role = Qt.ItemDataRole
        self._told_by_role: dict[int, Callable[[Index], object]] = {
            int(role.CheckStateRole): self._tick,
            int(role.ForegroundRole): self._colour,
            int(role.FontRole): self._font,
            int(role.ToolTipRole): self._told,
        }
        self._rows: tuple[RunRow, ...] = ()
        self._places: dict[str, int] = {}
        self._struck = QFont()
        self._struck.setStrikeOut(True)
        self.ticked: list[str] = []

    def repaint_in(self, theme: Theme) -> None:
        """The colours of words."""
        self._colours: dict[State, QColor] = {
            "good": QColor(theme.good),
            "warn": QColor(theme.warn),
            "bad": QColor(theme.bad),
            "plain": QColor(theme.muted),
        }

    def set_listed(self, listed: Listed) -> None:
        self._rows = listed.rows
        self._places = here = {row.directory: place for place, row in enumerate(listed.rows)}
        before = len(self.ticked)
        self.ticked = [directory for directory in self.ticked if directory in here]
        self.set_frame(listed.frame)
        if len(self.ticked) != before:
            self.ticks_changed.emit()

    def row(self, shown: int) -> RunRow:
        return self._rows[self.frame_row(shown)]

    def place_of(self, directory: str) -> int | None:
        """Where the run is shown."""
        row = self._places.get(directory)
        shown = [] if row is None else np.flatnonzero(self._order == row).tolist()
        return shown[0] if shown else None

    def untick_all(self) -> None:
        self.ticked.clear()
        self._tell_ticks()

    def flags(self, index: Index) -> Qt.ItemFlag:
        if not index.isValid():
            return Qt.ItemFlag.NoItemFlags
        return _TICKED if index.column() == _NAME else _PLAIN

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        told = self._told_by_role.get(role)
        if told is None:
            return super().data(index, role)
        return told(index) if index.isValid() else None

    def setData(self, index: Index, value: object, role: int = Qt.ItemDataRole.EditRole) -> bool:
        if role != Qt.ItemDataRole.CheckStateRole or not index.isValid() or index.column() != _NAME:
            return False
        directory, wanted = self.row(index.row()).directory, Qt.CheckState(value) == Qt.CheckState.Checked
        if wanted == (directory in self.ticked) or (wanted and len(self.ticked) >= MOST_TICKED):
            return False
        if wanted:
            self.ticked.append(directory)
        else:
            self.ticked.remove(directory)
        self._tell_ticks()
        return True

    def mimeTypes(self) -> list[str]:
        return ["text/uri-list"]

    def mimeData(self, indexes: Sequence[QModelIndex]) -> QMimeData:
        rows = sorted({index.row() for index in indexes})
        data = QMimeData()
        data.setUrls([QUrl.fromLocalFile(str(Path(self.row(row).directory))) for row in rows])
        return data

    def supportedDragActions(self) -> Qt.DropAction:
        return Qt.DropAction.CopyAction  # a file manager must never move a run away

    def _tell_ticks(self) -> None:
        if self.rowCount():
            self.dataChanged.emit(
                self.index(0, _NAME), self.index(self.rowCount() - 1, _NAME), [Qt.ItemDataRole.CheckStateRole]
            )
        self.ticks_changed.emit()

    def _tick(self, index: Index) -> Qt.CheckState | None:
        if index.column() != _NAME:
            return None
        is_ticked = self.row(index.row()).directory in self.ticked
        return Qt.CheckState.Checked if is_ticked else Qt.CheckState.Unchecked

    def _colour(self, index: Index) -> QColor | None:
        if index.column() not in (_OUTCOME, _TRUST):
            return None
        row = self.row(index.row())
        word = row.outcome if index.column() == _OUTCOME else row.verdict or row.state
        state = "bad" if word == "unreadable" else state_of(word or "")
        return self._colours[state]

    def _font(self, index: Index) -> QFont | None:
        """What is INVALID is struck through."""
        if index.column() != _CARRIES or self.row(index.row()).verdict != "INVALID":
            return None
        return self._struck

    def _told(self, index: Index) -> str:
        row = self.row(index.row())
        notes = "\n".join(note.text for note in row.notes[-3:])
        return tip(f"{row.directory}\n{notes}" if notes else row.directory)


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
