"""Qt model and table view of the stored runs. Rows can be checked and dragged out, and are colored
by validity. They can be grouped by profile below a row for each profile.

Enter or a double click opens a run; Space checks a run. On the row of a profile, Enter, Space or a
click folds or unfolds its runs; Left folds them, and Right unfolds them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd
from PySide6.QtCore import QMimeData, QModelIndex, QPersistentModelIndex, QPoint, Qt, QUrl, Signal
from PySide6.QtGui import QColor, QContextMenuEvent, QFont, QKeyEvent
from PySide6.QtWidgets import QAbstractItemView, QMenu

from app.gui.formatting import NOT_AVAILABLE, State, shorten, state_for_verdict
from app.gui.library.run_listing import (
    COLUMNS,
    HEADERS,
    INITIALLY_HIDDEN_COLUMNS,
    ListedRuns,
    format_bytes,
    format_cost,
    format_last_change,
    format_latency,
    format_run_duration,
    format_time,
)
from app.gui.settings import open_settings
from app.gui.sparkline import SPARKLINE_ROLE, SparklineDelegate
from app.gui.tables import FrameModel, FrameTable
from app.gui.theme import Theme, ThemeController
from app.gui.widgets import tool_tip_text
from app.reporting.run_history import RunHistory, compute_run_change, format_run_change
from app.reporting.run_rows import RunRow
from reports.formatting import format_count_noun

Index = QModelIndex | QPersistentModelIndex
MAX_CHECKED = 8
_BASE_FLAGS = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable | Qt.ItemFlag.ItemIsDragEnabled
_CHECKABLE_FLAGS = _BASE_FLAGS | Qt.ItemFlag.ItemIsUserCheckable
_NAME_COLUMN, _OUTCOME_COLUMN, _VALIDITY_COLUMN = (COLUMNS.index(name) for name in ("name", "outcome", "validity"))
_NUMBER_COLUMNS = frozenset(COLUMNS.index(name) for name in ("max_rate", "latency_p95", "ttft_p95"))
_MAX_RATE_COLUMN, _TREND_COLUMN = COLUMNS.index("max_rate"), COLUMNS.index("trend")
_STARTED_COLUMN = COLUMNS.index("when")


class ProfileGroup(msgspec.Struct, frozen=True):
    """Row of a profile in the grouped list. `code` stands for the row in place of a position in the
    DataFrame."""

    code: int
    name: str
    run_count: int
    latest_run: RunRow
    """Run of the profile that started last, among the runs that match the filters."""
    is_folded: bool

    @property
    def text(self) -> str:
        return f"{'▸' if self.is_folded else '▾'} {self.name or 'No profile'} ({self.run_count})"

    @property
    def accessible_text(self) -> str:
        state = "folded" if self.is_folded else "unfolded"
        return f"Profile {self.name or 'n/a'}, {format_count_noun(self.run_count, 'run')}, {state}"


def group_rows(
    positions: Sequence[int], rows: Sequence[RunRow], folded_names: Collection[str], codes: Mapping[str, int]
) -> tuple[list[int], dict[int, ProfileGroup]]:
    """Group positions of `rows` by profile. Return the codes of the groups, each followed by the
    positions of its runs unless it is folded, and the groups by code. Groups are in the order of
    their first positions, so that they follow the sorting of the runs."""
    positions_by_name: dict[str, list[int]] = {}
    for position in positions:
        positions_by_name.setdefault(rows[position].name or "", []).append(position)
    order: list[int] = []
    groups: dict[int, ProfileGroup] = {}
    for name, group_positions in positions_by_name.items():
        code, is_folded = codes[name], name in folded_names
        latest_run = max((rows[position] for position in group_positions), key=lambda row: row.started_at or "")
        groups[code] = ProfileGroup(code, name, len(group_positions), latest_run, is_folded)
        order += [code, *(() if is_folded else group_positions)]
    return order, groups


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
                "trend": format_last_change,
                "cost": format_cost,
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
            int(SPARKLINE_ROLE): self._get_sparkline,
        }
        self._rows: tuple[RunRow, ...] = ()
        self._histories: dict[str, RunHistory] = {}
        self._group_codes: dict[str, int] = {}
        self._groups: dict[int, ProfileGroup] = {}
        self._folded_names: set[str] = set()
        self._is_grouped = False
        self.matching_count = 0
        self._group_font = QFont()
        self._group_font.setBold(True)
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
        self._rows, self._histories = listed_runs.rows, listed_runs.histories
        self._group_codes = {
            name: -1 - index for index, name in enumerate(sorted({row.name or "" for row in listed_runs.rows}))
        }
        self._positions_by_directory = positions = {
            row.directory: position for position, row in enumerate(listed_runs.rows)
        }
        previous_count = len(self.checked_directories)
        self.checked_directories = [directory for directory in self.checked_directories if directory in positions]
        self.set_frame(listed_runs.frame)
        if len(self.checked_directories) != previous_count:
            self.checked_runs_changed.emit()

    def set_grouped(self, is_grouped: bool) -> None:
        self._is_grouped = is_grouped
        self._reorder()

    def set_folded(self, name: str, is_folded: bool) -> None:
        """Fold or unfold the runs of a profile."""
        (self._folded_names.add if is_folded else self._folded_names.discard)(name)
        self._reorder()

    def group(self, visible_row: int) -> ProfileGroup | None:
        """Return the group whose own row is `visible_row`; `None` for the row of a run."""
        return self._groups.get(self.frame_row(visible_row))

    def find_group_row(self, name: str) -> int | None:
        """Return the index of the visible row of a profile; `None` if the list is not grouped."""
        code = self._group_codes.get(name, 0)
        return None if code not in self._groups else int(np.flatnonzero(self._order == code)[0])

    def visible_frame(self) -> pd.DataFrame:
        return self.frame.iloc[self._order[self._order >= 0]]

    def history(self, directory: str) -> RunHistory | None:
        return self._histories.get(directory)

    def _reorder(self) -> None:
        self.beginResetModel()
        self._order = self._compute_order()
        self.endResetModel()

    def _compute_order(self) -> npt.NDArray[np.int64]:
        order, self._groups = super()._compute_order(), {}
        self.matching_count = len(order)
        if not self._is_grouped:
            return order
        codes, self._groups = group_rows(order.tolist(), self._rows, self._folded_names, self._group_codes)
        return np.array(codes, dtype=np.int64)

    def _find_displayed_rows(self, frame_rows: list[int]) -> list[int]:
        positions = {row: position for position, row in enumerate(self._order.tolist())}
        return [positions.get(row, -1) for row in frame_rows]

    def row(self, visible_row: int) -> RunRow:
        return self._rows[self.frame_row(visible_row)]

    def find_visible_row(self, directory: str) -> int | None:
        """Return the index of the visible row of a run, or None if the run is filtered out."""
        position = self._positions_by_directory.get(directory)
        visible_rows = [] if position is None else np.flatnonzero(self._order == position).tolist()
        return visible_rows[0] if visible_rows else None

    def find_visible_rows(self, directories: Collection[str]) -> list[int]:
        """Return the indices of the visible rows of several runs."""
        positions = [self._positions_by_directory[directory] for directory in directories]
        return np.flatnonzero(np.isin(self._order, positions)).tolist()

    def uncheck_all(self) -> None:
        self.checked_directories.clear()
        self._emit_checked_runs_changed()

    def flags(self, index: Index) -> Qt.ItemFlag:
        if not index.isValid():
            return Qt.ItemFlag.NoItemFlags
        if self._groups and self.group(index.row()) is not None:
            return Qt.ItemFlag.ItemIsEnabled
        return _CHECKABLE_FLAGS if index.column() == _NAME_COLUMN else _BASE_FLAGS

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        if self._groups and index.isValid() and (group := self.group(index.row())) is not None:
            return self._get_group_value(group, index.column(), role)
        get_value = self._getters_by_role.get(role)
        if get_value is None:
            return super().data(index, role)
        return get_value(index) if index.isValid() else None

    def setData(self, index: Index, value: object, role: int = Qt.ItemDataRole.EditRole) -> bool:
        if role != Qt.ItemDataRole.CheckStateRole or not index.isValid() or index.column() != _NAME_COLUMN:
            return False
        if self.group(index.row()) is not None:
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
        rows = sorted({index.row() for index in indexes if self.group(index.row()) is None})
        mime_data = QMimeData()
        mime_data.setUrls([QUrl.fromLocalFile(str(Path(self.row(row).directory))) for row in rows])
        return mime_data

    def supportedDragActions(self) -> Qt.DropAction:
        return Qt.DropAction.CopyAction  # a file manager must never move a run out of the library

    def _text(self, row: int, column: int) -> str:
        if column != _MAX_RATE_COLUMN:
            return super()._text(row, column)
        text = self._rows[row].max_rate_text
        return NOT_AVAILABLE if text is None else shorten(text)

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
        if index.column() == _TREND_COLUMN:
            return tool_tip_text(describe_history(row, self._histories.get(row.directory)))
        if index.column() == _MAX_RATE_COLUMN and row.max_rate_text is not None:
            return tool_tip_text(row.max_rate_text)
        notes = "\n".join(note.text for note in row.notes[-3:])
        return tool_tip_text(f"{row.directory}\n{notes}" if notes else row.directory)

    def _get_sparkline(self, index: Index) -> tuple[float, ...]:
        history = self._histories.get(self.row(index.row()).directory)
        return () if history is None or index.column() != _TREND_COLUMN else history.values

    def _get_group_value(self, group: ProfileGroup, column: int, role: int) -> object:
        if role == Qt.ItemDataRole.FontRole:
            return self._group_font if column == _NAME_COLUMN else None
        if role == SPARKLINE_ROLE and column == _TREND_COLUMN:
            history = self._histories.get(group.latest_run.directory)
            return () if history is None else history.values
        is_text = role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.AccessibleTextRole)
        if is_text and column == _STARTED_COLUMN:
            return format_time(group.latest_run.started_at)
        if column != _NAME_COLUMN or not is_text:
            return None
        return shorten(group.text if role == Qt.ItemDataRole.DisplayRole else group.accessible_text)


def describe_history(row: RunRow, history: RunHistory | None) -> str:
    """Describe the main number of a run and its change against the reference run."""
    if history is None:
        return "n/a: no main number of a valid run"
    change = compute_run_change(row, history)
    change_text = "no comparable run before it" if change is None else format_run_change(change)
    return f"{row.headline}, {change_text}"


_MAX_COLUMN_CHARACTERS = 36
_FOLD_KEYS: dict[Qt.Key, bool | None] = {
    Qt.Key.Key_Return: None, Qt.Key.Key_Enter: None, Qt.Key.Key_Space: None,
    Qt.Key.Key_Left: True, Qt.Key.Key_Right: False,
}  # fmt: skip
_HIDDEN_COLUMNS_KEY = "library/hidden_columns"


class RunsTable(FrameTable):
    """Table view of the stored runs. The context menu of the header selects the displayed columns,
    which are stored in the settings of the window."""

    opened = Signal()
    menu_requested = Signal(QPoint)
    fold_requested = Signal(str, bool)
    """Signal that is emitted with the name of a profile and whether to fold its runs."""

    def __init__(self, model: RunsModel, theme_controller: ThemeController) -> None:
        super().__init__(model, "Stored runs", max_column_characters=_MAX_COLUMN_CHARACTERS)
        self._runs_model = model
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setDragEnabled(True)
        self.setDragDropMode(QAbstractItemView.DragDropMode.DragOnly)
        self.doubleClicked.connect(self._on_double_click)
        self.clicked.connect(self._on_click)
        self.setItemDelegateForColumn(_TREND_COLUMN, SparklineDelegate(self, theme_controller))
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

    def fit_name_column(self) -> None:
        """Widen the first column to its contents, up to the maximum width, but never narrow it."""
        max_width_px = _MAX_COLUMN_CHARACTERS * self.fontMetrics().averageCharWidth()
        width_px = min(self.sizeHintForColumn(_NAME_COLUMN), max_width_px)
        self.setColumnWidth(_NAME_COLUMN, max(width_px, self.columnWidth(_NAME_COLUMN)))

    def keyPressEvent(self, event: QKeyEvent) -> None:
        index = self.currentIndex()
        group = self._runs_model.group(index.row()) if index.isValid() else None
        if group is not None and event.key() in _FOLD_KEYS:
            is_folded = _FOLD_KEYS[Qt.Key(event.key())]
            self.fold_requested.emit(group.name, not group.is_folded if is_folded is None else is_folded)
        elif event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self.opened.emit()
        elif event.key() == Qt.Key.Key_Space and self.currentIndex().isValid():
            self._toggle_checked(self.currentIndex().row())
        else:
            super().keyPressEvent(event)

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        index = self.currentIndex()
        if index.isValid() and self._runs_model.group(index.row()) is None:
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

    def _on_click(self, index: QModelIndex) -> None:
        group = self._runs_model.group(index.row())
        if group is not None:
            self.fold_requested.emit(group.name, not group.is_folded)
