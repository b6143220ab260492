"""Layout shared by the smaller library tabs: description, filter, table, buttons and empty
state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pandas as pd
from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QPushButton, QVBoxLayout, QWidget

from app.gui.tables import FrameModel, FrameTable, set_table_description
from app.gui.widgets import EmptyState, hbox, label, search_field, vbox

_MAX_COLUMN_CHARACTERS = 44


class _Table(FrameTable):
    opened = Signal()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self.opened.emit()
        else:
            super().keyPressEvent(event)


class ListPane(QWidget):
    """A filterable table with buttons.

    `selected` returns the index of the selected row in the DataFrame. The buttons in
    `selection_buttons` are enabled while a row is selected.
    """

    opened = Signal()
    selection_changed = Signal()

    def __init__(
        self,
        name: str,
        description: str,
        columns: tuple[Mapping[str, str], Mapping[str, Callable[[object], str]]],
        selection_buttons: Sequence[QPushButton],
        other_buttons: Sequence[QPushButton],
        empty: EmptyState,
    ) -> None:
        super().__init__()
        self._name, self._selection_buttons, self._empty = name, tuple(selection_buttons), empty
        self.table = _Table(FrameModel(None, *columns), name, max_column_characters=_MAX_COLUMN_CHARACTERS)
        self.filter = search_field("Filter", f"Filter {name}")
        self.below = QVBoxLayout()
        layout = vbox(
            label(description, "muted", wrap=True),
            self.filter,
            empty,
            (self.table, 1),
            within=self,
            margins=(0, 10, 0, 0),
            spacing=8,
        )
        row = hbox(*selection_buttons, *other_buttons, 1)
        layout.addLayout(row)
        layout.addLayout(self.below)
        self._has_frame = False
        self.filter.textChanged.connect(self._apply_filter)
        self.table.opened.connect(self.opened)
        self.table.doubleClicked.connect(self.opened)
        self.table.selectionModel().selectionChanged.connect(self._on_selection_changed)
        self.table.frame_model.modelReset.connect(self._on_selection_changed)
        self._show_state()

    def set_frame(self, frame: pd.DataFrame) -> None:
        selected = self.selected()
        is_first = not self._has_frame
        self.table.frame_model.set_frame(frame)
        self._has_frame = True
        if is_first:
            self.table.fit_columns()
        self._apply_filter()
        if selected is not None and selected < len(frame):
            self.select(selected)
        self._show_state()

    def selected(self) -> int | None:
        rows = self.table.selectionModel().selectedRows()
        return self.table.frame_model.frame_row(rows[0].row()) if rows else None

    def select(self, index: int) -> None:
        model = self.table.frame_model
        shown_row = next((row for row in range(model.rowCount()) if model.frame_row(row) == index), None)
        if shown_row is not None:
            self.table.selectRow(shown_row)

    def _apply_filter(self) -> None:
        self.table.set_filter(self.filter.text())
        set_table_description(self.table, self._name)

    def _on_selection_changed(self) -> None:
        is_selected = self.selected() is not None
        for action_button in self._selection_buttons:
            action_button.setEnabled(is_selected)
        self.selection_changed.emit()

    def _show_state(self) -> None:
        is_filled = len(self.table.frame_model.frame) > 0
        self._empty.setVisible(self._has_frame and not is_filled)
        self.table.setVisible(is_filled)
        self.filter.setVisible(is_filled)
        for action_button in self._selection_buttons:
            action_button.setVisible(is_filled)
            action_button.setEnabled(self.selected() is not None)
