"""A table of a frame: sorted by its headers, filtered by what is typed, copied as CSV."""

from __future__ import annotations

import pandas as pd
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication, QKeySequence, QShortcut
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QTableView

from app.gui.frame_model import FrameModel
from app.gui.words import tr

_SAMPLED_ROWS = 200


class FrameTable(QTableView):
    """Rows are chosen whole. Ctrl+C copies what is chosen, else everything shown."""

    def __init__(self, model: FrameModel, name: str) -> None:
        super().__init__()
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
        self.verticalHeader().setDefaultSectionSize(self.fontMetrics().height() + 8)
        self.setTabKeyNavigation(False)
        copy = QShortcut(QKeySequence(QKeySequence.StandardKey.Copy), self)
        copy.setContext(Qt.ShortcutContext.WidgetShortcut)
        copy.activated.connect(self.copy)

    def set_frame(self, frame: pd.DataFrame) -> None:
        self.frame_model.set_frame(frame)
        self.resizeColumnsToContents()

    def set_filter(self, text: str) -> None:
        """Rows in which any shown text holds every word of `text`."""
        words = text.casefold().split()
        if not words:
            self.frame_model.set_filter(None)
            return
        joined = self.frame_model.frame.astype(str).agg(" ".join, axis=1).str.casefold()
        mask = joined.map(lambda line: all(word in line for word in words))
        self.frame_model.set_filter(mask.to_numpy(dtype=bool))

    def copy(self) -> None:
        rows = sorted({index.row() for index in self.selectionModel().selectedRows()})
        shown = self.frame_model.shown()
        QGuiApplication.clipboard().setText((shown.iloc[rows] if rows else shown).to_csv(index=False))


def describe(table: FrameTable, what: str) -> None:
    """For a reader of screens: what the table holds, and how many rows."""
    table.setAccessibleDescription(tr("{what}, {rows} rows").format(what=what, rows=table.frame_model.rowCount()))
