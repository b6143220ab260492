"""The runs as a Qt model: a frame whose rows can be ticked, coloured by trust, and dragged out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PySide6.QtCore import QMimeData, QModelIndex, QPersistentModelIndex, Qt, QUrl, Signal
from PySide6.QtGui import QColor, QFont

from app.gui.formatting import state_of
from app.gui.frame_model import FrameModel
from app.gui.library.listed import COLUMNS, Listed, bytes_text, headers, moment
from app.gui.theme import Look
from app.gui.words import tr
from app.reporting.run_rows import RunRow

Index = QModelIndex | QPersistentModelIndex
MOST_TICKED = 8
_NAME, _OUTCOME, _TRUST, _CARRIES = (COLUMNS.index(name) for name in ("name", "outcome", "trust", "carries"))


class RunsModel(FrameModel):
    """`ticked` are directories, in the order of ticking: the first is the baseline of a comparison."""

    ticks_changed = Signal()

    def __init__(self, look: Look) -> None:
        super().__init__(None, headers(), {"when": moment, "size": bytes_text})
        self._look = look
        self._rows: tuple[RunRow, ...] = ()
        self.ticked: list[str] = []

    def set_listed(self, listed: Listed) -> None:
        self._rows = listed.rows
        here = {row.directory for row in listed.rows}
        before = len(self.ticked)
        self.ticked = [directory for directory in self.ticked if directory in here]
        self.set_frame(listed.frame)
        if len(self.ticked) != before:
            self.ticks_changed.emit()

    def row(self, shown: int) -> RunRow:
        return self._rows[self.frame_row(shown)]

    def place_of(self, directory: str) -> int | None:
        """Where the run is shown."""
        return next((place for place in range(self.rowCount()) if self.row(place).directory == directory), None)

    def untick_all(self) -> None:
        self.ticked.clear()
        self._tell_ticks()

    def flags(self, index: Index) -> Qt.ItemFlag:
        flags = super().flags(index)
        if not index.isValid():
            return flags
        flags |= Qt.ItemFlag.ItemIsDragEnabled
        return flags | Qt.ItemFlag.ItemIsUserCheckable if index.column() == _NAME else flags

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        if not index.isValid():
            return None
        if role == Qt.ItemDataRole.CheckStateRole:
            return self._tick(index)
        if role == Qt.ItemDataRole.ForegroundRole:
            return self._colour(index)
        if role == Qt.ItemDataRole.FontRole:
            return self._font(index)
        if role == Qt.ItemDataRole.ToolTipRole:
            return self._told(self.row(index.row()))
        return super().data(index, role)

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
        row, theme = self.row(index.row()), self._look.theme
        word = row.outcome if index.column() == _OUTCOME else row.verdict or row.state
        state = "bad" if word == "unreadable" else state_of(word or "")
        colours = {"good": theme.good, "warn": theme.warn, "bad": theme.bad, "plain": theme.muted}
        return QColor(colours[state])

    def _font(self, index: Index) -> QFont | None:
        """What is INVALID is struck through."""
        if index.column() != _CARRIES or self.row(index.row()).verdict != "INVALID":
            return None
        font = QFont()
        font.setStrikeOut(True)
        return font

    @staticmethod
    def _told(row: RunRow) -> str:
        notes = "\n".join(note.text for note in row.notes[-3:])
        return f"{row.directory}\n{notes}" if notes else tr("{directory}").format(directory=row.directory)
