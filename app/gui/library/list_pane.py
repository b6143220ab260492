"""Layout shared by the smaller library tabs: description, filter, table, buttons and empty
state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pandas as pd
from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QPushButton, QVBoxLayout, QWidget

from app.gui.flow import FlowLayout
from app.gui.tables import FrameModel, FrameTable, set_table_description
from app.gui.theme import GAP, TAB_MARGINS
from app.gui.widgets import EmptyState, label, search_field, vbox

_MAX_COLUMN_CHARACTERS = 44


class _Table(FrameTable):
    opened = Signal()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self.opened.emit()
        else:
            super().keyPressEvent(event)


class ListPane(QWidget):
    """Filterable table with buttons.

    `selected_index` returns the index of the selected row in the DataFrame. The buttons in
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
        empty_state: EmptyState,
    ) -> None:
        super().__init__()
        self._name, self._selection_buttons, self._empty_state = name, tuple(selection_buttons), empty_state
        self.table = _Table(FrameModel(None, *columns), name, max_column_characters=_MAX_COLUMN_CHARACTERS)
        self.filter_field = search_field("Filter", f"Filter {name}")
        self.footer = QVBoxLayout()
        layout = vbox(
            label(description, "muted", wrap=True),
            self.filter_field,
            empty_state,
            (self.table, 1),
            within=self,
            margins=TAB_MARGINS,
            spacing=GAP,
        )
        button_row = FlowLayout()
        for action_button in (*selection_buttons, *other_buttons):
            button_row.addWidget(action_button)
        layout.addLayout(button_row)
        layout.addLayout(self.footer)
        self._has_frame = False
        self.filter_field.textChanged.connect(self._apply_filter)
        self.table.opened.connect(self.opened)
        self.table.doubleClicked.connect(self.opened)
        self.table.selectionModel().selectionChanged.connect(self._on_selection_changed)
        self.table.frame_model.modelReset.connect(self._on_selection_changed)
        self._update_state()

    def set_frame(self, frame: pd.DataFrame) -> None:
        selected_index = self.selected_index()
        is_first_frame = not self._has_frame
        self.table.frame_model.set_frame(frame)
        self._has_frame = True
        if is_first_frame:
            self.table.fit_columns()
        self._apply_filter()
        if selected_index is not None and selected_index < len(frame):
            self.select(selected_index)
        self._update_state()

    def selected_index(self) -> int | None:
        rows = self.table.selectionModel().selectedRows()
        return self.table.frame_model.frame_row(rows[0].row()) if rows else None

    def select(self, index: int) -> None:
        model = self.table.frame_model
        visible_row = next((row for row in range(model.rowCount()) if model.frame_row(row) == index), None)
        if visible_row is not None:
            self.table.selectRow(visible_row)

    def _apply_filter(self) -> None:
        self.table.set_filter(self.filter_field.text())
        set_table_description(self.table, self._name)

    def _on_selection_changed(self) -> None:
        has_selection = self.selected_index() is not None
        for action_button in self._selection_buttons:
            action_button.setEnabled(has_selection)
        self.selection_changed.emit()

    def _update_state(self) -> None:
        has_rows = len(self.table.frame_model.frame) > 0
        self._empty_state.setVisible(self._has_frame and not has_rows)
        self.table.setVisible(has_rows)
        self.filter_field.setVisible(has_rows)
        for action_button in self._selection_buttons:
            action_button.setVisible(has_rows)
            action_button.setEnabled(self.selected_index() is not None)
