"""A table of a frame: sorted by its headers, filtered by what is typed, copied as CSV."""

from __future__ import annotations

import numpy as np
import pandas as pd
from PySide6.QtCore import QEvent, Qt
from PySide6.QtGui import QGuiApplication, QKeySequence, QShortcut
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QTableView

from app.gui.frame_model import FrameModel

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
