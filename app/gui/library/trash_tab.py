"""Trash tab: deleted runs, which can be restored."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
from PySide6.QtCore import Signal
from PySide6.QtWidgets import QAbstractItemView, QWidget

from app.gui.formatting import format_count
from app.gui.library.run_listing import format_bytes, format_time
from app.gui.library.runs_presenter import RunsPresenter
from app.gui.tables import FrameModel, FrameTable, set_table_description
from app.gui.theme import TAB_MARGINS
from app.gui.widgets import EmptyState, button, hbox, label, vbox
from app.reporting.run_rows import DeletedRow
from app.storage.trash import RETENTION


class TrashTab(QWidget):
    closed = Signal()

    def __init__(self, presenter: RunsPresenter) -> None:
        super().__init__()
        self._presenter = presenter
        self._rows: tuple[DeletedRow, ...] = ()
        headers = {
            "name": "Run",
            "run_id": "Run ID",
            "when": "Deleted",
            "days": "Days left",
            "size": "Size",
        }
        formats = {"when": format_time, "size": format_bytes, "days": lambda days: format_count(int(str(days)))}
        self.table = FrameTable(FrameModel(None, headers, formats), "Deleted runs")
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self._empty_state = EmptyState("The trash is empty. Deleted runs stay here for 30 days.")
        self._restore_button = button("&Restore", self.restore, primary=True)
        self._build()
        presenter.trash_listed.connect(self.show_deleted_runs)
        self.table.selectionModel().selectionChanged.connect(self._update_state)

    def enter(self) -> None:
        self._presenter.refresh_trash()

    def show_deleted_runs(self, rows: tuple[DeletedRow, ...]) -> None:
        self._rows = rows
        self.table.set_frame(_build_frame(rows))
        if rows:
            self.table.selectRow(0)
        self._update_state()
        set_table_description(self.table, "Deleted runs")

    def restore(self) -> None:
        rows = {index.row() for index in self.table.selectionModel().selectedRows()}
        names = [self._get_directory_name(row) for row in sorted(rows)]
        if names:
            self._presenter.restore(names)

    def _get_directory_name(self, row: int) -> str:
        return Path(self._rows[self.table.frame_model.frame_row(row)].run.directory).name

    def _build(self) -> None:
        header = hbox(
            button("&Back to runs", self.closed.emit),
            (
                label(
                    "Deleted runs stay here for 30 days. "
                    "Delete older runs permanently with `sizewise runs delete --purge`.",
                    "muted",
                    wrap=True,
                ),
                1,
            ),
        )
        row = hbox(self._restore_button, 1)
        vbox(header, self._empty_state, (self.table, 1), row, within=self, margins=TAB_MARGINS)

    def _update_state(self) -> None:
        self._empty_state.setVisible(not self._rows)
        self.table.setVisible(bool(self._rows))
        self._restore_button.setVisible(bool(self._rows))
        self._restore_button.setEnabled(self.table.selectionModel().hasSelection())


def _build_frame(rows: tuple[DeletedRow, ...]) -> pd.DataFrame:
    now = datetime.now(UTC)
    return pd.DataFrame(
        {
            "name": [row.run.label for row in rows],
            "run_id": [row.run.run_id for row in rows],
            "when": [row.deleted_at.isoformat() for row in rows],
            "days": [max(0, (row.deleted_at + RETENTION - now).days) for row in rows],
            "size": [row.run.size_bytes for row in rows],
        }
    )
