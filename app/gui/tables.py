"""A table of a frame: sorted by its headers, filtered by what is typed, copied as CSV.

A pandas frame as a Qt model: read only, swapped whole, sorted and filtered by numpy, so that a
million rows do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd
from PySide6.QtCore import QAbstractTableModel, QEvent, QModelIndex, QPersistentModelIndex, Qt
from PySide6.QtGui import QGuiApplication, QKeySequence, QShortcut
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QTableView

from app.gui.formatting import cell

Index = QModelIndex | QPersistentModelIndex
_NOWHERE = QModelIndex()
RAW = Qt.ItemDataRole.UserRole
"""The value itself, not its text."""
_MOST_KEPT = 20_000
_ALIGNMENT = int(Qt.ItemDataRole.TextAlignmentRole)
_OF_VALUES = frozenset(map(int, (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.AccessibleTextRole, RAW)))


class FrameModel(QAbstractTableModel):
    """Columns are the frame's; `headers` are what a reader sees of them, `formats` how a column's values are written.

    Missing values sort last, whichever way.
    """

    def __init__(
        self,
        frame: pd.DataFrame | None = None,
        headers: Mapping[str, str] | None = None,
        formats: Mapping[str, Callable[[object], str]] | None = None,
        keys: Mapping[str, Callable[[object], object]] | None = None,
    ) -> None:
        """`keys` are what columns of other values than numbers and texts are sorted by."""
        super().__init__()
        self._headers, self._formats, self._keys = dict(headers or {}), dict(formats or {}), dict(keys or {})
        self._take(pd.DataFrame() if frame is None else frame)
        self._mask: npt.NDArray[np.bool_] | None = None
        self._sorted_by: tuple[int, Qt.SortOrder] | None = None
        self._order = np.arange(len(self._frame))

    @property
    def frame(self) -> pd.DataFrame:
        """As it was given, in its own order."""
        return self._frame

    def shown(self) -> pd.DataFrame:
        """As it is shown: filtered and sorted."""
        return self._frame.iloc[self._order]

    def set_frame(self, frame: pd.DataFrame) -> None:
        """Sorted as the one before, where it has that column too; no longer filtered."""
        self.beginResetModel()
        self._take(frame)
        self._mask = None
        if self._sorted_by is not None and self._sorted_by[0] >= frame.shape[1]:
            self._sorted_by = None
        self._order = self._ordered()
        self.endResetModel()

    def set_headers(self, headers: Mapping[str, str]) -> None:
        """Seen with the next frame."""
        self._headers = dict(headers)

    def set_filter(self, mask: npt.NDArray[np.bool_] | None) -> None:
        """Only rows where `mask`, one a row of the frame, is true."""
        self.beginResetModel()
        self._mask = mask
        self._order = self._ordered()
        self.endResetModel()

    def frame_row(self, row: int) -> int:
        """Where the shown row stands in the frame."""
        return int(self._order[row])

    def value(self, row: int, column: int) -> object:
        """Of a shown row, as it stands in the frame."""
        return self._value(self.frame_row(row), column)

    def rowCount(self, parent: Index = _NOWHERE) -> int:
        return 0 if parent.isValid() else len(self._order)

    def columnCount(self, parent: Index = _NOWHERE) -> int:
        return 0 if parent.isValid() else self._frame.shape[1]

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        if not index.isValid():
            return None
        column = index.column()
        if role == _ALIGNMENT:
            return self._alignments[column]
        if role not in _OF_VALUES:
            return None
        place = int(self._order[index.row()])
        return self._value(place, column) if role == RAW else self._text(place, column)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        if orientation != Qt.Orientation.Horizontal or not 0 <= section < self._frame.shape[1]:
            return None
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return self._alignments[section]
        if role != Qt.ItemDataRole.DisplayRole:
            return None
        name = str(self._frame.columns[section])
        return self._headers.get(name, name)

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        wanted = (column, order) if 0 <= column < self._frame.shape[1] else None
        if wanted == self._sorted_by:
            return  # a view asks twice: by its header's signal, and itself
        self.layoutAboutToBeChanged.emit()
        before = self.persistentIndexList()
        rows = [self.frame_row(index.row()) for index in before]
        self._sorted_by = wanted
        self._order = self._ordered()
        if before:
            places = np.empty(len(self._frame), dtype=np.int64)
            places[self._order] = np.arange(len(self._order))
            after = [self.index(int(places[row]), index.column()) for row, index in zip(rows, before, strict=True)]
            self.changePersistentIndexList(before, after)
        self.layoutChanged.emit()

    def _ordered(self) -> npt.NDArray[np.int64]:
        rows = np.arange(len(self._frame)) if self._mask is None else np.flatnonzero(self._mask)
        if self._sorted_by is None:
            return rows
        column, order = self._sorted_by
        values = self._frame.iloc[rows, column]
        key = self._keys.get(str(self._frame.columns[column]))
        if key is not None:
            values = values.map(key)
        elif values.dtype == object:
            values = values.map(lambda one: None if one is None else str(one))
        ascending = order == Qt.SortOrder.AscendingOrder
        if values.dtype == np.float64:
            numbers = values.to_numpy()
            return np.asarray(rows[np.argsort(numbers if ascending else -numbers, kind="stable")])
        ranks = values.reset_index(drop=True).sort_values(ascending=ascending, kind="stable", na_position="last")
        return np.asarray(rows[ranks.index.to_numpy()])

    def _value(self, place: int, column: int) -> object:
        return _plain(self._columns[column][place])

    def _text(self, place: int, column: int) -> str:
        """Kept, since scrolling asks for most of them again."""
        text = self._texts.get((place, column))
        if text is None:
            if len(self._texts) >= _MOST_KEPT:
                self._texts.clear()
            text = self._texts[place, column] = self._shown_as[column](self._value(place, column))
        return text

    def _take(self, frame: pd.DataFrame) -> None:
        """What a cell is made of is looked up once: a view asks for some thousand of them a frame."""
        self._frame = frame
        self._texts: dict[tuple[int, int], str] = {}
        self._columns = [frame.iloc[:, place].array for place in range(frame.shape[1])]
        self._alignments = [_alignment(column) for column in self._columns]
        self._shown_as = [self._formats.get(str(name), cell) for name in frame.columns]


def _alignment(column: pd.api.extensions.ExtensionArray) -> Qt.AlignmentFlag:
    is_number = pd.api.types.is_numeric_dtype(column.dtype)
    side = Qt.AlignmentFlag.AlignRight if is_number else Qt.AlignmentFlag.AlignLeft
    return side | Qt.AlignmentFlag.AlignVCenter


def _plain(value: object) -> object:
    """Without numpy's own scalars, which Qt does not know."""
    return value.item() if isinstance(value, np.generic) else value


_SAMPLED_ROWS = 200


class FrameTable(QTableView):
    """Rows are chosen whole. Ctrl+C copies what is chosen, else everything shown."""

    def __init__(self, model: FrameModel, name: str, *, widest: int | None = None) -> None:
        """`widest` is how many letters a column gets at most before it is drawn wider."""
        super().__init__()
        self._widest = widest
        self.frame_model = model
        self.setModel(model)
        self.setAccessibleName(name)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setAlternatingRowColors(True)
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.setSortingEnabled(True)
        self.horizontalHeader().setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
        self.horizontalHeader().setHighlightSections(False)
        self.horizontalHeader().setStretchLastSection(True)
        self.horizontalHeader().setResizeContentsPrecision(_SAMPLED_ROWS)
        self.verticalHeader().setVisible(False)
        self.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        self._fit_rows()
        self.setTabKeyNavigation(False)
        copy = QShortcut(QKeySequence(QKeySequence.StandardKey.Copy), self)
        copy.setContext(Qt.ShortcutContext.WidgetShortcut)
        copy.activated.connect(self.copy)

    def set_frame(self, frame: pd.DataFrame) -> None:
        self.frame_model.set_frame(frame)
        self.fit_columns()

    def fit_columns(self) -> None:
        """As wide as what they hold, within reason; the last one takes what is left."""
        header = self.horizontalHeader()
        header.setStretchLastSection(False)
        self.resizeColumnsToContents()
        if self._widest is not None:
            widest_px = self._widest * self.fontMetrics().averageCharWidth()
            for column in range(self.frame_model.columnCount()):
                self.setColumnWidth(column, min(self.columnWidth(column), widest_px))
        header.setStretchLastSection(True)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange:
            self._fit_rows()
            self.fit_columns()

    def _fit_rows(self) -> None:
        self.verticalHeader().setDefaultSectionSize(self.fontMetrics().height() + 8)

    def set_filter(self, text: str) -> None:
        """Rows in which any shown text holds every word of `text`."""
        words = text.casefold().split()
        if not words:
            self.frame_model.set_filter(None)
            return
        lines = _lines(self.frame_model.frame)
        mask = np.ones(len(lines), dtype=bool)
        for word in words:
            mask &= lines.str.contains(word, regex=False).to_numpy(dtype=bool)
        self.frame_model.set_filter(mask)

    def copy(self) -> None:
        rows = sorted({index.row() for index in self.selectionModel().selectedRows()})
        shown = self.frame_model.shown()
        QGuiApplication.clipboard().setText((shown.iloc[rows] if rows else shown).to_csv(index=False))


def _lines(frame: pd.DataFrame) -> pd.Series[str]:
    """All of a row's values in one text; column by column, which ten thousand rows take some milliseconds for."""
    lines = pd.Series("", index=frame.index, dtype=str)
    for name in frame.columns:
        lines = lines + " " + frame[name].astype(str).fillna("")
    return lines.str.casefold()


def describe(table: FrameTable, what: str) -> None:
    """For a reader of screens: what the table holds, and how many rows."""
    table.setAccessibleDescription(f"{what}, {table.frame_model.rowCount()} rows")
