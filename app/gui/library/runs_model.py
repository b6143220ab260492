"""Qt model and table view of the stored runs. Rows can be checked and dragged out, and are colored
by validity.

Enter or a double click opens a run; Space checks a run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PySide6.QtCore import QMimeData, QModelIndex, QPersistentModelIndex, QPoint, Qt, QUrl, Signal
from PySide6.QtGui import QColor, QContextMenuEvent, QFont, QKeyEvent
from PySide6.QtWidgets import QAbstractItemView, QMenu

from app.gui.formatting import State, state_for_verdict
from app.gui.library.run_listing import (
    COLUMNS,
    HEADERS,
    INITIALLY_HIDDEN_COLUMNS,
    ListedRuns,
    format_bytes,
    format_latency,
    format_run_duration,
    format_time,
)
from app.gui.settings import open_settings
from app.gui.tables import FrameModel, FrameTable
from app.gui.theme import Theme, ThemeController
from app.gui.widgets import tool_tip_text
from app.reporting.run_rows import RunRow

Index = QModelIndex | QPersistentModelIndex
MAX_CHECKED = 8
_BASE_FLAGS = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable | Qt.ItemFlag.ItemIsDragEnabled
_CHECKABLE_FLAGS = _BASE_FLAGS | Qt.ItemFlag.ItemIsUserCheckable
_NAME_COLUMN, _OUTCOME_COLUMN, _VALIDITY_COLUMN = (COLUMNS.index(name) for name in ("name", "outcome", "validity"))
_NUMBER_COLUMNS = frozenset(COLUMNS.index(name) for name in ("max_rate", "latency_p95", "ttft_p95"))


class RunsModel(FrameModel):
    """Qt model of the stored runs. `checked_directories` holds the run directories in the order in
    which they were checked; the first checked run is the baseline of a comparison."""

    checked_runs_changed = Signal()

    def __init__(self, theme_controller: ThemeController) -> None:
        super().__init__(
            None,
            HEADERS,
            {
                "when": format_time,
                "latency_p95": format_latency,
                "ttft_p95": format_latency,
                "duration": format_run_duration,
                "size": format_bytes,
            },
        )
        self.set_theme(theme_controller.theme)
        theme_controller.changed.connect(self.set_theme)
        role = Qt.ItemDataRole
        self._getters_by_role: dict[int, Callable[[Index], object]] = {
            int(role.CheckStateRole): self._get_check_state,
            int(role.ForegroundRole): self._get_color,
            int(role.FontRole): self._get_font,
            int(role.ToolTipRole): self._get_tool_tip,
        }
        self._rows: tuple[RunRow, ...] = ()
        self._positions_by_directory: dict[str, int] = {}
        self._strikeout_font = QFont()
        self._strikeout_font.setStrikeOut(True)
        self.checked_directories: list[str] = []

    def set_theme(self, theme: Theme) -> None:
        """Set the theme, which determines the colors of the outcome and the validity of a run."""
        self._colors: dict[State, QColor] = {
            "good": QColor(theme.good),
            "warn": QColor(theme.warn),
            "bad": QColor(theme.bad),
            "plain": QColor(theme.muted),
        }

    def set_listed_runs(self, listed_runs: ListedRuns) -> None:
        self._rows = listed_runs.rows
        self._positions_by_directory = positions = {
            row.directory: position for position, row in enumerate(listed_runs.rows)
        }
        previous_count = len(self.checked_directories)
        self.checked_directories = [directory for directory in self.checked_directories if directory in positions]
        self.set_frame(listed_runs.frame)
        if len(self.checked_directories) != previous_count:
            self.checked_runs_changed.emit()

    def row(self, visible_row: int) -> RunRow:
        return self._rows[self.frame_row(visible_row)]

    def find_visible_row(self, directory: str) -> int | None:
        """Return the index of the visible row of a run, or None if the run is filtered out."""
        position = self._positions_by_directory.get(directory)
        visible_rows = [] if position is None else np.flatnonzero(self._order == position).tolist()
        return visible_rows[0] if visible_rows else None

    def uncheck_all(self) -> None:
        self.checked_directories.clear()
        self._emit_checked_runs_changed()

    def flags(self, index: Index) -> Qt.ItemFlag:
        if not index.isValid():
            return Qt.ItemFlag.NoItemFlags
        return _CHECKABLE_FLAGS if index.column() == _NAME_COLUMN else _BASE_FLAGS

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        get_value = self._getters_by_role.get(role)
        if get_value is None:
            return super().data(index, role)
        return get_value(index) if index.isValid() else None

    def setData(self, index: Index, value: object, role: int = Qt.ItemDataRole.EditRole) -> bool:
        if role != Qt.ItemDataRole.CheckStateRole or not index.isValid() or index.column() != _NAME_COLUMN:
            return False
        directory, is_checked = self.row(index.row()).directory, Qt.CheckState(value) == Qt.CheckState.Checked
        if is_checked == (directory in self.checked_directories) or (
            is_checked and len(self.checked_directories) >= MAX_CHECKED
        ):
            return False
        if is_checked:
            self.checked_directories.append(directory)
        else:
            self.checked_directories.remove(directory)
        self._emit_checked_runs_changed()
        return True

    def mimeTypes(self) -> list[str]:
        return ["text/uri-list"]

    def mimeData(self, indexes: Sequence[QModelIndex]) -> QMimeData:
        rows = sorted({index.row() for index in indexes})
        mime_data = QMimeData()
        mime_data.setUrls([QUrl.fromLocalFile(str(Path(self.row(row).directory))) for row in rows])
        return mime_data

    def supportedDragActions(self) -> Qt.DropAction:
        return Qt.DropAction.CopyAction  # a file manager must never move a run out of the library

    def _emit_checked_runs_changed(self) -> None:
        if self.rowCount():
            self.dataChanged.emit(
                self.index(0, _NAME_COLUMN),
                self.index(self.rowCount() - 1, _NAME_COLUMN),
                [Qt.ItemDataRole.CheckStateRole],
            )
        self.checked_runs_changed.emit()

    def _get_check_state(self, index: Index) -> Qt.CheckState | None:
        if index.column() != _NAME_COLUMN:
            return None
        is_checked = self.row(index.row()).directory in self.checked_directories
        return Qt.CheckState.Checked if is_checked else Qt.CheckState.Unchecked

    def _get_color(self, index: Index) -> QColor | None:
        if index.column() not in (_OUTCOME_COLUMN, _VALIDITY_COLUMN):
            return None
        row = self.row(index.row())
        status = row.outcome if index.column() == _OUTCOME_COLUMN else row.verdict or row.state
        state = "bad" if status == "unreadable" else state_for_verdict(status or "")
        return self._colors[state]

    def _get_font(self, index: Index) -> QFont | None:
        """Return a strikethrough font for the numbers of an INVALID run, otherwise None."""
        if index.column() not in _NUMBER_COLUMNS or self.row(index.row()).verdict != "INVALID":
            return None
        return self._strikeout_font

    def _get_tool_tip(self, index: Index) -> str:
        row = self.row(index.row())
        notes = "\n".join(note.text for note in row.notes[-3:])
        return tool_tip_text(f"{row.directory}\n{notes}" if notes else row.directory)


_MAX_COLUMN_CHARACTERS = 36
_STARTED_COLUMN = COLUMNS.index("when")
_HIDDEN_COLUMNS_KEY = "library/hidden_columns"


class RunsTable(FrameTable):
    """Table view of the stored runs. The context menu of the header selects the displayed columns,
    which are stored in the settings of the window."""

    opened = Signal()
    menu_requested = Signal(QPoint)

    def __init__(self, model: RunsModel) -> None:
        super().__init__(model, "Stored runs", max_column_characters=_MAX_COLUMN_CHARACTERS)
        self._runs_model = model
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setDragEnabled(True)
        self.setDragDropMode(QAbstractItemView.DragDropMode.DragOnly)
        self.doubleClicked.connect(self._on_double_click)
        header = self.horizontalHeader()
        header.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        header.customContextMenuRequested.connect(self._show_column_menu)

    def lay_out(self) -> None:
        """Sort the runs newest first, hide the columns that the user has hidden, and fit the
        columns to their contents."""
        stored_names = open_settings().value(_HIDDEN_COLUMNS_KEY)
        hidden_names = INITIALLY_HIDDEN_COLUMNS if stored_names is None else str(stored_names).split()
        for column, name in enumerate(COLUMNS):
            self.setColumnHidden(column, column != _NAME_COLUMN and name in hidden_names)
        self.sortByColumn(_STARTED_COLUMN, Qt.SortOrder.DescendingOrder)
        self.fit_columns()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self.opened.emit()
        elif event.key() == Qt.Key.Key_Space and self.currentIndex().isValid():
            self._toggle_checked(self.currentIndex().row())
        else:
            super().keyPressEvent(event)

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        if self.currentIndex().isValid():
            self.menu_requested.emit(event.globalPos())

    def fill_column_menu(self, menu: QMenu) -> None:
        """Fill a menu with a checkable action for each column but the name."""
        menu.clear()
        for column, name in enumerate(COLUMNS):
            if column != _NAME_COLUMN:
                action = menu.addAction(HEADERS[name])
                action.setCheckable(True)
                action.setChecked(not self.isColumnHidden(column))
                action.toggled.connect(partial(self._show_column, column))

    def _show_column_menu(self, position: QPoint) -> None:
        menu = QMenu(self)
        self.fill_column_menu(menu)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        menu.popup(self.horizontalHeader().mapToGlobal(position))

    def _show_column(self, column: int, is_shown: bool) -> None:
        self.setColumnHidden(column, not is_shown)
        hidden_names = [name for index, name in enumerate(COLUMNS) if self.isColumnHidden(index)]
        open_settings().setValue(_HIDDEN_COLUMNS_KEY, " ".join(hidden_names))

    def _toggle_checked(self, row: int) -> None:
        index = self._runs_model.index(row, 0)
        is_checked = self._runs_model.data(index, Qt.ItemDataRole.CheckStateRole) == Qt.CheckState.Checked
        self._runs_model.setData(
            index, Qt.CheckState.Unchecked if is_checked else Qt.CheckState.Checked, Qt.ItemDataRole.CheckStateRole
        )

    def _on_double_click(self) -> None:
        self.opened.emit()
